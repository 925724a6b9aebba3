//! A block's way back.

use rayon::prelude::*;

use super::epilogues::{Add, GeluBackward, Store, StoreReal};
use super::norm::{Renormalised, normalise_backward, round_and_sum, scale_of, sum_columns};
use super::quick_gelu::QuickGeluBackward;
use super::slab::{KeptSlab, Rooms};
use super::weights::{FC, Held, OUT, PROJ, Packed, QKV, WeightGradient, Weights, shapes};
use super::{Buffers, Gradients, Kept, Work};
use crate::error::Result;
use crate::ops::add_to;
use crate::ops::multiply::{Depth, Left, Right, multiply};
use crate::ops::pack::{self, Source, groups_of, interleave, left_len, packed_len};
use crate::ops::stored::Stored;
use crate::ops::tile::{COLUMNS, ROWS};
use crate::real::Real;

/// Rows of a weight's gradient that one task computes: a few tiles, whose operand stays in the second-level
/// cache. Matrix registers want more: a task reads all of the right operand.
pub(super) fn gradient_rows<S: Stored>(work: &Work) -> usize {
    if S::in_matrix_registers(work.level) { 256 } else { 4 * ROWS }
}

/// Both operands of the four weights' gradients dyᵀ x, packed, one segment a slab. Used again from block to
/// block.
pub(super) struct Operands<S> {
    /// Gradients of the matrices' results: left operands.
    left: [Vec<S>; 4],
    /// The matrices' inputs: right operands.
    right: [Vec<S>; 4],
    depth: Depth,
}

impl<S: Stored> Operands<S> {
    pub(super) fn take(work: &Work, buffers: &Buffers<S>) -> Self {
        let slabs = work.slabs();
        let groups = groups_of::<S>(work.level, work.slab_rows());
        let last_groups = groups_of::<S>(work.level, work.slab_range(slabs - 1).len());
        Self {
            left: shapes(work).map(|(rows, _)| buffers.take(slabs * left_len::<S>(work.level, rows, groups))),
            right: shapes(work)
                .map(|(_, columns)| buffers.take(slabs * packed_len(columns, COLUMNS, groups, S::GROUP))),
            depth: Depth { segments: slabs, groups, last_groups },
        }
    }

    pub(super) fn give(self, buffers: &Buffers<S>) {
        self.left.into_iter().chain(self.right).for_each(|buffer| buffers.give(buffer));
    }
}

/// A slab's segment of the operands.
struct Segment<'a, S> {
    left: [&'a mut [S]; 4],
    right: [&'a mut [S]; 4],
    groups: usize,
}

impl<S: Stored> Segment<'_, S> {
    fn keep_left(
        &mut self,
        work: &Work,
        matrix: usize,
        rows: &[S],
        count: usize,
        columns: usize,
        stride: usize,
    ) {
        let source = Source::new(rows, count, columns, stride);
        pack::left(work.level, source, self.groups, self.left[matrix]);
    }

    fn keep_right(
        &mut self,
        work: &Work,
        matrix: usize,
        rows: &[S],
        count: usize,
        columns: usize,
        stride: usize,
    ) {
        let source = Source::new(rows, count, columns, stride);
        interleave::<_, _, COLUMNS>(work.level, source, self.groups, self.right[matrix]);
    }
}

/// Sums over a slab's rows: the gradients of the four biases and of the two norms.
struct Sums<R> {
    biases: [Vec<R>; 4],
    norms: [Vec<R>; 2],
}

impl<R: Real> Sums<R> {
    fn new(work: &Work) -> Self {
        let zeros = |count: usize| vec![R::ZERO; count];
        Self {
            biases: shapes(work).map(|(rows, _)| zeros(rows)),
            norms: [(); 2].map(|()| zeros(2 * work.tower.width)),
        }
    }
}

