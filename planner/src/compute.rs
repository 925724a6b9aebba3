//! Parameters and floating-point operations of a two-tower CLIP, from its shape alone.
//!
//! A transformer tower of width w, depth d and MLP width m over n tokens takes
//! d·(n·(4w² + 2wm) + 2n²w) multiply-accumulates forward: query, key, value and output projections 4w², the
//! MLP 2wm, scores and their weighted sum 2nw a token. This counts two FLOPs a multiply-accumulate and leaves
//! out what is linear in the width (norms, biases, activation functions), as `open_clip` does in
//! `docs/model_profile.csv`, whose every printed digit this reproduces.

use crate::architecture::{Architecture, ImagePositions};
use crate::units::{Flops, Tokens};

/// Channels of an image.
const CHANNELS: u64 = 3;
/// A training step over its forward pass: the backward pass takes twice the forward's products, one for the
/// gradient of the inputs, one for that of the weights.
pub const TRAINING_OVER_FORWARD: f64 = 3.0;

/// How many numbers the towers hold, counted as `open_clip` counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterCounts {
    /// Image tower with its projection, and with the fixed position table at full size.
    pub image: u64,
    /// Text tower with its embedding and projection.
    pub text: u64,
    /// Both, and the temperature.
    pub total: u64,
    /// Of these, the ones that are not trained: the sine-cosine position table.
    pub fixed: u64,
}

/// FLOPs of one sample's forward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TowerFlops {
    /// Image tower.
    pub image: Flops,
    /// Text tower.
    pub text: Flops,
}

impl TowerFlops {
    /// Both towers.
    #[must_use]
    pub fn total(self) -> Flops {
        self.image + self.text
    }
}

/// Weights of one pre-norm transformer block: attention 4w² + 4w, MLP 2wm + m + w, two layer norms 4w.
fn block_parameters(width: u64, mlp: u64) -> u64 {
    4 * width * width + 4 * width + 2 * width * mlp + mlp + width + 4 * width
}

/// Weights of attention pooling besides its queries, for tokens of `width` and queries of `embed`: products of
/// query, key, value and result with their biases, and a norm of either.
fn pooler_parameters(width: u64, embed: u64) -> u64 {
    2 * embed * embed + 2 * embed * width + 4 * embed + 2 * embed + 2 * width
}

/// Counts the parameters. Positions count at full length whether learned or fixed, as in `open_clip`.
#[must_use]
pub fn parameters(architecture: &Architecture) -> ParameterCounts {
    let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
    let embed = u64::from(architecture.embed_dim);

    let width = u64::from(vision.width);
    let patch = u64::from(vision.patch_size);
    let positions = (u64::from(vision.tokens_at(vision.image_size).0) + 1) * width;
    let norm_before = if vision.no_ln_pre { 0 } else { 2 * width };
    // Norm and projection, of what was pooled.
    let head = if vision.attentional_pool {
        u64::from(vision.attn_pooler_queries) * embed
            + pooler_parameters(width, embed)
            + 2 * embed
            + embed * embed
    } else {
        2 * width + width * embed
    };
    let image = CHANNELS * patch * patch * width
        + width
        + positions
        + u64::from(vision.layers) * block_parameters(width, u64::from(vision.mlp_width()))
        + norm_before
        + head;

    let width = u64::from(text.width);
    let text = (u64::from(text.vocab_size) + u64::from(text.context_length)) * width
        + u64::from(text.layers) * block_parameters(width, u64::from(text.mlp_width()))
        + 2 * width
        + width * embed;
    let fixed = if vision.pos_embed_type == ImagePositions::SinCos2d { positions } else { 0 };
    ParameterCounts { image, text, total: image + text + 1, fixed }
}

/// Multiply-accumulates of a tower's blocks over `tokens` tokens.
fn block_macs(width: f64, mlp: f64, layers: f64, tokens: f64) -> f64 {
    layers * (tokens * (4.0 * width * width + 2.0 * width * mlp) + 2.0 * tokens * tokens * width)
}

