//! `PyTorch`'s archives (`.pt`, `.pth`, `.bin`): a zip file of storages and one pickle that says what they
//! are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use safetensors::tensor::Dtype;
use zip::ZipArchive;

use crate::error::{ExchangeError, Result};
use crate::pickle::{Id, Pickle, Value, parse};
use crate::weights::{Weight, Weights, numbers_of};

/// A state dict's pickle has some hundred bytes a tensor.
const MOST_PICKLE_BYTES: u64 = 16 << 20;
/// Modules within modules of a TorchScript archive.
const MOST_DEPTH: usize = 64;

const HINT: &str = "save it again with torch.save(model.state_dict(), FILE), or as safetensors";

/// A tensor as the pickle describes it.
struct Described {
    dtype: Dtype,
    storage: String,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// Every tensor of floating-point numbers in an archive: a state dict, one under `state_dict` (a training
/// checkpoint) or `model`, or the parameters of a TorchScript module. Nothing in the pickle is called.
pub(crate) fn read_archive(path: &Path) -> Result<Weights> {
    let failed = |problem: String| ExchangeError::format(path, problem, HINT);
    let file = File::open(path).map_err(|source| ExchangeError::file(path, "open", source))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|error| failed(format!("is no archive of PyTorch 1.6 or later: {error}")))?;
    let mut root = None;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| failed(error.to_string()))?;
        let name = entry.name().map_err(|error| failed(error.to_string()))?.into_owned();
        if let Some(prefix) = name.strip_suffix("data.pkl") {
            root = Some(prefix.to_owned());
            break;
        }
    }
    let prefix = root.ok_or_else(|| failed("has no data.pkl, which says what the tensors are".to_owned()))?;
    let pickle = {
        let name = format!("{prefix}data.pkl");
        let entry = archive.by_name(&name).map_err(|error| failed(error.to_string()))?;
        let mut bytes = Vec::new();
        entry
            .take(MOST_PICKLE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(format!("{name}: {error}")))?;
        if bytes.len() as u64 > MOST_PICKLE_BYTES {
            return Err(failed(format!(
                "{name} is longer than {MOST_PICKLE_BYTES} bytes: this is no state dict"
            )));
        }
        parse(&bytes).map_err(|problem| failed(format!("{name}: {problem}")))?
    };
    let mut described = Vec::new();
    describe(&pickle, state_dict(&pickle), "", 0, &mut described).map_err(failed)?;
    if described.is_empty() {
        return Err(failed("holds no tensors under a name".to_owned()));
    }
    let mut storages: HashMap<String, Vec<u8>> = HashMap::new();
    let mut weights = Weights::new();
    for (name, tensor) in described {
        if !storages.contains_key(&tensor.storage) {
            let entry_name = format!("{prefix}data/{}", tensor.storage);
            let mut entry = archive
                .by_name(&entry_name)
                .map_err(|error| failed(format!("tensor `{name}`: {entry_name}: {error}")))?;
            // A compressed storage could be a bomb, and PyTorch writes none.
            if entry.size() != entry.compressed_size() {
                return Err(failed(format!("tensor `{name}`: {entry_name} is compressed")));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|error| failed(format!("{entry_name}: {error}")))?;
            storages.insert(tensor.storage.clone(), bytes);
        }
        let weight = cut_out(&tensor, &storages[&tensor.storage])
            .map_err(|problem| failed(format!("tensor `{name}`: {problem}")))?;
        weights.insert(name, weight);
    }
    Ok(weights)
}

/// Where the state dict is: the root, or what the root has under its usual names.
fn state_dict(pickle: &Pickle) -> Id {
    let mut root = pickle.root;
    if let Value::Dict(entries) = pickle.get(root) {
        for key in ["state_dict", "model_state_dict", "model"] {
            let found = entries.iter().find(|(name, value)| {
                pickle.text(*name) == Some(key) && matches!(pickle.get(*value), Value::Dict(_))
            });
            if let Some((_, value)) = found {
                root = *value;
                break;
            }
        }
    }
    root
}

