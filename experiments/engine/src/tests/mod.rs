//! The model as a whole.

mod checkpoints;
mod gradients;
mod model;
mod plain;
mod stages;
mod training;

use candle_core::DType;
use shoestring_planner::architecture::{Architecture, ImagePool, ImagePositions, TextPool};
use shoestring_planner::recipe::Optimizer;

use crate::clip::Clip;
use crate::input::StepInput;
use crate::test_models::{attention_pool, tiny};

/// A batch that owns its numbers.
pub(crate) struct Pairs {
    pub(crate) batch: usize,
    pub(crate) image_size_px: usize,
    pub(crate) pixels: Vec<f32>,
    pub(crate) kept: Option<Vec<u32>>,
    pub(crate) text_tokens: usize,
    pub(crate) token_ids: Vec<u32>,
}

impl Pairs {
    /// Images of 12 pixels a side (nine patches) and captions of six tokens: words, the end marker (39) at
    /// different places, padding.
    pub(crate) fn new(batch: usize, kept: Option<Vec<u32>>) -> Self {
        // Stripes, narrower from image to image.
        let pixels =
            (0..batch * 432).map(|i| ((i % 432) as f32 * (0.2 + 0.13 * (i / 432) as f32)).sin()).collect();
        let mut token_ids = Vec::new();
        for sample in 0..batch as u32 {
            let end = 2 + sample % 4;
            token_ids.extend((0..6).map(|token| match token {
                _ if token < end => 1 + (sample * 7 + token * 5) % 30,
                _ if token == end => 39,
                _ => 0,
            }));
        }
        Self { batch, image_size_px: 12, pixels, kept, text_tokens: 6, token_ids }
    }

    pub(crate) fn input(&self) -> StepInput<'_> {
        StepInput {
            batch: self.batch,
            image_size_px: self.image_size_px,
            pixels: &self.pixels,
            kept_patches: self.kept.as_deref(),
            text_tokens: self.text_tokens,
            token_ids: &self.token_ids,
        }
    }
}

/// Every pooling of each tower, both masks, with and without the norm before the first block, both kinds of
/// positions. The third is for images of the size of [`Pairs`].
pub(crate) fn variants() -> [Architecture; 4] {
    let first = tiny();
    let mut second = tiny();
    second.vision_cfg.pool_type = ImagePool::Tok;
    second.vision_cfg.no_ln_pre = false;
    second.text_cfg.pool_type = TextPool::Last;
    second.text_cfg.no_causal_mask = true;
    let mut third = second.clone();
    (third.vision_cfg.image_size, third.vision_cfg.pos_embed_type) = (12, ImagePositions::Learnable);
    third.vision_cfg.pool_type = attention_pool(2);
    (third.text_cfg.pool_type, third.text_cfg.eos_id) = (TextPool::Eos, Some(39));
    third.text_cfg.no_causal_mask = false;
    // As wide as a token: the pooling's three products are packed.
    let mut fourth = second.clone();
    (fourth.embed_dim, fourth.vision_cfg.pool_type) = (16, attention_pool(4));
    fourth.vision_cfg.no_ln_pre = true;
    fourth.text_cfg.pool_type = TextPool::First;
    [first, second, third, fourth]
}

/// Kept patches of a batch for each of the [`variants`].
pub(crate) fn masks(batch: u32) -> [Option<Vec<u32>>; 4] {
    // Any three different ones of the nine for each image.
    let some = || Some((0..batch).flat_map(|sample| [0, 1, 2].map(|k| (sample * 4 + k * 5) % 9)).collect());
    [None, some(), some(), None]
}

pub(super) fn double(architecture: &Architecture) -> Clip {
    Clip::of_type(architecture, Optimizer::default().logit_scale_init, 11, DType::F64).expect("a model")
}
