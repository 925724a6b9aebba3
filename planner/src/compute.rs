//! Parameters and floating-point operations of a two-tower CLIP, from its shape alone.
//!
//! A transformer tower of width w, depth d and MLP width m over n tokens takes
//! d·(n·(4w² + 2wm) + 2n²w) multiply-accumulates forward: query, key, value and output projections 4w², the
//! MLP 2wm, scores and their weighted sum 2nw a token. This counts two FLOPs a multiply-accumulate and leaves
//! out what is linear in the width (norms, biases, activation functions), as `open_clip` does in
//! `docs/model_profile.csv`, whose every printed digit this reproduces.

use crate::architecture::{Architecture, AttentionPool, ImagePool, ImagePositions};
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

/// Weights of the poolers: each has its queries of width e, their projection and that of what comes out e² each, keys
/// and values we each, four biases of e, norms over queries and tokens.
fn pooler_parameters(pool: AttentionPool, width: u64, embed: u64) -> u64 {
    let one = |queries: u64| queries * embed + 2 * embed * embed + 2 * width * embed + 6 * embed + 2 * width;
    pool.poolers(0).map(|(queries, _)| one(u64::from(queries))).sum()
}

/// Multiply-accumulates of the poolers over `tokens` tokens: queries projected and projected back, keys and values of
/// every token, scores and their weighted sum.
fn pooler_macs(pool: AttentionPool, width: f64, embed: f64, tokens: u32) -> f64 {
    let one = |queries: f64, tokens: f64| {
        2.0 * queries * embed * embed + 2.0 * tokens * width * embed + 2.0 * queries * tokens * embed
    };
    pool.poolers(tokens).map(|(queries, tokens)| one(queries.into(), tokens.into())).sum()
}

/// Counts the parameters. Positions count at full length whether learned or fixed, as in `open_clip`.
#[must_use]
pub fn parameters(architecture: &Architecture) -> ParameterCounts {
    let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
    let embed = u64::from(architecture.embed_dim);

    let width = u64::from(vision.width);
    let patch = u64::from(vision.patch_size);
    let positions = (u64::from(vision.tokens_at(vision.image_size).0) + 1) * width;
    let fixed = if vision.pos_embed_type == ImagePositions::SinCos2d { positions } else { 0 };
    let norm_before = if vision.no_ln_pre { 0 } else { 2 * width };
    // Attention pooling ends at the embedding's width, where the last norm and the projection then are.
    let (pooler, pooled) = match vision.pool_type {
        ImagePool::Attention(pool) => (pooler_parameters(pool, width, embed), embed),
        ImagePool::Tok | ImagePool::Avg => (0, width),
    };
    let image = CHANNELS * patch * patch * width
        + width
        + positions
        + u64::from(vision.layers) * block_parameters(width, u64::from(vision.mlp_width()))
        + norm_before
        + pooler
        + 2 * pooled
        + pooled * embed;

    let width = u64::from(text.width);
    // A class token has an embedding and a position.
    let positions = u64::from(text.context_length) + 2 * u64::from(text.extra_tokens());
    let text = (u64::from(text.vocab_size) + positions) * width
        + u64::from(text.layers) * block_parameters(width, u64::from(text.mlp_width()))
        + 2 * width
        + width * embed;
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
        + match vision.pool_type {
            ImagePool::Attention(pool) => pooler_macs(pool, width, embed, image_tokens.0 + 1) + embed * embed,
            ImagePool::Tok | ImagePool::Avg => width * embed,
        };

    let width = f64::from(text.width);
    let tokens = f64::from(text_tokens.0 + text.extra_tokens());
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
    fn pooled_towers_count_as_open_clip_has_them() {
        // tests/peers/counts.py writes the file from open_clip's own models.
        let mut rows = csv::Reader::from_reader(include_str!("../data/pooled_towers.csv").as_bytes());
        let mut checked = 0;
        for row in rows.records() {
            let row = row.expect("a row");
            let architecture = crate::open_clip::read_config(&row[5], &row[0]).expect(&row[0]);
            let count = |column: usize| row[column].parse::<u64>().expect("a number");
            let counts = parameters(&architecture);
            assert_eq!((counts.image, counts.text), (count(1), count(2)), "{}", &row[0]);
            let full = architecture.vision_cfg.tokens_at(architecture.vision_cfg.image_size);
            let flops = forward_flops(&architecture, full, Tokens(architecture.text_cfg.context_length));
            assert_eq!((flops.image.0 as u64, flops.text.0 as u64), (count(3), count(4)), "{}", &row[0]);
            checked += 1;
        }
        assert_eq!(checked, 7);
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
