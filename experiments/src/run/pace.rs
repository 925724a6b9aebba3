//! How far the schedule of a stage is: a function of its steps and of the re-plans on record.
//!
//! Progress is samples done of samples planned until money says otherwise. A re-plan at progress p with n
//! steps to go (fewer than planned, since the money left pays for no more) lets progress run evenly from p to
//! 1 over those n steps. So it is never behind dollars spent of the budget, it is never behind samples done
//! of samples planned, and given the re-plans it is the same whenever and wherever it is computed.

use serde::{Deserialize, Serialize};
use shoestring_planner::recipe::Stage;
use shoestring_planner::units::Usd;

/// A change of how many steps a stage has, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replan {
    /// Name of the stage.
    pub stage: String,
    /// Steps since the run began.
    pub step: u64,
    /// Steps of the stage that were done.
    pub stage_step: u64,
    /// Progress of the schedule there, 0 to 1, in steps of 2^-40.
    #[serde(deserialize_with = "read_progress")]
    pub progress: f64,
    /// Steps of the stage that the recipe plans.
    pub planned_steps: u64,
    /// Steps of the stage before.
    pub steps_before: u64,
    /// Steps of the stage from now on.
    pub steps_now: u64,
    /// What was left under the cap.
    pub left_usd: Usd,
    /// What a step costs now.
    pub usd_per_step: f64,
    /// Why, for people.
    pub reason: String,
}

/// Few enough bits that a decimal number that is off in its last bit is read back as what was written.
pub(super) fn snapped(progress: f64) -> f64 {
    const STEPS: f64 = (1u64 << 40) as f64;
    (progress * STEPS).round() / STEPS
}

fn read_progress<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    f64::deserialize(deserializer).map(snapped)
}

/// The schedule of one stage.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    batch: f64,
    samples: f64,
    planned_steps: u64,
    /// Those of this stage, in order.
    replans: Vec<Replan>,
}

impl Pace {
    /// The pace of `stage` after those of `replans` that belong to it.
    pub(crate) fn new(stage: &Stage, replans: &[Replan]) -> Self {
        Self {
            batch: f64::from(stage.batch),
            samples: stage.samples.0 as f64,
            planned_steps: stage.steps(),
            replans: replans.iter().filter(|replan| replan.stage == stage.name).cloned().collect(),
        }
    }

    /// Steps of the stage.
    pub(crate) fn steps(&self) -> u64 {
        self.replans.last().map_or(self.planned_steps, |replan| replan.steps_now)
    }

    /// Progress of the schedule after `stage_step` steps, 0 to 1.
    pub(crate) fn progress(&self, stage_step: u64) -> f64 {
        let Some(last) = self.replans.iter().rev().find(|replan| replan.stage_step <= stage_step) else {
            return (stage_step as f64 * self.batch / self.samples).min(1.0);
        };
        let (done, steps) = (stage_step - last.stage_step, last.steps_now - last.stage_step);
        if done >= steps {
            return 1.0;
        }
        last.progress + (1.0 - last.progress) * done as f64 / steps as f64
    }

    /// Steps that the schedule would still have after `stage_step` if money did not bind.
    pub(crate) fn wanted(&self, stage_step: u64) -> f64 {
        (1.0 - self.progress(stage_step)) * self.planned_steps as f64
    }

    /// How many steps the stage should have when a part `share` of what it still wants can be paid for, if
    /// that is worth a change: 2 % of what is to come downwards, 5 % upwards, so that noise changes nothing.
    pub(crate) fn replanned(&self, stage_step: u64, share: f64) -> Option<u64> {
        let more = (share.clamp(0.0, 1.0) * self.wanted(stage_step) + 1e-9).floor() as u64;
        let (now, before) = ((stage_step + more).min(self.planned_steps), self.steps());
        let to_come = before.saturating_sub(stage_step) as f64;
        let worth = if now < before {
            (before - now) as f64 >= (0.02 * to_come).max(2.0)
        } else {
            (now - before) as f64 >= (0.05 * to_come).max(2.0)
        };
        worth.then_some(now)
    }

    /// Records a re-plan.
    pub(crate) fn take(&mut self, replan: Replan) {
        self.replans.push(replan);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::run::tests::small_recipe;

    fn replan(pace: &Pace, stage_step: u64, steps_now: u64) -> Replan {
        Replan {
            stage: "pretrain".into(),
            step: stage_step,
            stage_step,
            progress: pace.progress(stage_step),
            planned_steps: 60,
            steps_before: pace.steps(),
            steps_now,
            left_usd: Usd::ZERO,
            usd_per_step: 0.0,
            reason: String::new(),
        }
    }

    #[test]
    fn without_money_it_is_samples_done_of_samples_planned() {
        let pace = Pace::new(&small_recipe().stages[0], &[]);
        assert_eq!(pace.steps(), 60);
        assert_eq!([0, 15, 60, 70].map(|step| pace.progress(step)), [0.0, 0.25, 1.0, 1.0]);
        assert_eq!(pace.replanned(15, 1.0), None);
        assert_eq!(pace.replanned(15, 7.0), None, "a fast run ends with its samples");
    }

    #[test]
    fn fewer_steps_still_end_at_one_and_nothing_before_changes() {
        let mut pace = Pace::new(&small_recipe().stages[0], &[]);
        assert_eq!(pace.replanned(30, 0.5), Some(45));
        pace.take(replan(&pace, 30, 45));
        assert_eq!([15, 30, 45].map(|step| pace.progress(step)), [0.25, 0.5, 1.0]);
        assert!((pace.progress(33) - 0.6).abs() < 1e-12);
        // The machine recovers: 20 of the 30 wanted after step 30 are still to be had.
        assert_eq!(pace.replanned(33, 1.0), Some(57));
        pace.take(replan(&pace, 33, 57));
        assert!((pace.progress(45) - 0.8).abs() < 1e-12);
        assert_eq!(pace.progress(57), 1.0);
        assert_eq!(pace.replanned(33, 0.99), None, "noise");
    }

    proptest! {
        #[test]
        fn a_recorded_progress_is_read_back_to_the_bit(progress in 0.0..1.0f64) {
            let mut pace = Pace::new(&small_recipe().stages[0], &[]);
            pace.take(Replan { progress: snapped(progress), ..replan(&pace, 30, 45) });
            let text = serde_json::to_string(&pace.replans).expect("has a JSON form");
            let read: Vec<Replan> = serde_json::from_str(&text).expect("is read back");
            prop_assert_eq!(read, pace.replans);
        }

        #[test]
        fn progress_never_falls_and_is_never_behind_the_samples(
            shares in prop::collection::vec((1u64..12, 0.0..1.5f64), 0..8),
        ) {
            let mut pace = Pace::new(&small_recipe().stages[0], &[]);
            let mut at = 0;
            for (steps, share) in shares {
                at = (at + steps).min(pace.steps());
                if let Some(now) = pace.replanned(at, share) {
                    prop_assert!((at..=60).contains(&now));
                    pace.take(replan(&pace, at, now));
                }
            }
            let mut before = 0.0;
            for step in 0..=pace.steps() {
                let progress = pace.progress(step);
                prop_assert!(progress >= before - 1e-12, "step {step}: {before} then {progress}");
                prop_assert!(progress >= step as f64 / 60.0 - 1e-9, "step {step}: {progress}");
                before = progress;
            }
            prop_assert!((pace.progress(pace.steps()) - 1.0).abs() < 1e-9);
        }
    }
}
