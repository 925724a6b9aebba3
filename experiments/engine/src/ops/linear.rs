//! y = x Wᵀ + b, by `gemm`'s products. Bound by FLOPs: 2 a number of x and of y, and twice that backward.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::product::{Matrix, Target, Threads, product};
use super::{ROWS_A_TASK, by_dtype, column_sums, tensor};
use crate::real::{Real, numbers, with_numbers};

/// `x` (rows, in) times the transpose of `weight` (out, in; more dimensions are taken as `in`), plus `bias`
/// (out): (rows, out).
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => x.contiguous()?.apply_op3(weight, bias, Linear),
        None => x.contiguous()?.apply_op2(weight, Linear),
    }
}

struct Linear;

const NAME: &str = "linear";

/// Rows, columns in, columns out.
fn sizes(x: &Shape, weight: &Shape) -> Result<(usize, usize, usize)> {
    let (rows, columns) = x.dims2()?;
    let out = weight.dims()[0];
    if weight.elem_count() != out * columns {
        candle_core::bail!("{NAME}: {x:?} does not fit weight {weight:?}");
    }
    Ok((rows, columns, out))
}

fn forward<T: Real>(
    (x, x_layout): (&CpuStorage, &Layout),
    (weight, weight_layout): (&CpuStorage, &Layout),
    bias: Option<(&CpuStorage, &Layout)>,
) -> Result<(CpuStorage, Shape)> {
    let (rows, columns, out) = sizes(x_layout.shape(), weight_layout.shape())?;
    let x = numbers::<T>(x, x_layout, NAME)?;
    let weight = numbers::<T>(weight, weight_layout, NAME)?;
    let mut y = vec![T::zero(); rows * out];
    if let Some((bias, layout)) = bias {
        let bias = numbers::<T>(bias, layout, NAME)?;
        y.par_chunks_mut(ROWS_A_TASK * out).for_each(|block| {
            for row in block.chunks_exact_mut(out) {
                row.copy_from_slice(bias);
            }
        });
    }
    product(
        Target { data: &mut y, row_stride: out },
        bias.is_some(),
        T::one(),
        Matrix::new(x, rows, columns),
        Matrix::new(weight, out, columns).transposed(),
        Threads::Pool,
    );
    Ok((T::to_cpu_storage_owned(y), (rows, out).into()))
}

/// Gradients of x, weight and, where asked for, bias. Where x is not part of the graph (patches of pixels)
/// its gradient is not computed.
fn backward<T: Real>(
    x: &Tensor,
    weight: &Tensor,
    with_bias: bool,
    y_gradient: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
    let (rows, columns, out) = sizes(x.shape(), weight.shape())?;
    with_numbers::<T, _>(y_gradient, |dy| {
        let dy_matrix = Matrix::new(dy, rows, out);
        let x_gradient = if x.track_op() {
            let mut dx = vec![T::zero(); rows * columns];
            with_numbers::<T, _>(weight, |weight| {
                let target = Target { data: &mut dx, row_stride: columns };
                let weight = Matrix::new(weight, out, columns);
                product(target, false, T::one(), dy_matrix, weight, Threads::Pool);
            })?;
            Some(tensor(dx, (rows, columns))?)
        } else {
            None
        };
        let mut dw = vec![T::zero(); out * columns];
        with_numbers::<T, _>(x, |x| {
            let target = Target { data: &mut dw, row_stride: columns };
            let x = Matrix::new(x, rows, columns);
            product(target, false, T::one(), dy_matrix.transposed(), x, Threads::Pool);
        })?;
        let bias_gradient = if with_bias { Some(tensor(column_sums(dy, out), out)?) } else { None };
        Ok((x_gradient, Some(tensor(dw, weight.shape())?), bias_gradient))
    })?
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), NAME, forward((x, xl), (w, wl), None))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw, _) = by_dtype!(x.dtype(), NAME, backward(x, w, false, dy))?;
        Ok((dx, dw))
    }
}

impl CustomOp3 for Linear {
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
        by_dtype!(x.dtype(), NAME, forward((x, xl), (w, wl), Some((b, bl))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        by_dtype!(x.dtype(), NAME, backward(x, w, true, dy))
    }
}
