//! Money that does not suffice for the plan: fewer steps, so that the schedule still ends at its end.

use shoestring_ledger::Refused;
use shoestring_planner::recipe::ScheduleProgress;

use super::course::{Course, append};
use super::error::RunError;
use super::pace::{Replan, snapped};
use super::timing::SAFETY;
use crate::records::{RECORDS_VERSION, ReplanLine};

impl Course<'_> {
    /// Looks at what the money left pays for. Where that is less than what the recipe plans, every stage to
    /// come has the same part of its steps, and what is the later stages' is held back; where it is more
    /// again, the stage at hand has its steps back.
    pub(super) fn replan(&mut self) -> Result<(), RunError> {
        self.later_seconds = 0.0;
        if self.recipe.budget.schedule_progress == ScheduleProgress::Samples {
            return Ok(());
        }
        let money = self.till.with(|guard| guard.seconds_of_work_for(guard.left()));
        if money.is_infinite() {
            return Ok(());
        }
        let (stage, at) = (self.position.stage, self.position.stage_step);
        let wanted = self.pace.wanted(at);
        // The checkpoints on the way come with the steps, at most one a step.
        let bare = self.forecast.present_step(&self.timing, stage);
        let checkpoints = self.forecast.checkpoint(&self.timing)
            / self.checkpoint_interval().max(bare).max(f64::MIN_POSITIVE);
        let step_seconds = bare * (1.0 + checkpoints);
        let (later_steps, later_rest) = self.forecast.later(&self.timing, stage);
        let later_steps = later_steps * (1.0 + checkpoints);
        let last = self.forecast.checkpoint(&self.timing) + self.forecast.evaluation(&self.timing, stage);
        // More is set aside for the last step than it will take.
        let beyond = (self.forecast.reserved_step(&self.timing, stage) - bare).max(0.0);
        let rest = self.forecast.evaluations(&self.timing, stage, wanted)
            + SAFETY * last
            + self.forecast.margin(&self.timing, stage)
            + beyond;
        let room = (money - rest - later_rest).max(0.0);
        let needed = step_seconds * wanted + later_steps;
        let share = if needed > 0.0 { (room / needed).min(1.0) } else { 1.0 };
        self.later_seconds = (share * later_steps + later_rest).min(money);
        // What is only guessed changes no plan.
        if self.timing.present_step(&self.stage().name).is_none() {
            return Ok(());
        }
        let Some(steps_now) = self.pace.replanned(at, share) else { return Ok(()) };
        let reason = format!(
            "the money left pays for {:.0} % of what is planned at {step_seconds:.3} s a step",
            100.0 * share
        );
        self.record_replan(steps_now, step_seconds, reason)
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