/// Takes `dx`, the gradient of a block's result, to that of its input, and adds to the block's gradients.
#[allow(clippy::too_many_arguments)]
pub(super) fn block<S: Stored>(
    work: &Work,
    held: &Held<'_>,
    packed: &Packed<S>,
    buffers: &Buffers<S>,
    dx: &mut [S::Real],
    kept: &mut Kept<S>,
    operands: &mut Operands<S>,
    gradients: &mut Gradients<S>,
) -> Result<()> {
    let weights = held.weights::<S::Real>()?;
    let size = work.slab_rows() * work.tower.width;
    let depth = operands.depth;
    let mut left = operands.left.each_mut().map(|all| chunks(all, depth.segments));
    let mut right = operands.right.each_mut().map(|all| chunks(all, depth.segments));
    let slabs: Vec<_> = dx
        .chunks_mut(size)
        .zip(kept.slabs(work))
        .map(|(dx, kept)| {
            // As many chunks as segments, and as many segments as slabs.
            let left = left.each_mut().map(|chunks| chunks.next().unwrap_or_default());
            let right = right.each_mut().map(|chunks| chunks.next().unwrap_or_default());
            (dx, kept, Segment { left, right, groups: depth.groups })
        })
        .collect();
    let sums: Vec<Sums<S::Real>> = slabs
        .into_par_iter()
        .with_max_len(1)
        .map(|(dx, kept, mut segment)| {
            let mut sums = Sums::new(work);
            let mut rooms = buffers.rooms(work);
            slab(work, &weights, packed, dx, &kept, &mut segment, &mut sums, &mut rooms);
            buffers.give_rooms(rooms);
            sums
        })
        .collect();
    // First to last, whoever computed them.
    for sums in &sums {
        for (total, sum) in gradients.biases.iter_mut().zip(&sums.biases) {
            add_to(total, sum);
        }
        for ([weight, bias], sum) in gradients.norms.iter_mut().zip(&sums.norms) {
            add_to(weight, &sum[..work.tower.width]);
            add_to(bias, &sum[work.tower.width..]);
        }
    }
    weight_gradients(work, operands, gradients);
    Ok(())
}

/// Equal parts.
pub(super) fn chunks<S>(all: &mut [S], parts: usize) -> std::slice::ChunksExactMut<'_, S> {
    let size = all.len() / parts;
    all.chunks_exact_mut(size)
}

