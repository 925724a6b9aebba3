//! Which instructions the kernels use.

use std::sync::OnceLock;

/// Sets of instructions, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What the compiler makes of plain loops for the target's baseline (on 64-bit ARM: NEON).
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with products of bf16 pairs (`vdpbf16ps`).
    Avx512Bf16,
}

/// Names a lower level than the processor's, for measurements and for comparing machines.
const VARIABLE: &str = "SHOESTRING_KERNELS";

impl Level {
    pub(crate) const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The most that this processor can do.
    pub(crate) fn detected() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
            {
                return if is_x86_feature_detected!("avx512bf16") { Self::Avx512Bf16 } else { Self::Avx512 };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
        }
    }

    /// The level of this process: what the processor can do, or less where `SHOESTRING_KERNELS` names less.
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<Level> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let detected = Self::detected();
            let named = std::env::var(VARIABLE).ok();
            let named = named.and_then(|name| Self::ALL.into_iter().find(|level| level.name() == name));
            named.map_or(detected, |named| named.min(detected))
        })
    }

    /// Every level that this processor can do.
    #[cfg(test)]
    pub(crate) fn possible() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|&level| level <= Self::detected())
    }
}
