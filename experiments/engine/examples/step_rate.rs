//! Samples per second of training steps on this machine.
//!
//! `cargo run --release -p shoestring-engine --example step_rate -- [tiny|small] [batch] [seconds]`
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use shoestring_engine::measure::step_rate;
use shoestring_planner::architecture::{
    Architecture, ImagePool, ImagePositions, TextConfig, TextPool, VisionConfig,
};

/// The allocator that the command has: the system's gives large blocks back after every operation and has
/// their pages faulted in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Equal heads and blocks in both towers, but for what the arguments say.
fn towers(name: &str, patch: u32, width: u32, blocks: (u32, u32), head_width: u32) -> Architecture {
    Architecture {
        name: name.to_owned(),
        embed_dim: width,
        vision_cfg: VisionConfig {
            image_size: 224,
            layers: blocks.0,
            width,
            head_width,
            patch_size: patch,
            mlp_ratio: 4.0,
            pool_type: ImagePool::Avg,
            no_ln_pre: true,
            pos_embed_type: ImagePositions::SinCos2d,
        },
        text_cfg: TextConfig {
            context_length: 32,
            vocab_size: 49_408,
            width,
            heads: width / head_width,
            layers: blocks.1,
            mlp_ratio: 4.0,
            pool_type: TextPool::Argmax,
            no_causal_mask: false,
        },
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let batch: u32 = arguments.get(1).map_or(Ok(128), |text| text.parse())?;
    let seconds: f64 = arguments.get(2).map_or(Ok(10.0), |text| text.parse())?;
    let (architecture, image_size_px, text_tokens) = match arguments.first().map(String::as_str) {
        None | Some("tiny") => (towers("tiny", 8, 128, (4, 3), 64), 32, 16),
        Some("small") => (towers("small", 16, 384, (12, 12), 64), 64, 8),
        Some(other) => return Err(format!("`{other}` is neither tiny nor small").into()),
    };
    let rate = step_rate(&architecture, image_size_px, text_tokens, batch, seconds)?;
    println!(
        "{}: {rate:.1} samples/s at {image_size_px} px, {text_tokens} text tokens, batch {batch}, {} threads",
        architecture.name,
        rayon::current_num_threads(),
    );
    Ok(())
}
