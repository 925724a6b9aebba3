//! Training with candle's own operations on any of its devices: the way to GPUs.
//!
//! Weights, moments and the running mean live on each device, in `f32`; a share of the batch goes there and a few
//! numbers come back in each step. Checkpoints are those of [`crate::Trainer`], so that a run may change its machine.

mod collective;
mod contrast;
mod gpus;
mod meeting;
mod model;
#[cfg(feature = "cuda")]
mod nccl;
mod optimizer;
mod patches;
mod replica;
mod trainer;

#[cfg(test)]
mod tests;

pub use gpus::{count_gpus, knows_gpus, open_gpus};
#[cfg(test)]
pub(crate) use model::Model;
pub use trainer::DeviceTrainer;
