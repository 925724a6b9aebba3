//! The model on one device, and that device's part of a step.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use shoestring_planner::architecture::Architecture;

use super::collective::Collective;
use super::contrast::{contrast, number, sum};
use super::model::Model;
use super::optimizer::{self, Moments};
use crate::clip::chunks;
use crate::error::{EngineError, Result};
use crate::input::{Images, StepInput, Texts};
use crate::optimizer::AdamW;
use crate::params::LOGIT_SCALE;
use crate::trainer::Trainer;

/// Rows of the logit matrix held at a time.
const LOGIT_ROWS: usize = 4096;

/// Images, or texts, that an evaluation computes at a time.
const EVALUATED_AT_A_TIME: usize = 256;

/// Weights, moments and running mean, the same numbers on every rank.
#[derive(Debug)]
pub(super) struct Replica {
    device: Device,
    operands: DType,
    pub(super) ranks: Box<dyn Collective>,
    weights: BTreeMap<String, Var>,
    moments: BTreeMap<String, Moments>,
    /// The running mean of the weights, where one is kept.
    mean: Option<BTreeMap<String, Var>>,
}

/// What all ranks do in a step.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) architecture: &'a Architecture,
    /// Settings and each tensor's part of the rate.
    pub(super) optimizer: &'a AdamW,
    /// Samples whose activations are held at a time.
    pub(super) microbatch: usize,
    pub(super) learning_rate: f64,
    pub(super) check_movement: bool,
    /// How far the running mean goes towards the weights, where one is kept.
    pub(super) mean_share: Option<f64>,
}

/// What a step came to: the same on every rank.
pub(super) struct Stepped {
    pub(super) loss: f64,
    /// NaN where the loss was not finite.
    pub(super) grad_norm: f64,
    /// After the step.
    pub(super) logit_scale: f64,
    /// What was not finite, in which case nothing was changed: the loss, or the first tensor with such a gradient.
    pub(super) non_finite: Option<String>,
    /// The first tensor of which no number changed, where that was to be checked.
    pub(super) unmoved: Option<String>,
}

impl Replica {
    /// What a trainer in main memory has, taken to a device. `operands`: number type of the products' operands.
    pub(super) fn of(
        host: &Trainer,
        device: &Device,
        operands: DType,
        ranks: Box<dyn Collective>,
    ) -> Result<Self> {
        let (weights, moments) = (BTreeMap::new(), BTreeMap::new());
        let mut replica = Self { device: device.clone(), operands, ranks, weights, moments, mean: None };
        replica.upload(host)?;
        Ok(replica)
    }

    /// Takes weights, moments and running mean to the device.
    pub(super) fn upload(&mut self, host: &Trainer) -> Result<()> {
        let there = |var: &Var| -> Result<Var> {
            Ok(Var::from_tensor(&var.as_detached_tensor().to_device(&self.device)?)?)
        };
        let of = |parameters: &crate::Parameters| -> Result<BTreeMap<String, Var>> {
            parameters.iter().map(|(name, var)| Ok((name.to_owned(), there(var)?))).collect()
        };
        let weights = of(host.clip().parameters())?;
        let mean = host.ema.as_ref().map(|ema| of(&ema.parameters)).transpose()?;
        let mut moments = BTreeMap::new();
        for (name, of_host) in &host.optimizer.moments {
            let shape = host.clip().parameters().get(name)?.shape().clone();
            let tensor = |numbers: &[f32]| Tensor::from_slice(numbers, shape.clone(), &self.device);
            let of_tensor = Moments { first: tensor(&of_host.first)?, second: tensor(&of_host.second)? };
            moments.insert(name.clone(), of_tensor);
        }
        (self.weights, self.moments, self.mean) = (weights, moments, mean);
        Ok(())
    }