/// Collects what the entries of a dictionary, or the attributes of a module, describe.
fn describe(
    pickle: &Pickle,
    id: Id,
    prefix: &str,
    depth: usize,
    out: &mut Vec<(String, Described)>,
) -> std::result::Result<(), String> {
    let entries = match pickle.get(id) {
        Value::Dict(entries) => entries,
        Value::Call { state: Some(state), .. } => match pickle.get(*state) {
            Value::Dict(entries) => entries,
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    for &(key, value) in entries {
        let Some(key) = pickle.text(key) else { continue };
        let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        match pickle.get(value) {
            Value::Call { callable, arguments, state } => {
                if let Some(tensor) = tensor(pickle, *callable, *arguments, 0)
                    .map_err(|problem| format!("tensor `{name}`: {problem}"))?
                {
                    out.push((name, tensor));
                } else if state.is_some() && depth < MOST_DEPTH {
                    describe(pickle, value, &name, depth + 1, out)?;
                }
            }
            _ => continue,
        }
    }
    Ok(())
}

fn items(pickle: &Pickle, id: Id) -> &[Id] {
    match pickle.get(id) {
        Value::Tuple(items) => items,
        _ => &[],
    }
}

/// What a call would rebuild, if that is a tensor of numbers that weights have.
fn tensor(
    pickle: &Pickle,
    callable: Id,
    arguments: Id,
    depth: usize,
) -> std::result::Result<Option<Described>, String> {
    let Value::Global(function) = pickle.get(callable) else { return Ok(None) };
    let arguments = items(pickle, arguments);
    match function.as_str() {
        "torch._utils._rebuild_parameter" if depth < 2 => {
            let Some(&inner) = arguments.first() else { return Ok(None) };
            let Value::Call { callable, arguments, .. } = pickle.get(inner) else { return Ok(None) };
            tensor(pickle, *callable, *arguments, depth + 1)
        }
        "torch._utils._rebuild_tensor_v2" => {
            let [storage, offset, shape, strides, ..] = arguments[..] else {
                return Err("has too few arguments".to_owned());
            };
            let Value::Persistent(storage) = pickle.get(storage) else {
                return Err("has no storage".to_owned());
            };
            let [_, class, key, ..] = items(pickle, *storage)[..] else {
                return Err("has a storage without a key".to_owned());
            };
            let dtype = match pickle.get(class) {
                Value::Global(class) => match class.rsplit('.').next().unwrap_or_default() {
                    "FloatStorage" => Dtype::F32,
                    "HalfStorage" => Dtype::F16,
                    "BFloat16Storage" => Dtype::BF16,
                    "DoubleStorage" => Dtype::F64,
                    // Integers and flags are no weights.
                    _ => return Ok(None),
                },
                _ => return Err("has a storage of no known type".to_owned()),
            };
            let read = || {
                Some(Described {
                    dtype,
                    storage: pickle.text(key)?.to_owned(),
                    offset: pickle.size(offset)?,
                    shape: pickle.sizes(shape)?,
                    strides: pickle.sizes(strides)?,
                })
            };
            let described = read().ok_or("has an offset, a shape or strides that are no sizes")?;
            // The key becomes part of a name in the archive.
            if described.storage.contains(['/', '\\']) || described.shape.len() != described.strides.len() {
                return Err("has a storage key or strides that cannot be".to_owned());
            }
            Ok(Some(described))
        }
        _ => Ok(None),
    }
}

/// A tensor's numbers, row by row, out of its storage.
fn cut_out(tensor: &Described, storage: &[u8]) -> std::result::Result<Weight, String> {
    let each = match tensor.dtype {
        Dtype::F64 => 8,
        Dtype::F32 => 4,
        _ => 2,
    };
    let stored = storage.len() / each;
    let too_far =
        || format!("{:?} with strides {:?} does not fit into {stored} numbers", tensor.shape, tensor.strides);
    let count = tensor
        .shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .ok_or_else(too_far)?;
    let mut last = tensor.offset;
    for (&size, &stride) in tensor.shape.iter().zip(&tensor.strides) {
        let reach = size.saturating_sub(1).checked_mul(stride).ok_or_else(too_far)?;
        last = last.checked_add(reach).ok_or_else(too_far)?;
    }
    // An expanded tensor (stride 0) could claim more numbers than the file has.
    if count > stored || (count > 0 && last >= stored) {
        return Err(too_far());
    }
    let numbers = numbers_of(tensor.dtype, storage).ok_or_else(too_far)?;
    let mut row_major = 1;
    let contiguous = tensor.shape.iter().zip(&tensor.strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == row_major;
        row_major *= size.max(1);
        fits
    });
    let numbers = if contiguous {
        numbers[tensor.offset..tensor.offset + count].to_vec()
    } else {
        (0..count)
            .map(|index| {
                let (mut rest, mut place) = (index, tensor.offset);
                for (&size, &stride) in tensor.shape.iter().zip(&tensor.strides).rev() {
                    place += rest % size * stride;
                    rest /= size;
                }
                numbers[place]
            })
            .collect()
    };
    Ok(Weight { shape: tensor.shape.clone(), numbers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(offset: usize, shape: &[usize], strides: &[usize]) -> Described {
        let (shape, strides) = (shape.to_vec(), strides.to_vec());
        Described { dtype: Dtype::F32, storage: "0".to_owned(), offset, shape, strides }
    }

    #[test]
    fn views_are_cut_out_by_their_strides() {
        let storage: Vec<u8> = (0..6).flat_map(|number| (number as f32).to_le_bytes()).collect();
        let numbers = |tensor: &Described| cut_out(tensor, &storage).map(|weight| weight.numbers);
        assert_eq!(numbers(&described(0, &[2, 3], &[3, 1])).expect("fits"), [0., 1., 2., 3., 4., 5.]);
        assert_eq!(numbers(&described(0, &[3, 2], &[1, 3])).expect("fits"), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(numbers(&described(4, &[2], &[1])).expect("fits"), [4., 5.]);
        assert_eq!(numbers(&described(5, &[], &[])).expect("fits"), [5.]);
        for lying in [
            described(0, &[7], &[1]),
            described(5, &[2], &[1]),
            described(0, &[2, 2], &[usize::MAX, 1]),
            described(0, &[usize::MAX, 4], &[0, 0]),
            described(0, &[100], &[0]),
        ] {
            assert!(numbers(&lying).expect_err("does not fit").contains("does not fit"));
        }
    }
}
