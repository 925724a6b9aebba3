//! The cap: reserve, spend, settle.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shoestring_planner::recipe::Billing;
use shoestring_planner::units::{Hours, Usd};

use crate::account::Account;
use crate::clock::Clock;
use crate::error::LedgerError;
use crate::journal::Journal;
use crate::row::{Draft, Kind, Purpose, Row};

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
}

/// A quantum would not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{need} USD are needed, {left} USD are left under the cap")]
pub struct Refused {
    /// What was asked for, with what is held back.
    pub need: Usd,
    /// Cap less spent.
    pub left: Usd,
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
    /// Number and amount of its reserve and of what extended it, in order; never empty.
    parts: Vec<(u64, Usd)>,
}

impl Quantum {
    /// What was set aside.
    #[must_use]
    pub fn reserve(&self) -> Usd {
        self.parts.iter().map(|(_, amount)| *amount).sum()
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
/// What is settled and what is reserved together pay for the clock up to a moment, [`BudgetGuard::lease_seconds`]
/// from now. A process that is ended by then (by the kernel, say) whatever it is doing has used no more than the
/// ledger counts as spent, so that a crash is charged at least what it cost.
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
    ahead: Duration,
    /// The highest price that has to be reckoned with.
    worst_usd_per_hour: Usd,
}

impl BudgetGuard {
    /// Opens or creates the ledger at `path`. Time is charged from `since` (a reading of `clock`) on. Quanta
    /// that a crash cut off are charged in full now. Returns also what is worth telling a person.
    pub fn open(
        path: &Path,
        clock: Arc<dyn Clock>,
        terms: Terms,
        since: Duration,
    ) -> Result<(Self, Vec<String>), LedgerError> {
        let (journal, torn_bytes) = Journal::open(path)?;
        let worst_usd_per_hour = terms.usd_per_hour;
        let mut guard = Self {
            journal,
            clock,
            terms,
            billing: Billing::EXACT,
            since,
            paid_until: since,
            ahead: Duration::ZERO,
            worst_usd_per_hour,
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
        Ok((guard, told))
    }

    fn charge_cut_off_quanta(&mut self) -> Result<Vec<String>, LedgerError> {
        let open: Vec<(u64, Usd)> = self.account().open_reserves().collect();
        let mut told = Vec::new();
        for (number, amount) in open {
            let row =
                self.journal.rows().iter().find(|row| row.kind == Kind::Reserve && row.quantum == number);
            let Some(Row { stage, step, purpose, seconds, .. }) = row.cloned() else { continue };
            let note = "cut off: charged in full".to_owned();
            self.append(&stage, step, Kind::Settle, purpose, amount, number, seconds, note)?;
            told.push(format!(
                "a quantum that was cut off (number {number}) is charged in full, {amount} USD"
            ));
        }
        Ok(told)
    }

    /// Sets `amount` aside if it fits under the cap together with `hold`, which must stay free for what has to
    /// happen later. The row is on disk when this returns.
    pub fn reserve(
        &mut self,
        stage: &str,
        step: u64,
        purpose: Purpose,
        amount: Usd,
        hold: Usd,
    ) -> Result<Quantum, ReserveError> {
        let amount = amount.max(Usd::ZERO);
        let (need, left) = (amount + hold.max(Usd::ZERO), self.account().left());
        if need > left {
            return Err(Refused { need, left }.into());
        }
        let number = self.set_aside(stage, step, purpose, amount, String::new())?;
        Ok(Quantum { stage: stage.to_owned(), purpose, parts: vec![(number, amount)] })
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
        let amount = amount.max(Usd::ZERO);
        let (need, left) = (amount + hold.max(Usd::ZERO), self.account().left());
        if need > left {
            return Err(Refused { need, left }.into());
        }
        let note = format!("extends quantum {}", quantum.parts[0].0);
        let number = self.set_aside(&quantum.stage, step, quantum.purpose, amount, note)?;
        quantum.parts.push((number, amount));
        Ok(())
    }

    fn set_aside(
        &mut self,
        stage: &str,
        step: u64,
        purpose: Purpose,
        amount: Usd,
        note: String,
    ) -> Result<u64, LedgerError> {
        let number = self.account().quanta() + 1;
        let seconds =
            Some(self.seconds_for(amount)).filter(|seconds| seconds.is_finite()).unwrap_or_default();
        self.append(stage, step, Kind::Reserve, purpose, amount, number, seconds, note)?;
        Ok(number)
    }

    /// Charges the time since the last settlement to `quantum`: what the clock says and what is paid ahead, at
    /// most its reserve and what is left under the cap. Should the clock alone say more than that, the note says
    /// how much more.
    pub fn settle(&mut self, quantum: Quantum, step: u64) -> Result<Settlement, LedgerError> {
        let now = self.clock.elapsed();
        let until = self.billed_until(now + self.ahead);
        let used = self.cost_of_seconds(until.saturating_sub(self.paid_until).as_secs_f64());
        let by_the_clock = self.billed_until(now).saturating_sub(self.paid_until).as_secs_f64();
        let must = self.cost_of_seconds(by_the_clock);
        let limit = quantum.reserve() + self.account().left();
        let charged = used.min(limit);
        let uncharged = must.minus_or_zero(limit);
        let mut note = if uncharged > Usd::ZERO {
            format!("the clock says {must} USD; charged up to the cap, {uncharged} USD stay uncharged")
        } else {
            String::new()
        };
        let paid_until = if charged == used {
            until.max(self.paid_until)
        } else if uncharged > Usd::ZERO {
            now
        } else {
            self.paid_until + seconds_or_zero(self.seconds_at(charged, self.terms.usd_per_hour))
        };
        // The first parts are used up first: should the process die between two rows, what is left open is
        // charged in full, which is never too little.
        let (mut amount_left, mut seconds_left) =
            (charged, paid_until.saturating_sub(self.paid_until).as_secs_f64());
        let last = quantum.parts.len() - 1;
        for (index, &(number, reserve)) in quantum.parts.iter().enumerate() {
            let amount = if index == last { amount_left } else { amount_left.min(reserve) };
            let seconds = if index == last {
                seconds_left
            } else {
                seconds_left.min(self.seconds_at(amount, self.terms.usd_per_hour))
            };
            let (kind, note) = if index > 0 && amount == Usd::ZERO {
                (Kind::Release, String::new())
            } else {
                (Kind::Settle, if index == last { std::mem::take(&mut note) } else { String::new() })
            };
            self.append(&quantum.stage, step, kind, quantum.purpose, amount, number, seconds, note)?;
            amount_left -= amount;
            seconds_left -= seconds;
        }
        self.paid_until = paid_until;
        Ok(Settlement { charged, uncharged })
    }

    /// Gives a reserve back unspent: its work never started. The time since the last settlement is charged
    /// with the next one.
    pub fn release(&mut self, quantum: Quantum, step: u64) -> Result<(), LedgerError> {
        for &(number, _) in &quantum.parts {
            let (stage, purpose) = (quantum.stage.as_str(), quantum.purpose);
            self.append(stage, step, Kind::Release, purpose, Usd::ZERO, number, 0.0, String::new())?;
        }
        Ok(())
    }

    /// From now on every settlement also pays for so much time to come, which the next one takes into account.
    /// What a process does between two quanta, and its end, are then paid for whatever happens.
    pub fn pay_ahead(&mut self, ahead: Duration) {
        self.ahead = ahead;
    }

    /// From now on time is billed by this rule.
    pub fn set_billing(&mut self, billing: Billing) {
        self.billing = billing;
    }

    /// From now on everything that is set aside is reckoned at this price, if it is above the present one.
    pub fn reckon_with(&mut self, worst_usd_per_hour: Usd) {
        self.worst_usd_per_hour = worst_usd_per_hour;
    }

    /// The price has changed. What was not settled yet is charged at the new one.
    pub fn change_price(
        &mut self,
        usd_per_hour: Usd,
        price_source: impl Into<String>,
        step: u64,
    ) -> Result<(), LedgerError> {
        let before = self.terms.usd_per_hour;
        self.terms.usd_per_hour = usd_per_hour;
        self.terms.price_source = price_source.into();
        self.note("", step, format!("the price changes from {before} to {usd_per_hour} USD per hour"))
    }

    /// The price per hour at present.
    #[must_use]
    pub fn usd_per_hour(&self) -> Usd {
        self.terms.usd_per_hour
    }

    /// Charges seconds that no process saw: of what outlived the process that watched over it, say. At most what
    /// is left under the cap; the note says what could not be charged.
    pub fn charge_unseen(
        &mut self,
        stage: &str,
        purpose: Purpose,
        seconds: f64,
        note: &str,
    ) -> Result<Settlement, LedgerError> {
        let used = self.cost_of_seconds(seconds);
        let charged = used.min(self.account().left());
        let uncharged = used - charged;
        let note = if uncharged > Usd::ZERO {
            format!("{note}; {uncharged} USD of {used} USD stay uncharged, beyond the cap")
        } else {
            note.to_owned()
        };
        let number = self.set_aside(stage, 0, purpose, charged, note.clone())?;
        self.append(stage, 0, Kind::Settle, purpose, charged, number, seconds, note)?;
        Ok(Settlement { charged, uncharged })
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
        self.terms.usd_per_hour.per_hour_for(Hours::from_seconds(seconds))
    }

    /// What must be set aside so that everything is paid for that happens in the next `seconds`: at the worst
    /// price, with what is pending and what is paid ahead, by whole billing periods.
    #[must_use]
    pub fn cost_of_next(&self, seconds: f64) -> Usd {
        let end = self.clock.elapsed() + seconds_or_zero(seconds) + self.ahead;
        let unpaid = self.billed_until(end).saturating_sub(self.paid_until).as_secs_f64();
        self.worst().per_hour_for(Hours::from_seconds(unpaid))
    }

    /// What must stay free beside [`BudgetGuard::cost_of_next`] of `work` seconds so that `later` seconds more can
    /// follow.
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
        let end = self.billing.whole_periods(paid + self.seconds_for(amount));
        let now = self.clock.elapsed().saturating_sub(self.since).as_secs_f64();
        (end - now - self.ahead.as_secs_f64()).max(0.0)
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
        self.clock.elapsed().saturating_sub(self.paid_until).as_secs_f64()
    }

