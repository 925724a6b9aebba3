//! What `report` takes.

use std::path::PathBuf;

use clap::Args;
use shoestring_planner::units::Usd;

use super::Format;
use super::values::parse_budget;

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// Run directories; none: what the budget can buy.
    pub(crate) runs: Vec<PathBuf>,
    /// Folder to write into.
    #[arg(long, short, value_name = "DIR", default_value = "report")]
    pub(crate) out: PathBuf,
    /// Budgets drawn as lines.
    #[arg(long, value_parser = parse_budget, value_name = "USD", default_values = ["10000", "14000"])]
    pub(crate) budget: Vec<Usd>,
    /// Output format of the list of files written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
