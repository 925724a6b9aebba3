//! One optimiser step after the other.

use shoestring_planner::architecture::Architecture;
use shoestring_planner::recipe::{Optimizer, Precision};

use crate::checkpoint;
use crate::clip::Clip;
use crate::error::{EngineError, Result};
use crate::gradients::norms;
use crate::input::{Images, StepInput, Texts};
use crate::ops::stored::Bf16;
use crate::optimizer::AdamW;
use crate::params::LOGIT_SCALE;
use crate::real::change_numbers;

/// Steps in a row that may be skipped because a number was not finite; the next such step is an error.
pub const SKIPS_IN_A_ROW: u32 = 10;

/// Below this an update may round away: Adam moves an element by at most about the learning rate, and a norm's
/// weight of 1 does not move by less than 6e-8.
const MOVES_AT: f64 = 1e-6;

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Mean contrastive loss of the batch, in nats, before the step.
    pub loss: f64,
    /// Euclidean norm of all gradients together, before clipping. NaN where the loss was not finite.
    pub grad_norm: f64,
    /// What the logits are multiplied with, after the step.
    pub logit_scale: f64,
    /// Whether nothing was changed, because a number was not finite.
    pub skipped: bool,
    /// Which number: `loss`, or the first tensor (by name) whose gradient was not finite.
    pub non_finite: Option<String>,
}

/// A model, its optimiser, and the checks around them.
///
/// Given the same seed, settings and inputs, training gives the same bits, on any number of threads, and a
/// trainer loaded from a checkpoint continues with the bits of the one that was saved.
#[derive(Debug)]
pub struct Trainer {
    clip: Clip,
    settings: Optimizer,
    optimizer: AdamW,
    microbatch: usize,
    /// Whether the first step that should move every tensor is still to come.
    movement_unchecked: bool,
}

impl Trainer {
    /// A model with the initial values of `seed`, and an optimiser without steps.
    pub fn new(architecture: &Architecture, settings: &Optimizer, seed: u64) -> Result<Self> {
        let mut clip = Clip::new(architecture, settings.logit_scale_init, seed)?;
        if let Some(precision) = settings.precision {
            clip.set_precision(precision);
        }
        let optimizer = AdamW::new(settings, clip.parameters());
        Ok(Self {
            clip,
            settings: settings.clone(),
            optimizer,
            microbatch: usize::MAX,
            movement_unchecked: true,
        })
    }

    /// Holds the activations of at most this many samples at a time; at the start: of the whole batch. The
    /// gradient stays that of the whole batch, but its last bits depend on this number.
    pub fn set_microbatch(&mut self, samples: usize) {
        self.microbatch = samples.max(1);
    }

