//! What a run needs of a trainer, wherever it computes.

use crate::error::Result;
use crate::input::{Images, StepInput, Texts};
use crate::trainer::{StepReport, Trainer};

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
    /// As [`Trainer::model_bytes`].
    fn model_bytes(&mut self) -> Result<Vec<u8>>;
    /// As [`Trainer::optimizer_bytes`].
    fn optimizer_bytes(&mut self) -> Result<Vec<u8>>;
    /// As [`Trainer::ema_bytes`].
    fn ema_bytes(&mut self) -> Result<Option<Vec<u8>>>;
    /// As [`Trainer::load`].
    fn load(&mut self, model: &[u8], optimizer: &[u8], ema: Option<&[u8]>) -> Result<()>;
    /// As [`Trainer::load_model`].
    fn load_model(&mut self, model: &[u8]) -> Result<()>;
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

    fn model_bytes(&mut self) -> Result<Vec<u8>> {
        Self::model_bytes(self)
    }

    fn optimizer_bytes(&mut self) -> Result<Vec<u8>> {
        Self::optimizer_bytes(self)
    }

    fn ema_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        Self::ema_bytes(self)
    }

    fn load(&mut self, model: &[u8], optimizer: &[u8], ema: Option<&[u8]>) -> Result<()> {
        self.load(model, optimizer, ema)
    }

    fn load_model(&mut self, model: &[u8]) -> Result<()> {
        self.load_model(model)
    }
}
