//! What a run needs of a trainer, wherever it computes.

use crate::error::Result;
use crate::input::{Images, StepInput, Texts};
use crate::trainer::{StepReport, Trainer};

/// What a checkpoint holds of training, each as the bytes of a safetensors file.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// The weights.
    pub model: Vec<u8>,
    /// The optimiser's state.
    pub optimizer: Vec<u8>,
    /// The running mean of the weights, where one is kept.
    pub ema: Option<Vec<u8>>,
}

/// A model, its optimiser, and the checks around them: [`Trainer`], in main memory, or
/// [`crate::DeviceTrainer`].
pub trait Training {
    /// As [`Trainer::set_microbatch`].
    fn set_microbatch(&mut self, samples: usize);
    /// Width of the shared embedding.
    fn embedding_width(&self) -> usize;
    /// As [`Trainer::enter_stage`].
    fn enter_stage(&mut self, image_size_px: u32, carry_optimizer: bool) -> Result<()>;
    /// As [`Trainer::set_image_size`].
    fn set_image_size(&mut self, image_size_px: u32) -> Result<()>;
    /// As [`Trainer::step`].
    fn step(&mut self, input: &StepInput<'_>, learning_rate: f64) -> Result<StepReport>;
    /// As [`Trainer::exchange_ema`].
    fn exchange_ema(&mut self);
    /// Embeddings of length 1, (batch, `embed_dim`).
    fn encode_images(&self, images: &Images<'_>) -> Result<Vec<f32>>;
    /// Embeddings of length 1, (batch, `embed_dim`).
    fn encode_texts(&self, texts: &Texts<'_>) -> Result<Vec<f32>>;
    /// As [`Trainer::check_finite`].
    fn check_finite(&self) -> Result<()>;
    /// What [`Trainer::model_bytes`], [`Trainer::optimizer_bytes`] and [`Trainer::ema_bytes`] give.
    fn save(&mut self) -> Result<Saved>;
    /// As [`Trainer::load`].
    fn load(&mut self, saved: &Saved) -> Result<()>;
}

impl Training for Trainer {
    fn set_microbatch(&mut self, samples: usize) {
        self.set_microbatch(samples);
    }

    fn embedding_width(&self) -> usize {
        self.clip().embedding_width()
    }

    fn enter_stage(&mut self, image_size_px: u32, carry_optimizer: bool) -> Result<()> {
        self.enter_stage(image_size_px, carry_optimizer)
    }

    fn set_image_size(&mut self, image_size_px: u32) -> Result<()> {
        self.set_image_size(image_size_px)
    }

    fn step(&mut self, input: &StepInput<'_>, learning_rate: f64) -> Result<StepReport> {
        self.step(input, learning_rate)
    }

    fn exchange_ema(&mut self) {
        self.exchange_ema();
    }

    fn encode_images(&self, images: &Images<'_>) -> Result<Vec<f32>> {
        self.encode_images(images)
    }

    fn encode_texts(&self, texts: &Texts<'_>) -> Result<Vec<f32>> {
        self.encode_texts(texts)
    }

    fn check_finite(&self) -> Result<()> {
        self.check_finite()
    }

    fn save(&mut self) -> Result<Saved> {
        Ok(Saved { model: self.model_bytes()?, optimizer: self.optimizer_bytes()?, ema: self.ema_bytes()? })
    }

    fn load(&mut self, saved: &Saved) -> Result<()> {
        self.load(&saved.model, &saved.optimizer, saved.ema.as_deref())
    }
}
