//! How long steps, evaluations and checkpoints will take: measured where possible, scaled by FLOPs from
//! another stage where not, and before anything was measured, what the plan says.

use shoestring_planner::compute::{forward_flops, parameters, training_flops};
use shoestring_planner::recipe::{ImageReduction, Recipe, Stage, kept_image_tokens};

use super::timing::{MARGIN_OF_CAP, MARGIN_STEPS, SAFETY, Timing};

/// A step of which nothing at all is known: enough for a small model anywhere, and too little only once.
const UNKNOWN_STEP_SECONDS: f64 = 10.0;
/// What is only guessed may be set aside up to this part of the cap, so that a crash before the first
/// measurement cannot cost more.
const GUESS_OF_CAP: f64 = 0.02;
/// A guess from another stage, or from the plan, may be off by this factor.
const GUESS_FACTOR: f64 = 2.0;
/// Disk speed before the first checkpoint, bytes a second, and what any checkpoint takes.
const DISK_BYTES_PER_SECOND: f64 = 1e8;
const SMALLEST_CHECKPOINT_SECONDS: f64 = 0.1;
/// Weights and two moments, four bytes each.
const BYTES_PER_PARAMETER: f64 = 12.0;
/// Reading and decoding a picture, beside the forward pass.
const DECODE_SECONDS: f64 = 0.002;

/// Seconds, of a recipe's parts.
#[derive(Clone, Debug)]
pub(crate) struct Forecast<'a> {
    recipe: &'a Recipe,
    /// Images of one evaluation.
    evaluation_samples: u64,
}

/// Seconds of the stages to come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Later {
    /// All their steps as planned.
    pub(crate) steps: f64,
    /// What they need besides.
    pub(crate) needed: f64,
    /// Each of the evaluations that they can do without.
    pub(crate) evaluations: Vec<f64>,
}

impl<'a> Forecast<'a> {
    pub(crate) fn new(recipe: &'a Recipe, evaluation_samples: u64) -> Self {
        Self { recipe, evaluation_samples }
    }

    /// Wall-clock seconds that the whole cap pays for; infinite when time is free.
    pub(crate) fn cap_seconds(&self) -> f64 {
        let price = self.recipe.hardware.usd_per_hour.dollars();
        if price > 0.0 { self.recipe.budget.cap_usd.dollars() / price * 3600.0 } else { f64::INFINITY }
    }

    fn guess(&self, seconds: f64) -> f64 {
        seconds.min(GUESS_OF_CAP * self.cap_seconds())
    }

    /// One step of a stage at its worst.
    pub(crate) fn slowest_step(&self, timing: &Timing, stage: usize) -> f64 {
        let measured = timing.slowest_step(&self.recipe.stages[stage].name);
        measured.unwrap_or_else(|| self.guessed_step(timing, stage))
    }

    /// What is set aside for one step of a stage. A guess is large enough as it is.
    pub(crate) fn reserved_step(&self, timing: &Timing, stage: usize) -> f64 {
        let measured = timing.slowest_step(&self.recipe.stages[stage].name);
        measured.map_or_else(|| self.guessed_step(timing, stage), |slowest| SAFETY * slowest)
    }

    /// What is held back beside the last checkpoint and the last evaluation: where steps are dear, no more than
    /// one of them.
    pub(crate) fn margin(&self, timing: &Timing, stage: usize) -> f64 {
        let step = self.slowest_step(timing, stage);
        (MARGIN_STEPS * step).min(step.max(MARGIN_OF_CAP * self.cap_seconds()))
    }

    /// One step of a stage as it usually is.
    pub(crate) fn usual_step(&self, timing: &Timing, stage: usize) -> f64 {
        let measured = timing.usual_step(&self.recipe.stages[stage].name);
        measured.unwrap_or_else(|| self.guessed_step(timing, stage) / GUESS_FACTOR)
    }

