//! The exact look: samples solved so that the whole bill fits, memory, accuracy with its interval, evidence.

use super::candidate::{Bound, Candidate, PlannedStage};
use super::machine::Machine;
use super::rough::Rough;
use super::schedule::FEWEST_USEFUL_SAMPLES;
use super::shape::Shape;
use super::space::Space;
use crate::architecture::Architecture;
use crate::law::StageShape;
use crate::memory::largest_microbatch;
use crate::money::{self, Cost};
use crate::recipe::{Evaluation, ImageReduction, Stage};
use crate::units::{Hours, Samples, Usd};

/// Evaluations during a stage besides the one that ends it, most first.
const EVALUATIONS_PER_STAGE: [u32; 3] = [3, 1, 0];
/// Evaluation may take this part of the bill before there is less of it.
const LARGEST_EVALUATION_SHARE: f64 = 0.1;

/// Rounded down to three digits, so that a recipe says 13.7 B and not 13,721,403,392.
pub(super) fn round_down(samples: u64) -> u64 {
    let unit = unit_of(samples);
    samples / unit * unit
}

/// The step of [`round_down`]'s three digits.
pub(super) fn unit_of(samples: u64) -> u64 {
    10u64.pow(samples.max(1).ilog10().saturating_sub(2))
}

/// Rounded up to three digits.
pub(super) fn round_up(samples: u64) -> u64 {
    samples.div_ceil(unit_of(samples)) * unit_of(samples)
}

/// Reductions whose rough errors are within so many points are solved exactly, each.
const NEAR_POINTS: f64 = 0.5;

/// Steps of three-digit samples that are tried one by one.
const MOST_STEPS: usize = 40;

