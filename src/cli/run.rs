//! What `run`, `status` and `demo` take.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use shoestring_experiments::run::Compute;
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
    /// Spend at most so much in all (`50usd`), then stop with a checkpoint; the same command goes on. The cap
    /// holds besides.
    #[arg(long, value_parser = parse_budget, value_name = "USD")]
    pub(crate) until: Option<Usd>,
    /// A shared budget (`budget.toml`) that everything must also fit into.
    #[arg(long, value_name = "FILE")]
    pub(crate) budget: Option<PathBuf>,
    /// Stop with a checkpoint, as for a signal, once this file is there: the notice of a spot machine.
    #[arg(long, value_name = "FILE")]
    pub(crate) spot_notice: Option<PathBuf>,
    /// A file that says what everything costs per hour at present (`usd_per_hour = 1.2`, `source = "..."`).
    #[arg(long, value_name = "FILE")]
    pub(crate) price_file: Option<PathBuf>,
    /// What to compute on. `auto`: NVIDIA GPUs where the recipe is planned for such, this program was built for
    /// them (feature `cuda`) and there are any, else the CPU.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) device: DeviceArg,
    /// Compute on so many of this machine's GPUs, which share each batch; on all of them if left out.
    #[arg(long, value_name = "N")]
    pub(crate) devices: Option<NonZeroUsize>,
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

/// What to compute on, but for how many of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceArg {
    #[default]
    Auto,
    Cpu,
    Gpu,
}

impl RunArgs {
    /// Both flags together; `None` where they contradict each other.
    pub(crate) fn compute(&self) -> Option<Compute> {
        match (self.device, self.devices) {
            (DeviceArg::Cpu, Some(_)) => None,
            (DeviceArg::Cpu, None) => Some(Compute::Cpu),
            (DeviceArg::Auto, None) => Some(Compute::Auto),
            (DeviceArg::Gpu, None) | (_, Some(_)) => Some(Compute::Gpus(self.devices)),
        }
    }
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

/// How a machine is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bill {
    /// To the instant.
    Exact,
    /// By seconds begun.
    Second,
    /// By minutes begun.
    Minute,
    /// By hours begun.
    Hour,
}

#[derive(Args, Debug)]
pub(crate) struct GuardArgs {
    /// Dollars that are never exceeded by all commands under this guard together.
    #[arg(long, value_parser = parse_budget, value_name = "USD")]
    pub(crate) cap: Usd,
    /// A shared budget (`budget.toml`) that everything must also fit into.
    #[arg(long, value_name = "FILE")]
    pub(crate) budget: Option<PathBuf>,
    /// Price of everything together, in dollars per hour; of one device with --devices.
    #[arg(long, value_parser = parse_usd, value_name = "USD", required_unless_present = "offer")]
    pub(crate) price: Option<Usd>,
    /// The price is that of one of so many devices.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) devices: u32,
    /// An offer of the catalogue: its price unless --price says another, and its billing periods.
    #[arg(long, value_name = "OFFER")]
    pub(crate) offer: Option<String>,
    /// Billing periods; those usual with the offer's provider if left out, else to the instant.
    #[arg(long, value_enum)]
    pub(crate) bill: Option<Bill>,
    /// At least so much time is billed.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    pub(crate) bill_minimum: Option<Duration>,
    /// Time between the warning and the end; its money is held back from the start.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME", default_value = "120s")]
    pub(crate) grace: Duration,
    /// The signal that warns.
    #[arg(long, value_name = "NAME", default_value = "TERM")]
    pub(crate) signal: String,
    /// Folder of ledger and lock; `runs/<name of the command>` if left out. The same folder again goes on
    /// under the same cap.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Output format of the summary at the end, on stderr, since stdout is the command's.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Write the summary into this file instead.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct KeeperArgs {
    /// Where orders come from.
    pub(crate) orders: i32,
    /// Where news goes.
    pub(crate) news: i32,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Run directories, or folders with runs below them; `runs` if left out.
    pub(crate) paths: Vec<PathBuf>,
    /// A screen that is drawn again every few seconds, until Ctrl-C.
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Seconds between two screens.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, requires = "watch")]
    pub(crate) every: f64,
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