    fn guessed_step(&self, timing: &Timing, stage: usize) -> f64 {
        let planned = |stage: usize| self.planned_step(stage);
        // The plan knows how much less of a machine short sequences use; FLOPs alone do not.
        let weight = |index: usize| match (planned(index), planned(stage)) {
            (Some(of_other), Some(of_this)) => of_this / of_other,
            _ => self.step_flops(stage) / self.step_flops(index),
        };
        let known = self.recipe.stages.iter().enumerate().rev().find_map(|(index, other)| {
            // A machine that has become slower is slower in the other stages too.
            let seconds = timing.present_step(&other.name).or_else(|| timing.usual_step(&other.name))?;
            Some(seconds * weight(index))
        });
        if let Some(seconds) = known {
            return seconds * GUESS_FACTOR;
        }
        self.guess(planned(stage).map_or(UNKNOWN_STEP_SECONDS, |seconds| seconds * GUESS_FACTOR))
    }

    /// What the plan says one step of a stage takes, in seconds; `None` where it says nothing.
    fn planned_step(&self, stage: usize) -> Option<f64> {
        let stage = &self.recipe.stages[stage];
        let planned = self.recipe.planned.as_ref()?.stages.iter().find(|row| row.name == stage.name)?;
        let seconds = planned.hours.seconds() / stage.steps() as f64;
        (seconds.is_finite() && seconds > 0.0).then_some(seconds)
    }

    /// Training FLOPs of one step of a stage.
    fn step_flops(&self, stage: usize) -> f64 {
        let (architecture, stage) = (&self.recipe.architecture, &self.recipe.stages[stage]);
        let sample = training_flops(architecture, stage.image_tokens(architecture), stage.text_tokens);
        sample.0 * f64::from(stage.batch)
    }

    /// Forward FLOPs of one evaluation: every patch of every image; the prompts are few beside them.
    fn evaluation_flops(&self, stage: &Stage) -> f64 {
        let architecture = &self.recipe.architecture;
        let side = stage.image_size_px / architecture.vision_cfg.patch_size;
        let tokens = kept_image_tokens(ImageReduction::Resize, 0.0, side);
        forward_flops(architecture, tokens, stage.text_tokens).total().0 * self.evaluation_samples as f64
    }

    /// What is held for the last evaluation, if it is one of this stage.
    pub(crate) fn held_evaluation(&self, timing: &Timing, stage: usize) -> f64 {
        let measured = timing.evaluation(&self.recipe.stages[stage].name).is_some();
        self.evaluation(timing, stage) * if measured { SAFETY } else { 1.0 }
    }

    /// One evaluation in a stage: measured, or as much as a guess may be off; zero where nothing is evaluated.
    pub(crate) fn evaluation(&self, timing: &Timing, stage: usize) -> f64 {
        let measured = timing.evaluation(&self.recipe.stages[stage].name);
        measured.unwrap_or_else(|| self.guessed_evaluation(timing, stage, GUESS_FACTOR))
    }

    /// One evaluation in a stage as it will most likely be.
    pub(crate) fn usual_evaluation(&self, timing: &Timing, stage: usize) -> f64 {
        let measured = timing.evaluation(&self.recipe.stages[stage].name);
        measured.unwrap_or_else(|| self.guessed_evaluation(timing, stage, 1.0))
    }

    /// As much dearer by the FLOP than training as it was in another stage.
    fn guessed_evaluation(&self, timing: &Timing, stage: usize, factor: f64) -> f64 {
        if self.evaluation_samples == 0 {
            return 0.0;
        }
        let by_flops = |index: usize| {
            let flops = self.evaluation_flops(&self.recipe.stages[index]) / self.step_flops(index);
            self.present_step(timing, index) * flops
        };
        let known = self.recipe.stages.iter().enumerate().rev().find_map(|(index, other)| {
            let by_flops = by_flops(index);
            (by_flops > 0.0).then_some(timing.evaluation(&other.name)? / by_flops)
        });
        if let Some(dearer) = known {
            return dearer * by_flops(stage) * factor.min(SAFETY);
        }
        let decoding = DECODE_SECONDS * self.evaluation_samples as f64;
        let seconds = by_flops(stage) * factor + decoding;
        let trained = timing.usual_step(&self.recipe.stages[stage].name).is_some();
        if trained { seconds } else { self.guess(seconds) }
    }

