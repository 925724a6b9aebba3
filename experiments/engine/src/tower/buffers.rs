//! Memory that is used again from step to step.

use std::sync::{Mutex, PoisonError};

use super::Work;
use super::slab::{KeptSlab, Rooms};
use crate::ops::stored::{Bf16, Stored};

/// Buffers not in use. The system's pages behind them are touched once, not in every step.
#[derive(Debug)]
pub(crate) struct Buffers<S: Stored> {
    stored: Mutex<Vec<Vec<S>>>,
    real: Mutex<Vec<Vec<S::Real>>>,
    rooms: Mutex<Vec<Rooms<S>>>,
}

impl<S: Stored> Default for Buffers<S> {
    fn default() -> Self {
        Self { stored: Mutex::default(), real: Mutex::default(), rooms: Mutex::default() }
    }
}

/// Buffers for each kind of number.
#[derive(Debug, Default)]
pub(crate) struct AllBuffers {
    pub(crate) half: Buffers<Bf16>,
    pub(crate) single: Buffers<f32>,
    pub(crate) double: Buffers<f64>,
}

/// Times a buffer may be as long as what is asked for: so much that the gradients of a block's matrices (up to
/// 4 w² numbers) find room in the activations of blocks already passed (up to 4 w a row).
const LONGEST: usize = 4;

/// A free buffer of this length or up to [`LONGEST`] times as long, the shortest of them, cut to length; else a
/// new one. What it holds is of no meaning.
fn take<T: Copy + Default>(free: &Mutex<Vec<Vec<T>>>, len: usize) -> Vec<T> {
    let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |buffer: &Vec<T>| buffer.capacity() >= len && buffer.capacity() <= LONGEST * len;
    let best = free.iter().enumerate().filter(|(_, buffer)| fits(buffer));
    match best.min_by_key(|(_, buffer)| buffer.capacity()).map(|(index, _)| index) {
        Some(index) => {
            let mut buffer = free.swap_remove(index);
            drop(free);
            buffer.resize(len, T::default());
            buffer
        }
        None => vec![T::default(); len],
    }
}

fn give<T>(free: &Mutex<Vec<Vec<T>>>, buffer: Vec<T>) {
    free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
}

impl<S: Stored> Buffers<S> {
    /// Numbers of no meaning, to be written before they are read.
    pub(crate) fn take(&self, len: usize) -> Vec<S> {
        take(&self.stored, len)
    }

    pub(crate) fn give(&self, buffer: Vec<S>) {
        give(&self.stored, buffer);
    }

    /// As [`Buffers::take`].
    pub(crate) fn take_real(&self, len: usize) -> Vec<S::Real> {
        take(&self.real, len)
    }

    pub(crate) fn give_real(&self, buffer: Vec<S::Real>) {
        give(&self.real, buffer);
    }

    /// Room for one slab's intermediate results.
    pub(super) fn rooms(&self, work: &Work) -> Rooms<S> {
        let mut free = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        match free.iter().position(|rooms| rooms.fit(work)) {
            Some(index) => free.swap_remove(index),
            None => {
                drop(free);
                Rooms::new(work)
            }
        }
    }

    pub(super) fn give_rooms(&self, rooms: Rooms<S>) {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).push(rooms);
    }

    /// Numbers that wait to be used again, without those of slabs.
    #[cfg(test)]
    pub(crate) fn at_rest(&self) -> usize {
        fn of<T>(free: &Mutex<Vec<Vec<T>>>) -> usize {
            free.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Vec::capacity).sum()
        }
        of(&self.stored) + of(&self.real)
    }

    /// Returns everything to the system: after a change of shape nothing fits any more.
    pub(crate) fn clear(&self) {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.real.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// What a block keeps of its way forward, for all rows.
pub(crate) struct Kept<S: Stored> {
    /// The normalised rows before attention and before the MLP, without scale and shift: (rows, width).
    pub(super) hats: [Vec<S>; 2],
    /// The reciprocal standard deviations that made them: (rows).
    pub(super) scales: [Vec<S::Real>; 2],
    /// (rows, 3 width).
    pub(super) qkv: Vec<S>,
    /// The MLP's layer before GELU: (rows, hidden).
    pub(super) before: Vec<S>,
}

impl<S: Stored> Kept<S> {
    pub(super) fn take(work: &Work, buffers: &Buffers<S>, rows: usize) -> Self {
        let width = work.tower.width;
        Self {
            hats: [(); 2].map(|()| buffers.take(rows * width)),
            scales: [(); 2].map(|()| buffers.take_real(rows)),
            qkv: buffers.take(rows * 3 * width),
            before: buffers.take(rows * work.tower.hidden),
        }
    }

    pub(super) fn give(self, buffers: &Buffers<S>) {
        let Self { hats, scales, qkv, before } = self;
        hats.into_iter().chain([qkv, before]).for_each(|buffer| buffers.give(buffer));
        scales.into_iter().for_each(|buffer| buffers.give_real(buffer));
    }

    /// Slab by slab.
    pub(super) fn slabs(&mut self, work: &Work) -> impl Iterator<Item = KeptSlab<'_, S>> {
        let (rows, width) = (work.slab_rows(), work.tower.width);
        let [hat1, hat2] = &mut self.hats;
        let [scale1, scale2] = &mut self.scales;
        let hats = hat1.chunks_mut(rows * width).zip(hat2.chunks_mut(rows * width));
        let scales = scale1.chunks_mut(rows).zip(scale2.chunks_mut(rows));
        let wide =
            self.qkv.chunks_mut(rows * 3 * width).zip(self.before.chunks_mut(rows * work.tower.hidden));
        hats.zip(scales).zip(wide).map(|((hats, scales), (qkv, before))| KeptSlab {
            hats: [hats.0, hats.1],
            scales: [scales.0, scales.1],
            qkv,
            before,
        })
    }
}
