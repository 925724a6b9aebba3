//! Layer norm of a slab's rows, and the smaller passes over its rows.
//!
//! A slab's rows are in the second-level cache, so these passes are bound by vector operations as soon as there are more
//! than about one a byte; rounding a number to bf16 takes 6, an exponential 27.

use super::weights::Weights;
use crate::ops::simd::{sum_pairs, sum_terms, widest};
use crate::ops::stored::Stored;
use crate::real::Real;
use candle_core::WithDType;

/// Added to the variance, as `torch.nn.LayerNorm` does.
const EPSILON: f64 = 1e-5;

/// Where a norm's results go.
pub(crate) struct Normalised<'a, S: Stored> {
    /// Rows of mean 0 and variance 1.
    pub(crate) hat: &'a mut [S],
    /// What they were multiplied with.
    pub(crate) scale: &'a mut [S::Real],
    /// hat * weight + bias, `stride` apart.
    pub(crate) out: &'a mut [S],
    pub(crate) stride: usize,
}

widest! {
    /// Each row of `x`, whose width is that of `weight`: hat = (x - mean(x)) scale with
    /// scale = 1 / √(mean((x - mean(x))²) + ε), out = hat * weight + bias. Bound by vector operations: 21 a number, 12 of
    /// them rounding, at 8 bytes in bf16.
    pub(crate) fn normalise<S: Stored>(
        x: &[S::Real],
        weight: &[S::Real],
        bias: &[S::Real],
        to: Normalised<'_, S>,
    ) {
        let width = weight.len();
        let count = S::Real::from_f64(width as f64);
        let rows = x.chunks_exact(width).zip(to.hat.chunks_exact_mut(width)).zip(to.scale);
        for (((x, hat), scale), out) in rows.zip(to.out.chunks_mut(to.stride)) {
            let mean = sum_terms(x, |x| x) / count;
            let variance = sum_terms(x, |x| (x - mean) * (x - mean)) / count;
            *scale = S::Real::ONE / (variance + S::Real::from_f64(EPSILON)).square_root();
            let scale = *scale;
            for (hat, &x) in hat.iter_mut().zip(x) {
                *hat = S::narrow((x - mean) * scale);
            }
            scale_and_shift(hat, weight, bias, out);
        }
    }
}

#[inline(always)]
fn scale_and_shift<S: Stored>(hat: &[S], weight: &[S::Real], bias: &[S::Real], out: &mut [S]) {
    for (((out, &hat), &weight), &bias) in out.iter_mut().zip(hat).zip(weight).zip(bias) {
        *out = S::narrow(hat.widen() * weight + bias);
    }
}

/// What a norm's backward pass reads and writes.
pub(crate) struct Renormalised<'a, S: Stored> {
    pub(crate) hat: &'a [S],
    pub(crate) scale: &'a [S::Real],
    /// The gradient of the norm's result.
    pub(crate) dy: &'a [S::Real],
    /// Added to.
    pub(crate) dx: &'a mut [S::Real],
    /// Gradients of weight and bias, side by side, added to.
    pub(crate) sums: &'a mut [S::Real],
    /// The norm's result once more, `stride` apart.
    pub(crate) out: &'a mut [S],
    pub(crate) stride: usize,
}

widest! {
    /// With n a normalised row and g = dy * weight: dx += scale (g - mean(g) - n mean(g n)); to the sums dy n and dy; and
    /// out as forward. Bound by vector operations: 25 a number at 16 bytes in bf16.
    pub(crate) fn normalise_backward<S: Stored>(
        weight: &[S::Real],
        bias: &[S::Real],
        by: Renormalised<'_, S>,
    ) {
        let width = weight.len();
        let count = S::Real::from_f64(width as f64);
        let (d_weight, d_bias) = by.sums.split_at_mut(width);
        let rows = by.hat.chunks_exact(width).zip(by.scale).zip(by.dy.chunks_exact(width));
        let rows = rows.zip(by.dx.chunks_exact_mut(width)).zip(by.out.chunks_mut(by.stride));
        for ((((hat, &scale), dy), dx), out) in rows {
            let mut mean_gn = S::Real::ZERO;
            let mut mean_g = S::Real::ZERO;
            let mut lanes = [[S::Real::ZERO; 16]; 2];
            let (hats, hat_rest) = hat.as_chunks::<16>();
            let (dys, dy_rest) = dy.as_chunks::<16>();
            let (weights, weight_rest) = weight.as_chunks::<16>();
            for ((hat, dy), weight) in hats.iter().zip(dys).zip(weights) {
                for lane in 0..16 {
                    let g = dy[lane] * weight[lane];
                    lanes[0][lane] += g;
                    lanes[1][lane] += g * hat[lane].widen();
                }
            }
            for ((&hat, &dy), &weight) in hat_rest.iter().zip(dy_rest).zip(weight_rest) {
                mean_g += dy * weight;
                mean_gn += dy * weight * hat.widen();
            }
            mean_g = (mean_g + sum_terms(&lanes[0], |x| x)) / count;
            mean_gn = (mean_gn + sum_terms(&lanes[1], |x| x)) / count;
            for (((dx, &dy), &weight), &hat) in dx.iter_mut().zip(dy).zip(weight).zip(hat) {
                *dx += scale * (dy * weight - mean_g - hat.widen() * mean_gn);
            }
            for (((d_weight, d_bias), &dy), &hat) in
                d_weight.iter_mut().zip(d_bias.iter_mut()).zip(dy).zip(hat)
            {
                *d_weight += dy * hat.widen();
                *d_bias += dy;
            }
            scale_and_shift(hat, weight, bias, out);
        }
    }
}

