//! The sums: a pure fold over rows.

use std::collections::BTreeMap;

use shoestring_planner::units::Usd;

use crate::row::{Kind, Purpose, Row};

/// A row that does not follow from the ones before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The first row is not `open`.
    #[error("the first row is not `open`")]
    NotOpened,
    /// A second `open`.
    #[error("a ledger is opened once")]
    OpenedTwice,
    /// Money below zero.
    #[error("an amount of {0} USD is negative")]
    Negative(Usd),
    /// A reserve under a number that was used before.
    #[error("quantum {0} was reserved before")]
    ReservedTwice(u64),
    /// A settlement or release without a reserve.
    #[error("quantum {0} has no open reserve")]
    NotReserved(u64),
    /// More than the cap.
    #[error("spent would be {spent} USD, above the cap of {cap} USD")]
    OverCap {
        /// What would be spent.
        spent: Usd,
        /// The cap.
        cap: Usd,
    },
}

/// What was settled for one purpose in one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Spending {
    /// Name of the stage; empty outside stages.
    pub stage: String,
    /// What the money was for.
    pub purpose: Purpose,
    /// Settled money.
    pub settled: Usd,
    /// Seconds that it paid for.
    pub seconds: f64,
}

/// Cap, settled and reserved money after some rows.
///
/// `settled` never decreases; `spent` = `settled` + `reserved` never exceeds the cap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    cap: Option<Usd>,
    settled: Usd,
    open: BTreeMap<u64, Usd>,
    quanta: u64,
    spending: Vec<Spending>,
}

impl Account {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The sums after all of `rows`; the error names the index of the row that does not follow.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Result<Self, (usize, AccountError)> {
        let mut account = Self::new();
        for (index, row) in rows.into_iter().enumerate() {
            account.apply(row).map_err(|error| (index, error))?;
        }
        Ok(account)
    }

    /// Takes in one more row, or says why it cannot follow; then nothing has changed.
    pub fn apply(&mut self, row: &Row) -> Result<(), AccountError> {
        if row.amount < Usd::ZERO {
            return Err(AccountError::Negative(row.amount));
        }
        let Some(cap) = self.cap else {
            if row.kind != Kind::Open {
                return Err(AccountError::NotOpened);
            }
            self.cap = Some(row.amount);
            return Ok(());
        };
        match row.kind {
            Kind::Open => return Err(AccountError::OpenedTwice),
            Kind::Reserve => {
                if row.quantum <= self.quanta {
                    return Err(AccountError::ReservedTwice(row.quantum));
                }
                within(cap, self.spent() + row.amount)?;
                self.quanta = row.quantum;
                self.open.insert(row.quantum, row.amount);
            }
            Kind::Settle => {
                let reserve = self.open_reserve(row.quantum)?;
                within(cap, self.spent() - reserve + row.amount)?;
                self.open.remove(&row.quantum);
                self.settled += row.amount;
                self.record(row);
            }
            Kind::Release => {
                self.open_reserve(row.quantum)?;
                self.open.remove(&row.quantum);
            }
            Kind::Note | Kind::End => {}
        }
        Ok(())
    }

    fn record(&mut self, row: &Row) {
        let place = self.spending.iter().position(|one| one.stage == row.stage && one.purpose == row.purpose);
        match place {
            Some(index) => {
                self.spending[index].settled += row.amount;
                self.spending[index].seconds += row.seconds;
            }
            None => self.spending.push(Spending {
                stage: row.stage.clone(),
                purpose: row.purpose,
                settled: row.amount,
                seconds: row.seconds,
            }),
        }
    }

    fn open_reserve(&self, quantum: u64) -> Result<Usd, AccountError> {
        self.open.get(&quantum).copied().ok_or(AccountError::NotReserved(quantum))
    }

    /// The number that is never exceeded; zero before the first row.
    #[must_use]
    pub fn cap(&self) -> Usd {
        self.cap.unwrap_or_default()
    }

    /// What was really used, by the clock. Never decreases.
    #[must_use]
    pub fn settled(&self) -> Usd {
        self.settled
    }

