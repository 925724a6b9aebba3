//! Training with candle's own operations on any of its devices: the way to a GPU.
//!
//! Weights, moments and the running mean live on the device, in `f32`; a batch goes there and a few numbers come
//! back in each step. Checkpoints are those of [`crate::Trainer`], so that a run may change its machine.

mod contrast;
mod model;
mod optimizer;
mod patches;
mod trainer;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use model::Model;
pub use trainer::DeviceTrainer;

use candle_core::Device;

use crate::error::Result;

/// The first NVIDIA GPU, where this build can use one (feature `cuda`) and there is one.
pub fn first_gpu() -> Result<Option<Device>> {
    if knows_gpus() { Ok(Some(Device::new_cuda(0)?)) } else { Ok(None) }
}

/// Whether this build can use NVIDIA GPUs.
#[must_use]
pub fn knows_gpus() -> bool {
    candle_core::utils::cuda_is_available()
}
