//! Evaluations within their quanta of money.

use std::sync::atomic::Ordering;

use shoestring_ledger::{Purpose, Refused, ReserveError};
use shoestring_planner::units::Usd;

use super::course::{Course, append};
use super::error::RunError;
use super::executor::Evaluated;
use super::timing::SAFETY;
use crate::records::{EvaluationLine, RECORDS_VERSION};

/// What an evaluation came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EvaluationEnd {
    Done,
    Refused(Refused),
    Stopped,
}

enum Measured {
    Whole(Evaluated),
    Refused(Refused),
    Stopped,
}

impl Course<'_> {
    /// Evaluates where training stands. The last one (`is_final`) may use everything that is left; others
    /// leave what is held. Where it was evaluated before, nothing is measured again.
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
        let hold = if is_final { 0.0 } else { self.hold() };
        let seconds = self.forecast.evaluation(&self.timing, self.position.stage);
        let (wanted, kept) = self.till.cost_of_next(SAFETY * seconds, hold);
        // Nothing comes after the last one: it begins with whatever is left, and is cut off where that runs
        // short.
        let least = Usd::from_micros(1);
        let amount = if is_final { wanted.min(self.left()).max(least) } else { wanted };
        let step = self.position.step;
        let name = &self.stage().name;
        let untouchable = self.free_of(self.till.with(|guard| guard.worst_cost_of(hold)));
        let free = self.free_of(kept);
        let reserved = self.till.reserve(name, step, Purpose::Evaluate, amount, free, untouchable);
        match reserved {
            Ok(()) => {}
            Err(ReserveError::Refused(refused)) => {
                self.say(&format!("step {step}: no money for an evaluation ({refused})"));
                return Ok(EvaluationEnd::Refused(refused));
            }
            Err(ReserveError::Ledger(error)) => return Err(error.into()),
        }
        let before = self.seconds();
        let measured = self.evaluate_within(hold);
        let took = self.seconds() - before;
        let measured = self.settle(measured)?;
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

    /// Evaluates batch by batch; when the reserve runs short more is set aside.
    fn evaluate_within(&mut self, hold: f64) -> Result<Measured, RunError> {
        let step = self.position.step;
        let beyond = self.beyond;
        let Self { executor, till, observer, clock, stop, lock, .. } = self;
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
            if done >= total || till.seconds_left() >= SAFETY * slowest {
                return Ok(true);
            }
            lock.touch();
            let rest = (now - start) / done.max(1) as f64 * (total - done) as f64;
            let seconds = SAFETY * rest.max(slowest);
            let (_, kept) = till.cost_of_next(seconds, hold);
            match till.extend(step, seconds, kept.max(beyond)) {
                Ok(()) => Ok(true),
                Err(ReserveError::Refused(refused)) => {
                    cut_off = Some(Measured::Refused(refused));
                    Ok(false)
                }
                Err(ReserveError::Ledger(error)) => Err(error.into()),
            }
        })?;
        Ok(match measured {
            Some(evaluated) => Measured::Whole(evaluated),
            None => cut_off.unwrap_or(Measured::Stopped),
        })
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
            spend_usd: self.till.spent_by_the_clock().dollars(),
            is_final,
        }
    }

    fn record_evaluation(&mut self, line: EvaluationLine) -> Result<(), RunError> {
        append(&mut self.evaluations, &line)?;
        if let Some(told) = self.events.evaluation(&line) {
            self.say(&told);
        }
        self.observer.evaluated(&line);
        let percent = 100.0 * line.metrics.acc1;
        let text = format!("step {}: top-1 {percent:.2} % of {} images", line.step, line.samples);
        self.log.write(self.clock.now(), &text);
        self.evaluated.insert(line.step, line);
        Ok(())
    }
}
