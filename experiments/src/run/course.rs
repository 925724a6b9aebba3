//! The course of a run: steps, evaluations and checkpoints in their order, each within its quantum of money.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shoestring_ledger::{Clock, Purpose, Refused, ReserveError};
use shoestring_planner::recipe::{Recipe, Stage};
use shoestring_planner::units::Usd;

use super::checkpoint;
use super::directory::RunDirectory;
use super::error::RunError;
use super::evaluate::EvaluationEnd;
use super::executor::{Executor, Saved, Stepped};
use super::forecast::{Forecast, evaluation_steps};
use super::lock::RunLock;
use super::log::Log;
use super::observer::{Observer, StageProgress, StepProgress};
use super::pace::{Pace, Replan};
use super::price::PriceFile;
use super::state::{STATE_VERSION, State};
use super::timing::{SAFETY, Timing};
use crate::events::Events;
use crate::records::{EvaluationLine, LineFile, MetricsLine, RECORDS_VERSION};
use crate::till::Till;

/// Where time is free, so that spending never makes a checkpoint due: one this often.
const FREE_CHECKPOINT_SECONDS: f64 = 600.0;
/// A stage has about this many metrics lines if it is short, and one every [`MOST_STEPS_A_LINE`] if it is
/// long.
const LINES_A_STAGE: u64 = 100;
const MOST_STEPS_A_LINE: u64 = 10;

/// Where training stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// Place of the stage, from 0.
    pub(crate) stage: usize,
    /// Steps of it that are done.
    pub(crate) stage_step: u64,
    /// Steps since the run began.
    pub(crate) step: u64,
    /// Samples since the run began.
    pub(crate) samples_seen: u64,
}

/// Why the course came to its end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Halt {
    /// Everything is done.
    Finished,
    /// The next piece of work does not fit under the cap.
    CapReached(Refused),
    /// Asked to stop.
    Stopped,
    /// As much is spent as this process was to spend.
    Paused,
}

/// A run being carried out by this process.
pub(crate) struct Course<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) directory: &'a RunDirectory,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: Arc<AtomicBool>,
    /// The machine is about to be taken back once this file is there.
    pub(crate) notice: Option<PathBuf>,
    pub(crate) price: Option<PriceFile>,
    pub(crate) observer: &'a mut dyn Observer,
    pub(crate) lock: &'a RunLock,
    pub(crate) log: &'a mut Log,
    pub(crate) till: &'a Till,
    /// What is left under the cap but not for this process to spend.
    pub(crate) beyond: Usd,
    /// Work was refused for that reason alone.
    pub(crate) pausing: bool,
    pub(crate) executor: Box<dyn Executor + 'a>,
    pub(crate) forecast: Forecast<'a>,
    pub(crate) timing: Timing,
    pub(crate) position: Position,
    /// The schedule of the stage at hand.
    pub(crate) pace: Pace,
    /// All re-plans so far, and the file that tells of them.
    pub(crate) replans: Vec<Replan>,
    pub(crate) replan_lines: LineFile,
    /// Seconds that the stages after this one are to have.
    pub(crate) later_seconds: f64,
    /// Evaluations on the way that take longer are left out, in seconds.
    pub(crate) dear_evaluation: f64,
    /// Whether the executor is in the stage of the position.
    pub(crate) entered: bool,
    pub(crate) metrics: LineFile,
    pub(crate) evaluations: LineFile,
    pub(crate) events: Events,
    /// The evaluation after each step that has one, by this process or one before.
    pub(crate) evaluated: HashMap<u64, EvaluationLine>,
    pub(crate) last_checkpoint: Option<(u64, PathBuf)>,
    /// Settled money, and the clock's seconds, when the last checkpoint was written.
    pub(crate) checkpoint_settled: Usd,
    pub(crate) checkpoint_at: f64,
    /// Samples and seconds of steps since the last metrics line.
    pub(crate) since_line: (u64, f64),
    /// Bad samples that were spoken of.
    pub(crate) bad_said: u64,
}