    /// One checkpoint.
    pub(crate) fn checkpoint(&self, timing: &Timing) -> f64 {
        timing.checkpoint().unwrap_or_else(|| {
            let bytes = parameters(&self.recipe.architecture).total as f64 * BYTES_PER_PARAMETER;
            self.guess(SMALLEST_CHECKPOINT_SECONDS + bytes / DISK_BYTES_PER_SECOND)
        })
    }

    /// One step of a stage as it is at present: measured, or as it usually is.
    pub(crate) fn present_step(&self, timing: &Timing, stage: usize) -> f64 {
        let measured = timing.present_step(&self.recipe.stages[stage].name);
        measured.unwrap_or_else(|| self.usual_step(timing, stage))
    }

    /// What the stages after `stage` will take as planned.
    pub(crate) fn later(&self, timing: &Timing, stage: usize) -> Later {
        let mut later = Later::default();
        let last = self.recipe.stages.len() - 1;
        for (index, of_stage) in self.recipe.stages.iter().enumerate().skip(stage + 1) {
            let evaluation = self.usual_evaluation(timing, index);
            let on_the_way = evaluation_steps(of_stage.steps(), self.recipe.evaluation.per_stage).len();
            later.steps += self.usual_step(timing, index) * of_stage.steps() as f64;
            if index == last {
                // The very last evaluation is what the money was spent for; the others are for those who watch. And
                // without what is held while nothing of the stage is measured, no step of it would begin.
                let first_step = self.reserved_step(timing, index) - self.usual_step(timing, index);
                later.needed += SAFETY * self.checkpoint(timing)
                    + self.held_evaluation(timing, index)
                    + self.margin(timing, index)
                    + first_step.max(0.0);
            } else {
                later.needed += self.checkpoint(timing);
            }
            let optional = on_the_way + usize::from(index < last);
            later.evaluations.extend(std::iter::repeat_n(evaluation, optional));
        }
        later
    }

    /// Everything that is still to be done after `stage_step` steps of `stage`, as things usually are.
    pub(crate) fn remaining(&self, timing: &Timing, stage: usize, stage_step: u64) -> f64 {
        let mut seconds = 0.0;
        for (index, of_stage) in self.recipe.stages.iter().enumerate().skip(stage) {
            let done = if index == stage { stage_step } else { 0 };
            let steps = of_stage.steps().saturating_sub(done);
            if steps == 0 {
                continue;
            }
            let left = steps as f64 / of_stage.steps() as f64;
            let evaluations = (f64::from(self.recipe.evaluation.per_stage) * left).floor() + 1.0;
            seconds += self.usual_step(timing, index) * steps as f64;
            seconds += self.usual_evaluation(timing, index) * evaluations + self.checkpoint(timing);
        }
        seconds
    }
}

/// Steps of a stage after which it is evaluated, besides its end: evenly spread.
pub(crate) fn evaluation_steps(steps: u64, per_stage: u32) -> Vec<u64> {
    let parts = u64::from(per_stage) + 1;
    let mut points: Vec<u64> = (1..parts)
        .map(|part| {
            // Exact in integers whatever the number of steps.
            let point = u128::from(part) * u128::from(steps) / u128::from(parts);
            u64::try_from(point).unwrap_or(steps)
        })
        .filter(|&point| point > 0 && point < steps)
        .collect();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_are_spread_evenly_and_never_at_the_ends() {
        assert_eq!(evaluation_steps(60, 1), [30]);
        assert_eq!(evaluation_steps(100, 3), [25, 50, 75]);
        assert_eq!(evaluation_steps(2, 3), [1]);
        assert!(evaluation_steps(1, 3).is_empty());
        assert!(evaluation_steps(10, 0).is_empty());
    }
}
