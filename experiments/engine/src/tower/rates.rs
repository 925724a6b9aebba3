//! Rates of the steps of a block and of what comes before the first one, at shapes a (width 384, images of 17 tokens,
//! captions of 8) and b (width 768, 37 tokens), bf16.

use super::attention::HeadRoom;
use super::epilogues::{Add, GeluBackward, Store, StoreGelu};
use super::norm::{
    Normalised, Renormalised, normalise, normalise_backward, round_and_sum, softmax, softmax_backward,
    sum_columns,
};
use super::quick_gelu::{QuickGeluBackward, StoreQuickGelu};
use super::{Buffers, Work};
use crate::kernel_rates::{Cost, EXPONENTIAL, ROUND, Rates};
use crate::measure::{RandomPairs, Shape};
use crate::ops::level::Level;
use crate::ops::multiply::{Depth, Epilogue, Left, Right, multiply};
use crate::ops::pack::{packed_len, row_stride};
use crate::ops::stored::{Bf16, Stored};
use crate::ops::tile::COLUMNS;
use crate::{text, vision};

/// Image and text tower of a shape at work.
fn works(shape: &Shape) -> [Work; 2] {
    let image_tokens = shape.architecture.vision_cfg.tokens_at(shape.image_size_px).0 as usize + 1;
    let towers = [
        (vision::tower(&shape.architecture), image_tokens),
        (text::tower(&shape.architecture), shape.text_tokens as usize),
    ];
    let (samples, level) = (shape.batch as usize, Level::current());
    towers.map(|(tower, tokens)| Work { tower, samples, tokens, level, recompute: false })
}

pub(crate) fn rates(rates: &mut Rates) {
    for name in ["a", "b"] {
        let Some(shape) = Shape::named(name) else { continue };
        let [image, text] = works(&shape);
        norms(rates, &image);
        rows(rates, &image);
        epilogues(rates, &image);
        for work in [&image, &text] {
            softmaxes(rates, work);
            attention(rates, work);
        }
        patches(rates, &shape, image);
    }
}

fn wave(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index as f32 * 0.37).sin()).collect()
}

fn halves(numbers: &[f32]) -> Vec<Bf16> {
    numbers.iter().map(|&x| Bf16::narrow(x)).collect()
}

/// A norm of a slab, and its way back.
fn norms(rates: &mut Rates, work: &Work) {
    let (rows, width) = (work.slab_rows(), work.tower.width);
    let count = rows * width;
    let (x, weight, bias) = (wave(count), wave(width), wave(width));
    let (mut hat, mut scale) = (vec![Bf16(0); count], vec![0f32; rows]);
    let (mut out, stride) = (vec![Bf16(0); count], width);
    rates.add(format!("norm {rows} x {width}"), Cost::pass(count, 9 + 2 * ROUND, 8), || {
        let to = Normalised { hat: &mut hat, scale: &mut scale, out: &mut out, stride };
        normalise::<Bf16>(&x, &weight, &bias, to);
    });
    let (dy, mut dx, mut sums) = (wave(count), vec![0f32; count], vec![0f32; 2 * width]);
    let cost = Cost::pass(count, 19 + ROUND, 16).held(12 * count);
    rates.add(format!("norm, backward {rows} x {width}"), cost, || {
        let by = Renormalised {
            hat: &hat,
            scale: &scale,
            dy: &dy,
            dx: &mut dx,
            sums: &mut sums,
            out: &mut out,
            stride,
        };
        normalise_backward::<Bf16>(&weight, &bias, by);
    });
}

/// The sums that are the biases' gradients.
fn rows(rates: &mut Rates, work: &Work) {
    let (rows, width, hidden) = (work.slab_rows(), work.tower.width, work.tower.hidden);
    let (x, mut out, mut sums) = (wave(rows * width), vec![Bf16(0); rows * width], vec![0f32; hidden]);
    rates.add(format!("round and sum {rows} x {width}"), Cost::pass(rows * width, 1 + ROUND, 6), || {
        round_and_sum::<Bf16>(&x, width, &mut out, width, &mut sums[..width]);
    });
    let x = halves(&wave(rows * hidden));
    rates.add(format!("sum of columns {rows} x {hidden}"), Cost::pass(rows * hidden, 2, 2), || {
        sum_columns::<Bf16>(&x, rows, hidden, &mut sums);
    });
}

