//! Products of bf16 in the processor's matrix registers (Intel AMX, from Sapphire Rapids on).
//!
//! A matrix register has 16 rows of 64 bytes. `tdpbf16ps` adds 16 x 32 numbers times 32 x 16 numbers to 16 x 16 sums
//! in 16 cycles: 1,024 FLOPs a cycle and core, where `vdpbf16ps` does 64 to 128. Two registers of the left operand and
//! two of the right one make four products, so a step of the loop takes 64 cycles and reads 4 KiB: from the
//! first-level cache that is half of what it can give, from the second-level cache about all of it. So the right
//! operand's panel should stay near, and the left one's rows in the second-level cache. Meanwhile it fetches four lines of
//! the next panel, which is all of it where eight tiles share one.

use std::arch::asm;
use std::cell::Cell;
use std::sync::OnceLock;

use super::pack::MATRIX_GROUPS;
use super::stored::Bf16;
use super::tile::{COLUMNS, MATRIX_ROWS, MOST_ROWS, Operands, Tile};

/// Whether this processor has matrix registers for bf16 and the system lets this process use them. Linux wants to be
/// asked, since a thread's saved state grows by 8 KiB with them.
pub(crate) fn permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| {
        /// Bits of leaf 7's EDX.
        const TILES: u32 = 1 << 24;
        const BF16: u32 = 1 << 22;
        let (most, leaf) = (std::arch::x86_64::__cpuid(0).eax, std::arch::x86_64::__cpuid_count(7, 0).edx);
        most >= 7 && leaf & TILES != 0 && leaf & BF16 != 0 && ask()
    })
}

