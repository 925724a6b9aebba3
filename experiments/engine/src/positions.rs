//! Positions of patches: fixed two-dimensional sine-cosine for whatever grid a stage has, and learned ones taken
//! to another grid.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::params::{IMAGE_POSITIONS, Parameters};
use crate::real::{Real, with_numbers};

/// Position embeddings of a `side` x `side` grid, row-major (side², width): big_vision's `posemb_sincos_2d`
/// with temperature 10,000, which CLIPA uses.
///
/// A position at column x and row y is [sin(x ω), cos(x ω), sin(y ω), cos(y ω)], each of width / 4 numbers
/// with ω_k = 10000^(-k / (width / 4 - 1)). `width` must be a multiple of 4.
#[must_use]
pub fn position_table(side: usize, width: usize) -> Vec<f64> {
    let quarter = width / 4;
    // A quarter of one has the single frequency 1, where the formula would divide by zero.
    let last = quarter.saturating_sub(1).max(1) as f64;
    let frequencies: Vec<f64> = (0..quarter).map(|k| 10_000f64.powf(-(k as f64) / last)).collect();
    let mut table = Vec::with_capacity(side * side * width);
    for y in 0..side {
        for x in 0..side {
            for coordinate in [x, y] {
                table.extend(frequencies.iter().map(|frequency| (coordinate as f64 * frequency).sin()));
                table.extend(frequencies.iter().map(|frequency| (coordinate as f64 * frequency).cos()));
            }
        }
    }
    table
}

/// From one grid of learned positions to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regrid {
    /// Patches along a side before.
    pub(crate) from: usize,
    /// And after.
    pub(crate) to: usize,
    pub(crate) width: usize,
}

impl Regrid {
    /// What belongs to each number of the positions, such as a moment.
    pub(crate) fn numbers<T: Real>(self, numbers: &[T]) -> Vec<T> {
        regrid(numbers, self.from, self.to, self.width)
    }

    /// The positions among a model's tensors.
    pub(crate) fn parameters(self, parameters: &mut Parameters) -> Result<()> {
        let shape = (1 + self.to * self.to, self.width);
        let positions = parameters.get(IMAGE_POSITIONS)?;
        let other = match parameters.dtype() {
            DType::F64 => {
                let numbers = with_numbers::<f64, _>(positions, |table| self.numbers(table))?;
                Tensor::from_vec(numbers, shape, &Device::Cpu)?
            }
            _ => {
                let numbers = with_numbers::<f32, _>(positions, |table| self.numbers(table))?;
                Tensor::from_vec(numbers, shape, &Device::Cpu)?
            }
        };
        parameters.replace(IMAGE_POSITIONS, &other)
    }
}

/// Learned positions, the class token's first, (1 + from², width), taken to another grid, (1 + to², width): the
/// class token's stays, the grid's are resized by cubic interpolation with antialiasing, as in `open_clip`'s
/// `resize_pos_embed`.
fn regrid<T: Real>(table: &[T], from: usize, to: usize, width: usize) -> Vec<T> {
    let (class, grid) = table.split_at(width);
    let weights = cubic_weights(from, to);
    // Rows first: (from, from) to (to, from), then columns.
    let mut rows = vec![0f64; to * from * width];
    for (y, (first, weights)) in weights.iter().enumerate() {
        for (source, weight) in (*first..).zip(weights) {
            let target = &mut rows[y * from * width..][..from * width];
            for (target, x) in target.iter_mut().zip(&grid[source * from * width..]) {
                *target += weight * x.to_f64();
            }
        }
    }
    let mut out = class.to_vec();
    for row in rows.chunks_exact(from * width) {
        for (first, weights) in &weights {
            let mut place = vec![0f64; width];
            for (source, weight) in (*first..).zip(weights) {
                for (place, x) in place.iter_mut().zip(&row[source * width..]) {
                    *place += weight * x;
                }
            }
            out.extend(place.into_iter().map(T::from_f64));
        }
    }
    out
}