/// One sample's forward pass at `image_tokens` patches (the class token is added here) and `text_tokens` text
/// positions. The patch embedding is counted for the patches kept.
#[must_use]
pub fn forward_flops(architecture: &Architecture, image_tokens: Tokens, text_tokens: Tokens) -> TowerFlops {
    let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
    let embed = f64::from(architecture.embed_dim);

    let width = f64::from(vision.width);
    let patches = f64::from(image_tokens.0);
    let patch_values = CHANNELS as f64 * f64::from(vision.patch_size).powi(2);
    let image = block_macs(width, f64::from(vision.mlp_width()), f64::from(vision.layers), patches + 1.0)
        + patches * patch_values * width
        + if vision.attentional_pool {
            // Key and value of every token, scores and their weighted sum, the result's product, the projection.
            (patches + 1.0) * (2.0 * width * embed + 2.0 * embed) + 2.0 * embed * embed
        } else {
            width * embed
        };

    let width = f64::from(text.width);
    let tokens = f64::from(text_tokens.0);
    let text = block_macs(width, f64::from(text.mlp_width()), f64::from(text.layers), tokens) + width * embed;
    TowerFlops { image: Flops(2.0 * image), text: Flops(2.0 * text) }
}

/// One sample's training step, model FLOPs: forward and backward without recomputation. The contrastive
/// logits (2·batch·`embed_dim` a sample forward; 0.4 % of H/14 at 70 px with a batch of 65,536) are left out,
/// so they are part of what keeps achieved FLOP/s below peak.
#[must_use]
pub fn training_flops(architecture: &Architecture, image_tokens: Tokens, text_tokens: Tokens) -> Flops {
    Flops(TRAINING_OVER_FORWARD * forward_flops(architecture, image_tokens, text_tokens).total().0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architectures;

    /// `docs/model_profile.csv` of `open_clip`, the rows that an [`Architecture`] can express.
    const PROFILE: &str = include_str!("../data/model_profile.csv");

    fn architecture_of(model: &str) -> Architecture {
        let (base, image_size) = match model.strip_suffix("-336") {
            Some(base) => (base, Some(336)),
            None => (model, None),
        };
        let mut architecture = architectures::find(base).expect(model).clone();
        if let Some(image_size) = image_size {
            architecture.vision_cfg.image_size = image_size;
        }
        architecture
    }

    #[test]
    fn every_printed_digit_of_the_open_clip_profile_is_reproduced() {
        let mut rows = csv::Reader::from_reader(PROFILE.as_bytes());
        let mut checked = 0;
        for row in rows.records() {
            let row = row.expect("a row");
            let model = &row[0];
            let architecture = architecture_of(model);
            let full = architecture.vision_cfg.tokens_at(architecture.vision_cfg.image_size);
            let counts = parameters(&architecture);
            let flops = forward_flops(&architecture, full, Tokens(architecture.text_cfg.context_length));
            let ours = [
                counts.total as f64 / 1e6,
                counts.image as f64 / 1e6,
                counts.text as f64 / 1e6,
                flops.total().0 / 1e9,
                flops.image.0 / 1e9,
                flops.text.0 / 1e9,
            ];
            for (index, value) in ours.iter().enumerate() {
                let printed: f64 = row[index + 5].parse().expect("a number");
                // Half a unit of the last digit, and what the printer's own rounding adds.
                assert!((value - printed).abs() < 0.00501, "{model}, column {index}: {value} and {printed}");
            }
            checked += 1;
        }
        let rows = PROFILE.lines().count() - 1;
        assert_eq!((checked, rows), (21, 21), "rows of the profile that are reproduced");
    }

    #[test]
    fn training_is_three_forward_passes_and_clipa_counts_the_class_token() {
        // Independent recount of CLIPA-v2's table 10: H/14 at 224 px and 32 text tokens is 177.0 GMACs.
        let architecture = architectures::find("H/14").expect("H/14");
        let forward = forward_flops(architecture, Tokens(256), Tokens(32)).total().0;
        assert!((forward / 2e9 - 177.0).abs() < 0.05, "{forward}");
        let training = training_flops(architecture, Tokens(256), Tokens(32)).0;
        assert!((training / forward - 3.0).abs() < 1e-12);
    }
}
