//! The command line as data: verbs, flags, and how their values are read.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shoestring_planner::recipe::{ImageReduction, Precision, TextReduction};
use shoestring_planner::units::{Hours, Samples, Usd};

/// Dollars in, the best CLIP model they can buy out: plan, train, account, report.
#[derive(Parser, Debug)]
#[command(version, about, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 no feasible plan, \
    4 cap reached (a checkpoint is there), 5 partial results, 75 stopped by a signal (same command resumes).")]
pub(crate) struct Cli {
    /// No progress bars and no notes on stderr; errors are still shown.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Turn a budget into a recipe: architecture, token lengths, stages, hardware, cost, expected accuracy.
    Plan(Box<PlanArgs>),
    /// Carry a recipe out under its cap; the same command again resumes.
    Run(RunArgs),
    /// Where runs stand: stage, progress, spent of cap, accuracy.
    Status(StatusArgs),
    /// What happened to the money of a run.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Tables and charts of any number of runs, and of what the budget can buy, in one page.
    Report(ReportArgs),
    /// Data sets.
    #[command(subcommand)]
    Data(DataCommand),
    /// Measure this machine with real training steps, for plans with `--offer this-machine`.
    Calibrate(CalibrateArgs),
    /// Time training steps of known shapes on this machine, and how far from its products' peak they are.
    Bench(BenchArgs),
    /// Hardware prices.
    #[command(subcommand)]
    Prices(PricesCommand),
    /// The inverse scaling law: the shortest token lengths that an architecture tolerates.
    Law(LawArgs),
    /// The tour: these verbs one after the other on this machine, in under five minutes.
    Demo(DemoArgs),
    /// Shell completions on stdout.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How facts are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; may change.
    #[default]
    Text,
    /// One object with `schema` and `version`; keys are only ever added.
    Json,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// The plan and why, for people.
    #[default]
    Text,
    /// One object with `schema` and `version`.
    Json,
    /// The recipe itself.
    Toml,
}

#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// Dollars to spend: `10000`, `10k`, `0.05`. Repeat it for tiers: each adds to the one before.
    #[arg(long, required = true, value_parser = parse_budget, allow_hyphen_values = true, value_name = "USD")]
    pub(crate) budget: Vec<Usd>,

    /// An offer by name (`aws/p5.48xlarge`, `clipa-v2-paper`, `this-machine`); all offers if left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) offer: Option<String>,
    /// An accelerator by name (`H100`, `A100-80GB`).
    #[arg(long, value_name = "NAME")]
    pub(crate) gpu: Option<String>,
    /// A stated price: USD per GPU-hour, or per hour of the machine with `--offer this-machine`.
    #[arg(long, value_parser = parse_usd, allow_hyphen_values = true, value_name = "USD")]
    pub(crate) price: Option<Usd>,
    /// Number of accelerators.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) gpus: Option<u32>,
    /// Spot prices, with the expected cost of interruptions.
    #[arg(long)]
    pub(crate) spot: bool,
    /// Time limit: `36h`, `30d`, `90m`.
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub(crate) deadline: Option<Hours>,

    /// What to train on: a known data set (`DataComp-1B`) or a folder with a `dataset.toml`.
    #[arg(long, value_name = "NAME|FOLDER")]
    pub(crate) data: Option<String>,
    /// Different image-caption pairs, for a data set that is not known.
    #[arg(long, value_name = "N")]
    pub(crate) unique_samples: Option<Samples>,
    /// Samples seen in pretraining; solved from the budget if left out.
    #[arg(long, value_name = "N")]
    pub(crate) samples: Option<Samples>,
    /// Samples seen in the first fine-tuning stage.
    #[arg(long, value_name = "N")]
    pub(crate) finetune_samples: Option<Samples>,
    /// Image sizes in pixels at which fine-tuning is allowed (`224,336`).
    #[arg(long, value_name = "PX", value_delimiter = ',')]
    pub(crate) finetune_sizes: Option<Vec<u32>>,
    /// Pin the architecture (`ViT-H-14-CLIPA`).
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,
    /// Pin the image size of pretraining, in pixels.
    #[arg(long, value_name = "PX")]
    pub(crate) image_size: Option<u32>,
    /// Pin the text tokens of pretraining.
    #[arg(long, value_name = "N")]
    pub(crate) text_tokens: Option<u32>,
    /// How captions may be shortened in pretraining; searched over if left out.
    #[arg(long, value_name = "KIND", value_enum)]
    pub(crate) text_reduction: Option<TextReductionArg>,
    /// Required probability that the cost stays within the budget (the cap holds in any case).
    #[arg(long, value_name = "P", default_value_t = 0.5, value_parser = parse_probability)]
    pub(crate) confidence: f64,
    /// What `calibrate` measured on this machine.
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
    /// Prices written by `prices update`, instead of the built-in catalogue.
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,

    /// Write the recipe here.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Overwrite another recipe at `--out`.
    #[arg(long)]
    pub(crate) force: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: PlanFormat,
}

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
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Run directories, or folders with runs below them; `runs` if left out.
    pub(crate) paths: Vec<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

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

