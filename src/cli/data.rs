//! What `data` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use shoestring_planner::architecture::TextTokenizer;
use shoestring_planner::units::{Samples, Usd};

use super::Format;
use super::values::TextReductionArg;

#[derive(Subcommand, Debug)]
pub(crate) enum DataCommand {
    /// Draw a procedural image-caption data set as webdataset shards, with classes held out of training.
    Synth(SynthArgs),
    /// What is in a data set: sizes, caption lengths, bad samples, and how fast it can be read.
    Inspect(InspectArgs),
    /// Write shards again with smaller pictures, for stages with short sequences.
    Repack(RepackArgs),
    /// Captions as a tokenizer sees them.
    Tokenize(TokenizeArgs),
}

/// [`TextTokenizer`] as a flag.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum TokenizerArg {
    /// CLIP's byte pairs.
    #[default]
    Clip,
    /// BERT's word pieces, as CLIPA-v2.
    Bert,
}

impl From<TokenizerArg> for TextTokenizer {
    fn from(arg: TokenizerArg) -> Self {
        match arg {
            TokenizerArg::Clip => Self::Clip,
            TokenizerArg::Bert => Self::Bert,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Shards (braces are expanded), a folder of shards or of pictures, a folder with dataset.toml, or a .csv,
    /// .tsv or .parquet table.
    #[arg(required = true, value_name = "DATA")]
    pub(crate) data: Vec<String>,
    /// Column of a table with the pictures' paths, relative to the table; by default `filepath`.
    #[arg(long, value_name = "NAME")]
    pub(crate) image_column: Option<String>,
    /// Column of a table with the captions; by default `title`.
    #[arg(long, value_name = "NAME")]
    pub(crate) caption_column: Option<String>,
    /// Samples that are read and decoded, spread evenly over all; 0: every one.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) samples: u64,
    /// Side of the image, in pixels, that the reading rate is measured at.
    #[arg(long, value_name = "PX", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) image_size: u32,
    /// What caption lengths are counted in.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) tokenizer: TokenizerArg,
    /// Text lengths of which to tell how many captions they would cut.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [4, 6, 8, 16, 32, 77])]
    pub(crate) text_tokens: Vec<u32>,
    /// Samples a second that the model takes, to tell whether it or the reading will be the bound.
    #[arg(long, value_name = "RATE")]
    pub(crate) compute_rate: Option<f64>,
    /// Cores that read; by default all of this machine.
    #[arg(long, value_name = "N")]
    pub(crate) cores: Option<u32>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct RepackArgs {
    /// Shards (braces are expanded), a folder of shards, or a folder with dataset.toml.
    #[arg(required = true, value_name = "DATA")]
    pub(crate) data: Vec<String>,
    /// Folder to write into.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// What the shorter side of a larger picture becomes, in pixels.
    #[arg(long, value_name = "PX", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub(crate) size: u32,
    /// Quality of the JPEG files.
    #[arg(long, value_name = "1-100", default_value_t = 92, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) quality: u8,
    /// Price of moving a GB out of where the data lies, for the saving in dollars.
    #[arg(long, value_name = "USD")]
    pub(crate) egress_price: Option<Usd>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct TokenizeArgs {
    /// Captions; without any, one a line from stdin.
    #[arg(value_name = "CAPTION")]
    pub(crate) captions: Vec<String>,
    /// The tokenizer.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) tokenizer: TokenizerArg,
    /// Shorten or pad to this many tokens, markers included.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=8192))]
    pub(crate) text_tokens: Option<u32>,
    /// How what is too long is shortened.
    #[arg(long, value_enum, default_value = "truncate", requires = "text_tokens")]
    pub(crate) text_reduction: TextReductionArg,
    /// Seed of the random reductions.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
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