#[allow(clippy::too_many_arguments)]
fn slab<S: Stored>(
    work: &Work,
    weights: &Weights<'_, S::Real>,
    packed: &Packed<S>,
    dx: &mut [S::Real],
    kept: &KeptSlab<'_, S>,
    segment: &mut Segment<'_, S>,
    sums: &mut Sums<S::Real>,
    rooms: &mut Rooms<S>,
) {
    let (width, hidden) = (work.tower.width, work.tower.hidden);
    let rows = dx.len() / width;
    let level = work.level;
    let one = S::Real::ONE;
    let Rooms { normal, dy, width_stride, after, d_before, hidden_stride, d_qkv, qkv_stride, .. } = rooms;
    let (mixed, d_mixed) = (&mut rooms.mixed, &mut rooms.d_mixed);
    let (d_normal, head) = (&mut rooms.d_normal, &mut rooms.head);
    let (stride, hidden_stride, qkv_stride) = (*width_stride, *hidden_stride, *qkv_stride);

    // Back through the MLP.
    round_and_sum::<S>(dx, width, dy, stride, &mut sums.biases[PROJ]);
    let gelu = GeluBackward {
        before: kept.before,
        before_stride: hidden,
        after,
        gradient: d_before,
        stride: hidden_stride,
    };
    let left = Left::rows(dy, rows, width, stride);
    if work.tower.quick_gelu {
        multiply(level, left, 0..rows, packed.right(PROJ), &mut QuickGeluBackward(gelu));
    } else {
        let mut gelu = gelu;
        multiply(level, left, 0..rows, packed.right(PROJ), &mut gelu);
    }
    segment.keep_left(work, PROJ, dy, rows, width, stride);
    segment.keep_right(work, PROJ, after, rows, hidden, hidden_stride);
    sum_columns::<S>(d_before, rows, hidden_stride, &mut sums.biases[FC]);
    let mut to = StoreReal { factor: one, out: d_normal, stride: width };
    multiply(level, Left::rows(d_before, rows, hidden, hidden_stride), 0..rows, packed.right(FC), &mut to);
    segment.keep_left(work, FC, d_before, rows, hidden, hidden_stride);
    let (weight, bias) = scale_of(weights, 1);
    let norm = Renormalised {
        hat: kept.hats[1],
        scale: kept.scales[1],
        dy: d_normal,
        dx,
        sums: &mut sums.norms[1],
        out: normal,
        stride,
    };
    normalise_backward::<S>(weight, bias, norm);
    segment.keep_right(work, FC, normal, rows, width, stride);

    // Back through attention.
    round_and_sum::<S>(dx, width, dy, stride, &mut sums.biases[OUT]);
    let mut to = Store { bias: None, factor: one, out: d_mixed, stride };
    multiply(level, Left::rows(dy, rows, width, stride), 0..rows, packed.right(OUT), &mut to);
    segment.keep_left(work, OUT, dy, rows, width, stride);
    work.attend_backward(kept.qkv, (d_mixed, mixed, stride), (d_qkv, qkv_stride), head);
    segment.keep_right(work, OUT, mixed, rows, width, stride);
    sum_columns::<S>(d_qkv, rows, qkv_stride, &mut sums.biases[QKV]);
    let mut to = StoreReal { factor: one, out: d_normal, stride: width };
    multiply(level, Left::rows(d_qkv, rows, 3 * width, qkv_stride), 0..rows, packed.right(QKV), &mut to);
    segment.keep_left(work, QKV, d_qkv, rows, 3 * width, qkv_stride);
    let (weight, bias) = scale_of(weights, 0);
    let norm = Renormalised {
        hat: kept.hats[0],
        scale: kept.scales[0],
        dy: d_normal,
        dx,
        sums: &mut sums.norms[0],
        out: normal,
        stride,
    };
    normalise_backward::<S>(weight, bias, norm);
    segment.keep_right(work, QKV, normal, rows, width, stride);
}

/// Some rows of a weight's gradient.
enum Part<'a, S: Stored> {
    Once(&'a mut [S]),
    Sum(&'a mut [S::Real]),
}

/// The four products dyᵀ x over all rows.
fn weight_gradients<S: Stored>(work: &Work, operands: &Operands<S>, gradients: &mut Gradients<S>) {
    let mut tasks = Vec::new();
    let of_task = gradient_rows::<S>(work);
    for (matrix, (gradient, (rows, columns))) in gradients.matrices.iter_mut().zip(shapes(work)).enumerate() {
        let size = of_task * columns;
        let parts: Vec<Part<'_, S>> = match gradient {
            WeightGradient::Once(all) => all.chunks_mut(size).map(Part::Once).collect(),
            WeightGradient::Sum(all) => all.chunks_mut(size).map(Part::Sum).collect(),
        };
        let numbered = parts.into_iter().enumerate();
        tasks.extend(numbered.map(|(index, part)| (matrix, rows, columns, index * of_task, part)));
    }
    tasks.into_par_iter().with_max_len(1).for_each(|(matrix, rows, columns, first, part)| {
        let left = Left::packed(work.level, &operands.left[matrix], rows, operands.depth);
        let right = Right::packed(&operands.right[matrix], columns, operands.depth);
        let range = first..rows.min(first + of_task);
        match part {
            Part::Once(out) => {
                let to = Store { bias: None, factor: S::Real::ONE, out, stride: columns };
                multiply(work.level, left, range, right, &mut From { first, to });
            }
            Part::Sum(out) => {
                let to = Add { bias: None, out, stride: columns };
                multiply(work.level, left, range, right, &mut From { first, to });
            }
        }
    });
}

/// An epilogue whose first row is another than the product's.
pub(super) struct From<E> {
    pub(super) first: usize,
    pub(super) to: E,
}

impl<R, E: crate::ops::multiply::Epilogue<R>> crate::ops::multiply::Epilogue<R> for From<E> {
    #[inline(always)]
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[R]) {
        self.to.row::<FUSED>(row - self.first, column, values);
    }
}
