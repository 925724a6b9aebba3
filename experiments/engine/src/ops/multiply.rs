//! Products of packed operands, tile by tile, with what comes after a product done while its tile is in the
//! first-level cache.

use std::mem::MaybeUninit;

use super::level::Level;
use super::pack::{self, LeftLayout, packed_len};
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

    /// `depth` numbers and, where the level's best kernel wants them, zeros.
    pub(crate) fn padded<S: Stored>(level: Level, depth: usize) -> Self {
        let groups = pack::groups_of::<S>(level, depth);
        Self { segments: 1, groups, last_groups: groups }
    }
}

/// The left operand.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, S> {
    data: &'a [S],
    rows: usize,
    depth: Depth,
    /// Numbers from a row to the next, and from the first row of [`ROWS`] to that of the next.
    row: usize,
    tile: usize,
    group: usize,
    segment: usize,
}

impl<'a, S: Stored> Left<'a, S> {
    /// A row-major matrix as it lies. Where the depth is no multiple of [`Stored::GROUP`], zeros (or numbers
    /// that the right operand's zeros meet, if finite) follow each row.
    pub(crate) fn rows(data: &'a [S], rows: usize, depth: usize, stride: usize) -> Self {
        Self::rows_of_depth(data, rows, Depth::whole::<S>(depth), stride)
    }

    /// The same, of one segment of any number of groups.
    pub(crate) fn rows_of_depth(data: &'a [S], rows: usize, depth: Depth, stride: usize) -> Self {
        assert!(depth.segments == 1);
        assert!(rows == 0 || (rows - 1) * stride + depth.groups * S::GROUP <= data.len());
        Self { data, rows, depth, row: stride, tile: ROWS * stride, group: S::GROUP, segment: 0 }
    }

    /// What [`pack::left`] made, one segment after the other, each with room for `depth.groups` groups.
    pub(crate) fn packed(level: Level, data: &'a [S], rows: usize, depth: Depth) -> Self {
        let segment = pack::left_len::<S>(level, rows, depth.groups);
        assert!(depth.segments * segment <= data.len());
        let numbers = depth.groups * S::GROUP;
        let (row, tile, group) = match LeftLayout::of::<S>(level) {
            LeftLayout::Panels => (S::GROUP, ROWS * numbers, ROWS * S::GROUP),
            LeftLayout::Rows => {
                let row = pack::row_stride::<S>(numbers);
                (row, ROWS * row, S::GROUP)
            }
        };
        Self { data, rows, depth, row, tile, group, segment }
    }

    /// The address of a row's first group.
    fn start(&self, row: usize) -> *const S {
        let within = if self.group == S::GROUP { row * self.row } else { row / ROWS * self.tile };
        self.data[within..].as_ptr()
    }

