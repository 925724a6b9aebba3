//! Architectures small enough to test with.

use shoestring_planner::architecture::{
    Architecture, AttentionPool, AttentionPoolKind, ImagePool, ImagePositions, TextConfig, TextPool,
    TextTokenizer, VisionConfig,
};

/// Two blocks a tower, widths 16 and 12, patches of 4 pixels, 40 words.
pub(crate) fn tiny() -> Architecture {
    Architecture {
        name: "tiny".to_owned(),
        embed_dim: 10,
        quick_gelu: false,
        vision_cfg: VisionConfig {
            image_size: 16,
            layers: 2,
            width: 16,
            head_width: 8,
            patch_size: 4,
            mlp_ratio: 4.0,
            pool_type: ImagePool::Avg,
            no_ln_pre: true,
            pos_embed_type: ImagePositions::SinCos2d,
        },
        text_cfg: TextConfig {
            context_length: 8,
            vocab_size: 40,
            hf_tokenizer_name: TextTokenizer::Clip,
            width: 12,
            heads: 3,
            layers: 2,
            mlp_ratio: 4.0,
            pool_type: TextPool::Argmax,
            no_causal_mask: false,
            eos_id: None,
        },
    }
}

/// One query with so many heads.
pub(crate) fn attention_pool(heads: u32) -> ImagePool {
    ImagePool::Attention(AttentionPool { kind: AttentionPoolKind::Single, queries: 1, heads })
}
