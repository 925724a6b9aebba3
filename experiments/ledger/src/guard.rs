//! The cap: reserve, spend, settle.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use shoestring_planner::recipe::Billing;
use shoestring_planner::units::{Hours, Usd};

use crate::account::Account;
use crate::budget::{Claim, Share, SharedBudget};
use crate::clock::Clock;
use crate::disk::{Disk, LocalDisk};
use crate::error::LedgerError;
use crate::journal::Journal;
use crate::kind::{Kind, Purpose};
use crate::row::{Draft, Row};

/// What a ledger is opened with.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Name of the run.
    pub run: String,
    /// The number that is never exceeded.
    pub cap: Usd,
    /// Price of everything together, per wall-clock hour.
    pub usd_per_hour: Usd,
    /// Where the price is from.
    pub price_source: String,
    /// Day, month or year of the price; `None` is unknown.
    pub price_as_of: Option<String>,
}

/// A quantum would not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{need} USD are needed, {left} USD are left under the cap{of}",
    of = .level.as_ref().map(|level| format!(" of {level}")).unwrap_or_default())]
pub struct Refused {
    /// What was asked for, with what is held back.
    pub need: Usd,
    /// Cap less spent.
    pub left: Usd,
    /// The shared budget that has no room; `None` for the cap of the run itself.
    pub level: Option<Arc<str>>,
}

/// Why nothing was reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// It would not fit under the cap.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The ledger could not be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Money set aside. Hand it back to [`BudgetGuard::settle`] or [`BudgetGuard::release`]; dropped, it stays
/// spent, as after a crash.
#[derive(Debug)]
#[must_use = "an unsettled quantum is charged in full"]
pub struct Quantum {
    stage: String,
    purpose: Purpose,
    /// Its reserve and what extended it, in order; never empty.
    parts: Vec<Part>,
}

/// One reserve.
#[derive(Debug)]
struct Part {
    number: u64,
    reserve: Usd,
    /// The same money in the shared budget.
    share: Option<Share>,
}

impl Quantum {
    /// What was set aside.
    #[must_use]
    pub fn reserve(&self) -> Usd {
        self.parts.iter().map(|part| part.reserve).sum()
    }
}

/// What a quantum came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// What it was charged.
    pub charged: Usd,
    /// What the clock says beyond that, where the cap left no room for more.
    pub uncharged: Usd,
}

impl Settlement {
    /// By how much the machine was held beyond the cap, if it was.
    #[must_use]
    pub fn overrun(&self) -> Option<Usd> {
        Some(self.uncharged).filter(|amount| *amount > Usd::ZERO)
    }
}

/// Keeps what is spent under the cap. Time becomes money here: each settlement charges all the time since the
/// settlement before it, so that nothing that the process does is free.
///
/// # The lease
/// What is settled and what is reserved together pay for the clock up to a moment,
/// [`BudgetGuard::lease_seconds`] from now. A process that is ended by then (by the kernel, say) whatever it
/// is doing has used no more than the ledger counts as spent, so that a crash is charged at least what it
/// cost.
#[derive(Debug)]
pub struct BudgetGuard {
    journal: Journal,
    clock: Arc<dyn Clock>,
    terms: Terms,
    billing: Billing,
    /// From here on the machine is billed.
    since: Duration,
    /// Up to here it is paid for: in the future where a settlement pays ahead.
    paid_until: Duration,
    /// How far each settlement pays ahead.
    pays_ahead: Duration,
    /// The highest price that has to be reckoned with.
    worst_usd_per_hour: Usd,
    /// What the time since then has cost at prices that no longer hold.
    at_old_prices: OldPrices,
    budget: Option<SharedBudget>,
    /// By how much the time of day runs ahead of the clock that money is counted with.
    ahead: TimeDelta,
}

/// Time that ran before the price changed, not settled yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct OldPrices {
    cost: Usd,
    seconds: f64,
}

/// The time of day may drift from the other clock by so much between two rows before it is told.
const DRIFT: TimeDelta = TimeDelta::seconds(60);

impl BudgetGuard {
    /// Opens or creates the ledger at `path`. Time is charged from `since` (a reading of `clock`) on. Quanta
    /// that a crash cut off are charged in full now. Returns also what is worth telling a person.
    pub fn open(
        path: &Path,
        clock: Arc<dyn Clock>,
        terms: Terms,
        since: Duration,
    ) -> Result<(Self, Vec<String>), LedgerError> {
        Self::open_on(&LocalDisk, path, clock, terms, since)
    }