    /// Whether matrix registers can take these rows.
    fn fits_matrix_registers(&self, rows: &std::ops::Range<usize>, kernel: &Kernel<S>) -> bool {
        let whole = |groups: usize| groups > 0 && groups.is_multiple_of(pack::MATRIX_GROUPS);
        let Depth { segments, groups, last_groups } = self.depth;
        self.group == S::GROUP
            && whole(last_groups)
            && (segments == 1 || whole(groups))
            && rows.end >= kernel.fewest
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

/// The same for matrix registers, which want more work of every panel that comes from further away; the processors that
/// have them have 2 MiB of second-level cache.
const MATRIX_LEFT_BYTES: usize = 1280 * 1024;

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
    assert!(rows.end <= left.rows && (left.group == S::GROUP || rows.start.is_multiple_of(ROWS)));
    let matrix = S::matrix_kernel(level).filter(|kernel| left.fits_matrix_registers(&rows, kernel));
    let left_bytes = if matrix.is_some() { MATRIX_LEFT_BYTES } else { LEFT_BYTES };
    let kernel = (matrix.unwrap_or_else(|| S::kernel(level)), left_bytes);
    #[cfg(target_arch = "x86_64")]
    match level {
        Level::Avx512 | Level::Avx512Bf16 | Level::Amx => {
            // SAFETY: the processor has the instructions of the level.
            return unsafe { avx512(kernel, left, rows, right, epilogue) };
        }
        // SAFETY: likewise.
        Level::Avx2 => return unsafe { avx2(kernel, left, rows, right, epilogue) },
        _ => {}
    }
    #[cfg(target_arch = "aarch64")]
    if level >= Level::Neon {
        return tiles::<_, _, true>(kernel, left, rows, right, epilogue);
    }
    tiles::<_, _, false>(kernel, left, rows, right, epilogue);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn avx512<S: Stored, E: Epilogue<S::Real>>(
    kernel: (Kernel<S>, usize),
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
    kernel: (Kernel<S>, usize),
    left: Left<'_, S>,
    rows: std::ops::Range<usize>,
    right: Right<'_, S>,
    epilogue: &mut E,
) {
    tiles::<_, _, true>(kernel, left, rows, right, epilogue);
}

/// Where a tile of the product lies.
#[derive(Clone, Copy)]
struct Place {
    /// Its first row, and how many.
    row: usize,
    count: usize,
    /// Rows before these that are computed once more, where a kernel has no lower tiles.
    again: usize,
    column: usize,
    columns: usize,
}

#[inline(always)]
fn tiles<S: Stored, E: Epilogue<S::Real>, const FUSED: bool>(
    kernel: (Kernel<S>, usize),
    left: Left<'_, S>,
    rows: std::ops::Range<usize>,
    right: Right<'_, S>,
    epilogue: &mut E,
) {
    let (Kernel { compute, rows: tall, fewest }, left_bytes) = kernel;
    let depth = left.depth;
    let deep = ((depth.segments - 1) * depth.groups + depth.last_groups) * S::GROUP;
    let block = (left_bytes / (deep * size_of::<S>()).max(1) / tall).max(1) * tall;
    let panel_len = depth.groups * COLUMNS * S::GROUP;
    let panel_bytes = (panel_len * size_of::<S>()) as isize;
    let panels = right.columns.div_ceil(COLUMNS);
    // Two tiles by turns: what comes after a product is done when the next one is under way, which matrix registers
    // compute beside everything else.
    let mut both = [const { MaybeUninit::<Tile<S::Real>>::uninit() }; 2];
    let [mut tile, mut before] = both.each_mut();
    let mut pending: Option<Place> = None;
    let (mut start, mut panel, mut row) = (rows.start, 0, rows.start);
    loop {
        let mut computed = None;
        if start < rows.end && panels > 0 {
            let end = rows.end.min(start + block);
            let column = panel * COLUMNS;
            let count = tall.min(end - row);
            let place = Place {
                row,
                count,
                again: fewest.saturating_sub(count),
                column,
                columns: COLUMNS.min(right.columns - column),
            };
            let ahead = Ahead {
                // After the last panel, the first once more, for the next rows.
                distance: if panel + 1 < panels { panel_bytes } else { -(panel as isize) * panel_bytes },
                // Each tile of a panel fetches its share of the next one.
                step: (COLUMNS * S::GROUP * size_of::<S>()).div_ceil((end - start).div_ceil(tall)),
                part: (row - start) / tall,
            };
            let operands = Operands {
                a: left.start(row - place.again),
                a_row: left.row,
                a_group: left.group,
                a_segment: left.segment,
                b: right.data[panel * panel_len..].as_ptr(),
                b_segment: right.segment,
                segments: depth.segments,
                groups: depth.groups,
                last_groups: depth.last_groups,
                ahead,
            };
            // SAFETY: the lengths were asserted when the operands were made: the rows of the tile and a whole panel, in
            // each segment; the kernel is one for this processor and these operands.
            unsafe {
                compute(place.again + count, place.columns <= COLUMNS / 2, &operands, tile.as_mut_ptr());
            }
            computed = Some(place);
            row += tall;
            if row >= end {
                panel += 1;
                if panel == panels {
                    panel = 0;
                    start = end;
                }
                row = start;
            }
        }
        if let Some(place) = pending {
            finish::<_, _, FUSED>(place, before, epilogue);
        }
        if computed.is_none() {
            break;
        }
        pending = computed;
        std::mem::swap(&mut tile, &mut before);
    }
}

/// Hands the rows of a computed tile to the epilogue.
#[inline(always)]
fn finish<R: Real, E: Epilogue<R>, const FUSED: bool>(
    place: Place,
    tile: &MaybeUninit<Tile<R>>,
    epilogue: &mut E,
) {
    let Place { row, count, again, column, columns } = place;
    for index in 0..count {
        // SAFETY: the kernel wrote these columns of every row that it was asked for.
        let values = unsafe {
            let first = tile.as_ptr().cast::<R>().add((again + index) * COLUMNS);
            std::slice::from_raw_parts(first, columns)
        };
        if columns == COLUMNS {
            // A length that the compiler knows: whole registers and nothing besides.
            epilogue.row::<FUSED>(row + index, column, &values[..COLUMNS]);
        } else {
            epilogue.row::<FUSED>(row + index, column, values);
        }
    }
}
