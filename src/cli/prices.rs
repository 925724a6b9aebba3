//! What `prices` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use shoestring_planner::units::Usd;

use super::Format;
use super::values::parse_usd;

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