    /// Takes weights, moments and running mean from the device.
    pub(super) fn download(&self, host: &mut Trainer) -> Result<()> {
        let back = |from: &BTreeMap<String, Var>, to: &crate::Parameters| -> Result<()> {
            for (name, var) in from {
                to.get(name)?.set(&var.as_detached_tensor().to_device(&Device::Cpu)?)?;
            }
            Ok(())
        };
        back(&self.weights, host.clip().parameters())?;
        if let (Some(mean), Some(ema)) = (&self.mean, &host.ema) {
            back(mean, &ema.parameters)?;
        }
        for (name, Moments { first, second }) in &self.moments {
            let missing = || EngineError::UnknownTensor { tensor: name.clone() };
            let of_host = host.optimizer.moments.get_mut(name).ok_or_else(missing)?;
            of_host.first = first.flatten_all()?.to_vec1()?;
            of_host.second = second.flatten_all()?.to_vec1()?;
            of_host.live_rows.clear();
        }
        Ok(())
    }

    /// Puts the running mean in the weights' place, or back.
    pub(super) fn exchange_mean(&mut self) {
        if let Some(mean) = &mut self.mean {
            std::mem::swap(mean, &mut self.weights);
        }
    }

    /// Refuses weights that are not finite.
    pub(super) fn check_finite(&self) -> Result<()> {
        for (name, weight) in &self.weights {
            if !number(&weight.as_detached_tensor().sum_all()?)?.is_finite() {
                return Err(EngineError::BrokenWeights { tensor: name.clone() });
            }
        }
        Ok(())
    }

    /// Embeddings of length 1, (batch, `embed_dim`). The batch has been checked.
    pub(super) fn encode_images(&self, architecture: &Architecture, images: &Images<'_>) -> Result<Vec<f32>> {
        self.rows(architecture, images.batch, |model, start, count| {
            Ok(model.images(&images.part(start, count))?)
        })
    }

    /// Embeddings of length 1, (batch, `embed_dim`). The batch has been checked.
    pub(super) fn encode_texts(&self, architecture: &Architecture, texts: &Texts<'_>) -> Result<Vec<f32>> {
        self.rows(
            architecture,
            texts.batch,
            |model, start, count| Ok(model.texts(&texts.part(start, count))?),
        )
    }

