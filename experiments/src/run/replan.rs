//! Money that does not suffice for the plan: fewer steps, so that the schedule still ends at its end.

use shoestring_ledger::Refused;
use shoestring_planner::recipe::ScheduleProgress;

use super::course::{Course, append};
use super::error::RunError;
use super::forecast::{Later, evaluation_steps};
use super::pace::{Replan, snapped};
use super::timing::SAFETY;
use crate::records::{RECORDS_VERSION, ReplanLine};

/// Where the money pays for less than this part of the plan,
const SHORT: f64 = 0.9;
/// an evaluation on the way is left out if it takes more than this part of what is left.
const DEAR_EVALUATION: f64 = 0.02;

/// What the money left pays for, in seconds.
struct Outlook {
    /// The part of the steps of all stages that are still wanted, 0 to 1.
    share: f64,
    /// A step of the stage at hand, with its part of the checkpoints.
    step_seconds: f64,
    /// For the later stages in all.
    later_seconds: f64,
    /// Evaluations on the way that take longer than this are left out.
    dear_evaluation: f64,
}

impl Course<'_> {
    /// Looks at what the money left pays for. Where that is less than what the recipe plans, evaluations that are
    /// dear beside it are left out, and every stage to come has the same part of its steps, of which what is the
    /// later stages' is held back; where it is more again, the stage at hand has its steps back.
    pub(super) fn replan(&mut self) -> Result<(), RunError> {
        (self.later_seconds, self.dear_evaluation) = (0.0, f64::INFINITY);
        if self.recipe.budget.schedule_progress == ScheduleProgress::Samples {
            return Ok(());
        }
        let money = self.till.with(|guard| guard.seconds_of_work_for(guard.left()));
        if money.is_infinite() {
            return Ok(());
        }
        let (stage, at) = (self.position.stage, self.position.stage_step);
        // What is only guessed changes no plan.
        let measured = self.timing.present_step(&self.stage().name).is_some();
        let later = self.forecast.later(&self.timing, stage);
        let Outlook { share, step_seconds, later_seconds, dear_evaluation } = self.outlook(money, &later);
        (self.later_seconds, self.dear_evaluation) = (later_seconds, dear_evaluation);
        let Some(steps_now) = self.pace.replanned(at, share).filter(|_| measured) else { return Ok(()) };
        let reason = format!(
            "the money left pays for {:.0} % of what is planned at {step_seconds:.3} s a step",
            100.0 * share
        );
        self.record_replan(steps_now, step_seconds, reason)
    }

    /// What `money` seconds pay for when `later` is to come after this stage.
    fn outlook(&self, money: f64, later: &Later) -> Outlook {
        let stage = self.position.stage;
        // The checkpoints on the way come with the steps, at most one a step.
        let bare = self.forecast.present_step(&self.timing, stage);
        let checkpoints = self.forecast.checkpoint(&self.timing)
            / self.checkpoint_interval().max(bare).max(f64::MIN_POSITIVE);
        let step_seconds = bare * (1.0 + checkpoints);
        let later_steps = later.steps * (1.0 + checkpoints);
        // More is set aside for the last step than it will take.
        let beyond = (self.forecast.reserved_step(&self.timing, stage) - bare).max(0.0);
        let ends_here = self.is_last_stage();
        let last_evaluation =
            if ends_here { self.forecast.held_evaluation(&self.timing, stage) } else { 0.0 };
        let needed = SAFETY * self.forecast.checkpoint(&self.timing)
            + last_evaluation
            + self.forecast.margin(&self.timing, stage)
            + beyond;
        let steps = step_seconds * self.pace.wanted(self.position.stage_step) + later_steps;
        let evaluation = self.forecast.usual_evaluation(&self.timing, stage);
        let to_come = (self.evaluations_to_come() + usize::from(!ends_here)) as f64;
        // Evaluations on the way that take no longer than this each: here, and in later stages.
        let on_the_way = |most: f64| {
            let here = if evaluation <= most { to_come * evaluation } else { 0.0 };
            let of_later: f64 = later.evaluations.iter().filter(|one| **one <= most).sum();
            (here, of_later)
        };
        let share_beside = |(here, of_later): (f64, f64)| {
            let room = (money - needed - later.needed - here - of_later).max(0.0);
            if steps > 0.0 { (room / steps).min(1.0) } else { 1.0 }
        };
        let mut dear_evaluation = f64::INFINITY;
        let mut evaluations = on_the_way(dear_evaluation);
        let mut share = share_beside(evaluations);
        if share < SHORT {
            dear_evaluation = DEAR_EVALUATION * money;
            evaluations = on_the_way(dear_evaluation);
            share = share_beside(evaluations);
        }
        let later_seconds = (share * later_steps + later.needed + evaluations.1).min(money);
        Outlook { share, step_seconds, later_seconds, dear_evaluation }
    }

    /// Evaluations that are still to come within the stage at hand.
    fn evaluations_to_come(&self) -> usize {
        if self.executor.evaluation_samples() == 0 {
            return 0;
        }
        let (at, step) = (self.position.stage_step, self.position.step);
        let points = evaluation_steps(self.stage().steps(), self.recipe.evaluation.per_stage);
        let to_come = |point: &&u64| **point > at || **point == at && !self.evaluated.contains_key(&step);
        points.iter().filter(|point| **point < self.pace.steps()).filter(to_come).count()
    }

    /// Whether the money for an evaluation here is better spent on steps.
    pub(super) fn evaluation_is_too_dear(&mut self) -> bool {
        let seconds = self.forecast.usual_evaluation(&self.timing, self.position.stage);
        if seconds <= self.dear_evaluation {
            return false;
        }
        let step = self.position.step;
        self.say(&format!(
            "step {step}: not evaluated, which would take {seconds:.1} s: the money left is for steps"
        ));
        true
    }

    /// Ends a stage at once when what is left is the later stages' money; says whether it did.
    pub(super) fn end_stage_for_later_ones(&mut self, refused: &Refused) -> Result<bool, RunError> {
        let at = self.position.stage_step;
        if self.later_seconds <= 0.0 || at == 0 {
            return Ok(false);
        }
        let step_seconds = self.forecast.present_step(&self.timing, self.position.stage);
        let reason = format!("what is left is for the stages after this one: {refused}");
        self.record_replan(at, step_seconds, reason)?;
        Ok(true)
    }

    fn record_replan(&mut self, steps_now: u64, step_seconds: f64, reason: String) -> Result<(), RunError> {
        let (position, stage) = (self.position, self.stage());
        let (left_usd, price) = self.till.with(|guard| (guard.left(), guard.usd_per_hour().dollars()));
        let replan = Replan {
            stage: stage.name.clone(),
            step: position.step,
            stage_step: position.stage_step,
            progress: snapped(self.pace.progress(position.stage_step)),
            planned_steps: stage.steps(),
            steps_before: self.pace.steps(),
            steps_now,
            left_usd,
            usd_per_step: step_seconds / 3600.0 * price,
            reason,
        };
        let text = format!(
            "step {}: stage {} has {} steps now, {} before, {} planned: {}",
            replan.step, replan.stage, steps_now, replan.steps_before, replan.planned_steps, replan.reason
        );
        self.till.with(|guard| guard.note(&stage.name, position.step, text.as_str()))?;
        let line = ReplanLine { version: RECORDS_VERSION, time: self.clock.now(), replan: replan.clone() };
        append(&mut self.replan_lines, &line)?;
        self.say(&text);
        self.pace.take(replan.clone());
        self.replans.push(replan);
        Ok(())
    }
}
