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
    /// The inverse scaling law: the shortest token lengths that an architecture tolerates; `law fit` fits it.
    Law(LawArgs),
    /// How wrong the planner has been: published runs predicted by laws that have not seen them.
    Backtest(BacktestArgs),
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
    #[arg(long, value_parser = parse_budget, allow_hyphen_values = true, value_name = "USD")]
    #[arg(required_unless_present_any = ["target_accuracy", "recipe", "compare"])]
    pub(crate) budget: Vec<Usd>,
    /// The cheapest plan for this ImageNet zero-shot accuracy, instead of the best for a budget.
    #[arg(long, value_name = "PERCENT", conflicts_with = "budget")]
    pub(crate) target_accuracy: Option<f64>,
    /// What an existing recipe costs, takes, needs and brings; nothing is searched.
    #[arg(long, value_name = "FILE", alias = "dry-run", conflicts_with_all = ["budget", "target_accuracy"])]
    pub(crate) recipe: Option<PathBuf>,
    /// Two recipes side by side.
    #[arg(long, value_names = ["A", "B"], num_args = 2)]
    #[arg(conflicts_with_all = ["budget", "target_accuracy", "recipe"])]
    pub(crate) compare: Option<Vec<PathBuf>>,

    /// An offer by name (`aws/p5.48xlarge`, `clipa-v2-paper`, `this-machine`); all offers if left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) offer: Option<String>,
    /// An accelerator by name (`H100`, `A100-80GB`).
    #[arg(long, value_name = "NAME")]
    pub(crate) gpu: Option<String>,
    /// A stated price: USD per GPU-hour, or per hour of the machine with `--offer this-machine`.
    #[arg(long, value_parser = parse_usd, allow_hyphen_values = true, value_name = "USD")]
    pub(crate) price: Option<Usd>,
    /// Only this provider's offers (`lambda`).
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// Only offers whose region's name contains this (`us-east`).
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// Number of accelerators.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) gpus: Option<u32>,
    /// Spot prices, with the expected cost of interruptions.
    #[arg(long)]
    pub(crate) spot: bool,
    /// Leave spot machines for on-demand ones after so many interruptions, and count what that costs.
    #[arg(long, value_name = "N", requires = "spot")]
    pub(crate) fallback_after: Option<u32>,
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
    /// Price of keeping the data, USD per GB-month; storage is then a line of the bill.
    #[arg(long, value_parser = parse_usd, allow_hyphen_values = true, value_name = "USD")]
    pub(crate) storage_price: Option<Usd>,
    /// Price of sending the data to the machine, USD per GB; egress is then a line of the bill.
    #[arg(long, value_parser = parse_usd, allow_hyphen_values = true, value_name = "USD")]
    pub(crate) egress_price: Option<Usd>,
    /// Times that all data are sent (once where they are kept on the machine).
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) egress_passes: u32,
    /// GB of training data; 25 KB a pair if left out.
    #[arg(long, value_name = "GB", value_parser = parse_gigabytes)]
    pub(crate) data_gb: Option<f64>,
    /// Time that the machine is paid for and idle (`6h`).
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub(crate) idle: Option<Hours>,
    /// Pin the architecture: a name (`ViT-H-14-CLIPA`), or an open_clip model config (`FILE.json`).
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) arch: Option<String>,
    /// Pin the image size of pretraining, in pixels.
    #[arg(long, value_name = "PX")]
    pub(crate) image_size: Option<u32>,
    /// Pin the text tokens of pretraining.
    #[arg(long, value_name = "N")]
    pub(crate) text_tokens: Option<u32>,
    /// Pin a field of a stage: `pretrain.image_size_px=84`, `pretrain.batch=32768`, `finetune-224.samples=512M`.
    #[arg(long, value_name = "STAGE.FIELD=VALUE")]
    pub(crate) fixed: Vec<String>,
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

    /// The whole reasoning: what was looked at, what was tied, what would change the choice.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Draw the reasoning: accuracy against dollars and against tokens (SVG or PNG, by the name's end).
    #[arg(long, value_name = "FILE", requires = "explain")]
    pub(crate) plot: Option<PathBuf>,
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
    /// Fetch today's prices into a price table. The only verb that uses the network.
    Update(PricesUpdateArgs),
    /// Take prices of your own contract (CSV, JSON, TOML) into a price table.
    Import(PricesImportArgs),
    /// What changed between two price tables; `built-in` is the built-in catalogue.
    Diff(PricesDiffArgs),
}

#[derive(Args, Debug)]
pub(crate) struct PricesListArgs {
    /// Only this accelerator.
    #[arg(long, value_name = "NAME")]
    pub(crate) gpu: Option<String>,
    /// Only this provider.
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// Only this region, as the provider calls it.
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// Only machines with at least so many accelerators.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) min_gpus: Option<u32>,
    /// Only offers of at most this many USD per GPU-hour.
    #[arg(long, value_parser = parse_usd, allow_hyphen_values = true, value_name = "USD")]
    pub(crate) max_price: Option<Usd>,
    /// Only interruptible machines, compared by their spot price.
    #[arg(long)]
    pub(crate) spot: bool,
    /// What comes first: the lowest price per FLOP, machine-hour or GPU-hour, or the alphabet.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sort: PricesSort,
    /// A price table written by `prices update` or `import`, instead of the built-in catalogue.
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: PricesFormat,
}

