//! One optimiser step after the other.

use shoestring_planner::architecture::Architecture;
use shoestring_planner::recipe::{Optimizer, Precision};

use crate::checkpoint;
use crate::clip::Clip;
use crate::ema::Ema;
use crate::error::{EngineError, Result};
use crate::gradients::norms;
use crate::input::{Images, StepInput, Texts};
use crate::non_finite::bad_tensor;
use crate::ops::stored::Bf16;
use crate::optimizer::AdamW;
use crate::params::{IMAGE_POSITIONS, LOGIT_SCALE};
use crate::real::change_numbers;

/// Steps in a row that may be skipped because a number was not finite; the next such step is an error.
pub const SKIPS_IN_A_ROW: u32 = 10;

/// Below this an update may round away: Adam moves an element by at most about the learning rate, and a norm's
/// weight of 1 does not move by less than 6e-8.
pub(crate) const MOVES_AT: f64 = 1e-6;

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
    /// Which number: what was the first not to be finite on the way to the loss (`pixels`, a tensor of the model,
    /// a block such as `visual.transformer.resblocks.3`, `loss`), or else the first tensor (by name) whose
    /// gradient was not finite.
    pub non_finite: Option<String>,
}

/// A model, its optimiser, and the checks around them.
///
/// Given the same seed, settings and inputs, training gives the same bits, on any number of threads, and a
/// trainer loaded from a checkpoint continues with the bits of the one that was saved.
#[derive(Debug)]
pub struct Trainer {
    clip: Clip,
    pub(crate) settings: Optimizer,
    pub(crate) optimizer: AdamW,
    pub(crate) ema: Option<Ema>,
    pub(crate) microbatch: usize,
    /// Whether the first step that should move every tensor is still to come.
    pub(crate) movement_unchecked: bool,
}

