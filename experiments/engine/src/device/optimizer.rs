//! `AdamW` on a device.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use shoestring_planner::recipe::Optimizer;

use crate::error::{EngineError, Result};
use crate::optimizer::{AdamW, decays};

/// Running means of one tensor's gradient and of its square.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    pub(super) first: Tensor,
    pub(super) second: Tensor,
}

/// [`crate::AdamW`]'s formula, in candle's operations: some ten passes over a tensor.
///
/// `host` has the settings, and counts the steps before this one. Gradients are multiplied with `gradient_factor`. Returns
/// the first tensor of which no number changed, where `check_movement` asks for it.
pub(super) fn step(
    host: &AdamW,
    weights: &BTreeMap<String, Var>,
    moments: &mut BTreeMap<String, Moments>,
    gradients: &BTreeMap<String, Tensor>,
    (learning_rate, gradient_factor): (f64, f64),
    check_movement: bool,
) -> Result<Option<String>> {
    let Optimizer { beta1, beta2, epsilon, weight_decay, .. } = host.settings;
    // Beyond this both corrections are 1 to the last bit.
    let steps = i32::try_from(host.steps + 1).unwrap_or(i32::MAX);
    let second_factor = 1.0 / (1.0 - beta2.powi(steps)).sqrt();
    let mut unmoved = None;
    for ((name, weight), rate_factor) in weights.iter().zip(&host.rate_factors) {
        let missing = || EngineError::NoGradient { tensor: name.clone() };
        let gradient = (gradients.get(name).ok_or_else(missing)? * gradient_factor)?;
        let Moments { first, second } = moments.get_mut(name).ok_or_else(missing)?;
        *first = ((&*first * beta1)? + (&gradient * (1.0 - beta1))?)?;
        *second = ((&*second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let rate = learning_rate * rate_factor;
        let keep = if decays(name, weight.dims()) { 1.0 - rate * weight_decay } else { 1.0 };
        let width = ((second.sqrt()? * second_factor)? + epsilon)?;
        let change = ((&*first / width)? * (rate / (1.0 - beta1.powi(steps))))?;
        let old = weight.as_detached_tensor();
        let new = ((&old * keep)? - change)?;
        if check_movement
            && unmoved.is_none()
            && super::contrast::number(&(&new - &old)?.abs()?.sum_all()?)? == 0.0
        {
            unmoved = Some(name.clone());
        }
        weight.set(&new)?;
    }
    Ok(unmoved)
}
