//! From patches to a token sequence, and from a sequence to one vector.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{Sequences, add_to, by_dtype, tensor};
use crate::real::{Real, numbers, with_numbers};

/// Puts the class token before each sample's patches and adds the positions: (samples * patches, width), (width)
/// and a table (1 + grid places, width), whose first row is the class token's, to (samples * (patches + 1),
/// width). `kept` are the (samples * patches) places of the patches; absent: every sample has them all, in order.
pub(crate) fn first_token_and_patches(
    patches: &Tensor,
    first: &Tensor,
    positions: &Tensor,
    kept: Option<Arc<Vec<u32>>>,
    samples: usize,
) -> Result<Tensor> {
    patches.contiguous()?.apply_op3(first, positions, Assemble { kept, samples })
}

struct Assemble {
    kept: Option<Arc<Vec<u32>>>,
    samples: usize,
}

impl Assemble {
    /// Row of the table of a sample's patch, of `count` in each sample.
    fn row(&self, sample: usize, patch: usize, count: usize) -> usize {
        1 + self.kept.as_ref().map_or(patch, |kept| kept[sample * count + patch] as usize)
    }
}

fn assemble<T: Real>(
    op: &Assemble,
    (patches, patches_layout): (&CpuStorage, &Layout),
    (first, first_layout): (&CpuStorage, &Layout),
    (table, table_layout): (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let (rows, width) = patches_layout.shape().dims2()?;
    let patches = numbers::<T>(patches, patches_layout, "assemble")?;
    let first = numbers::<T>(first, first_layout, "assemble")?;
    let count = rows / op.samples;
    let table = numbers::<T>(table, table_layout, "assemble")?;
    let mut y = vec![T::zero(); (rows + op.samples) * width];
    let samples = y.par_chunks_mut((count + 1) * width).zip(patches.par_chunks(count * width));
    samples.enumerate().for_each(|(sample, (y, patches))| {
        let (head, rest) = y.split_at_mut(width);
        for ((y, &x), &position) in head.iter_mut().zip(first).zip(&table[..width]) {
            *y = x + position;
        }
        for (patch, (y, x)) in rest.chunks_exact_mut(width).zip(patches.chunks_exact(width)).enumerate() {
            let row = op.row(sample, patch, count);
            for ((y, &x), &position) in y.iter_mut().zip(x).zip(&table[row * width..][..width]) {
                *y = x + position;
            }
        }
    });
    Ok((T::to_cpu_storage_owned(y), (rows + op.samples, width).into()))
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// The table's gradient only where it is trained.
fn assemble_backward<T: Real>(
    op: &Assemble,
    (rows, width): (usize, usize),
    table: &Tensor,
    y_gradient: &Tensor,
) -> Result<Gradients> {
    let count = rows / op.samples;
    let mut d_table = table.track_op().then(|| vec![T::zero(); table.elem_count()]);
    let mut d_patches = vec![T::zero(); rows * width];
    let mut d_first = vec![T::zero(); width];
    with_numbers::<T, _>(y_gradient, |dy| {
        let samples = d_patches.chunks_exact_mut(count * width).zip(dy.chunks_exact((count + 1) * width));
        for (index, (sample, dy)) in samples.enumerate() {
            let (head, rest) = dy.split_at(width);
            add_to(&mut d_first, head);
            sample.copy_from_slice(rest);
            if let Some(d_table) = &mut d_table {
                add_to(&mut d_table[..width], head);
                for (patch, dy) in rest.chunks_exact(width).enumerate() {
                    add_to(&mut d_table[op.row(index, patch, count) * width..][..width], dy);
                }
            }
        }
    })?;
    let d_table = d_table.map(|numbers| tensor(numbers, table.shape())).transpose()?;
    Ok((Some(tensor(d_patches, (rows, width))?), Some(tensor(d_first, width)?), d_table))
}

impl CustomOp3 for Assemble {
    fn name(&self) -> &'static str {
        "assemble"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        c: &CpuStorage,
        cl: &Layout,
        p: &CpuStorage,
        pl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), "assemble", assemble(self, (x, xl), (c, cl), (p, pl)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, table: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Gradients> {
        by_dtype!(x.dtype(), "assemble", assemble_backward(self, x.dims2()?, table, dy))
    }
}

/// How a sample's tokens become one vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The mean of all but the first.
    MeanOfPatches,
    /// These rows of (samples * tokens, width), one a sample.
    Rows(Vec<u32>),
    /// Every token, for a head that attends to them: (samples * tokens, width).
    Everything,
}

impl Pooling {
    /// (samples * tokens, width) to (samples, width), or to itself.
    pub(crate) fn forward<T: Real>(&self, x: &[T], sequences: Sequences, width: usize) -> Vec<T> {
        if *self == Self::Everything {
            return x.to_vec();
        }
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
            Self::Everything => {}
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
            Self::Everything => dx.copy_from_slice(d_pooled),
        }
    }
}
