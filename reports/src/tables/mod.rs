//! The report's tables as polars frames. Units stand in the column names; money is there twice, as an integer
//! number of micro-dollars to add up and as dollars to read.

mod build;
mod encode;
mod focus;
mod ledger;
mod plans;
mod runs;

use polars::prelude::DataFrame;

pub(crate) use self::encode::{csv, parquet};
pub use self::ledger::{LedgerColumns, LedgerRows, ledger_csv, ledger_parquet};
pub(crate) use self::plans::{Comparison, comparisons};
use crate::read::RunRecord;
use crate::{Inputs, ReportError};

/// A named table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Name of the files that it is written to.
    pub(crate) name: &'static str,
    /// What one row is, in words.
    pub(crate) row: &'static str,
    /// The table.
    pub(crate) frame: DataFrame,
}

/// All tables, in the order in which they are listed.
pub(crate) fn all(inputs: &Inputs, runs: &[RunRecord]) -> Result<Vec<Table>, ReportError> {
    Ok(vec![
        runs::runs(runs)?,
        plans::planned_vs_actual(runs)?,
        runs::spending(runs)?,
        runs::evaluations(runs)?,
        runs::ledger(runs)?,
        runs::spend_over_time(runs)?,
        runs::metrics(runs)?,
        plans::frontier(inputs)?,
        plans::published(inputs)?,
    ])
}
