//! How fast this machine takes training steps.

use shoestring_engine::{EngineError, measure::step_rate};
use shoestring_planner::architecture::{
    Architecture, ImagePool, ImagePositions, TextConfig, TextPool, TextTokenizer, VisionConfig,
};
use shoestring_planner::calibration::CalibrationRow;
use shoestring_planner::compute::training_flops;
use shoestring_planner::units::Tokens;

/// What is measured: two widths that a small machine trains, each at short and at full token lengths. Depth
/// hardly changes the rate at which FLOPs are done. Batches are large enough that the optimiser's share of a
/// step is what it is in earnest.
pub(super) const SHAPES: [Shape; 4] = [
    Shape { width: 64, image_size_px: 32, text_tokens: 8, batch: 128 },
    Shape { width: 64, image_size_px: 64, text_tokens: 16, batch: 128 },
    Shape { width: 192, image_size_px: 32, text_tokens: 8, batch: 64 },
    Shape { width: 192, image_size_px: 64, text_tokens: 16, batch: 32 },
];
const LAYERS: u32 = 4;
const PATCH_SIZE: u32 = 8;
const HEAD_WIDTH: u32 = 32;

#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) width: u32,
    pub(super) image_size_px: u32,
    pub(super) text_tokens: u32,
    pub(super) batch: u32,
}

/// Trains a small model on random data for about `seconds` (at least a few steps): samples and model FLOPs a second of
/// the whole machine.
pub(super) fn measured(shape: &Shape, seconds: f64) -> Result<CalibrationRow, EngineError> {
    let &Shape { width, image_size_px, text_tokens, batch } = shape;
    let architecture = architecture(shape);
    let samples_per_second = step_rate(&architecture, image_size_px, text_tokens, batch, seconds)?;
    let (image_tokens, text_tokens) = (architecture.vision_cfg.tokens_at(image_size_px), Tokens(text_tokens));
    let flops = training_flops(&architecture, image_tokens, text_tokens).0;
    Ok(CalibrationRow {
        width,
        image_tokens,
        text_tokens,
        batch,
        samples_per_second,
        flops_per_second: flops * samples_per_second,
    })
}

/// A small CLIP for a shape, with the vocabulary that is really used.
fn architecture(shape: &Shape) -> Architecture {
    let width = shape.width;
    Architecture {
        name: format!("calibration-{width}"),
        embed_dim: width,
        quick_gelu: false,
        vision_cfg: VisionConfig {
            image_size: shape.image_size_px,
            layers: LAYERS,
            width,
            head_width: HEAD_WIDTH,
            patch_size: PATCH_SIZE,
            mlp_ratio: 4.0,
            pool_type: ImagePool::Avg,
            no_ln_pre: true,
            pos_embed_type: ImagePositions::SinCos2d,
        },
        text_cfg: TextConfig {
            context_length: shape.text_tokens,
            vocab_size: shoestring_data::text::VOCABULARY,
            hf_tokenizer_name: TextTokenizer::Clip,
            width,
            heads: width / HEAD_WIDTH,
            layers: LAYERS,
            mlp_ratio: 4.0,
            pool_type: TextPool::Argmax,
            no_causal_mask: false,
            eos_id: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_samples_and_flops_of_the_same_steps() {
        let shape = Shape { width: 32, image_size_px: 16, text_tokens: 4, batch: 8 };
        let row = measured(&shape, 0.0).expect("measures");
        let flops = training_flops(&architecture(&shape), row.image_tokens, row.text_tokens).0;
        assert!((row.flops_per_second / row.samples_per_second / flops - 1.0).abs() < 1e-9);
    }

    #[test]
    fn every_shape_that_is_measured_can_be_built() {
        for shape in &SHAPES {
            architecture(shape).check().expect("fits together");
        }
    }
}
