//! A tower's blocks, forward and backward, written out by hand.
//!
//! A block is x + attention(norm(x)), then x + MLP(norm(x)). The batch is cut into slabs of whole samples, a
//! hundred-odd rows each; a thread takes a slab through all of a block, so that what one step of the block
//! writes the next one reads from the second-level cache, and threads meet twice a block rather than after
//! every operation. Backward, a slab leaves both operands of the weights' gradients behind, packed; these
//! products, over the rows of all slabs, come last.
//!
//! Arithmetic a row of a block, w its width, n the tokens of its sample, an MLP of 4 w: forward 24 w² + 4 n w
//! FLOPs, backward 48 w² + 12 n w (the attention's probabilities and what they mixed are computed again).
//! Traffic to main memory a row, in bf16: forward it writes 20 w bytes (two normalised rows, queries, keys and
//! values, the MLP's input) and changes x (8 w); backward it reads them, changes dx (8 w), and writes and reads
//! 32 w of packed operands. A weight is read twice as `f32` and written once as a gradient.

mod attention;
mod backward;
mod buffers;
mod epilogues;
mod norm;
mod patches;
mod quick_gelu;
mod rates;
mod slab;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

pub(crate) use self::buffers::{AllBuffers, Buffers, Kept};
pub(crate) use self::patches::{Patches, Start};
pub(crate) use self::rates::rates;
use self::slab::forward_slab;
use self::weights::{Direction, Held, Packed};
pub(crate) use self::weights::{Gradients, is_matrix};
use crate::error::Result;
use crate::ops::Sequences;
use crate::ops::level::Level;
use crate::ops::stored::Stored;
use crate::params::Parameters;

/// Rows that a slab has, about: a multiple of a tile's rows that, with the widest operand, fits the
/// second-level cache.
const SLAB_ROWS: usize = 128;

/// The same where products are computed in matrix registers, which need fewer cycles for a row than its weights
/// take to arrive.
const MATRIX_SLAB_ROWS: usize = 256;

/// The shape of a tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tower {
    pub(crate) prefix: &'static str,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) causal: bool,
    pub(crate) width: usize,
    /// Width of the MLP.
    pub(crate) hidden: usize,
    /// `OpenAI`'s approximation of GELU instead of GELU.
    pub(crate) quick_gelu: bool,
}

/// A tower at work on a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) tower: Tower,
    pub(crate) samples: usize,
    pub(crate) tokens: usize,
    pub(crate) level: Level,
    /// Whether backward computes each block's activations again from its input, instead of keeping them.
    pub(crate) recompute: bool,
}

/// What forward leaves for backward.
pub(crate) enum Tape<S: Stored> {
    /// Every block's activations.
    Kept(Vec<Kept<S>>),
    /// Every block's input.
    Inputs(Vec<Vec<S::Real>>),
}

impl Work {
    pub(crate) fn rows(&self) -> usize {
        self.samples * self.tokens
    }

    pub(crate) fn sequences(&self) -> Sequences {
        Sequences { samples: self.samples, tokens: self.tokens }
    }

    /// Samples of a slab: a function of the shape alone, so that sums over slabs do not depend on the threads.
    fn slab_samples(&self) -> usize {
        let rows = if self.level == Level::Amx { MATRIX_SLAB_ROWS } else { SLAB_ROWS };
        let most = (rows / self.tokens).max(1);
        self.samples.div_ceil(self.samples.div_ceil(most))
    }

    fn slab_rows(&self) -> usize {
        self.slab_samples() * self.tokens
    }

    fn slabs(&self) -> usize {
        self.samples.div_ceil(self.slab_samples())
    }

    fn block(&self, layer: usize) -> String {
        format!("{}.resblocks.{layer}", self.tower.prefix)
    }

