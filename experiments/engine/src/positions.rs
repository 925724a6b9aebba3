//! Fixed two-dimensional sine-cosine positions, for whatever grid a stage has.

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
