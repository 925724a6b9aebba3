//! The image tower.

use candle_core::Tensor;
use shoestring_planner::architecture::{Architecture, ImagePool};

use crate::attention_pool::attend;
use crate::error::Result;
use crate::input::Images;
use crate::ops::{Pooling, layer_norm};
use crate::params::Weights;
use crate::tower::{Patches, Tower, Work};

/// The patches of images whose blocks' work is `work`.
pub(crate) fn patches<'a>(architecture: &Architecture, work: Work, images: Images<'a>) -> Patches<'a> {
    let vision = &architecture.vision_cfg;
    Patches::new(work, images, vision.patch_size as usize, vision.pos_embed_type, !vision.no_ln_pre)
}

/// The shape of the image tower.
pub(crate) fn tower(architecture: &Architecture) -> Tower {
    let vision = &architecture.vision_cfg;
    let width = vision.width as usize;
    Tower {
        prefix: "visual.transformer",
        layers: vision.layers as usize,
        heads: vision.heads() as usize,
        causal: false,
        width,
        hidden: vision.mlp_width() as usize,
        quick_gelu: architecture.quick_gelu,
    }
}

/// What stands for each of `samples` images.
pub(crate) fn pooling(architecture: &Architecture, samples: usize, tokens: usize) -> Pooling {
    match architecture.vision_cfg.pool_type {
        ImagePool::Tok => Pooling::Rows((0..samples).map(|sample| (sample * tokens) as u32).collect()),
        ImagePool::Avg => Pooling::MeanOfPatches,
        ImagePool::Attention(_) => Pooling::Everything,
    }
}

/// Features, not normalised, of `samples` images: from the pooled tokens, (samples, width), or with attention
/// pooling from every token, (samples * tokens, width), to (samples, `embed_dim`).
pub(crate) fn image_features(
    architecture: &Architecture,
    weights: Weights<'_>,
    pooled: &Tensor,
    samples: usize,
) -> Result<Tensor> {
    let pooled = match architecture.vision_cfg.attention_pool() {
        Some(pool) => &attend(weights, pooled, samples, pool.heads as usize)?,
        None => pooled,
    };
    let (weight, bias) = (weights.get("visual.ln_post.weight")?, weights.get("visual.ln_post.bias")?);
    Ok(layer_norm(pooled, &weight, &bias)?.matmul(&weights.get("visual.proj")?)?)
}
