//! What is done with a product's numbers while they are in the first-level cache.

use crate::ops::multiply::Epilogue;
use crate::ops::stored::Stored;
use crate::real::Real;

/// out = factor * product + bias.
pub(super) struct Store<'a, S: Stored> {
    pub(super) bias: Option<&'a [S::Real]>,
    pub(super) factor: S::Real,
    pub(super) out: &'a mut [S],
    pub(super) stride: usize,
}

impl<S: Stored> Epilogue<S::Real> for Store<'_, S> {
    #[inline(always)]
    fn row(&mut self, row: usize, column: usize, values: &[S::Real]) {
        let out = &mut self.out[row * self.stride + column..][..values.len()];
        match self.bias {
            Some(bias) => {
                for ((out, &x), &bias) in out.iter_mut().zip(values).zip(&bias[column..]) {
                    *out = S::narrow(x + bias);
                }
            }
            None => {
                for (out, &x) in out.iter_mut().zip(values) {
                    *out = S::narrow(x * self.factor);
                }
            }
        }
    }
}

/// out = factor * product, unrounded.
pub(super) struct StoreReal<'a, R> {
    pub(super) factor: R,
    pub(super) out: &'a mut [R],
    pub(super) stride: usize,
}

impl<R: Real> Epilogue<R> for StoreReal<'_, R> {
    #[inline(always)]
    fn row(&mut self, row: usize, column: usize, values: &[R]) {
        let out = &mut self.out[row * self.stride + column..][..values.len()];
        for (out, &x) in out.iter_mut().zip(values) {
            *out = x * self.factor;
        }
    }
}

/// out += product (+ bias).
pub(super) struct Add<'a, R> {
    pub(super) bias: Option<&'a [R]>,
    pub(super) out: &'a mut [R],
    pub(super) stride: usize,
}

impl<R: Real> Epilogue<R> for Add<'_, R> {
    #[inline(always)]
    fn row(&mut self, row: usize, column: usize, values: &[R]) {
        let out = &mut self.out[row * self.stride + column..][..values.len()];
        match self.bias {
            Some(bias) => {
                for ((out, &x), &bias) in out.iter_mut().zip(values).zip(&bias[column..]) {
                    *out += x + bias;
                }
            }
            None => {
                for (out, &x) in out.iter_mut().zip(values) {
                    *out += x;
                }
            }
        }
    }
}

/// before = product + bias; after = GELU of it.
pub(super) struct StoreGelu<'a, S: Stored> {
    pub(super) bias: &'a [S::Real],
    pub(super) before: &'a mut [S],
    pub(super) before_stride: usize,
    pub(super) after: &'a mut [S],
    pub(super) after_stride: usize,
}

impl<S: Stored> Epilogue<S::Real> for StoreGelu<'_, S> {
    #[inline(always)]
    fn row(&mut self, row: usize, column: usize, values: &[S::Real]) {
        let before = &mut self.before[row * self.before_stride + column..][..values.len()];
        let after = &mut self.after[row * self.after_stride + column..][..values.len()];
        for (((before, after), &x), &bias) in
            before.iter_mut().zip(after).zip(values).zip(&self.bias[column..])
        {
            *before = S::narrow(x + bias);
            *after = S::narrow(gelu(before.widen()));
        }
    }
}

/// Given the MLP's layer before GELU: after = GELU of it, and gradient = product * GELU' of it.
pub(super) struct GeluBackward<'a, S: Stored> {
    pub(super) before: &'a [S],
    pub(super) before_stride: usize,
    pub(super) after: &'a mut [S],
    pub(super) gradient: &'a mut [S],
    /// Of `after` and `gradient`.
    pub(super) stride: usize,
}

impl<S: Stored> Epilogue<S::Real> for GeluBackward<'_, S> {
    #[inline(always)]
    fn row(&mut self, row: usize, column: usize, values: &[S::Real]) {
        let before = &self.before[row * self.before_stride + column..][..values.len()];
        let after = &mut self.after[row * self.stride + column..][..values.len()];
        let gradient = &mut self.gradient[row * self.stride + column..][..values.len()];
        for (((&before, after), gradient), &dy) in before.iter().zip(after).zip(gradient).zip(values) {
            let (value, slope) = gelu_and_slope(before.widen());
            *after = S::narrow(value);
            *gradient = S::narrow(dy * slope);
        }
    }
}

/// x Φ(x), Φ being the normal distribution function, as `torch.nn.GELU`.
#[inline(always)]
pub(super) fn gelu<R: Real>(x: R) -> R {
    let (half, root) = (R::from_f64(0.5), R::from_f64(std::f64::consts::FRAC_1_SQRT_2));
    half * x * (R::ONE + (x * root).error_function())
}

/// GELU and its derivative Φ(x) + x φ(x).
#[inline(always)]
pub(super) fn gelu_and_slope<R: Real>(x: R) -> (R, R) {
    let (half, root) = (R::from_f64(0.5), R::from_f64(std::f64::consts::FRAC_1_SQRT_2));
    let density = R::from_f64(0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
    let below = half * (R::ONE + (x * root).error_function());
    (x * below, below + x * density * (-half * x * x).exponential())
}
