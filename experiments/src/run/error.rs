//! What can stop a run.

use std::io;
use std::path::{Path, PathBuf};

use shoestring_data::DataError;
use shoestring_durable::WriteError;
use shoestring_engine::EngineError;
use shoestring_exchange::ExchangeError;
use shoestring_ledger::LedgerError;
use shoestring_planner::recipe::RecipeError;

use super::lock::Holder;

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The directory belongs to another recipe.
    #[error(
        "{directory}: is the run of another recipe: {differences}",
        directory = .directory.display(), differences = .differences.join("; ")
    )]
    OtherRecipe {
        /// The run directory.
        directory: PathBuf,
        /// Each field that differs: `stage[0].learning_rate is 0.001 there, 0.002 here`.
        differences: Vec<String>,
    },
    /// The frozen recipe cannot be read.
    #[error(transparent)]
    Frozen(Box<RecipeError>),
    /// Another process holds the directory.
    #[error("{directory}: is held by process {pid} on {host}", directory = .directory.display(),
        pid = .holder.pid, host = .holder.host)]
    Held {
        /// The run directory.
        directory: PathBuf,
        /// Who holds it.
        holder: Holder,
        /// Whether that is certain: on this host the system knows, of others only the last sign of life.
        elsewhere: bool,
    },
    /// The folder holds other things.
    #[error("{directory}: is no run directory: it has no recipe.toml, but {found}",
        directory = .directory.display())]
    NotARun {
        /// The folder.
        directory: PathBuf,
        /// One of the things it holds.
        found: String,
    },
    /// The folder has no frozen recipe.
    #[error("{path}: there is no such file, so that this is no run directory", path = .path.display())]
    NoRun {
        /// Where its recipe would be.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{path}: cannot {action}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file could not be written whole.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The money cannot be accounted for.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(Box<DataError>),
    /// The model cannot be built or trained.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A model from elsewhere cannot be used, or not be written.
    #[error(transparent)]
    Exchange(Box<ExchangeError>),
    /// The GPU that was asked for cannot be used.
    #[error("--device gpu: {lack}")]
    NoGpu {
        /// What is missing.
        lack: String,
        /// Whether this program was built for GPUs.
        built: bool,
    },
    /// More GPUs were asked for than there are.
    #[error("--devices {asked}: this machine has {there} NVIDIA GPU{}", if *.there == 1 { "" } else { "s" })]
    TooFewGpus {
        /// Asked for.
        asked: usize,
        /// Of this machine.
        there: usize,
    },
    /// The GPUs cannot each take the same number of a batch's samples.
    #[error("stage[{stage}].batch = {batch}: {gpus} GPUs cannot share it evenly")]
    UnevenBatch {
        /// Place of the stage, from 0.
        stage: usize,
        /// Its batch.
        batch: u32,
        /// How many were to share it.
        gpus: usize,
        /// The largest smaller number that can share every stage's batch.
        fits: usize,
    },
    /// The model to start from is of another architecture.
    #[error("start.from = {folder}: is of another architecture: {differences}", folder = .folder.display(),
        differences = .differences.join("; "))]
    OtherArchitecture {
        /// The folder to start from.
        folder: PathBuf,
        /// Each field that differs: `vision_cfg.width is 768 there, 384 here`.
        differences: Vec<String>,
    },
    /// A run without the checkpoint asked for.
    #[error("{directory}: no whole checkpoint{at}{damaged}", directory = .directory.display(),
        at = .step.map_or(String::new(), |step| format!(" of step {step}")),
        damaged = if .damaged.is_empty() { String::new() } else { format!(" ({})", .damaged.join("; ")) })]
    NoCheckpoint {
        /// The run directory.
        directory: PathBuf,
        /// The step asked for; `None`: any.
        step: Option<u64>,
        /// What is wrong with those that are there.
        damaged: Vec<String>,
    },
}

// Boxed, so that a result is no larger than what it is usually.
impl From<RecipeError> for RunError {
    fn from(error: RecipeError) -> Self {
        Self::Frozen(Box::new(error))
    }
}

impl From<DataError> for RunError {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}

impl From<ExchangeError> for RunError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(Box::new(error))
    }
}

impl RunError {
    pub(crate) fn file(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), action, source }
    }

    /// Whether the user asked for something that cannot be (exit code 2) rather than something failing (1).
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::OtherRecipe { .. }
                | Self::Frozen(_)
                | Self::NoGpu { .. }
                | Self::TooFewGpus { .. }
                | Self::UnevenBatch { .. }
                | Self::NotARun { .. }
                | Self::OtherArchitecture { .. }
        ) || matches!(self, Self::Exchange(error) if error.is_usage())
            || matches!(self, Self::Data(error) if matches!(**error, DataError::Value { .. }))
    }

    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherRecipe { .. } => Some(
                "a run's recipe is frozen, all but its cap; name another directory with --dir for another run"
                    .to_owned(),
            ),
            Self::Frozen(error) => error.hint(),
            Self::NoGpu { built: false, .. } => Some(
                "build it with `cargo build --release --features cuda` (docs/gpu.md), or leave --device out"
                    .to_owned(),
            ),
            Self::NoGpu { built: true, .. } => Some("`nvidia-smi` lists them; --device cpu does without".to_owned()),
            Self::TooFewGpus { .. } => {
                Some("leave --devices out for all of them; `nvidia-smi` lists them".to_owned())
            }
            Self::UnevenBatch { gpus, fits, .. } => Some(format!(
                "--devices {fits} can share every stage's batch, or make each a multiple of {gpus}"
            )),
            Self::Held { elsewhere: false, .. } => {
                Some("one process a run: wait for it, or stop it (it writes a checkpoint first)".to_owned())
            }
            Self::Held { elsewhere: true, .. } => Some(
                "if that machine is gone, remove run.lock in the directory, or wait ten minutes after its last \
                 sign of life"
                    .to_owned(),
            ),
            Self::NotARun { .. } => Some("name a new or empty folder with --dir".to_owned()),
            Self::NoRun { .. } => {
                Some("name a run directory: one that `shoestring run` made, or a folder above some".to_owned())
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path".to_owned())
            }
            Self::File { source, path, action } => {
                WriteError { path: path.clone(), action, source: io::Error::from(source.kind()) }.hint()
            }
            Self::Write(error) => error.hint(),
            Self::Ledger(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::Exchange(error) => error.hint(),
            Self::OtherArchitecture { .. } => Some(
                "take over the architecture that `shoestring import` printed into the recipe".to_owned(),
            ),
            Self::NoCheckpoint { .. } => {
                Some("`shoestring status` says where the run stands; `run` writes checkpoints".to_owned())
            }
        }
    }
}
