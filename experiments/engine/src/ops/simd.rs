//! Loops compiled for the widest vectors that the processor at hand has.
//!
//! The bits do not depend on the vector width: sums run over a fixed number of lanes and no product is fused
//! with an addition.

use crate::real::Real;

/// Lanes of a sum: one AVX-512 register of `f32`.
const LANES: usize = 16;

/// Defines a function whose body is compiled for AVX-512, for AVX2 and for the baseline, and chooses at run time. The
/// body is a plain loop over numbers: it is the kernel's definition and its portable form at once.
macro_rules! widest {
    ($(#[$meta:meta])* pub(crate) fn $name:ident<$t:ident: $bound:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        pub(crate) fn $name<$t: $bound>($($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<$t: $bound>($($arg: $ty),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                #[allow(clippy::too_many_arguments)]
                fn avx512<$t: $bound>($($arg: $ty),*) $(-> $out)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments)]
                fn avx2<$t: $bound>($($arg: $ty),*) $(-> $out)? {
                    body($($arg),*)
                }
                use $crate::ops::level::Level;
                match Level::current() {
                    // SAFETY: a level is never above what the processor has.
                    Level::Avx512 | Level::Avx512Bf16 | Level::Amx => return unsafe { avx512($($arg),*) },
                    // SAFETY: likewise.
                    Level::Avx2 => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use widest;

/// Sum of `term` over the pairs of two rows of equal length, in a fixed order: number i to lane i mod 16, then the
/// lanes by halves. Bound by how long an addition takes (one register's worth each), which rows of other sums hide.
#[inline(always)]
pub(crate) fn sum_pairs<T: Real>(a: &[T], b: &[T], term: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    let mut total = T::zero();
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        total += term(a, b);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            let other = lanes[lane + half];
            lanes[lane] += other;
        }
        half /= 2;
    }
    total + lanes[0]
}

/// Sum of `term` over a row, in a fixed order.
#[inline(always)]
pub(crate) fn sum_terms<T: Real>(row: &[T], term: impl Fn(T) -> T) -> T {
    sum_pairs(row, row, |x, _| term(x))
}
