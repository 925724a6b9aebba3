//! Tensors as the peers' scripts read them.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Result, Tensor, WithDType};

/// A tensor of this shape. PyTorch indexes with `i64`.
pub(crate) fn tensor<T: WithDType>(numbers: impl IntoIterator<Item = T>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(numbers.into_iter().collect::<Vec<_>>(), shape, &Device::Cpu)
}

/// Writes `found.safetensors`, `model.safetensors` and `shape.txt`.
pub(crate) fn write(
    folder: &Path,
    found: &HashMap<String, Tensor>,
    model: &[u8],
    shape: &str,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder)?;
    candle_core::safetensors::save(found, folder.join("found.safetensors"))?;
    std::fs::write(folder.join("model.safetensors"), model)?;
    std::fs::write(folder.join("shape.txt"), shape)?;
    Ok(())
}
