//! Model and optimiser state as the bytes of safetensors files, and back. Equal states give equal bytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Var};
use safetensors::tensor::{Dtype, TensorView, View};
use safetensors::{SafeTensorError, SafeTensors};
use shoestring_planner::recipe::Optimizer;

use crate::clip::Clip;
use crate::error::{EngineError, Result};
use crate::optimizer::{AdamW, Moments};
use crate::params::Parameters;
use crate::real::{Real, change_numbers, with_numbers};

/// The newest version of the optimiser state that this program reads, and the one it writes.
pub const OPTIMIZER_VERSION: u32 = 1;

const MODEL: &str = "the model";
const OPTIMIZER: &str = "the optimiser state";
const VERSION_KEY: &str = "shoestring_optimizer_version";

/// A tensor ready to be written.
struct Block {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Block {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn to_bytes<T: Real>(numbers: &[T]) -> Vec<u8> {
    let mut bytes = vec![0; numbers.len() * T::BYTES];
    for (bytes, &number) in bytes.chunks_exact_mut(T::BYTES).zip(numbers) {
        number.write_le(bytes);
    }
    bytes
}

fn write(file: &'static str, blocks: BTreeMap<String, Block>, key: &str, value: String) -> Result<Vec<u8>> {
    // One entry only: with more, their order in the file would differ from run to run.
    let metadata = HashMap::from([(key.to_owned(), value)]);
    safetensors::serialize(blocks, Some(metadata)).map_err(|source| EngineError::Unreadable { file, source })
}

fn number_block(var: &Var) -> Result<Block> {
    let shape = var.dims().to_vec();
    Ok(match var.dtype() {
        DType::F64 => Block { dtype: Dtype::F64, shape, bytes: with_numbers::<f64, _>(var, to_bytes)? },
        _ => Block { dtype: Dtype::F32, shape, bytes: with_numbers::<f32, _>(var, to_bytes)? },
    })
}

/// The model's tensors under their `open_clip` names.
pub fn model_bytes(clip: &Clip) -> Result<Vec<u8>> {
    parameter_bytes(clip.parameters())
}

/// Tensors under their names, as [`model_bytes`] writes a model's.
pub(crate) fn parameter_bytes(parameters: &Parameters) -> Result<Vec<u8>> {
    let mut blocks = BTreeMap::new();
    for (name, var) in parameters.iter() {
        blocks.insert(name.to_owned(), number_block(var)?);
    }
    // What PyTorch's tools look for.
    write(MODEL, blocks, "format", "pt".to_owned())
}

fn open<'a>(file: &'static str, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).map_err(|source| EngineError::Unreadable { file, source })
}

/// One tensor of a file, of the shape and type that it must have.
fn expect<'a>(
    tensors: &SafeTensors<'a>,
    file: &'static str,
    name: &str,
    shape: &[usize],
    dtype: Dtype,
) -> Result<TensorView<'a>> {
    let found = tensors.tensor(name).map_err(|error| match error {
        SafeTensorError::TensorNotFound(_) => EngineError::MissingTensor { file, tensor: name.to_owned() },
        source => EngineError::Unreadable { file, source },
    })?;
    if found.shape() != shape || found.dtype() != dtype {
        return Err(EngineError::TensorMismatch {
            file,
            tensor: name.to_owned(),
            expected: format!("{dtype:?} {shape:?}"),
            found: format!("{:?} {:?}", found.dtype(), found.shape()),
        });
    }
    Ok(found)
}

/// The first name, in order, that is in the file but not among those known.
fn refuse_others(tensors: &SafeTensors<'_>, file: &'static str, known: impl Fn(&str) -> bool) -> Result<()> {
    let mut names = tensors.names();
    names.sort_unstable();
    match names.into_iter().find(|name| !known(name)) {
        Some(tensor) => Err(EngineError::UnexpectedTensor { file, tensor: tensor.to_owned() }),
        None => Ok(()),
    }
}

fn fill<T: Real>(var: &Var, bytes: &[u8]) -> Result<()> {
    Ok(change_numbers::<T, _>(var, |numbers| {
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(T::BYTES)) {
            *number = T::read_le(bytes);
        }
    })?)
}

/// Sets every tensor of the model from the bytes of a file that has exactly these tensors, in the same shapes.
/// On an error nothing is changed.
pub fn load_model(clip: &mut Clip, bytes: &[u8]) -> Result<()> {
    load_parameters(clip.parameters(), bytes)
}