widest! {
    /// Rounds rows of `width` numbers to rows `stride` apart, and adds them up by column. Bound by vector
    /// operations: 7 a number, 6 of them rounding, at 6 bytes in bf16.
    pub(crate) fn round_and_sum<S: Stored>(
        x: &[S::Real],
        width: usize,
        out: &mut [S],
        stride: usize,
        sums: &mut [S::Real],
    ) {
        for (x, out) in x.chunks_exact(width).zip(out.chunks_mut(stride)) {
            for ((&x, out), sum) in x.iter().zip(out).zip(sums.iter_mut()) {
                *out = S::narrow(x);
                *sum += x;
            }
        }
    }
}

widest! {
    /// Adds rows up by column. Bound by vector operations: 2 a number at 2 bytes in bf16.
    pub(crate) fn sum_columns<S: Stored>(x: &[S], rows: usize, stride: usize, sums: &mut [S::Real]) {
        for x in x.chunks(stride).take(rows) {
            for (sum, &x) in sums.iter_mut().zip(x) {
                *sum += x.widen();
            }
        }
    }
}

widest! {
    /// Softmax of `scores` row by row, `stride` apart; causal: of row i over its first i + 1 columns, zero
    /// beyond. In place, and rounded to `out`, zeros up to the stride. With h the row's highest:
    /// e^(x - h) / sum(e^(x - h)). Bound by vector operations, 37 a score, where rows are long; short ones (17 scores) by
    /// what comes after the last whole register.
    pub(crate) fn softmax<S: Stored>(
        scores: &mut [S::Real],
        columns: usize,
        stride: usize,
        causal: bool,
        out: &mut [S],
    ) {
        for (index, (row, out)) in scores.chunks_exact_mut(stride).zip(out.chunks_exact_mut(stride)).enumerate()
        {
            let seen = if causal { index + 1 } else { columns };
            row[seen..].fill(S::Real::ZERO);
            let mut highest = [row[0]; 16];
            let (chunks, rest) = row[..seen].as_chunks::<16>();
            for chunk in chunks {
                for lane in 0..16 {
                    highest[lane] = if chunk[lane] > highest[lane] { chunk[lane] } else { highest[lane] };
                }
            }
            for &x in rest.iter().chain(&highest.clone()) {
                highest[0] = if x > highest[0] { x } else { highest[0] };
            }
            let highest = highest[0];
            for x in &mut row[..seen] {
                *x = (*x - highest).exponential();
            }
            let factor = S::Real::ONE / sum_terms(&row[..seen], |x| x);
            for (x, out) in row.iter_mut().zip(out) {
                *x *= factor;
                *out = S::narrow(*x);
            }
        }
    }
}

widest! {
    /// Gradient of the scores from that of the probabilities P: out = factor P (dP - sum(dP P)), zeros up to
    /// the stride. Bound by vector operations, 11 a score, and bound as softmax where rows are short.
    pub(crate) fn softmax_backward<S: Stored>(
        probabilities: &[S::Real],
        gradient: &[S::Real],
        columns: usize,
        stride: usize,
        factor: S::Real,
        out: &mut [S],
    ) {
        let rows = probabilities.chunks_exact(stride).zip(gradient.chunks_exact(stride));
        for ((p, g), out) in rows.zip(out.chunks_exact_mut(stride)) {
            let weighted = sum_pairs(&p[..columns], &g[..columns], |p, g| p * g);
            for ((out, &p), &g) in out.iter_mut().zip(&p[..columns]).zip(g) {
                *out = S::narrow(factor * p * (g - weighted));
            }
            out[columns..].fill(S::default());
        }
    }
}

/// The two norms by number.
pub(super) fn scale_of<'a, R>(weights: &Weights<'a, R>, norm: usize) -> (&'a [R], &'a [R]) {
    let [weight, bias] = weights.norms[norm];
    (weight, bias)
}
