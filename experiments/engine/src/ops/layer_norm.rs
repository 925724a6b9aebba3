//! Layer norm over the last dimension, with scale and shift.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::simd::{sum_pairs, sum_terms, widest};
use super::{ROWS_A_TASK, by_dtype, in_order, tensor};
use crate::real::{Real, numbers, with_numbers};

/// Added to the variance, as `torch.nn.LayerNorm` does.
const EPSILON: f64 = 1e-5;

const NAME: &str = "layer-norm";

/// Each row of `x` (rows, width) to mean 0 and variance 1, times `weight` (width), plus `bias` (width).
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op3(weight, bias, LayerNorm)
}

struct LayerNorm;

/// Mean and reciprocal standard deviation of a row.
#[inline(always)]
fn moments<T: Real>(row: &[T]) -> (T, T) {
    let count = T::from_f64(row.len() as f64);
    let mean = sum_terms(row, |x| x) / count;
    let variance = sum_terms(row, |x| (x - mean) * (x - mean)) / count;
    (mean, T::one() / (variance + T::from_f64(EPSILON)).square_root())
}

widest! {
    /// y = (x - mean(x)) / √(mean((x - mean(x))²) + ε) * weight + bias, row by row. 8 FLOPs a number at 8 bytes of
    /// `f32`: vector operations bound it where rows come from the second-level cache, bytes further out.
    pub(crate) fn forward_rows<T: Real>(x: &[T], weight: &[T], bias: &[T], y: &mut [T]) {
        let width = weight.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (mean, scale) = moments(x);
            for (((y, &x), &weight), &bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = (x - mean) * scale * weight + bias;
            }
        }
    }
}

widest! {
    /// With n the normalised row and g = dy * weight: dx = scale * (g - mean(g) - n * mean(g * n)), and to the sums
    /// dy * n and dy. 18 FLOPs a number at 12 bytes of `f32`, bound as forward.
    pub(crate) fn backward_rows<T: Real>(
        x: &[T],
        weight: &[T],
        dy: &[T],
        dx: &mut [T],
        sums: &mut [T],
        normalised: &mut [T],
    ) {
        let width = weight.len();
        let count = T::from_f64(width as f64);
        let (dw, db) = sums.split_at_mut(width);
        for ((x, dy), dx) in
            x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width))
        {
            let (mean, scale) = moments(x);
            for (n, &x) in normalised.iter_mut().zip(x) {
                *n = (x - mean) * scale;
            }
            for (((dw, db), &n), &dy) in dw.iter_mut().zip(db.iter_mut()).zip(&*normalised).zip(dy) {
                *dw += dy * n;
                *db += dy;
            }
            for ((dx, &dy), &weight) in dx.iter_mut().zip(dy).zip(weight) {
                *dx = dy * weight;
            }
            let mean_g = sum_terms(dx, |g| g) / count;
            let mean_gn = sum_pairs(dx, normalised, |g, n| g * n) / count;
            for (dx, &n) in dx.iter_mut().zip(&*normalised) {
                *dx = scale * (*dx - mean_g - n * mean_gn);
            }
        }
    }
}

fn forward<T: Real>(
    (x, x_layout): (&CpuStorage, &Layout),
    (weight, weight_layout): (&CpuStorage, &Layout),
    (bias, bias_layout): (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let (rows, width) = x_layout.shape().dims2()?;
    let x = numbers::<T>(x, x_layout, NAME)?;
    let weight = numbers::<T>(weight, weight_layout, NAME)?;
    let bias = numbers::<T>(bias, bias_layout, NAME)?;
    if weight.len() != width || bias.len() != width {
        candle_core::bail!("{NAME}: width {width}, weight {}, bias {}", weight.len(), bias.len());
    }
    let mut y = vec![T::zero(); rows * width];
    let task = ROWS_A_TASK * width;
    y.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(|(y, x)| forward_rows(x, weight, bias, y));
    Ok((T::to_cpu_storage_owned(y), (rows, width).into()))
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

fn backward<T: Real>(x: &Tensor, weight: &Tensor, y_gradient: &Tensor) -> Result<Gradients> {
    let (rows, width) = x.dims2()?;
    let mut dx = vec![T::zero(); rows * width];
    let task = ROWS_A_TASK * width;
    let sums = with_numbers::<T, _>(x, |x| {
        with_numbers::<T, _>(weight, |weight| {
            with_numbers::<T, _>(y_gradient, |dy| {
                let blocks = dx.par_chunks_mut(task).zip(x.par_chunks(task)).zip(dy.par_chunks(task));
                let partial = blocks
                    .map(|((dx, x), dy)| {
                        let mut sums = vec![T::zero(); 2 * width];
                        let mut normalised = vec![T::zero(); width];
                        backward_rows(x, weight, dy, dx, &mut sums, &mut normalised);
                        sums
                    })
                    .collect();
                in_order(partial, 2 * width)
            })
        })
    })???;
    let (dw, db) = sums.split_at(width);
    Ok((
        Some(tensor(dx, (rows, width))?),
        Some(tensor(dw.to_vec(), width)?),
        Some(tensor(db.to_vec(), width)?),
    ))
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), NAME, forward((x, xl), (w, wl), (b, bl)))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Gradients> {
        by_dtype!(x.dtype(), NAME, backward(x, w, dy))
    }
}
