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
use super::executor::{Evaluated, Executor, Saved, Stepped};
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Halt {
    /// Everything is done.
    Finished,
    /// The next piece of work does not fit under the cap.
    CapReached(Refused),
    /// Asked to stop.
    Stopped,
}

/// What an evaluation came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EvaluationEnd {
    Done,
    Refused(Refused),
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
}

impl<'a> Course<'a> {
    pub(crate) fn stage(&self) -> &'a Stage {
        &self.recipe.stages[self.position.stage]
    }

    pub(crate) fn is_last_stage(&self) -> bool {
        self.position.stage + 1 == self.recipe.stages.len()
    }

    fn seconds(&self) -> f64 {
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
        let wanted = ((QUANTUM_SECONDS / usual) as u64).clamp(1, most);
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
    fn settle<T>(&mut self, quantum: Quantum, worked: Result<T, RunError>) -> Result<T, RunError> {
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
        if !self.needs_checkpoint() {
            return false;
        }
        if self.forecast.cap_seconds().is_infinite() {
            return self.seconds() - self.checkpoint_at >= FREE_CHECKPOINT_SECONDS;
        }
        let spent = self.guard.account().settled().minus_or_zero(self.checkpoint_settled);
        let every = self.recipe.checkpoint.every_cap_fraction * self.recipe.budget.cap_usd.dollars();
        spent.dollars() >= every
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

    /// Evaluates where training stands. The last one (`is_final`) may use everything that is left; others leave
    /// what is held. Where it was evaluated before, nothing is measured again.
    pub(crate) fn evaluate(&mut self, is_final: bool) -> Result<EvaluationEnd, RunError> {
        if self.executor.evaluation_samples() == 0 {
            return Ok(EvaluationEnd::Done);
        }
        if let Some(known) = self.evaluated.get(&self.position.step) {
            if is_final && !known.is_final {
                let line = EvaluationLine { is_final, time: self.clock.now(), ..known.clone() };
                self.record_evaluation(line)?;
            }
            return Ok(EvaluationEnd::Done);
        }
        let hold = if is_final { Usd::ZERO } else { self.hold() };
        let seconds = self.forecast.evaluation(&self.timing, self.position.stage);
        let pending = self.guard.uncharged_seconds();
        let wanted = self.guard.cost_of_seconds(pending + SAFETY * seconds);
        let needed = self.guard.cost_of_seconds(pending + seconds);
        let left = self.guard.account().left();
        let amount = if is_final { wanted.min(left).max(needed) } else { wanted };
        let step = self.position.step;
        let name = &self.stage().name;
        let quantum = match self.guard.reserve(name, step, Purpose::Evaluate, amount, hold) {
            Ok(quantum) => quantum,
            Err(ReserveError::Refused(refused)) => {
                self.say(&format!("step {step}: no money for an evaluation ({refused})"));
                return Ok(EvaluationEnd::Refused(refused));
            }
            Err(ReserveError::Ledger(error)) => return Err(error.into()),
        };
        let before = self.seconds();
        let (quantum, measured) = self.evaluate_within(quantum, hold);
        let took = self.seconds() - before;
        let measured = match quantum {
            Some(quantum) => self.settle(quantum, measured)?,
            None => measured?,
        };
        match measured {
            Measured::Whole(evaluated) => {
                self.timing.evaluation_took(name, took);
                let line = self.evaluation_line(&evaluated, is_final);
                self.record_evaluation(line)?;
                Ok(EvaluationEnd::Done)
            }
            Measured::Stopped => Ok(EvaluationEnd::Stopped),
            Measured::Refused(refused) => {
                self.say(&format!("step {step}: the evaluation is cut off ({refused})"));
                Ok(EvaluationEnd::Refused(refused))
            }
        }
    }

    /// Evaluates batch by batch; when the reserve runs short it is settled and a further one asked for. Gives
    /// back the quantum that is open at the end.
    fn evaluate_within(
        &mut self,
        quantum: Quantum,
        hold: Usd,
    ) -> (Option<Quantum>, Result<Measured, RunError>) {
        let stage = &self.recipe.stages[self.position.stage].name;
        let step = self.position.step;
        let Self { executor, guard, observer, clock, stop, lock, .. } = self;
        let mut open = Some(quantum);
        let mut cut_off = None;
        let start = clock.elapsed().as_secs_f64();
        let (mut last, mut slowest) = (start, 0f64);
        let measured = executor.evaluate(&mut |done, total| {
            observer.evaluating(done, total);
            let now = clock.elapsed().as_secs_f64();
            slowest = slowest.max(now - last);
            last = now;
            if stop.load(Ordering::Relaxed) {
                cut_off = Some(Measured::Stopped);
                return Ok(false);
            }
            if done >= total || open.as_ref().is_some_and(|open| guard.seconds_left(open) >= SAFETY * slowest)
            {
                return Ok(true);
            }
            let Some(used_up) = open.take() else { return Ok(false) };
            guard.settle(used_up, step)?;
            lock.touch();
            let rest = (now - start) / done.max(1) as f64 * (total - done) as f64;
            let amount = guard.cost_of_seconds(SAFETY * rest.max(slowest));
            match guard.reserve(stage, step, Purpose::Evaluate, amount, hold) {
                Ok(quantum) => open = Some(quantum),
                Err(ReserveError::Refused(refused)) => {
                    cut_off = Some(Measured::Refused(refused));
                    return Ok(false);
                }
                Err(ReserveError::Ledger(error)) => return Err(error.into()),
            }
            Ok(true)
        });
        let measured = measured.map(|evaluated| match evaluated {
            Some(evaluated) => Measured::Whole(evaluated),
            None => cut_off.unwrap_or(Measured::Stopped),
        });
        (open, measured)
    }

    fn evaluation_line(&self, evaluated: &Evaluated, is_final: bool) -> EvaluationLine {
        let stage = self.stage();
        EvaluationLine {
            version: RECORDS_VERSION,
            time: self.clock.now(),
            stage: stage.name.clone(),
            step: self.position.step,
            samples_seen: self.position.samples_seen,
            dataset: self.recipe.data.name.clone(),
            task: "zeroshot_classification".to_owned(),
            classes: evaluated.classes,
            samples: evaluated.samples,
            image_size_px: stage.image_size_px,
            metrics: evaluated.accuracy,
            spend_usd: self.guard.spent_by_the_clock().dollars(),
            is_final,
        }
    }

    fn record_evaluation(&mut self, line: EvaluationLine) -> Result<(), RunError> {
        append(&mut self.evaluations, &line)?;
        self.observer.evaluated(&line);
        let percent = 100.0 * line.metrics.acc1;
        let text = format!("step {}: top-1 {percent:.2} % of {} images", line.step, line.samples);
        self.log.write(self.clock.now(), &text);
        self.evaluated.insert(line.step, line);
        Ok(())
    }
}

enum Measured {
    Whole(Evaluated),
    Refused(Refused),
    Stopped,
}

fn append<T: serde::Serialize>(file: &mut LineFile, line: &T) -> Result<(), RunError> {
    file.append(line).map_err(|source| RunError::file(file.path(), "write", source))
}

/// Steps of the whole run.
pub(crate) fn total_steps(recipe: &Recipe) -> u64 {
    recipe.stages.iter().map(Stage::steps).sum()
}
