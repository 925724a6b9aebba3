//! The sums: a pure fold over rows.

use std::collections::{BTreeMap, BTreeSet};

use shoestring_planner::units::Usd;

use crate::kind::{Kind, Purpose};
use crate::row::Row;

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
    /// A kind of row that needs an amount has none.
    #[error("a `{0}` row has no known amount; only imports may")]
    AmountUnknown(&'static str),
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
    /// A cap below what is spent.
    #[error("a cap of {cap} USD is below the {spent} USD that are spent or reserved")]
    CapBelowSpent {
        /// The cap asked for.
        cap: Usd,
        /// Spent and reserved so far.
        spent: Usd,
    },
    /// Nothing can be promised while a row's amount is unknown.
    #[error("the amount of row {0} is unknown, so that nothing can be said to fit under the cap")]
    SpendUnknown(u64),
    /// An adjustment of a row that is not of unknown amount.
    #[error("row {0} is no row of unknown amount")]
    NotUnknown(u64),
    /// Corrections below nothing.
    #[error("an adjustment of {adjust} USD would leave {charged} USD charged, less than nothing")]
    BelowNothing {
        /// The adjustment.
        adjust: Usd,
        /// What would be charged in sum.
        charged: Usd,
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

/// Money set aside and neither settled nor released yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReserve {
    /// How much.
    pub amount: Usd,
    /// `seq` of its row.
    pub seq: u64,
    /// Who holds it; empty in the ledger of a single run.
    pub holder: String,
}

/// Cap, settled and reserved money after some rows.
///
/// `settled` never decreases. No `reserve`, `spend` or `settle` row brings `spent` above the cap; `import` and
/// `adjust` rows state what happened elsewhere and may, after which nothing more is reserved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    cap: Option<Usd>,
    settled: Usd,
    imported: Usd,
    adjusted: Usd,
    open: BTreeMap<u64, OpenReserve>,
    reserved: Usd,
    quanta: u64,
    unknown: BTreeSet<u64>,
    warned: BTreeSet<u32>,
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
        self.check(row)?;
        let amount = row.amount.unwrap_or_default();
        match row.kind {
            Kind::Open => self.cap = Some(amount),
            Kind::Cap => {
                self.cap = Some(amount);
                // Thresholds that lie ahead again are told again.
                let (spent, cap) = (self.spent(), self.cap());
                self.warned.retain(|&percent| crossed(percent, spent, cap));
            }
            Kind::Reserve => {
                self.quanta = row.quantum;
                self.reserved += amount;
                let open = OpenReserve { amount, seq: row.seq, holder: row.holder.clone() };
                self.open.insert(row.quantum, open);
            }
            Kind::Settle => {
                self.close(row.quantum);
                self.settled += amount;
                self.record(row, amount);
            }
            Kind::Spend => {
                self.settled += amount;
                self.record(row, amount);
            }
            Kind::Release => self.close(row.quantum),
            Kind::Import => match row.amount {
                Some(amount) => self.imported += amount,
                None => {
                    self.unknown.insert(row.seq);
                }
            },
            Kind::Adjust => {
                self.adjusted += amount;
                if let Some(seq) = row.of {
                    self.unknown.remove(&seq);
                }
            }
            Kind::Warn => {
                self.warned.insert(percent_of(row));
            }
            Kind::PriceChange | Kind::Note | Kind::End => {}
        }
        Ok(())
    }

    /// Whether `row` follows.
    pub(crate) fn check(&self, row: &Row) -> Result<(), AccountError> {
        let amount = match row.amount {
            Some(amount) if amount < Usd::ZERO && row.kind != Kind::Adjust => {
                return Err(AccountError::Negative(amount));
            }
            Some(amount) => amount,
            None if row.kind == Kind::Import => Usd::ZERO,
            None => return Err(AccountError::AmountUnknown(row.kind.name())),
        };
        let Some(cap) = self.cap else {
            return if row.kind == Kind::Open { Ok(()) } else { Err(AccountError::NotOpened) };
        };
        match row.kind {
            Kind::Open => return Err(AccountError::OpenedTwice),
            Kind::Cap if amount < self.spent() => {
                return Err(AccountError::CapBelowSpent { cap: amount, spent: self.spent() });
            }
            Kind::Reserve => {
                if row.quantum <= self.quanta {
                    return Err(AccountError::ReservedTwice(row.quantum));
                }
                if let Some(&seq) = self.unknown.first() {
                    return Err(AccountError::SpendUnknown(seq));
                }
                within(cap, self.spent() + amount)?;
            }
            Kind::Settle => {
                let reserve = self.open_reserve(row.quantum)?.amount;
                // What fitted when it was reserved may be settled up to its reserve, also after facts from
                // elsewhere have used up the cap in between.
                if amount > reserve {
                    within(cap, self.spent() - reserve + amount)?;
                }
            }
            Kind::Spend => within(cap, self.spent() + amount)?,
            Kind::Release => {
                self.open_reserve(row.quantum)?;
            }
            Kind::Adjust => {
                if let Some(seq) = row.of
                    && !self.unknown.contains(&seq)
                {
                    return Err(AccountError::NotUnknown(seq));
                }
                let charged = self.charged() + amount;
                if charged < Usd::ZERO {
                    return Err(AccountError::BelowNothing { adjust: amount, charged });
                }
            }
            Kind::Cap | Kind::Import | Kind::PriceChange | Kind::Warn | Kind::Note | Kind::End => {}
        }
        Ok(())
    }

    fn close(&mut self, quantum: u64) {
        if let Some(open) = self.open.remove(&quantum) {
            self.reserved -= open.amount;
        }
    }

    fn record(&mut self, row: &Row, amount: Usd) {
        let place = self.spending.iter().position(|one| one.stage == row.stage && one.purpose == row.purpose);
        let seconds = row.seconds.unwrap_or_default();
        match place {
            Some(index) => {
                self.spending[index].settled += amount;
                self.spending[index].seconds += seconds;
            }
            None => self.spending.push(Spending {
                stage: row.stage.clone(),
                purpose: row.purpose,
                settled: amount,
                seconds,
            }),
        }
    }

    fn open_reserve(&self, quantum: u64) -> Result<&OpenReserve, AccountError> {
        self.open.get(&quantum).ok_or(AccountError::NotReserved(quantum))
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

    /// What was spent elsewhere, as far as it is known.
    #[must_use]
    pub fn imported(&self) -> Usd {
        self.imported
    }

    /// The sum of the corrections; may be negative.
    #[must_use]
    pub fn adjusted(&self) -> Usd {
        self.adjusted
    }

    /// Settled, imported and adjusted: everything that was used.
    #[must_use]
    pub fn charged(&self) -> Usd {
        self.settled + self.imported + self.adjusted
    }

    /// Set aside for quanta that are neither settled nor released.
    #[must_use]
    pub fn reserved(&self) -> Usd {
        self.reserved
    }

    /// Charged and reserved together.
    #[must_use]
    pub fn spent(&self) -> Usd {
        self.charged() + self.reserved
    }

    /// Cap less spent.
    #[must_use]
    pub fn left(&self) -> Usd {
        self.cap().minus_or_zero(self.spent())
    }

    /// `seq` of the rows whose amount is unknown. While there is one, nothing is reserved.
    #[must_use]
    pub fn unknown(&self) -> &BTreeSet<u64> {
        &self.unknown
    }

    /// Thresholds, in percent of the cap, that were told.
    #[must_use]
    pub fn warned(&self) -> &BTreeSet<u32> {
        &self.warned
    }

    /// Quanta with an open reserve, by number.
    pub fn open_reserves(&self) -> impl Iterator<Item = (u64, Usd)> + '_ {
        self.open.iter().map(|(&quantum, open)| (quantum, open.amount))
    }

    /// Quanta with an open reserve, with who holds them.
    #[must_use]
    pub fn held(&self) -> &BTreeMap<u64, OpenReserve> {
        &self.open
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

/// Whether `spent` is at least `percent` of `cap`.
pub(crate) fn crossed(percent: u32, spent: Usd, cap: Usd) -> bool {
    i128::from(spent.micros()) * 100 >= i128::from(cap.micros()) * i128::from(percent)
}

/// The threshold of a `warn` row, which carries it in the field of the step.
fn percent_of(row: &Row) -> u32 {
    u32::try_from(row.step).unwrap_or(u32::MAX)
}

fn within(cap: Usd, spent: Usd) -> Result<(), AccountError> {
    if spent > cap { Err(AccountError::OverCap { spent, cap }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Draft, tests::draft};

    fn row(kind: Kind, quantum: u64, micros: i64) -> Row {
        placed(Draft { kind, quantum, amount: Some(Usd::from_micros(micros)), ..draft() }, 0)
    }

    fn placed(draft: Draft, seq: u64) -> Row {
        Row::place(draft, seq, "").expect("has a JSON form").0
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
        account.apply(&row(Kind::Spend, 0, 5)).expect("follows");
        assert_eq!(account.settled_in_stage("pretrain").micros(), 45);
        assert_eq!(account.settled_for(Purpose::Train).micros(), 45);
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
        assert!(matches!(account.apply(&row(Kind::Spend, 0, 101)), Err(AccountError::OverCap { .. })));
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

    #[test]
    fn a_cap_can_be_raised_and_not_lowered_below_what_is_spent() {
        let rows = [row(Kind::Open, 0, 100), row(Kind::Spend, 0, 40), row(Kind::Reserve, 1, 30)];
        let mut account = Account::of(&rows).expect("follow");
        let (cap, spent) = (Usd::from_micros(69), Usd::from_micros(70));
        assert_eq!(account.apply(&row(Kind::Cap, 0, 69)), Err(AccountError::CapBelowSpent { cap, spent }));
        account.apply(&row(Kind::Cap, 0, 70)).expect("follows");
        assert_eq!(account.left(), Usd::ZERO);
        account.apply(&row(Kind::Cap, 0, 200)).expect("follows");
        assert_eq!(account.left().micros(), 130);
    }

    #[test]
    fn an_unknown_amount_stops_reserves_until_it_is_stated() {
        let mut account = Account::of(&[row(Kind::Open, 0, 100)]).expect("follows");
        account.apply(&placed(Draft { kind: Kind::Import, amount: None, ..draft() }, 7)).expect("follows");
        assert_eq!(account.apply(&row(Kind::Reserve, 1, 1)), Err(AccountError::SpendUnknown(7)));
        let adjust = |of, micros| placed(Draft { of: Some(of), ..draft_of(Kind::Adjust, micros) }, 8);
        assert_eq!(account.apply(&adjust(6, 20)), Err(AccountError::NotUnknown(6)));
        account.apply(&adjust(7, 20)).expect("follows");
        assert_eq!(account.spent().micros(), 20);
        account.apply(&row(Kind::Reserve, 1, 80)).expect("follows");
        assert!(matches!(
            account.apply(&placed(Draft { kind: Kind::Reserve, amount: None, ..draft() }, 9)),
            Err(AccountError::AmountUnknown("reserve"))
        ));
    }

    #[test]
    fn facts_from_elsewhere_are_taken_in_above_the_cap_and_stop_everything_new() {
        let mut account = Account::of(&[row(Kind::Open, 0, 100), row(Kind::Reserve, 1, 60)]).expect("follow");
        account.apply(&row(Kind::Import, 0, 90)).expect("is a fact");
        assert_eq!((account.spent().micros(), account.left()), (150, Usd::ZERO));
        assert!(matches!(account.apply(&row(Kind::Reserve, 2, 1)), Err(AccountError::OverCap { .. })));
        assert!(matches!(account.apply(&row(Kind::Settle, 1, 61)), Err(AccountError::OverCap { .. })));
        account.apply(&row(Kind::Settle, 1, 60)).expect("was promised");
        assert!(matches!(account.apply(&row(Kind::Adjust, 0, -151)), Err(AccountError::BelowNothing { .. })));
        account.apply(&row(Kind::Adjust, 0, -70)).expect("is a fact");
        assert_eq!((account.spent().micros(), account.left().micros()), (80, 20));
    }

    fn draft_of(kind: Kind, micros: i64) -> Draft {
        Draft { kind, quantum: 0, amount: Some(Usd::from_micros(micros)), ..draft() }
    }
}
