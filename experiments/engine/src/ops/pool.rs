//! From patches to a token sequence, and from a sequence to one vector.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{Sequences, add_to, by_dtype, tensor};
use crate::real::{Real, numbers, with_numbers};

/// Which row of a table of position embeddings each patch gets.
#[derive(Clone)]
pub(crate) struct Positions {
    /// (grid positions, width), in `f64`.
    pub(crate) table: Arc<Vec<f64>>,
    /// (samples * patches) grid positions; absent: every sample has them all, in order.
    pub(crate) kept: Option<Arc<Vec<u32>>>,
}

/// Puts the class token before each sample's patches and adds the patches' positions: (samples * patches,
/// width) and (width) to (samples * (patches + 1), width). The class token's position is zero.
pub(crate) fn first_token_and_patches(
    patches: &Tensor,
    first: &Tensor,
    positions: Positions,
    samples: usize,
) -> Result<Tensor> {
    patches.contiguous()?.apply_op2(first, Assemble { positions, samples })
}

struct Assemble {
    positions: Positions,
    samples: usize,
}

fn assemble<T: Real>(
    op: &Assemble,
    (patches, patches_layout): (&CpuStorage, &Layout),
    (first, first_layout): (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let (rows, width) = patches_layout.shape().dims2()?;
    let patches = numbers::<T>(patches, patches_layout, "assemble")?;
    let first = numbers::<T>(first, first_layout, "assemble")?;
    let count = rows / op.samples;
    let table = &op.positions.table;
    let mut y = vec![T::zero(); (rows + op.samples) * width];
    let samples = y.par_chunks_mut((count + 1) * width).zip(patches.par_chunks(count * width));
    samples.enumerate().for_each(|(sample, (y, patches))| {
        let (head, rest) = y.split_at_mut(width);
        head.copy_from_slice(first);
        for (patch, (y, x)) in rest.chunks_exact_mut(width).zip(patches.chunks_exact(width)).enumerate() {
            let place =
                op.positions.kept.as_ref().map_or(patch, |kept| kept[sample * count + patch] as usize);
            for ((y, &x), &position) in y.iter_mut().zip(x).zip(&table[place * width..][..width]) {
                *y = x + T::from_f64(position);
            }
        }
    });
    Ok((T::to_cpu_storage_owned(y), (rows + op.samples, width).into()))
}

fn assemble_backward<T: Real>(
    op: &Assemble,
    rows: usize,
    width: usize,
    y_gradient: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let count = rows / op.samples;
    let mut d_patches = vec![T::zero(); rows * width];
    let mut d_first = vec![T::zero(); width];
    with_numbers::<T, _>(y_gradient, |dy| {
        for (sample, dy) in
            d_patches.chunks_exact_mut(count * width).zip(dy.chunks_exact((count + 1) * width))
        {
            let (head, rest) = dy.split_at(width);
            add_to(&mut d_first, head);
            sample.copy_from_slice(rest);
        }
    })?;
    Ok((Some(tensor(d_patches, (rows, width))?), Some(tensor(d_first, width)?)))
}

impl CustomOp2 for Assemble {
    fn name(&self) -> &'static str {
        "assemble"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        c: &CpuStorage,
        cl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), "assemble", assemble(self, (x, xl), (c, cl)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (rows, width) = x.dims2()?;
        by_dtype!(x.dtype(), "assemble", assemble_backward(self, rows, width, dy))
    }
}

/// How a sample's tokens become one vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The mean of all but the first.
    MeanOfPatches,
    /// These rows of (samples * tokens, width), one a sample.
    Rows(Vec<u32>),
}

impl Pooling {
    /// (samples * tokens, width) to (samples, width).
    pub(crate) fn forward<T: Real>(&self, x: &[T], sequences: Sequences, width: usize) -> Vec<T> {
        let mut pooled = vec![T::zero(); sequences.samples * width];
        match self {
            Self::MeanOfPatches => {
                let factor = T::from_f64(1.0 / (sequences.tokens - 1) as f64);
                let samples = pooled.par_chunks_mut(width).zip(x.par_chunks(sequences.tokens * width));
                samples.for_each(|(pooled, sample)| {
                    for row in sample.chunks_exact(width).skip(1) {
                        add_to(pooled, row);
                    }
                    for x in pooled {
                        *x *= factor;
                    }
                });
            }
            Self::Rows(rows) => {
                for (pooled, &row) in pooled.chunks_exact_mut(width).zip(rows) {
                    pooled.copy_from_slice(&x[row as usize * width..][..width]);
                }
            }
        }
        pooled
    }

    /// The gradient by every token, written to `dx`, from that by the vectors.
    pub(crate) fn backward<T: Real>(&self, d_pooled: &[T], sequences: Sequences, width: usize, dx: &mut [T]) {
        match self {
            Self::MeanOfPatches => {
                let factor = T::from_f64(1.0 / (sequences.tokens - 1) as f64);
                let samples = dx.par_chunks_mut(sequences.tokens * width).zip(d_pooled.par_chunks(width));
                samples.for_each(|(sample, d_pooled)| {
                    let (first, rest) = sample.split_at_mut(width);
                    first.fill(T::zero());
                    for row in rest.chunks_exact_mut(width) {
                        for (dx, &dy) in row.iter_mut().zip(d_pooled) {
                            *dx = dy * factor;
                        }
                    }
                });
            }
            Self::Rows(rows) => {
                dx.fill(T::zero());
                for (d_pooled, &row) in d_pooled.chunks_exact(width).zip(rows) {
                    dx[row as usize * width..][..width].copy_from_slice(d_pooled);
                }
            }
        }
    }
}
