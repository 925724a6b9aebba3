//! Which instructions the kernels use.

use std::sync::OnceLock;

use crate::error::{EngineError, Result};

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
    /// That, and matrix registers for bf16 (`tdpbf16ps`).
    Amx,
}

/// Names a lower level than the processor's, for measurements and for comparing machines.
const VARIABLE: &str = "SHOESTRING_KERNELS";

impl Level {
    pub(crate) const ALL: [Self; 5] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx];

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
        Self::Portable
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
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
        let level = Self::ALL.into_iter().find(|level| level.name() == name);
        if level.is_none() && !name.is_empty() {
            let known = Self::ALL.map(Self::name).join(", ");
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
        Self::ALL.into_iter().filter(|&level| level <= Self::detected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_name_and_other_names_are_refused() {
        for level in Level::ALL {
            assert_eq!(Level::named(level.name()).expect("a level"), Some(level));
        }
        assert_eq!(Level::named("").expect("none"), None);
        let error = Level::named("avx1024").expect_err("no such level");
        assert_eq!(error.to_string(), "SHOESTRING_KERNELS is `avx1024`, which names no kernels");
        assert!(error.hint().is_some_and(|hint| hint.contains("portable, avx2, avx512, avx512-bf16, amx")));
    }
}
