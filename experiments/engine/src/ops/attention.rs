//! Multi-head softmax attention.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::product::{Matrix, Target, Threads, product};
use super::simd::{sum_pairs, widest};
use super::{Sequences, by_dtype, tensor};
use crate::real::{Real, numbers, with_numbers};

const NAME: &str = "attention";

/// softmax(Q Kᵀ / √d) V in each head of each sample.
///
/// `qkv` (samples * tokens, 3 * width) holds queries, keys and values side by side, each with the heads side
/// by side; the result is (samples * tokens, width). `causal`: a token attends to itself and those before it.
pub(crate) fn attention(qkv: &Tensor, sequences: Sequences, heads: usize, causal: bool) -> Result<Tensor> {
    qkv.contiguous()?.apply_op1(Attention { sequences, heads, causal })
}

#[derive(Clone, Copy)]
struct Attention {
    sequences: Sequences,
    heads: usize,
    causal: bool,
}

widest! {
    /// Softmax of each row in place; causal: of row i over its first i + 1 columns, zero beyond.
    pub(crate) fn softmax_rows<T: Real>(scores: &mut [T], columns: usize, causal: bool) {
        for (index, row) in scores.chunks_exact_mut(columns).enumerate() {
            let (seen, unseen) = row.split_at_mut(if causal { index + 1 } else { columns });
            unseen.fill(T::zero());
            let mut highest = seen[0];
            for &score in &*seen {
                if score > highest {
                    highest = score;
                }
            }
            for score in seen.iter_mut() {
                *score = (*score - highest).exponential();
            }
            let factor = T::one() / sum_pairs(seen, seen, |x, _| x);
            for score in seen.iter_mut() {
                *score *= factor;
            }
        }
    }
}

widest! {
    /// Gradient of the scores from that of the probabilities P, in place: dS = P (dP - sum(dP P)).
    pub(crate) fn softmax_rows_backward<T: Real>(probabilities: &[T], gradient: &mut [T], columns: usize) {
        for (p, g) in probabilities.chunks_exact(columns).zip(gradient.chunks_exact_mut(columns)) {
            let weighted = sum_pairs(p, g, |p, g| p * g);
            for (g, &p) in g.iter_mut().zip(p) {
                *g = p * (*g - weighted);
            }
        }
    }
}

impl Attention {
    /// Rows and width, checked.
    fn sizes(&self, shape: &Shape) -> Result<(usize, usize)> {
        let (rows, columns) = shape.dims2()?;
        let width = columns / 3;
        if columns % 3 != 0
            || rows != self.sequences.samples * self.sequences.tokens
            || !width.is_multiple_of(self.heads)
        {
            candle_core::bail!("{NAME}: {shape:?} for {:?} and {} heads", self.sequences, self.heads);
        }
        Ok((rows, width))
    }

    /// Queries (part 0), keys (1) or values (2) of one head of one sample: (tokens, head width).
    fn part<'a, T: Real>(&self, sample: &'a [T], width: usize, part: usize, head: usize) -> Matrix<'a, T> {
        let head_width = width / self.heads;
        let start = part * width + head * head_width;
        Matrix::strided(&sample[start..], self.sequences.tokens, head_width, 3 * width)
    }

    /// The attention probabilities of one head: (tokens, tokens).
    fn probabilities<T: Real>(&self, sample: &[T], width: usize, head: usize, out: &mut [T]) {
        let tokens = self.sequences.tokens;
        let scale = T::from_f64(1.0 / ((width / self.heads) as f64).sqrt());
        let (q, k) = (self.part(sample, width, 0, head), self.part(sample, width, 1, head));
        let target = Target { data: &mut *out, row_stride: tokens };
        product(target, false, scale, q, k.transposed(), Threads::One);
        softmax_rows(out, tokens, self.causal);
    }
}

fn forward<T: Real>(op: Attention, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
    let (rows, width) = op.sizes(layout.shape())?;
    let qkv = numbers::<T>(qkv, layout, NAME)?;
    let tokens = op.sequences.tokens;
    let head_width = width / op.heads;
    let mut y = vec![T::zero(); rows * width];
    let samples = y.par_chunks_mut(tokens * width).zip(qkv.par_chunks(tokens * 3 * width));
    samples.for_each_init(
        || vec![T::zero(); tokens * tokens],
        |p, (y, sample)| {
            for head in 0..op.heads {
                op.probabilities(sample, width, head, p);
                let target = Target { data: &mut y[head * head_width..], row_stride: width };
                let values = op.part(sample, width, 2, head);
                product(target, false, T::one(), Matrix::new(p, tokens, tokens), values, Threads::One);
            }
        },
    );
    Ok((T::to_cpu_storage_owned(y), (rows, width).into()))
}

/// The probabilities are computed again rather than kept: a fifth more arithmetic in this layer, and memory
/// that does not grow with the square of the tokens.
fn backward<T: Real>(op: Attention, qkv: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
    let (rows, width) = op.sizes(qkv.shape())?;
    let tokens = op.sequences.tokens;
    let head_width = width / op.heads;
    let scale = T::from_f64(1.0 / (head_width as f64).sqrt());
    let mut d_qkv = vec![T::zero(); rows * 3 * width];
    with_numbers::<T, _>(qkv, |qkv| {
        with_numbers::<T, _>(y_gradient, |dy| {
            let samples = d_qkv
                .par_chunks_mut(tokens * 3 * width)
                .zip(qkv.par_chunks(tokens * 3 * width))
                .zip(dy.par_chunks(tokens * width));
            samples.for_each_init(
                || (vec![T::zero(); tokens * tokens], vec![T::zero(); tokens * tokens]),
                |(p, dp), ((d_sample, sample), dy)| {
                    for head in 0..op.heads {
                        op.probabilities(sample, width, head, p);
                        let start = head * head_width;
                        let dy = Matrix::strided(&dy[start..], tokens, head_width, width);
                        let values = op.part(sample, width, 2, head);
                        let square = Target { data: &mut *dp, row_stride: tokens };
                        product(square, false, T::one(), dy, values.transposed(), Threads::One);
                        let probabilities = Matrix::new(p, tokens, tokens);
                        let mut to = |part: usize, factor, a, b| {
                            let data = &mut d_sample[part * width + start..];
                            let target = Target { data, row_stride: 3 * width };
                            product(target, false, factor, a, b, Threads::One);
                        };
                        to(2, T::one(), probabilities.transposed(), dy);
                        softmax_rows_backward(p, dp, tokens);
                        let d_scores = Matrix::new(dp, tokens, tokens);
                        to(0, scale, d_scores, op.part(sample, width, 1, head));
                        to(1, scale, d_scores.transposed(), op.part(sample, width, 0, head));
                    }
                },
            );
        })
    })??;
    Ok(Some(tensor(d_qkv, (rows, 3 * width))?))
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(qkv.dtype(), NAME, forward(*self, qkv, layout))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(qkv.dtype(), NAME, backward(*self, qkv, dy))
    }
}
