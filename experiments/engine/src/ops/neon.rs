//! Products of bf16 on 64-bit ARM.
//!
//! There are 32 registers of four `f32`: three rows of a tile are 24 accumulators. `bfdot` adds a pair of products of bf16
//! numbers to each of four sums. A step of the loop has 24 of them, at two to four a cycle, and 11 loads.

use std::arch::aarch64::{
    float32x4_t, uint16x8_t, vdupq_n_f32, vdupq_n_u32, vld1q_u16, vreinterpretq_u16_u32, vst1q_f32,
};
use std::arch::asm;

use super::stored::Bf16;
use super::tile::{COLUMNS, Operands, Tile};

/// Registers of a row of a tile.
const REGISTERS: usize = COLUMNS / 4;

/// [`super::tile::portable`] by pairs of the depth.
///
/// # Safety
/// As [`super::tile::Compute`]; the processor has BF16.
#[target_feature(enable = "neon,bf16")]
pub(super) unsafe fn bf16(rows: usize, _: bool, operands: &Operands<Bf16>, tile: *mut Tile<f32>) {
    let mut row = 0;
    while row < rows {
        // SAFETY: the caller's promise; `row` is below `rows`.
        unsafe {
            if row + 3 <= rows {
                pairs::<3>(row, operands, tile);
                row += 3;
            } else {
                pairs::<1>(row, operands, tile);
                row += 1;
            }
        }
    }
}

/// Rows `first..first + R` of a tile.
///
/// # Safety
/// As [`bf16`], for these rows.
#[inline]
#[target_feature(enable = "neon,bf16")]
unsafe fn pairs<const R: usize>(first: usize, o: &Operands<Bf16>, tile: *mut Tile<f32>) {
    let mut sums = [[vdupq_n_f32(0.0); REGISTERS]; R];
    // SAFETY: every address lies within the operands, as the caller promises; a group is four bytes.
    unsafe {
        for segment in 0..o.segments {
            let groups = if segment + 1 == o.segments { o.last_groups } else { o.groups };
            let mut a = o.a.add(segment * o.a_segment + first * o.a_row);
            let mut b = o.b.add(segment * o.b_segment).cast::<u16>();
            let mut ahead = o.ahead.start(b, groups);
            for _ in 0..groups {
                fetch(ahead);
                ahead = ahead.wrapping_add(o.ahead.step);
                let mut left = [vdupq_n_u32(0); R];
                for (r, left) in left.iter_mut().enumerate() {
                    *left = vdupq_n_u32(a.add(r * o.a_row).cast::<u32>().read_unaligned());
                }
                for register in 0..REGISTERS {
                    let right = vld1q_u16(b.add(8 * register));
                    for (sums, &left) in sums.iter_mut().zip(&left) {
                        sums[register] = dot(sums[register], vreinterpretq_u16_u32(left), right);
                    }
                }
                a = a.add(o.a_group);
                b = b.add(2 * COLUMNS);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let row = tile.cast::<f32>().add((first + r) * COLUMNS);
            for (register, &sum) in sums.iter().enumerate() {
                vst1q_f32(row.add(4 * register), sum);
            }
        }
    }
}

/// Asks for a line in the second-level cache; any address will do.
#[inline(always)]
fn fetch(address: *const i8) {
    // SAFETY: the instruction is a hint, without effect where there is nothing to be read.
    unsafe { asm!("prfm pldl2keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly)) };
}

/// Each of four sums plus a pair of products. The standard library has the instruction in its nightly form only.
#[inline]
#[target_feature(enable = "neon,bf16")]
fn dot(mut sums: float32x4_t, left: uint16x8_t, right: uint16x8_t) -> float32x4_t {
    // SAFETY: the instruction computes on registers alone; the processor has it.
    unsafe {
        asm!(
            "bfdot {sums:v}.4s, {left:v}.8h, {right:v}.8h",
            sums = inout(vreg) sums,
            left = in(vreg) left,
            right = in(vreg) right,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
