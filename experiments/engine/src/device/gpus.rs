//! The NVIDIA GPUs of this machine.

use candle_core::Device;

use crate::error::Result;

/// Whether this build can use NVIDIA GPUs (feature `cuda`).
#[must_use]
pub fn knows_gpus() -> bool {
    candle_core::utils::cuda_is_available()
}

/// How many there are: none where this build cannot use them, and an error where their driver gives one.
#[cfg(feature = "cuda")]
pub fn count_gpus() -> Result<usize> {
    use candle_core::cuda_backend::cudarc::driver::{CudaContext, sys};

    use crate::error::EngineError;

    match CudaContext::device_count() {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => Ok(0),
        Err(error) => Err(EngineError::Driver(format!("{:?}", error.0))),
    }
}

/// How many there are: none where this build cannot use them, and an error where their driver gives one.
#[cfg(not(feature = "cuda"))]
pub fn count_gpus() -> Result<usize> {
    Ok(0)
}

/// The first `count` of them.
///
/// Each with a stream of its own: candle's usual one is another in every thread, and a step may run in another
/// thread than the one that put the weights there.
pub fn open_gpus(count: usize) -> Result<Vec<Device>> {
    (0..count).map(|ordinal| Ok(Device::new_cuda_with_stream(ordinal)?)).collect()
}
