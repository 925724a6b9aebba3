//! How flag values are read, and what is said when they cannot be.

use clap::ValueEnum;
use shoestring_planner::recipe::{ImageReduction, Precision, TextReduction};
use shoestring_planner::units::{Hours, Usd};

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

pub(super) fn parse_usd(text: &str) -> Result<Usd, String> {
    let amount: Usd = text.parse().map_err(|error: shoestring_planner::units::UsdError| error.to_string())?;
    if amount < Usd::ZERO {
        return Err("a price cannot be negative\nhint: 0 is free".into());
    }
    Ok(amount)
}

pub(super) fn parse_budget(text: &str) -> Result<Usd, String> {
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

pub(super) fn parse_duration(text: &str) -> Result<Hours, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}\nhint: write 36h, 30d or 90m"))?;
    if duration.is_zero() {
        return Err("a deadline of zero leaves no time\nhint: write 36h, 30d or 90m".into());
    }
    Ok(Hours::from_seconds(duration.as_secs_f64()))
}

pub(super) fn parse_gigabytes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a number of GB above zero (for example 35000)".into()),
    }
}

pub(super) fn parse_probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => {
            Err("not a probability above 0 and below 1\nhint: 0.9 asks for nine plans in ten to stay within"
                .into())
        }
    }
}

/// Image sizes in pixels of the fine-tuning stages that a plan may have; empty: no fine-tuning.
#[derive(Clone, Debug)]
pub(crate) struct FinetuneSizes(pub(crate) Vec<u32>);

/// Reads `224,336` or `none`.
pub(crate) fn parse_finetune_sizes(text: &str) -> Result<FinetuneSizes, String> {
    if text == "none" {
        return Ok(FinetuneSizes(Vec::new()));
    }
    let size = |part: &str| match part.trim().parse() {
        Ok(0) | Err(_) => Err(format!("`{part}` is no image size in pixels; write 224, 224,336 or none")),
        Ok(size) => Ok(size),
    };
    text.split(',').map(size).collect::<Result<_, _>>().map(FinetuneSizes)
}
