//! Which instructions the kernels use.

use std::sync::OnceLock;

use crate::error::{EngineError, Result};

/// Sets of instructions, of each architecture from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What the compiler makes of plain loops for the target's baseline, no product fused with an addition.
    Portable,
    /// 64-bit ARM's vectors, with fused products.
    Neon,
    /// Those with products of bf16 pairs (`bfdot`): Neoverse V1 and N2 and later, Apple M2 and later.
    NeonBf16,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with products of bf16 pairs (`vdpbf16ps`).
    Avx512Bf16,
    /// That, and matrix registers for bf16 (`tdpbf16ps`).
    Amx,
}

/// Names a lower level than the processor's, for measurements and for comparing machines.
const VARIABLE: &str = "SHOESTRING_KERNELS";

impl Level {
    /// Those of this architecture.
    pub(crate) const ALL: &[Self] = if cfg!(target_arch = "aarch64") {
        &[Self::Portable, Self::Neon, Self::NeonBf16]
    } else {
        &[Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx]
    };

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
                if !is_x86_feature_detected!("avx512bf16") {
                    return Self::Avx512;
                }
                return if super::amx::permitted() { Self::Amx } else { Self::Avx512Bf16 };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return if std::arch::is_aarch64_feature_detected!("bf16") { Self::NeonBf16 } else { Self::Neon };
        }
        Self::Portable
    }

    /// Whether there are products of bf16 numbers.
    pub(crate) fn multiplies_bf16(self) -> bool {
        matches!(self, Self::NeonBf16 | Self::Avx512Bf16 | Self::Amx)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::NeonBf16 => "neon-bf16",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
        }
    }

    /// The level of this process: what the processor can do, or less where `SHOESTRING_KERNELS` names less. A name
    /// that is none is refused by [`Level::check`].
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<Level> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let detected = Self::detected();
            let named = std::env::var(VARIABLE).ok().and_then(|name| Self::named(&name).ok().flatten());
            named.map_or(detected, |named| named.min(detected))
        })
    }

    /// The level of this name; none for an empty one.
    fn named(name: &str) -> Result<Option<Self>> {
        let level = Self::ALL.iter().copied().find(|level| level.name() == name);
        if level.is_none() && !name.is_empty() {
            let known = Self::ALL.iter().map(|level| level.name()).collect::<Vec<_>>().join(", ");
            return Err(EngineError::UnknownKernels { found: name.to_owned(), known });
        }
        Ok(level)
    }

    /// Refuses a `SHOESTRING_KERNELS` that names no level: what was meant is not known, so nothing is measured or
    /// trained.
    pub(crate) fn check() -> Result<()> {
        match std::env::var_os(VARIABLE) {
            Some(name) => Self::named(&name.to_string_lossy()).map(drop),
            None => Ok(()),
        }
    }

    /// Every level that this processor can do.
    #[cfg(test)]
    pub(crate) fn possible() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|&level| level <= Self::detected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_name_and_other_names_are_refused() {
        for &level in Level::ALL {
            assert_eq!(Level::named(level.name()).expect("a level"), Some(level));
        }
        assert_eq!(Level::named("").expect("none"), None);
        let error = Level::named("avx1024").expect_err("no such level");
        assert_eq!(error.to_string(), "SHOESTRING_KERNELS is `avx1024`, which names no kernels");
        let names = if cfg!(target_arch = "aarch64") {
            "portable, neon, neon-bf16"
        } else {
            "portable, avx2, avx512, avx512-bf16, amx"
        };
        assert!(error.hint().is_some_and(|hint| hint.contains(names)));
    }
}
