//! A two-tower CLIP in candle, on the CPU: towers, token reduction, contrastive loss, optimiser, checkpoints.
//!
//! Everything is a function of seed, settings and inputs: the same ones give the same bits on any number of
//! threads (of the same kind of processor: matrix products follow its vector width and caches).

pub mod checkpoint;
pub mod measure;

mod attention_pool;
mod clip;
mod device;
mod ema;
mod error;
mod gradients;
mod input;
mod kernel_rates;
mod loss;
mod non_finite;
mod ops;
mod optimizer;
mod params;
mod positions;
mod real;
mod schedule;
mod text;
mod tower;
mod trainer;
mod training;
mod vision;

#[cfg(test)]
mod test_models;
#[cfg(test)]
mod tests;

pub use candle_core::Device;
pub use clip::{Clip, multiplies_bf16, resolved_precision};
pub use device::{DeviceTrainer, count_gpus, knows_gpus, open_gpus};
pub use error::{EngineError, Result};
pub use input::{Images, StepInput, Texts};
pub use optimizer::{AdamW, decays};
pub use params::{
    IMAGE_POSITIONS, Initial, LOGIT_SCALE, Parameters, TOKEN_EMBEDDING, TensorSpec, tensor_specs,
};
pub use positions::position_table;
pub use schedule::{learning_rate, learning_rate_at};
pub use trainer::{SKIPS_IN_A_ROW, StepReport, Trainer};
pub use training::{Saved, Training};