    /// The same on another disk.
    pub(crate) fn open_on(
        disk: &dyn Disk,
        path: &Path,
        clock: Arc<dyn Clock>,
        terms: Terms,
        since: Duration,
    ) -> Result<(Self, Vec<String>), LedgerError> {
        let (journal, torn_bytes) = Journal::open_alone_on(disk, path)?;
        let ahead = ahead(&*clock);
        let worst_usd_per_hour = terms.usd_per_hour;
        let mut guard = Self {
            journal,
            clock,
            terms,
            billing: Billing::EXACT,
            since,
            paid_until: since,
            pays_ahead: Duration::ZERO,
            worst_usd_per_hour,
            at_old_prices: OldPrices::default(),
            budget: None,
            ahead,
        };
        let mut told = Vec::new();
        if torn_bytes > 0 {
            told.push(format!("{}: dropped {torn_bytes} bytes of a row that was cut off", path.display()));
        }
        if guard.journal.rows().is_empty() {
            let cap = guard.terms.cap;
            guard.append("", 0, Kind::Open, Purpose::Run, cap, 0, 0.0, String::new())?;
        } else if guard.account().cap() != guard.terms.cap {
            let found = guard.account().cap();
            return Err(LedgerError::OtherCap { path: path.to_owned(), found, asked: guard.terms.cap });
        }
        told.extend(guard.charge_cut_off_quanta()?);
        if let Some(last) = guard.journal.rows().last()
            && last.time > guard.clock.now() + DRIFT
        {
            let back = last.time - guard.clock.now();
            let note = format!("the time of day is {} s before the row before", back.num_seconds());
            told.push(format!("{}: {note}; money is counted by another clock", path.display()));
            guard.note("", 0, note)?;
        }
        Ok((guard, told))
    }

    /// From here on every quantum must also fit into a budget that is shared with others.
    pub fn join(&mut self, budget: SharedBudget) {
        self.budget = Some(budget);
    }

    /// The shared budget, if there is one.
    #[must_use]
    pub fn budget(&self) -> Option<&SharedBudget> {
        self.budget.as_ref()
    }

    /// The same, to ask it for warnings or to read what others wrote.
    pub fn budget_mut(&mut self) -> Option<&mut SharedBudget> {
        self.budget.as_mut()
    }

    /// What may still be spent: the least of what is left under the cap of the run and of each shared budget,
    /// as they were last read.
    #[must_use]
    pub fn left(&self) -> Usd {
        let own = self.account().left();
        self.budget.as_ref().map_or(own, |budget| own.min(budget.left()))
    }

    /// The cap of the run is another from here on; refused below what is spent.
    pub fn set_cap(&mut self, cap: Usd) -> Result<(), LedgerError> {
        let (before, spent) = (self.account().cap(), self.account().spent());
        if cap < spent {
            return Err(LedgerError::CapBelowSpent { path: self.journal.path().to_owned(), cap, spent });
        }
        let direction = if cap > before { "raised" } else { "lowered" };
        let note = format!("the cap is {direction} from {before} to {cap} USD");
        self.append("", 0, Kind::Cap, Purpose::Run, cap, 0, 0.0, note)?;
        self.terms.cap = cap;
        Ok(())
    }

    /// The price is another from here on. Time that ran since the last settlement is charged with the next
    /// one, at the higher of both prices: when it changed is not known.
    pub fn change_price(
        &mut self,
        step: u64,
        usd_per_hour: Usd,
        price_source: impl Into<String>,
        as_of: Option<String>,
    ) -> Result<(), LedgerError> {
        let now = self.clock.elapsed();
        let seconds = now.saturating_sub(self.paid_until).as_secs_f64();
        let before = self.terms.usd_per_hour;
        let cost = before.max(usd_per_hour).per_hour_for(Hours::from_seconds(seconds));
        self.terms.usd_per_hour = usd_per_hour;
        self.terms.price_source = price_source.into();
        self.terms.price_as_of = as_of;
        self.at_old_prices.cost += cost;
        self.at_old_prices.seconds += seconds;
        self.paid_until = self.paid_until.max(now);
        let note = format!("from {before} to {usd_per_hour} USD/h");
        self.append("", step, Kind::PriceChange, Purpose::Run, Usd::ZERO, 0, 0.0, note)
    }

