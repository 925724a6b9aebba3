//! From a token sequence to one vector.

use rayon::prelude::*;

use super::{Sequences, add_to};
use crate::real::Real;

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
    /// (samples * tokens, width) to (samples, width), or to itself. Bound by bytes: 4 read at one addition for each
    /// number of a token in `f32`, or as many copied.
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

    /// The gradient by every token, written to `dx`, from that by the vectors: d / (tokens - 1), or d and zeros. Bound
    /// by bytes: 4 written for each number of a token in `f32`.
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
