//! Shows what each dollar bought: reads what the planner and the runs wrote and turns it into polars tables,
//! plotters charts and one self-contained HTML page. Changes nothing that it reads, and the same inputs
//! give the same bytes: no clock, no random numbers.
//!
//! [`Report::build`] turns [`Inputs`] into [`ReportFiles`], which [`ReportFiles::write`] puts on disk.

mod charts;
mod error;
mod inputs;
mod page;
mod read;
mod report;
mod tables;
mod words;

pub use self::charts::{Choice, backtest_picture, drop_picture};
pub use self::error::ReportError;
pub use self::inputs::{
    BackTestChart, BackTestGroup, BackTestPoint, BackTestQuantity, DropChart, DropSeries, FrontierPoint,
    Inputs, Picture, PublishedPoint, SourceNote,
};
pub use self::report::{Note, Report, ReportFile, ReportFiles};
pub use self::tables::{LedgerColumns, LedgerRows, ledger_csv, ledger_parquet};

#[cfg(test)]
mod fixture;
