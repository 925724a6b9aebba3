//! Takes training steps in single precision and writes where they began, what they saw and each loss, for
//! `tests/peers/ten_steps.py`: with warm-up, weight decay on matrices alone and clipping at every step.
//!
//! `cargo run --release -p shoestring-engine --example peer_ten_steps -- FOLDER [tiny|attention|a] [batch] [steps]`
//!
//! `attention` is `tiny` with learned positions and attention pooling.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod peers;

use std::collections::HashMap;
use std::path::Path;

use peers::tensor;
use shoestring_engine::measure::{RandomPairs, Shape};
use shoestring_engine::{Trainer, checkpoint, learning_rate, position_table};
use shoestring_planner::architecture::{AttentionPool, AttentionPoolKind, ImagePool, ImagePositions};
use shoestring_planner::recipe::{Optimizer, Precision, Stage, read_recipe};
use shoestring_planner::units::Samples;

/// The shape of this name, with its batch.
fn shape(name: &str) -> Result<Shape, String> {
    let known = if name == "attention" { "tiny" } else { name };
    let mut shape = Shape::named(known).ok_or_else(|| format!("there is no shape `{name}`"))?;
    let vision = &mut shape.architecture.vision_cfg;
    if name == "attention" {
        (vision.image_size, vision.pos_embed_type) = (shape.image_size_px, ImagePositions::Learnable);
        vision.pool_type =
            ImagePool::Attention(AttentionPool { kind: AttentionPoolKind::Single, queries: 1, heads: 8 });
    }
    Ok(shape)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(arguments.first().ok_or("which folder?")?);
    let name = arguments.get(1).map_or("tiny", String::as_str);
    let mut shape = shape(name)?;
    if let Some(batch) = arguments.get(2) {
        shape.batch = batch.parse()?;
    }
    let steps: usize = arguments.get(3).map_or(Ok(10), |steps| steps.parse())?;
    let (side, tokens, batch) =
        (shape.image_size_px as usize, shape.text_tokens as usize, shape.batch as usize);
    // The peak is reached in the fifth step, and the cosine would end after twice as many as are taken.
    let recipe = read_recipe(include_str!("../../../tests/recipes/small.toml"), Path::new("small.toml"))?;
    let stage = Stage {
        samples: Samples((2 * steps * batch) as u64),
        warmup_samples: Samples((4 * batch) as u64),
        batch: shape.batch,
        learning_rate: 1e-3,
        ..recipe.stages[0].clone()
    };
    let settings = Optimizer {
        precision: Some(Precision::F32),
        clip_norm: Some(0.5),
        epsilon: 1e-6,
        ..Optimizer::default()
    };
    let mut trainer = Trainer::new(&shape.architecture, &settings, 3)?;
    let model = checkpoint::model_bytes(trainer.clip())?;

    let (mut losses, mut norms, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pixels, mut ids) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let pairs = RandomPairs::new(&shape.architecture, side, tokens, batch, 5 + step as u64);
        let input = pairs.input();
        let rate = learning_rate(&stage, Samples((step * batch) as u64));
        let report = trainer.step(&input, rate)?;
        println!("step {step}: loss {:.7}, gradient {:.5}, rate {rate:e}", report.loss, report.grad_norm);
        losses.push(report.loss);
        norms.push(report.grad_norm);
        rates.push(rate);
        pixels.extend_from_slice(input.pixels);
        ids.extend_from_slice(input.token_ids);
    }
    let mut found = HashMap::from([
        ("losses".to_owned(), tensor(losses, &[steps])?),
        ("norms".to_owned(), tensor(norms, &[steps])?),
        ("rates".to_owned(), tensor(rates, &[steps])?),
        ("pixels".to_owned(), tensor(pixels, &[steps, batch, 3, side, side])?),
        ("token_ids".to_owned(), tensor(ids.into_iter().map(i64::from), &[steps, batch, tokens])?),
    ]);
    let (grid, width) = (side / shape.architecture.vision_cfg.patch_size as usize, {
        shape.architecture.vision_cfg.width as usize
    });
    let positions = position_table(grid, width).into_iter().map(|x| x as f32);
    found.insert("positions".to_owned(), tensor(positions, &[grid * grid, width])?);
    peers::write(folder, &found, &model, name)?;
    std::fs::write(folder.join("after.safetensors"), trainer.model_bytes()?)?;
    Ok(())
}
