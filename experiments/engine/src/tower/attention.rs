//! Multi-head softmax attention of the samples of a slab.
//!
//! Forward 4 n FLOPs of products for each number of a row, n the tokens, and 37 vector operations of the softmax for each
//! score; backward 12 n and 48. With heads of 64 numbers that is 256 FLOPs a score beside the softmax: bound by vector
//! operations, and where a sample has few tokens by packing and the loops' ends.

use super::Work;
use super::epilogues::{Store, StoreReal};
use super::norm::{softmax, softmax_backward};
use crate::ops::level::Level;
use crate::ops::multiply::{Depth, Left, Right, multiply};
use crate::ops::pack::{self, Source, groups_of, interleave, left_len, packed_len, transpose};
use crate::ops::stored::Stored;
use crate::ops::tile::{COLUMNS, MATRIX_ROWS};
use crate::real::Real;

/// Room for one head's intermediate results.
#[derive(Debug)]
pub(super) struct HeadRoom<S: Stored> {
    /// Numbers from a row of a square of tokens to the next.
    stride: usize,
    /// A packed operand: the largest of those that a head needs.
    packed: Vec<S>,
    scores: Vec<S::Real>,
    d_scores: Vec<S::Real>,
    /// Probabilities as an operand, then the gradient of the scores.
    square: Vec<S>,
    left: Vec<S>,
}

impl<S: Stored> HeadRoom<S> {
    pub(super) fn new(work: &Work) -> Self {
        let (tokens, head) = (work.tokens, work.head_width());
        let stride = tokens.next_multiple_of(COLUMNS);
        let level = work.attention_level();
        let groups = |n: usize| groups_of::<S>(level, n);
        let by_token = packed_len(head, COLUMNS, groups(tokens), S::GROUP);
        let by_head = packed_len(tokens, COLUMNS, groups(head), S::GROUP);
        let left = left_len::<S>(level, tokens, groups(tokens));
        Self {
            stride,
            packed: vec![S::default(); by_token.max(by_head)],
            scores: vec![S::Real::ZERO; tokens * stride],
            d_scores: vec![S::Real::ZERO; tokens * stride],
            square: vec![S::default(); tokens * stride],
            left: vec![S::default(); left],
        }
    }
}

/// One head of one sample: rows of (tokens, head width), `stride` apart.
#[derive(Clone, Copy)]
struct Head<'a, S> {
    data: &'a [S],
    stride: usize,
}

impl Work {
    /// The level of attention's products. Matrix registers need as many rows as they have, and heads of whole registers:
    /// beyond a head's numbers lie another head's.
    fn attention_level(&self) -> Level {
        let whole = self.head_width().is_multiple_of(2 * pack::MATRIX_GROUPS);
        if self.tokens < MATRIX_ROWS || !whole { self.level.min(Level::Avx512Bf16) } else { self.level }
    }

    pub(super) fn head_width(&self) -> usize {
        self.tower.width / self.tower.heads
    }

    /// 1 / √(head width), what the scores are multiplied with.
    fn score_factor<R: Real>(&self) -> R {
        R::from_f64(1.0 / (self.head_width() as f64).sqrt())
    }