    /// What is used so far by the clock, not by the reserve: settled, and the time since, rounded down so that
    /// it is never more than the next settlement makes of it.
    #[must_use]
    pub fn spent_by_the_clock(&self) -> Usd {
        let hours = Hours::from_seconds(self.uncharged_seconds());
        let since = Usd::from_micros((self.terms.usd_per_hour.micros() as f64 * hours.0) as i64);
        (self.account().settled() + since).min(self.account().cap())
    }

    /// Seconds until `quantum` has used up its reserve; negative beyond it.
    #[must_use]
    pub fn seconds_left(&self, quantum: &Quantum) -> f64 {
        self.lease_seconds(Some(quantum))
    }

    /// Seconds until what is paid, and what `quantum` sets aside at the worst price, is used up; negative beyond.
    #[must_use]
    pub fn lease_seconds(&self, quantum: Option<&Quantum>) -> f64 {
        let reserve = quantum.map_or(Usd::ZERO, Quantum::reserve);
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
        let draft = Draft {
            time: self.clock.now(),
            run: self.terms.run.clone(),
            stage: stage.to_owned(),
            step,
            kind,
            purpose,
            amount,
            quantum,
            seconds,
            usd_per_hour: self.terms.usd_per_hour,
            price_source: self.terms.price_source.clone(),
            note,
        };
        self.journal.append(draft).map(|_| ())
    }
}

/// A duration from seconds that may be negative, endless or no number: those become the nearest that can be.
fn seconds_or_zero(seconds: f64) -> Duration {
    const CENTURY: f64 = 3.2e9;
    Duration::from_secs_f64(if seconds.is_nan() { 0.0 } else { seconds.clamp(0.0, CENTURY) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::FakeClock;
    use crate::journal::{read, verify};

    fn terms(cap_micros: i64) -> Terms {
        // 3,600 micro-dollars an hour: one micro-dollar a second.
        Terms {
            run: "test".into(),
            cap: Usd::from_micros(cap_micros),
            usd_per_hour: Usd::from_micros(3600),
            price_source: "stated".into(),
        }
    }

    fn usd(micros: i64) -> Usd {
        Usd::from_micros(micros)
    }

    #[test]
    fn all_time_is_charged_also_between_quanta() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let clock = Arc::new(FakeClock::new());
        let path = folder.path().join("ledger.jsonl");
        clock.advance(Duration::from_secs(2));
        let (mut guard, told) =
            BudgetGuard::open(&path, clock.clone(), terms(100), Duration::ZERO).expect("opens");
        assert!(told.is_empty());
        let quantum = guard.reserve("a", 0, Purpose::Train, usd(20), usd(80)).expect("fits");
        clock.advance(Duration::from_millis(4500));
        assert_eq!(guard.spent_by_the_clock(), usd(6));
        clock.advance(Duration::from_millis(500));
        assert!((guard.seconds_left(&quantum) - 13.0).abs() < 1e-9);
        assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(7));
        clock.advance(Duration::from_secs(1));
        let quantum = guard.reserve("a", 1, Purpose::Train, usd(20), usd(0)).expect("fits");
        clock.advance(Duration::from_millis(500));
        let settlement = guard.settle(quantum, 2).expect("settles");
        assert_eq!(settlement, Settlement { charged: usd(2), uncharged: usd(0) }, "1.5 s are rounded up");
        let quantum = guard.reserve("a", 2, Purpose::Evaluate, usd(20), usd(0)).expect("fits");
        guard.release(quantum, 2).expect("is given back");
        assert_eq!(guard.account().spent(), usd(9));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers_and_leaves_no_row() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let clock = Arc::new(FakeClock::new());
        let path = folder.path().join("ledger.jsonl");
        let (mut guard, _) = BudgetGuard::open(&path, clock, terms(100), Duration::ZERO).expect("opens");
        let refused = guard.reserve("a", 0, Purpose::Train, usd(60), usd(41)).expect_err("does not fit");
        assert!(matches!(refused, ReserveError::Refused(Refused { need, left })
            if need == usd(101) && left == usd(100)));
        assert_eq!(read(&path).expect("is sound").rows.len(), 1);
    }

    #[test]
    fn an_overrun_is_charged_up_to_the_cap_and_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let clock = Arc::new(FakeClock::new());
        let path = folder.path().join("ledger.jsonl");
        let (mut guard, _) =
            BudgetGuard::open(&path, clock.clone(), terms(100), Duration::ZERO).expect("opens");
        let quantum = guard.reserve("a", 0, Purpose::Train, usd(10), usd(0)).expect("fits");
        clock.advance(Duration::from_secs(130));
        let settlement = guard.settle(quantum, 1).expect("settles");
        assert_eq!((settlement.charged, settlement.overrun()), (usd(100), Some(usd(30))));
        let last = guard.rows().last().expect("has rows");
        assert!(last.note.contains("0.00003 USD stay uncharged"), "{}", last.note);
        assert!(guard.reserve("a", 1, Purpose::Train, usd(1), usd(0)).is_err());
    }