#[cfg(target_os = "linux")]
fn ask() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` and the state component of the registers' data, as in Linux's documentation of
    /// "dynamic features" (arch/x86/xstate.rst).
    const REQUEST: libc::c_long = 0x1023;
    const DATA: libc::c_long = 18;
    // SAFETY: the call reads its two numbers only; systems that do not know it refuse it.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn ask() -> bool {
    false
}

/// What `ldtilecfg` reads: palette 1, and eight registers of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Sets the calling thread's registers up, once: they stay so, since nothing else in this process uses them.
///
/// # Safety
/// [`permitted`] is true.
#[inline]
unsafe fn configure() {
    thread_local! {
        static CONFIGURED: Cell<bool> = const { Cell::new(false) };
    }
    CONFIGURED.with(|configured| {
        if !configured.replace(true) {
            // SAFETY: the caller's promise; the instruction reads the 64 bytes of the configuration.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack)) };
        }
    });
}

/// What the loop reads when a segment of the depth ends, by offset.
#[repr(C)]
struct Next {
    /// Bytes from the end of a segment to the start of the next.
    a_skip: isize,
    b_skip: isize,
    /// Pieces of a segment, and of the last one.
    pieces: usize,
    last_pieces: usize,
}

/// One loop over the depth for each number of registers of the left and of the right operand.
macro_rules! loops {
    ($name:ident, $zeros:literal, $loads_and_products:literal, $stores:literal) => {
        /// # Safety
        /// As [`bf16`]; `a1` and `out1` are the second register's rows.
        #[inline]
        unsafe fn $name(
            [a0, a1]: [*const Bf16; 2],
            a_row: usize,
            b: *const Bf16,
            segments: usize,
            next: &Next,
            (ahead, ahead_step): (*const i8, usize),
            [out0, out1]: [*mut f32; 2],
        ) {
            let first = if segments == 1 { next.last_pieces } else { next.pieces };
            // SAFETY: the caller's promise. The result goes to `out0` and `out1`; the flags and the matrix registers
            // are the compiler's to reckon as changed.
            unsafe {
                asm!(
                    $zeros,
                    "2:",
                    $loads_and_products,
                    "add {a0}, 64",
                    "add {a1}, 64",
                    "add {b}, 2048",
                    "dec {n}",
                    "jnz 2b",
                    "dec {segments}",
                    "jz 3f",
                    "add {a0}, qword ptr [{next}]",
                    "add {a1}, qword ptr [{next}]",
                    "add {b}, qword ptr [{next} + 8]",
                    "mov {n}, qword ptr [{next} + 16]",
                    "cmp {segments}, 1",
                    "jne 2b",
                    "mov {n}, qword ptr [{next} + 24]",
                    "jmp 2b",
                    "3:",
                    $stores,
                    a0 = inout(reg) a0 => _,
                    a1 = inout(reg) a1 => _,
                    b = inout(reg) b => _,
                    n = inout(reg) first => _,
                    segments = inout(reg) segments => _,
                    next = in(reg) next,
                    ahead = inout(reg) ahead => _,
                    ahead_step = in(reg) ahead_step,
                    a_row = in(reg) a_row,
                    // From a row of the right operand, or of a tile, to the next: the same.
                    step = in(reg) 4 * COLUMNS,
                    out0 = in(reg) out0,
                    out1 = in(reg) out1,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

loops!(
    two_by_two,
    "tilezero tmm0\ntilezero tmm1\ntilezero tmm2\ntilezero tmm3",
    "tileloadd tmm6, [{b} + {step}]
     tileloadd tmm4, [{a0} + {a_row}]
     tileloadd tmm7, [{b} + {step} + 64]
     tileloadd tmm5, [{a1} + {a_row}]
     tdpbf16ps tmm0, tmm4, tmm6
     prefetcht1 byte ptr [{ahead}]
     prefetcht1 byte ptr [{ahead} + 64]
     tdpbf16ps tmm1, tmm4, tmm7
     prefetcht1 byte ptr [{ahead} + 128]
     prefetcht1 byte ptr [{ahead} + 192]
     tdpbf16ps tmm2, tmm5, tmm6
     add {ahead}, {ahead_step}
     tdpbf16ps tmm3, tmm5, tmm7",
    "tilestored [{out0} + {step}], tmm0
     tilestored [{out0} + {step} + 64], tmm1
     tilestored [{out1} + {step}], tmm2
     tilestored [{out1} + {step} + 64], tmm3"
);
loops!(
    one_by_two,
    "tilezero tmm0\ntilezero tmm1",
    "tileloadd tmm6, [{b} + {step}]
     tileloadd tmm4, [{a0} + {a_row}]
     tileloadd tmm7, [{b} + {step} + 64]
     tdpbf16ps tmm0, tmm4, tmm6
     tdpbf16ps tmm1, tmm4, tmm7",
    "tilestored [{out0} + {step}], tmm0
     tilestored [{out0} + {step} + 64], tmm1
     # {out1} {ahead} {ahead_step}"
);
loops!(
    two_by_one,
    "tilezero tmm0\ntilezero tmm2",
    "tileloadd tmm6, [{b} + {step}]
     tileloadd tmm4, [{a0} + {a_row}]
     tileloadd tmm5, [{a1} + {a_row}]
     tdpbf16ps tmm0, tmm4, tmm6
     tdpbf16ps tmm2, tmm5, tmm6",
    "tilestored [{out0} + {step}], tmm0
     tilestored [{out1} + {step}], tmm2
     # {ahead} {ahead_step}"
);
loops!(
    one_by_one,
    "tilezero tmm0",
    "tileloadd tmm6, [{b} + {step}]
     tileloadd tmm4, [{a0} + {a_row}]
     tdpbf16ps tmm0, tmm4, tmm6",
    "tilestored [{out0} + {step}], tmm0
     # {out1} {ahead} {ahead_step}"
);

/// Computes a tile of 16 to [`MOST_ROWS`] rows, whose definition is [`super::tile::portable`]. A row is a sum over pairs of
/// the depth, first to last.
///
/// # Safety
/// As [`super::tile::Kernel`]; [`permitted`] is true; a row's groups lie one after the other, and every segment has a
/// multiple of [`MATRIX_GROUPS`] of them, at least one.
pub(crate) unsafe fn bf16(rows: usize, narrow: bool, o: &Operands<Bf16>, tile: *mut Tile<f32>) {
    debug_assert!((MATRIX_ROWS..=MOST_ROWS).contains(&rows));
    let (pieces, last_pieces) = (o.groups / MATRIX_GROUPS, o.last_groups / MATRIX_GROUPS);
    let next = Next {
        a_skip: (2 * o.a_segment) as isize - (64 * pieces) as isize,
        b_skip: (2 * o.b_segment) as isize - (4 * COLUMNS * MATRIX_GROUPS * pieces) as isize,
        pieces,
        last_pieces,
    };
    // SAFETY: the caller's promise. The second register ends with the tile's last row: it overlaps the first where
    // there are fewer than 32 rows, and computes the same there.
    unsafe {
        configure();
        let second = rows - MATRIX_ROWS;
        let a = [o.a, o.a.add(second * o.a_row)];
        let out = [tile.cast::<f32>(), tile.cast::<f32>().add(second * COLUMNS)];
        let run = match (second > 0, narrow) {
            (true, false) => two_by_two,
            (false, false) => one_by_two,
            (true, true) => two_by_one,
            (false, true) => one_by_one,
        };
        run(
            a,
            2 * o.a_row,
            o.b,
            o.segments,
            &next,
            (o.ahead.start(o.b, o.groups), MATRIX_GROUPS * o.ahead.step),
            out,
        );
    }
}