impl Trainer {
    /// A model with the initial values of `seed`, and an optimiser without steps.
    pub fn new(architecture: &Architecture, settings: &Optimizer, seed: u64) -> Result<Self> {
        let mut clip = Clip::new(architecture, settings.logit_scale_init, seed)?;
        if let Some(precision) = settings.precision {
            clip.set_precision(precision);
        }
        let optimizer = AdamW::new(settings, clip.parameters());
        let ema = settings.ema_decay.map(|decay| Ema::new(decay, clip.parameters())).transpose()?;
        Ok(Self {
            clip,
            settings: settings.clone(),
            optimizer,
            ema,
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

    /// Goes over to a stage with images of this size: the weights stay, learned positions are interpolated to the
    /// stage's grid. With `carry_optimizer` the moments and the step count go on, else they start afresh.
    pub fn enter_stage(&mut self, image_size_px: u32, carry_optimizer: bool) -> Result<()> {
        self.set_image_size(image_size_px)?;
        if !carry_optimizer {
            self.optimizer = AdamW::new(&self.settings, self.clip.parameters());
        }
        Ok(())
    }

    /// Takes learned positions, their moments and their running mean to the grid of images of this size; nothing
    /// is done where positions are computed.
    pub fn set_image_size(&mut self, image_size_px: u32) -> Result<()> {
        if let Some(regrid) = self.clip.set_image_size(image_size_px)? {
            self.optimizer.reshape_moments(IMAGE_POSITIONS, |moments| regrid.numbers(moments));
            if let Some(ema) = &mut self.ema {
                regrid.parameters(&mut ema.parameters)?;
            }
        }
        Ok(())
    }

    /// Puts the running mean of the weights in the weights' place, and at the second time back again: to measure
    /// it. Nothing happens where none is kept. No step may be taken in between.
    pub fn exchange_ema(&mut self) {
        if let Some(ema) = &mut self.ema {
            self.clip.exchange(&mut ema.parameters);
        }
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
            let layer = match self.clip.precision() {
                Precision::Bf16 => self.clip.first_non_finite::<Bf16>(input)?,
                Precision::F32 => self.clip.first_non_finite::<f32>(input)?,
            };
            return self.skip(outcome.loss, f64::NAN, layer);
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
        let lowest_rate = learning_rate * self.optimizer.smallest_rate_factor();
        let check_movement = self.movement_unchecked && lowest_rate >= MOVES_AT;
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
        if let Some(ema) = &mut self.ema {
            ema.take_in(self.clip.parameters())?;
        }
        Ok(StepReport {
            loss: outcome.loss,
            grad_norm,
            logit_scale: self.clip.logit_scale()?,
            skipped: false,
            non_finite: None,
        })
    }

    fn skip(&mut self, loss: f64, grad_norm: f64, tensor: String) -> Result<StepReport> {
        let logit_scale = self.clip.logit_scale()?;
        self.skip_with(loss, grad_norm, tensor, logit_scale)
    }

    /// Counts a step that changed nothing, and refuses one too many in a row.
    pub(crate) fn skip_with(
        &mut self,
        loss: f64,
        grad_norm: f64,
        tensor: String,
        logit_scale: f64,
    ) -> Result<StepReport> {
        if self.optimizer.skipped_in_a_row >= SKIPS_IN_A_ROW {
            return Err(EngineError::NonFinite { tensor, in_a_row: self.optimizer.skipped_in_a_row });
        }
        self.optimizer.skipped_in_a_row += 1;
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

    /// Refuses weights that are not finite, as a step at too high a rate leaves them: nothing can be trained from
    /// them, and no checkpoint of them may take the place of a sound one.
    pub fn check_finite(&self) -> Result<()> {
        match bad_tensor::<f32>(self.clip.parameters())? {
            Some(tensor) => Err(EngineError::BrokenWeights { tensor }),
            None => Ok(()),
        }
    }

    /// The model as the bytes of a safetensors file: equal models give equal bytes.
    pub fn model_bytes(&self) -> Result<Vec<u8>> {
        checkpoint::model_bytes(&self.clip)
    }

    /// The optimiser's state as the bytes of a safetensors file: equal states give equal bytes.
    pub fn optimizer_bytes(&self) -> Result<Vec<u8>> {
        let ema_steps = self.ema.as_ref().map(|ema| ema.steps);
        checkpoint::optimizer_bytes(&self.optimizer, self.clip.parameters(), ema_steps)
    }

    /// The running mean of the weights, where one is kept, as the bytes of a safetensors file like the model's.
    pub fn ema_bytes(&self) -> Result<Option<Vec<u8>>> {
        self.ema.as_ref().map(|ema| checkpoint::parameter_bytes(&ema.parameters)).transpose()
    }

    /// Takes model, optimiser state and running mean from what [`Trainer::model_bytes`],
    /// [`Trainer::optimizer_bytes`] and [`Trainer::ema_bytes`] gave. Where positions are learned, the image size
    /// has to be that of the stage that they were saved in. On an error nothing is changed.
    pub fn load(&mut self, model: &[u8], optimizer: &[u8], ema: Option<&[u8]>) -> Result<()> {
        let (state, ema_steps) =
            checkpoint::read_optimizer(&self.settings, self.clip.parameters(), optimizer)?;
        let mean = match (&self.settings.ema_decay, ema_steps) {
            (Some(decay), Some(steps)) => {
                let mut mean = Ema::new(*decay, self.clip.parameters())?;
                let missing = || EngineError::MissingFile { file: "the running mean of the weights" };
                checkpoint::load_parameters(&mean.parameters, ema.ok_or_else(missing)?)?;
                mean.steps = steps;
                Some(mean)
            }
            _ => None,
        };
        checkpoint::load_model(&mut self.clip, model)?;
        (self.optimizer, self.ema) = (state, mean);
        Ok(())
    }

    /// Takes the model alone, leaving the optimiser as it is.
    pub fn load_model(&mut self, model: &[u8]) -> Result<()> {
        checkpoint::load_model(&mut self.clip, model)
    }
}
