//! The contrastive loss over a whole batch, and its gradients.

use rayon::prelude::*;

use crate::ops::product::{Matrix, Target, Threads, product};
use crate::ops::simd::{sum_pairs, sum_terms, widest};
use crate::real::Real;

/// Rows of the logit matrix held at a time: memory grows with the batch, not with its square.
const BLOCK: usize = 512;

/// Columns that one task of a parallel loop takes.
const COLUMNS_A_TASK: usize = 1024;

/// The loss and its derivatives by everything it is computed from.
pub(crate) struct Contrast<T> {
    pub(crate) loss: f64,
    /// (batch, width).
    pub(crate) d_images: Vec<T>,
    /// (batch, width).
    pub(crate) d_texts: Vec<T>,
    pub(crate) d_log_scale: T,
}

/// InfoNCE in both directions: with logits l_ij = exp(log_scale) image_i · text_j, the mean over i of
/// ½ (logsumexp_j l_ij - l_ii) + ½ (logsumexp_j l_ji - l_ii).
///
/// `images` and `texts` are (batch, width), rows of length 1; row i of one belongs to row i of the other.
///
/// With G_ij = dloss / dl_ij = (softmax over row i + softmax over column j - 2 [i = j]) / 2 batch:
/// d_images = scale G texts, d_texts = scale Gᵀ images, d_log_scale = sum of G_ij l_ij.
///
/// Bound by FLOPs: for each logit 6 width, 8 where there are several blocks, and six exponentials of 27 vector
/// operations.
pub(crate) fn contrast<T: Real>(images: &[T], texts: &[T], width: usize, log_scale: T) -> Contrast<T> {
    contrast_in_blocks(images, texts, width, log_scale, BLOCK)
}

fn contrast_in_blocks<T: Real>(
    images: &[T],
    texts: &[T],
    width: usize,
    log_scale: T,
    block: usize,
) -> Contrast<T> {
    let batch = images.len() / width;
    let scale = T::from_f64(log_scale.to_f64().exp());
    let text_matrix = Matrix::new(texts, batch, width);
    let block = block.min(batch);
    let mut logits = vec![T::zero(); block * batch];
    let starts: Vec<usize> = (0..batch).step_by(block).collect();
    let rows_from = |start: usize| block.min(batch - start);
    let fill = |logits: &mut [T], start: usize| {
        let rows = rows_from(start);
        let images = Matrix::new(&images[start * width..(start + rows) * width], rows, width);
        let target = Target { data: logits, row_stride: batch };
        product(target, false, scale, images, text_matrix.transposed(), Threads::Pool);
    };

    let mut row_log_sums = Vec::with_capacity(batch);
    let mut column_highest = vec![T::from_f64(f64::NEG_INFINITY); batch];
    let mut column_sums = vec![T::zero(); batch];
    let mut diagonal = 0.0;
    for &start in &starts {
        let rows = rows_from(start);
        fill(&mut logits, start);
        let logits = &logits[..rows * batch];
        row_log_sums.par_extend(logits.par_chunks(batch).map(log_sum_exp));
        column_highest
            .par_chunks_mut(COLUMNS_A_TASK)
            .zip(column_sums.par_chunks_mut(COLUMNS_A_TASK))
            .enumerate()
            .for_each(|(task, (highest, sums))| {
                add_columns(logits, batch, task * COLUMNS_A_TASK, highest, sums)
            });
        diagonal += (0..rows).map(|row| logits[row * batch + start + row].to_f64()).sum::<f64>();
    }
    let column_log_sums: Vec<T> = column_highest
        .iter()
        .zip(&column_sums)
        .map(|(&highest, &sum)| T::from_f64(highest.to_f64() + sum.to_f64().ln()))
        .collect();
    let sums: f64 = row_log_sums.iter().chain(&column_log_sums).map(|x: &T| x.to_f64()).sum();
    let loss = (sums - 2.0 * diagonal) / (2.0 * batch as f64);

    let mut d_images = vec![T::zero(); batch * width];
    let mut d_texts = vec![T::zero(); batch * width];
    let mut d_log_scale = 0.0;
    for &start in &starts {
        let rows = rows_from(start);
        if starts.len() > 1 {
            fill(&mut logits, start);
        }
        let gradient = &mut logits[..rows * batch];
        let partial: Vec<T> = gradient
            .par_chunks_mut(batch)
            .zip(&row_log_sums[start..start + rows])
            .enumerate()
            .map(|(row, (gradient, &row_log_sum))| {
                gradient_of_row(gradient, row_log_sum, &column_log_sums, start + row)
            })
            .collect();
        d_log_scale += partial.iter().map(|x| x.to_f64()).sum::<f64>();
        let gradient = Matrix::new(&*gradient, rows, batch);
        let part = start * width..(start + rows) * width;
        let target = Target { data: &mut d_images[part.clone()], row_stride: width };
        product(target, false, scale, gradient, text_matrix, Threads::Pool);
        let image_rows = Matrix::new(&images[part], rows, width);
        let target = Target { data: &mut d_texts, row_stride: width };
        product(target, true, scale, gradient.transposed(), image_rows, Threads::Pool);
    }
    Contrast { loss, d_images, d_texts, d_log_scale: T::from_f64(d_log_scale) }
}

