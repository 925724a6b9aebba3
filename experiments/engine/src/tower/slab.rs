//! A slab's way forward through a block.

use super::attention::HeadRoom;
use super::epilogues::{Add, Store, StoreGelu};
use super::norm::{Normalised, normalise, scale_of};
use super::quick_gelu::StoreQuickGelu;
use super::weights::{FC, OUT, PROJ, Packed, QKV, Weights};
use super::{Tower, Work};
use crate::ops::multiply::{Left, multiply};
use crate::ops::pack::row_stride;
use crate::ops::stored::Stored;
use crate::real::Real;

/// A slab's part of what a block keeps.
pub(super) struct KeptSlab<'a, S: Stored> {
    pub(super) hats: [&'a mut [S]; 2],
    pub(super) scales: [&'a mut [S::Real]; 2],
    pub(super) qkv: &'a mut [S],
    pub(super) before: &'a mut [S],
}

/// Room for a slab's intermediate results; a thread's own while it works on the slab.
#[derive(Debug)]
pub(crate) struct Rooms<S: Stored> {
    made_for: (Tower, usize, usize),
    /// Rows of `width` numbers, `width_stride` apart.
    pub(super) normal: Vec<S>,
    pub(super) dy: Vec<S>,
    /// What attention mixed, before its projection, and its gradient.
    pub(super) mixed: Vec<S>,
    pub(super) d_mixed: Vec<S>,
    pub(super) width_stride: usize,
    /// Rows of `hidden` numbers, `hidden_stride` apart.
    pub(super) after: Vec<S>,
    pub(super) d_before: Vec<S>,
    pub(super) hidden_stride: usize,
    /// Rows of 3 `width` numbers, `qkv_stride` apart.
    pub(super) d_qkv: Vec<S>,
    pub(super) qkv_stride: usize,
    /// (rows, width).
    pub(super) d_normal: Vec<S::Real>,
    pub(super) head: HeadRoom<S>,
}

impl<S: Stored> Rooms<S> {
    pub(super) fn new(work: &Work) -> Self {
        let (rows, width, hidden) = (work.slab_rows(), work.tower.width, work.tower.hidden);
        let (width_stride, hidden_stride, qkv_stride) =
            (row_stride::<S>(width), row_stride::<S>(hidden), row_stride::<S>(3 * width));
        let stored = |columns: usize| vec![S::default(); rows * columns];
        Self {
            made_for: (work.tower, work.tokens, rows),
            normal: stored(width_stride),
            dy: stored(width_stride),
            mixed: stored(width_stride),
            d_mixed: stored(width_stride),
            width_stride,
            after: stored(hidden_stride),
            d_before: stored(hidden_stride),
            hidden_stride,
            d_qkv: stored(qkv_stride),
            qkv_stride,
            d_normal: vec![S::Real::ZERO; rows * width],
            head: HeadRoom::new(work),
        }
    }

    pub(super) fn fit(&self, work: &Work) -> bool {
        self.made_for == (work.tower, work.tokens, work.slab_rows())
    }
}

/// Takes the rows `x` of a slab through a block, in place.
pub(super) fn forward_slab<S: Stored>(
    work: &Work,
    weights: &Weights<'_, S::Real>,
    packed: &Packed<S>,
    x: &mut [S::Real],
    kept: &mut KeptSlab<'_, S>,
    rooms: &mut Rooms<S>,
) {
    let (width, hidden) = (work.tower.width, work.tower.hidden);
    let rows = x.len() / width;
    let level = work.level;
    let stride = rooms.width_stride;
    let [hat1, hat2] = &mut kept.hats;
    let [scale1, scale2] = &mut kept.scales;

    let (weight, bias) = scale_of(weights, 0);
    normalise::<S>(x, weight, bias, Normalised { hat: hat1, scale: scale1, out: &mut rooms.normal, stride });
    let bias = Some(weights.biases[QKV]);
    let mut to = Store { bias, factor: S::Real::ONE, out: &mut *kept.qkv, stride: 3 * width };
    multiply(level, Left::rows(&rooms.normal, rows, width, stride), 0..rows, packed.right(QKV), &mut to);
    work.attend(kept.qkv, (&mut rooms.mixed, stride), &mut rooms.head);
    let mut to = Add { bias: Some(weights.biases[OUT]), out: &mut *x, stride: width };
    multiply(level, Left::rows(&rooms.mixed, rows, width, stride), 0..rows, packed.right(OUT), &mut to);

    let (weight, bias) = scale_of(weights, 1);
    normalise::<S>(x, weight, bias, Normalised { hat: hat2, scale: scale2, out: &mut rooms.normal, stride });
    let gelu = StoreGelu {
        bias: weights.biases[FC],
        before: &mut *kept.before,
        before_stride: hidden,
        after: &mut rooms.after,
        after_stride: rooms.hidden_stride,
    };
    let left = Left::rows(&rooms.normal, rows, width, stride);
    if work.tower.quick_gelu {
        multiply(level, left, 0..rows, packed.right(FC), &mut StoreQuickGelu(gelu));
    } else {
        let mut gelu = gelu;
        multiply(level, left, 0..rows, packed.right(FC), &mut gelu);
    }
    let mut to = Add { bias: Some(weights.biases[PROJ]), out: &mut *x, stride: width };
    let left = Left::rows(&rooms.after, rows, hidden, rooms.hidden_stride);
    multiply(level, left, 0..rows, packed.right(PROJ), &mut to);
}