/// An epilogue after a product of the smallest depth, which leaves little else to do. `operations` and `bytes` of each
/// number, besides the product's, whose tile is in the first-level cache.
fn epilogue(
    rates: &mut Rates,
    (label, rows, columns): (&str, usize, usize),
    (operations, bytes): (usize, usize),
    to: &mut impl Epilogue<f32>,
) {
    let depth = Depth::whole::<Bf16>(2);
    let left = vec![Bf16::narrow(0.5); 2 * rows];
    let right = vec![Bf16::narrow(0.25); packed_len(columns, COLUMNS, 1, 2)];
    let cost = Cost::pass(rows * columns, operations, bytes);
    rates.add(format!("epilogue {label} {rows} x {columns}"), cost, || {
        let left = Left::rows(&left, rows, 2, 2);
        multiply(Level::current(), left, 0..rows, Right::packed(&right, columns, depth), to);
    });
}

fn epilogues(rates: &mut Rates, work: &Work) {
    let (rows, width, hidden) = (work.slab_rows(), work.tower.width, work.tower.hidden);
    let (wide, bias) = (3 * width, wave(hidden));
    let (mut out, bias_of_qkv) = (vec![Bf16(0); rows * wide], Some(&bias[..wide]));
    let mut to = Store { bias: bias_of_qkv, factor: 1.0, out: &mut out, stride: wide };
    epilogue(rates, ("store", rows, wide), (1 + ROUND, 2), &mut to);
    let mut out = vec![0f32; rows * width];
    let mut to = Add { bias: Some(&bias[..width]), out: &mut out, stride: width };
    epilogue(rates, ("add", rows, width), (2, 8), &mut to);

    let (mut before, mut after) = (vec![Bf16(0); rows * hidden], vec![Bf16(0); rows * hidden]);
    let mut gradient = after.clone();
    let mut gelu = StoreGelu {
        bias: &bias,
        before: &mut before,
        before_stride: hidden,
        after: &mut after,
        after_stride: hidden,
    };
    epilogue(rates, ("GELU", rows, hidden), (16 + 2 * ROUND, 4), &mut gelu);
    let mut quick = StoreQuickGelu(gelu);
    epilogue(rates, ("QuickGELU", rows, hidden), (6 + EXPONENTIAL + 2 * ROUND, 4), &mut quick);
    let mut back = GeluBackward {
        before: &before,
        before_stride: hidden,
        after: &mut after,
        gradient: &mut gradient,
        stride: hidden,
    };
    epilogue(rates, ("GELU, backward", rows, hidden), (29 + 2 * ROUND, 6), &mut back);
    let cost = (10 + EXPONENTIAL + 2 * ROUND, 6);
    epilogue(rates, ("QuickGELU, backward", rows, hidden), cost, &mut QuickGeluBackward(back));
}

fn kind(work: &Work) -> &'static str {
    if work.tower.causal { "causal " } else { "" }
}

/// Vector operations of a softmax on one score, and of its way back.
const SOFTMAX: usize = 4 + EXPONENTIAL + ROUND;
const SOFTMAX_BACKWARD: usize = 5 + ROUND;

/// Scores of one head of one sample.
fn seen(work: &Work) -> usize {
    if work.tower.causal { work.tokens * (work.tokens + 1) / 2 } else { work.tokens * work.tokens }
}

