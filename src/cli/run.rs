//! What `run`, `status` and `demo` take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use shoestring_planner::units::Usd;

use super::Format;
use super::values::{parse_budget, parse_usd};

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The recipe.
    pub(crate) recipe: PathBuf,
    /// The run directory; `runs/<name of the recipe>` if left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Check recipe, data and directory, then stop before the first step; nothing is written or spent.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Output format of the summary at the end.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Format of what is said on stderr while it runs.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
}

/// How stderr is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines and bars for people.
    #[default]
    Text,
    /// One JSON object a line, with `time` and `event`; no bars.
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Run directories, or folders with runs below them; `runs` if left out.
    pub(crate) paths: Vec<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Folder to work in.
    #[arg(long, value_name = "DIR", default_value = "demo")]
    pub(crate) dir: PathBuf,
    /// Dollars for the run on this machine.
    #[arg(long, value_parser = parse_budget, value_name = "USD", default_value = "0.03")]
    pub(crate) budget: Usd,
    /// Price of this machine, in dollars per hour.
    #[arg(long, value_parser = parse_usd, value_name = "USD", default_value = "0.60")]
    pub(crate) price: Usd,
}