widest! {
    /// Log of the sum of e^x over a row: with h the highest, h + ln(sum(e^(x - h))). Bound by vector operations: 30 a
    /// logit at 4 bytes.
    pub(crate) fn log_sum_exp<T: Real>(row: &[T]) -> T {
        let mut highest = row[0];
        for &x in row {
            if x > highest {
                highest = x;
            }
        }
        let sum = sum_terms(row, |x| (x - highest).exponential());
        highest + T::from_f64(sum.to_f64().ln())
    }
}

widest! {
    /// Takes a block of rows into the running highest value and sum of exponentials of each column from
    /// `first` on: h' = max(h, x), s' = s e^(h - h') + sum(e^(x - h')). Bound by vector operations: 30 a logit at 4
    /// bytes.
    pub(crate) fn add_columns<T: Real>(
        logits: &[T],
        batch: usize,
        first: usize,
        highest: &mut [T],
        sums: &mut [T],
    ) {
        let count = highest.len();
        let mut now = highest.to_vec();
        for row in logits.chunks_exact(batch) {
            for (now, &x) in now.iter_mut().zip(&row[first..first + count]) {
                if x > *now {
                    *now = x;
                }
            }
        }
        for ((sum, highest), &now) in sums.iter_mut().zip(highest).zip(&now) {
            *sum *= (*highest - now).exponential();
            *highest = now;
        }
        for row in logits.chunks_exact(batch) {
            for ((sum, &now), &x) in sums.iter_mut().zip(&now).zip(&row[first..first + count]) {
                *sum += (x - now).exponential();
            }
        }
    }
}

