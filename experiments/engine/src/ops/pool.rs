//! From patches to a token sequence, and from a sequence to one vector.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
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

/// Mean of each sample's tokens but the first: (samples * tokens, width) to (samples, width).
pub(crate) fn mean_of_patches(x: &Tensor, sequences: Sequences) -> Result<Tensor> {
    x.contiguous()?.apply_op1(MeanOfPatches(sequences))
}

struct MeanOfPatches(Sequences);

fn mean<T: Real>(sequences: Sequences, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
    let (_, width) = layout.shape().dims2()?;
    let x = numbers::<T>(x, layout, "mean-of-patches")?;
    let factor = T::from_f64(1.0 / (sequences.tokens - 1) as f64);
    let mut y = vec![T::zero(); sequences.samples * width];
    y.par_chunks_mut(width).zip(x.par_chunks(sequences.tokens * width)).for_each(|(y, sample)| {
        for row in sample.chunks_exact(width).skip(1) {
            add_to(y, row);
        }
        for y in y {
            *y *= factor;
        }
    });
    Ok((T::to_cpu_storage_owned(y), (sequences.samples, width).into()))
}

fn mean_backward<T: Real>(sequences: Sequences, width: usize, y_gradient: &Tensor) -> Result<Option<Tensor>> {
    let factor = T::from_f64(1.0 / (sequences.tokens - 1) as f64);
    let mut dx = vec![T::zero(); sequences.samples * sequences.tokens * width];
    with_numbers::<T, _>(y_gradient, |dy| {
        let samples = dx.par_chunks_mut(sequences.tokens * width).zip(dy.par_chunks(width));
        samples.for_each(|(sample, dy)| {
            for row in sample.chunks_exact_mut(width).skip(1) {
                for (x, &dy) in row.iter_mut().zip(dy) {
                    *x = dy * factor;
                }
            }
        });
    })?;
    Ok(Some(tensor(dx, (sequences.samples * sequences.tokens, width))?))
}

impl CustomOp1 for MeanOfPatches {
    fn name(&self) -> &'static str {
        "mean-of-patches"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), "mean-of-patches", mean(self.0, x, layout))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, width) = x.dims2()?;
        by_dtype!(x.dtype(), "mean-of-patches", mean_backward(self.0, width, dy))
    }
}
