//! The layers' arithmetic as candle custom operations with hand-written backward passes.
//!
//! candle's own fused layer norm and softmax have no backward and cut the gradient silently; its plain
//! compositions take several passes over memory for each of them. Every operation here is tested against
//! its formula and against finite differences, in `f64`.
//!
//! Activations are matrices: one row a token, the samples' tokens one after the other.

#[cfg(target_arch = "x86_64")]
mod amx;
mod layer_norm;
pub(crate) mod level;
mod linear;
pub(crate) mod multiply;
#[cfg(test)]
mod multiply_tests;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod pack;
mod pool;
pub(crate) mod product;
pub(crate) mod simd;
pub(crate) mod stored;
#[cfg(test)]
mod tests;
pub(crate) mod tile;

pub(crate) use self::layer_norm::{
    backward_rows as norm_rows_backward, forward_rows as norm_rows, layer_norm,
};
pub(crate) use self::linear::linear;
pub(crate) use self::pool::Pooling;

use candle_core::{DType, Device, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::real::Real;

/// Samples in a batch and tokens in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequences {
    pub(crate) samples: usize,
    pub(crate) tokens: usize,
}

/// Rows that one task of a parallel loop takes. Fixed, so that partial sums do not depend on the threads.
pub(crate) const ROWS_A_TASK: usize = 64;

/// A result tensor in main memory.
fn tensor<T: Real>(numbers: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(numbers, shape.into(), &Device::Cpu)
}

fn unsupported(dtype: DType, op: &'static str) -> candle_core::Error {
    candle_core::Error::UnsupportedDTypeForOp(dtype, op).bt()
}

/// Calls a generic function with `f32` or `f64`, whichever `dtype` says.
macro_rules! by_dtype {
    ($dtype:expr, $op:expr, $function:ident($($arg:expr),* $(,)?)) => {
        match $dtype {
            candle_core::DType::F32 => $function::<f32>($($arg),*),
            candle_core::DType::F64 => $function::<f64>($($arg),*),
            other => Err(crate::ops::unsupported(other, $op)),
        }
    };
}
use by_dtype;

/// Sums of the columns of a row-major matrix: blocks in parallel, then the blocks' sums in order.
fn column_sums<T: Real>(matrix: &[T], columns: usize) -> Vec<T> {
    let partial: Vec<Vec<T>> = matrix
        .par_chunks(ROWS_A_TASK * columns)
        .map(|block| {
            let mut sums = vec![T::zero(); columns];
            for row in block.chunks_exact(columns) {
                add_to(&mut sums, row);
            }
            sums
        })
        .collect();
    in_order(partial, columns)
}

/// Adds up the blocks' sums, first to last.
pub(crate) fn in_order<T: Real>(partial: Vec<Vec<T>>, columns: usize) -> Vec<T> {
    let mut total = vec![T::zero(); columns];
    for sums in &partial {
        add_to(&mut total, sums);
    }
    total
}

simd::widest! {
    /// `total += row`, element by element. Bound by bytes: one addition at 12, of `f32`.
    pub(crate) fn add_to<T: Real>(total: &mut [T], row: &[T]) {
        for (total, &x) in total.iter_mut().zip(row) {
            *total += x;
        }
    }
}
