//! A model between formats: architecture, how pictures are prepared for it, and the engine's tensors.

use std::path::Path;

use serde::{Deserialize, Serialize};
use shoestring_engine::tensor_specs;
use shoestring_planner::architecture::Architecture;

use crate::error::{ExchangeError, Result};
use crate::weights::{Weight, Weights, safetensors_bytes};

/// How pictures are resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Triangle filter, antialiased.
    Bilinear,
    /// Cubic filter, antialiased.
    Bicubic,
}

/// How a picture becomes square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResizeMode {
    /// Both sides to the size, whatever the ratio: CLIPA's.
    Squash,
    /// The shorter side to the size, then the centre.
    Shortest,
    /// The longer side to the size, then filled up.
    Longest,
}

/// How pictures are prepared, named as `open_clip`'s `preprocess_cfg` names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Mean of red, green, blue in [0, 1].
    pub mean: [f64; 3],
    /// Standard deviation of red, green, blue in [0, 1].
    pub std: [f64; 3],
    /// How pictures are resampled.
    pub interpolation: Interpolation,
    /// How a picture becomes square.
    pub resize_mode: ResizeMode,
}

impl Preprocess {
    /// What models trained here see in an evaluation: pictures squashed, as CLIPA's.
    #[must_use]
    pub fn of_training(mean: [f32; 3], std: [f32; 3], interpolation: Interpolation) -> Self {
        // The few digits that the constants are written with: 0.485, not 0.48500001430511475.
        let short = |number: f32| number.to_string().parse().unwrap_or(f64::from(number));
        let (mean, std) = (mean.map(short), std.map(short));
        Self { mean, std, interpolation, resize_mode: ResizeMode::Squash }
    }

    /// `open_clip`'s where a configuration says nothing: `OpenAI`'s.
    #[must_use]
    pub fn openai() -> Self {
        Self {
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_58, 0.275_777_11],
            interpolation: Interpolation::Bicubic,
            resize_mode: ResizeMode::Shortest,
        }
    }
}

/// A model between formats.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The architecture, at the image size and text length that the model is used with.
    pub architecture: Architecture,
    /// How pictures are prepared for it.
    pub preprocess: Preprocess,
    /// The engine's tensors: every trainable one, by `open_clip` name.
    pub weights: Weights,
}

impl Model {
    /// A model of the engine's checkpoint. `image_size_px` and `text_tokens` are those of the stage it was
    /// trained in last: positions beyond its text length were not trained by it and are left out.
    pub fn of_checkpoint(
        path: &Path,
        architecture: &Architecture,
        image_size_px: u32,
        text_tokens: u32,
        preprocess: Preprocess,
        weights: Weights,
    ) -> Result<Self> {
        let mut architecture = architecture.clone();
        architecture.vision_cfg.image_size = image_size_px;
        let mut weights = fit(path, &architecture, weights)?;
        let text_tokens = text_tokens.min(architecture.text_cfg.context_length);
        architecture.text_cfg.context_length = text_tokens;
        if let Some(positions) = weights.get_mut("positional_embedding") {
            let width = architecture.text_cfg.width as usize;
            positions.shape = vec![text_tokens as usize, width];
            positions.numbers.truncate(text_tokens as usize * width);
        }
        Ok(Self { architecture, preprocess, weights })
    }
}

/// The bytes that the engine loads a model from.
pub fn engine_bytes(model: &Model) -> Result<Vec<u8>> {
    safetensors_bytes(Path::new("the model"), &model.weights)
}

