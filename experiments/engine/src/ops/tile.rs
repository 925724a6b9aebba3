//! The innermost loops of products: one tile of the result, kept in registers over the whole depth.
//!
//! A tile is at most [`ROWS`] x [`COLUMNS`], with matrix registers [`MOST_ROWS`] x [`COLUMNS`]. For AVX-512: 12 rows of two registers are 24 accumulators; with
//! the two registers of the right operand and one broadcast number of the left that is 27 of 32. A step of
//! the loop does 24 multiply-adds with 14 loads, so it runs at the rate of the multiply-adds (one a cycle: 64
//! FLOPs a cycle and core in bf16, 32 in f32), from the second-level cache too. What lies further away would
//! come too late, so the loop asks for the next panel of the right operand while it works on this one.

use super::level::Level;
use super::stored::{Bf16, Stored};
use crate::real::Real;

/// Rows of a tile.
pub(crate) const ROWS: usize = 12;
/// Rows of a matrix register.
pub(crate) const MATRIX_ROWS: usize = 16;
/// Rows of the tallest tile that a kernel has: two matrix registers.
pub(crate) const MOST_ROWS: usize = 2 * MATRIX_ROWS;
/// Columns of a tile: two AVX-512 registers of `f32`.
pub(crate) const COLUMNS: usize = 32;

/// One tile of a result, row-major.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Tile<R>(pub(crate) [[R; COLUMNS]; MOST_ROWS]);

/// Where the operands of a tile lie. The depth is cut into segments of `groups` groups of [`Stored::GROUP`]
/// numbers, the last one of `last_groups`.
#[derive(Clone, Copy)]
pub(crate) struct Operands<S> {
    pub(crate) a: *const S,
    /// Numbers from a row of the left operand to the next.
    pub(crate) a_row: usize,
    /// Numbers from one group of a row to the next.
    pub(crate) a_group: usize,
    /// Numbers from one segment to the next.
    pub(crate) a_segment: usize,
    /// The right operand: groups of [`COLUMNS`] columns, one after the other.
    pub(crate) b: *const S,
    pub(crate) b_segment: usize,
    pub(crate) segments: usize,
    pub(crate) groups: usize,
    pub(crate) last_groups: usize,
    pub(crate) ahead: Ahead,
}

/// Which part of the next panel of the right operand to fetch into the second-level cache meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    /// Bytes from this panel to the next.
    pub(crate) distance: isize,
    /// Bytes to fetch for each group.
    pub(crate) step: usize,
    /// Parts that tiles before this one fetch.
    pub(crate) part: usize,
}

impl Ahead {
    /// The first byte to fetch in a segment of `groups` groups that starts at `b`. Only fetched, never read, so
    /// it may lie anywhere.
    #[inline(always)]
    pub(crate) fn start<S>(self, b: *const S, groups: usize) -> *const i8 {
        b.cast::<i8>().wrapping_offset(self.distance).wrapping_add(self.part * self.step * groups)
    }
}

/// Computes and writes the first rows of a tile, as many as the first argument says; with `narrow` only the first half
/// of their columns.
///
/// # Safety
/// The processor has the instructions of the kernel's level; the operands' pointers reach every number that
/// their strides and counts name; the tile can be written.
pub(crate) type Compute<S> = unsafe fn(usize, bool, &Operands<S>, *mut Tile<<S as Stored>::Real>);

/// A kernel and the tiles that it can compute.
#[derive(Clone, Copy)]
pub(crate) struct Kernel<S: Stored> {
    pub(crate) compute: Compute<S>,
    /// The most and the fewest rows of a tile.
    pub(crate) rows: usize,
    pub(crate) fewest: usize,
}

impl<S: Stored> Kernel<S> {
    const fn any(compute: Compute<S>) -> Self {
        Self { compute, rows: ROWS, fewest: 1 }
    }
}

/// The kernel's definition, and the one for processors without a faster one: tile\[i\]\[j\] = sum over k of
/// a\[i\]\[k\] b\[k\]\[j\], added up first to last. 2 FLOPs for each k of a number of the tile.
///
/// # Safety
/// As [`Compute`].
pub(crate) unsafe fn portable<S: Stored>(
    rows: usize,
    _: bool,
    operands: &Operands<S>,
    tile: *mut Tile<S::Real>,
) {
    // SAFETY: the caller's promise.
    unsafe { all_rows::<S, false>(rows, operands, tile) };
}

/// [`portable`] with each product and addition rounded once, which 64-bit ARM's baseline has an instruction for.
///
/// # Safety
/// As [`Compute`].
#[cfg(target_arch = "aarch64")]
unsafe fn fused<S: Stored>(rows: usize, _: bool, operands: &Operands<S>, tile: *mut Tile<S::Real>) {
    // SAFETY: the caller's promise.
    unsafe { all_rows::<S, true>(rows, operands, tile) };
}

