//! The gradients of a step: dense tensors, and for the token embedding only the rows that the batch used.

use candle_core::WithDType;
use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use rayon::prelude::*;

use crate::error::Result;
use crate::ops::add_to;
use crate::ops::simd::widest;
use crate::ops::stored::{Bf16, Stored};
use crate::params::{Parameters, TOKEN_EMBEDDING};
use crate::real::{Real, with_numbers};

/// Gradient rows of a table of which a batch uses few rows.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    width: usize,
    /// Ascending, each once.
    ids: Vec<u32>,
    /// (ids, width).
    values: Vec<T>,
}

impl<T: Real> Rows<T> {
    /// Zeros for each row that `ids` names.
    fn zeros(ids: &[u32], width: usize) -> Self {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let values = vec![T::zero(); ids.len() * width];
        Self { width, ids, values }
    }

    /// Adds to one row; a row that was not named at the start is not part of the batch.
    pub(crate) fn add(&mut self, id: u32, gradient: &[T]) {
        if let Ok(slot) = self.ids.binary_search(&id) {
            add_to(&mut self.values[slot * self.width..][..self.width], gradient);
        }
    }

    /// Rows `start..end` of the table that have a gradient.
    pub(crate) fn within(&self, start: usize, end: usize) -> impl Iterator<Item = (usize, &[T])> {
        let from = self.ids.partition_point(|&id| (id as usize) < start);
        let to = self.ids.partition_point(|&id| (id as usize) < end);
        let rows = self.values[from * self.width..to * self.width].chunks_exact(self.width);
        self.ids[from..to].iter().map(|&id| id as usize).zip(rows)
    }
}

/// The gradient of one tensor.
#[derive(Debug)]
pub(crate) enum Gradient<T> {
    /// Every number.
    Dense(Vec<T>),
    /// Every number, rounded as the operands of the product that it comes from.
    Half(Vec<Bf16>),
    Rows(Rows<T>),
}

impl Gradient<f32> {
    /// Every number of a tensor of this shape.
    pub(crate) fn into_dense(self, shape: &[usize]) -> Vec<f32> {
        match self {
            Self::Dense(numbers) => numbers,
            Self::Half(numbers) => numbers.into_iter().map(Stored::widen).collect(),
            Self::Rows(rows) => {
                let mut numbers = vec![0.0; shape.iter().product()];
                for (id, row) in rows.within(0, shape[0]) {
                    numbers[id * rows.width..][..rows.width].copy_from_slice(row);
                }
                numbers
            }
        }
    }
}

/// Gradients by name of tensor.
#[derive(Debug)]
pub(crate) struct Gradients<T> {
    dense: BTreeMap<String, Vec<T>>,
    token_rows: Rows<T>,
}

widest! {
    /// Sum of squares, in double precision: single would lose the small ones among many. Number i goes to lane i mod 8.
    /// Bound by how long an addition takes, then by bytes: 2 or 4 a number.
    pub(crate) fn sum_of_squares<S: Stored>(values: &[S]) -> f64 {
        let mut lanes = [0f64; 8];
        let (chunks, rest) = values.as_chunks::<8>();
        for chunk in chunks {
            for lane in 0..8 {
                let x = chunk[lane].widen().to_f64();
                lanes[lane] += x * x;
            }
        }
        let mut total = 0.0;
        for &x in rest {
            total += x.widen().to_f64() * x.widen().to_f64();
        }
        for lane in lanes {
            total += lane;
        }
        total
    }
}

fn squares<S: Stored>(values: &[S]) -> f64 {
    let partial: Vec<f64> = values.par_chunks(TASK).map(sum_of_squares).collect();
    partial.iter().sum()
}

/// Numbers that one task of a parallel sum takes; fixed, so that the result does not depend on the threads.
const TASK: usize = 32 * 1024;

impl<T: Real> Gradients<T> {
    /// None yet; `token_ids` are those of the whole batch.
    pub(crate) fn new(token_ids: &[u32], text_width: usize) -> Self {
        Self { dense: BTreeMap::new(), token_rows: Rows::zeros(token_ids, text_width) }
    }