    /// Set aside for quanta that are neither settled nor released.
    #[must_use]
    pub fn reserved(&self) -> Usd {
        self.open.values().copied().sum()
    }

    /// Settled and reserved together: never more than the cap.
    #[must_use]
    pub fn spent(&self) -> Usd {
        self.settled + self.reserved()
    }

    /// Cap less spent.
    #[must_use]
    pub fn left(&self) -> Usd {
        self.cap().minus_or_zero(self.spent())
    }

    /// Quanta with an open reserve, by number.
    pub fn open_reserves(&self) -> impl Iterator<Item = (u64, Usd)> + '_ {
        self.open.iter().map(|(&quantum, &amount)| (quantum, amount))
    }

    /// The highest number of a quantum so far.
    #[must_use]
    pub fn quanta(&self) -> u64 {
        self.quanta
    }

    /// Settled money by stage and purpose, in order of first appearance.
    #[must_use]
    pub fn spending(&self) -> &[Spending] {
        &self.spending
    }

    /// Settled money of one stage.
    #[must_use]
    pub fn settled_in_stage(&self, stage: &str) -> Usd {
        self.spending.iter().filter(|one| one.stage == stage).map(|one| one.settled).sum()
    }

    /// Settled money for one purpose.
    #[must_use]
    pub fn settled_for(&self, purpose: Purpose) -> Usd {
        self.spending.iter().filter(|one| one.purpose == purpose).map(|one| one.settled).sum()
    }
}

fn within(cap: Usd, spent: Usd) -> Result<(), AccountError> {
    if spent > cap { Err(AccountError::OverCap { spent, cap }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Draft, tests::draft};

    fn row(kind: Kind, quantum: u64, micros: i64) -> Row {
        let draft = Draft { kind, quantum, amount: Usd::from_micros(micros), ..draft() };
        Row::place(draft, 0, "").expect("has a JSON form").0
    }

    #[test]
    fn a_settlement_replaces_its_reserve() {
        let rows = [row(Kind::Open, 0, 100), row(Kind::Reserve, 1, 60), row(Kind::Reserve, 2, 30)];
        let mut account = Account::of(&rows).expect("follow");
        assert_eq!((account.spent().micros(), account.left().micros()), (90, 10));
        account.apply(&row(Kind::Settle, 1, 40)).expect("follows");
        assert_eq!((account.settled().micros(), account.reserved().micros()), (40, 30));
        account.apply(&row(Kind::Release, 2, 0)).expect("follows");
        assert_eq!((account.spent().micros(), account.left().micros()), (40, 60));
        assert_eq!(account.settled_in_stage("pretrain").micros(), 40);
        assert_eq!(account.settled_for(Purpose::Train).micros(), 40);
        assert_eq!(account.settled_for(Purpose::Evaluate).micros(), 0);
    }

    #[test]
    fn rows_that_do_not_follow_are_refused() {
        let mut account = Account::new();
        assert_eq!(account.apply(&row(Kind::Note, 0, 0)), Err(AccountError::NotOpened));
        account.apply(&row(Kind::Open, 0, 100)).expect("follows");
        assert_eq!(account.apply(&row(Kind::Open, 0, 200)), Err(AccountError::OpenedTwice));
        assert_eq!(account.apply(&row(Kind::Settle, 1, 1)), Err(AccountError::NotReserved(1)));
        assert!(matches!(account.apply(&row(Kind::Reserve, 1, 101)), Err(AccountError::OverCap { .. })));
        assert_eq!(
            account.apply(&row(Kind::Reserve, 1, -1)),
            Err(AccountError::Negative(Usd::from_micros(-1)))
        );
        account.apply(&row(Kind::Reserve, 1, 10)).expect("follows");
        assert_eq!(account.apply(&row(Kind::Reserve, 1, 10)), Err(AccountError::ReservedTwice(1)));
        assert!(matches!(account.apply(&row(Kind::Settle, 1, 101)), Err(AccountError::OverCap { .. })));
        account.apply(&row(Kind::Settle, 1, 5)).expect("follows");
        assert_eq!(account.apply(&row(Kind::Settle, 1, 5)), Err(AccountError::NotReserved(1)));
    }
}
