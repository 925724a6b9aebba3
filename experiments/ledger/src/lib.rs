//! The append-only record of money and the cap that is never exceeded.
//!
//! Money is set aside before it is spent ([`BudgetGuard::reserve`]) and counted by the clock afterwards
//! ([`BudgetGuard::settle`]). Every movement is a [`Row`] of a [`Journal`], a file of JSON lines that only
//! ever grows; the sums are a pure fold over the rows ([`Account`]).
//!
//! # What is guaranteed
//! - What the ledger calls spent never exceeds the cap: a reserve that does not fit is refused, and a
//!   settlement takes at most its reserve and what is left.
//! - What is settled never decreases, whatever crashes and restarts happen: rows are never changed, the
//!   ledger is no part of a checkpoint, and a quantum that a crash cut off is charged its whole reserve.
//! - A row counts only once it is on disk (fsync).
//!
//! # Its bound
//! The clock is the machine's and no code of a process can stop it in the middle of one indivisible action (a
//! single training step, say). What is settled and reserved pays up to a moment
//! ([`BudgetGuard::lease_seconds`]); who wants the cap to hold whatever happens has the process ended by
//! then. Otherwise the settlement says in its note by how much the machine was held beyond the cap, and
//! nothing further is started.

mod account;
mod budget;
mod clock;
mod disk;
mod error;
mod guard;
#[cfg(test)]
mod histories;
mod invoice;
mod journal;
mod kind;
mod reconcile;
mod row;
mod summary;

pub use account::{Account, AccountError, OpenReserve, Spending};
pub use budget::{
    BUDGET_VERSION, BudgetTerms, Claim, LevelState, Rate, Share, SharedBudget, Threshold, Warning, look,
};
pub use clock::{Clock, FakeClock, SystemClock};
pub use error::{LedgerError, Seal};
pub use guard::{BudgetGuard, Quantum, Refused, ReserveError, Settlement, Terms};
pub use invoice::{InvoiceLine, read_invoice};
pub use journal::{Contents, Journal, read, verify};
pub use kind::{Kind, Purpose};
pub use reconcile::{Cause, Finding, ProviderSums, Reconciliation, Recorded, reconcile};
pub use row::{Bought, Draft, LEDGER_VERSION, Row};
pub use summary::{By, Group, clock_set_back, grouped};