    pub(crate) fn token_rows(&mut self) -> &mut Rows<T> {
        &mut self.token_rows
    }

    /// Adds to the gradient of one tensor.
    pub(crate) fn add(&mut self, name: &str, gradient: Vec<T>) {
        match self.dense.get_mut(name) {
            Some(sum) => add_to(sum, &gradient),
            None => drop(self.dense.insert(name.to_owned(), gradient)),
        }
    }

    /// Adds what a backward pass has left for the parameters.
    pub(crate) fn collect(&mut self, parameters: &Parameters, store: &mut GradStore) -> Result<()> {
        for (name, var) in parameters.iter() {
            if let Some(gradient) = store.remove(var) {
                self.add(name, with_numbers::<T, _>(&gradient, <[T]>::to_vec)?);
            }
        }
        Ok(())
    }

    /// One gradient for each tensor of the model that has one.
    pub(crate) fn into_named(mut self) -> BTreeMap<String, Gradient<T>> {
        let mut named: BTreeMap<_, _> = std::mem::take(&mut self.dense)
            .into_iter()
            .map(|(name, numbers)| (name, Gradient::Dense(numbers)))
            .collect();
        named.insert(TOKEN_EMBEDDING.to_owned(), Gradient::Rows(self.token_rows));
        named
    }
}

/// The Euclidean norm of each gradient, by name. Not finite where any number is not.
pub(crate) fn norms<S: Stored<Real = S>>(gradients: &BTreeMap<String, Gradient<S>>) -> Vec<(&str, f64)> {
    let norm = |gradient: &Gradient<S>| match gradient {
        Gradient::Dense(numbers) => squares(numbers),
        Gradient::Half(numbers) => squares(numbers),
        Gradient::Rows(rows) => squares(&rows.values),
    };
    gradients.iter().map(|(name, gradient)| (name.as_str(), norm(gradient).sqrt())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_add_up_and_are_found_by_range() {
        let mut rows = Rows::<f64>::zeros(&[7, 2, 7, 90], 2);
        rows.add(7, &[1.0, 2.0]);
        rows.add(7, &[0.5, 0.5]);
        rows.add(90, &[-1.0, 0.0]);
        let found: Vec<_> = rows.within(0, 90).collect();
        assert_eq!(found, [(2, &[0.0, 0.0][..]), (7, &[1.5, 2.5][..])]);
        assert_eq!(rows.within(8, 91).count(), 1);
        assert_eq!(rows.within(91, 200).count(), 0);
    }

    /// Of lengths with and without a rest, in bf16 and `f32`.
    #[test]
    fn the_sum_of_squares_is_its_formula() {
        for count in [0, 1, 7, 8, 19, 1000] {
            let numbers: Vec<f32> = (0..count).map(|index| (index as f32 * 0.7).sin()).collect();
            let halves: Vec<Bf16> = numbers.iter().map(|&x| Bf16::narrow(x)).collect();
            let formula = |numbers: &mut dyn Iterator<Item = f32>| -> f64 {
                numbers.map(|x| f64::from(x) * f64::from(x)).sum()
            };
            let near = |found: f64, expected: f64| (found - expected).abs() <= 1e-12 * expected;
            assert!(near(sum_of_squares(&numbers), formula(&mut numbers.iter().copied())), "{count}");
            assert!(near(sum_of_squares(&halves), formula(&mut halves.iter().map(|x| x.widen()))), "{count}");
        }
    }

    #[test]
    fn the_norm_is_that_of_all_numbers() {
        let mut gradients = Gradients::<f32>::new(&[1, 3], 2);
        gradients.token_rows().add(3, &[2.0, 0.0]);
        let ones = vec![1.0; 300 * 300];
        gradients.add("a", ones.clone());
        gradients.add("a", ones);
        let named = gradients.into_named();
        let norms = norms(&named);
        assert_eq!(norms, [("a", 600.0), (TOKEN_EMBEDDING, 2.0)]);
    }
}
