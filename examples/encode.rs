//! Embeds prepared pictures and token ids with a model of open_clip's, Hugging Face's or a run's.
//!
//!     cargo run --example encode -- MODEL inputs.safetensors features.safetensors
//!
//! `inputs` has `pixels` (count, 3, side, side), f32, prepared as the model wants them, and `token_ids`
//! (count, length), i64. `features` gets `images` and `texts`, (count, width) each, of length 1.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::path::Path;

use shoestring_exchange::{Weight, Weights, safetensors_bytes};
use shoestring_experiments::evaluate::Encoder;
use shoestring_experiments::models::open_model;
use shoestring_planner::recipe::Precision;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, inputs, features] = arguments.as_slice() else {
        return Err("usage: encode MODEL inputs.safetensors features.safetensors".into());
    };
    let opened = open_model(Path::new(model), None)?;
    let encoder = Encoder::new(&opened.model, Precision::F32)?;
    let bytes = std::fs::read(inputs)?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    let pixels = tensors.tensor("pixels")?;
    let numbers: Vec<f32> = pixels
        .data()
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect();
    let ids = tensors.tensor("token_ids")?;
    let length = ids.shape()[1];
    let token_ids = ids
        .data()
        .chunks_exact(8)
        .map(|eight| u32::from_le_bytes([eight[0], eight[1], eight[2], eight[3]]))
        .collect::<Vec<u32>>();
    let mut out = Weights::new();
    for (name, numbers) in [
        ("images", encoder.images(&numbers, pixels.shape()[3])?),
        ("texts", encoder.ids(&token_ids, length)?),
    ] {
        let shape = vec![numbers.len() / encoder.width(), encoder.width()];
        out.insert(name.to_owned(), Weight { shape, numbers });
    }
    let path = Path::new(features);
    std::fs::write(path, safetensors_bytes(path, &out)?)?;
    println!("{}: embeddings of {} numbers", path.display(), encoder.width());
    Ok(())
}
