//! Passes over numbers outside the towers' blocks: pooling, the last norms, the loss, the optimiser.

use super::{Cost, EXPONENTIAL, Rates};
use crate::ema::towards;
use crate::gradients::sum_of_squares;
use crate::loss::{add_columns, contrast, gradient_of_row, log_sum_exp};
use crate::ops::stored::{Bf16, Stored};
use crate::ops::{Pooling, Sequences, add_to, norm_rows, norm_rows_backward};
use crate::optimizer::{Factors, decay, update};

/// Numbers of a pass over parameters: more than a cache of a core holds.
const PARAMETERS: usize = 8 << 20;

pub(super) fn rates(rates: &mut Rates) {
    pooling(rates);
    norms(rates);
    loss(rates);
    parameters(rates);
}

/// Shape a's image tower: 128 samples of 17 tokens.
fn pooling(rates: &mut Rates) {
    let (sequences, width) = (Sequences { samples: 128, tokens: 17 }, 384);
    let mut x = vec![0.5f32; sequences.samples * sequences.tokens * width];
    let count = x.len();
    rates.add("mean of 128 x 16 tokens x 384", Cost::pass(count, 1, 4), || {
        std::hint::black_box(Pooling::MeanOfPatches.forward(&x, sequences, width));
    });
    let gradient = vec![0.5f32; sequences.samples * width];
    rates.add("mean, backward 128 x 16 tokens x 384", Cost::pass(count, 1, 4), || {
        Pooling::MeanOfPatches.backward(&gradient, sequences, width, &mut x);
    });
}

/// The norm after the last block, of the tokens that stand for a sample.
fn norms(rates: &mut Rates) {
    let (rows, width) = (128, 384);
    let x: Vec<f32> = (0..rows * width).map(|index| (index as f32).sin()).collect();
    let (weight, bias, mut y) = (vec![0.5f32; width], vec![0.1f32; width], vec![0f32; rows * width]);
    rates.add("norm f32 128 x 384", Cost::pass(rows * width, 8, 8), || {
        norm_rows(&x, &weight, &bias, &mut y);
    });
    let (mut sums, mut room) = (vec![0f32; 2 * width], vec![0f32; width]);
    let dy = vec![1e-3f32; rows * width];
    rates.add("norm f32, backward 128 x 384", Cost::pass(rows * width, 18, 12), || {
        norm_rows_backward(&x, &weight, &dy, &mut y, &mut sums, &mut room);
    });
}

/// The loss of 128 and of 1,024 pairs, and its passes over 128 x 128 logits.
fn loss(rates: &mut Rates) {
    let width = 384;
    for (batch, products) in [(128, 3), (1024, 4)] {
        let rows = |step: f32| -> Vec<f32> {
            let factor = (2.0 / width as f32).sqrt();
            (0..batch * width).map(|index| (index as f32 * step).sin() * factor).collect()
        };
        let (images, texts) = (rows(0.71), rows(1.37));
        // The logits, again where there are several blocks of them, and two gradients.
        let cost = Cost::single(products * 2 * batch * batch * width, 16 * batch * width);
        rates.add(format!("loss and gradients {batch} x {width}"), cost, || {
            std::hint::black_box(contrast(&images, &texts, width, 2.6f32).loss);
        });
    }
    let batch = 128;
    let mut logits: Vec<f32> = (0..batch * batch).map(|index| (index as f32).sin()).collect();
    let cost = |operations: usize, bytes: usize| {
        Cost::pass(batch * batch, operations, bytes).held(4 * batch * batch)
    };
    rates.add("loss: sums of rows 128 x 128", cost(EXPONENTIAL + 3, 4), || {
        for row in logits.chunks_exact(batch) {
            std::hint::black_box(log_sum_exp(row));
        }
    });
    let (mut highest, mut sums) = (vec![-1f32; batch], vec![0f32; batch]);
    rates.add("loss: sums of columns 128 x 128", cost(EXPONENTIAL + 3, 4), || {
        add_columns(&logits, batch, 0, &mut highest, &mut sums);
        sums.fill(0.0);
    });
    let of_columns = vec![5f32; batch];
    rates.add("loss: gradient 128 x 128", cost(4 * EXPONENTIAL + 10, 8), || {
        for (index, row) in logits.chunks_exact_mut(batch).enumerate() {
            std::hint::black_box(gradient_of_row(row, 5.0, &of_columns, index));
        }
    });
}

fn parameters(rates: &mut Rates) {
    let count = PARAMETERS;
    let mut numbers = [(); 3].map(|()| vec![0.1f32; count]);
    let gradient = vec![Bf16::narrow(0.1); count];
    let [p, m, v] = &mut numbers;
    rates.add(format!("squares, bf16 {count}"), Cost::pass(count, 7, 2), || {
        std::hint::black_box(sum_of_squares(&gradient));
    });
    rates.add(format!("squares, f32 {count}"), Cost::pass(count, 6, 4), || {
        std::hint::black_box(sum_of_squares(m));
    });
    let by =
        Factors { gradient: 1.0, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, keep: 1.0, rate: 1e-4, second: 1.0 };
    rates.add(format!("optimiser {count}"), Cost::pass(count, 16, 26), || {
        update::<Bf16>(p, m, v, &gradient, by);
    });
    rates.add(format!("decay alone {count}"), Cost::pass(count, 1, 8), || decay(p, 0.999_999));
    rates.add(format!("running mean {count}"), Cost::pass(count, 3, 12), || towards(v, p, 0.01));
    rates.add(format!("sum of two {count}"), Cost::pass(count, 1, 12), || add_to(v, m));
}
