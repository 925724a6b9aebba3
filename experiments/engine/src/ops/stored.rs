//! The number types that operands of products are kept in.

use super::level::Level;
use super::pack::Element;
use super::tile::{Kernel, kernel_bf16, kernel_f32, kernel_f64, matrix_kernel_bf16};
use crate::gradients::Gradient;
use crate::real::Real;
use crate::tower::{AllBuffers, Buffers};

/// The upper half of an `f32`: eight bits of exponent, eight of precision (seven of them stored).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Bf16(pub(crate) u16);

/// A number as operands of products are kept; sums of products are [`Stored::Real`].
pub(crate) trait Stored: Element<Self> + Default + std::fmt::Debug + 'static {
    /// What it is computed in.
    type Real: Real + Element<Self>;
    /// Numbers that one instruction multiplies and adds up, which therefore lie side by side when packed.
    const GROUP: usize;
    /// Whether a number has fewer digits than what it is computed in: then functions of it need no more than
    /// its own.
    const ROUGH: bool;

    /// Rounded to the nearest, ties to even. NaN stays NaN.
    fn narrow(x: Self::Real) -> Self;
    fn widen(self) -> Self::Real;
    /// The kernel of products at a level, for operands of any shape.
    fn kernel(level: Level) -> Kernel<Self>;

    /// The part of a level that matters to such numbers.
    fn level(level: Level) -> Level {
        if level == Level::NeonBf16 { Level::Neon } else { level.min(Level::Avx512) }
    }

    /// Whether a level multiplies such numbers in matrix registers, as far as an operand's shape allows it.
    fn in_matrix_registers(level: Level) -> bool {
        Self::matrix_kernel(level).is_some()
    }

    /// The kernel for that.
    fn matrix_kernel(_: Level) -> Option<Kernel<Self>> {
        None
    }

    /// A dense gradient of such numbers.
    fn gradient(numbers: Vec<Self>) -> Gradient<Self::Real>;
    /// The buffers for such numbers.
    fn buffers(all: &AllBuffers) -> &Buffers<Self>;
}

impl Stored for Bf16 {
    type Real = f32;
    const GROUP: usize = 2;
    const ROUGH: bool = true;

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        Self(if x.is_nan() { 0x7fc0 } else { rounded })
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    fn kernel(level: Level) -> Kernel<Self> {
        kernel_bf16(level)
    }

    fn level(level: Level) -> Level {
        level
    }

    fn matrix_kernel(level: Level) -> Option<Kernel<Self>> {
        matrix_kernel_bf16(level)
    }

    fn gradient(numbers: Vec<Self>) -> Gradient<f32> {
        Gradient::Half(numbers)
    }

    fn buffers(all: &AllBuffers) -> &Buffers<Self> {
        &all.half
    }
}

impl Stored for f32 {
    type Real = Self;
    const GROUP: usize = 1;
    const ROUGH: bool = false;

    #[inline(always)]
    fn narrow(x: Self) -> Self {
        x
    }

    #[inline(always)]
    fn widen(self) -> Self {
        self
    }

    fn kernel(level: Level) -> Kernel<Self> {
        kernel_f32(level)
    }

    fn gradient(numbers: Vec<Self>) -> Gradient<Self> {
        Gradient::Dense(numbers)
    }

    fn buffers(all: &AllBuffers) -> &Buffers<Self> {
        &all.single
    }
}

impl Stored for f64 {
    type Real = Self;
    const GROUP: usize = 1;
    const ROUGH: bool = false;

    #[inline(always)]
    fn narrow(x: Self) -> Self {
        x
    }

    #[inline(always)]
    fn widen(self) -> Self {
        self
    }

    fn kernel(_: Level) -> Kernel<Self> {
        kernel_f64()
    }

    fn gradient(numbers: Vec<Self>) -> Gradient<Self> {
        Gradient::Dense(numbers)
    }

    fn buffers(all: &AllBuffers) -> &Buffers<Self> {
        &all.double
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_and_ties_go_to_even() {
        for (x, expected) in [
            (1.0, 0x3f80),
            (-2.5, 0xc020),
            // Halfway between 1 and the next number, and between that and the one after.
            (1.0 + 1.0 / 256.0, 0x3f80),
            (1.0 + 3.0 / 256.0, 0x3f82),
            (1.0 + 1.0 / 256.0 + 1e-6, 0x3f81),
            (f32::INFINITY, 0x7f80),
            (f32::MAX, 0x7f80),
        ] {
            assert_eq!(Bf16::narrow(x).0, expected, "{x}");
        }
        assert!(Bf16::narrow(f32::NAN).widen().is_nan());
        for bits in 0..=u16::MAX {
            let x = Bf16(bits).widen();
            assert!(x.is_nan() || Bf16::narrow(x).0 == bits, "{bits:x}");
        }
    }
}