    fn rows_of<'a, S: Stored>(&self, head: Head<'a, S>) -> Left<'a, S> {
        Left::rows(head.data, self.tokens, self.head_width(), head.stride)
    }

    /// The head as a right operand with the head's width as depth: for A Bᵀ.
    fn across<'a, S: Stored>(&self, head: Head<'_, S>, room: &'a mut [S]) -> Right<'a, S> {
        let depth = Depth::padded::<S>(self.attention_level(), self.head_width());
        let used = packed_len(self.tokens, COLUMNS, depth.groups, S::GROUP);
        let source = Source::new(head.data, self.tokens, self.head_width(), head.stride);
        transpose(self.attention_level(), source, depth.groups, &mut room[..used]);
        Right::packed(&room[..used], self.tokens, depth)
    }

    /// The head as a right operand with the tokens as depth: for A B.
    fn along<'a, S: Stored>(&self, head: Head<'_, S>, room: &'a mut [S]) -> Right<'a, S> {
        let depth = Depth::padded::<S>(self.attention_level(), self.tokens);
        let used = packed_len(self.head_width(), COLUMNS, depth.groups, S::GROUP);
        let source = Source::new(head.data, self.tokens, self.head_width(), head.stride);
        interleave::<_, _, COLUMNS>(self.attention_level(), source, depth.groups, &mut room[..used]);
        Right::packed(&room[..used], self.head_width(), depth)
    }

    /// The transpose of a square of tokens as a left operand.
    fn turned<'a, S: Stored>(&self, square: &[S], stride: usize, room: &'a mut [S]) -> Left<'a, S> {
        let depth = Depth::padded::<S>(self.attention_level(), self.tokens);
        let source = Source::new(square, self.tokens, self.tokens, stride);
        pack::left(self.attention_level(), source, depth.groups, room);
        Left::packed(self.attention_level(), room, self.tokens, depth)
    }

    /// The attention probabilities, in `room.scores` and rounded in `room.square`.
    fn probabilities<S: Stored>(&self, queries: Head<'_, S>, keys: Head<'_, S>, room: &mut HeadRoom<S>) {
        let level = self.attention_level();
        let right = self.across(keys, &mut room.packed);
        let factor = self.score_factor();
        let mut to = StoreReal { factor, out: &mut room.scores, stride: room.stride };
        multiply(level, self.rows_of(queries), 0..self.tokens, right, &mut to);
        softmax::<S>(&mut room.scores, self.tokens, room.stride, self.tower.causal, &mut room.square);
    }

    /// softmax(Q Kᵀ / √d) V in each head of each sample of a slab: from `qkv` (rows, 3 width) to `mixed`
    /// (rows, width), rows a stride apart. Bytes in bf16, those of the second-level cache: 6 read and 2 written a number
    /// of `mixed`.
    pub(super) fn attend<S: Stored>(
        &self,
        qkv: &[S],
        (mixed, stride): (&mut [S], usize),
        room: &mut HeadRoom<S>,
    ) {
        let (width, tokens, head_width) = (self.tower.width, self.tokens, self.head_width());
        let level = self.attention_level();
        let by_token = Depth::padded::<S>(level, tokens);
        for (qkv, mixed) in qkv.chunks_exact(tokens * 3 * width).zip(mixed.chunks_exact_mut(tokens * stride))
        {
            for head in 0..self.tower.heads {
                let start = head * head_width;
                let part = |part: usize| Head { data: &qkv[part * width + start..], stride: 3 * width };
                self.probabilities(part(0), part(1), room);
                let right = self.along(part(2), &mut room.packed);
                let left = Left::rows_of_depth(&room.square, tokens, by_token, room.stride);
                let mut to = Store { bias: None, factor: S::Real::ONE, out: &mut mixed[start..], stride };
                multiply(level, left, 0..tokens, right, &mut to);
            }
        }
    }

    /// The gradient of `qkv`, rows a stride apart, from that of `mixed`; and `mixed` once more, both with rows another
    /// stride apart.
    ///
    /// The probabilities are computed again rather than kept: memory does not grow with the square of the
    /// tokens. With P the probabilities and S the scores: dV = Pᵀ dO, dP = dO Vᵀ, dS = P (dP - sum(dP P)),
    /// dQ = dS K / √d, dK = dSᵀ Q / √d.
    pub(super) fn attend_backward<S: Stored>(
        &self,
        qkv: &[S],
        (d_mixed, mixed, stride): (&[S], &mut [S], usize),
        (d_qkv, d_stride): (&mut [S], usize),
        room: &mut HeadRoom<S>,
    ) {
        let (width, tokens, head_width) = (self.tower.width, self.tokens, self.head_width());
        let level = self.attention_level();
        let by_token = Depth::padded::<S>(level, tokens);
        let mixed = mixed.chunks_exact_mut(tokens * stride).zip(d_mixed.chunks_exact(tokens * stride));
        let samples = qkv.chunks_exact(tokens * 3 * width).zip(mixed);
        for ((qkv, (mixed, d_mixed)), d_qkv) in samples.zip(d_qkv.chunks_mut(tokens * d_stride)) {
            for head in 0..self.tower.heads {
                let start = head * head_width;
                let part = |part: usize| Head { data: &qkv[part * width + start..], stride: 3 * width };
                let dy = Head { data: &d_mixed[start..], stride };
                self.probabilities(part(0), part(1), room);
                let left = Left::rows_of_depth(&room.square, tokens, by_token, room.stride);
                let mut to = Store { bias: None, factor: S::Real::ONE, out: &mut mixed[start..], stride };
                multiply(level, left, 0..tokens, self.along(part(2), &mut room.packed), &mut to);
                let mut store = |number: usize, left: Left<'_, S>, right: Right<'_, S>| {
                    let out = &mut d_qkv[number * width + start..];
                    let mut to = Store { bias: None, factor: S::Real::ONE, out, stride: d_stride };
                    multiply(level, left, 0..tokens, right, &mut to);
                };
                let turned = self.turned(&room.square, room.stride, &mut room.left);
                store(2, turned, self.along(dy, &mut room.packed));

                let right = self.across(part(2), &mut room.packed);
                let mut to = StoreReal { factor: S::Real::ONE, out: &mut room.d_scores, stride: room.stride };
                multiply(level, self.rows_of(dy), 0..tokens, right, &mut to);
                let factor = self.score_factor();
                let (scores, d_scores) = (&room.scores, &room.d_scores);
                softmax_backward::<S>(scores, d_scores, tokens, room.stride, factor, &mut room.square);

                let left = Left::rows_of_depth(&room.square, tokens, by_token, room.stride);
                store(0, left, self.along(part(1), &mut room.packed));
                let turned = self.turned(&room.square, room.stride, &mut room.left);
                store(1, turned, self.along(part(0), &mut room.packed));
            }
        }
    }
}
