//! A model that embeds pictures and texts.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use shoestring_data::DataError;
use shoestring_data::picture::{View, mean_std};
use shoestring_data::streams::{Stream, TEXT};
use shoestring_data::text::{Tokenizer, reduce};
use shoestring_engine::{Clip, Images, Texts, checkpoint};
use shoestring_exchange::{Interpolation, Model, Preprocess, ResizeMode, engine_bytes};
use shoestring_planner::recipe::{self, ImagePreparation, Normalisation, Precision, TextReduction};

use crate::run::RunError;

/// Means are told apart by this much.
const SAME_MEAN: f64 = 1e-3;

/// A model that embeds pictures and texts.
pub struct Encoder {
    clip: Clip,
    tokenizer: &'static Tokenizer,
    /// What of a picture becomes the square.
    pub view: View,
    /// How it is resized and normalised.
    pub preparation: ImagePreparation,
    /// SHA-256 of the weights, in hexadecimal.
    pub sha256: String,
}

impl Encoder {
    /// Loads a model.
    pub fn new(model: &Model, precision: Precision) -> Result<Self, RunError> {
        let bytes = engine_bytes(model)?;
        let mut clip = Clip::new(&model.architecture, 0.0, 0)?;
        checkpoint::load_model(&mut clip, &bytes)?;
        clip.set_precision(precision);
        let (view, preparation) = preparation(&model.preprocess)?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let tokenizer = Tokenizer::named(model.architecture.text_cfg.hf_tokenizer_name);
        tokenizer.check_vocabulary(model.architecture.text_cfg.vocab_size)?;
        Ok(Self { clip, tokenizer, view, preparation, sha256 })
    }

    /// Numbers in an embedding.
    #[must_use]
    pub fn width(&self) -> usize {
        self.clip.embedding_width()
    }

    /// Side of a picture in pixels.
    #[must_use]
    pub fn image_size_px(&self) -> u32 {
        self.clip.architecture().vision_cfg.image_size
    }

    /// Tokens of a text.
    #[must_use]
    pub fn text_tokens(&self) -> usize {
        self.clip.architecture().text_cfg.context_length as usize
    }

    /// Embeddings of pictures: (count, 3, side, side), prepared, to (count, width), each of length 1.
    pub fn images(&self, pixels: &[f32], side: usize) -> Result<Vec<f32>, RunError> {
        let batch = pixels.len() / (3 * side * side);
        if batch == 0 {
            return Ok(Vec::new());
        }
        Ok(self.clip.encode_images(&Images { batch, image_size_px: side, pixels, kept_patches: None })?)
    }

    /// Embeddings of texts: (count, length) ids to (count, width), each of length 1.
    pub fn ids(&self, token_ids: &[u32], length: usize) -> Result<Vec<f32>, RunError> {
        let batch = token_ids.len() / length;
        if batch == 0 {
            return Ok(Vec::new());
        }
        Ok(self.clip.encode_texts(&Texts { batch, text_tokens: length, token_ids })?)
    }

    /// Writes the ids of a caption at the model's text length; the end of a longer one is cut off, as in
    /// `open_clip`.
    pub fn tokenize(&self, caption: &str, ids: &mut [u32]) -> Result<(), DataError> {
        // Nothing is drawn to cut off an end.
        let mut stream = Stream::new(0, TEXT, 0);
        reduce(self.tokenizer, caption, TextReduction::Truncate, &mut stream, ids)
    }
}

/// A `preprocess_cfg` as this program's loader prepares pictures.
fn preparation(preprocess: &Preprocess) -> Result<(View, ImagePreparation), RunError> {
    let known = [Normalisation::Imagenet, Normalisation::Openai, Normalisation::Inception];
    let normalisation = known.into_iter().find(|&one| {
        let (mean, std) = mean_std(one);
        let close = |ours: [f32; 3], theirs: [f64; 3]| {
            ours.iter().zip(theirs).all(|(&a, b)| (f64::from(a) - b).abs() < SAME_MEAN)
        };
        close(mean, preprocess.mean) && close(std, preprocess.std)
    });
    let refuse = |field: &str, value: String, hint: &str| {
        RunError::from(shoestring_exchange::ExchangeError::Config {
            path: PathBuf::from("preprocess_cfg"),
            field: field.to_owned(),
            value,
            problem: "pictures cannot be prepared like this here".to_owned(),
            hint: hint.to_owned(),
        })
    };
    let Some(normalisation) = normalisation else {
        let value = format!("{:?}", preprocess.mean);
        return Err(refuse("mean", value, "mean and std of ImageNet, OpenAI and Inception are known"));
    };
    let view = match preprocess.resize_mode {
        ResizeMode::Squash => View::Squash,
        ResizeMode::Shortest => View::Centre,
        ResizeMode::Longest => {
            return Err(refuse("resize_mode", "longest".to_owned(), "shortest and squash are known"));
        }
    };
    let interpolation = match preprocess.interpolation {
        Interpolation::Bicubic => recipe::Interpolation::Bicubic,
        Interpolation::Bilinear => recipe::Interpolation::Bilinear,
    };
    Ok((view, ImagePreparation { normalisation, interpolation }))
}