    /// Charges `amount` without a reserve (a minimum billing period, a gap that nobody guarded): at most what
    /// is left under every cap.
    pub fn spend(
        &mut self,
        stage: &str,
        step: u64,
        purpose: Purpose,
        amount: Usd,
        seconds: f64,
        note: &str,
    ) -> Result<Settlement, LedgerError> {
        let own = amount.max(Usd::ZERO).min(self.account().left());
        let mut budget = self.budget.take();
        let result = match &mut budget {
            Some(budget) => {
                let claim = self.claim(stage, step, purpose, own, Some(seconds));
                budget.spend(&claim, note, |charged| {
                    self.append(stage, step, Kind::Spend, purpose, charged, 0, seconds, note.to_owned())
                })
            }
            None => {
                self.append(stage, step, Kind::Spend, purpose, own, 0, seconds, note.to_owned()).map(|()| own)
            }
        };
        self.budget = budget;
        let charged = result?;
        Ok(Settlement { charged, uncharged: amount.minus_or_zero(charged) })
    }

    fn claim(&self, stage: &str, step: u64, purpose: Purpose, amount: Usd, seconds: Option<f64>) -> Claim {
        Claim {
            run: self.terms.run.clone(),
            stage: stage.to_owned(),
            step,
            purpose,
            amount,
            seconds,
            usd_per_hour: Some(self.terms.usd_per_hour),
            price_source: self.terms.price_source.clone(),
            price_as_of: self.terms.price_as_of.clone(),
        }
    }

    fn charge_cut_off_quanta(&mut self) -> Result<Vec<String>, LedgerError> {
        let open: Vec<(u64, Usd)> = self.account().open_reserves().collect();
        let mut told = Vec::new();
        for (number, amount) in open {
            let row =
                self.journal.rows().iter().find(|row| row.kind == Kind::Reserve && row.quantum == number);
            let Some(Row { stage, step, purpose, seconds, .. }) = row.cloned() else { continue };
            let seconds = seconds.unwrap_or_default();
            let note = "cut off: charged in full".to_owned();
            self.append(&stage, step, Kind::Settle, purpose, amount, number, seconds, note)?;
            told.push(format!(
                "a quantum that was cut off (number {number}) is charged in full, {amount} USD"
            ));
        }
        Ok(told)
    }

    /// Sets `amount` aside if it fits under the cap together with `hold`, which must stay free for what has
    /// to happen later. The row is on disk when this returns.
    pub fn reserve(
        &mut self,
        stage: &str,
        step: u64,
        purpose: Purpose,
        amount: Usd,
        hold: Usd,
    ) -> Result<Quantum, ReserveError> {
        let part = self.set_aside(stage, step, purpose, amount, hold, String::new())?;
        Ok(Quantum { stage: stage.to_owned(), purpose, parts: vec![part] })
    }

    /// Sets `amount` more aside for work that takes longer than was thought, by the same rule as
    /// [`BudgetGuard::reserve`].
    pub fn extend(
        &mut self,
        quantum: &mut Quantum,
        step: u64,
        amount: Usd,
        hold: Usd,
    ) -> Result<(), ReserveError> {
        let note = format!("extends quantum {}", quantum.parts[0].number);
        let part = self.set_aside(&quantum.stage, step, quantum.purpose, amount, hold, note)?;
        quantum.parts.push(part);
        Ok(())
    }

    fn set_aside(
        &mut self,
        stage: &str,
        step: u64,
        purpose: Purpose,
        amount: Usd,
        hold: Usd,
        note: String,
    ) -> Result<Part, ReserveError> {
        let amount = amount.max(Usd::ZERO);
        let (need, left) = (amount + hold.max(Usd::ZERO), self.account().left());
        if need > left {
            return Err(Refused { need, left, level: None }.into());
        }
        let number = self.account().quanta() + 1;
        let seconds =
            Some(self.seconds_for(amount)).filter(|seconds| seconds.is_finite()).unwrap_or_default();
        let claim = self.claim(stage, step, purpose, amount, Some(seconds));
        let share = self.budget.as_mut().map(|budget| budget.reserve(claim, hold)).transpose()?;
        if let Err(error) = self.append(stage, step, Kind::Reserve, purpose, amount, number, seconds, note) {
            // What fails here too is written by the next change of the budget, or charged when this process
            // ends.
            if let (Some(budget), Some(share)) = (&mut self.budget, share) {
                let _ = budget.release(share);
            }
            return Err(error.into());
        }
        Ok(Part { number, reserve: amount, share })
    }

