//! What `export`, `import` and `eval` take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Format;

/// Whose format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// `open_clip.create_model_and_transforms("local-dir:FOLDER")`.
    #[value(name = "open_clip", alias = "open-clip")]
    OpenClip,
    /// `transformers.CLIPModel.from_pretrained("FOLDER")`.
    Hf,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// A run directory, one of its checkpoints, or a folder that `import` or `export` wrote.
    pub(crate) model: PathBuf,
    /// Whose format.
    #[arg(long, value_enum)]
    pub(crate) to: Target,
    /// Folder to write into.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The checkpoint after this step of the run; the newest if left out.
    #[arg(long, value_name = "N")]
    pub(crate) step: Option<u64>,
    /// Output format of the summary.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// A folder of open_clip's or Hugging Face's, or a file of weights (.safetensors, .pt, .pth, .bin).
    pub(crate) model: PathBuf,
    /// The configuration of a file of weights: open_clip's model config, or a CLIPModel's config.json.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder to write into: an open_clip folder, which a recipe's `start.from` can name.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Output format of the summary.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
