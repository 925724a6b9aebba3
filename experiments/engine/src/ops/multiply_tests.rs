//! Packing and products at every level that the processor has, against sums written out.

use super::level::Level;
use super::multiply::{Depth, Epilogue, Left, Right, multiply};
use super::pack::{
    self, Element, LeftLayout, Source, groups_of, interleave, left_len, packed_len, transpose,
};
use super::stored::{Bf16, Stored};
use super::tile::COLUMNS;
use candle_core::WithDType;

/// Keeps the product, with a border that must stay as it is.
struct Whole<R> {
    out: Vec<R>,
    stride: usize,
}

impl<R: Copy> Epilogue<R> for Whole<R> {
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[R]) {
        self.out[row * self.stride + column..][..values.len()].copy_from_slice(values);
    }
}

fn wave<S: Stored>(count: usize, step: f64) -> Vec<S> {
    (0..count).map(|index| S::narrow(S::Real::from_f64((index as f64 * step + 0.3).sin()))).collect()
}

fn value<S: Stored>(x: S) -> f64 {
    x.widen().to_f64()
}

const SIZES: [(usize, usize, usize); 15] = [
    (1, 1, 2),
    (3, 5, 4),
    (12, 32, 64),
    (13, 33, 34),
    (25, 16, 62),
    (11, 17, 30),
    (40, 70, 130),
    (7, 100, 2),
    (30, 48, 66),
    // Whole matrix registers, and rows and columns beyond them.
    (16, 16, 32),
    (17, 20, 46),
    (31, 33, 64),
    (32, 64, 96),
    (33, 40, 128),
    (70, 70, 40),
];

/// `rows`, `columns`, `depth` at one level: the left operand as it lies and packed, the right one packed from
/// rows and from columns, in one segment and in two.
fn check<S: Stored>(level: Level, (rows, columns, depth): (usize, usize, usize), bound: f64) {
    let a = wave::<S>(rows * (depth + 2), 0.7);
    let b = wave::<S>(depth * columns, 1.3);
    let expected = |i: usize, j: usize| -> f64 {
        (0..depth).map(|k| value(a[i * (depth + 2) + k]) * value(b[k * columns + j])).sum()
    };
    let whole = Depth::whole::<S>(depth);
    let mut right = vec![S::default(); packed_len(columns, COLUMNS, whole.groups, S::GROUP)];
    interleave::<_, _, COLUMNS>(level, Source::new(&b, depth, columns, columns), whole.groups, &mut right);
    let turned: Vec<S> = (0..columns * depth).map(|i| b[i % depth * columns + i / depth]).collect();
    let mut from_columns = vec![S::default(); right.len()];
    transpose(level, Source::new(&turned, columns, depth, depth), whole.groups, &mut from_columns);
    assert_eq!(
        right.iter().map(|&x| value(x)).collect::<Vec<_>>(),
        from_columns.iter().map(|&x| value(x)).collect::<Vec<_>>()
    );

    let a_turned: Vec<S> = (0..depth * rows).map(|i| a[i % rows * (depth + 2) + i / rows]).collect();
    let padded = Depth::padded::<S>(level, depth);
    let mut left = vec![S::default(); left_len::<S>(level, rows, padded.groups)];
    pack::left(level, Source::new(&a_turned, depth, rows, rows), padded.groups, &mut left);
    let mut padded_right = vec![S::default(); packed_len(columns, COLUMNS, padded.groups, S::GROUP)];
    let source = Source::new(&b, depth, columns, columns);
    interleave::<_, _, COLUMNS>(level, source, padded.groups, &mut padded_right);

    // Two segments: the first of 16 numbers of the depth, the second of the rest.
    let first = 16.min(depth / S::GROUP * S::GROUP);
    let parts = [0..first, first..depth];
    let groups = parts.iter().map(|part| groups_of::<S>(level, part.len())).max().expect("two");
    let cut = Depth { segments: 2, groups, last_groups: groups_of::<S>(level, depth - first) };
    let (mut cut_left, mut cut_right) = (Vec::new(), Vec::new());
    for part in parts {
        let mut segment = vec![S::default(); left_len::<S>(level, rows, groups)];
        let source = Source::new(&a_turned[part.start * rows..part.end * rows], part.len(), rows, rows);
        pack::left(level, source, groups, &mut segment);
        cut_left.extend(segment);
        let mut segment = vec![S::default(); packed_len(columns, COLUMNS, groups, S::GROUP)];
        let source = Source::new(&b[part.start * columns..part.end * columns], part.len(), columns, columns);
        interleave::<_, _, COLUMNS>(level, source, groups, &mut segment);
        cut_right.extend(segment);
    }
    let mut operands = vec![
        (Left::rows(&a, rows, depth, depth + 2), Right::packed(&right, columns, whole)),
        (Left::packed(level, &left, rows, padded), Right::packed(&padded_right, columns, padded)),
    ];
    // The first segment must be a full one.
    if groups_of::<S>(level, first) == groups {
        operands.push((Left::packed(level, &cut_left, rows, cut), Right::packed(&cut_right, columns, cut)));
    }
    for (way, (left, right)) in operands.into_iter().enumerate() {
        let stride = columns + 3;
        let mut found = Whole { out: vec![S::Real::from_f64(99.0); rows * stride], stride };
        multiply(level, left, 0..rows, right, &mut found);
        for i in 0..rows {
            for j in 0..columns {
                let (found, expected) = (found.out[i * stride + j].to_f64(), expected(i, j));
                let error = (found - expected).abs();
                assert!(
                    error < bound * (depth as f64).sqrt(),
                    "{level:?} way {way}, {i} {j}: {found} is not {expected}"
                );
            }
            assert!(found.out[i * stride + columns..][..3].iter().all(|x| x.to_f64() == 99.0), "beyond");
        }
    }
}