/// The softmax of one head of one sample.
fn softmaxes(rates: &mut Rates, work: &Work) {
    let (tokens, stride) = (work.tokens, work.tokens.next_multiple_of(COLUMNS));
    let causal = work.tower.causal;
    let mut scores = wave(tokens * stride);
    let mut out = vec![Bf16(0); tokens * stride];
    let name = format!("{}softmax {tokens} x {tokens} of {}", kind(work), work.tower.width);
    rates.add(name, Cost::pass(seen(work), SOFTMAX, 10), || {
        softmax::<Bf16>(&mut scores, tokens, stride, causal, &mut out);
    });
    let gradient = wave(tokens * stride);
    let name = format!("{}softmax, backward {tokens} x {tokens} of {}", kind(work), work.tower.width);
    rates.add(name, Cost::pass(tokens * tokens, SOFTMAX_BACKWARD, 10), || {
        softmax_backward::<Bf16>(&scores, &gradient, tokens, stride, 0.125, &mut out);
    });
}

/// All heads of a slab: two products a head forward, six backward, of 2 n² FLOPs for each column.
fn attention(rates: &mut Rates, work: &Work) {
    let (rows, width, tokens) = (work.slab_rows(), work.tower.width, work.tokens);
    let qkv = halves(&wave(rows * 3 * width));
    let stride = row_stride::<Bf16>(width);
    let mut mixed = vec![Bf16(0); rows * stride];
    let mut room = HeadRoom::new(work);
    let size = format!("{} x {tokens} x {width}", rows / tokens);
    let heads = rows / tokens * work.tower.heads;
    let cost = Cost::bf16(4 * rows * tokens * width, 8 * rows * width).besides(heads * seen(work) * SOFTMAX);
    rates.add(format!("{}attention {size}", kind(work)), cost, || {
        work.attend(&qkv, (&mut mixed, stride), &mut room);
    });
    let (dy, mut d_qkv) = (halves(&wave(rows * stride)), vec![Bf16(0); rows * 3 * width]);
    let softmaxes = heads * (seen(work) * SOFTMAX + tokens * tokens * SOFTMAX_BACKWARD);
    let cost = Cost::bf16(12 * rows * tokens * width, 16 * rows * width).besides(softmaxes);
    rates.add(format!("{}attention, backward {size}", kind(work)), cost, || {
        work.attend_backward(&qkv, (&dy, &mut mixed, stride), (&mut d_qkv, 3 * width), &mut room);
    });
}

/// From pixels to tokens: cutting alone, a slab of tokens, and the gradient of the kernel over the batch.
fn patches(rates: &mut Rates, shape: &Shape, work: Work) {
    let pairs = RandomPairs::of(shape, 0);
    let input = pairs.input();
    let patches = vision::patches(&shape.architecture, work, input.images());
    let (width, numbers) = (work.tower.width, patches.numbers());
    let count = |rows: usize| rows / work.tokens * (work.tokens - 1);
    let mut out = vec![Bf16(0); count(work.rows()) * numbers];
    let name = format!("cut {} patches x {numbers}", count(work.rows()));
    rates.add(name, Cost::pass(out.len(), ROUND, 6), || patches.cut(0, numbers, &mut out));

    let rows = count(work.slab_rows());
    let groups = patches.groups::<Bf16>();
    let kernel = vec![Bf16::narrow(0.1); packed_len(width, COLUMNS, groups, 2)];
    let kernel = Right::packed(&kernel, width, Depth::padded::<Bf16>(work.level, numbers));
    let (class, table) = (wave(width), wave(work.tokens * width));
    let mut room = vec![Bf16(0); patches.room::<Bf16>()];
    let mut x = vec![0f32; work.slab_rows() * width];
    let bytes = 4 * (rows * numbers + x.len()) + 2 * width * numbers;
    let name = format!("tokens of patches {rows} x {width} x {numbers}");
    rates.add(name, Cost::bf16(2 * rows * width * numbers, bytes), || {
        patches.embed_slab(0, kernel, &class, &table, &mut room, &mut x);
    });

    let (rows, dx) = (count(work.rows()), wave(work.rows() * width));
    let bytes = 4 * (rows * numbers + dx.len() + width * numbers);
    let name = format!("kernel gradient {rows} x {width} x {numbers}");
    let buffers = Buffers::<Bf16>::default();
    rates.add(name, Cost::bf16(2 * rows * width * numbers, bytes), || {
        std::hint::black_box(patches.kernel_gradient(&buffers, &dx));
    });
}
