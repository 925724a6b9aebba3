//! What `bench` and `calibrate` take.

use std::path::PathBuf;

use clap::Args;

use super::Format;
use super::values::PrecisionArg;

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
    /// Each shape with images of this many patches, squares, instead: how much of what shorter sequences save in
    /// arithmetic arrives as time.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) image_tokens: Vec<u32>,
    /// The stages of this recipe instead.
    #[arg(long, value_name = "RECIPE", conflicts_with_all = ["shape", "image_tokens", "batch"])]
    pub(crate) like: Option<PathBuf>,
    /// Samples of a step; the shape's own if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: Option<u32>,
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