    fn opened(cap_micros: i64) -> (tempfile::TempDir, Arc<FakeClock>, BudgetGuard) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let clock = Arc::new(FakeClock::new());
        let path = folder.path().join("ledger.jsonl");
        let (guard, _) =
            BudgetGuard::open(&path, clock.clone(), terms(cap_micros), Duration::ZERO).expect("opens");
        (folder, clock, guard)
    }

    #[test]
    fn an_extended_quantum_is_settled_part_by_part() {
        let (_folder, clock, mut guard) = opened(100);
        let mut quantum = guard.reserve("a", 0, Purpose::Train, usd(20), usd(0)).expect("fits");
        guard.extend(&mut quantum, 0, usd(10), usd(0)).expect("fits");
        guard.extend(&mut quantum, 0, usd(30), usd(0)).expect("fits");
        assert!(guard.extend(&mut quantum, 0, usd(30), usd(11)).is_err(), "what is held stays free");
        assert_eq!((quantum.reserve(), guard.account().left()), (usd(60), usd(40)));
        assert!((guard.lease_seconds(Some(&quantum)) - 60.0).abs() < 1e-9);
        clock.advance(Duration::from_secs(25));
        assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(25));
        let settled: Vec<(Kind, i64, f64)> =
            guard.rows()[4..].iter().map(|row| (row.kind, row.amount.micros(), row.seconds)).collect();
        assert_eq!(settled, [(Kind::Settle, 20, 20.0), (Kind::Settle, 5, 5.0), (Kind::Release, 0, 0.0)]);
        assert_eq!(guard.account().spent(), usd(25));
    }

    #[test]
    fn what_is_paid_ahead_is_paid_once_and_covers_the_time_between_quanta() {
        let (_folder, clock, mut guard) = opened(100);
        guard.pay_ahead(Duration::from_secs(2));
        assert_eq!(guard.cost_of_next(5.0), usd(7));
        let quantum = guard.reserve("a", 0, Purpose::Train, usd(20), usd(0)).expect("fits");
        clock.advance(Duration::from_secs(10));
        assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(12));
        clock.advance(Duration::from_secs(1));
        assert!((guard.lease_seconds(None) - 1.0).abs() < 1e-9);
        let quantum = guard.reserve("a", 1, Purpose::Train, usd(20), usd(0)).expect("fits");
        clock.advance(Duration::from_secs(4));
        assert_eq!(guard.settle(quantum, 2).expect("settles").charged, usd(5));
        // At the cap the time to come is paid for as far as there is money.
        let quantum = guard.reserve("a", 2, Purpose::Train, usd(83), usd(0)).expect("fits");
        clock.advance(Duration::from_secs(84));
        let settlement = guard.settle(quantum, 3).expect("settles");
        assert_eq!(settlement, Settlement { charged: usd(83), uncharged: usd(0) });
        assert!((guard.lease_seconds(None) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn hours_begun_are_paid_whole() {
        let (_folder, clock, mut guard) = opened(10_000);
        guard.set_billing(Billing { increment_seconds: 3600.0, minimum_seconds: 0.0 });
        // 3,600 micro-dollars an hour: the cap pays for two whole hours, 2,800 are of no use.
        assert!((guard.seconds_of_work_for(usd(10_000)) - 7200.0).abs() < 1e-6);
        assert_eq!(guard.cost_of_next(1.0), usd(3600));
        let quantum = guard.reserve("a", 0, Purpose::Train, usd(3600), usd(0)).expect("fits");
        clock.advance(Duration::from_secs(60));
        assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(3600));
        assert_eq!(guard.cost_of_next(3000.0), usd(0), "the hour is paid for");
        assert!((guard.lease_seconds(None) - 3540.0).abs() < 1e-6);
        assert_eq!(guard.cost_of_next(3541.0), usd(3600));
        assert!((guard.seconds_of_work_for(usd(6400)) - 7140.0).abs() < 1e-6);
    }

    #[test]
    fn reserves_are_at_the_worst_price_and_settlements_at_the_present_one() {
        let (_folder, clock, mut guard) = opened(1000);
        guard.reckon_with(Usd::from_micros(36_000));
        assert_eq!((guard.cost_of_next(10.0), guard.cost_of_seconds(10.0)), (usd(100), usd(10)));
        let quantum = guard.reserve("a", 0, Purpose::Train, usd(100), usd(0)).expect("fits");
        clock.advance(Duration::from_secs(5));
        guard.change_price(Usd::from_micros(18_000), "the spot market", 0).expect("is written");
        clock.advance(Duration::from_secs(5));
        assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(50), "all of it at the new price");
        let last = guard.rows().last().expect("has rows");
        assert_eq!((last.usd_per_hour.micros(), last.price_source.as_str()), (18_000, "the spot market"));
    }

    #[test]
    fn what_no_process_saw_is_charged_up_to_the_cap() {
        let (_folder, _clock, mut guard) = opened(100);
        let settlement = guard.charge_unseen("", Purpose::Run, 130.0, "outlived").expect("is written");
        assert_eq!((settlement.charged, settlement.overrun()), (usd(100), Some(usd(30))));
        assert!(guard.rows().last().is_some_and(|row| row.note.contains("stay uncharged")));
    }

    #[test]
    fn another_cap_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("ledger.jsonl");
        let clock = Arc::new(FakeClock::new());
        drop(BudgetGuard::open(&path, clock.clone(), terms(100), Duration::ZERO).expect("opens"));
        let error = BudgetGuard::open(&path, clock, terms(200), Duration::ZERO).expect_err("is refused");
        assert!(matches!(error, LedgerError::OtherCap { .. }));
    }

    /// What can happen to a run's money.
    #[derive(Clone, Debug)]
    enum Event {
        Reserve {
            amount: i64,
            hold: i64,
        },
        Pass {
            millis: u64,
        },
        Settle,
        Release,
        /// The process dies; of the last row, this fraction (of 256) of its bytes reached the disk.
        Crash {
            torn: u8,
        },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0i64..400, 0i64..200).prop_map(|(amount, hold)| Event::Reserve { amount, hold }),
            4 => (0u64..300_000).prop_map(|millis| Event::Pass { millis }),
            4 => Just(Event::Settle),
            1 => Just(Event::Release),
            1 => any::<u8>().prop_map(|torn| Event::Crash { torn }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_happens_the_cap_holds_and_nothing_is_taken_back(
            events in prop::collection::vec(event(), 1..40),
            cap in 1i64..1000,
        ) {
            let folder = tempfile::tempdir().expect("temporary folder");
            let path = folder.path().join("ledger.jsonl");
            let clock = Arc::new(FakeClock::new());
            let (mut guard, _) =
                BudgetGuard::open(&path, clock.clone(), terms(cap), Duration::ZERO).expect("opens");
            let mut open: Option<Quantum> = None;
            let mut settled = Usd::ZERO;
            for event in events {
                match event {
                    Event::Reserve { amount, hold } => {
                        let left = guard.account().left();
                        match guard.reserve("a", 0, Purpose::Train, usd(amount), usd(hold)) {
                            Ok(quantum) => {
                                prop_assert!(usd(amount + hold) <= left);
                                // A quantum that is dropped stays reserved.
                                open = Some(quantum);
                            }
                            Err(ReserveError::Refused(_)) => prop_assert!(usd(amount + hold) > left),
                            Err(other) => prop_assert!(false, "{other}"),
                        }
                    }
                    Event::Pass { millis } => clock.advance(Duration::from_millis(millis)),
                    Event::Settle => {
                        if let Some(quantum) = open.take() {
                            guard.settle(quantum, 0).expect("settles");
                        }
                    }
                    Event::Release => {
                        if let Some(quantum) = open.take() {
                            guard.release(quantum, 0).expect("is given back");
                        }
                    }
                    Event::Crash { torn } => {
                        open = None;
                        let before = guard.account().clone();
                        drop(guard);
                        // A row of which the caller never heard, half on disk.
                        let mut bytes = fs::read(&path).expect("reads");
                        let first = bytes.iter().position(|&byte| byte == b'\n').expect("has a row");
                        let half = bytes[..first * usize::from(torn) / 256].to_vec();
                        bytes.extend(half);
                        fs::write(&path, bytes).expect("writes");
                        let since = clock.elapsed();
                        guard = BudgetGuard::open(&path, clock.clone(), terms(cap), since).expect("heals").0;
                        prop_assert_eq!(guard.account().spent(), before.spent());
                        prop_assert_eq!(guard.account().reserved(), Usd::ZERO);
                    }
                }
                let account = guard.account();
                prop_assert!(account.spent() <= account.cap());
                prop_assert!(account.settled() >= settled);
                prop_assert!(account.reserved() >= Usd::ZERO);
                settled = account.settled();
                let contents = verify(&path).expect("is sound at every moment");
                prop_assert_eq!(&contents.account, account);
            }
        }
    }
}
