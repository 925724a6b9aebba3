//! The trainable tensors of a model, by `open_clip` name.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use rand::SeedableRng;
use rand::rand_core::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use shoestring_planner::architecture::{Architecture, ImagePositions};

use crate::error::{EngineError, Result};

/// Name of the text tower's embedding table, the one tensor whose gradient is kept by row.
pub const TOKEN_EMBEDDING: &str = "token_embedding.weight";
/// Name of the logarithm of the temperature's inverse, a scalar.
pub const LOGIT_SCALE: &str = "logit_scale";

/// Name of the image tower's positions, where they are trained.
pub const IMAGE_POSITIONS: &str = "visual.positional_embedding";
/// What the names of the attention pooling's tensors begin with.
pub(crate) const ATTENTION_POOL: &str = "visual.attn_pool";

/// Tensors whose initial values are held beside the variables.
const DRAWN_AT_A_TIME: usize = 16;

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// Every element this.
    Constant(f64),
    /// Normally distributed with mean zero and this standard deviation.
    Normal(f64),
}

/// A tensor that an architecture has: its shape and how it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Shape as in `open_clip`'s state dict.
    pub shape: Vec<usize>,
    /// Initial values.
    pub initial: Initial,
}

impl TensorSpec {
    /// Elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Every trainable tensor of an architecture, by name.
///
/// Standard deviations are those of `open_clip`'s `TextTransformer.init_parameters` for both towers
/// (attention in width^-0.5, projections back into the residual stream (2 width layers)^-0.5, MLP
/// (2 width)^-0.5, token embedding 0.02, positions 0.01, output projections and class token width^-0.5), and
/// the patch embedding's fan-in^-0.5. Biases start at zero.
///
/// The image tower's positions are computed (see [`crate::position_table`]) or trained, for the grid of
/// `vision_cfg.image_size`, from width^-0.5. Attention pooling starts as a block's attention does, its query
/// from 1.
#[must_use]
pub fn tensor_specs(architecture: &Architecture, logit_scale_init: f64) -> BTreeMap<String, TensorSpec> {
    let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
    let (image_width, text_width) = (vision.width as usize, text.width as usize);
    let patch = vision.patch_size as usize;
    let embedding = architecture.embed_dim as usize;
    let root = |number: usize| (number as f64).powf(-0.5);
    let normal = |shape: &[usize], std| TensorSpec { shape: shape.to_vec(), initial: Initial::Normal(std) };
    let mut specs = BTreeMap::new();
    let mut add = |name: &str, spec| specs.insert(name.to_owned(), spec);

    add("visual.conv1.weight", normal(&[image_width, 3, patch, patch], root(3 * patch * patch)));
    add("visual.class_embedding", normal(&[image_width], root(image_width)));
    let pooled_width = if vision.attention_pool().is_some() { embedding } else { image_width };
    add("visual.proj", normal(&[pooled_width, embedding], root(pooled_width)));
    if vision.pos_embed_type == ImagePositions::Learnable {
        let places = 1 + vision.tokens_at(vision.image_size).0 as usize;
        add(IMAGE_POSITIONS, normal(&[places, image_width], root(image_width)));
    }
    add(TOKEN_EMBEDDING, normal(&[text.vocab_size as usize, text_width], 0.02));
    add("positional_embedding", normal(&[text.context_length as usize, text_width], 0.01));
    add("text_projection", normal(&[text_width, embedding], root(text_width)));
    add(LOGIT_SCALE, TensorSpec { shape: vec![], initial: Initial::Constant(logit_scale_init) });
    if !vision.no_ln_pre {
        add_layer_norm(&mut specs, "visual.ln_pre", image_width);
    }
    if vision.attention_pool().is_some() {
        add_attention_pool(&mut specs, image_width, embedding);
    }
    for (prefix, width) in [("visual.ln_post", pooled_width), ("ln_final", text_width)] {
        add_layer_norm(&mut specs, prefix, width);
    }
    for (prefix, width, layers, mlp) in [
        ("visual.transformer", image_width, vision.layers, vision.mlp_width() as usize),
        ("transformer", text_width, text.layers, text.mlp_width() as usize),
    ] {
        for layer in 0..layers {
            add_block(&mut specs, &format!("{prefix}.resblocks.{layer}"), width, layers as usize, mlp);
        }
    }
    specs
}

fn add_layer_norm(specs: &mut BTreeMap<String, TensorSpec>, prefix: &str, width: usize) {
    for (name, value) in [("weight", 1.0), ("bias", 0.0)] {
        let spec = TensorSpec { shape: vec![width], initial: Initial::Constant(value) };
        specs.insert(format!("{prefix}.{name}"), spec);
    }
}

fn add_attention_pool(specs: &mut BTreeMap<String, TensorSpec>, width: usize, embedding: usize) {
    let at = |name: &str| format!("{ATTENTION_POOL}.{name}");
    add_layer_norm(specs, &at("ln_q"), embedding);
    add_layer_norm(specs, &at("ln_k"), width);
    let mut add = |name: &str, shape: &[usize], initial| {
        specs.insert(at(name), TensorSpec { shape: shape.to_vec(), initial });
    };
    let by_columns = |columns: usize| Initial::Normal((columns as f64).powf(-0.5));
    add("query", &[1, embedding], Initial::Normal(1.0));
    if width == embedding {
        add("attn.in_proj_weight", &[3 * embedding, width], by_columns(width));
    } else {
        add("attn.q_proj_weight", &[embedding, embedding], by_columns(embedding));
        add("attn.k_proj_weight", &[embedding, width], by_columns(width));
        add("attn.v_proj_weight", &[embedding, width], by_columns(width));
    }
    add("attn.in_proj_bias", &[3 * embedding], Initial::Constant(0.0));
    add("attn.out_proj.weight", &[embedding, embedding], by_columns(embedding));
    add("attn.out_proj.bias", &[embedding], Initial::Constant(0.0));
}

fn add_block(
    specs: &mut BTreeMap<String, TensorSpec>,
    prefix: &str,
    width: usize,
    layers: usize,
    mlp: usize,
) {
    add_layer_norm(specs, &format!("{prefix}.ln_1"), width);
    add_layer_norm(specs, &format!("{prefix}.ln_2"), width);
    let inner = (width as f64).powf(-0.5);
    let back = inner * (2.0 * layers as f64).powf(-0.5);
    let fully_connected = (2.0 * width as f64).powf(-0.5);
    for (weight, bias, out, columns, std) in [
        ("attn.in_proj_weight", "attn.in_proj_bias", 3 * width, width, inner),
        ("attn.out_proj.weight", "attn.out_proj.bias", width, width, back),
        ("mlp.c_fc.weight", "mlp.c_fc.bias", mlp, width, fully_connected),
        ("mlp.c_proj.weight", "mlp.c_proj.bias", width, mlp, back),
    ] {
        let spec = TensorSpec { shape: vec![out, columns], initial: Initial::Normal(std) };
        specs.insert(format!("{prefix}.{weight}"), spec);
        let spec = TensorSpec { shape: vec![out], initial: Initial::Constant(0.0) };
        specs.insert(format!("{prefix}.{bias}"), spec);
    }
}

/// Named trainable tensors, in order of name.
#[derive(Debug)]
pub struct Parameters {
    dtype: DType,
    tensors: BTreeMap<String, Var>,
}

impl Parameters {
    /// Draws the initial values. Each tensor has its own stream of the generator, named after it, so that a
    /// tensor's values depend on the seed, its name and its shape alone.
    pub fn initial(specs: &BTreeMap<String, TensorSpec>, seed: u64, dtype: DType) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        // A few at a time: candle copies what becomes a variable, and all of them twice would be the most
        // memory that a small batch's training ever has.
        for few in specs.iter().collect::<Vec<_>>().chunks(DRAWN_AT_A_TIME) {
            let drawn: Vec<Vec<f32>> = few.par_iter().map(|(name, spec)| draw(name, spec, seed)).collect();
            for ((name, spec), values) in few.iter().zip(drawn) {
                let tensor = Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu)?;
                tensors.insert((*name).clone(), Var::from_tensor(&tensor.to_dtype(dtype)?)?);
            }
        }
        Ok(Self { dtype, tensors })
    }

    /// The number type of every tensor.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Name and tensor, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Numbers in all tensors together.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.tensors.values().map(|tensor| tensor.elem_count()).sum()
    }

    /// One tensor.
    pub fn get(&self, name: &str) -> Result<&Var> {
        self.tensors.get(name).ok_or_else(|| EngineError::UnknownTensor { tensor: name.to_owned() })
    }

    /// A copy, apart from this one.
    pub(crate) fn copied(&self) -> Result<Self> {
        let copy =
            |(name, var): (&String, &Var)| Ok((name.clone(), Var::from_tensor(&var.as_tensor().copy()?)?));
        Ok(Self { dtype: self.dtype, tensors: self.tensors.iter().map(copy).collect::<Result<_>>()? })
    }

    /// Puts another tensor in the place of one.
    pub(crate) fn replace(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let place = self
            .tensors
            .get_mut(name)
            .ok_or_else(|| EngineError::UnknownTensor { tensor: name.to_owned() })?;
        *place = Var::from_tensor(tensor)?;
        Ok(())
    }

    /// For training: operations on these tensors are recorded for the backward pass.
    pub(crate) fn recorded(&self) -> Weights<'_> {
        Weights { parameters: self, recorded: true }
    }

    /// For evaluation: nothing is recorded, so activations are freed as soon as they are used.
    pub(crate) fn unrecorded(&self) -> Weights<'_> {
        Weights { parameters: self, recorded: false }
    }
}

