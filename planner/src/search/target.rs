//! The other way round: the cheapest plan that is expected to reach an accuracy.

use super::candidate::Candidate;
use super::choose::Outcome;
use super::error::{RequestError, SearchError};
use super::exact::{round_up, unit_of};
use super::schedule::FEWEST_USEFUL_SAMPLES;
use super::space::Space;
use crate::plan::Target;
use crate::spread::{Z90, standard_normal_cdf};
use crate::units::Usd;

/// Samples that nobody sees.
const MOST_SAMPLES: u64 = 1_000_000_000_000;
/// Shapes that are computed exactly: those roughly within this factor of the cheapest, at most so many.
const ROUGHNESS: f64 = 1.1;
const MOST_FINALISTS: usize = 60;
/// The rough cost's overheads are first reckoned at this money.
const FIRST_SCALE: Usd = Usd::from_micros(10_000_000_000);

impl Space<'_> {
    /// The cheapest plan with this expected accuracy, with what else its cost could buy.
    pub(super) fn cheapest(&self, accuracy_percent: f64) -> Result<(Outcome, Usd), SearchError> {
        if !(accuracy_percent > 1.0 && accuracy_percent < 100.0) {
            let hint = "state ImageNet zero-shot accuracy in percent, such as 80";
            let problem = "must be between 1 and 100";
            return Err(RequestError::new("--target-accuracy", accuracy_percent, problem, hint).into());
        }
        if !self.training.known {
            let problem = "no accuracy is claimed on data that the law does not know";
            let hint = "name a known data set with --data, or plan for a --budget";
            return Err(RequestError::new("--target-accuracy", accuracy_percent, problem, hint).into());
        }
        let wanted = 100.0 - accuracy_percent;
        let mut rough: Vec<(usize, u64, f64)> = Vec::new();
        let mut most = 0.0f64;
        for index in 0..self.shapes.len() {
            let (samples, best) = self.samples_for(index, wanted);
            most = most.max(best);
            let Some(samples) = samples else { continue };
            let cheapest =
                self.rough_at(index, samples, FIRST_SCALE).into_iter().find(|rough| rough.feasible);
            rough.extend(cheapest.map(|rough| (index, samples, rough.usd)));
        }
        rough.sort_by(|a, b| a.2.total_cmp(&b.2));
        let least = rough.first().map_or(f64::INFINITY, |first| first.2);
        let mut best: Option<(usize, Candidate)> = None;
        let cost = |candidate: &Candidate| candidate.cost_at(self.request.confidence);
        let near = rough.iter().take_while(|(_, _, usd)| *usd <= ROUGHNESS * least).take(MOST_FINALISTS);
        for &(index, samples, _) in near {
            for rough in self.rough_at(index, samples, Usd::from_dollars(least)).into_iter().take(4) {
                let Some(candidate) = self.exactly_with(&rough, samples) else { continue };
                // Where memory allows only a smaller batch, the samples may no longer be enough.
                let reaches = candidate.prediction.error_percent <= wanted + 1e-9;
                if reaches && best.as_ref().is_none_or(|(_, best)| cost(&candidate) < cost(best)) {
                    best = Some((index, candidate));
                }
            }
        }
        let Some((index, candidate)) = best else {
            let reason = format!(
                "{accuracy_percent} % is out of reach with these data, hardware and time: the most that the law expects \
                 is {most:.1} %"
            );
            let hint = "leave more open, allow more time, or aim lower".to_owned();
            return Err(SearchError::OutOfReach { reason, hint });
        };
        let budget = cost(&candidate);
        let mut outcome = self.decide(budget)?;
        outcome.chosen = self.with_evidence(candidate);
        outcome.chosen_shape = index;
        Ok((outcome, budget))
    }

    /// The fewest samples at which a shape's error is at most `wanted` (or the pinned ones, if it is there), and the
    /// best accuracy that it reaches at all.
    fn samples_for(&self, index: usize, wanted: f64) -> (Option<u64>, f64) {
        let shape = &self.shapes[index];
        let at = |samples: u64| self.way(shape, samples, u32::MAX).map(|way| way.error);
        if let Some(pinned) = self.request.samples {
            let reached = at(pinned.0).unwrap_or(f64::INFINITY);
            return ((reached <= wanted).then_some(pinned.0), 100.0 - reached);
        }
        // Fractions of the samples leave the menu where fixed amounts begin: the most that still apply.
        let (mut low, mut high) = (FEWEST_USEFUL_SAMPLES, MOST_SAMPLES);
        while at(high).is_none() && high > FEWEST_USEFUL_SAMPLES {
            high /= 2;
        }
        let best = at(high).unwrap_or(f64::INFINITY);
        if best > wanted {
            return (None, 100.0 - best);
        }
        // Too few samples for the menu count as not enough.
        while high - low > unit_of(low) {
            let middle = low + (high - low) / 2;
            if at(middle).is_some_and(|error| error <= wanted) { high = middle } else { low = middle }
        }
        let mut samples = round_up(high);
        // The batch's valley may leave a hair.
        for _ in 0..3 {
            if at(samples).is_some_and(|error| error <= wanted) {
                return (Some(samples), 100.0 - best);
            }
            samples = round_up(samples + 1);
        }
        (None, 100.0 - best)
    }

    /// What was aimed at, and how likely the plan reaches it.
    pub(super) fn target(&self, accuracy_percent: f64, chosen: &Candidate) -> Target {
        let probability = chosen.prediction.accuracy_percent.map_or(0.0, |accuracy| {
            let half = ((accuracy.p90 - accuracy.p10) / 2.0).max(1e-9);
            standard_normal_cdf((accuracy.p50 - accuracy_percent) / half * Z90)
        });
        Target { accuracy_percent, probability }
    }
}
