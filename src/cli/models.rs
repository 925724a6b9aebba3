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

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Task {
    /// Classes by the texts that name them.
    #[default]
    Zeroshot,
    /// Classes by a linear classifier on the frozen embeddings.
    LinearProbe,
    /// Images by captions and captions by images.
    Retrieval,
}

/// What happens to prompts that are longer than the model's text length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LongPrompts {
    /// Their end is cut off, as CLIPA and open_clip do.
    #[default]
    CutEnd,
    /// The template gives way to the class name, as in the evaluations of a run.
    KeepName,
}

#[derive(Args, Debug)]
pub(crate) struct EvalArgs {
    /// A run directory, one of its checkpoints, or a folder of open_clip's or Hugging Face's.
    pub(crate) model: PathBuf,
    /// What is measured.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) task: Task,
    /// Folder with a dataset.toml that names labelled images; the run's own data if left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The checkpoint after this step of the run; the newest if left out.
    #[arg(long, value_name = "N")]
    pub(crate) step: Option<u64>,
    /// One class name a line; `imagenet` for ImageNet's 1,000, which are built in.
    #[arg(long, value_name = "FILE")]
    pub(crate) class_names: Option<String>,
    /// One prompt a line, {c} standing for the class name; `openai` for OpenAI's 80, which are built in.
    #[arg(long, value_name = "FILE")]
    pub(crate) templates: Option<String>,
    /// What happens to prompts that are longer than the model's text length.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) long_prompts: LongPrompts,
    /// At most this many images, spread over all; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_samples: u64,
    /// Linear probe: folder with a dataset.toml whose labelled images it is trained on.
    #[arg(long, value_name = "DIR", required_if_eq("task", "linear-probe"))]
    pub(crate) probe_train: Option<PathBuf>,
    /// Linear probe: inverse strength of the penalty, as scikit-learn's C.
    #[arg(long, value_name = "C", default_value_t = 0.316)]
    pub(crate) probe_c: f64,
    /// Retrieval: Karpathy's JSON.
    #[arg(long, value_name = "FILE", required_if_eq("task", "retrieval"))]
    pub(crate) captions: Option<PathBuf>,
    /// Retrieval: folder of the images that the JSON names; the JSON's own if left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// Retrieval: the split.
    #[arg(long, value_name = "NAME", default_value = "test")]
    pub(crate) split: String,
    /// Images, or texts, embedded at a time.
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) batch: u32,
    /// What is multiplied: f32, or bf16 as in training on processors that have it.
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) precision: super::values::PrecisionArg,
    /// Keep the embeddings here, as safetensors; a stopped evaluation goes on from what is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) features: Option<PathBuf>,
    /// Write the result here, as CLIP_benchmark writes it.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Do nothing where --out is there already.
    #[arg(long, requires = "out")]
    pub(crate) skip_existing: bool,
    /// Do not charge a run's ledger for it.
    #[arg(long)]
    pub(crate) no_charge: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
