//! Products of packed operands, tile by tile, with what comes after a product done while its tile is in the
//! first-level cache.

use super::level::Level;
use super::pack::packed_len;
use super::stored::Stored;
use super::tile::{Ahead, COLUMNS, Kernel, Operands, ROWS, Tile};
use crate::real::Real;

/// How the depth of a product is cut up: `segments` of `groups` groups of numbers, the last of `last_groups`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) segments: usize,
    pub(crate) groups: usize,
    pub(crate) last_groups: usize,
}

impl Depth {
    /// `depth` numbers in one piece.
    pub(crate) fn whole<S: Stored>(depth: usize) -> Self {
        let groups = depth.div_ceil(S::GROUP);
        Self { segments: 1, groups, last_groups: groups }
    }
}

/// The left operand.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, S> {
    data: &'a [S],
    rows: usize,
    depth: Depth,
    /// Numbers from a row to the next, and from the first row of a tile to that of the next.
    row: usize,
    tile: usize,
    group: usize,
    segment: usize,
}

impl<'a, S: Stored> Left<'a, S> {
    /// A row-major matrix as it lies. Where the depth is no multiple of [`Stored::GROUP`], zeros (or numbers
    /// that the right operand's zeros meet, if finite) follow each row.
    pub(crate) fn rows(data: &'a [S], rows: usize, depth: usize, stride: usize) -> Self {
        let whole = Depth::whole::<S>(depth);
        assert!(rows == 0 || (rows - 1) * stride + whole.groups * S::GROUP <= data.len());
        Self { data, rows, depth: whole, row: stride, tile: ROWS * stride, group: S::GROUP, segment: 0 }
    }

    /// What [`super::pack::interleave`] made with panels of [`ROWS`], one segment after the other, each
    /// with room for `depth.groups` groups.
    pub(crate) fn packed(data: &'a [S], rows: usize, depth: Depth) -> Self {
        let segment = packed_len(rows, ROWS, depth.groups, S::GROUP);
        assert!(depth.segments * segment <= data.len());
        let tile = depth.groups * ROWS * S::GROUP;
        Self { data, rows, depth, row: S::GROUP, tile, group: ROWS * S::GROUP, segment }
    }
}

/// The right operand: panels of [`COLUMNS`] columns, one segment after the other, each with room for
/// `depth.groups` groups.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a, S> {
    data: &'a [S],
    columns: usize,
    depth: Depth,
    segment: usize,
}

impl<'a, S: Stored> Right<'a, S> {
    pub(crate) fn packed(data: &'a [S], columns: usize, depth: Depth) -> Self {
        let segment = packed_len(columns, COLUMNS, depth.groups, S::GROUP);
        assert!(depth.segments * segment <= data.len());
        Self { data, columns, depth, segment }
    }
}

/// What is done with the numbers of a product.
pub(crate) trait Epilogue<R> {
    /// Numbers of one row of the product, from `column` on. `FUSED`: the instructions at hand have a
    /// multiplication and addition with one rounding.
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[R]);
}

/// Bytes of the left operand that are multiplied with every panel of the right one before the next rows are:
/// they, and a panel, stay in the second-level cache.
const LEFT_BYTES: usize = 384 * 1024;

/// Rows `rows` of the product of `left` and `right`, row by row of each tile to `epilogue`. A number is one sum over the
/// whole depth, first to last, so it depends on nothing but the two operands and the level.
pub(crate) fn multiply<S: Stored, E: Epilogue<S::Real>>(
    level: Level,
    left: Left<'_, S>,
    rows: std::ops::Range<usize>,
    right: Right<'_, S>,
    epilogue: &mut E,
) {
    assert_eq!(left.depth, right.depth);
    assert!(rows.end <= left.rows && rows.start.is_multiple_of(ROWS));
    let kernel = S::kernel(level);
    #[cfg(target_arch = "x86_64")]
    match level {
        // SAFETY: the processor has the instructions of the level.
        Level::Avx512 | Level::Avx512Bf16 => return unsafe { avx512(kernel, left, rows, right, epilogue) },
        // SAFETY: as above.
        Level::Avx2 => return unsafe { avx2(kernel, left, rows, right, epilogue) },
        Level::Portable => {}
    }
    tiles::<_, _, false>(kernel, left, rows, right, epilogue);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn avx512<S: Stored, E: Epilogue<S::Real>>(
    kernel: Kernel<S>,
    left: Left<'_, S>,
    rows: std::ops::Range<usize>,
    right: Right<'_, S>,
    epilogue: &mut E,
) {
    tiles::<_, _, true>(kernel, left, rows, right, epilogue);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<S: Stored, E: Epilogue<S::Real>>(
    kernel: Kernel<S>,
    left: Left<'_, S>,
    rows: std::ops::Range<usize>,
    right: Right<'_, S>,
    epilogue: &mut E,
) {
    tiles::<_, _, true>(kernel, left, rows, right, epilogue);
}

#[inline(always)]
fn tiles<S: Stored, E: Epilogue<S::Real>, const FUSED: bool>(
    kernel: Kernel<S>,
    left: Left<'_, S>,
    rows: std::ops::Range<usize>,
    right: Right<'_, S>,
    epilogue: &mut E,
) {
    let depth = left.depth;
    let deep = ((depth.segments - 1) * depth.groups + depth.last_groups) * S::GROUP;
    let block = (LEFT_BYTES / (deep * size_of::<S>()).max(1) / ROWS).max(1) * ROWS;
    let mut tile = Tile([[S::Real::ZERO; COLUMNS]; ROWS]);
    let panel_len = depth.groups * COLUMNS * S::GROUP;
    let panel_bytes = (panel_len * size_of::<S>()) as isize;
    let panels = right.columns.div_ceil(COLUMNS);
    for block_start in rows.clone().step_by(block) {
        let block_end = rows.end.min(block_start + block);
        let tiles = (block_end - block_start).div_ceil(ROWS);
        // Each tile of a panel fetches its share of the next one.
        let step = (COLUMNS * S::GROUP * size_of::<S>()).div_ceil(tiles);
        for panel in 0..panels {
            let first_column = panel * COLUMNS;
            let columns = COLUMNS.min(right.columns - first_column);
            // After the last panel, the first once more, for the next rows.
            let distance = if panel + 1 < panels { panel_bytes } else { -(panel as isize) * panel_bytes };
            for (part, row) in (block_start..block_end).step_by(ROWS).enumerate() {
                let count = ROWS.min(rows.end - row);
                let operands = Operands {
                    a: left.data[row / ROWS * left.tile..].as_ptr(),
                    a_row: left.row,
                    a_group: left.group,
                    a_segment: left.segment,
                    b: right.data[panel * panel_len..].as_ptr(),
                    b_segment: right.segment,
                    segments: depth.segments,
                    groups: depth.groups,
                    last_groups: depth.last_groups,
                    ahead: Ahead { distance, step, part },
                };
                // SAFETY: the lengths were asserted when the operands were made: `count` rows of the tile and
                // a whole panel, in each segment; the kernel is one for this processor.
                unsafe { kernel(count, columns <= COLUMNS / 2, &operands, &mut tile) };
                if columns == COLUMNS {
                    // A length that the compiler knows: whole registers and nothing besides.
                    for (index, values) in tile.0.iter().enumerate().take(count) {
                        epilogue.row::<FUSED>(row + index, first_column, &values[..COLUMNS]);
                    }
                } else {
                    for (index, values) in tile.0.iter().enumerate().take(count) {
                        epilogue.row::<FUSED>(row + index, first_column, &values[..columns]);
                    }
                }
            }
        }
    }
}