    /// Charges the time since the last settlement to `quantum`: what the clock says and what is paid ahead,
    /// at most its reserve and what is left under every cap. Should the clock alone say more than that, the
    /// note says how much more.
    pub fn settle(&mut self, quantum: Quantum, step: u64) -> Result<Settlement, LedgerError> {
        let now = self.clock.elapsed();
        let until = self.billed_until(now + self.pays_ahead);
        let old = self.at_old_prices;
        let unpaid = |end: Duration| end.saturating_sub(self.paid_until).as_secs_f64();
        let used = self.cost_of_seconds(unpaid(until)) + old.cost;
        let by_the_clock = self.cost_of_seconds(unpaid(self.billed_until(now))) + old.cost;
        let limit = quantum.reserve() + self.account().left();
        let wanted = used.min(limit);
        let seconds = if wanted == used {
            unpaid(until) + old.seconds
        } else {
            self.seconds_at(wanted.minus_or_zero(old.cost), self.terms.usd_per_hour) + old.seconds
        };
        let price = self.terms.usd_per_hour;
        // The first parts are used up first: should the process die between two rows, what is left open is
        // charged in full, which is never too little.
        let (mut to_charge, mut seconds_left, mut charged) = (wanted, seconds, Usd::ZERO);
        let (stage, purpose) = (quantum.stage.as_str(), quantum.purpose);
        let last = quantum.parts.len() - 1;
        for (index, part) in quantum.parts.into_iter().enumerate() {
            if index > 0 && to_charge == Usd::ZERO {
                self.give_back(stage, step, purpose, part)?;
                continue;
            }
            let amount = if index == last { to_charge } else { to_charge.min(part.reserve) };
            let of_part = if index == last || amount == to_charge {
                seconds_left
            } else {
                seconds_left.min(self.seconds_at(amount, price))
            };
            let note_of = |booked: Usd| {
                let uncharged = by_the_clock.minus_or_zero(charged + booked);
                if index == last && uncharged > Usd::ZERO {
                    format!(
                        "the clock says {by_the_clock} USD; charged up to the cap, {uncharged} USD stay uncharged"
                    )
                } else {
                    String::new()
                }
            };
            let mut budget = self.budget.take();
            let mut record = |booked: Usd| {
                let (number, note) = (part.number, note_of(booked));
                self.append(stage, step, Kind::Settle, purpose, booked, number, of_part, note)
            };
            let result = match (&mut budget, part.share) {
                (Some(budget), Some(share)) => budget.settle(share, step, amount, of_part, record),
                _ => record(amount).map(|()| amount),
            };
            self.budget = budget;
            charged += result?;
            to_charge -= amount;
            seconds_left -= of_part;
        }
        self.at_old_prices = OldPrices::default();
        self.paid_until = if charged == used {
            until.max(self.paid_until)
        } else if charged < by_the_clock {
            now
        } else {
            self.paid_until + seconds_or_zero(self.seconds_at(charged.minus_or_zero(old.cost), price))
        };
        Ok(Settlement { charged, uncharged: by_the_clock.minus_or_zero(charged) })
    }

    /// Gives a reserve back unspent: its work never started. The time since the last settlement is charged
    /// with the next one.
    pub fn release(&mut self, quantum: Quantum, step: u64) -> Result<(), LedgerError> {
        let (stage, purpose) = (quantum.stage.as_str(), quantum.purpose);
        quantum.parts.into_iter().try_for_each(|part| self.give_back(stage, step, purpose, part))
    }

    fn give_back(&mut self, stage: &str, step: u64, purpose: Purpose, part: Part) -> Result<(), LedgerError> {
        self.append(stage, step, Kind::Release, purpose, Usd::ZERO, part.number, 0.0, String::new())?;
        match (&mut self.budget, part.share) {
            (Some(budget), Some(share)) => budget.release(share),
            _ => Ok(()),
        }
    }

    /// From now on every settlement also pays for so much time to come, which the next one takes into
    /// account. What a process does between two quanta, and its end, are then paid for whatever happens.
    pub fn pay_ahead(&mut self, ahead: Duration) {
        self.pays_ahead = ahead;
    }