#[test]
fn products_are_sums_of_products_at_every_level() {
    for level in Level::possible() {
        for size in SIZES {
            check::<f64>(level, size, 1e-13);
            check::<f32>(level, size, 1e-5);
            check::<Bf16>(level, size, 1e-5);
        }
    }
}

#[test]
fn odd_depths_are_filled_up_with_zeros() {
    for level in Level::possible() {
        let (rows, columns, depth) = (5, 19, 7);
        let a: Vec<Bf16> = wave(depth * rows, 0.7);
        let b: Vec<Bf16> = wave(depth * columns, 1.3);
        let whole = Depth::whole::<Bf16>(depth);
        // What was there before must not matter, not even where it is not a number.
        let mut left = vec![Bf16(0x7fc0); left_len::<Bf16>(level, rows, whole.groups)];
        pack::left(level, Source::new(&a, depth, rows, rows), whole.groups, &mut left);
        let mut right = vec![Bf16(0x7fc0); packed_len(columns, COLUMNS, whole.groups, 2)];
        interleave::<_, _, COLUMNS>(
            level,
            Source::new(&b, depth, columns, columns),
            whole.groups,
            &mut right,
        );
        let mut found = Whole { out: vec![0f32; rows * columns], stride: columns };
        let (left, right) = (Left::packed(level, &left, rows, whole), Right::packed(&right, columns, whole));
        multiply(level, left, 0..rows, right, &mut found);
        for i in 0..rows {
            for j in 0..columns {
                let sum: f64 = (0..depth).map(|k| value(a[k * rows + i]) * value(b[k * columns + j])).sum();
                assert!((f64::from(found.out[i * columns + j]) - sum).abs() < 1e-5);
            }
        }
    }
}