impl<'a> Course<'a> {
    pub(crate) fn stage(&self) -> &'a Stage {
        &self.recipe.stages[self.position.stage]
    }

    pub(crate) fn is_last_stage(&self) -> bool {
        self.position.stage + 1 == self.recipe.stages.len()
    }

    pub(super) fn seconds(&self) -> f64 {
        self.clock.elapsed().as_secs_f64()
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.log.say(self.clock.now(), self.observer, text);
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.notice.as_ref().is_some_and(|notice| notice.exists())
    }

    /// What must stay free when `hold` is held back: that, or what is not for this process to spend with the
    /// checkpoint that it ends with. What is held back may well be what the next process spends.
    pub(super) fn free_of(&self, hold: Usd) -> Usd {
        if self.beyond == Usd::ZERO {
            return hold;
        }
        let checkpoint = SAFETY * self.forecast.checkpoint(&self.timing);
        hold.max(self.beyond + self.till.with(|guard| guard.worst_cost_of(checkpoint)))
    }

    /// Seconds of work that there is money for beside `hold` seconds.
    fn room(&self, hold: f64) -> f64 {
        let free = self.free_of(Usd::ZERO);
        self.till.with(|guard| {
            let left = guard.left();
            let beside_hold = guard.seconds_of_work_for(left) - hold;
            beside_hold.min(guard.seconds_of_work_for(left.minus_or_zero(free)))
        })
    }

    /// What this process may still spend.
    pub(super) fn left(&self) -> Usd {
        self.till.left().minus_or_zero(self.beyond)
    }

    /// Carries on until there is a reason to halt. Nothing is charged or written for the halt itself.
    pub(crate) fn go(&mut self) -> Result<Halt, RunError> {
        loop {
            self.enter_stage()?;
            if let Some(halt) = self.train_stage()? {
                return Ok(halt);
            }
            self.say_bad_samples();
            if self.is_last_stage() {
                return Ok(Halt::Finished);
            }
            if self.needs_checkpoint() && !self.checkpoint(Some(self.hold()))? {
                self.say("no money for a checkpoint at the end of the stage");
            }
            if !self.evaluation_is_too_dear()
                && let EvaluationEnd::Stopped = self.evaluate(false)?
            {
                return Ok(Halt::Stopped);
            }
            self.position.stage += 1;
            self.position.stage_step = 0;
            self.entered = false;
            self.pace = Pace::new(self.stage(), &self.replans);
        }
    }

    /// Says what was skipped of the data, if that is more than was said before.
    pub(crate) fn say_bad_samples(&mut self) {
        let drawn = self.executor.drawn();
        let bad: u64 = drawn.bad.values().sum();
        if bad <= self.bad_said {
            return;
        }
        self.bad_said = bad;
        let causes: Vec<String> = drawn.bad.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        let mut text = format!(
            "{bad} of {} samples drawn could not be used, others took their place: {}",
            drawn.samples,
            causes.join(", ")
        );
        for example in self.executor.bad_examples() {
            text.push_str(&format!("\n  {example}"));
        }
        self.say(&text);
    }

    fn enter_stage(&mut self) -> Result<(), RunError> {
        let stage = self.stage();
        if !self.entered {
            self.executor.enter_stage(self.position.stage)?;
            self.entered = true;
        }
        self.since_line = (0, 0.0);
        let steps = self.pace.steps();
        let progress = StageProgress {
            name: &stage.name,
            index: self.position.stage,
            stages: self.recipe.stages.len(),
            stage_step: self.position.stage_step,
            stage_steps: steps,
            batch: stage.batch,
            image_size_px: stage.image_size_px,
            image_tokens: stage.image_tokens(&self.recipe.architecture).0,
            text_tokens: stage.text_tokens.0,
        };
        self.observer.stage_started(&progress);
        let text =
            format!("stage {}, from step {} of {}", stage.name, progress.stage_step, progress.stage_steps);
        self.log.write(self.clock.now(), &text);
        Ok(())
    }

    /// Trains to the end of the stage; the evaluations on the way are done, the one at the end is not.
    fn train_stage(&mut self) -> Result<Option<Halt>, RunError> {
        let stage = self.stage();
        let points = evaluation_steps(stage.steps(), self.recipe.evaluation.per_stage);
        loop {
            if self.stopped() {
                return Ok(Some(Halt::Stopped));
            }
            let at = self.position.stage_step;
            self.follow_price()?;
            self.replan()?;
            let due = points.contains(&at) && !self.evaluated.contains_key(&self.position.step);
            if due && !self.evaluation_is_too_dear() {
                match self.evaluate(false)? {
                    EvaluationEnd::Stopped => return Ok(Some(Halt::Stopped)),
                    EvaluationEnd::Done | EvaluationEnd::Refused(_) => {}
                }
                self.replan()?;
            }
            if at >= self.pace.steps() {
                return Ok(None);
            }
            if self.checkpoint_is_due() {
                // Where it does not fit, the next steps will not either, and the halt sees to the checkpoint.
                self.checkpoint(Some(self.hold()))?;
            }
            let end = self.pace.steps();
            let until = points.iter().copied().find(|&point| point > at).unwrap_or(end).min(end);
            if let Some(refused) = self.train_quantum(until - at)? {
                if self.pausing {
                    return Ok(Some(Halt::Paused));
                }
                if !self.end_stage_for_later_ones(&refused)? {
                    return Ok(Some(Halt::CapReached(refused)));
                }
            }
        }
    }

    /// Seconds that the last checkpoint and the last evaluation, be it of this stage or of a later one, and the
    /// stages after this one are to have: money that no step touches, however long it takes.
    fn untouchable(&self) -> f64 {
        let evaluation = self.forecast.held_evaluation(&self.timing, self.position.stage);
        SAFETY * self.forecast.checkpoint(&self.timing) + evaluation.max(self.later_seconds)
    }

    /// Seconds that must stay free while training: what is untouchable, and a margin of steps.
    pub(crate) fn hold(&self) -> f64 {
        self.untouchable() + self.forecast.margin(&self.timing, self.position.stage)
    }

    /// At most `most` steps within one reserve. `Some` when not even one fits under the cap.
    fn train_quantum(&mut self, most: u64) -> Result<Option<Refused>, RunError> {
        let stage = self.stage();
        let worst = self.forecast.reserved_step(&self.timing, self.position.stage);
        let usual = self.forecast.usual_step(&self.timing, self.position.stage);
        let hold = self.hold();
        let room = self.room(hold);
        // `as` saturates, and a room below nothing becomes no step.
        let fitting = (room / worst) as u64;
        // A checkpoint that becomes due on the way is not put off to the end of a longer quantum.
        let seconds = self.timing.quantum().min(self.seconds_until_checkpoint().max(0.0));
        let wanted = ((seconds / usual) as u64).clamp(1, most);
        let steps = wanted.min(fitting.max(1));
        let (amount, kept) = self.till.cost_of_next(steps as f64 * worst, hold);
        let untouchable = self.free_of(self.till.with(|guard| guard.worst_cost_of(self.untouchable())));
        let (name, step) = (&stage.name, self.position.step);
        let free = self.free_of(kept);
        let asked_at = self.seconds();
        match self.till.reserve(name, step, Purpose::Train, amount, free, untouchable) {
            Ok(()) => {}
            Err(ReserveError::Refused(refused)) => {
                self.pausing = self.beyond > Usd::ZERO && amount + kept <= self.till.left();
                return Ok(Some(refused));
            }
            Err(ReserveError::Ledger(error)) => return Err(error.into()),
        }
        let reserving = self.seconds() - asked_at;
        let trained = self.train_within(steps);
        let done_at = self.seconds();
        self.settle(trained)?;
        self.timing.ledger_took(reserving + self.seconds() - done_at);
        Ok(None)
    }

    fn train_within(&mut self, steps: u64) -> Result<(), RunError> {
        let stage = self.stage();
        for _ in 0..steps {
            let before = self.seconds();
            let progress = self.pace.progress(self.position.stage_step);
            let report = self.executor.step(progress)?;
            self.position.stage_step += 1;
            self.position.step += 1;
            self.position.samples_seen += u64::from(stage.batch);
            self.report_step(&report, before, progress)?;
            let took = self.seconds() - before;
            self.timing.step_took(&stage.name, took);
            let next = self.forecast.reserved_step(&self.timing, self.position.stage);
            if self.stopped() || self.till.seconds_left() < next {
                break;
            }
        }
        Ok(())
    }

    fn report_step(&mut self, report: &Stepped, before: f64, progress: f64) -> Result<(), RunError> {
        let stage = self.stage();
        let position = self.position;
        let spend_usd = self.till.spent_by_the_clock().dollars();
        self.since_line.0 += u64::from(stage.batch);
        let seconds = self.since_line.1 + (self.seconds() - before);
        let samples_per_second = if seconds > 0.0 { self.since_line.0 as f64 / seconds } else { 0.0 };
        self.observer.step(&StepProgress {
            stage: &stage.name,
            stage_step: position.stage_step,
            stage_steps: self.pace.steps(),
            step: position.step,
            steps: total_steps(self.recipe),
            loss: report.loss,
            samples_per_second,
            spend_usd,
            cap_usd: self.recipe.budget.cap_usd.dollars(),
        });
        if let Some(tensor) = &report.skipped {
            let step = position.step;
            self.say(&format!("step {step}: `{tensor}` was not finite, so that nothing was changed"));
        }
        self.since_line.1 += self.seconds() - before;
        let every = (stage.steps() / LINES_A_STAGE).clamp(1, MOST_STEPS_A_LINE);
        let (first, last) = (position.stage_step == 1, position.stage_step == self.pace.steps());
        if first || last || position.stage_step.is_multiple_of(every) {
            let seconds = self.since_line.1;
            let line = MetricsLine {
                version: RECORDS_VERSION,
                time: self.clock.now(),
                stage: stage.name.clone(),
                step: position.step,
                stage_step: position.stage_step,
                samples_seen: position.samples_seen,
                loss: report.loss,
                learning_rate: report.learning_rate,
                logit_scale: report.logit_scale,
                grad_norm: report.grad_norm,
                samples_per_second: if seconds > 0.0 { self.since_line.0 as f64 / seconds } else { 0.0 },
                spend_usd: self.till.spent_by_the_clock().dollars(),
                schedule_progress: Some(progress),
            };
            append(&mut self.metrics, &line)?;
            if let Some(told) = self.events.metrics(&line) {
                self.say(&told);
            }
            self.since_line = (0, 0.0);
        }
        Ok(())
    }

    /// Charges the open quantum whatever came of its work, so that an error does not cost its whole reserve.
    pub(super) fn settle<T>(&mut self, worked: Result<T, RunError>) -> Result<T, RunError> {
        let settled = self.till.settle(self.position.step);
        self.lock.touch();
        let value = worked?;
        let settlement = settled?;
        for warning in self.till.with(crate::money::warnings)? {
            self.say(&warning);
        }
        if let Some(over) = settlement.overrun() {
            self.say(&format!("this took {over} USD longer than all that was left under the cap"));
        }
        Ok(value)
    }

    pub(crate) fn needs_checkpoint(&self) -> bool {
        self.position.step > 0
            && self.last_checkpoint.as_ref().is_none_or(|(step, _)| *step < self.position.step)
    }

    fn checkpoint_is_due(&self) -> bool {
        self.needs_checkpoint() && self.seconds_until_checkpoint() <= 0.0
    }

    /// Seconds of work until a checkpoint is due.
    fn seconds_until_checkpoint(&self) -> f64 {
        let interval = self.checkpoint_interval();
        if self.forecast.cap_seconds().is_infinite() {
            return interval - (self.seconds() - self.checkpoint_at);
        }
        let spent = self.till.settled().minus_or_zero(self.checkpoint_settled);
        interval - self.till.with(|guard| guard.seconds_for(spent))
    }

    /// Seconds of work between two checkpoints.
    pub(super) fn checkpoint_interval(&self) -> f64 {
        let cap_seconds = self.forecast.cap_seconds();
        if cap_seconds.is_infinite() {
            return FREE_CHECKPOINT_SECONDS;
        }
        let policy = &self.recipe.checkpoint;
        let every = policy.every_cap_fraction * cap_seconds;
        policy.every_usd.map_or(every, |usd| every.min(self.till.with(|guard| guard.seconds_for(usd))))
    }

    /// Writes a checkpoint if the money for it is there besides what `hold` seconds cost; `None`: besides
    /// nothing, since it is the last one.
    pub(crate) fn checkpoint(&mut self, hold: Option<f64>) -> Result<bool, RunError> {
        let stage = self.stage();
        let seconds = self.forecast.checkpoint(&self.timing);
        let (wanted, kept) = self.till.cost_of_next(SAFETY * seconds, hold.unwrap_or_default());
        // The very last one need not find its safety margin as well.
        let (needed, _) = self.till.cost_of_next(seconds, 0.0);
        let amount = if hold.is_none() { wanted.min(self.left()).max(needed) } else { wanted };
        let (step, beyond) = (self.position.step, self.beyond);
        let free = kept.max(beyond);
        let reserved = self.till.reserve(&stage.name, step, Purpose::Checkpoint, amount, free, beyond);
        match reserved {
            Ok(()) => {}
            Err(ReserveError::Refused(_)) => return Ok(false),
            Err(ReserveError::Ledger(error)) => return Err(error.into()),
        }
        let before = self.seconds();
        let written = self.write_checkpoint();
        let took = self.seconds() - before;
        let path = self.settle(written)?;
        self.timing.checkpoint_took(took);
        self.last_checkpoint = Some((step, path));
        self.checkpoint_settled = self.till.settled();
        self.checkpoint_at = self.seconds();
        Ok(true)
    }

    fn write_checkpoint(&mut self) -> Result<PathBuf, RunError> {
        let saved: Saved = self.executor.save()?;
        let (stage, position) = (self.stage(), self.position);
        let state = State {
            version: STATE_VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            seed: self.recipe.seed,
            stage: stage.name.clone(),
            stage_index: position.stage,
            stage_step: position.stage_step,
            stage_samples: position.stage_step * u64::from(stage.batch),
            step: position.step,
            samples_seen: position.samples_seen,
            drawn: self.executor.drawn(),
            replans: self.replans.clone(),
            timing: self.timing.clone(),
            files: std::collections::BTreeMap::new(),
        };
        let folder = self.directory.checkpoints();
        let policy = &self.recipe.checkpoint;
        let best = policy.keep_best.then(|| self.best_step()).flatten();
        let path = checkpoint::write(&folder, state, &saved, policy.keep, best)?;
        self.observer.checkpoint(&path, position.step);
        self.log.write(self.clock.now(), &format!("checkpoint after step {}", position.step));
        Ok(path)
    }
}

impl Course<'_> {
    /// The step with the best evaluation so far.
    fn best_step(&self) -> Option<u64> {
        let best = self
            .evaluated
            .values()
            .max_by(|a, b| a.metrics.acc1.total_cmp(&b.metrics.acc1).then(a.step.cmp(&b.step)));
        best.map(|line| line.step)
    }
}

pub(super) fn append<T: serde::Serialize>(file: &mut LineFile, line: &T) -> Result<(), RunError> {
    file.append(line).map_err(|source| RunError::file(file.path(), "write", source))
}

/// Steps of the whole run.
pub(crate) fn total_steps(recipe: &Recipe) -> u64 {
    recipe.stages.iter().map(Stage::steps).sum()
}
