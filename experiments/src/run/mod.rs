//! Carrying a recipe out: one directory, one ledger, one cap, any number of processes one after the other.
//!
//! # Equality
//! Training is a function of the recipe and of the re-plans on record. Whatever else depends on time or money
//! (how many steps a quantum has, when a checkpoint is due) decides only *when* something happens, never
//! *what* a step computes; so a run that was killed at any moment and resumed ends with the same weights, bit
//! for bit, as one that was not, as long as money changes no plan.
//!
//! # Money
//! Everything a process does from its start on is charged. Each piece of work (a quantum) is set aside first
//! at its worst case, and refused when it would not fit next to what is held back for the last checkpoint,
//! the last evaluation, the stages after this one and a safety margin of [`timing::MARGIN_STEPS`] steps.
//! Between steps and between batches of an evaluation the clock is looked at, and a quantum ends before its
//! reserve is used up. A step that takes longer has its reserve extended from what is not held back, and
//! where there is nothing left to extend it from, the process is ended ([`crate::lease`]). Without a lease
//! (other systems than Linux, tests) the machine is held beyond the cap if one step, one evaluation batch or
//! one checkpoint suddenly takes longer than its reserve, the margin and everything else that is left
//! together; the ledger then says by how much.
//!
//! # Schedule
//! With `schedule_progress = "budget"`, where the money left pays for less than what is planned, every stage
//! to come is given the same part of its steps (a re-plan, see [`Replan`]), so that each still ends annealed.
//!
//! # Stages
//! A stage starts from the weights of the one before with fresh optimiser moments, as CLIPA fine-tunes.

mod charge;
pub(crate) mod checkpoint;
mod clip;
mod course;
mod device;
mod directory;
pub(crate) mod ending;
mod error;
mod evaluate;
mod executor;
pub(crate) mod forecast;
mod lock;
mod log;
mod observer;
mod pace;
mod price;
mod replan;
mod start;
mod state;
#[cfg(test)]
mod tests;
pub mod timing;

pub use self::charge::Charge;
pub use self::checkpoint::{Checkpoint, list as list_checkpoints};
pub use self::device::Compute;
pub use self::directory::RunDirectory;
pub use self::error::RunError;
pub(crate) use self::lock::RunLock;
pub use self::lock::{Holder, holder};
pub use self::observer::{Observer, StageProgress, StepProgress};
pub use self::pace::Replan;
pub use self::start::{Check, Options, Order, Outcome, Standing, Summary, check, start};
pub use self::state::{Drawn, FileSeal, State};