/// Weights are rounded while they are packed: the same as rounding them first, at every level.
#[test]
fn packing_rounds_as_narrowing_does() {
    let (rows, columns) = (37, 50);
    let weights: Vec<f32> = wave::<f32>(rows * columns, 0.37);
    let rounded: Vec<Bf16> = weights.iter().map(|&x| Element::<Bf16>::stored(x)).collect();
    for level in Level::possible() {
        let mut packed = [(); 4].map(|()| Vec::new());
        packed[0] = vec![Bf16(1); packed_len(columns, COLUMNS, 19, 2)];
        packed[1] = packed[0].clone();
        packed[2] = vec![Bf16(1); packed_len(rows, COLUMNS, 25, 2)];
        packed[3] = packed[2].clone();
        let [a, b, c, d] = &mut packed;
        interleave::<_, _, COLUMNS>(level, Source::new(&weights, rows, columns, columns), 19, a);
        interleave::<_, _, COLUMNS>(level, Source::new(&rounded, rows, columns, columns), 19, b);
        transpose(level, Source::new(&weights, rows, columns, columns), 25, c);
        transpose(level, Source::new(&rounded, rows, columns, columns), 25, d);
        assert_eq!(packed[0], packed[1]);
        assert_eq!(packed[2], packed[3]);
    }
}

/// Every level lays operands out as the formulas read, from bf16 and from `f32`, with zeros beyond.
#[test]
fn packing_is_its_formula_at_every_level() {
    for (rows, columns) in [(1, 1), (7, 12), (37, 50), (32, 64), (65, 33)] {
        let numbers: Vec<f32> = wave::<f32>(rows * (columns + 3), 0.37);
        let rounded: Vec<Bf16> = numbers.iter().map(|&x| Bf16::narrow(x)).collect();
        let at = |row: usize, column: usize| {
            if row < rows && column < columns { rounded[row * (columns + 3) + column] } else { Bf16(0) }
        };
        for level in Level::possible() {
            packing_of(level, Source::new(&numbers, rows, columns, columns + 3), (rows, columns), at);
            packing_of(level, Source::new(&rounded, rows, columns, columns + 3), (rows, columns), at);
        }
    }
}

fn packing_of<E: Element<Bf16>>(
    level: Level,
    source: Source<'_, E>,
    (rows, columns): (usize, usize),
    at: impl Fn(usize, usize) -> Bf16,
) {
    // A group more than there are numbers for.
    let groups = groups_of::<Bf16>(level, rows) + 1;
    let mut out = vec![Bf16(1); packed_len(columns, COLUMNS, groups, 2)];
    interleave::<_, _, COLUMNS>(level, source, groups, &mut out);
    for (index, &found) in out.iter().enumerate() {
        let (panel, group) = (index / (64 * groups), index / 64 % groups);
        let (column, part) = (index / 2 % 32, index % 2);
        assert_eq!(found, at(2 * group + part, 32 * panel + column), "{level:?} right {index}");
    }
    let mut out = vec![Bf16(1); left_len::<Bf16>(level, columns, groups)];
    pack::left(level, source, groups, &mut out);
    for (index, &found) in out.iter().enumerate() {
        let stride = pack::row_stride::<Bf16>(2 * groups);
        let (row, column) = match LeftLayout::of::<Bf16>(level) {
            // What fills a row up to the stride is of no meaning.
            LeftLayout::Rows if index % stride >= 2 * groups => continue,
            LeftLayout::Rows => (index % stride, index / stride),
            LeftLayout::Panels => {
                let (panel, group) = (index / (24 * groups), index / 24 % groups);
                (2 * group + index % 2, 12 * panel + index / 2 % 12)
            }
        };
        assert_eq!(found, at(row, column), "{level:?} left {index}");
    }
    let groups = groups_of::<Bf16>(level, columns) + 1;
    let mut out = vec![Bf16(1); packed_len(rows, COLUMNS, groups, 2)];
    transpose(level, source, groups, &mut out);
    for (index, &found) in out.iter().enumerate() {
        let (panel, group) = (index / (64 * groups), index / 64 % groups);
        let (row, part) = (index / 2 % 32, index % 2);
        assert_eq!(found, at(32 * panel + row, 2 * group + part), "{level:?} transposed {index}");
    }
}