/// # Safety
/// As [`Compute`].
#[inline(always)]
unsafe fn all_rows<S: Stored, const FUSED: bool>(
    rows: usize,
    operands: &Operands<S>,
    tile: *mut Tile<S::Real>,
) {
    let mut row = 0;
    while row < rows {
        // SAFETY: the caller's promise; `row` is below `rows`.
        unsafe {
            if row + 3 <= rows {
                some_rows::<S, 3, FUSED>(row, operands, tile);
                row += 3;
            } else {
                some_rows::<S, 1, FUSED>(row, operands, tile);
                row += 1;
            }
        }
    }
}

/// Rows `first..first + N` of a tile. `FUSED`: multiplied and added with one rounding.
///
/// # Safety
/// As [`Compute`], for these rows.
#[inline(always)]
unsafe fn some_rows<S: Stored, const N: usize, const FUSED: bool>(
    first: usize,
    o: &Operands<S>,
    tile: *mut Tile<S::Real>,
) {
    let mut sums = [[S::Real::ZERO; COLUMNS]; N];
    for segment in 0..o.segments {
        let groups = if segment + 1 == o.segments { o.last_groups } else { o.groups };
        for group in 0..groups {
            for part in 0..S::GROUP {
                // SAFETY: within the operands, as the caller promises.
                unsafe {
                    let b = o.b.add(segment * o.b_segment + group * COLUMNS * S::GROUP + part);
                    for (n, sums) in sums.iter_mut().enumerate() {
                        let a = o.a.add(segment * o.a_segment + (first + n) * o.a_row + group * o.a_group);
                        let x = (*a.add(part)).widen();
                        for (column, sum) in sums.iter_mut().enumerate() {
                            let y = (*b.add(column * S::GROUP)).widen();
                            *sum = if FUSED { x.fused(y, *sum) } else { *sum + x * y };
                        }
                    }
                }
            }
        }
    }
    for (n, sums) in sums.into_iter().enumerate() {
        // SAFETY: the tile has these rows.
        unsafe { tile.cast::<[S::Real; COLUMNS]>().add(first + n).write(sums) };
    }
}

/// The best kernel for bf16 that a level has.
pub(crate) fn kernel_bf16(level: Level) -> Kernel<Bf16> {
    #[cfg(target_arch = "x86_64")]
    match level {
        Level::Avx512Bf16 | Level::Amx => return Kernel::any(x86::bf16),
        Level::Avx512 | Level::Avx2 => return Kernel::any(x86::avx2::<Bf16>),
        _ => {}
    }
    #[cfg(target_arch = "aarch64")]
    match level {
        Level::NeonBf16 => return Kernel::any(super::neon::bf16),
        Level::Neon => return Kernel::any(fused::<Bf16>),
        _ => {}
    }
    let _ = level;
    Kernel::any(portable::<Bf16>)
}

/// The kernel for matrix registers, where a level has them.
pub(crate) fn matrix_kernel_bf16(level: Level) -> Option<Kernel<Bf16>> {
    #[cfg(target_arch = "x86_64")]
    if level == Level::Amx {
        return Some(Kernel { compute: super::amx::bf16, rows: MOST_ROWS, fewest: MATRIX_ROWS });
    }
    let _ = level;
    None
}

/// The best kernel for `f32` that a level has.
pub(crate) fn kernel_f32(level: Level) -> Kernel<f32> {
    #[cfg(target_arch = "x86_64")]
    match level {
        Level::Amx | Level::Avx512Bf16 | Level::Avx512 => return Kernel::any(x86::single),
        Level::Avx2 => return Kernel::any(x86::avx2::<f32>),
        _ => {}
    }
    #[cfg(target_arch = "aarch64")]
    if level >= Level::Neon {
        return Kernel::any(fused::<f32>);
    }
    let _ = level;
    Kernel::any(portable::<f32>)
}

