//! Work on a run after its course: what it costs goes to the run's ledger, under the same cap.

use std::sync::Arc;

use shoestring_ledger::{BudgetGuard, Clock, Purpose, Quantum, Refused, ReserveError, Terms};
use shoestring_planner::recipe::Recipe;
use shoestring_planner::units::Usd;

use super::directory::RunDirectory;
use super::ending::Ended;
use super::error::RunError;
use super::lock::RunLock;
use super::timing::SAFETY;
use crate::money;

/// Set aside at first, when it is not known how long a batch takes.
const FIRST_SECONDS: f64 = 20.0;

/// Charges an evaluation to the ledger of a run that no process holds.
pub struct Charge {
    guard: BudgetGuard,
    clock: Arc<dyn Clock>,
    quantum: Option<Quantum>,
    ended: Option<Ended>,
    stage: String,
    step: u64,
    settled_before: Usd,
    start: f64,
    last: f64,
    slowest: f64,
    _lock: RunLock,
}

impl Charge {
    /// Takes the run's lock and sets aside the first of the money. Time counts from the clock's zero on.
    pub fn open(
        directory: &RunDirectory,
        recipe: &Recipe,
        stage: &str,
        step: u64,
        clock: Arc<dyn Clock>,
    ) -> Result<Result<Self, Refused>, RunError> {
        let since = clock.elapsed();
        let (lock, _) = RunLock::take(directory.root(), &directory.lock())?;
        let terms = Terms {
            run: recipe.name.clone(),
            cap: recipe.budget.cap_usd,
            usd_per_hour: recipe.hardware.usd_per_hour,
            price_source: recipe.hardware.price_source.clone(),
            price_as_of: None,
        };
        let (mut guard, _) = money::open(&directory.ledger(), &clock, terms, since, None)?;
        guard.set_billing(recipe.hardware.billing());
        let ended = Ended::of(guard.rows());
        let settled_before = guard.account().settled();
        let amount = guard.cost_of_seconds(FIRST_SECONDS).min(guard.account().left());
        // With nothing left there is nothing to begin with, unless time is free.
        let amount = if amount == Usd::ZERO { guard.cost_of_seconds(1.0) } else { amount };
        let quantum = match guard.reserve(stage, step, Purpose::Evaluate, amount, Usd::ZERO) {
            Ok(quantum) => quantum,
            Err(ReserveError::Refused(refused)) => return Ok(Err(refused)),
            Err(ReserveError::Ledger(error)) => return Err(error.into()),
        };
        let start = clock.elapsed().as_secs_f64();
        Ok(Ok(Self {
            guard,
            clock,
            quantum: Some(quantum),
            ended,
            stage: stage.to_owned(),
            step,
            settled_before,
            start,
            last: start,
            slowest: 0.0,
            _lock: lock,
        }))
    }

    /// Asked after each batch, `done` of `total` being over. When the money set aside runs short it is
    /// settled and more is asked for; the answer is what that was refused with.
    pub fn go_on(&mut self, done: u64, total: u64) -> Result<Option<Refused>, RunError> {
        let now = self.clock.elapsed().as_secs_f64();
        self.slowest = self.slowest.max(now - self.last);
        self.last = now;
        let enough =
            self.quantum.as_ref().is_some_and(|open| self.guard.seconds_left(open) >= SAFETY * self.slowest);
        if done >= total || enough {
            return Ok(None);
        }
        if let Some(used_up) = self.quantum.take() {
            self.guard.settle(used_up, self.step)?;
        }
        let rest = (now - self.start) / done.max(1) as f64 * (total - done) as f64;
        let amount = self.guard.cost_of_seconds(SAFETY * rest.max(self.slowest));
        match self.guard.reserve(&self.stage, self.step, Purpose::Evaluate, amount, Usd::ZERO) {
            Ok(quantum) => {
                self.quantum = Some(quantum);
                Ok(None)
            }
            Err(ReserveError::Refused(refused)) => Ok(Some(refused)),
            Err(ReserveError::Ledger(error)) => Err(error.into()),
        }
    }

    /// Settles and lets go of the run, which stands as it stood before. Returns what all of it cost.
    pub fn close(mut self, note: &str) -> Result<Usd, RunError> {
        if let Some(quantum) = self.quantum.take() {
            self.guard.settle(quantum, self.step)?;
        }
        let cost = self.guard.account().settled().minus_or_zero(self.settled_before);
        self.guard.note(&self.stage, self.step, format!("{note}: {cost} USD"))?;
        // The last row but notes says how the run ended.
        let ended = self.ended.unwrap_or(Ended::Interrupted);
        self.guard.end(&self.stage, self.step, ended.note())?;
        Ok(cost)
    }
}
