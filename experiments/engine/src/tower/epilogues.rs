//! What is done with a product's numbers while they are in the first-level cache. Each is a plain loop that defines it.
//!
//! A tile's epilogue runs while matrix registers compute the next one, so it is free up to as many cycles as a product
//! takes (depth / 512 a number). Vector operations on a number, in bf16, two registers of 16 numbers a cycle: storing 7,
//! adding 2, GELU 28, its way back 41; bytes written 2, 8 (read and written), 4 and 6.

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
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[S::Real]) {
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
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[R]) {
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
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[R]) {
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
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[S::Real]) {
        let before = &mut self.before[row * self.before_stride + column..][..values.len()];
        let after = &mut self.after[row * self.after_stride + column..][..values.len()];
        for (((before, after), &x), &bias) in
            before.iter_mut().zip(after).zip(values).zip(&self.bias[column..])
        {
            *before = S::narrow(x + bias);
            let x = before.widen();
            *after = S::narrow(if S::ROUGH { rough_gelu::<_, FUSED>(x) } else { gelu(x) });
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
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[S::Real]) {
        let before = &self.before[row * self.before_stride + column..][..values.len()];
        let after = &mut self.after[row * self.stride + column..][..values.len()];
        let gradient = &mut self.gradient[row * self.stride + column..][..values.len()];
        for (((&before, after), gradient), &dy) in before.iter().zip(after).zip(gradient).zip(values) {
            let x = before.widen();
            let (value, slope) =
                if S::ROUGH { rough_gelu_and_slope::<_, FUSED>(x) } else { gelu_and_slope(x) };
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

/// Φ on [-4, 4] is ½ + x P(x²), within 3e-5: the coefficients of P, highest power first, by least squares
/// weighted until the largest error was smallest.
const BELOW: [f64; 8] = [
    -1.580_772_5e-9,
    1.217_103e-7,
    -4.100_847_5e-6,
    8.066_716_7e-5,
    -1.048_203e-3,
    9.664_869_9e-3,
    -6.617_537_1e-2,
    3.988_475_2e-1,
];

/// As [`BELOW`], of Φ(x) + x φ(x), within 1e-4.
const SLOPE: [f64; 9] = [
    9.796_059_5e-10,
    -8.218_805_9e-8,
    3.028_349_1e-6,
    -6.495_759_6e-5,
    9.073_268_2e-4,
    -8.716_321_6e-3,
    5.845_610_4e-2,
    -2.648_265_4e-1,
    7.976_095_7e-1,
];

/// ½ + x P(x²); 0 below -4 and 1 above 4. NaN stays NaN.
#[inline(always)]
fn sigmoid_like<R: Real, const FUSED: bool>(x: R, coefficients: &[f64]) -> R {
    let add = |a: R, b: R, c: R| if FUSED { a.fused(b, c) } else { a * b + c };
    let square = x * x;
    let mut p = R::from_f64(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        p = add(p, square, R::from_f64(coefficient));
    }
    let y = add(p, x, R::from_f64(0.5));
    let y = if x < R::from_f64(-4.0) { R::ZERO } else { y };
    if x > R::from_f64(4.0) { R::ONE } else { y }
}

/// [`gelu`] for results that are rounded to bf16 (2e-3 of a number): a third of the arithmetic.
#[inline(always)]
pub(super) fn rough_gelu<R: Real, const FUSED: bool>(x: R) -> R {
    x * sigmoid_like::<R, FUSED>(x, &BELOW)
}

/// [`gelu_and_slope`] for results that are rounded to bf16.
#[inline(always)]
pub(super) fn rough_gelu_and_slope<R: Real, const FUSED: bool>(x: R) -> (R, R) {
    (rough_gelu::<R, FUSED>(x), sigmoid_like::<R, FUSED>(x, &SLOPE))
}
