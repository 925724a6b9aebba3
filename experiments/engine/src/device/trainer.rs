//! One optimiser step after the other, on a device.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use shoestring_planner::recipe::Precision;

use super::contrast::{contrast, number};
use super::model::Model;
use super::optimizer::{self, Moments};
use crate::clip::chunks;
use crate::error::{EngineError, Result};
use crate::input::{Images, StepInput, Texts};
use crate::params::LOGIT_SCALE;
use crate::trainer::{MOVES_AT, StepReport, Trainer};
use crate::training::{Saved, Training};

/// Rows of the logit matrix held at a time.
const LOGIT_ROWS: usize = 4096;

/// Images, or texts, that an evaluation computes at a time.
const EVALUATED_AT_A_TIME: usize = 256;

/// As [`Trainer`], on a device.
///
/// Everything outside a step (initial values, positions for another grid, the form of checkpoints) is the
/// trainer's in main memory, which takes the weights from the device and gives them back.
#[derive(Debug)]
pub struct DeviceTrainer {
    host: Trainer,
    device: Device,
    operands: DType,
    weights: BTreeMap<String, Var>,
    moments: BTreeMap<String, Moments>,
    /// The running mean of the weights, where one is kept.
    mean: Option<BTreeMap<String, Var>>,
}

impl DeviceTrainer {
    /// Goes on with a trainer on a device.
    ///
    /// Operands of products are bf16 unless the trainer's settings say otherwise; on candle's CPU device, which
    /// multiplies no bf16 numbers, they are `f32`.
    pub fn new(host: Trainer, device: &Device) -> Result<Self> {
        let operands = match host.settings.precision {
            Some(Precision::F32) => DType::F32,
            _ if device.is_cpu() => DType::F32,
            _ => DType::BF16,
        };
        let (weights, moments) = (BTreeMap::new(), BTreeMap::new());
        let mut trainer = Self { host, device: device.clone(), operands, weights, moments, mean: None };
        trainer.upload()?;
        Ok(trainer)
    }

    /// Takes weights, moments and running mean to the device.
    fn upload(&mut self) -> Result<()> {
        let there = |var: &Var| -> Result<Var> {
            Ok(Var::from_tensor(&var.as_detached_tensor().to_device(&self.device)?)?)
        };
        let of = |parameters: &crate::Parameters| -> Result<BTreeMap<String, Var>> {
            parameters.iter().map(|(name, var)| Ok((name.to_owned(), there(var)?))).collect()
        };
        let weights = of(self.host.clip().parameters())?;
        let mean = self.host.ema.as_ref().map(|ema| of(&ema.parameters)).transpose()?;
        let mut moments = BTreeMap::new();
        for (name, host) in &self.host.optimizer.moments {
            let shape = self.host.clip().parameters().get(name)?.shape().clone();
            let tensor = |numbers: &[f32]| Tensor::from_slice(numbers, shape.clone(), &self.device);
            let of_tensor = Moments { first: tensor(&host.first)?, second: tensor(&host.second)? };
            moments.insert(name.clone(), of_tensor);
        }
        (self.weights, self.moments, self.mean) = (weights, moments, mean);
        Ok(())
    }

    /// Takes weights, moments and running mean from the device.
    fn download(&mut self) -> Result<()> {
        let back = |from: &BTreeMap<String, Var>, to: &crate::Parameters| -> Result<()> {
            for (name, var) in from {
                to.get(name)?.set(&var.as_detached_tensor().to_device(&Device::Cpu)?)?;
            }
            Ok(())
        };
        back(&self.weights, self.host.clip().parameters())?;
        if let (Some(mean), Some(ema)) = (&self.mean, &self.host.ema) {
            back(mean, &ema.parameters)?;
        }
        for (name, Moments { first, second }) in &self.moments {
            let missing = || EngineError::UnknownTensor { tensor: name.clone() };
            let host = self.host.optimizer.moments.get_mut(name).ok_or_else(missing)?;
            host.first = first.flatten_all()?.to_vec1()?;
            host.second = second.flatten_all()?.to_vec1()?;
            host.live_rows.clear();
        }
        Ok(())
    }

    /// Does something with the trainer in main memory, which has everything that the device has.
    fn on_host(&mut self, work: impl FnOnce(&mut Trainer) -> Result<()>) -> Result<()> {
        self.download()?;
        work(&mut self.host)?;
        self.upload()
    }

    /// The tensors as a pass sees them: recorded for the backward pass, or not.
    fn tensors(&self, recorded: bool) -> BTreeMap<String, Tensor> {
        let tensor = |var: &Var| if recorded { var.as_tensor().clone() } else { var.as_detached_tensor() };
        self.weights.iter().map(|(name, var)| (name.clone(), tensor(var))).collect()
    }

