//! The two number types that the towers are computed in: `f32` to train, `f64` to test the gradients, and
//! what candle's own number traits lack.

use std::cell::RefCell;
use std::marker::PhantomData;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor, Var, WithDType};

/// `f32` or `f64`.
pub(crate) trait Real: WithDType + Default + std::ops::Neg<Output = Self> + std::iter::Sum {
    /// Bytes of one number in a file.
    const BYTES: usize;
    const ZERO: Self;
    const ONE: Self;

    fn square_root(self) -> Self;
    /// self * factor + addend, rounded once.
    fn fused(self, factor: Self, addend: Self) -> Self;
    /// e^x, written so that loops over it become vector instructions. NaN stays NaN.
    fn exponential(self) -> Self;
    /// The error function, written so that loops over it become vector instructions. NaN stays NaN.
    fn error_function(self) -> Self;
    fn write_le(self, bytes: &mut [u8]);
    fn read_le(bytes: &[u8]) -> Self;
    /// The numbers of a storage, to be changed; absent where it holds another type.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Real for f32 {
    const BYTES: usize = 4;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn square_root(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn fused(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }

    /// Range reduction x = n ln 2 + r and Cephes' polynomial for e^r (`expf.c`), within 2 units in the last place.
    #[inline(always)]
    fn exponential(self) -> Self {
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        // Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number.
        const ROUND: f32 = 12_582_912.0;
        // Comparisons rather than `min` and `max`, which would turn NaN into a number.
        let x = if self < -87.3 { -87.3 } else { self };
        let x = if x > 88.3 { 88.3 } else { x };
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = x - n * LN2_HIGH - n * LN2_LOW;
        let mut p = 1.987_569_1e-4;
        p = p * r + 1.398_199_9e-3;
        p = p * r + 8.333_452e-3;
        p = p * r + 4.166_579_6e-2;
        p = p * r + 1.666_666_5e-1;
        p = p * r + 5e-1;
        let power = f32::from_bits(
            (shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)).wrapping_shl(23),
        );
        (p * r * r + r + 1.0) * power
    }

    /// The rational approximation of Eigen and XLA on [-4, 4] (`generic_fast_erf_float`), within 5e-7.
    #[inline(always)]
    fn error_function(self) -> Self {
        let x = if self < -4.0 { -4.0 } else { self };
        let x = if x > 4.0 { 4.0 } else { x };
        let s = x * x;
        let mut p = -2.726_142_4e-10;
        p = p * s + 2.770_681_4e-8;
        p = p * s - 2.101_024_e-6;
        p = p * s - 5.692_506_5e-5;
        p = p * s - 7.349_906e-4;
        p = p * s - 2.954_6e-3;
        p = p * s - 1.609_603_3e-2;
        let mut q = -1.456_607_2e-5;
        q = q * s - 2.133_740_5e-4;
        q = q * s - 1.682_827e-3;
        q = q * s - 7.373_329e-3;
        q = q * s - 1.426_474e-2;
        x * p / q
    }

    fn write_le(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_le_bytes());
    }

    fn read_le(bytes: &[u8]) -> Self {
        let mut word = [0; 4];
        word.copy_from_slice(bytes);
        Self::from_le_bytes(word)
    }

    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F32(numbers) => Some(numbers),
            _ => None,
        }
    }
}

impl Real for f64 {
    const BYTES: usize = 8;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn square_root(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn fused(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }

    #[inline(always)]
    fn exponential(self) -> Self {
        self.exp()
    }

    #[inline(always)]
    fn error_function(self) -> Self {
        candle_core::cpu::erf::erf_f64(self)
    }

    fn write_le(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_le_bytes());
    }

    fn read_le(bytes: &[u8]) -> Self {
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        Self::from_le_bytes(word)
    }

    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F64(numbers) => Some(numbers),
            _ => None,
        }
    }
}

/// The numbers of a contiguous part of a candle storage.
pub(crate) fn numbers<'a, T: Real>(
    storage: &'a CpuStorage,
    layout: &Layout,
    op: &'static str,
) -> candle_core::Result<&'a [T]> {
    let (start, end) =
        layout.contiguous_offsets().ok_or_else(|| candle_core::Error::RequiresContiguous { op }.bt())?;
    Ok(&T::cpu_storage_as_slice(storage)?[start..end])
}

/// Runs `work` on the numbers of a tensor in main memory; copies only where it is not contiguous.
pub(crate) fn with_numbers<T: Real, R>(
    tensor: &Tensor,
    work: impl FnOnce(&[T]) -> R,
) -> candle_core::Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => Ok(work(numbers(storage, layout, "read")?)),
        _ => Err(candle_core::Error::Msg("this engine computes in main memory only".into())),
    }
}

/// Changes the numbers of a variable where they lie.
pub(crate) fn change_numbers<T: Real, R>(
    var: &Var,
    work: impl FnOnce(&mut [T]) -> R,
) -> candle_core::Result<R> {
    let change = Change { work: RefCell::new(Some(work)), result: RefCell::new(None), number: PhantomData };
    var.inplace_op1(&change)?;
    change.result.into_inner().ok_or_else(|| candle_core::Error::Msg("the change did not run".into()))
}

/// candle hands out mutable numbers to in-place operations only.
struct Change<T, F, R> {
    work: RefCell<Option<F>>,
    result: RefCell<Option<R>>,
    number: PhantomData<T>,
}

impl<T: Real, R, F: FnOnce(&mut [T]) -> R> InplaceOp1 for Change<T, F, R> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (start, end) = layout
            .contiguous_offsets()
            .ok_or_else(|| candle_core::Error::RequiresContiguous { op: "change" }.bt())?;
        let numbers = T::slice_mut(storage)
            .ok_or_else(|| candle_core::Error::Msg("the variable holds another number type".into()))?;
        if let Some(work) = self.work.borrow_mut().take() {
            *self.result.borrow_mut() = Some(work(&mut numbers[start..end]));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_within_two_units_in_the_last_place() {
        for step in -87_000..88_000 {
            let x = step as f32 / 1000.0;
            let exact = f64::from(x).exp();
            let relative = (f64::from(x.exponential()) - exact).abs() / exact;
            assert!(relative < 2.4e-7, "e^{x}: {relative:e}");
        }
        assert_eq!(0f32.exponential(), 1.0);
        assert!((-1e9f32).exponential() < 1e-37);
        assert!(f32::NAN.exponential().is_nan());
    }

    #[test]
    fn the_error_function_is_within_half_a_millionth() {
        for step in -8_000..8_000 {
            let x = step as f32 / 1000.0;
            let error = (f64::from(x.error_function()) - f64::from(x).error_function()).abs();
            assert!(error < 5e-7, "erf {x}: {error:e}");
        }
        assert!(f32::NAN.error_function().is_nan());
    }
}