    fn rows(
        &self,
        architecture: &Architecture,
        batch: usize,
        part: impl Fn(&Model<'_>, usize, usize) -> Result<Tensor>,
    ) -> Result<Vec<f32>> {
        let tensors = self.tensors(false);
        let model = self.model(architecture, &tensors);
        let mut rows = Vec::new();
        for chunk in chunks(batch, EVALUATED_AT_A_TIME) {
            rows.extend(part(&model, chunk.start, chunk.len())?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(rows)
    }

    /// The tensors as a pass sees them: recorded for the backward pass, or not.
    fn tensors(&self, recorded: bool) -> BTreeMap<String, Tensor> {
        let tensor = |var: &Var| if recorded { var.as_tensor().clone() } else { var.as_detached_tensor() };
        self.weights.iter().map(|(name, var)| (name.clone(), tensor(var))).collect()
    }

    fn model<'a>(
        &'a self,
        architecture: &'a Architecture,
        tensors: &'a BTreeMap<String, Tensor>,
    ) -> Model<'a> {
        Model { architecture, tensors, device: &self.device, operands: self.operands }
    }

    fn log_scale(&self) -> Result<f64> {
        let missing = || EngineError::UnknownTensor { tensor: LOGIT_SCALE.to_owned() };
        number(&self.weights.get(LOGIT_SCALE).ok_or_else(missing)?.as_detached_tensor())
    }

    /// This rank's part of a step on `share`, its part of the batch, which has been checked.
    pub(super) fn step(&mut self, order: &Order<'_>, share: &StepInput<'_>) -> Result<Stepped> {
        let (loss, gradients) = self.loss_and_gradients(order, share)?;
        let Some(gradients) = gradients else {
            return self.unchanged(loss, f64::NAN, "loss".to_owned());
        };
        let gradients = self.of_batch(gradients)?;
        let squares: Result<Vec<Tensor>> =
            gradients.values().map(|gradient| Ok(gradient.sqr()?.sum_all()?)).collect();
        // One transfer for all tensors, and the same numbers on every rank: where one clipped by a last bit more
        // than another, the replicas would drift apart.
        let squares = (sum(&*self.ranks, Tensor::stack(&squares?, 0)?)? / self.ranks.ranks() as f64)?;
        let squares = squares.to_vec1::<f32>()?;
        let grad_norm = squares.iter().map(|&square| f64::from(square)).sum::<f64>().sqrt();
        if let Some((name, _)) = gradients.keys().zip(&squares).find(|(_, square)| !square.is_finite()) {
            return self.unchanged(loss, grad_norm, name.clone());
        }
        let settings = &order.optimizer.settings;
        let factor = match settings.clip_norm {
            Some(limit) if grad_norm > limit => limit / grad_norm,
            _ => 1.0,
        };
        let unmoved = optimizer::step(
            order.optimizer,
            &self.weights,
            &mut self.moments,
            &gradients,
            (order.learning_rate, factor),
            order.check_movement,
        )?;
        if let Some(scale) = self.weights.get(LOGIT_SCALE) {
            let limit = settings.logit_scale_max.max(0.0);
            scale.set(&scale.as_detached_tensor().clamp(0.0, limit)?)?;
        }
        if let (Some(mean), Some(mean_share)) = (&self.mean, order.mean_share) {
            for (mean, weight) in mean.values().zip(self.weights.values()) {
                let (mean_now, weight) = (mean.as_detached_tensor(), weight.as_detached_tensor());
                mean.set(&(&mean_now + ((weight - &mean_now)? * mean_share)?)?)?;
            }
        }
        Ok(Stepped { loss, grad_norm, logit_scale: self.log_scale()?.exp(), non_finite: None, unmoved })
    }

    fn unchanged(&self, loss: f64, grad_norm: f64, what: String) -> Result<Stepped> {
        let logit_scale = self.log_scale()?.exp();
        Ok(Stepped { loss, grad_norm, logit_scale, non_finite: Some(what), unmoved: None })
    }

    /// As [`crate::Clip`]'s: all embeddings, the loss of the whole batch, and chunk by chunk back through the towers.
    /// The gradients are what the share gives of them; none where the loss is not finite.
    fn loss_and_gradients(
        &self,
        order: &Order<'_>,
        share: &StepInput<'_>,
    ) -> Result<(f64, Option<BTreeMap<String, Tensor>>)> {
        let (images, texts) = (share.images(), share.texts());
        let parts = chunks(share.batch, order.microbatch);
        let recorded = self.tensors(true);
        let model = self.model(order.architecture, &recorded);
        // A share of one chunk passes the towers once.
        let whole = match parts.len() {
            1 => Some((model.images(&images)?, model.texts(&texts)?)),
            _ => None,
        };
        let contrast = {
            let (image_rows, text_rows) = match &whole {
                Some((images, texts)) => (images.detach(), texts.detach()),
                None => {
                    let tensors = self.tensors(false);
                    let model = self.model(order.architecture, &tensors);
                    let mut rows = (Vec::new(), Vec::new());
                    for part in &parts {
                        rows.0.push(model.images(&images.part(part.start, part.len()))?);
                        rows.1.push(model.texts(&texts.part(part.start, part.len()))?);
                    }
                    (Tensor::cat(&rows.0, 0)?, Tensor::cat(&rows.1, 0)?)
                }
            };
            contrast(&*self.ranks, &image_rows, &text_rows, self.log_scale()?, LOGIT_ROWS)?
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

    /// The gradients of the whole batch, from what each rank's share gives of them.
    fn of_batch(&self, own: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
        let (names, own): (Vec<_>, Vec<_>) = own.into_iter().unzip();
        Ok(names.into_iter().zip(self.ranks.sum(own)?).collect())
    }
}