/// As [`load_model`], into tensors by themselves.
pub(crate) fn load_parameters(parameters: &Parameters, bytes: &[u8]) -> Result<()> {
    let tensors = open(MODEL, bytes)?;
    let dtype = if parameters.dtype() == DType::F64 { Dtype::F64 } else { Dtype::F32 };
    let mut found = Vec::with_capacity(parameters.len());
    for (name, var) in parameters.iter() {
        found.push((var, expect(&tensors, MODEL, name, var.dims(), dtype)?));
    }
    refuse_others(&tensors, MODEL, |name| parameters.get(name).is_ok())?;
    for (var, view) in found {
        match parameters.dtype() {
            DType::F64 => fill::<f64>(var, view.data())?,
            _ => fill::<f32>(var, view.data())?,
        }
    }
    Ok(())
}

fn counter(value: u64) -> Block {
    Block { dtype: Dtype::U64, shape: vec![], bytes: value.to_le_bytes().to_vec() }
}

fn read_counter(tensors: &SafeTensors<'_>, name: &str) -> Result<u64> {
    let view = expect(tensors, OPTIMIZER, name, &[], Dtype::U64)?;
    let mut bytes = [0; 8];
    bytes.copy_from_slice(view.data());
    Ok(u64::from_le_bytes(bytes))
}

/// Name of the counter of the steps that a running mean of the weights has seen.
const EMA_STEPS: &str = "ema_steps";

/// The optimiser's state: `exp_avg.NAME` and `exp_avg_sq.NAME` for each tensor of the model, and the counters
/// `steps` and `skipped_in_a_row`, and where a running mean of the weights is kept its `ema_steps`.
pub(crate) fn optimizer_bytes(
    optimizer: &AdamW,
    parameters: &Parameters,
    ema_steps: Option<u64>,
) -> Result<Vec<u8>> {
    let mut blocks = BTreeMap::from([
        ("steps".to_owned(), counter(optimizer.steps)),
        ("skipped_in_a_row".to_owned(), counter(u64::from(optimizer.skipped_in_a_row))),
    ]);
    if let Some(steps) = ema_steps {
        blocks.insert(EMA_STEPS.to_owned(), counter(steps));
    }
    for (name, moments) in &optimizer.moments {
        let shape = parameters.get(name)?.dims().to_vec();
        for (kind, numbers) in [("exp_avg", &moments.first), ("exp_avg_sq", &moments.second)] {
            let block = Block { dtype: Dtype::F32, shape: shape.clone(), bytes: to_bytes(numbers) };
            blocks.insert(format!("{kind}.{name}"), block);
        }
    }
    write(OPTIMIZER, blocks, VERSION_KEY, OPTIMIZER_VERSION.to_string())
}

/// An optimiser with the state that the bytes hold, for a model with these parameters, and the steps of the
/// running mean of the weights, where `settings` ask for one.
pub(crate) fn read_optimizer(
    settings: &Optimizer,
    parameters: &Parameters,
    bytes: &[u8],
) -> Result<(AdamW, Option<u64>)> {
    let tensors = open(OPTIMIZER, bytes)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|source| EngineError::Unreadable { file: OPTIMIZER, source })?;
    let version = metadata.metadata().as_ref().and_then(|entries| entries.get(VERSION_KEY));
    if version.and_then(|version| version.parse().ok()) != Some(OPTIMIZER_VERSION) {
        let found = version.map_or("none".to_owned(), Clone::clone);
        return Err(EngineError::Version { found, newest: OPTIMIZER_VERSION });
    }
    let mut optimizer = AdamW::new(settings, parameters);
    optimizer.steps = read_counter(&tensors, "steps")?;
    optimizer.skipped_in_a_row =
        u32::try_from(read_counter(&tensors, "skipped_in_a_row")?).unwrap_or(u32::MAX);
    for (name, var) in parameters.iter() {
        let read = |kind: &str| {
            let view = expect(&tensors, OPTIMIZER, &format!("{kind}.{name}"), var.dims(), Dtype::F32)?;
            Ok::<_, EngineError>(view.data().chunks_exact(4).map(f32::read_le).collect())
        };
        let moments = Moments { first: read("exp_avg")?, second: read("exp_avg_sq")?, live_rows: Vec::new() };
        optimizer.moments.insert(name.to_owned(), moments);
    }
    refuse_others(&tensors, OPTIMIZER, |name| {
        let tensor = name.strip_prefix("exp_avg.").or_else(|| name.strip_prefix("exp_avg_sq."));
        tensor.map_or(["steps", "skipped_in_a_row", EMA_STEPS].contains(&name), |tensor| {
            parameters.get(tensor).is_ok()
        })
    })?;
    let ema_steps = settings.ema_decay.map(|_| read_counter(&tensors, EMA_STEPS)).transpose()?;
    Ok((optimizer, ema_steps))
}
