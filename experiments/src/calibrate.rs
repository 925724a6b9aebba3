//! Measures how fast this machine trains, for plans that run on it.

use std::thread::available_parallelism;

use shoestring_engine::{EngineError, measure::step_rate};
use shoestring_planner::architecture::{
    Architecture, ImagePool, ImagePositions, TextConfig, TextPool, TextTokenizer, VisionConfig,
};
use shoestring_planner::calibration::{CALIBRATION_VERSION, Calibration, CalibrationRow};
use shoestring_planner::compute::training_flops;
use shoestring_planner::units::Tokens;

/// What is measured: two widths that a small machine trains, each at short and at full token lengths. Depth
/// hardly changes the rate at which FLOPs are done. Batches are large enough that the optimiser's share of a
/// step is what it is in earnest.
const SHAPES: [Shape; 4] = [
    Shape { width: 64, image_size_px: 32, text_tokens: 8, batch: 128 },
    Shape { width: 64, image_size_px: 64, text_tokens: 16, batch: 128 },
    Shape { width: 192, image_size_px: 32, text_tokens: 8, batch: 64 },
    Shape { width: 192, image_size_px: 64, text_tokens: 16, batch: 32 },
];
const LAYERS: u32 = 4;
const PATCH_SIZE: u32 = 8;
const HEAD_WIDTH: u32 = 32;

#[derive(Clone, Copy, Debug)]
struct Shape {
    width: u32,
    image_size_px: u32,
    text_tokens: u32,
    batch: u32,
}

/// What is being measured, for whoever shows progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measuring {
    /// Shapes that are done.
    pub done: usize,
    /// Shapes in all.
    pub total: usize,
    /// Width of the image tower being measured next.
    pub width: u32,
    /// Side of its images in pixels.
    pub image_size_px: u32,
}

/// Trains small models on random data for about `seconds` in all (at least a few steps each) and returns how
/// fast that went, samples and model FLOPs a second of the whole machine.
pub fn measure(seconds: f64, progress: &mut dyn FnMut(Measuring)) -> Result<Calibration, EngineError> {
    measure_shapes(&SHAPES, seconds, progress)
}

fn measure_shapes(
    shapes: &[Shape],
    seconds: f64,
    progress: &mut dyn FnMut(Measuring),
) -> Result<Calibration, EngineError> {
    let each = seconds.max(0.0) / shapes.len() as f64;
    let mut rows = Vec::with_capacity(shapes.len());
    for (done, shape) in shapes.iter().enumerate() {
        let &Shape { width, image_size_px, text_tokens, batch } = shape;
        progress(Measuring { done, total: shapes.len(), width, image_size_px });
        let architecture = architecture(shape);
        let samples_per_second = step_rate(&architecture, image_size_px, text_tokens, batch, each)?;
        let (image_tokens, text_tokens) =
            (architecture.vision_cfg.tokens_at(image_size_px), Tokens(text_tokens));
        let flops = training_flops(&architecture, image_tokens, text_tokens).0;
        rows.push(CalibrationRow {
            width,
            image_tokens,
            text_tokens,
            batch,
            samples_per_second,
            flops_per_second: flops * samples_per_second,
        });
    }
    Ok(Calibration { version: CALIBRATION_VERSION, machine: machine(), rows })
}

/// A small CLIP for a shape, with the vocabulary that is really used.
fn architecture(shape: &Shape) -> Architecture {
    let width = shape.width;
    Architecture {
        name: format!("calibration-{width}"),
        embed_dim: width,
        vision_cfg: VisionConfig {
            image_size: shape.image_size_px,
            layers: LAYERS,
            width,
            head_width: HEAD_WIDTH,
            patch_size: PATCH_SIZE,
            mlp_ratio: 4.0,
            pool_type: ImagePool::Avg,
            attentional_pool: false,
            attn_pooler_queries: 1,
            attn_pooler_heads: 8,
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

/// Processor and threads, in words.
fn machine() -> String {
    let threads = available_parallelism().map_or(1, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    format!("{}, {threads} threads", model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_measured_and_can_be_written_and_read() {
        let shape = Shape { width: 32, image_size_px: 16, text_tokens: 4, batch: 8 };
        let mut seen = Vec::new();
        let calibration =
            measure_shapes(&[shape], 0.0, &mut |measuring| seen.push(measuring)).expect("measures");
        assert_eq!(seen, [Measuring { done: 0, total: 1, width: 32, image_size_px: 16 }]);
        calibration.check().expect("every figure is possible");
        let row = &calibration.rows[0];
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