/// Refuses what the engine does not compute, and sizes beyond those of any model, which would ask for more
/// memory than there is before they are found not to fit.
pub(crate) fn check_sizes(path: &Path, architecture: &Architecture) -> Result<()> {
    let refuse = |field: &str, value: String, problem: &str, hint: String| {
        let (path, field) = (path.to_owned(), field.to_owned());
        Err(ExchangeError::Config { path, field, value, problem: problem.to_owned(), hint })
    };
    let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
    for (field, value, most) in [
        ("embed_dim", architecture.embed_dim, 1 << 16),
        ("vision_cfg.image_size", vision.image_size, 1 << 13),
        ("vision_cfg.layers", vision.layers, 1 << 10),
        ("vision_cfg.width", vision.width, 1 << 16),
        ("vision_cfg.patch_size", vision.patch_size, 1 << 10),
        ("text_cfg.context_length", text.context_length, 1 << 16),
        ("text_cfg.vocab_size", text.vocab_size, 1 << 22),
        ("text_cfg.layers", text.layers, 1 << 10),
        ("text_cfg.width", text.width, 1 << 16),
    ] {
        if value > most {
            return refuse(field, value.to_string(), "is more than any model has", format!("at most {most}"));
        }
    }
    for (field, ratio) in [("vision_cfg.mlp_ratio", vision.mlp_ratio), ("text_cfg.mlp_ratio", text.mlp_ratio)]
    {
        if !(ratio > 0.0 && ratio <= 64.0) {
            let hint = "a number above 0, usually 4".to_owned();
            return refuse(field, ratio.to_string(), "is no width of an MLP", hint);
        }
    }
    let patch = vision.patch_size;
    if vision.image_size < patch || !vision.image_size.is_multiple_of(patch) {
        let below = (vision.image_size / patch).max(1) * patch;
        let hint = format!("patches are {patch} px: {below} or {} would do", below + patch);
        let problem = "is not a multiple of the patch size";
        return refuse("vision_cfg.image_size", vision.image_size.to_string(), problem, hint);
    }
    architecture.check_trainable().map_err(|error| ExchangeError::Config {
        path: path.to_owned(),
        field: error.field,
        value: error.value,
        problem: error.problem,
        hint: error.hint,
    })
}

/// Checks that there is exactly what the architecture has, each in its shape.
pub(crate) fn fit(path: &Path, architecture: &Architecture, mut weights: Weights) -> Result<Weights> {
    let specs = tensor_specs(architecture, 0.0);
    let mut fitting = Weights::new();
    for (name, spec) in &specs {
        let Some(weight) = weights.remove(name) else {
            return Err(ExchangeError::Missing {
                path: path.to_owned(),
                tensor: name.clone(),
                expected: spec.shape.clone(),
            });
        };
        fitting.insert(name.clone(), of_shape(path, name, weight, &spec.shape)?);
    }
    match weights.into_iter().next() {
        Some((tensor, weight)) => {
            Err(ExchangeError::Surplus { path: path.to_owned(), tensor, found: weight.shape })
        }
        None => Ok(fitting),
    }
}

/// A scalar may be written as a vector of one.
pub(crate) fn of_shape(path: &Path, name: &str, mut weight: Weight, expected: &[usize]) -> Result<Weight> {
    if expected.is_empty() && weight.shape == [1] {
        weight.shape.clear();
    }
    if weight.shape != expected {
        return Err(ExchangeError::Shape {
            path: path.to_owned(),
            tensor: name.to_owned(),
            found: weight.shape,
            expected: expected.to_vec(),
        });
    }
    // With one such number every feature is NaN.
    if let Some(place) = weight.numbers.iter().position(|number| !number.is_finite()) {
        let (path, tensor) = (path.to_owned(), name.to_owned());
        return Err(ExchangeError::NotFinite { path, tensor, place, found: weight.numbers[place] });
    }
    Ok(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_are_refused_by_tensor_and_place() {
        let weight = |numbers: [f32; 3]| Weight { shape: vec![3], numbers: numbers.to_vec() };
        let fitted = |numbers| of_shape(Path::new("x.pt"), "ln_final.bias", weight(numbers), &[3]);
        assert!(fitted([0.0, f32::MAX, f32::MIN_POSITIVE]).is_ok());
        for (bad, said) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
            let error = fitted([0.0, bad, f32::NAN]).expect_err("is refused");
            assert_eq!(error.to_string(), format!("x.pt: tensor `ln_final.bias`: number 1 is {said}"));
            assert!(error.hint().is_some());
        }
    }
}
