//! What `law` and `backtest` take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::values::{ImageReductionArg, TextReductionArg};
use super::{Format, TableFormat};

#[derive(Args, Debug)]
pub(crate) struct BacktestArgs {
    /// A table of runs to predict instead; those that the law has seen are taken out of it first.
    #[arg(long, value_name = "FILE")]
    pub(crate) runs: Option<PathBuf>,
    /// Fit anew for every run that is left out, instead of to first order: about a minute.
    #[arg(long, conflicts_with = "runs")]
    pub(crate) exact: bool,
    /// A line for every judged run in the text.
    #[arg(long, conflicts_with = "runs")]
    pub(crate) every_run: bool,
    /// Write the predictions as CSV and the charts (SVG, PNG) into this folder.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: TableFormat,
}

#[derive(Subcommand, Debug)]
pub(crate) enum LawCommand {
    /// Fit the law on published runs and say how wrong it is on runs that it has not seen.
    Fit(LawFitArgs),
}

#[derive(Args, Debug)]
pub(crate) struct LawFitArgs {
    /// The table of runs; the built-in one if left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) runs: Option<PathBuf>,
    /// Write the fitted law here.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LawArgs {
    #[command(subcommand)]
    pub(crate) command: Option<LawCommand>,
    /// Architectures; all if left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Vec<String>,
    /// Tolerated drop of ImageNet zero-shot accuracy, in percentage points.
    #[arg(long, value_name = "POINTS", default_value_t = 1.0)]
    pub(crate) drop: f64,
    /// How the image sequence is shortened.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) reduction: ImageReductionArg,
    /// Draw the image table for `--reduction`, with the published points, as FILE.svg or FILE.png; the same for
    /// captions (`--text-reduction`) beside it, as FILE-text.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// How captions are shortened in the second plot.
    #[arg(long, value_enum, default_value = "syntax")]
    pub(crate) text_reduction: TextReductionArg,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
