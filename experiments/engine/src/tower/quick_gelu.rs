//! `OpenAI`'s approximation of GELU, x / (1 + e^(-1.702 x)), which its models were trained with (`QuickGELU` in
//! `open_clip/transformer.py`), while the MLP's numbers are in the first-level cache. Bound by vector operations: 45 a
//! number forward, 49 backward, 27 of them the exponential.

use super::epilogues::{GeluBackward, StoreGelu};
use crate::ops::multiply::Epilogue;
use crate::ops::stored::Stored;
use crate::real::Real;

const FACTOR: f64 = 1.702;

/// As [`StoreGelu`].
pub(super) struct StoreQuickGelu<'a, S: Stored>(pub(super) StoreGelu<'a, S>);

impl<S: Stored> Epilogue<S::Real> for StoreQuickGelu<'_, S> {
    #[inline(always)]
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[S::Real]) {
        let to = &mut self.0;
        let before = &mut to.before[row * to.before_stride + column..][..values.len()];
        let after = &mut to.after[row * to.after_stride + column..][..values.len()];
        for (((before, after), &x), &bias) in before.iter_mut().zip(after).zip(values).zip(&to.bias[column..])
        {
            *before = S::narrow(x + bias);
            *after = S::narrow(quick_gelu_and_slope(before.widen()).0);
        }
    }
}

/// As [`GeluBackward`].
pub(super) struct QuickGeluBackward<'a, S: Stored>(pub(super) GeluBackward<'a, S>);

impl<S: Stored> Epilogue<S::Real> for QuickGeluBackward<'_, S> {
    #[inline(always)]
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[S::Real]) {
        let to = &mut self.0;
        let before = &to.before[row * to.before_stride + column..][..values.len()];
        let after = &mut to.after[row * to.stride + column..][..values.len()];
        let gradient = &mut to.gradient[row * to.stride + column..][..values.len()];
        for (((&before, after), gradient), &dy) in before.iter().zip(after).zip(gradient).zip(values) {
            let (value, slope) = quick_gelu_and_slope(before.widen());
            *after = S::narrow(value);
            *gradient = S::narrow(dy * slope);
        }
    }
}

/// x s and its derivative s + 1.702 x s (1 - s), with s = 1 / (1 + e^(-1.702 x)).
#[inline(always)]
fn quick_gelu_and_slope<R: Real>(x: R) -> (R, R) {
    let steep = R::from_f64(FACTOR) * x;
    let share = R::ONE / (R::ONE + (-steep).exponential());
    (x * share, share + steep * share * (R::ONE - share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_its_formula_and_its_slope_the_difference() {
        for step in -80..=80 {
            let x = f64::from(step) / 10.0;
            let (value, slope) = quick_gelu_and_slope(x);
            assert!((value - x / (1.0 + (-1.702 * x).exp())).abs() < 1e-12, "{x}");
            let at = |x| quick_gelu_and_slope::<f64>(x).0;
            assert!((slope - (at(x + 1e-5) - at(x - 1e-5)) / 2e-5).abs() < 1e-8, "{x}");
            let single = quick_gelu_and_slope(x as f32);
            assert!((f64::from(single.0) - value).abs() < 2e-6 && (f64::from(single.1) - slope).abs() < 2e-6);
        }
    }
}
