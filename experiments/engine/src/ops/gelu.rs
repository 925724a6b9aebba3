//! GELU with the error function, as `torch.nn.GELU`: x Φ(x).

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::simd::widest;
use super::{by_dtype, tensor};
use crate::real::{Real, numbers, with_numbers};

const NAME: &str = "gelu";

/// Numbers that one task of a parallel loop takes.
const TASK: usize = 16 * 1024;

/// x Φ(x) for every element, Φ being the normal distribution function.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gelu)
}

struct Gelu;

widest! {
    pub(crate) fn forward_task<T: Real>(x: &[T], y: &mut [T]) {
        let (half, root) = (T::from_f64(0.5), T::from_f64(std::f64::consts::FRAC_1_SQRT_2));
        for (y, &x) in y.iter_mut().zip(x) {
            *y = half * x * (T::one() + (x * root).error_function());
        }
    }
}

widest! {
    /// d/dx x Φ(x) = Φ(x) + x φ(x).
    pub(crate) fn backward_task<T: Real>(x: &[T], dy: &[T], dx: &mut [T]) {
        let (half, root) = (T::from_f64(0.5), T::from_f64(std::f64::consts::FRAC_1_SQRT_2));
        let density = T::from_f64(0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
        for ((dx, &dy), &x) in dx.iter_mut().zip(dy).zip(x) {
            let below = half * (T::one() + (x * root).error_function());
            *dx = dy * (below + x * density * (-half * x * x).exponential());
        }
    }
}

fn forward<T: Real>(x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
    let x = numbers::<T>(x, layout, NAME)?;
    let mut y = vec![T::zero(); x.len()];
    y.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(y, x)| forward_task(x, y));
    Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
}

fn backward<T: Real>(x: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
    let mut dx = vec![T::zero(); x.elem_count()];
    with_numbers::<T, _>(x, |x| {
        with_numbers::<T, _>(y_gradient, |dy| {
            let tasks = dx.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).zip(dy.par_chunks(TASK));
            tasks.for_each(|((dx, x), dy)| backward_task(x, dy, dx));
        })
    })??;
    Ok(Some(tensor(dx, x.shape())?))
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), NAME, forward(x, layout))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(x.dtype(), NAME, backward(x, dy))
    }
}
