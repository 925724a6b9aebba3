//! Evaluations within their quanta of money.

use std::sync::atomic::Ordering;

use shoestring_ledger::{Purpose, Quantum, Refused, ReserveError};
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
