//! A running mean of the weights, kept beside them.

use rayon::prelude::*;

use crate::error::Result;
use crate::ops::simd::widest;
use crate::params::Parameters;
use crate::real::{Real, change_numbers, with_numbers};

/// Numbers that one task of the parallel loop takes.
const TASK: usize = 16 * 1024;

/// e ← d e + (1 - d) p after every step that changed the weights p, with d = min(decay, (1 + t) / (10 + t)) after
/// t such steps before it, so that the random start is soon forgotten (`ExponentialMovingAverage` of TensorFlow
/// with `num_updates`).
#[derive(Debug)]
pub(crate) struct Ema {
    decay: f64,
    pub(crate) steps: u64,
    pub(crate) parameters: Parameters,
}

widest! {
    /// `mean += share * (weights - mean)`, number by number. Bound by bytes: 12 a number at 3 FLOPs.
    pub(crate) fn towards<T: Real>(mean: &mut [T], weights: &[T], share: T) {
        for (mean, &weight) in mean.iter_mut().zip(weights) {
            *mean += share * (weight - *mean);
        }
    }
}

impl Ema {
    /// Starts at the weights.
    pub(crate) fn new(decay: f64, parameters: &Parameters) -> Result<Self> {
        Ok(Self { decay, steps: 0, parameters: parameters.copied()? })
    }

    /// How far the mean goes towards the weights after the next step.
    pub(crate) fn next_share(&self) -> f64 {
        let steps = self.steps as f64;
        1.0 - self.decay.min((1.0 + steps) / (10.0 + steps))
    }

    /// Takes in the weights after a step. Number by number, so the result does not depend on the threads; 12 bytes
    /// a number.
    pub(crate) fn take_in(&mut self, weights: &Parameters) -> Result<()> {
        let share = self.next_share() as f32;
        for ((_, mean), (_, weights)) in self.parameters.iter().zip(weights.iter()) {
            with_numbers::<f32, _>(weights, |weights| {
                change_numbers::<f32, _>(mean, |mean| {
                    let tasks = mean.par_chunks_mut(TASK).zip(weights.par_chunks(TASK));
                    tasks.for_each(|(mean, weights)| towards(mean, weights, share));
                })
            })??;
        }
        self.steps += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::DType;

    use super::*;
    use crate::params::{Initial, TensorSpec};

    #[test]
    fn the_mean_follows_its_formula() {
        let spec = TensorSpec { shape: vec![7, 3], initial: Initial::Normal(1.0) };
        let specs = BTreeMap::from([("a".to_owned(), spec.clone()), ("b".to_owned(), spec)]);
        let weights = Parameters::initial(&specs, 1, DType::F32).expect("parameters");
        let numbers = |parameters: &Parameters, name: &str| {
            with_numbers::<f32, _>(parameters.get(name).expect("a tensor"), <[f32]>::to_vec).expect("numbers")
        };
        let mut ema = Ema::new(0.5, &weights).expect("a mean");
        let mut expected: Vec<f64> = numbers(&weights, "b").into_iter().map(f64::from).collect();
        assert_eq!(numbers(&ema.parameters, "a"), numbers(&weights, "a"), "it starts at the weights");
        for step in 0..20 {
            for name in ["a", "b"] {
                let var = weights.get(name).expect("a tensor");
                change_numbers::<f32, _>(var, |all| all.iter_mut().for_each(|x| *x = (*x * 3.0 + 0.1).sin()))
                    .expect("changed");
            }
            ema.take_in(&weights).expect("taken in");
            let decay = 0.5f64.min((1.0 + f64::from(step)) / (10.0 + f64::from(step)));
            for (mean, weight) in expected.iter_mut().zip(numbers(&weights, "b")) {
                *mean = decay * *mean + (1.0 - decay) * f64::from(weight);
            }
        }
        for (found, expected) in numbers(&ema.parameters, "b").iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }
}
