//! A block's weights: as they are stored, packed for products, and their gradients.

use std::ops::Deref;

use candle_core::{Storage, Tensor};
use rayon::prelude::*;

use super::{Buffers, Work};
use crate::error::Result;
use crate::gradients::Gradient;
use crate::ops::multiply::{Depth, Right};
use crate::ops::pack::{Source, interleave, packed_len, transpose};
use crate::ops::stored::Stored;
use crate::ops::tile::COLUMNS;
use crate::params::Parameters;
use crate::real::{Real, numbers};

/// Names of the matrices, in the order that every array of four has here.
pub(super) const MATRICES: [&str; 4] =
    ["attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"];
/// Names of their biases.
pub(super) const BIASES: [&str; 4] =
    ["attn.in_proj_bias", "attn.out_proj.bias", "mlp.c_fc.bias", "mlp.c_proj.bias"];
const NORMS: [&str; 2] = ["ln_1", "ln_2"];

/// Whether a tensor is a matrix of a block.
pub(crate) fn is_matrix(name: &str) -> bool {
    name.contains(".resblocks.") && MATRICES.iter().any(|matrix| name.ends_with(matrix))
}

pub(super) const QKV: usize = 0;
pub(super) const OUT: usize = 1;
pub(super) const FC: usize = 2;
pub(super) const PROJ: usize = 3;

/// Outputs and inputs of each matrix.
pub(super) fn shapes(work: &Work) -> [(usize, usize); 4] {
    let (width, hidden) = (work.tower.width, work.tower.hidden);
    [(3 * width, width), (width, width), (hidden, width), (width, hidden)]
}

/// A tensor's numbers, held for reading.
struct Guard<'a> {
    /// candle's own guard, of a type that it does not name.
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    layout: &'a candle_core::Layout,
}

impl<'a> Guard<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self { storage: Box::new(storage), layout }
    }

    fn numbers<T: Real>(&self) -> Result<&[T]> {
        match &**self.storage {
            Storage::Cpu(storage) => Ok(numbers(storage, self.layout, "block")?),
            _ => Err(candle_core::Error::Msg("this engine computes in main memory only".into()).into()),
        }
    }
}

