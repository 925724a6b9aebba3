//! Work on a run after its course: what it costs goes to the run's ledger, under the same cap.

use std::path::Path;
use std::sync::Arc;

use shoestring_ledger::{BudgetGuard, Clock, Purpose, Quantum, Refused, ReserveError};
use shoestring_planner::recipe::Recipe;
use shoestring_planner::units::Usd;

use super::directory::RunDirectory;
use super::ending::Ended;
use super::error::RunError;
use super::lock::RunLock;
use super::price::PriceFile;
use super::timing::SAFETY;
use crate::money;

/// Set aside at first, when it is not known how long a batch takes.
const FIRST_SECONDS: f64 = 20.0;

/// What else an evaluation's money depends on, as a run's does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Money<'a> {
    /// A shared budget that everything must also fit into.
    pub budget: Option<&'a Path>,
    /// A file that says what everything costs per hour at present.
    pub price: Option<&'a Path>,
}

/// Whether an evaluation goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Going {
    /// It does.
    On,
    /// The next batches do not fit under the cap.
    Refused(Refused),
    /// The price has risen above the highest that the recipe reckons with.
    TooDear,
}

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
    price: Option<PriceFile>,
    worst_usd_per_hour: Option<Usd>,
    told: Vec<String>,
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
        money: Money<'_>,
    ) -> Result<Result<Self, Refused>, RunError> {
        let since = clock.elapsed();
        let (lock, _) = RunLock::take(directory.root(), &directory.lock())?;
        let (mut guard, mut told) =
            money::of_recipe(&directory.ledger(), &clock, recipe, since, money.budget)?;
        let mut price = money.price.map(PriceFile::new);
        follow_price(&mut price, &mut guard, step, &mut told)?;
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
            price,
            worst_usd_per_hour: recipe.hardware.max_usd_per_hour,
            told,
            _lock: lock,
        }))
    }

    /// What is worth telling since the last time.
    pub fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Asked after each batch, `done` of `total` being over. When the money set aside runs short it is
    /// settled and more is asked for.
    pub fn go_on(&mut self, done: u64, total: u64) -> Result<Going, RunError> {
        let now = self.clock.elapsed().as_secs_f64();
        self.slowest = self.slowest.max(now - self.last);
        self.last = now;
        follow_price(&mut self.price, &mut self.guard, self.step, &mut self.told)?;
        if self.worst_usd_per_hour.is_some_and(|worst| self.guard.usd_per_hour() > worst) {
            return Ok(Going::TooDear);
        }
        let enough =
            self.quantum.as_ref().is_some_and(|open| self.guard.seconds_left(open) >= SAFETY * self.slowest);
        if done >= total || enough {
            return Ok(Going::On);
        }
        if let Some(used_up) = self.quantum.take() {
            self.guard.settle(used_up, self.step)?;
            self.told.extend(money::warnings(&mut self.guard)?);
        }
        let rest = (now - self.start) / done.max(1) as f64 * (total - done) as f64;
        let amount = self.guard.cost_of_seconds(SAFETY * rest.max(self.slowest));
        match self.guard.reserve(&self.stage, self.step, Purpose::Evaluate, amount, Usd::ZERO) {
            Ok(quantum) => {
                self.quantum = Some(quantum);
                Ok(Going::On)
            }
            Err(ReserveError::Refused(refused)) => Ok(Going::Refused(refused)),
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

/// Takes over what the price file says.
fn follow_price(
    price: &mut Option<PriceFile>,
    guard: &mut BudgetGuard,
    step: u64,
    told: &mut Vec<String>,
) -> Result<(), RunError> {
    match price.as_mut().and_then(PriceFile::changed) {
        None => {}
        Some(Err(problem)) => told.push(problem),
        Some(Ok(price)) if price.usd_per_hour == guard.usd_per_hour() => {}
        Some(Ok(price)) => {
            let before = guard.usd_per_hour();
            let source = price.source.unwrap_or_else(|| "price file".to_owned());
            guard.change_price(step, price.usd_per_hour, source, price.as_of)?;
            told.push(format!("the price is {} USD per hour now, {before} before", price.usd_per_hour));
        }
    }
    Ok(())
}
