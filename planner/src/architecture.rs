//! A two-tower CLIP, written as an `open_clip` model-config JSON writes it.

use serde::{Deserialize, Serialize};

use crate::units::Tokens;

/// How a sequence of token features becomes one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImagePool {
    /// The class token.
    #[default]
    Tok,
    /// Mean of the patch tokens (global average pooling), layer norm after the mean.
    Avg,
    /// Learned queries that attend to every token, as CoCa's image tower has (`attentional_pool`). Of one pooler with one
    /// query it is trained; others are only counted and planned with.
    Attention(AttentionPool),
}

/// A pooler of learned queries (`open_clip`'s `AttentionalPooler`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionPool {
    /// How many poolers and what they attend to.
    pub kind: AttentionPoolKind,
    /// Queries (`attn_pooler_queries`).
    pub queries: u32,
    /// Heads (`attn_pooler_heads`).
    pub heads: u32,
}

/// How many poolers there are and what they attend to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionPoolKind {
    /// One, whose first query is the image's feature (`"attentional_pool": true`).
    Single,
    /// A second one of one query beside it, over the same tokens.
    Parallel,
    /// A second one of one query after it, over what the first one gives.
    Cascade,
}

impl AttentionPool {
    /// Queries of each pooler, and the tokens that it attends to when the tower has `tokens`.
    pub(crate) fn poolers(self, tokens: u32) -> impl Iterator<Item = (u32, u32)> {
        let second = match self.kind {
            AttentionPoolKind::Single => None,
            AttentionPoolKind::Parallel => Some((1, tokens)),
            AttentionPoolKind::Cascade => Some((1, self.queries)),
        };
        [(self.queries, tokens)].into_iter().chain(second)
    }
}

/// Which text position is the sentence feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextPool {
    /// The position of the end-of-text token (the largest id in CLIP's vocabulary).
    #[default]
    Argmax,
    /// The last position.
    Last,
    /// The first position.
    First,
    /// The first position that holds `eos_id`.
    Eos,
    /// A class token of its own after the text (`embed_cls`), as CoCa's text tower has: planned with, not trained
    /// here.
    Class,
}

/// Where the image tower's position embedding comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImagePositions {
    /// Fixed two-dimensional sine-cosine, computed for whatever grid a stage has.
    #[default]
    #[serde(alias = "sin_cos_2d")]
    SinCos2d,
    /// Trained, one for each place of the grid; interpolated where a stage has another grid than the one before.
    Learnable,
}

/// Image tower (`vision_cfg`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// Side in pixels at full length.
    pub image_size: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// Width of a token.
    pub width: u32,
    /// Width of an attention head; heads = width / `head_width`.
    #[serde(default = "default_head_width")]
    pub head_width: u32,
    /// Side of a patch in pixels.
    pub patch_size: u32,
    /// MLP width over token width.
    #[serde(default = "default_mlp_ratio")]
    pub mlp_ratio: f64,
    /// Pooling.
    #[serde(default)]
    pub pool_type: ImagePool,
    /// Leave out the layer norm between patch embedding and the first block, as CLIPA does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_ln_pre: bool,
    /// Position embedding.
    #[serde(default)]
    pub pos_embed_type: ImagePositions,
}

/// What captions are tokenized with, named as in `open_clip`'s configs, where nothing stands for CLIP's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TextTokenizer {
    /// CLIP's byte pairs: 49,408 ids.
    #[default]
    #[serde(rename = "clip")]
    Clip,
    /// BERT's word pieces, as CLIPA-v2: 30,522 ids.
    #[serde(rename = "bert-base-uncased")]
    Bert,
}

impl TextTokenizer {
    fn is_clip(&self) -> bool {
        *self == Self::Clip
    }
}

/// Text tower (`text_cfg`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// Tokens at full length.
    pub context_length: u32,
    /// Rows of the embedding.
    pub vocab_size: u32,
    /// What captions are tokenized with.
    #[serde(default, skip_serializing_if = "TextTokenizer::is_clip")]
    pub hf_tokenizer_name: TextTokenizer,
    /// Width of a token.
    pub width: u32,
    /// Attention heads.
    pub heads: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// MLP width over token width.
    #[serde(default = "default_mlp_ratio")]
    pub mlp_ratio: f64,
    /// Pooling.
    #[serde(default)]
    pub pool_type: TextPool,
    /// Attend in both directions.
    #[serde(default)]
    pub no_causal_mask: bool,
    /// The id that pooling by `eos` looks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eos_id: Option<u32>,
}

// The signatures are serde's.

fn default_head_width() -> u32 {
    64
}

fn default_mlp_ratio() -> f64 {
    4.0
}

/// A two-tower CLIP. Field names are those of an `open_clip` model config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Name as `open_clip` would list it (`ViT-H-14-CLIPA`), or one's own.
    pub name: String,
    /// Width of the shared embedding.
    pub embed_dim: u32,
    /// `OpenAI`'s approximation of GELU, x / (1 + e^(-1.702 x)), in both towers instead of GELU.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quick_gelu: bool,
    /// Image tower.
    pub vision_cfg: VisionConfig,
    /// Text tower.
    pub text_cfg: TextConfig,
}

impl VisionConfig {
    /// Patches of an image of `image_size_px` pixels a side: (size / patch)^2, not counting the class token.
    #[must_use]
    pub fn tokens_at(&self, image_size_px: u32) -> Tokens {
        let side = image_size_px / self.patch_size;
        Tokens(side * side)
    }

    /// The attention pooling, where that is how the image is pooled.
    #[must_use]
    pub fn attention_pool(&self) -> Option<AttentionPool> {
        match self.pool_type {
            ImagePool::Attention(pool) => Some(pool),
            ImagePool::Tok | ImagePool::Avg => None,
        }
    }

    /// Attention heads.
    #[must_use]
    pub fn heads(&self) -> u32 {
        self.width / self.head_width
    }

    /// Width of the MLP's hidden layer: `int(width * mlp_ratio)`, as `open_clip` rounds it.
    #[must_use]
    pub fn mlp_width(&self) -> u32 {
        (f64::from(self.width) * self.mlp_ratio) as u32
    }
}

impl TextConfig {
    /// Positions beyond the text's: the class token's, where there is one.
    #[must_use]
    pub fn extra_tokens(&self) -> u32 {
        u32::from(self.pool_type == TextPool::Class)
    }

    /// Width of the MLP's hidden layer: `int(width * mlp_ratio)`, as `open_clip` rounds it.
    #[must_use]
    pub fn mlp_width(&self) -> u32 {
        (f64::from(self.width) * self.mlp_ratio) as u32
    }
}
