//! Rearranging operands for the kernels of products.
//!
//! A panel is `PANEL` columns of an operand, group by group of the depth: (groups, PANEL, GROUP). What lies
//! beyond the operand's columns or depth is zero.
//!
//! Each of the three ways is defined by its plain loops, `*_plain`, with which every level is compared. Bound by bytes,
//! those of the cache that the operand comes from: 4 or 2 read and 2 written for each number of bf16. Turning a square of
//! 16 x 16 pairs takes 64 shuffles, one a cycle: 8 numbers, 32 to 48 bytes, a cycle.

use super::level::Level;
use super::stored::{Bf16, Stored};
use super::tile::{COLUMNS, ROWS};

/// A number that can be packed as `S`.
pub(crate) trait Element<S: Stored>: Copy + Send + Sync {
    fn stored(self) -> S;

    /// [`interleave`] with the instructions of a level.
    #[inline(always)]
    fn interleave_at<const PANEL: usize>(_: Level, source: Source<'_, Self>, groups: usize, out: &mut [S]) {
        interleave_plain::<Self, S, PANEL>(source, groups, out);
    }

    /// [`turn`] with the instructions of a level.
    #[inline(always)]
    fn turn_at(_: Level, source: Source<'_, Self>, groups: usize, out: &mut [S]) {
        turn_plain(source, groups, out);
    }

    /// [`transpose`] with the instructions of a level.
    #[inline(always)]
    fn transpose_at(_: Level, source: Source<'_, Self>, groups: usize, out: &mut [S]) {
        transpose_plain(source, groups, out);
    }
}

/// A row-major matrix to be packed.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, E> {
    data: &'a [E],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a, E> Source<'a, E> {
    pub(crate) fn new(data: &'a [E], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * stride + columns <= data.len());
        Self { data, rows, columns, stride }
    }
}

/// Numbers that a packed operand of these sizes takes.
pub(crate) fn packed_len(columns: usize, panel: usize, groups: usize, group: usize) -> usize {
    columns.div_ceil(panel) * panel * groups * group
}

/// How a left operand is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftLayout {
    /// [`interleave`] with panels of [`ROWS`].
    Panels,
    /// [`turn`].
    Rows,
}

impl LeftLayout {
    /// The one that a level's kernels want.
    pub(crate) fn of<S: Stored>(level: Level) -> Self {
        if S::in_matrix_registers(level) { Self::Rows } else { Self::Panels }
    }
}

/// Groups of the depth that a matrix register holds.
pub(crate) const MATRIX_GROUPS: usize = 16;

/// Groups that an operand of this depth is packed with, so that the level's best kernel can take it.
pub(crate) fn groups_of<S: Stored>(level: Level, depth: usize) -> usize {
    let groups = depth.div_ceil(S::GROUP);
    if S::in_matrix_registers(level) { groups.next_multiple_of(MATRIX_GROUPS) } else { groups }
}

/// Numbers from a row of a left operand to the next. Kernels read so many rows side by side, a line of the first-level
/// cache of each at a time: an odd number of lines from one to the next, and no two rows want the same place there. Short
/// rows do not fill it.
pub(crate) fn row_stride<S>(numbers: usize) -> usize {
    const LINE: usize = 64;
    let bytes = numbers * size_of::<S>();
    if bytes < 8 * LINE { numbers } else { (bytes.div_ceil(LINE) | 1) * LINE / size_of::<S>() }
}

/// Numbers that [`left`] makes of `rows` rows of the operand.
pub(crate) fn left_len<S: Stored>(level: Level, rows: usize, groups: usize) -> usize {
    match LeftLayout::of::<S>(level) {
        LeftLayout::Panels => packed_len(rows, ROWS, groups, S::GROUP),
        LeftLayout::Rows => rows * row_stride::<S>(groups * S::GROUP),
    }
}

/// Packs a matrix whose rows are the depth and whose columns are the rows of a left operand.
pub(crate) fn left<E: Element<S>, S: Stored>(
    level: Level,
    source: Source<'_, E>,
    groups: usize,
    out: &mut [S],
) {
    match LeftLayout::of::<S>(level) {
        LeftLayout::Panels => interleave::<_, _, ROWS>(level, source, groups, out),
        LeftLayout::Rows => turn(level, source, groups, out),
    }
}

