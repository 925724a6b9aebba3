//! What `plan` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use shoestring_planner::units::{Hours, Samples, Usd};

use super::values::{
    FinetuneSizes, TextReductionArg, parse_budget, parse_duration, parse_finetune_sizes, parse_gigabytes,
    parse_probability, parse_usd,
};

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
    /// Image sizes in pixels at which fine-tuning is allowed: `224,336`; `none`: no fine-tuning.
    #[arg(long, value_name = "PX", value_parser = parse_finetune_sizes)]
    pub(crate) finetune_sizes: Option<FinetuneSizes>,
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
    /// Your own runs, which move the law: a table of runs (CSV), a run directory, or a folder of them.
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) own_runs: Option<PathBuf>,
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
