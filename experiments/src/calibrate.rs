//! Measures how fast this machine trains, for plans that run on it.

use std::thread::available_parallelism;

use shoestring_engine::{EngineError, measure::step_rate};
use shoestring_planner::architecture::{
    Architecture, ImagePool, ImagePositions, TextConfig, TextPool, VisionConfig,
};
use shoestring_planner::calibration::{CALIBRATION_VERSION, Calibration, CalibrationRow};
use shoestring_planner::compute::training_flops;
use shoestring_planner::units::Tokens;

/// Widths measured: what a small machine trains. Depth hardly changes the rate at which FLOPs are done.
const WIDTHS: [u32; 3] = [64, 128, 256];
const LAYERS: u32 = 4;
const PATCH_SIZE: u32 = 8;
/// Short and full token lengths: side of the image in pixels, text tokens.
const LENGTHS: [(u32, u32); 2] = [(32, 8), (64, 16)];
const BATCH: u32 = 64;

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
    let shapes: Vec<(u32, u32, u32)> = WIDTHS
        .iter()
        .flat_map(|&width| LENGTHS.iter().map(move |&(image, text)| (width, image, text)))
        .collect();
    let each = seconds.max(0.0) / shapes.len() as f64;
    let mut rows = Vec::with_capacity(shapes.len());
    for (done, &(width, image_size_px, text_tokens)) in shapes.iter().enumerate() {
        progress(Measuring { done, total: shapes.len(), width, image_size_px });
        let architecture = architecture(width);
        let samples_per_second = step_rate(&architecture, image_size_px, text_tokens, BATCH, each)?;
        let (image_tokens, text_tokens) =
            (architecture.vision_cfg.tokens_at(image_size_px), Tokens(text_tokens));
        let flops = training_flops(&architecture, image_tokens, text_tokens).0;
        rows.push(CalibrationRow {
            width,
            image_tokens,
            text_tokens,
            batch: BATCH,
            samples_per_second,
            flops_per_second: flops * samples_per_second,
        });
    }
    Ok(Calibration { version: CALIBRATION_VERSION, machine: machine(), rows })
}

/// A small CLIP of this width, with the vocabulary that is really used.
fn architecture(width: u32) -> Architecture {
    Architecture {
        name: format!("calibration-{width}"),
        embed_dim: width,
        vision_cfg: VisionConfig {
            image_size: LENGTHS[LENGTHS.len() - 1].0,
            layers: LAYERS,
            width,
            head_width: 32,
            patch_size: PATCH_SIZE,
            mlp_ratio: 4.0,
            pool_type: ImagePool::Avg,
            no_ln_pre: true,
            pos_embed_type: ImagePositions::SinCos2d,
        },
        text_cfg: TextConfig {
            context_length: LENGTHS[LENGTHS.len() - 1].1,
            vocab_size: shoestring_data::text::VOCABULARY,
            width,
            heads: width / 32,
            layers: LAYERS,
            mlp_ratio: 4.0,
            pool_type: TextPool::Argmax,
            no_causal_mask: false,
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
    fn every_shape_is_measured_and_can_be_written_and_read() {
        let mut seen = 0;
        let calibration = measure(0.0, &mut |measuring| {
            assert_eq!(measuring.done, seen);
            seen += 1;
        })
        .expect("measures");
        assert_eq!((calibration.rows.len(), seen), (6, 6));
        calibration.check().expect("every figure is possible");
        for row in &calibration.rows {
            let flops = training_flops(&architecture(row.width), row.image_tokens, row.text_tokens).0;
            assert!((row.flops_per_second / row.samples_per_second / flops - 1.0).abs() < 1e-9);
        }
    }
}