    /// From now on time is billed by this rule.
    pub fn set_billing(&mut self, billing: Billing) {
        self.billing = billing;
    }

    /// From now on everything that is set aside is reckoned at this price, if it is above the present one.
    pub fn reckon_with(&mut self, worst_usd_per_hour: Usd) {
        self.worst_usd_per_hour = worst_usd_per_hour;
    }

    /// The price per hour at present.
    #[must_use]
    pub fn usd_per_hour(&self) -> Usd {
        self.terms.usd_per_hour
    }

    /// Writes down something worth remembering.
    pub fn note(&mut self, stage: &str, step: u64, note: impl Into<String>) -> Result<(), LedgerError> {
        self.append(stage, step, Kind::Note, Purpose::Run, Usd::ZERO, 0, 0.0, note.into())
    }

    /// Writes down that this process lets go of the run, and why.
    pub fn end(&mut self, stage: &str, step: u64, why: impl Into<String>) -> Result<(), LedgerError> {
        self.append(stage, step, Kind::End, Purpose::Run, Usd::ZERO, 0, 0.0, why.into())
    }

    /// The sums.
    #[must_use]
    pub fn account(&self) -> &Account {
        self.journal.account()
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        self.journal.rows()
    }

    /// What `seconds` of everything together cost at the present price, rounded up to the next micro-dollar.
    #[must_use]
    pub fn cost_of_seconds(&self, seconds: f64) -> Usd {
        const NANOS_PER_HOUR: u128 = 3_600_000_000_000;
        let price = u128::try_from(self.terms.usd_per_hour.micros()).unwrap_or_default();
        // In whole numbers: 126 s at a micro-dollar a second are 126, not 126.00000000000001 and so 127.
        match Duration::try_from_secs_f64(seconds.max(0.0)) {
            Ok(time) => {
                let micros = price.saturating_mul(time.as_nanos()).div_ceil(NANOS_PER_HOUR);
                Usd::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
            }
            Err(_) => self.terms.usd_per_hour.per_hour_for(Hours::from_seconds(seconds)),
        }
    }

    /// What must be set aside so that everything is paid for that happens in the next `seconds`: at the worst
    /// price, with what is pending and what is paid ahead, by whole billing periods.
    #[must_use]
    pub fn cost_of_next(&self, seconds: f64) -> Usd {
        let end = self.clock.elapsed() + seconds_or_zero(seconds) + self.pays_ahead;
        let unpaid = self.billed_until(end).saturating_sub(self.paid_until).as_secs_f64();
        self.worst().per_hour_for(Hours::from_seconds(unpaid)) + self.at_old_prices.cost
    }

    /// What must stay free beside [`BudgetGuard::cost_of_next`] of `work` seconds so that `later` seconds
    /// more can follow.
    #[must_use]
    pub fn hold_after(&self, work: f64, later: f64) -> Usd {
        self.cost_of_next(work.max(0.0) + later.max(0.0)) - self.cost_of_next(work)
    }

    /// What `later` seconds cost at the worst price, whenever they begin: by whole billing periods.
    #[must_use]
    pub fn worst_cost_of(&self, later: f64) -> Usd {
        self.worst().per_hour_for(Hours::from_seconds(self.billing.billed(later)))
    }

    /// Seconds of work that can be done from now for `amount`, the other way round than
    /// [`BudgetGuard::cost_of_next`]; infinite when time is free, never below zero.
    #[must_use]
    pub fn seconds_of_work_for(&self, amount: Usd) -> f64 {
        let paid = self.paid_until.saturating_sub(self.since).as_secs_f64();
        let amount = amount.minus_or_zero(self.at_old_prices.cost);
        let end = self.billing.whole_periods(paid + self.seconds_for(amount));
        let now = self.clock.elapsed().saturating_sub(self.since).as_secs_f64();
        (end - now - self.pays_ahead.as_secs_f64()).max(0.0)
    }

    /// Seconds that `amount` pays for at the worst price; infinite when time is free.
    #[must_use]
    pub fn seconds_for(&self, amount: Usd) -> f64 {
        self.seconds_at(amount, self.worst())
    }

    fn seconds_at(&self, amount: Usd, usd_per_hour: Usd) -> f64 {
        let price = usd_per_hour.dollars();
        if price > 0.0 { amount.dollars() / price * 3600.0 } else { f64::INFINITY }
    }