    fn model<'a>(&'a self, tensors: &'a BTreeMap<String, Tensor>) -> Model<'a> {
        Model {
            architecture: self.host.clip().architecture(),
            tensors,
            device: &self.device,
            operands: self.operands,
        }
    }

    fn log_scale(&self) -> Result<f64> {
        let missing = || EngineError::UnknownTensor { tensor: LOGIT_SCALE.to_owned() };
        number(&self.weights.get(LOGIT_SCALE).ok_or_else(missing)?.as_detached_tensor())
    }

    /// As [`Trainer::step`].
    pub fn step(&mut self, input: &StepInput<'_>, learning_rate: f64) -> Result<StepReport> {
        if !(learning_rate.is_finite() && learning_rate >= 0.0) {
            return Err(EngineError::LearningRate(learning_rate));
        }
        let (loss, gradients) = self.loss_and_gradients(input)?;
        let Some(gradients) = gradients else { return self.skip(loss, f64::NAN, "loss".to_owned()) };
        let squares: Result<Vec<Tensor>> =
            gradients.values().map(|gradient| Ok(gradient.sqr()?.sum_all()?)).collect();
        // One transfer for all tensors.
        let squares = Tensor::stack(&squares?, 0)?.to_vec1::<f32>()?;
        let grad_norm = squares.iter().map(|&square| f64::from(square)).sum::<f64>().sqrt();
        if let Some((name, _)) = gradients.keys().zip(&squares).find(|(_, square)| !square.is_finite()) {
            return self.skip(loss, grad_norm, name.clone());
        }
        let settings = &self.host.settings;
        let factor = match settings.clip_norm {
            Some(limit) if grad_norm > limit => limit / grad_norm,
            _ => 1.0,
        };
        let check_movement = self.host.movement_unchecked
            && learning_rate * self.host.optimizer.smallest_rate_factor() >= MOVES_AT;
        self.host.optimizer.steps += 1;
        let steps = self.host.optimizer.steps;
        let rates = (learning_rate, factor);
        let unmoved = optimizer::step(
            &self.host.optimizer,
            &self.weights,
            &mut self.moments,
            &gradients,
            rates,
            check_movement,
        )?;
        self.host.optimizer.skipped_in_a_row = 0;
        if let Some(tensor) = unmoved {
            return Err(EngineError::DidNotMove { tensor, step: steps, learning_rate });
        }
        self.host.movement_unchecked &= !check_movement;
        if let Some(scale) = self.weights.get(LOGIT_SCALE) {
            let limit = self.host.settings.logit_scale_max.max(0.0);
            scale.set(&scale.as_detached_tensor().clamp(0.0, limit)?)?;
        }
        if let (Some(mean), Some(ema)) = (&self.mean, &mut self.host.ema) {
            let share = ema.next_share();
            for (mean, weight) in mean.values().zip(self.weights.values()) {
                let (mean_now, weight) = (mean.as_detached_tensor(), weight.as_detached_tensor());
                mean.set(&(&mean_now + ((weight - &mean_now)? * share)?)?)?;
            }
            ema.steps += 1;
        }
        let logit_scale = self.log_scale()?.exp();
        Ok(StepReport { loss, grad_norm, logit_scale, skipped: false, non_finite: None })
    }

    fn skip(&mut self, loss: f64, grad_norm: f64, tensor: String) -> Result<StepReport> {
        let logit_scale = self.log_scale()?.exp();
        self.host.skip_with(loss, grad_norm, tensor, logit_scale)
    }

