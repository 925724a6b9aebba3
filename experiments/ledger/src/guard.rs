//! The cap: reserve, spend, settle.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
    number: u64,
    stage: String,
    purpose: Purpose,
    reserve: Usd,
}

impl Quantum {
    /// What was set aside.
    #[must_use]
    pub fn reserve(&self) -> Usd {
        self.reserve
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
#[derive(Debug)]
pub struct BudgetGuard {
    journal: Journal,
    clock: Arc<dyn Clock>,
    terms: Terms,
    /// Up to here the clock has been charged.
    charged_until: Duration,
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
        let mut guard = Self { journal, clock, terms, charged_until: since };
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
        let number = self.account().quanta() + 1;
        let seconds =
            Some(self.seconds_for(amount)).filter(|seconds| seconds.is_finite()).unwrap_or_default();
        self.append(stage, step, Kind::Reserve, purpose, amount, number, seconds, String::new())?;
        Ok(Quantum { number, stage: stage.to_owned(), purpose, reserve: amount })
    }

    /// Charges the time since the last settlement to `quantum`: what the clock says, at most its reserve and
    /// what is left under the cap. Should the clock say more than that, the note says how much more.
    pub fn settle(&mut self, quantum: Quantum, step: u64) -> Result<Settlement, LedgerError> {
        let now = self.clock.elapsed();
        let seconds = now.saturating_sub(self.charged_until).as_secs_f64();
        let used = self.cost_of_seconds(seconds);
        let limit = quantum.reserve + self.account().left();
        let charged = used.min(limit);
        let uncharged = used.minus_or_zero(limit);
        let note = if uncharged > Usd::ZERO {
            format!("the clock says {used} USD; charged up to the cap, {uncharged} USD stay uncharged")
        } else {
            String::new()
        };
        let (stage, number) = (quantum.stage.as_str(), quantum.number);
        self.append(stage, step, Kind::Settle, quantum.purpose, charged, number, seconds, note)?;
        self.charged_until = now;
        Ok(Settlement { charged, uncharged })
    }

    /// Gives a reserve back unspent: its work never started. The time since the last settlement is charged
    /// with the next one.
    pub fn release(&mut self, quantum: Quantum, step: u64) -> Result<(), LedgerError> {
        let (stage, number) = (quantum.stage.as_str(), quantum.number);
        self.append(stage, step, Kind::Release, quantum.purpose, Usd::ZERO, number, 0.0, String::new())
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

    /// What `seconds` of everything together cost, rounded up to the next micro-dollar.
    #[must_use]
    pub fn cost_of_seconds(&self, seconds: f64) -> Usd {
        self.terms.usd_per_hour.per_hour_for(Hours::from_seconds(seconds))
    }

    /// Seconds that `amount` pays for; infinite when time is free.
    #[must_use]
    pub fn seconds_for(&self, amount: Usd) -> f64 {
        let price = self.terms.usd_per_hour.dollars();
        if price > 0.0 { amount.dollars() / price * 3600.0 } else { f64::INFINITY }
    }

    /// Seconds that the clock has run since the last settlement.
    #[must_use]
    pub fn uncharged_seconds(&self) -> f64 {
        self.clock.elapsed().saturating_sub(self.charged_until).as_secs_f64()
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
        self.seconds_for(quantum.reserve) - self.uncharged_seconds()
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