/// For each of `to` places on a line the first of the `from` places that it is made of, and their weights:
/// `torch.nn.functional.interpolate(mode="bicubic", antialias=True, align_corners=False)`, whose filter is
/// Keys' with a = -0.5, stretched where the line becomes shorter.
fn cubic_weights(from: usize, to: usize) -> Vec<(usize, Vec<f64>)> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let filter = |x: f64| {
        let x = x.abs();
        match x {
            _ if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            _ if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            _ => 0.0,
        }
    };
    (0..to)
        .map(|place| {
            let centre = scale * (place as f64 + 0.5);
            // `as` rounds towards zero and saturates, as the original's conversions.
            let first = (centre - 2.0 * stretch + 0.5) as usize;
            let end = ((centre + 2.0 * stretch + 0.5) as usize).min(from);
            let weights: Vec<f64> =
                (first..end).map(|source| filter((source as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|weight| weight / sum).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of big_vision's function for h = w = 2, width 8 (frequencies 1 and 1e-4).
    #[test]
    fn positions_are_those_of_big_vision() {
        let (sin1, cos1) = (0.841_470_984_807_896_5, 0.540_302_305_868_139_8);
        let (small, near) = (9.999_999_983_333_334e-5, 0.999_999_995);
        let expected = [
            [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0],
            [sin1, small, cos1, near, 0.0, 0.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, 1.0, sin1, small, cos1, near],
            [sin1, small, cos1, near, sin1, small, cos1, near],
        ];
        let table = position_table(2, 8);
        for (found, expected) in table.iter().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
        assert_eq!(table.len(), 32);
    }

    /// Values of `torch.nn.functional.interpolate` (PyTorch 2.15) for a grid of sin(0.7 i + 0.3), in single
    /// precision.
    #[test]
    fn another_grids_positions_are_those_of_pytorch() {
        let smaller = [0.538285740313, 0.487354596793, -0.459474366243, -0.554467141555];
        let larger = [
            0.210071801123,
            0.551056878151,
            0.892041955179,
            0.636034988847,
            0.701029770076,
            0.766024551305,
            1.061998176572,
            0.851002662001,
            0.640007147431,
        ];
        let closer = [
            0.300931417511,
            0.428686375815,
            0.235111908972,
            -0.212862610629,
            -0.14057944372,
            0.037077538561,
            0.342415223557,
            -0.003805403726,
            -0.347173594687,
        ];
        for (from, to, expected) in [(3, 2, &smaller[..]), (2, 3, &larger), (4, 3, &closer)] {
            // A second column, twice the first, to see that columns are kept apart.
            let mut table = vec![5.0, 6.0];
            for place in 0..from * from {
                let x = (0.7 * place as f64 + 0.3).sin();
                table.extend([x, 2.0 * x]);
            }
            let found = regrid(&table, from, to, 2);
            assert_eq!(found[..2], [5.0, 6.0], "the class token's stays");
            assert_eq!(found.len(), 2 * (1 + to * to));
            for (found, expected) in found[2..].as_chunks::<2>().0.iter().zip(expected) {
                assert!((found[0] - expected).abs() < 1e-6 && (found[1] - 2.0 * expected).abs() < 1e-6);
            }
        }
        let table: Vec<f64> = (0..10).map(f64::from).collect();
        for (found, expected) in regrid(&table, 3, 3, 1).iter().zip(&table) {
            assert!((found - expected).abs() < 1e-12, "the same grid changes nothing");
        }
    }

    #[test]
    fn the_narrowest_table_is_finite_and_any_grid_will_do() {
        assert!(position_table(3, 4).iter().all(|x| x.is_finite()));
        // The corner of a smaller grid is the corner of a larger one.
        let (small, large) = (position_table(5, 16), position_table(16, 16));
        assert_eq!(small[..16], large[..16]);
        assert_eq!(small[4 * 16..5 * 16], large[4 * 16..5 * 16]);
        assert_eq!(small[5 * 16..6 * 16], large[16 * 16..17 * 16], "row 1, column 0");
    }
}
