//! Tensors as the peers' scripts read them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, View};

/// A tensor to be written.
pub(crate) struct Block {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Block {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Single precision.
pub(crate) fn singles(numbers: impl IntoIterator<Item = f32>, shape: &[usize]) -> Block {
    let bytes = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
    Block { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

/// Double precision.
pub(crate) fn doubles(numbers: impl IntoIterator<Item = f64>, shape: &[usize]) -> Block {
    let bytes = numbers.into_iter().flat_map(f64::to_le_bytes).collect();
    Block { dtype: Dtype::F64, shape: shape.to_vec(), bytes }
}

/// Whole numbers, as PyTorch indexes with.
pub(crate) fn indices(numbers: impl IntoIterator<Item = u32>, shape: &[usize]) -> Block {
    let bytes = numbers.into_iter().flat_map(|id| i64::from(id).to_le_bytes()).collect();
    Block { dtype: Dtype::I64, shape: shape.to_vec(), bytes }
}

/// Writes `found.safetensors`, `model.safetensors` and `shape.txt`.
pub(crate) fn write(
    folder: &Path,
    found: BTreeMap<String, Block>,
    model: &[u8],
    shape: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder)?;
    safetensors::serialize_to_file(found, None, &folder.join("found.safetensors"))?;
    std::fs::write(folder.join("model.safetensors"), model)?;
    std::fs::write(folder.join("shape.txt"), shape)?;
    Ok(())
}