    /// As [`crate::Clip`]'s: all embeddings, the loss, and chunk by chunk back through the towers; no gradients
    /// where the loss is not finite.
    fn loss_and_gradients(&self, input: &StepInput<'_>) -> Result<(f64, Option<BTreeMap<String, Tensor>>)> {
        let (images, texts) = (input.images(), input.texts());
        images.check(self.host.clip().architecture())?;
        texts.check(self.host.clip().architecture())?;
        let parts = chunks(input.batch, self.host.microbatch);
        let recorded = self.tensors(true);
        let model = self.model(&recorded);
        // A batch of one chunk passes the towers once.
        let whole = match parts.len() {
            1 => Some((model.images(&images)?, model.texts(&texts)?)),
            _ => None,
        };
        let contrast = {
            let (image_rows, text_rows) = match &whole {
                Some((images, texts)) => (images.detach(), texts.detach()),
                None => {
                    let tensors = self.tensors(false);
                    let model = self.model(&tensors);
                    let mut rows = (Vec::new(), Vec::new());
                    for part in &parts {
                        rows.0.push(model.images(&images.part(part.start, part.len()))?);
                        rows.1.push(model.texts(&texts.part(part.start, part.len()))?);
                    }
                    (Tensor::cat(&rows.0, 0)?, Tensor::cat(&rows.1, 0)?)
                }
            };
            contrast(&image_rows, &text_rows, self.log_scale()?, LOGIT_ROWS)?
        };
        if !contrast.loss.is_finite() {
            return Ok((contrast.loss, None));
        }
        let scalar = Tensor::new(contrast.d_log_scale as f32, &self.device)?;
        let mut gradients = BTreeMap::from([(LOGIT_SCALE.to_owned(), scalar)]);
        if let Some((images, texts)) = &whole {
            // The gradient of this sum by the features is that of the loss.
            let sum =
                ((images * &contrast.d_images)?.sum_all()? + (texts * &contrast.d_texts)?.sum_all()?)?;
            self.collect(&mut gradients, sum.backward()?)?;
            return Ok((contrast.loss, Some(gradients)));
        }
        for part in &parts {
            let of_part = |rows: &Tensor| rows.narrow(0, part.start, part.len());
            let features = model.images(&images.part(part.start, part.len()))?;
            self.collect(&mut gradients, (features * of_part(&contrast.d_images)?)?.sum_all()?.backward()?)?;
            let features = model.texts(&texts.part(part.start, part.len()))?;
            self.collect(&mut gradients, (features * of_part(&contrast.d_texts)?)?.sum_all()?.backward()?)?;
        }
        Ok((contrast.loss, Some(gradients)))
    }

    /// Adds what a backward pass has left for each tensor.
    fn collect(&self, gradients: &mut BTreeMap<String, Tensor>, mut store: GradStore) -> Result<()> {
        for (name, weight) in &self.weights {
            if let Some(gradient) = store.remove(weight) {
                let sum = match gradients.get(name) {
                    Some(before) => (before + gradient)?,
                    None => gradient,
                };
                gradients.insert(name.clone(), sum);
            }
        }
        Ok(())
    }

    fn rows(
        &self,
        batch: usize,
        part: impl Fn(&Model<'_>, usize, usize) -> Result<Tensor>,
    ) -> Result<Vec<f32>> {
        let tensors = self.tensors(false);
        let model = self.model(&tensors);
        let mut rows = Vec::with_capacity(batch * self.host.clip().embedding_width());
        for chunk in chunks(batch, EVALUATED_AT_A_TIME) {
            rows.extend(part(&model, chunk.start, chunk.len())?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(rows)
    }
}

impl Training for DeviceTrainer {
    fn set_microbatch(&mut self, samples: usize) {
        self.host.set_microbatch(samples);
    }

    fn embedding_width(&self) -> usize {
        self.host.clip().embedding_width()
    }

    fn enter_stage(&mut self, image_size_px: u32, carry_optimizer: bool) -> Result<()> {
        self.on_host(|host| host.enter_stage(image_size_px, carry_optimizer))
    }

    fn set_image_size(&mut self, image_size_px: u32) -> Result<()> {
        self.on_host(|host| host.set_image_size(image_size_px))
    }

    fn step(&mut self, input: &StepInput<'_>, learning_rate: f64) -> Result<StepReport> {
        self.step(input, learning_rate)
    }

    fn exchange_ema(&mut self) {
        if let Some(mean) = &mut self.mean {
            std::mem::swap(mean, &mut self.weights);
        }
    }

    fn encode_images(&self, images: &Images<'_>) -> Result<Vec<f32>> {
        images.check(self.host.clip().architecture())?;
        self.rows(images.batch, |model, start, count| Ok(model.images(&images.part(start, count))?))
    }

    fn encode_texts(&self, texts: &Texts<'_>) -> Result<Vec<f32>> {
        texts.check(self.host.clip().architecture())?;
        self.rows(texts.batch, |model, start, count| Ok(model.texts(&texts.part(start, count))?))
    }

    fn check_finite(&self) -> Result<()> {
        for (name, weight) in &self.weights {
            if !number(&weight.as_detached_tensor().sum_all()?)?.is_finite() {
                return Err(EngineError::BrokenWeights { tensor: name.clone() });
            }
        }
        Ok(())
    }

    fn save(&mut self) -> Result<Saved> {
        self.download()?;
        Training::save(&mut self.host)
    }

    fn load(&mut self, saved: &Saved) -> Result<()> {
        Training::load(&mut self.host, saved)?;
        self.upload()
    }
}