/// A block's tensors, held for reading.
pub(super) struct Held<'a> {
    matrices: [Guard<'a>; 4],
    biases: [Guard<'a>; 4],
    norms: [[Guard<'a>; 2]; 2],
}

/// Their numbers.
pub(super) struct Weights<'a, R> {
    pub(super) matrices: [&'a [R]; 4],
    pub(super) biases: [&'a [R]; 4],
    /// Scale and shift of each norm.
    pub(super) norms: [[&'a [R]; 2]; 2],
}

impl<'a> Held<'a> {
    pub(super) fn of(parameters: &'a Parameters, block: &str) -> Result<Self> {
        let get =
            |name: &str| Ok::<_, crate::EngineError>(Guard::of(parameters.get(&format!("{block}.{name}"))?));
        let [a, b, c, d] = MATRICES;
        let [e, f, g, h] = BIASES;
        let norm = |name: &str| {
            Ok::<_, crate::EngineError>([get(&format!("{name}.weight"))?, get(&format!("{name}.bias"))?])
        };
        Ok(Self {
            matrices: [get(a)?, get(b)?, get(c)?, get(d)?],
            biases: [get(e)?, get(f)?, get(g)?, get(h)?],
            norms: [norm(NORMS[0])?, norm(NORMS[1])?],
        })
    }

    pub(super) fn weights<R: Real>(&self) -> Result<Weights<'_, R>> {
        let [a, b, c, d] = &self.matrices;
        let [e, f, g, h] = &self.biases;
        let [[i, j], [k, l]] = &self.norms;
        Ok(Weights {
            matrices: [a.numbers()?, b.numbers()?, c.numbers()?, d.numbers()?],
            biases: [e.numbers()?, f.numbers()?, g.numbers()?, h.numbers()?],
            norms: [[i.numbers()?, j.numbers()?], [k.numbers()?, l.numbers()?]],
        })
    }
}

/// What the packed matrices are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// x Wᵀ: the depth is W's columns.
    Forward,
    /// dy W: the depth is W's rows.
    Backward,
}

/// A block's matrices, packed as right operands. Used again from block to block.
pub(super) struct Packed<S> {
    matrices: [Vec<S>; 4],
    direction: Direction,
    shapes: [(usize, usize); 4],
}

impl<S: Stored> Packed<S> {
    pub(super) fn take(work: &Work, buffers: &Buffers<S>) -> Self {
        let shapes = shapes(work);
        let len = |(rows, columns): (usize, usize)| {
            let of = |n: usize, depth: usize| packed_len(n, COLUMNS, depth.div_ceil(S::GROUP), S::GROUP);
            of(rows, columns).max(of(columns, rows))
        };
        let matrices = shapes.map(|shape| buffers.take(len(shape)));
        Self { matrices, direction: Direction::Forward, shapes }
    }

    pub(super) fn give(self, buffers: &Buffers<S>) {
        self.matrices.into_iter().for_each(|buffer| buffers.give(buffer));
    }

    /// Packs a block's matrices: reads 4 bytes a weight and, in bf16, writes 2.
    pub(super) fn fill(&mut self, work: &Work, weights: &Weights<'_, S::Real>, direction: Direction) {
        self.direction = direction;
        let mut tasks = Vec::new();
        for ((matrix, &(rows, columns)), packed) in
            weights.matrices.iter().zip(&self.shapes).zip(&mut self.matrices)
        {
            let (n, depth) = match direction {
                Direction::Forward => (rows, columns),
                Direction::Backward => (columns, rows),
            };
            let groups = depth.div_ceil(S::GROUP);
            let used = packed_len(n, COLUMNS, groups, S::GROUP);
            let panel = groups * COLUMNS * S::GROUP;
            for (index, panel) in packed[..used].chunks_exact_mut(panel).enumerate() {
                tasks.push((*matrix, rows, columns, groups, index, panel));
            }
        }
        tasks.into_par_iter().with_min_len(2).for_each(|(matrix, rows, columns, groups, index, panel)| {
            let first = index * COLUMNS;
            match direction {
                Direction::Forward => {
                    let count = COLUMNS.min(rows - first);
                    let source = Source::new(&matrix[first * columns..], count, columns, columns);
                    transpose(work.level, source, groups, panel);
                }
                Direction::Backward => {
                    let count = COLUMNS.min(columns - first);
                    let source = Source::new(&matrix[first..], rows, count, columns);
                    interleave::<_, _, COLUMNS>(work.level, source, groups, panel);
                }
            }
        });
    }

    /// One matrix as a right operand.
    pub(super) fn right(&self, matrix: usize) -> Right<'_, S> {
        let (rows, columns) = self.shapes[matrix];
        let (n, depth) = match self.direction {
            Direction::Forward => (rows, columns),
            Direction::Backward => (columns, rows),
        };
        Right::packed(&self.matrices[matrix], n, Depth::whole::<S>(depth))
    }
}

/// The gradient of a matrix: rounded as operands are where it is computed in one piece, in full where pieces
/// are added up.
#[derive(Debug)]
pub(crate) enum WeightGradient<S: Stored> {
    Once(Vec<S>),
    Sum(Vec<S::Real>),
}

/// The gradients of a block.
#[derive(Debug)]
pub(crate) struct Gradients<S: Stored> {
    pub(super) matrices: [WeightGradient<S>; 4],
    pub(super) biases: [Vec<S::Real>; 4],
    /// Scale and shift of each norm.
    pub(super) norms: [[Vec<S::Real>; 2]; 2],
}

impl<S: Stored> Gradients<S> {
    pub(super) fn take(work: &Work, buffers: &Buffers<S>, accumulate: bool) -> Self {
        let shapes = shapes(work);
        let width = work.tower.width;
        let matrices = shapes.map(|(rows, columns)| {
            if accumulate {
                let mut sum = buffers.take_real(rows * columns);
                sum.fill(S::Real::ZERO);
                WeightGradient::Sum(sum)
            } else {
                WeightGradient::Once(buffers.take(rows * columns))
            }
        });
        let zeros = |count: usize| vec![S::Real::ZERO; count];
        Self {
            matrices,
            biases: shapes.map(|(rows, _)| zeros(rows)),
            norms: [(); 2].map(|()| [(); 2].map(|()| zeros(width))),
        }
    }

    /// The gradients under the names of their tensors.
    pub(crate) fn named(self, block: &str) -> Vec<(String, Gradient<S::Real>)> {
        let mut named = Vec::with_capacity(12);
        for (name, gradient) in MATRICES.into_iter().zip(self.matrices) {
            let gradient = match gradient {
                WeightGradient::Once(numbers) => S::gradient(numbers),
                WeightGradient::Sum(numbers) => Gradient::Dense(numbers),
            };
            named.push((format!("{block}.{name}"), gradient));
        }
        for (name, numbers) in BIASES.into_iter().zip(self.biases) {
            named.push((format!("{block}.{name}"), Gradient::Dense(numbers)));
        }
        for (name, [weight, bias]) in NORMS.into_iter().zip(self.norms) {
            named.push((format!("{block}.{name}.weight"), Gradient::Dense(weight)));
            named.push((format!("{block}.{name}.bias"), Gradient::Dense(bias)));
        }
        named
    }
}
