//! Named tensors in main memory, from and to safetensors.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use half::f16;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View};

use crate::error::{ExchangeError, Result};

/// A tensor as `f32`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Shape.
    pub shape: Vec<usize>,
    /// As many numbers as the shape has places.
    pub numbers: Vec<f32>,
}

/// Tensors by name.
pub type Weights = BTreeMap<String, Weight>;

impl Weight {
    /// A matrix's transpose, (rows, columns) to (columns, rows).
    pub(crate) fn transposed(&self) -> Self {
        let [rows, columns] = self.shape[..] else { return self.clone() };
        let mut numbers = vec![0.0; self.numbers.len()];
        for (row, from) in self.numbers.chunks_exact(columns.max(1)).enumerate() {
            for (column, &number) in from.iter().enumerate() {
                numbers[column * rows + row] = number;
            }
        }
        Self { shape: vec![columns, rows], numbers }
    }
}

/// The `f32` numbers of little-endian bytes of a type; `None` for types that hold no weights (integers).
pub(crate) fn numbers_of(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let pairs = || bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    Some(match dtype {
        Dtype::F32 => bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect(),
        Dtype::F16 => pairs().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
        Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|eight| {
                let mut buffer = [0; 8];
                buffer.copy_from_slice(eight);
                f64::from_le_bytes(buffer) as f32
            })
            .collect(),
        _ => return None,
    })
}

/// Every tensor of floating-point numbers in the bytes of a safetensors file; `path` only names it in
/// messages. The header is checked against the bytes that there are.
pub fn read_safetensors(path: &Path, bytes: &[u8]) -> Result<Weights> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| {
        let hint = "the file is cut off, damaged, or no safetensors file: download it again";
        ExchangeError::format(path, format!("the header does not fit the file: {error}"), hint)
    })?;
    let mut weights = Weights::new();
    for (name, view) in tensors.tensors() {
        if let Some(numbers) = numbers_of(view.dtype(), view.data()) {
            weights.insert(name, Weight { shape: view.shape().to_vec(), numbers });
        }
    }
    Ok(weights)
}

struct Block<'a>(&'a Weight);

impl View for Block<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        self.0.numbers.len() * 4
    }
}

/// A safetensors file of these tensors, marked as `PyTorch`'s. Equal tensors give equal bytes.
pub fn safetensors_bytes(path: &Path, weights: &Weights) -> Result<Vec<u8>> {
    let blocks = weights.iter().map(|(name, weight)| (name, Block(weight)));
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(blocks, Some(metadata))
        .map_err(|error| ExchangeError::format(path, error.to_string(), "report this"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> &'static Path {
        Path::new("model.safetensors")
    }

    fn weights() -> Weights {
        let numbers = vec![1.0, -2.0, 3.5, 0.0, 1e-20, 7.0];
        Weights::from([
            ("a".to_owned(), Weight { shape: vec![2, 3], numbers }),
            ("scalar".to_owned(), Weight { shape: vec![], numbers: vec![4.6] }),
        ])
    }

    #[test]
    fn tensors_come_back_as_they_went() {
        let bytes = safetensors_bytes(path(), &weights()).expect("writes");
        assert_eq!(read_safetensors(path(), &bytes).expect("reads"), weights());
        assert_eq!(bytes, safetensors_bytes(path(), &weights()).expect("writes"));
    }

    #[test]
    fn half_precision_is_widened_exactly() {
        let bits = |numbers: &[u16]| -> Vec<u8> { numbers.iter().flat_map(|x| x.to_le_bytes()).collect() };
        assert_eq!(
            numbers_of(Dtype::F16, &bits(&[0x3c00, 0xc000, 0x0001])).expect("floats"),
            [1.0, -2.0, 2f32.powi(-24)]
        );
        assert_eq!(numbers_of(Dtype::BF16, &bits(&[0x3f80, 0xc000])).expect("floats"), [1.0, -2.0]);
        assert_eq!(numbers_of(Dtype::I64, &[0; 8]), None);
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        let bytes = safetensors_bytes(path(), &weights()).expect("writes");
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let text = String::from_utf8(bytes[8..8 + header].to_vec()).expect("is text");
        for (from, to) in [
            ("[2,3]", "[2,9]"),
            ("[2,3]", "[9999999999,9999999999]"),
            ("\"F32\"", "\"F64\""),
            ("[0,24]", "[0,99999999999]"),
            ("[0,24]", "[24,0]"),
        ] {
            let lying = text.replacen(from, to, 1);
            assert_ne!(lying, text, "{from} is in {text}");
            let mut file = (lying.len() as u64).to_le_bytes().to_vec();
            file.extend(lying.as_bytes());
            file.extend(&bytes[8 + header..]);
            let error = read_safetensors(path(), &file).expect_err("is refused");
            assert!(error.to_string().contains("header does not fit"), "{error}");
        }
        for file in [&bytes[..bytes.len() - 1], &bytes[..7], b"".as_slice(), &[0xff; 64]] {
            assert!(read_safetensors(path(), file).is_err());
        }
    }

    #[test]
    fn a_transpose_swaps_rows_and_columns() {
        let turned = weights()["a"].transposed();
        assert_eq!((turned.shape, turned.numbers), (vec![3, 2], vec![1.0, 0.0, -2.0, 1e-20, 3.5, 7.0]));
    }
}