/// What `prices list` sorts by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PricesSort {
    #[default]
    Exaflop,
    Hour,
    GpuHour,
    Name,
}

/// How offers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PricesFormat {
    /// For people; may change.
    #[default]
    Text,
    /// One object with `schema` and `version`.
    Json,
    /// A price table, as `--prices` reads it.
    Csv,
}

/// Where prices come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PricesSource {
    /// SkyPilot's catalogue, one small file a cloud.
    Skypilot,
    /// dstack's gpuhunt catalogue.
    Gpuhunt,
    /// Azure's own retail price list.
    Azure,
    /// AWS's own on-demand price list: hundreds of MB a region, read as a stream.
    Aws,
    /// AWS's spot advisor: savings and interruptions, on top of on-demand prices at hand.
    AwsSpot,
}

#[derive(Args, Debug)]
pub(crate) struct PricesUpdateArgs {
    /// Where prices come from.
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',', default_values = ["skypilot"])]
    pub(crate) source: Vec<PricesSource>,
    /// Clouds to fetch from `skypilot` and `gpuhunt`; `all` that a source knows.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values = ["aws", "gcp", "lambda", "nebius", "runpod"])]
    pub(crate) cloud: Vec<String>,
    /// Regions to fetch from `aws`.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values = shoestring_planner::prices::AWS_REGIONS)]
    pub(crate) region: Vec<String>,
    /// Ask a source elsewhere: `skypilot=https://mirror.example/catalogs/v8`.
    #[arg(long, value_name = "SOURCE=URL", value_parser = parse_source_url)]
    pub(crate) url: Vec<(PricesSource, String)>,
    /// The price table; rows of feeds that do not answer stay as they are.
    #[arg(long, short, value_name = "FILE", default_value = "prices.csv")]
    pub(crate) out: PathBuf,
    /// Folder of answers kept from last time, so that what did not change is not sent again; the user's cache
    /// folder if left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Longest wait for an answer, and for each piece of it: `30s`.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_pause)]
    pub(crate) timeout: std::time::Duration,
    /// How often a URL is asked before it is given up.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub(crate) tries: u32,
    /// Pause before the second try; it doubles before each further one.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_pause)]
    pub(crate) pause: std::time::Duration,
    /// List every refused row with its reason, not only how many.
    #[arg(long)]
    pub(crate) refused: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct PricesImportArgs {
    /// The file: .csv, .json or .toml, as docs/prices.md describes.
    pub(crate) file: PathBuf,
    /// The price table it goes into; made when missing.
    #[arg(long, short, value_name = "FILE", default_value = "prices.csv")]
    pub(crate) out: PathBuf,
    /// Take prices far outside what an accelerator usually costs.
    #[arg(long)]
    pub(crate) any_price: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct PricesDiffArgs {
    /// The older price table.
    pub(crate) old: PathBuf,
    /// The newer price table.
    pub(crate) new: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

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
    /// Write the predictions as CSV and the chart (SVG, PNG) into this folder.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: TableFormat,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// For people; may change.
    #[default]
    Text,
    /// One object with `schema` and `version`; keys are only ever added.
    Json,
    /// One line a prediction, with a header.
    Csv,
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
        return Err("a price cannot be negative\nhint: 0 is free".into());
    }
    Ok(amount)
}

fn parse_budget(text: &str) -> Result<Usd, String> {
    let amount: Usd = text.parse().map_err(|error: shoestring_planner::units::UsdError| {
        format!("{error}\nhint: write 10000, 10k, 1.5M or 0.05")
    })?;
    match amount {
        Usd::ZERO => Err("a budget of zero buys nothing\nhint: state more than zero dollars".into()),
        negative if negative < Usd::ZERO => {
            Err("a budget cannot be negative\nhint: state the dollars that there are to spend".into())
        }
        amount => Ok(amount),
    }
}

fn parse_duration(text: &str) -> Result<Hours, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}\nhint: write 36h, 30d or 90m"))?;
    if duration.is_zero() {
        return Err("a deadline of zero leaves no time\nhint: write 36h, 30d or 90m".into());
    }
    Ok(Hours::from_seconds(duration.as_secs_f64()))
}

fn parse_source_url(text: &str) -> Result<(PricesSource, String), String> {
    let (source, url) = text.split_once('=').ok_or("write it as SOURCE=URL")?;
    let source = PricesSource::from_str(source, false)?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(format!("`{url}` does not begin with http:// or https://"));
    }
    Ok((source, url.to_owned()))
}

fn parse_pause(text: &str) -> Result<std::time::Duration, String> {
    let pause = humantime::parse_duration(text).map_err(|error| format!("{error} (write 30s or 500ms)"))?;
    if pause.is_zero() { Err("zero is too short".into()) } else { Ok(pause) }
}

fn parse_gigabytes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a number of GB above zero (for example 35000)".into()),
    }
}

fn parse_probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => {
            Err("not a probability above 0 and below 1\nhint: 0.9 asks for nine plans in ten to stay within"
                .into())
        }
    }
}
