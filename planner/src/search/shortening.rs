//! How images and captions were shortened: the inverse scaling law in words, and the other ways to do it.

use super::candidate::{Candidate, short_name};
use super::space::Space;
use crate::compute;
use crate::law::inverse;
use crate::recipe::{ImageReduction, TextReduction};

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
        if tokens < full {
            let drop = inverse::drop_points(size, tokens, full, ImageReduction::Resize);
            let mut line = format!(
                "{name} tolerates {tokens} of {full} image tokens for a drop of {drop:.1} points after fine-tuning at \
                 full length{beyond}"
            );
            if let Some(other) = smaller {
                let other_size = compute::parameters(other).image as f64;
                let other_full = inverse::full_image_tokens(other);
                let lost = inverse::drop_points(other_size, tokens, other_full, ImageReduction::Resize);
                let needed = inverse::shortest_image_tokens(other, drop, ImageReduction::Resize);
                line.push_str(&format!(
                    "; {} would lose {lost:.1}, or need {needed} of {other_full} for the same drop",
                    short_name(other)
                ));
            }
            words.push(line);
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
}

fn reduction_word(reduction: TextReduction) -> &'static str {
    match reduction {
        TextReduction::Truncate => "truncated",
        TextReduction::Random => "a random subset",
        TextReduction::Block => "a random block",
        TextReduction::Syntax => "nouns first",
    }
}