    /// Takes `x` (rows, width) through all blocks, in place. With `recorded` the tape for backward.
    pub(crate) fn forward<S: Stored>(
        &self,
        parameters: &Parameters,
        buffers: &Buffers<S>,
        x: &mut [S::Real],
        recorded: bool,
    ) -> Result<Option<Tape<S>>> {
        let mut packed = Packed::take(self, buffers);
        let mut kept = Vec::new();
        let mut inputs = Vec::new();
        for layer in 0..self.tower.layers {
            let held = Held::of(parameters, &self.block(layer))?;
            packed.fill(self, &held.weights::<S::Real>()?, Direction::Forward);
            let mut own = (recorded && !self.recompute).then(|| Kept::take(self, buffers, self.rows()));
            if recorded && self.recompute {
                let mut copy = buffers.take_real(x.len());
                copy.copy_from_slice(x);
                inputs.push(copy);
            }
            self.forward_block(&held, &packed, buffers, x, own.as_mut())?;
            kept.extend(own);
        }
        packed.give(buffers);
        Ok(match (recorded, self.recompute) {
            (false, _) => None,
            (true, false) => Some(Tape::Kept(kept)),
            (true, true) => Some(Tape::Inputs(inputs)),
        })
    }

    fn forward_block<S: Stored>(
        &self,
        held: &Held<'_>,
        packed: &Packed<S>,
        buffers: &Buffers<S>,
        x: &mut [S::Real],
        kept: Option<&mut Kept<S>>,
    ) -> Result<()> {
        let weights = held.weights::<S::Real>()?;
        let size = self.slab_rows() * self.tower.width;
        match kept {
            Some(kept) => {
                let slabs: Vec<_> = x.chunks_mut(size).zip(kept.slabs(self)).collect();
                slabs.into_par_iter().with_max_len(1).for_each(|(x, mut kept)| {
                    let mut rooms = buffers.rooms(self);
                    forward_slab(self, &weights, packed, x, &mut kept, &mut rooms);
                    buffers.give_rooms(rooms);
                });
            }
            None => {
                let slabs: Vec<_> = x.chunks_mut(size).collect();
                slabs.into_par_iter().with_max_len(1).for_each(|x| {
                    let mut rooms = buffers.rooms(self);
                    let rows = x.len() / self.tower.width;
                    let mut own = Kept::take(self, buffers, rows);
                    if let Some(mut kept) = own.slabs(self).next() {
                        forward_slab(self, &weights, packed, x, &mut kept, &mut rooms);
                    }
                    own.give(buffers);
                    buffers.give_rooms(rooms);
                });
            }
        }
        Ok(())
    }

    /// Takes the gradient of the blocks' result to that of their input, in place, and adds the weights'
    /// gradients to `gradients`, by name.
    pub(crate) fn backward<S: Stored>(
        &self,
        parameters: &Parameters,
        buffers: &Buffers<S>,
        tape: Tape<S>,
        dx: &mut [S::Real],
        gradients: &mut BTreeMap<String, Gradients<S>>,
        accumulate: bool,
    ) -> Result<()> {
        let mut packed = Packed::take(self, buffers);
        let mut operands = backward::Operands::take(self, buffers);
        let mut step = |layer: usize, mut kept: Kept<S>, packed: &mut Packed<S>| -> Result<()> {
            let name = self.block(layer);
            let held = Held::of(parameters, &name)?;
            packed.fill(self, &held.weights::<S::Real>()?, Direction::Backward);
            let of_block =
                gradients.entry(name).or_insert_with(|| Gradients::take(self, buffers, accumulate));
            backward::block(self, &held, packed, buffers, dx, &mut kept, &mut operands, of_block)?;
            kept.give(buffers);
            Ok(())
        };
        match tape {
            Tape::Kept(mut all) => {
                for layer in (0..self.tower.layers).rev() {
                    if let Some(kept) = all.pop() {
                        step(layer, kept, &mut packed)?;
                    }
                }
            }
            Tape::Inputs(mut inputs) => {
                for layer in (0..self.tower.layers).rev() {
                    let Some(mut x) = inputs.pop() else { break };
                    let held = Held::of(parameters, &self.block(layer))?;
                    packed.fill(self, &held.weights::<S::Real>()?, Direction::Forward);
                    let mut kept = Kept::take(self, buffers, self.rows());
                    self.forward_block(&held, &packed, buffers, &mut x, Some(&mut kept))?;
                    buffers.give_real(x);
                    step(layer, kept, &mut packed)?;
                }
            }
        }
        operands.give(buffers);
        packed.give(buffers);
        Ok(())
    }

    /// The rows of a slab.
    fn slab_range(&self, slab: usize) -> Range<usize> {
        let size = self.slab_rows();
        slab * size..self.rows().min((slab + 1) * size)
    }
}
