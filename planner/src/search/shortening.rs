//! How images and captions were shortened: the inverse scaling law in words, and the other ways to do it.

use super::candidate::{Candidate, short_name};
use super::space::Space;
use crate::compute;
use crate::law::StageShape;
use crate::law::inverse::{self, Tuning};
use crate::plan::ReductionRow;
use crate::recipe::{ImageReduction, TextReduction};
use crate::units::Tokens;

/// Image parameters of the smallest encoder of CLIPA's ablations, S/16, with some room.
const SMALLEST_ABLATED: f64 = 18e6;

impl Space<'_> {
    /// How the inverse scaling law was applied.
    pub(super) fn inverse_law(&self, chosen: &Candidate) -> Vec<String> {
        let Some(first) = chosen.stages.first() else { return Vec::new() };
        let mut words = Vec::new();
        let size = compute::parameters(chosen.architecture).image as f64;
        let full = inverse::full_image_tokens(chosen.architecture);
        let (name, tokens) = (chosen.short_name(), first.image_tokens);
        let index = self.architectures.iter().position(|other| other.name == chosen.architecture.name);
        // Of the next smaller size, the one with the same patches, so that tokens mean the same.
        let smaller = index.and_then(|index| {
            let sizes = self.neighbours(index, false);
            let patch = chosen.architecture.vision_cfg.patch_size;
            let same = sizes.iter().find(|&&other| self.architectures[other].vision_cfg.patch_size == patch);
            same.or(sizes.first()).map(|&other| self.architectures[other])
        });
        let beyond = if size < SMALLEST_ABLATED { " (extrapolated: CLIPA's smallest was S/16)" } else { "" };
        let reduction = first.stage.image_reduction;
        if tokens < full {
            let drops = |size: f64, full: Tokens| {
                [Tuning::Before, Tuning::After]
                    .map(|tuning| inverse::drop_points_when(size, tokens, full, reduction, tuning))
            };
            // What the plan itself ends with: a model without fine-tuning is used as it was pretrained.
            let tuned = chosen.stages.len() > 1;
            let shown = |[before, after]: [f64; 2]| {
                let after = if tuned { format!(", {after:.1} after it") } else { String::new() };
                format!("{before:.1} points before fine-tuning{after}")
            };
            let mut line = format!(
                "{name} tolerates {tokens} of {full} image tokens ({}) for a drop of {}{beyond}",
                image_word(reduction),
                shown(drops(size, full))
            );
            if let Some(other) = smaller {
                let other_size = compute::parameters(other).image as f64;
                let other_full = inverse::full_image_tokens(other);
                let [before, after] = drops(other_size, other_full);
                let lost = if tuned { format!("{before:.1} and {after:.1}") } else { format!("{before:.1}") };
                let drop = inverse::drop_points(size, tokens, full, reduction);
                let needed = inverse::shortest_image_tokens(other, drop, reduction);
                line.push_str(&format!(
                    "; {} would lose {lost}, or need {needed} of {other_full} for the same drop after it",
                    short_name(other)
                ));
            }
            words.push(line);
            words.extend(self.other_reductions(chosen));
        } else {
            words.push(format!("{name} is pretrained on all {full} image tokens: nothing is shortened"));
        }
        let full_text = inverse::full_text_tokens(chosen.architecture);
        if first.stage.text_tokens < full_text {
            let reduction = first.stage.text_reduction;
            let drop = inverse::text_drop_points(size, first.stage.text_tokens, full_text, reduction);
            words.push(format!(
                "{} of {full_text} text tokens ({}) cost it {drop:.1} points",
                first.stage.text_tokens,
                reduction_word(reduction)
            ));
        }
        words
    }

    /// The chosen plan with its images shortened by each means to as many patches: the same cost of training, and what
    /// the law says of each, with the plan's fine-tuning and as pretrained. Empty where nothing is shortened.
    pub(super) fn reduction_rows(&self, chosen: &Candidate) -> Vec<ReductionRow> {
        let mut shapes = chosen.shapes();
        let Some(first) = shapes.first().copied() else { return Vec::new() };
        let vision = &chosen.architecture.vision_cfg;
        let whole = vision.tokens_at(vision.image_size);
        if first.image_tokens >= whole {
            return Vec::new();
        }
        let side = first.image_tokens.0.isqrt();
        let kept = f64::from(first.image_tokens.0) / f64::from(whole.0);
        let all =
            [ImageReduction::Resize, ImageReduction::Random, ImageReduction::Grid, ImageReduction::Block];
        all.into_iter()
            .map(|reduction| {
                shapes[0] = if reduction == ImageReduction::Resize {
                    StageShape {
                        image_size_px: side * vision.patch_size,
                        full_image_tokens: first.image_tokens,
                        image_reduction: reduction,
                        mask_ratio: 0.0,
                        ..first
                    }
                } else {
                    StageShape {
                        image_size_px: vision.image_size,
                        full_image_tokens: whole,
                        image_reduction: reduction,
                        mask_ratio: 1.0 - kept,
                        ..first
                    }
                };
                let error =
                    |stages: &[StageShape]| self.law.error_percent(&self.case(chosen.architecture, stages));
                ReductionRow {
                    reduction,
                    image_size_px: shapes[0].image_size_px,
                    image_tokens: first.image_tokens.0,
                    error_percent: error(&shapes),
                    pretrained_error_percent: error(&shapes[..1]),
                    chosen: reduction == first.image_reduction,
                }
            })
            .collect()
    }

    /// What the other ways to shorten the image to as many patches would bring.
    fn other_reductions(&self, chosen: &Candidate) -> Option<String> {
        let rows = self.reduction_rows(chosen);
        let taken = rows.iter().find(|row| row.chosen)?;
        chosen.accuracy()?;
        let words = |row: &&ReductionRow| {
            let points = row.error_percent - taken.error_percent;
            let how = if points < 0.0 { "higher" } else { "lower" };
            format!("{} {:.1} points {how}", image_word(row.reduction), points.abs())
        };
        let others: Vec<String> = rows.iter().filter(|row| !row.chosen).map(|row| words(&row)).collect();
        let best =
            rows.iter().min_by(|a, b| a.pretrained_error_percent.total_cmp(&b.pretrained_error_percent))?;
        let before = if chosen.stages.len() == 1 || best.reduction == taken.reduction {
            String::new()
        } else {
            format!(
                "; without fine-tuning {} would come out best, {:.1} points ahead",
                image_word(best.reduction),
                taken.pretrained_error_percent - best.pretrained_error_percent
            )
        };
        Some(format!(
            "the same tokens by other means ({} is taken): {}{before}",
            image_word(taken.reduction),
            others.join(", ")
        ))
    }
}

/// `resized`, `a random mask`: for a sentence.
pub(crate) fn image_word(reduction: ImageReduction) -> &'static str {
    match reduction {
        ImageReduction::Resize => "resized",
        ImageReduction::Random => "a random mask",
        ImageReduction::Grid => "a grid mask",
        ImageReduction::Block => "a block mask",
    }
}

fn reduction_word(reduction: TextReduction) -> &'static str {
    match reduction {
        TextReduction::Truncate => "truncated",
        TextReduction::Random => "a random subset",
        TextReduction::Block => "a random block",
        TextReduction::Syntax => "nouns first",
    }
}
