//! What `data` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use shoestring_planner::units::Samples;

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
