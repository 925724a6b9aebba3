//! Which patches of the grid a mask reduction keeps.

use shoestring_planner::recipe::{ImageReduction, kept_image_tokens};

use crate::streams::Stream;

/// Indices of the kept patches of a `side` x `side` grid (row by row from the top left), ascending; as many
/// as the planner's [`kept_image_tokens`]. `None` where every patch is kept (`resize`).
///
/// `random`: any subset, equally likely. `grid`: one patch in each cell of a c x c lattice; where c does not
/// divide the side, cells differ by a patch. `block`: one c x c square, any place equally likely.
#[must_use]
pub fn kept_patches(
    reduction: ImageReduction,
    mask_ratio: f64,
    side: u32,
    stream: &mut Stream,
) -> Option<Vec<u32>> {
    let count = kept_image_tokens(reduction, mask_ratio, side).0;
    match reduction {
        ImageReduction::Resize => None,
        ImageReduction::Random => Some(stream.subset(side * side, count)),
        ImageReduction::Grid => {
            let cells = count.isqrt();
            let edge = |cell: u32| cell * side / cells;
            let mut kept = Vec::with_capacity(count as usize);
            for row in 0..cells {
                for column in 0..cells {
                    let y = edge(row) + stream.below(edge(row + 1) - edge(row));
                    let x = edge(column) + stream.below(edge(column + 1) - edge(column));
                    kept.push(y * side + x);
                }
            }
            // Within a row of cells the patches may stand in different rows.
            kept.sort_unstable();
            Some(kept)
        }
        ImageReduction::Block => {
            let width = count.isqrt();
            let (top, left) = (stream.below(side - width + 1), stream.below(side - width + 1));
            let rows = (top..top + width).flat_map(|y| (left..left + width).map(move |x| y * side + x));
            Some(rows.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(reduction: ImageReduction, ratio: f64, side: u32, index: u64) -> Vec<u32> {
        let mut stream = Stream::new(1, "image_mask", index);
        kept_patches(reduction, ratio, side, &mut stream).expect("a mask")
    }

    #[test]
    fn counts_are_the_planners_and_indices_are_sorted_and_distinct() {
        assert_eq!(kept_patches(ImageReduction::Resize, 0.0, 4, &mut Stream::new(1, "x", 0)), None);
        for reduction in [ImageReduction::Random, ImageReduction::Grid, ImageReduction::Block] {
            for side in [1, 2, 3, 5, 7, 14, 16] {
                for ratio in [0.0, 0.1, 0.3, 0.5, 0.75, 0.9, 0.999] {
                    let kept = draw(reduction, ratio, side, 3);
                    let expected = kept_image_tokens(reduction, ratio, side).0;
                    assert_eq!(kept.len(), expected as usize, "{reduction:?} {side} {ratio}");
                    assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "{kept:?}");
                    assert!(kept.iter().all(|&patch| patch < side * side));
                }
            }
        }
    }

    #[test]
    fn grid_keeps_one_patch_in_each_cell() {
        for (side, ratio, cells) in [(8u32, 0.75, 4u32), (14, 0.75, 7), (7, 0.5, 5)] {
            for index in 0..50 {
                let mut seen = vec![0; (cells * cells) as usize];
                for patch in draw(ImageReduction::Grid, ratio, side, index) {
                    let cell_of =
                        |place: u32| (0..cells).rfind(|cell| cell * side / cells <= place).expect("a cell");
                    seen[(cell_of(patch / side) * cells + cell_of(patch % side)) as usize] += 1;
                }
                assert!(seen.iter().all(|&count| count == 1), "{seen:?}");
            }
        }
    }

    #[test]
    fn block_is_a_square() {
        for index in 0..50 {
            let kept = draw(ImageReduction::Block, 0.75, 8, index);
            let (top, left) = (kept[0] / 8, kept[0] % 8);
            let expected: Vec<u32> = (0..16).map(|n| (top + n / 4) * 8 + left + n % 4).collect();
            assert_eq!(kept, expected);
        }
    }

    #[test]
    fn every_patch_or_place_is_equally_likely() {
        let draws = 8_000;
        for reduction in [ImageReduction::Random, ImageReduction::Grid] {
            let mut counts = [0u32; 64];
            for index in 0..draws {
                for patch in draw(reduction, 0.75, 8, index) {
                    counts[patch as usize] += 1;
                }
            }
            // Expected 2,000, standard deviation sqrt(8000 * 1/4 * 3/4) = 39.
            assert!(counts.iter().all(|count| count.abs_diff(2_000) < 200), "{reduction:?} {counts:?}");
        }
        let mut places = [0u32; 25];
        for index in 0..draws {
            let first = draw(ImageReduction::Block, 0.75, 8, index)[0];
            places[(first / 8 * 5 + first % 8) as usize] += 1;
        }
        assert!(places.iter().all(|count| count.abs_diff(320) < 95), "{places:?}");
    }
}
