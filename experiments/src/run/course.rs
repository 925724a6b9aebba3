//! The course of a run: steps, evaluations and checkpoints in their order, each within its quantum of money.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shoestring_ledger::{BudgetGuard, Clock, Purpose, Quantum, Refused, ReserveError};
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
use super::state::{STATE_VERSION, State};
use super::timing::{MARGIN_STEPS, QUANTUM_SECONDS, SAFETY, Timing};
use crate::records::{EvaluationLine, LineFile, MetricsLine, RECORDS_VERSION};

/// Where time is free, so that spending never makes a checkpoint due: one this often.
const FREE_CHECKPOINT_SECONDS: f64 = 600.0;
/// A stage has about this many metrics lines if it is short, and one every [`MOST_STEPS_A_LINE`] if it is long.
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
}

/// A run being carried out by this process.
pub(crate) struct Course<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) directory: &'a RunDirectory,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) observer: &'a mut dyn Observer,
    pub(crate) lock: &'a RunLock,
    pub(crate) log: &'a mut Log,
    pub(crate) guard: &'a mut BudgetGuard,
    pub(crate) executor: Box<dyn Executor + 'a>,
    pub(crate) forecast: Forecast<'a>,
    pub(crate) timing: Timing,
    pub(crate) position: Position,
    /// Whether the executor is in the stage of the position.
    pub(crate) entered: bool,
    pub(crate) metrics: LineFile,
    pub(crate) evaluations: LineFile,
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

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
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
            if self.needs_checkpoint() && !self.checkpoint(self.hold())? {
                self.say("no money for a checkpoint at the end of the stage");
            }
            if let EvaluationEnd::Stopped = self.evaluate(false)? {
                return Ok(Halt::Stopped);
            }
            self.position.stage += 1;
            self.position.stage_step = 0;
            self.entered = false;
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
        let progress = StageProgress {
            name: &stage.name,
            index: self.position.stage,
            stages: self.recipe.stages.len(),
            stage_step: self.position.stage_step,
            stage_steps: stage.steps(),
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
            if points.contains(&at) && !self.evaluated.contains_key(&self.position.step) {
                match self.evaluate(false)? {
                    EvaluationEnd::Stopped => return Ok(Some(Halt::Stopped)),
                    EvaluationEnd::Done | EvaluationEnd::Refused(_) => {}
                }
            }
            if at >= stage.steps() {
                return Ok(None);
            }
            if self.checkpoint_is_due() {
                // Where it does not fit, the next steps will not either, and the halt sees to the checkpoint.
                self.checkpoint(self.hold())?;
            }
            let until = points.iter().copied().find(|&point| point > at).unwrap_or(stage.steps());
            if let Some(refused) = self.train_quantum(until - at)? {
                return Ok(Some(Halt::CapReached(refused)));
            }
        }
    }

    /// What must stay free while training: the last checkpoint, the last evaluation, a margin of steps.
    pub(crate) fn hold(&self) -> Usd {
        let stage = self.position.stage;
        let last = self.forecast.checkpoint(&self.timing) + self.forecast.evaluation(&self.timing, stage);
        let margin = MARGIN_STEPS * self.forecast.slowest_step(&self.timing, stage);
        self.guard.cost_of_seconds(SAFETY * last + margin)
    }

    /// At most `most` steps within one reserve. `Some` when not even one fits under the cap.
    fn train_quantum(&mut self, most: u64) -> Result<Option<Refused>, RunError> {
        let stage = self.stage();
        let worst = SAFETY * self.forecast.slowest_step(&self.timing, self.position.stage);
        let usual = self.forecast.usual_step(&self.timing, self.position.stage);
        let (hold, left) = (self.hold(), self.guard.account().left());
        // What the clock has run since the last settlement is paid from this quantum too.
        let pending = self.guard.uncharged_seconds();
        let room = self.guard.seconds_for(left.minus_or_zero(hold)) - pending;
        // `as` saturates, and a room below nothing becomes no step.
        let fitting = (room / worst) as u64;
        // A checkpoint that becomes due on the way is not put off to the end of a longer quantum.
        let seconds = QUANTUM_SECONDS.min(self.seconds_until_checkpoint().max(0.0));
        let wanted = ((seconds / usual) as u64).clamp(1, most);
        let steps = wanted.min(fitting.max(1));
        let amount = self.guard.cost_of_seconds(pending + steps as f64 * worst);
        let quantum = match self.guard.reserve(&stage.name, self.position.step, Purpose::Train, amount, hold)
        {
            Ok(quantum) => quantum,
            Err(ReserveError::Refused(refused)) => return Ok(Some(refused)),
            Err(ReserveError::Ledger(error)) => return Err(error.into()),
        };
        let trained = self.train_within(&quantum, steps);
        self.settle(quantum, trained)?;
        Ok(None)
    }

    fn train_within(&mut self, quantum: &Quantum, steps: u64) -> Result<(), RunError> {
        let stage = self.stage();
        for _ in 0..steps {
            let before = self.seconds();
            let report = self.executor.step()?;
            self.position.stage_step += 1;
            self.position.step += 1;
            self.position.samples_seen += u64::from(stage.batch);
            self.report_step(&report, before)?;
            let took = self.seconds() - before;
            self.timing.step_took(&stage.name, took);
            let next = SAFETY * self.forecast.slowest_step(&self.timing, self.position.stage);
            if self.stopped() || self.guard.seconds_left(quantum) < next {
                break;
            }
        }
        Ok(())
    }

    fn report_step(&mut self, report: &Stepped, before: f64) -> Result<(), RunError> {
        let stage = self.stage();
        let position = self.position;
        let spend_usd = self.guard.spent_by_the_clock().dollars();
        self.since_line.0 += u64::from(stage.batch);
        let seconds = self.since_line.1 + (self.seconds() - before);
        let samples_per_second = if seconds > 0.0 { self.since_line.0 as f64 / seconds } else { 0.0 };
        self.observer.step(&StepProgress {
            stage: &stage.name,
            stage_step: position.stage_step,
            stage_steps: stage.steps(),
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
        let (first, last) = (position.stage_step == 1, position.stage_step == stage.steps());
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
                spend_usd: self.guard.spent_by_the_clock().dollars(),
            };
            append(&mut self.metrics, &line)?;
            self.since_line = (0, 0.0);
        }
        Ok(())
    }

    /// Charges a quantum whatever came of its work, so that an error does not cost its whole reserve.
    pub(super) fn settle<T>(&mut self, quantum: Quantum, worked: Result<T, RunError>) -> Result<T, RunError> {
        let settled = self.guard.settle(quantum, self.position.step);
        self.lock.touch();
        let value = worked?;
        let settlement = settled?;
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
        let cap_seconds = self.forecast.cap_seconds();
        if cap_seconds.is_infinite() {
            return FREE_CHECKPOINT_SECONDS - (self.seconds() - self.checkpoint_at);
        }
        let spent = self.guard.account().settled().minus_or_zero(self.checkpoint_settled);
        self.recipe.checkpoint.every_cap_fraction * cap_seconds - self.guard.seconds_for(spent)
    }

    /// Writes a checkpoint if the money for it is there besides `hold`.
    pub(crate) fn checkpoint(&mut self, hold: Usd) -> Result<bool, RunError> {
        let stage = self.stage();
        let seconds = self.forecast.checkpoint(&self.timing);
        let pending = self.guard.uncharged_seconds();
        let wanted = self.guard.cost_of_seconds(pending + SAFETY * seconds);
        // The very last one need not find its safety margin as well.
        let needed = self.guard.cost_of_seconds(pending + seconds);
        let left = self.guard.account().left();
        let amount = if hold == Usd::ZERO { wanted.min(left).max(needed) } else { wanted };
        let step = self.position.step;
        let quantum = match self.guard.reserve(&stage.name, step, Purpose::Checkpoint, amount, hold) {
            Ok(quantum) => quantum,
            Err(ReserveError::Refused(_)) => return Ok(false),
            Err(ReserveError::Ledger(error)) => return Err(error.into()),
        };
        let before = self.seconds();
        let written = self.write_checkpoint();
        let took = self.seconds() - before;
        let path = self.settle(quantum, written)?;
        self.timing.checkpoint_took(took);
        self.last_checkpoint = Some((step, path));
        self.checkpoint_settled = self.guard.account().settled();
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
            timing: self.timing.clone(),
            files: std::collections::BTreeMap::new(),
        };
        let folder = self.directory.checkpoints();
        let path = checkpoint::write(&folder, state, &saved, self.recipe.checkpoint.keep)?;
        self.observer.checkpoint(&path, position.step);
        self.log.write(self.clock.now(), &format!("checkpoint after step {}", position.step));
        Ok(path)
    }
}

pub(super) fn append<T: serde::Serialize>(file: &mut LineFile, line: &T) -> Result<(), RunError> {
    file.append(line).map_err(|source| RunError::file(file.path(), "write", source))
}

/// Steps of the whole run.
pub(crate) fn total_steps(recipe: &Recipe) -> u64 {
    recipe.stages.iter().map(Stage::steps).sum()
}