widest! {
    /// Turns a row of logits into its row of G, (e^(l - row sum) + e^(l - column sum)) / 2 batch - \[diagonal\] / batch
    /// with sums in logarithms, and returns the sum of G l. Bound by vector operations: four exponentials, 118 a logit.
    pub(crate) fn gradient_of_row<T: Real>(
        row: &mut [T],
        row_log_sum: T,
        column_log_sums: &[T],
        diagonal: usize,
    ) -> T {
        let factor = T::from_f64(0.5 / column_log_sums.len() as f64);
        let of_diagonal = row[diagonal];
        let sum = sum_pairs(row, column_log_sums, |x, column| {
            ((x - row_log_sum).exponential() + (x - column).exponential()) * factor * x
        });
        for (x, &column) in row.iter_mut().zip(column_log_sums) {
            *x = ((*x - row_log_sum).exponential() + (*x - column).exponential()) * factor;
        }
        let own = factor + factor;
        row[diagonal] -= own;
        sum - own * of_diagonal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit_rows(rows: usize, width: usize, step: f64) -> Vec<f64> {
        let mut values: Vec<f64> = (0..rows * width).map(|index| (index as f64 * step).sin()).collect();
        for row in values.chunks_exact_mut(width) {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        values
    }

    /// The loss as its formula reads.
    fn formula(images: &[f64], texts: &[f64], width: usize, log_scale: f64) -> f64 {
        let batch = images.len() / width;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let logit = |i: usize, j: usize| {
            log_scale.exp() * dot(&images[i * width..][..width], &texts[j * width..][..width])
        };
        let mut loss = 0.0;
        for i in 0..batch {
            let rows: f64 = (0..batch).map(|j| logit(i, j).exp()).sum();
            let columns: f64 = (0..batch).map(|j| logit(j, i).exp()).sum();
            loss += rows.ln() + columns.ln() - 2.0 * logit(i, i);
        }
        loss / (2.0 * batch as f64)
    }

    #[test]
    fn the_loss_is_its_formula_and_the_gradients_its_differences() {
        let (batch, width, log_scale) = (7, 5, 1.3);
        let (images, texts) = (unit_rows(batch, width, 0.71), unit_rows(batch, width, 1.37));
        let found = contrast(&images, &texts, width, log_scale);
        assert!((found.loss - formula(&images, &texts, width, log_scale)).abs() < 1e-12);
        let step = 1e-5;
        let difference = |change: &dyn Fn(f64) -> f64| (change(step) - change(-step)) / (2.0 * step);
        for index in 0..batch * width {
            let by_image = difference(&|by| {
                let mut images = images.clone();
                images[index] += by;
                formula(&images, &texts, width, log_scale)
            });
            assert!((by_image - found.d_images[index]).abs() < 1e-9, "image number {index}");
            let by_text = difference(&|by| {
                let mut texts = texts.clone();
                texts[index] += by;
                formula(&images, &texts, width, log_scale)
            });
            assert!((by_text - found.d_texts[index]).abs() < 1e-9, "text number {index}");
        }
        let by_scale = difference(&|by| formula(&images, &texts, width, log_scale + by));
        assert!((by_scale - found.d_log_scale).abs() < 1e-9);
    }

    #[test]
    fn blocks_give_what_the_whole_gives() {
        let (batch, width) = (1100, 6);
        let (images, texts) = (unit_rows(batch, width, 0.71), unit_rows(batch, width, 1.37));
        let whole = contrast_in_blocks(&images, &texts, width, 2.0, batch);
        for block in [1, 300, 512] {
            let parts = contrast_in_blocks(&images, &texts, width, 2.0, block);
            assert!((whole.loss - parts.loss).abs() < 1e-11);
            assert!((whole.d_log_scale - parts.d_log_scale).abs() < 1e-11);
            for (a, b) in
                whole.d_images.iter().chain(&whole.d_texts).zip(parts.d_images.iter().chain(&parts.d_texts))
            {
                assert!((a - b).abs() < 1e-13);
            }
        }
    }

    /// At scale 100 e^l overflows single precision; the loss must not.
    #[test]
    fn the_largest_temperature_stays_finite() {
        let (batch, width) = (64, 16);
        let images: Vec<f32> = unit_rows(batch, width, 0.71).iter().map(|&x| x as f32).collect();
        let same = contrast(&images, &images, width, 100f32.ln());
        assert!(same.loss.is_finite() && same.loss >= -1e-5, "{}", same.loss);
        let opposite: Vec<f32> = images.iter().map(|x| -x).collect();
        let apart = contrast(&images, &opposite, width, 100f32.ln());
        assert!(apart.loss > 90.0 && apart.d_images.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn a_feature_that_is_not_a_number_shows_in_the_loss() {
        let mut images: Vec<f32> = unit_rows(4, 4, 0.71).iter().map(|&x| x as f32).collect();
        let texts = images.clone();
        images[5] = f32::NAN;
        assert!(contrast(&images, &texts, 4, 1.0).loss.is_nan());
    }
}