/// Rows made columns: out\[column\]\[row\] = source\[row\]\[column\], zeros up to `groups` groups; a column's numbers are
/// [`row_stride`] apart from the next one's, and what lies in between is of no meaning.
fn turn<E: Element<S>, S: Stored>(level: Level, source: Source<'_, E>, groups: usize, out: &mut [S]) {
    assert!(source.rows <= groups * S::GROUP);
    assert_eq!(out.len(), source.columns * row_stride::<S>(groups * S::GROUP));
    E::turn_at(level, source, groups, out);
}

fn turn_plain<E: Element<S>, S: Stored>(source: Source<'_, E>, groups: usize, out: &mut [S]) {
    for (column, out) in out.chunks_exact_mut(row_stride::<S>(groups * S::GROUP)).enumerate() {
        for (row, out) in out[..groups * S::GROUP].iter_mut().enumerate() {
            *out = if row < source.rows {
                source.data[row * source.stride + column].stored()
            } else {
                S::default()
            };
        }
    }
}

/// Packs a matrix whose rows are the depth: out\[panel\]\[group\]\[column\]\[part\] =
/// source\[group * GROUP + part\]\[panel * PANEL + column\].
pub(crate) fn interleave<E: Element<S>, S: Stored, const PANEL: usize>(
    level: Level,
    source: Source<'_, E>,
    groups: usize,
    out: &mut [S],
) {
    assert!(source.rows <= groups * S::GROUP);
    assert_eq!(out.len(), packed_len(source.columns, PANEL, groups, S::GROUP));
    E::interleave_at::<PANEL>(level, source, groups, out);
}

fn interleave_plain<E: Element<S>, S: Stored, const PANEL: usize>(
    source: Source<'_, E>,
    groups: usize,
    out: &mut [S],
) {
    for (panel, out) in out.chunks_exact_mut(groups * PANEL * S::GROUP).enumerate() {
        let first = panel * PANEL;
        let count = PANEL.min(source.columns - first);
        for (group, out) in out.chunks_exact_mut(PANEL * S::GROUP).enumerate() {
            for part in 0..S::GROUP {
                let row = group * S::GROUP + part;
                let columns = if row < source.rows { count } else { 0 };
                for column in 0..columns {
                    out[column * S::GROUP + part] =
                        source.data[row * source.stride + first + column].stored();
                }
                for column in columns..PANEL {
                    out[column * S::GROUP + part] = S::default();
                }
            }
        }
    }
}

/// Packs a matrix whose columns are the depth, for the right operand: out\[panel\]\[group\]\[column\]\[part\] =
/// source\[panel * COLUMNS + column\]\[group * GROUP + part\].
pub(crate) fn transpose<E: Element<S>, S: Stored>(
    level: Level,
    source: Source<'_, E>,
    groups: usize,
    out: &mut [S],
) {
    assert!(source.columns <= groups * S::GROUP);
    assert_eq!(out.len(), packed_len(source.rows, COLUMNS, groups, S::GROUP));
    E::transpose_at(level, source, groups, out);
}

fn transpose_plain<E: Element<S>, S: Stored>(source: Source<'_, E>, groups: usize, out: &mut [S]) {
    for (panel, out) in out.chunks_exact_mut(groups * COLUMNS * S::GROUP).enumerate() {
        for column in 0..COLUMNS {
            let row = panel * COLUMNS + column;
            for group in 0..groups {
                for part in 0..S::GROUP {
                    let place = group * S::GROUP + part;
                    let inside = row < source.rows && place < source.columns;
                    out[(group * COLUMNS + column) * S::GROUP + part] =
                        if inside { source.data[row * source.stride + place].stored() } else { S::default() };
                }
            }
        }
    }
}

impl Element<Self> for f64 {
    #[inline(always)]
    fn stored(self) -> Self {
        self
    }
}

impl Element<Self> for f32 {
    #[inline(always)]
    fn stored(self) -> Self {
        self
    }
}