/// Parameters as a tower sees them: recorded for the backward pass, or not.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    parameters: &'a Parameters,
    recorded: bool,
}

impl Weights<'_> {
    pub(crate) fn get(self, name: &str) -> Result<Tensor> {
        let var = self.parameters.get(name)?;
        Ok(if self.recorded { var.as_tensor().clone() } else { var.as_detached_tensor() })
    }
}

/// FNV-1a, 64 bits: names the stream of a tensor. Part of what a seed means, so it must not change.
fn stream_of(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn draw(name: &str, spec: &TensorSpec, seed: u64) -> Vec<f32> {
    let count = spec.elements();
    match spec.initial {
        Initial::Constant(value) => vec![value as f32; count],
        Initial::Normal(std) => {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(stream_of(name));
            let mut values = Vec::with_capacity(count + 1);
            while values.len() < count {
                let (a, b) = normal_pair(&mut generator);
                values.push((a * std) as f32);
                values.push((b * std) as f32);
            }
            values.truncate(count);
            values
        }
    }
}

/// Two independent standard normal numbers (Box and Muller).
fn normal_pair(generator: &mut ChaCha8Rng) -> (f64, f64) {
    let radius = (-2.0 * (1.0 - uniform(generator)).ln()).sqrt();
    let (sine, cosine) = (std::f64::consts::TAU * uniform(generator)).sin_cos();
    (radius * cosine, radius * sine)
}

/// Uniform in [0, 1), 53 bits.
pub(crate) fn uniform(generator: &mut ChaCha8Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_models::{attention_pool, tiny};
    use shoestring_planner::{architectures, compute};

    fn values(parameters: &Parameters, name: &str) -> Vec<f32> {
        parameters.get(name).and_then(|var| Ok(var.flatten_all()?.to_vec1::<f32>()?)).expect("values")
    }

    #[test]
    fn a_tensor_depends_on_seed_and_name_alone() {
        let specs = tensor_specs(&tiny(), 2.5);
        let all = Parameters::initial(&specs, 7, DType::F32).expect("parameters");
        let other = Parameters::initial(&specs, 8, DType::F32).expect("parameters");
        for name in ["visual.proj", "text_projection", TOKEN_EMBEDDING] {
            let alone = BTreeMap::from([(name.to_owned(), specs[name].clone())]);
            let alone = Parameters::initial(&alone, 7, DType::F32).expect("parameters");
            assert_eq!(values(&all, name), values(&alone, name), "{name}");
            assert_ne!(values(&all, name), values(&other, name), "{name}");
        }
        // The same shape under another name gets other values.
        assert_ne!(values(&all, "visual.transformer.resblocks.0.mlp.c_fc.weight")[..8], {
            values(&all, "visual.transformer.resblocks.1.mlp.c_fc.weight")[..8].to_vec()
        });
    }

    #[test]
    fn values_have_the_stated_spread() {
        let spec = TensorSpec { shape: vec![100, 1000], initial: Initial::Normal(0.02) };
        let drawn = draw("some.tensor", &spec, 1);
        let mean = drawn.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e5;
        let deviation = (drawn.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 1e5).sqrt();
        assert!(mean.abs() < 0.02 * 4.0 / 1e5f64.sqrt(), "{mean}");
        assert!((deviation / 0.02 - 1.0).abs() < 0.01, "{deviation}");
        let beyond = drawn.iter().filter(|x| x.abs() > 0.04).count() as f64 / 1e5;
        assert!((beyond - 0.0455).abs() < 0.003, "{beyond} lie beyond two standard deviations");
    }

    /// The initial values of a seed are part of every recipe's meaning.
    #[test]
    fn the_first_values_of_a_seed_stay_what_they_are() {
        let spec = TensorSpec { shape: vec![3], initial: Initial::Normal(1.0) };
        assert_eq!(stream_of(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stream_of("a"), 0xaf63_dc4c_8601_ec8c);
        let drawn = draw("visual.proj", &spec, 0);
        let expected = [1.591_956, -1.607_642_8, -0.112_409_61];
        for (drawn, expected) in drawn.iter().zip(expected) {
            assert!((drawn - expected).abs() < 1e-6, "{drawn} is not {expected}");
        }
    }

    #[test]
    fn shapes_are_those_of_open_clip() {
        let architecture = tiny();
        let specs = tensor_specs(&architecture, 2.5);
        let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
        let (w, t) = (vision.width as usize, text.width as usize);
        let patch = vision.patch_size as usize;
        assert_eq!(specs["visual.conv1.weight"].shape, [w, 3, patch, patch]);
        assert_eq!(specs["visual.transformer.resblocks.1.attn.in_proj_weight"].shape, [3 * w, w]);
        assert_eq!(specs["transformer.resblocks.0.mlp.c_proj.weight"].shape, [t, 4 * t]);
        assert_eq!(specs["positional_embedding"].shape, [text.context_length as usize, t]);
        assert_eq!(specs[LOGIT_SCALE].shape, [0usize; 0]);
        // Twelve tensors a block, seven outside the blocks, two layer norms of two.
        assert_eq!(specs.len(), 12 * (vision.layers + text.layers) as usize + 7 + 4);
    }

    #[test]
    fn learned_positions_and_attention_pooling_have_open_clips_shapes() {
        let mut architecture = tiny();
        let vision = &mut architecture.vision_cfg;
        vision.pos_embed_type = ImagePositions::Learnable;
        vision.pool_type = attention_pool(2);
        for packed in [false, true] {
            if packed {
                architecture.embed_dim = 16;
            }
            let (e, specs) = (architecture.embed_dim as usize, tensor_specs(&architecture, 2.5));
            let shape = |name: &str| specs.get(name).map(|spec| spec.shape.clone());
            assert_eq!(shape(IMAGE_POSITIONS), Some(vec![17, 16]));
            assert_eq!(shape("visual.proj"), Some(vec![e, e]));
            assert_eq!(shape("visual.ln_post.bias"), Some(vec![e]));
            assert_eq!(shape("visual.attn_pool.query"), Some(vec![1, e]));
            assert_eq!(shape("visual.attn_pool.ln_k.weight"), Some(vec![16]));
            assert_eq!(shape("visual.attn_pool.attn.in_proj_weight"), packed.then(|| vec![48, 16]));
            assert_eq!(shape("visual.attn_pool.attn.k_proj_weight"), (!packed).then(|| vec![e, 16]));
            let counted = compute::parameters(&architecture);
            let elements: usize = specs.values().map(TensorSpec::elements).sum();
            assert_eq!(elements as u64, counted.total - counted.fixed);
        }
    }

    /// Against the planner's count, which reproduces `open_clip`'s published one.
    #[test]
    fn every_architectures_tensors_are_as_many_as_the_planner_counts() {
        for architecture in architectures::built_in().iter().chain(architectures::reference()) {
            let counted = compute::parameters(architecture);
            let elements: usize = tensor_specs(architecture, 2.5).values().map(TensorSpec::elements).sum();
            assert_eq!(elements as u64, counted.total - counted.fixed, "{}", architecture.name);
        }
    }
}
