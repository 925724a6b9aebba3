//! The inverse scaling law: the larger the encoder, the fewer tokens it can be trained with at the same loss.
//!
//! For every reduction, with N̂ = image-tower parameters / 86 M and u = tokens / full length,
//!
//! ```text
//! drop in points = k N̂^-a (u^-b - 1)
//! ```
//!
//! fitted on CLIPA's ablations (arXiv 2305.07017, tables 11 and 12: S/16, B/16, L/16, LAION-400M, 2.56 B samples),
//! and for masked fine-tuning on CLIPA-v2's figure 2 (arXiv 2306.15658).

mod ablation;
mod drop;
mod lengths;
mod published;
mod table;
#[cfg(test)]
mod tests;

pub use self::ablation::{Ablation, AblationPoint};
use self::ablation::{image_group, text_group, tuning_mask_group};
pub(super) use self::drop::DropLaw;
use self::drop::GroupLaws;
pub use self::lengths::{
    full_image_tokens, full_text_tokens, image_lengths, shortest_image_tokens, shortest_text_tokens,
};
pub use self::table::{TableRow, image_table, text_table};
use super::Law;
use super::fit::FitError;
use crate::published::PublishedRun;
use crate::recipe::{ImageReduction, TextReduction};
use crate::units::Tokens;

/// Whether a model is evaluated as pretrained or after a short fine-tuning at full length (131 M samples).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// As pretrained: a resized model at its own length, a masked one unmasked.
    Before,
    /// After fine-tuning.
    After,
}

/// Every way to shorten an image, in the order of the stored law.
pub(super) const IMAGE_REDUCTIONS: [(ImageReduction, &str); 4] = [
    (ImageReduction::Resize, "resize"),
    (ImageReduction::Random, "random"),
    (ImageReduction::Grid, "grid"),
    (ImageReduction::Block, "block"),
];
/// Every way to shorten a caption, in the order of the stored law.
pub(super) const TEXT_REDUCTIONS: [(TextReduction, &str); 4] = [
    (TextReduction::Truncate, "truncate"),
    (TextReduction::Random, "random"),
    (TextReduction::Block, "block"),
    (TextReduction::Syntax, "syntax"),
];

/// A caption of this many tokens is whole for this law: CLIPA's full length.
pub const FULL_TEXT_TOKENS: u32 = 32;
/// Shortest part of the image sequence that was tried: H/14 with 16 of 256 tokens.
const LEAST_IMAGE_PART: f64 = 1.0 / 16.0;
/// Shortest part of the caption that was tried: 4 of 32 tokens.
const LEAST_TEXT_PART: f64 = 1.0 / 8.0;

/// The inverse scaling law for every reduction.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InverseLaw {
    /// In the order of [`IMAGE_REDUCTIONS`].
    pub(super) image_before: [DropLaw; 4],
    pub(super) image_after: [DropLaw; 4],
    /// In the order of [`TEXT_REDUCTIONS`], after fine-tuning.
    pub(super) text: [DropLaw; 4],
    /// Random mask in fine-tuning.
    pub(super) tuning_mask: DropLaw,
}

impl InverseLaw {
    pub(super) fn fitted(runs: &[PublishedRun]) -> Result<Self, FitError> {
        let four = |laws: GroupLaws| [laws.laws[0], laws.laws[1], laws.laws[2], laws.laws[3]];
        Ok(Self {
            image_before: four(image_group(runs, Tuning::Before).fitted()?),
            image_after: four(image_group(runs, Tuning::After).fitted()?),
            text: four(text_group(runs).fitted()?),
            tuning_mask: tuning_mask_group().fitted()?.laws[0],
        })
    }

    fn image(&self, reduction: ImageReduction, tuning: Tuning) -> DropLaw {
        let laws = match tuning {
            Tuning::Before => &self.image_before,
            Tuning::After => &self.image_after,
        };
        laws[reduction as usize]
    }
}

fn part(tokens: Tokens, full: Tokens) -> f64 {
    f64::from(tokens.0.max(1)) / f64::from(full.0.max(1))
}

/// Points of accuracy lost by pretraining an image tower of `image_parameters` with `tokens` of `full_tokens`
/// patches, after a short fine-tuning at full length. 0 from full length on.
#[must_use]
pub fn drop_points(
    image_parameters: f64,
    tokens: Tokens,
    full_tokens: Tokens,
    reduction: ImageReduction,
) -> f64 {
    drop_points_when(image_parameters, tokens, full_tokens, reduction, Tuning::After)
}

/// [`drop_points`], before or after fine-tuning.
#[must_use]
pub fn drop_points_when(
    image_parameters: f64,
    tokens: Tokens,
    full_tokens: Tokens,
    reduction: ImageReduction,
    tuning: Tuning,
) -> f64 {
    Law::built_in().inverse.image(reduction, tuning).points(image_parameters, part(tokens, full_tokens))
}

/// Points of accuracy lost by pretraining with captions of `tokens` of `full_tokens` tokens, after a short
/// fine-tuning with whole captions. Without that fine-tuning prompts are cut as well, which costs far more below
/// 8 tokens and follows no power law; the accuracy law knows it.
#[must_use]
pub fn text_drop_points(
    image_parameters: f64,
    tokens: Tokens,
    full_tokens: Tokens,
    reduction: TextReduction,
) -> f64 {
    let full = Tokens(full_tokens.0.min(FULL_TEXT_TOKENS));
    Law::built_in().inverse.text[reduction as usize].points(image_parameters, part(tokens, full))
}

/// Points of accuracy lost when fine-tuning (128 M samples) keeps only a part (0 to 1) of the patches, drawn at
/// random. Up to 30 % masked, larger encoders were seen to gain 0.1 to 0.3 instead.
#[must_use]
pub fn tuning_mask_drop_points(image_parameters: f64, kept_part: f64) -> f64 {
    Law::built_in().inverse.tuning_mask.points(image_parameters, kept_part)
}