/// Numbers that are packed as bf16: by vector instructions where the level has them.
macro_rules! packed_as_bf16 {
    ($number:ty, $stored:expr) => {
        impl Element<Bf16> for $number {
            #[inline(always)]
            fn stored(self) -> Bf16 {
                $stored(self)
            }

            fn interleave_at<const PANEL: usize>(
                level: Level,
                source: Source<'_, Self>,
                groups: usize,
                out: &mut [Bf16],
            ) {
                #[cfg(target_arch = "x86_64")]
                if level >= Level::Avx512Bf16 && (PANEL == 12 || PANEL == 32) {
                    // SAFETY: the processor has the instructions; sizes were asserted by `interleave`.
                    return unsafe { x86::interleave::<Self, PANEL>(source, groups, out) };
                }
                let _ = level;
                interleave_plain::<Self, Bf16, PANEL>(source, groups, out);
            }

            fn turn_at(level: Level, source: Source<'_, Self>, groups: usize, out: &mut [Bf16]) {
                #[cfg(target_arch = "x86_64")]
                if level >= Level::Avx512Bf16 {
                    // SAFETY: the processor has the instructions; sizes were asserted by `turn`.
                    return unsafe { x86::turn(source, groups, out) };
                }
                let _ = level;
                turn_plain(source, groups, out);
            }

            fn transpose_at(level: Level, source: Source<'_, Self>, groups: usize, out: &mut [Bf16]) {
                #[cfg(target_arch = "x86_64")]
                if level >= Level::Avx512Bf16 {
                    // SAFETY: the processor has the instructions; sizes were asserted by `transpose`.
                    return unsafe { x86::transpose(source, groups, out) };
                }
                let _ = level;
                transpose_plain(source, groups, out);
            }
        }
    };
}

