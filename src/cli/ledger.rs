//! What `ledger` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Format;

#[derive(Subcommand, Debug)]
pub(crate) enum LedgerCommand {
    /// Spend by stage and kind, and every row.
    Show(LedgerArgs),
    /// Check the chain of hashes and the arithmetic of every row.
    Verify(LedgerArgs),
}

#[derive(Args, Debug)]
pub(crate) struct LedgerArgs {
    /// The run directory.
    pub(crate) dir: PathBuf,
    /// Every row, not only the sums.
    #[arg(long)]
    pub(crate) rows: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
