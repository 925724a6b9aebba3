//! Writes a model, a batch, and the loss and gradients that this engine finds, for `tests/peers/gradients.py`.
//!
//! `cargo run --release -p shoestring-engine --example peer_gradients -- FOLDER [tiny|a|b|c] [batch]`
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod peers;

use std::collections::HashMap;
use std::path::Path;

use peers::tensor;
use shoestring_engine::measure::{RandomPairs, Shape};
use shoestring_engine::{Clip, position_table};
use shoestring_planner::recipe::{Optimizer, Precision};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(arguments.first().ok_or("which folder?")?);
    let name = arguments.get(1).map_or("tiny", String::as_str);
    let mut shape = Shape::named(name).ok_or_else(|| format!("there is no shape `{name}`"))?;
    if let Some(batch) = arguments.get(2) {
        shape.batch = batch.parse()?;
    }
    let (side, tokens, batch) =
        (shape.image_size_px as usize, shape.text_tokens as usize, shape.batch as usize);
    let pairs = RandomPairs::new(&shape.architecture, side, tokens, batch, 5);
    let input = pairs.input();
    let mut clip = Clip::new(&shape.architecture, Optimizer::default().logit_scale_init, 3)?;

    let mut blocks = HashMap::new();
    for (precision, label) in [(Precision::F32, "f32"), (Precision::Bf16, "bf16")] {
        clip.set_precision(precision);
        let (loss, gradients) = clip.gradients(&input)?;
        println!("{label}: loss {loss}");
        blocks.insert(format!("{label}.loss"), tensor([loss], &[])?);
        for (name, gradient) in gradients {
            let dims = clip.parameters().get(&name)?.dims();
            blocks.insert(format!("{label}.{name}"), tensor(gradient, dims)?);
        }
    }
    blocks.insert("pixels".to_owned(), tensor(input.pixels.iter().copied(), &[batch, 3, side, side])?);
    blocks.insert(
        "token_ids".to_owned(),
        tensor(input.token_ids.iter().map(|&id| i64::from(id)), &[batch, tokens])?,
    );
    let vision = &shape.architecture.vision_cfg;
    let (grid, width) = (side / vision.patch_size as usize, vision.width as usize);
    let positions = position_table(grid, width).into_iter().map(|x| x as f32);
    blocks.insert("positions".to_owned(), tensor(positions, &[grid * grid, width])?);
    peers::write(folder, &blocks, &shoestring_engine::checkpoint::model_bytes(&clip)?, name)
}