    /// Whether backward computes each block's activations again instead of keeping them: a third more
    /// arithmetic, and memory for one block's activations and every block's input. The numbers stay the same.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.clip.set_recompute(recompute);
    }

    /// The model.
    #[must_use]
    pub fn clip(&self) -> &Clip {
        &self.clip
    }

    /// The optimiser.
    #[must_use]
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Forgets the moments and the step count, as at the start of a fine-tuning stage.
    pub fn reset_optimizer(&mut self) {
        self.optimizer = AdamW::new(&self.settings, self.clip.parameters());
    }

    /// One step on one batch.
    ///
    /// Where the loss or a gradient is NaN or infinite nothing changes and the report says so; after
    /// [`SKIPS_IN_A_ROW`] such steps in a row the next one is an error. Gradients are scaled down to
    /// `clip_norm` where their norm is above it. The log-scale is clamped to [0, `logit_scale_max`].
    pub fn step(&mut self, input: &StepInput<'_>, learning_rate: f64) -> Result<StepReport> {
        if !(learning_rate.is_finite() && learning_rate >= 0.0) {
            return Err(EngineError::LearningRate(learning_rate));
        }
        let outcome = match self.clip.precision() {
            Precision::Bf16 => self.clip.loss_and_gradients::<Bf16>(input, self.microbatch)?,
            Precision::F32 => self.clip.loss_and_gradients::<f32>(input, self.microbatch)?,
        };
        let Some(gradients) = outcome.gradients else {
            return self.skip(outcome.loss, f64::NAN, "loss".to_owned());
        };
        let norms = norms(&gradients);
        let grad_norm = norms.iter().map(|(_, norm)| norm * norm).sum::<f64>().sqrt();
        if let Some((tensor, _)) = norms.iter().find(|(_, norm)| !norm.is_finite()) {
            return self.skip(outcome.loss, grad_norm, (*tensor).to_owned());
        }
        let factor = match self.settings.clip_norm {
            Some(limit) if grad_norm > limit => limit / grad_norm,
            _ => 1.0,
        };
        let check_movement = self.movement_unchecked && learning_rate >= MOVES_AT;
        let unmoved =
            self.optimizer.step(self.clip.parameters(), &gradients, learning_rate, factor, check_movement)?;
        self.clip.give_back(gradients);
        self.optimizer.skipped_in_a_row = 0;
        if let Some(tensor) = unmoved {
            return Err(EngineError::DidNotMove { tensor, step: self.optimizer.steps(), learning_rate });
        }
        self.movement_unchecked &= !check_movement;
        let limit = self.settings.logit_scale_max as f32;
        let log_scale = self.clip.parameters().get(LOGIT_SCALE)?;
        change_numbers::<f32, _>(log_scale, |numbers| numbers[0] = numbers[0].clamp(0.0, limit.max(0.0)))?;
        Ok(StepReport {
            loss: outcome.loss,
            grad_norm,
            logit_scale: self.clip.logit_scale()?,
            skipped: false,
            non_finite: None,
        })
    }

    fn skip(&mut self, loss: f64, grad_norm: f64, tensor: String) -> Result<StepReport> {
        if self.optimizer.skipped_in_a_row >= SKIPS_IN_A_ROW {
            return Err(EngineError::NonFinite { tensor, in_a_row: self.optimizer.skipped_in_a_row });
        }
        self.optimizer.skipped_in_a_row += 1;
        let logit_scale = self.clip.logit_scale()?;
        Ok(StepReport { loss, grad_norm, logit_scale, skipped: true, non_finite: Some(tensor) })
    }

    /// Embeddings of length 1, (batch, `embed_dim`).
    pub fn encode_images(&self, images: &Images<'_>) -> Result<Vec<f32>> {
        self.clip.encode_images(images)
    }

    /// Embeddings of length 1, (batch, `embed_dim`).
    pub fn encode_texts(&self, texts: &Texts<'_>) -> Result<Vec<f32>> {
        self.clip.encode_texts(texts)
    }

    /// The model as the bytes of a safetensors file: equal models give equal bytes.
    pub fn model_bytes(&self) -> Result<Vec<u8>> {
        checkpoint::model_bytes(&self.clip)
    }

    /// The optimiser's state as the bytes of a safetensors file: equal states give equal bytes.
    pub fn optimizer_bytes(&self) -> Result<Vec<u8>> {
        checkpoint::optimizer_bytes(&self.optimizer, self.clip.parameters())
    }

    /// Takes model and optimiser state from what [`Trainer::model_bytes`] and [`Trainer::optimizer_bytes`] gave.
    /// On an error neither is changed.
    pub fn load(&mut self, model: &[u8], optimizer: &[u8]) -> Result<()> {
        let state = checkpoint::read_optimizer(&self.settings, self.clip.parameters(), optimizer)?;
        checkpoint::load_model(&mut self.clip, model)?;
        self.optimizer = state;
        Ok(())
    }

    /// Takes the model alone, leaving the optimiser as it is.
    pub fn load_model(&mut self, model: &[u8]) -> Result<()> {
        checkpoint::load_model(&mut self.clip, model)
    }
}
