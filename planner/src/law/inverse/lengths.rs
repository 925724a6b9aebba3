//! Which lengths an architecture can be trained at, and the shortest that a tolerated drop allows.

use super::{FULL_TEXT_TOKENS, LEAST_IMAGE_PART, LEAST_TEXT_PART, drop_points, part, text_drop_points};
use crate::architecture::Architecture;
use crate::recipe::{ImageReduction, TextReduction};
use crate::units::Tokens;

/// Patches of the whole image.
#[must_use]
pub fn full_image_tokens(architecture: &Architecture) -> Tokens {
    architecture.vision_cfg.tokens_at(architecture.vision_cfg.image_size)
}

/// Text tokens of the whole caption, at most [`FULL_TEXT_TOKENS`].
#[must_use]
pub fn full_text_tokens(architecture: &Architecture) -> Tokens {
    Tokens(architecture.text_cfg.context_length.min(FULL_TEXT_TOKENS))
}

/// Image lengths that the patch size allows, shortest first: squares for `resize`, grid and block masks, any
/// number for a random mask; none shorter than was ever tried (a sixteenth).
#[must_use]
pub fn image_lengths(architecture: &Architecture, reduction: ImageReduction) -> Vec<Tokens> {
    let full = full_image_tokens(architecture);
    let side = architecture.vision_cfg.image_size / architecture.vision_cfg.patch_size.max(1);
    let all: Vec<Tokens> = match reduction {
        ImageReduction::Random => (1..=full.0).map(Tokens).collect(),
        _ => (1..=side).map(|side| Tokens(side * side)).collect(),
    };
    all.into_iter().filter(|tokens| part(*tokens, full) >= LEAST_IMAGE_PART).collect()
}

/// The shortest image sequence for pretraining that costs at most `tolerated_drop` points.
#[must_use]
pub fn shortest_image_tokens(
    architecture: &Architecture,
    tolerated_drop: f64,
    reduction: ImageReduction,
) -> Tokens {
    let full = full_image_tokens(architecture);
    let size = crate::compute::parameters(architecture).image as f64;
    image_lengths(architecture, reduction)
        .into_iter()
        .find(|tokens| drop_points(size, *tokens, full, reduction) <= tolerated_drop)
        .unwrap_or(full)
}

/// The shortest captions for pretraining that cost at most `tolerated_drop` points; at least 4 of 32 tokens, and
/// never fewer than the 2 markers.
#[must_use]
pub fn shortest_text_tokens(
    architecture: &Architecture,
    tolerated_drop: f64,
    reduction: TextReduction,
) -> Tokens {
    let full = full_text_tokens(architecture);
    let size = crate::compute::parameters(architecture).image as f64;
    (2..=full.0)
        .map(Tokens)
        .filter(|tokens| part(*tokens, full) >= LEAST_TEXT_PART)
        .find(|tokens| text_drop_points(size, *tokens, full, reduction) <= tolerated_drop)
        .unwrap_or(full)
}