/// The kernel for `f64`: gradients are checked with it, nothing is trained.
pub(crate) fn kernel_f64() -> Kernel<f64> {
    Kernel::any(portable::<f64>)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _MM_HINT_T1, _mm_prefetch, _mm512_dpbf16_ps, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use super::{Bf16, COLUMNS, Operands, Stored, Tile, all_rows};

    /// # Safety
    /// As [`super::Compute`]; AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2<S: Stored>(
        rows: usize,
        _: bool,
        operands: &Operands<S>,
        tile: *mut Tile<S::Real>,
    ) {
        // SAFETY: the caller's promise.
        unsafe { all_rows::<S, true>(rows, operands, tile) };
    }

    /// One function for each number of rows and of registers a row.
    macro_rules! by_size {
        ($name:ident, $type:ty, $feature:literal, $of_size:ident) => {
            /// # Safety
            /// As [`super::Compute`]; the processor has the features named below.
            #[target_feature(enable = $feature)]
            pub(super) unsafe fn $name(rows: usize, narrow: bool, o: &Operands<$type>, tile: *mut Tile<f32>) {
                // SAFETY: the caller's promise.
                unsafe {
                    match (rows, narrow) {
                        (1, false) => $of_size::<1, 2>(o, tile),
                        (2, false) => $of_size::<2, 2>(o, tile),
                        (3, false) => $of_size::<3, 2>(o, tile),
                        (4, false) => $of_size::<4, 2>(o, tile),
                        (5, false) => $of_size::<5, 2>(o, tile),
                        (6, false) => $of_size::<6, 2>(o, tile),
                        (7, false) => $of_size::<7, 2>(o, tile),
                        (8, false) => $of_size::<8, 2>(o, tile),
                        (9, false) => $of_size::<9, 2>(o, tile),
                        (10, false) => $of_size::<10, 2>(o, tile),
                        (11, false) => $of_size::<11, 2>(o, tile),
                        (_, false) => $of_size::<12, 2>(o, tile),
                        (1, true) => $of_size::<1, 1>(o, tile),
                        (2, true) => $of_size::<2, 1>(o, tile),
                        (3, true) => $of_size::<3, 1>(o, tile),
                        (4, true) => $of_size::<4, 1>(o, tile),
                        (5, true) => $of_size::<5, 1>(o, tile),
                        (6, true) => $of_size::<6, 1>(o, tile),
                        (7, true) => $of_size::<7, 1>(o, tile),
                        (8, true) => $of_size::<8, 1>(o, tile),
                        (9, true) => $of_size::<9, 1>(o, tile),
                        (10, true) => $of_size::<10, 1>(o, tile),
                        (11, true) => $of_size::<11, 1>(o, tile),
                        (_, true) => $of_size::<12, 1>(o, tile),
                    }
                }
            }
        };
    }

    by_size!(bf16, Bf16, "avx512f,avx512bf16", bf16_of);
    by_size!(single, f32, "avx512f", single_of);

    /// # Safety
    /// As [`super::Compute`].
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn bf16_of<const R: usize, const V: usize>(o: &Operands<Bf16>, tile: *mut Tile<f32>) {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        // SAFETY: every address lies within the operands, as the caller promises; a group is four bytes; the
        // registers' types differ in name only.
        unsafe {
            for segment in 0..o.segments {
                let groups = if segment + 1 == o.segments { o.last_groups } else { o.groups };
                let mut a = o.a.add(segment * o.a_segment);
                let mut b = o.b.add(segment * o.b_segment);
                let mut ahead = o.ahead.start(b, groups);
                for _ in 0..groups {
                    _mm_prefetch::<_MM_HINT_T1>(ahead);
                    ahead = ahead.wrapping_add(o.ahead.step);
                    let mut right = [_mm512_loadu_si512(b.cast()); V];
                    for (v, right) in right.iter_mut().enumerate() {
                        *right = _mm512_loadu_si512(b.add(32 * v).cast());
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let pair = a.add(r * o.a_row).cast::<i32>().read_unaligned();
                        let left = as_pairs(_mm512_set1_epi32(pair));
                        for (sum, &right) in sums.iter_mut().zip(&right) {
                            *sum = _mm512_dpbf16_ps(*sum, left, as_pairs(right));
                        }
                    }
                    a = a.add(o.a_group);
                    b = b.add(2 * COLUMNS);
                }
            }
            store(&sums, tile);
        }
    }

    /// # Safety
    /// As [`super::Compute`].
    #[target_feature(enable = "avx512f")]
    unsafe fn single_of<const R: usize, const V: usize>(o: &Operands<f32>, tile: *mut Tile<f32>) {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        // SAFETY: every address lies within the operands, as the caller promises.
        unsafe {
            for segment in 0..o.segments {
                let groups = if segment + 1 == o.segments { o.last_groups } else { o.groups };
                let mut a = o.a.add(segment * o.a_segment);
                let mut b = o.b.add(segment * o.b_segment);
                let mut ahead = o.ahead.start(b, groups);
                for _ in 0..groups {
                    _mm_prefetch::<_MM_HINT_T1>(ahead);
                    ahead = ahead.wrapping_add(o.ahead.step);
                    let mut right = [_mm512_setzero_ps(); V];
                    for (v, right) in right.iter_mut().enumerate() {
                        *right = _mm512_loadu_ps(b.add(16 * v));
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let left = _mm512_set1_ps(*a.add(r * o.a_row));
                        for (sum, &right) in sums.iter_mut().zip(&right) {
                            *sum = _mm512_fmadd_ps(left, right, *sum);
                        }
                    }
                    a = a.add(o.a_group);
                    b = b.add(COLUMNS);
                }
            }
            store(&sums, tile);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn as_pairs(register: __m512i) -> __m512bh {
        // SAFETY: both are 64 bytes of any content.
        unsafe { std::mem::transmute(register) }
    }

    /// # Safety
    /// `R` is at most 12, `V` at most 2.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store<const R: usize, const V: usize>(sums: &[[__m512; V]; R], tile: *mut Tile<f32>) {
        for (row, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                // SAFETY: the tile has `R` rows of two registers.
                unsafe { _mm512_storeu_ps(tile.cast::<f32>().add(COLUMNS * row + 16 * v), sum) };
            }
        }
    }
}
