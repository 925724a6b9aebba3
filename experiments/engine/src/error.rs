//! What can go wrong while building, training, loading or saving a model.

use shoestring_planner::recipe::CheckError;

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, EngineError>;

/// What can go wrong while building, training, loading or saving a model.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The architecture's sizes do not fit together.
    #[error(transparent)]
    Architecture(#[from] CheckError),
    /// A batch's slice has the wrong length, or a size is out of range.
    #[error("{what} is {found}, expected {expected}")]
    Input {
        /// Which part of the batch.
        what: &'static str,
        /// What the sizes given ask for.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A token id beyond the vocabulary.
    #[error("token {position} of the batch is {id}, but the vocabulary has {vocabulary} entries")]
    TokenId {
        /// Index into the batch's `token_ids`.
        position: usize,
        /// The id found there.
        id: u32,
        /// Rows of the token embedding.
        vocabulary: usize,
    },
    /// No tensor of this name in the model.
    #[error("the model has no tensor `{tensor}`")]
    UnknownTensor {
        /// The name asked for.
        tensor: String,
    },
    /// A checkpoint lacks a file that its recipe asks for.
    #[error("{file} is missing from the checkpoint")]
    MissingFile {
        /// Which kind of file.
        file: &'static str,
    },
    /// A checkpoint lacks a tensor.
    #[error("tensor `{tensor}` is missing from {file}")]
    MissingTensor {
        /// Which kind of file: `the model` or `the optimiser state`.
        file: &'static str,
        /// The tensor.
        tensor: String,
    },
    /// A checkpoint has a tensor that the model has no place for.
    #[error("{file} has tensor `{tensor}`, which this architecture has no place for")]
    UnexpectedTensor {
        /// Which kind of file.
        file: &'static str,
        /// The tensor.
        tensor: String,
    },
    /// A checkpoint's tensor has another shape or type than the model's.
    #[error("tensor `{tensor}` of {file} is {found}, but this architecture needs {expected}")]
    TensorMismatch {
        /// Which kind of file.
        file: &'static str,
        /// The tensor.
        tensor: String,
        /// Shape and type needed.
        expected: String,
        /// Shape and type found.
        found: String,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// Which kind of file.
        file: &'static str,
        /// What is wrong with it.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// Optimiser state written by a newer version, or without a version.
    #[error("the optimiser state has version `{found}`, but this program reads version {newest}")]
    Version {
        /// The version found, or `none`.
        found: String,
        /// The version this program reads.
        newest: u32,
    },
    /// A trainable tensor got no gradient: the graph is cut between it and the loss.
    #[error("tensor `{tensor}` got no gradient in the first step")]
    NoGradient {
        /// The tensor.
        tensor: String,
    },
    /// A trainable tensor did not change in the first step that should have changed it.
    #[error("tensor `{tensor}` did not change in step {step} at learning rate {learning_rate:e}")]
    DidNotMove {
        /// The tensor.
        tensor: String,
        /// Optimiser steps done, that one included.
        step: u64,
        /// The learning rate of that step.
        learning_rate: f64,
    },
    /// NaN or infinity in the loss or in a gradient, for too many steps in a row.
    #[error("`{tensor}` was not finite; {in_a_row} steps in a row had to be skipped")]
    NonFinite {
        /// What was the first not to be finite: `pixels`, a block, `loss`, or a tensor with such a gradient.
        tensor: String,
        /// Steps skipped in a row.
        in_a_row: u32,
    },
    /// A step left weights that are NaN or infinite.
    #[error("tensor `{tensor}` is not finite any more: training cannot go on from it")]
    BrokenWeights {
        /// The first such tensor, by name.
        tensor: String,
    },
    /// The environment names kernels that there are none of.
    #[error("SHOESTRING_KERNELS is `{found}`, which names no kernels")]
    UnknownKernels {
        /// What it was set to.
        found: String,
        /// What it can be set to.
        known: String,
    },
    /// The learning rate given to a step is negative, NaN or infinite.
    #[error("learning rate {0} is not a finite number of at least zero")]
    LearningRate(f64),
    /// The devices cannot each take the same number of samples.
    #[error("a batch of {batch} cannot be shared evenly by {devices} devices")]
    UnevenBatch {
        /// Samples.
        batch: usize,
        /// Devices.
        devices: usize,
    },
    /// One of several devices failed.
    #[error("rank {rank} of {ranks} devices (from 0): {source}")]
    Rank {
        /// The device, in the order given.
        rank: usize,
        /// Devices.
        ranks: usize,
        /// What it met.
        #[source]
        source: Box<EngineError>,
    },
    /// What the other devices report then.
    #[error("rank {rank} has failed, and no device goes on without the others")]
    OtherRank {
        /// The device that failed first, in the order given.
        rank: usize,
    },
    /// A device's thread could not be begun.
    #[error("no thread could be begun for a device: {0}")]
    Thread(#[source] std::io::Error),
    /// The driver of NVIDIA's GPUs does not answer.
    #[error("the NVIDIA driver says {0}")]
    Driver(String),
    /// The GPUs could not be joined.
    #[error("NCCL says {0}")]
    Nccl(String),
    /// Candle refused an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl EngineError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Architecture(error) => Some(error.hint.clone()),
            Self::TokenId { .. } => {
                Some("was the text tokenised for another vocabulary? see text_cfg.vocab_size".into())
            }
            Self::MissingFile { .. } => Some("was it written by a recipe with optimizer.ema_decay?".into()),
            Self::MissingTensor { .. } | Self::UnexpectedTensor { .. } | Self::TensorMismatch { .. } => {
                Some("load the checkpoint with the architecture that it was trained with".into())
            }
            Self::Unreadable { .. } => Some("the file is damaged; use an earlier checkpoint".into()),
            Self::Version { .. } => Some("update shoestring, or use a checkpoint of this version".into()),
            Self::DidNotMove { .. } => Some("are all samples of the batch the same?".into()),
            Self::NonFinite { .. } | Self::BrokenWeights { .. } => {
                Some("lower the learning rate, lengthen the warm-up, or set optimizer.clip_norm".into())
            }
            Self::UnknownKernels { known, .. } => Some(format!(
                "set it to one of {known}, or leave it unset for the best that the processor has"
            )),
            Self::UnevenBatch { devices, .. } => {
                Some(format!("take a multiple of {devices} samples, or fewer devices"))
            }
            Self::Rank { source, .. } => source.hint(),
            Self::OtherRank { .. } => Some("begin again from the newest checkpoint".into()),
            Self::Driver(_) => Some("`nvidia-smi` shows whether the driver works".into()),
            Self::Nccl(_) => Some("with NCCL_DEBUG=WARN in the environment NCCL says why".into()),
            Self::Input { .. }
            | Self::UnknownTensor { .. }
            | Self::NoGradient { .. }
            | Self::LearningRate(_)
            | Self::Thread(_)
            | Self::Candle(_) => None,
        }
    }
}