#[derive(Subcommand, Debug)]
pub(crate) enum DataCommand {
    /// Draw a procedural image-caption data set as webdataset shards, with classes held out of training.
    Synth(SynthArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SynthArgs {
    /// Folder to write into.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Training pairs.
    #[arg(long, value_name = "N", default_value = "16384")]
    pub(crate) samples: Samples,
    /// Labelled images of the held-out classes.
    #[arg(long, value_name = "N", default_value = "960")]
    pub(crate) eval_samples: Samples,
    /// Side of the images in pixels.
    #[arg(long, value_name = "PX", default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub(crate) image_size: u32,
    /// Training shards.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) shards: u32,
    /// Seed of the drawing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Args, Debug)]
pub(crate) struct CalibrateArgs {
    /// Write the measurement here.
    #[arg(long, short, value_name = "FILE", default_value = "machine.toml")]
    pub(crate) out: PathBuf,
    /// Seconds to measure for, at least.
    #[arg(long, value_name = "S", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// Shapes: `a` (width 384, 64 px, batch 128), `b` (768, 96 px, 64), `c` (768, 224 px, 16), `tiny`.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values = ["a"], value_parser = ["tiny", "a", "b", "c"])]
    pub(crate) shape: Vec<String>,
    /// The stages of this recipe instead.
    #[arg(long, value_name = "RECIPE", conflicts_with = "shape")]
    pub(crate) like: Option<PathBuf>,
    /// Seconds of each shape, at least.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// Precision of the products' operands; what the processor is best at if left out.
    #[arg(long, value_enum)]
    pub(crate) precision: Option<PrecisionArg>,
    /// Samples whose activations are held at a time; all if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) microbatch: Option<u32>,
    /// Compute activations again instead of keeping them: less memory, a third more arithmetic.
    #[arg(long)]
    pub(crate) recompute: bool,
    /// Time the single kernels too, on one thread.
    #[arg(long)]
    pub(crate) kernels: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// [`Precision`] as a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PrecisionArg {
    Bf16,
    F32,
}

impl From<PrecisionArg> for Precision {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::Bf16 => Self::Bf16,
            PrecisionArg::F32 => Self::F32,
        }
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum PricesCommand {
    /// The offers that plans choose from, cheapest FLOP first.
    List(PricesListArgs),
    /// Fetch today's prices from the SkyPilot catalogue. The only verb that uses the network.
    Update(PricesUpdateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct PricesListArgs {
    /// Only this accelerator.
    #[arg(long, value_name = "NAME")]
    pub(crate) gpu: Option<String>,
    /// Prices written by `prices update`, instead of the built-in catalogue.
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct PricesUpdateArgs {
    /// Clouds to fetch.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values = ["aws", "gcp", "lambda", "nebius", "runpod"])]
    pub(crate) cloud: Vec<String>,
    /// Write the prices here; an older file is only replaced when every cloud answered.
    #[arg(long, short, value_name = "FILE", default_value = "prices.csv")]
    pub(crate) out: PathBuf,
    /// Where the catalogue lies: `{URL}/{cloud}/vms.csv`.
    #[arg(long, value_name = "URL", default_value = shoestring_planner::prices::SKYPILOT_CATALOGUE)]
    pub(crate) url: String,
}

#[derive(Args, Debug)]
pub(crate) struct LawArgs {
    /// Architectures; all if left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Vec<String>,
    /// Tolerated drop of ImageNet zero-shot accuracy, in percentage points.
    #[arg(long, value_name = "POINTS", default_value_t = 1.0)]
    pub(crate) drop: f64,
    /// How the image sequence is shortened.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) reduction: ImageReductionArg,
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

/// [`TextReduction`] as a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TextReductionArg {
    Truncate,
    Random,
    Block,
    Syntax,
}

impl From<TextReductionArg> for TextReduction {
    fn from(arg: TextReductionArg) -> Self {
        match arg {
            TextReductionArg::Truncate => Self::Truncate,
            TextReductionArg::Random => Self::Random,
            TextReductionArg::Block => Self::Block,
            TextReductionArg::Syntax => Self::Syntax,
        }
    }
}

/// [`ImageReduction`] as a flag.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum ImageReductionArg {
    #[default]
    Resize,
    Random,
    Grid,
    Block,
}

impl From<ImageReductionArg> for ImageReduction {
    fn from(arg: ImageReductionArg) -> Self {
        match arg {
            ImageReductionArg::Resize => Self::Resize,
            ImageReductionArg::Random => Self::Random,
            ImageReductionArg::Grid => Self::Grid,
            ImageReductionArg::Block => Self::Block,
        }
    }
}

fn parse_usd(text: &str) -> Result<Usd, String> {
    let amount: Usd = text.parse().map_err(|error: shoestring_planner::units::UsdError| error.to_string())?;
    if amount < Usd::ZERO {
        return Err("a price cannot be negative".into());
    }
    Ok(amount)
}

fn parse_budget(text: &str) -> Result<Usd, String> {
    let amount: Usd = text.parse().map_err(|error: shoestring_planner::units::UsdError| {
        format!("{error} (write 10000, 10k, 1.5M or 0.05)")
    })?;
    match amount {
        Usd::ZERO => Err("a budget of zero buys nothing; state more than zero dollars".into()),
        negative if negative < Usd::ZERO => Err("a budget cannot be negative".into()),
        amount => Ok(amount),
    }
}

fn parse_duration(text: &str) -> Result<Hours, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error} (write 36h, 30d or 90m)"))?;
    if duration.is_zero() {
        return Err("a deadline of zero leaves no time".into());
    }
    Ok(Hours::from_seconds(duration.as_secs_f64()))
}

fn parse_probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("a probability above 0 and below 1 (for example 0.9)".into()),
    }
}