    fn worst(&self) -> Usd {
        self.worst_usd_per_hour.max(self.terms.usd_per_hour)
    }

    /// Where a billing period ends that `moment` lies in.
    fn billed_until(&self, moment: Duration) -> Duration {
        let held = moment.saturating_sub(self.since);
        if self.billing == Billing::EXACT {
            return self.since + held;
        }
        self.since + Duration::from_secs_f64(self.billing.billed(held.as_secs_f64()))
    }

    /// Seconds that the clock has run beyond what is paid for.
    #[must_use]
    pub fn uncharged_seconds(&self) -> f64 {
        self.since_paid() + self.at_old_prices.seconds
    }

    fn since_paid(&self) -> f64 {
        self.clock.elapsed().saturating_sub(self.paid_until).as_secs_f64()
    }

    /// What is used so far by the clock, not by the reserve: settled, and the time since, rounded down so
    /// that it is never more than the next settlement makes of it.
    #[must_use]
    pub fn spent_by_the_clock(&self) -> Usd {
        let hours = Hours::from_seconds(self.since_paid());
        let since = Usd::from_micros((self.terms.usd_per_hour.micros() as f64 * hours.0) as i64);
        (self.account().settled() + self.at_old_prices.cost + since).min(self.account().cap())
    }

    /// Seconds until `quantum` has used up its reserve; negative beyond it.
    #[must_use]
    pub fn seconds_left(&self, quantum: &Quantum) -> f64 {
        self.lease_seconds(Some(quantum))
    }

    /// Seconds until what is paid, and what `quantum` sets aside at the worst price, is used up; negative
    /// beyond.
    #[must_use]
    pub fn lease_seconds(&self, quantum: Option<&Quantum>) -> f64 {
        let reserve = quantum.map_or(Usd::ZERO, Quantum::reserve).minus_or_zero(self.at_old_prices.cost);
        let paid = self.paid_until.as_secs_f64() - self.clock.elapsed().as_secs_f64();
        self.seconds_for(reserve) + paid
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of a row, named at the one place that fills them"
    )]
    fn append(
        &mut self,
        stage: &str,
        step: u64,
        kind: Kind,
        purpose: Purpose,
        amount: Usd,
        quantum: u64,
        seconds: f64,
        note: String,
    ) -> Result<(), LedgerError> {
        self.tell_of_a_set_clock()?;
        let draft = Draft {
            run: self.terms.run.clone(),
            stage: stage.to_owned(),
            step,
            purpose,
            amount: Some(amount),
            quantum,
            seconds: Some(seconds),
            note,
            ..self.draft(kind)
        };
        self.journal.append(draft).map(|_| ())
    }

    fn draft(&self, kind: Kind) -> Draft {
        Draft {
            run: self.terms.run.clone(),
            usd_per_hour: Some(self.terms.usd_per_hour),
            price_source: self.terms.price_source.clone(),
            price_as_of: self.terms.price_as_of.clone(),
            ..Draft::new(kind, self.clock.now())
        }
    }

    /// Money is counted by a clock that cannot be set; the times in the rows are the time of day, for people,
    /// who should know when it jumped.
    fn tell_of_a_set_clock(&mut self) -> Result<(), LedgerError> {
        let ahead = ahead(&*self.clock);
        let by = ahead - self.ahead;
        if by.abs() <= DRIFT || self.journal.rows().is_empty() {
            return Ok(());
        }
        self.ahead = ahead;
        let direction = if by > TimeDelta::zero() { "forward" } else { "back" };
        let note = format!("the time of day was set {direction} by {} s", by.num_seconds().abs());
        self.journal.append(Draft { note, ..self.draft(Kind::Note) }).map(|_| ())
    }
}

/// A duration from seconds that may be negative, endless or no number: those become the nearest that can be.
fn seconds_or_zero(seconds: f64) -> Duration {
    const CENTURY: f64 = 3.2e9;
    Duration::from_secs_f64(if seconds.is_nan() { 0.0 } else { seconds.clamp(0.0, CENTURY) })
}

/// The time of day less the reading of the clock that money is counted with.
fn ahead(clock: &dyn Clock) -> TimeDelta {
    let elapsed = TimeDelta::from_std(clock.elapsed()).unwrap_or_default();
    clock.now() - DateTime::UNIX_EPOCH - elapsed
}

#[cfg(test)]
mod tests;
