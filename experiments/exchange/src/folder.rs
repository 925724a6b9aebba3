//! What a model from elsewhere comes as: a folder of `open_clip`'s or Hugging Face's, or weights with a
//! configuration beside them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::archive::read_archive;
use crate::error::{ExchangeError, Result};
use crate::files::{read_bytes, read_json};
use crate::model::Model;
use crate::weights::{Weights, read_safetensors};
use crate::{hugging_face, open_clip};

/// What kind of thing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `open_clip`'s (and `OpenAI`'s) names and configuration.
    OpenClip,
    /// Hugging Face's `CLIPModel`.
    HuggingFace,
}

impl Form {
    /// For messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenClip => "open_clip",
            Self::HuggingFace => "Hugging Face CLIPModel",
        }
    }
}

/// A model that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The model.
    pub model: Model,
    /// What it came as.
    pub form: Form,
    /// Its file of weights.
    pub weights: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
}

/// Names of the weights in an `open_clip` folder, most preferred first, as `open_clip` prefers them.
const OPEN_CLIP_WEIGHTS: [&str; 8] = [
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
];
const HUGGING_FACE_WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// Reads a folder that has `open_clip_config.json` or a `CLIPModel`'s `config.json`.
pub fn read_model(folder: &Path) -> Result<Found> {
    let config = folder.join(open_clip::CONFIG_NAME);
    if config.exists() {
        return read_weights_with_config(&weights_in(folder, &OPEN_CLIP_WEIGHTS)?, &config);
    }
    let config = folder.join(hugging_face::CONFIG_NAME);
    if config.exists() {
        return read_weights_with_config(&weights_in(folder, &HUGGING_FACE_WEIGHTS)?, &config);
    }
    let problem = format!("has neither {} nor {}", open_clip::CONFIG_NAME, hugging_face::CONFIG_NAME);
    let hint = "name a folder of open_clip's or Hugging Face's, or a file of weights with --config FILE";
    Err(ExchangeError::format(folder, problem, hint))
}

fn weights_in(folder: &Path, names: &[&str]) -> Result<PathBuf> {
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        let problem = format!("has no weights under a usual name ({})", names.join(", "));
        ExchangeError::format(folder, problem, "name the file of weights itself, with --config FILE")
    })
}

/// Reads a file of weights (safetensors, or an archive of `PyTorch`'s) with its configuration: `open_clip`'s
/// model config, `open_clip_config.json`, or a `CLIPModel`'s `config.json`.
pub fn read_weights_with_config(weights: &Path, config: &Path) -> Result<Found> {
    let json = read_json(config)?;
    if json.get("vision_cfg").or_else(|| json.pointer("/model_cfg/vision_cfg")).is_none()
        && !hugging_face::is_config(&json)
    {
        let field = "model_type".to_owned();
        let value = json.get("model_type").cloned().unwrap_or(Value::Null).to_string();
        return Err(ExchangeError::Config {
            path: config.to_owned(),
            field,
            value,
            problem: "is no CLIP's configuration".to_owned(),
            hint: "open_clip's has vision_cfg and text_cfg, Hugging Face's has model_type = clip".to_owned(),
        });
    }
    let tensors = read_tensors(weights)?;
    let (model, form) = if hugging_face::is_config(&json) {
        let preprocessor = config.with_file_name("preprocessor_config.json");
        let preprocessor = if preprocessor.exists() { Some(read_json(&preprocessor)?) } else { None };
        let model = hugging_face::model_of(config, &json, preprocessor.as_ref(), weights, tensors)?;
        (model, Form::HuggingFace)
    } else {
        (open_clip::model_of(config, &json, weights, tensors)?, Form::OpenClip)
    };
    Ok(Found { model, form, weights: weights.to_owned(), config: config.to_owned() })
}

fn read_tensors(path: &Path) -> Result<Weights> {
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        return read_safetensors(path, &read_bytes(path)?);
    }
    read_archive(path)
}
