//! Products, and the packing of their operands.

use super::{Cost, ROUND, Rates};
use crate::ops::level::Level;
use crate::ops::multiply::{Depth, Epilogue, Left, Right, multiply};
use crate::ops::pack::{self, Source, groups_of, interleave, left_len, packed_len, row_stride, transpose};
use crate::ops::product::{Matrix, Target, Threads, product as plain_product};
use crate::ops::stored::{Bf16, Stored};
use crate::ops::tile::COLUMNS;

/// Keeps one number, so that nothing is optimised away.
struct Last(f32);

impl Epilogue<f32> for Last {
    #[inline(always)]
    fn row<const FUSED: bool>(&mut self, _: usize, _: usize, values: &[f32]) {
        self.0 = values[0];
    }
}

/// Hands a product of these rows, columns and depth to `measure`.
pub(super) fn product_calls<S: Stored<Real = f32>>(
    (rows, columns, depth): (usize, usize, usize),
    measure: impl FnOnce(&mut dyn FnMut()) -> f64,
) -> f64 {
    let stride = row_stride::<S>(depth);
    let left = vec![S::narrow(0.5); rows * stride];
    let right = vec![S::narrow(0.25); packed_len(columns, COLUMNS, depth / S::GROUP, S::GROUP)];
    measure(&mut || {
        let left = Left::rows(&left, rows, depth, stride);
        let right = Right::packed(&right, columns, Depth::whole::<S>(depth));
        let mut last = Last(0.0);
        multiply(Level::current(), left, 0..rows, right, &mut last);
        std::hint::black_box(last.0);
    })
}

fn product<S: Stored<Real = f32>>(
    rates: &mut Rates,
    label: &str,
    sizes: (usize, usize, usize),
    cost: fn(usize, usize) -> Cost,
) {
    let (rows, columns, depth) = sizes;
    let cost = cost(2 * rows * columns * depth, size_of::<S>() * (rows + columns) * depth);
    product_calls::<S>(sizes, |work| {
        rates.add(format!("{label} {rows} x {columns} x {depth}"), cost, work);
        0.0
    });
}

/// A weight's gradient as a block computes it: some rows of the left operand, both packed, a segment a slab.
fn gradient_product(rates: &mut Rates, (rows, columns): (usize, usize), slabs: usize) {
    let of_slab = 111usize;
    let level = Level::current();
    let groups = groups_of::<Bf16>(level, of_slab);
    let depth = Depth { segments: slabs, groups, last_groups: groups };
    let left = vec![Bf16::narrow(0.5); slabs * left_len::<Bf16>(level, rows, groups)];
    let right = vec![Bf16::narrow(0.25); slabs * packed_len(columns, COLUMNS, groups, 2)];
    let all = slabs * of_slab;
    let cost = Cost::bf16(2 * rows * columns * all, 2 * (rows + columns) * all);
    rates.add(format!("weight gradient {rows} x {columns} x {all}"), cost, || {
        let left = Left::packed(level, &left, rows, depth);
        let mut last = Last(0.0);
        multiply(Level::current(), left, 0..rows, Right::packed(&right, columns, depth), &mut last);
        std::hint::black_box(last.0);
    });
}

/// A product by the library that candle uses: those of the loss, whose operands are used once.
fn plain(rates: &mut Rates, (rows, columns, depth): (usize, usize, usize)) {
    let (a, b) = (vec![0.5f32; rows * depth], vec![0.25f32; columns * depth]);
    let mut out = vec![0f32; rows * columns];
    let cost =
        Cost::single(2 * rows * columns * depth, 4 * (rows * depth + columns * depth + rows * columns));
    rates.add(format!("product f32, not packed {rows} x {columns} x {depth}"), cost, || {
        let target = Target { data: &mut out, row_stride: columns };
        let (a, b) = (Matrix::new(&a, rows, depth), Matrix::new(&b, columns, depth).transposed());
        plain_product(target, false, 1.0, a, b, Threads::Pool);
    });
}

fn packing(rates: &mut Rates) {
    let level = Level::current();
    let (rows, columns) = (1536, 384);
    let weight = vec![0.5f32; rows * columns];
    let mut packed = vec![Bf16(0); packed_len(rows, COLUMNS, columns / 2, 2)];
    // One instruction rounds two registers where there is one for it; without, rounding is most of the work.
    let rounding = if level.multiplies_bf16() { 1 } else { ROUND };
    let cost = Cost::pass(rows * columns, rounding, 6);
    rates.add(format!("pack weight forward {rows} x {columns}"), cost, || {
        transpose(level, Source::new(&weight, rows, columns, columns), columns / 2, &mut packed);
    });
    rates.add(format!("pack weight backward {rows} x {columns}"), cost, || {
        let source = Source::new(&weight, rows, columns, columns);
        interleave::<_, _, COLUMNS>(level, source, rows / 2, &mut packed);
    });
    let slab = vec![Bf16(0); 120 * columns];
    let mut left = vec![Bf16(0); left_len::<Bf16>(level, columns, 64)];
    let cost = Cost::pass(120 * columns, 0, 4);
    rates.add(format!("pack gradients 120 x {columns}"), cost, || {
        pack::left(level, Source::new(&slab, 120, columns, columns), 64, &mut left);
    });
    let mut right = vec![Bf16(0); packed_len(columns, COLUMNS, 64, 2)];
    rates.add(format!("pack activations 120 x {columns}"), cost, || {
        interleave::<_, _, COLUMNS>(level, Source::new(&slab, 120, columns, columns), 64, &mut right);
    });
}

pub(super) fn rates(rates: &mut Rates) {
    for sizes in [
        (32, 32, 256),
        (128, 32, 256),
        (32, 512, 256),
        (32, 64, 768),
        (256, 768, 768),
        (256, 3072, 768),
        (96, 256, 512),
        (119, 1152, 384),
        (119, 384, 1536),
        (111, 768, 3072),
        (197, 3072, 768),
        (16, 64, 18),
    ] {
        product::<Bf16>(rates, "product bf16", sizes, Cost::bf16);
    }
    for sizes in [(96, 256, 512), (119, 384, 1536)] {
        product::<f32>(rates, "product f32", sizes, Cost::single);
    }
    for sizes in [(48, 768), (48, 3072)] {
        gradient_product(rates, sizes, 22);
    }
    plain(rates, (128, 128, 384));
    packing(rates);
}