impl Space<'_> {
    /// Computes a rough candidate exactly. `None` where it does not fit after all, for money, time or memory;
    /// one that is over the budget at its fewest samples comes back when `over` says so.
    pub(super) fn exact(&self, rough: &Rough, budget: Usd, over: bool) -> Option<Candidate> {
        let reductions = self.promising_reductions(rough).into_iter();
        reductions
            .filter_map(|reduction| self.exact_by(rough, budget, over, reduction))
            .min_by(|a, b| a.prediction.error_percent.total_cmp(&b.prediction.error_percent))
    }

    /// The image reductions that may turn out best: what they cost besides training (a masked image is evaluated whole)
    /// and with it their samples differ a little.
    fn promising_reductions(&self, rough: &Rough) -> Vec<ImageReduction> {
        let shape = &self.shapes[rough.shape];
        let all: Vec<ImageReduction> = self.image_reductions(shape).collect();
        if all.len() < 2 {
            return all;
        }
        let Some(best) = self.fitted_way(shape, rough.samples, rough.machine, rough.nodes) else {
            return all;
        };
        let near = |reduction| {
            let error = self.error_by(shape, rough.samples, best.batch, reduction);
            reduction == best.reduction || error.is_some_and(|error| error < best.error + NEAR_POINTS)
        };
        all.into_iter().filter(|&reduction| near(reduction)).collect()
    }

    fn exact_by(
        &self,
        rough: &Rough,
        budget: Usd,
        over: bool,
        reduction: ImageReduction,
    ) -> Option<Candidate> {
        let shape = &self.shapes[rough.shape];
        let machine = self.machine(rough.machine, rough.nodes);
        let available = self.available(budget).dollars();
        let confidence = self.request.confidence;
        let (stages, evaluation, cost, bound) = if let Some(Samples(pinned)) = self.request.samples {
            let stages = self.fitted_stages_by(shape, pinned, reduction, rough)?;
            let (evaluation, cost) = self.bill(shape.architecture, &stages, &machine);
            (stages, evaluation, cost, Bound::Samples)
        } else {
            self.solve(shape, &machine, rough, available, reduction)?
        };
        let too_dear = cost.at_confidence(confidence).dollars() > available * (1.0 + 1e-9);
        let too_late = self
            .deadline
            .is_some_and(|deadline| cost.hours_at_confidence(confidence).0 > deadline.0 * (1.0 + 1e-9));
        if (too_dear || too_late) && !over {
            return None;
        }
        self.candidate(shape.architecture, stages, machine, (evaluation, cost), bound)
    }

    /// A rough candidate at the fewest useful samples (or the pinned ones), whatever that costs.
    pub(super) fn exact_at_least(&self, rough: &Rough) -> Option<Candidate> {
        let shape = &self.shapes[rough.shape];
        let machine = self.machine(rough.machine, rough.nodes);
        let samples = self.request.samples.map_or(FEWEST_USEFUL_SAMPLES, |samples| samples.0);
        let stages = self.fitted_stages(shape, samples, rough.machine, rough.nodes)?;
        let bill = self.bill(shape.architecture, &stages, &machine);
        self.candidate(shape.architecture, stages, machine, bill, Bound::Samples)
    }

    /// A rough candidate at these samples, within the deadline.
    pub(super) fn exactly_with(&self, rough: &Rough, samples: u64) -> Option<Candidate> {
        let shape = &self.shapes[rough.shape];
        let machine = self.machine(rough.machine, rough.nodes);
        let stages = self.fitted_stages(shape, samples, rough.machine, rough.nodes)?;
        let bill = self.bill(shape.architecture, &stages, &machine);
        let hours = bill.1.hours_at_confidence(self.request.confidence);
        let late = self.deadline.is_some_and(|deadline| hours.0 > deadline.0);
        (!late).then(|| self.candidate(shape.architecture, stages, machine, bill, Bound::Samples))?
    }

    /// The most samples of three digits whose bill stays within what is available, by secant steps to their
    /// neighbourhood (the bill is close to a line in the samples) and then one by one, so that more money or time never
    /// gives fewer. The bill does not depend on the batch.
    fn solve(
        &self,
        shape: &Shape,
        machine: &Machine,
        rough: &Rough,
        available: f64,
        reduction: ImageReduction,
    ) -> Option<(Vec<Stage>, Evaluation, Cost, Bound)> {
        let confidence = self.request.confidence;
        let deadline = self.deadline.unwrap_or(Hours(f64::INFINITY)).0;
        // What is left of money and time, in dollars of training.
        let left = |cost: &Cost| {
            let usd = cost.at_confidence(confidence).dollars();
            let hours = cost.hours_at_confidence(confidence).0;
            (available - usd, (deadline - hours) * machine.usd_per_hour.dollars())
        };
        let bill = |samples: u64| {
            let stages = shape.stages(samples, reduction)?;
            let (evaluation, cost) = self.bill(shape.architecture, &stages, machine);
            Some((samples, stages, evaluation, cost))
        };
        let mut samples = round_down(rough.samples.max(FEWEST_USEFUL_SAMPLES)).max(FEWEST_USEFUL_SAMPLES);
        for _ in 0..6 {
            let (_, _, _, cost) = bill(samples)?;
            let growing =
                shape.amounts().into_iter().zip(&cost.stages).filter(|((_, factor), _)| *factor > 0.0);
            let part: f64 = growing.map(|(_, stage)| stage.usd.quantile(confidence).dollars()).sum();
            let (money, time) = left(&cost);
            let change = (money.min(time) / part.max(f64::MIN_POSITIVE)).clamp(-0.9, 4.0);
            let next = round_down((samples as f64 * (1.0 + change)) as u64).max(FEWEST_USEFUL_SAMPLES);
            // Once more on the menu's edge: amounts that no longer apply end the search there.
            let next = if shape.stages(next, reduction).is_some() { next } else { samples };
            let near = next.abs_diff(samples) <= 2 * unit_of(samples);
            samples = next;
            if near {
                break;
            }
        }
        let within = |cost: &Cost| {
            let (money, time) = left(cost);
            money >= 0.0 && time >= -1e-9
        };
        let mut found = bill(samples)?;
        if within(&found.3) {
            for _ in 0..MOST_STEPS {
                let Some(next) = bill(found.0 + unit_of(found.0)).filter(|next| within(&next.3)) else {
                    break;
                };
                found = next;
            }
        } else {
            for _ in 0..MOST_STEPS {
                if within(&found.3) || found.0 <= FEWEST_USEFUL_SAMPLES {
                    break;
                }
                found = bill(round_down(found.0 - 1).max(FEWEST_USEFUL_SAMPLES))?;
            }
        }
        let (money, time) = left(&found.3);
        let bound = if time < money { Bound::Deadline } else { Bound::Budget };
        let (samples, _, evaluation, cost) = found;
        let stages = self.fitted_stages_by(shape, samples, reduction, rough)?;
        Some((stages, evaluation, cost, bound))
    }

    fn fitted_stages_by(
        &self,
        shape: &Shape,
        samples: u64,
        reduction: ImageReduction,
        rough: &Rough,
    ) -> Option<Vec<Stage>> {
        let way = self.fitted_way_by(shape, samples, reduction, (rough.machine, rough.nodes))?;
        self.stages_by(shape, samples, way)
    }

    /// The bill, with as many evaluations as keep it reasonable.
    pub(super) fn bill(
        &self,
        architecture: &Architecture,
        stages: &[Stage],
        machine: &Machine,
    ) -> (Evaluation, Cost) {
        let speed = self.speed_of(machine);
        let rental = machine.rental();
        let cost_with = |evaluation: &Evaluation| {
            money::cost(architecture, stages, &speed, &rental, &self.options_on(evaluation, machine))
        };
        let share = |cost: &Cost| {
            let evaluating = cost.lines.iter().filter(|line| line.what == "evaluation");
            let usd: f64 = evaluating.map(|line| line.usd.p50.dollars()).sum();
            usd / cost.total.p50.dollars().max(f64::MIN_POSITIVE)
        };
        let mut evaluation = Evaluation::default();
        let mut cost = cost_with(&evaluation);
        for per_stage in EVALUATIONS_PER_STAGE {
            if evaluation.per_stage != per_stage {
                evaluation.per_stage = per_stage;
                cost = cost_with(&evaluation);
            }
            if share(&cost) <= LARGEST_EVALUATION_SHARE {
                break;
            }
        }
        // Even the last one takes too much: evaluate on fewer pictures.
        let large = share(&cost);
        let images = self.evaluation_load(&evaluation).images;
        if large > 2.0 * LARGEST_EVALUATION_SHARE && self.training.data.evaluation.is_some() && images > 100 {
            let fewer = images as f64 * LARGEST_EVALUATION_SHARE / large;
            evaluation.max_samples = Samples((fewer as u64).max(100));
            cost = cost_with(&evaluation);
        }
        (evaluation, cost)
    }

    /// Puts a candidate together. `None` where a step does not fit into memory.
    pub(super) fn candidate(
        &self,
        architecture: &'static Architecture,
        stages: Vec<Stage>,
        machine: Machine,
        (evaluation, cost): (Evaluation, Cost),
        bound: Bound,
    ) -> Option<Candidate> {
        let devices = machine.devices();
        let accelerator = machine.offer.accelerator;
        let memory = stages
            .iter()
            .map(|stage| {
                let image = stage.image_tokens(architecture);
                largest_microbatch(architecture, image, stage.text_tokens, accelerator, devices, stage.batch)
                    .ok()
            })
            .collect::<Option<Vec<_>>>()?;
        let shapes: Vec<StageShape> =
            stages.iter().map(|stage| StageShape::of(stage, architecture)).collect();
        let case = self.case(architecture, &shapes);
        let mut prediction = self.law.predict(&case);
        if !self.training.known {
            // Published accuracies say how plans rank on other data, not how accurate they are there.
            prediction.accuracy_percent = None;
        }
        let planned = stages
            .into_iter()
            .zip(&cost.stages)
            .map(|(stage, costed)| PlannedStage {
                image_tokens: stage.image_tokens(architecture),
                stage,
                time: costed.time,
                usd: costed.usd,
            })
            .collect();
        Some(Candidate {
            architecture,
            machine,
            stages: planned,
            evaluation,
            memory,
            prediction,
            evidence: None,
            extrapolation: Vec::new(),
            cost,
            bound,
        })
    }

    /// Adds what only a plan that is shown needs: the nearest published run and what is extrapolated.
    pub(super) fn with_evidence(&self, mut candidate: Candidate) -> Candidate {
        let shapes = candidate.shapes();
        let case = self.case(candidate.architecture, &shapes);
        candidate.evidence = self.law.nearest(&case);
        let outside = self.law.extrapolation(&case);
        candidate.extrapolation = outside.into_iter().map(|outside| outside.message).collect();
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::round_down;

    #[test]
    fn three_digits_are_kept() {
        for (from, to) in
            [(13_721_403_392, 13_700_000_000), (16_000, 16_000), (999, 999), (7, 7), (123_456, 123_000)]
        {
            assert_eq!(round_down(from), to);
        }
    }
}