packed_as_bf16!(f32, Bf16::narrow);
packed_as_bf16!(Bf16, std::convert::identity);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512i, _mm256_maskz_loadu_epi16, _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh,
        _mm512_cvtneps_pbh, _mm512_mask_storeu_epi32, _mm512_maskz_loadu_epi16, _mm512_maskz_loadu_ps,
        _mm512_or_si512, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_storeu_si512,
        _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    };

    use super::{Bf16, COLUMNS, Source, row_stride};

    /// Numbers that can be loaded as bf16. The loads read `count` numbers from an address on, zeros beyond.
    pub(super) trait Loads: Copy {
        /// Up to 16 numbers, each in the low half of 32 bits.
        ///
        /// # Safety
        /// AVX-512 with BW and BF16; `count` numbers can be read.
        unsafe fn spread(from: *const Self, count: usize) -> __m512i;
        /// Up to 32 numbers side by side.
        ///
        /// # Safety
        /// As `spread`.
        unsafe fn pairs(from: *const Self, count: usize) -> __m512i;
    }

    fn mask16(count: usize) -> u16 {
        if count >= 16 { u16::MAX } else { (1 << count) - 1 }
    }

    impl Loads for Bf16 {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn spread(from: *const Self, count: usize) -> __m512i {
            // SAFETY: the caller's promise; what the mask leaves out is not read.
            unsafe { _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask16(count), from.cast())) }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn pairs(from: *const Self, count: usize) -> __m512i {
            let mask = if count >= 32 { u32::MAX } else { (1 << count) - 1 };
            // SAFETY: the caller's promise; what the mask leaves out is not read.
            unsafe { _mm512_maskz_loadu_epi16(mask, from.cast()) }
        }
    }

    impl Loads for f32 {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn spread(from: *const Self, count: usize) -> __m512i {
            // SAFETY: the caller's promise; what the mask leaves out is not read; the register of 16 bf16 has
            // the size of the one of 16 whole numbers.
            unsafe {
                let narrow = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask16(count), from));
                _mm512_cvtepu16_epi32(std::mem::transmute::<
                    std::arch::x86_64::__m256bh,
                    std::arch::x86_64::__m256i,
                >(narrow))
            }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn pairs(from: *const Self, count: usize) -> __m512i {
            // SAFETY: as above; the second load is skipped where it has nothing to read.
            unsafe {
                let low = _mm512_maskz_loadu_ps(mask16(count), from);
                let high = if count > 16 {
                    _mm512_maskz_loadu_ps(mask16(count - 16), from.add(16))
                } else {
                    _mm512_castsi512_ps(_mm512_setzero_si512())
                };
                std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
            }
        }
    }

    /// # Safety
    /// AVX-512 with BW, VL and BF16; `out` as long as [`super::interleave`] asserts.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn interleave<E: Loads, const PANEL: usize>(
        source: Source<'_, E>,
        groups: usize,
        out: &mut [Bf16],
    ) {
        for (panel, out) in out.chunks_exact_mut(groups * PANEL * 2).enumerate() {
            let first = panel * PANEL;
            let count = PANEL.min(source.columns - first);
            for group in 0..groups {
                let row = 2 * group;
                for half in 0..PANEL.div_ceil(16) {
                    let taken = count.saturating_sub(16 * half).min(16);
                    // SAFETY: `taken` numbers of an existing row are read, and 16 pairs of a group (12 where the
                    // panel has 12 columns) are written.
                    unsafe {
                        let at = |row: usize| {
                            if row < source.rows && taken > 0 {
                                E::spread(
                                    source.data.as_ptr().add(row * source.stride + first + 16 * half),
                                    taken,
                                )
                            } else {
                                _mm512_setzero_si512()
                            }
                        };
                        let both = _mm512_or_si512(at(row), _mm512_slli_epi32::<16>(at(row + 1)));
                        let to = out.as_mut_ptr().add((group * PANEL + 16 * half) * 2);
                        if PANEL == 12 {
                            _mm512_mask_storeu_epi32(to.cast(), 0xfff, both);
                        } else {
                            _mm512_storeu_si512(to.cast(), both);
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// AVX-512 with BW, VL and BF16; `out` as long as [`super::turn`] asserts.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn turn<E: Loads>(source: Source<'_, E>, groups: usize, out: &mut [Bf16]) {
        let stride = row_stride::<Bf16>(2 * groups);
        for first in (0..source.columns).step_by(16) {
            let taken = (source.columns - first).min(16);
            for block in (0..groups).step_by(16) {
                let kept = (groups - block).min(16);
                // SAFETY: `taken` numbers of existing rows are read, and `kept` pairs of a row of `out` written.
                unsafe {
                    let mut pairs = [_mm512_setzero_si512(); 16];
                    for (index, register) in pairs.iter_mut().enumerate() {
                        let at = |row: usize| {
                            if row < source.rows {
                                E::spread(source.data.as_ptr().add(row * source.stride + first), taken)
                            } else {
                                _mm512_setzero_si512()
                            }
                        };
                        let row = 2 * (block + index);
                        *register = _mm512_or_si512(at(row), _mm512_slli_epi32::<16>(at(row + 1)));
                    }
                    let columns = transposed(pairs);
                    for (index, &column) in columns.iter().enumerate().take(taken) {
                        let to = (first + index) * stride + 2 * block;
                        _mm512_mask_storeu_epi32(out.as_mut_ptr().add(to).cast(), mask16(kept), column);
                    }
                }
            }
        }
    }

    /// # Safety
    /// AVX-512 with BW, VL and BF16; `out` as long as [`super::transpose`] asserts.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn transpose<E: Loads>(source: Source<'_, E>, groups: usize, out: &mut [Bf16]) {
        for (panel, out) in out.chunks_exact_mut(groups * COLUMNS * 2).enumerate() {
            for half in 0..COLUMNS / 16 {
                let first = panel * COLUMNS + 16 * half;
                for block in (0..groups).step_by(16) {
                    let taken = source.columns.saturating_sub(2 * block).min(32);
                    // SAFETY: `taken` numbers of existing rows are read; each of the stores writes the 16 pairs
                    // of one half of a group that exists.
                    unsafe {
                        let mut rows = [_mm512_setzero_si512(); 16];
                        for (index, register) in rows.iter_mut().enumerate() {
                            if first + index < source.rows && taken > 0 {
                                let from = (first + index) * source.stride + 2 * block;
                                *register = E::pairs(source.data.as_ptr().add(from), taken);
                            }
                        }
                        let columns = transposed(rows);
                        for (index, &column) in columns.iter().enumerate().take(groups - block) {
                            let to = ((block + index) * COLUMNS + 16 * half) * 2;
                            _mm512_storeu_si512(out.as_mut_ptr().add(to).cast(), column);
                        }
                    }
                }
            }
        }
    }

    /// A square of 16 x 16 numbers of 32 bits, rows made columns.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transposed(r: [__m512i; 16]) -> [__m512i; 16] {
        let mut t = r;
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
        }
        // u[4i + j]: in each quarter L, column 4L + j of the rows 4i to 4i + 3.
        let mut u = t;
        for i in 0..4 {
            u[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
            u[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
            u[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
            u[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
        }
        let mut out = u;
        for j in 0..4 {
            let even_low = _mm512_shuffle_i32x4::<0x88>(u[j], u[4 + j]);
            let odd_low = _mm512_shuffle_i32x4::<0xdd>(u[j], u[4 + j]);
            let even_high = _mm512_shuffle_i32x4::<0x88>(u[8 + j], u[12 + j]);
            let odd_high = _mm512_shuffle_i32x4::<0xdd>(u[8 + j], u[12 + j]);
            out[j] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
            out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even_low, even_high);
            out[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
            out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high);
        }
        out
    }
}
