//! Writes a model, a batch, and the loss and gradients that this engine finds, for `tests/peers/gradients.py`.
//!
//! `cargo run --release -p shoestring-engine --example peer_gradients -- FOLDER [tiny|a|b|c] [batch]`
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, View};
use shoestring_engine::measure::{RandomPairs, Shape};
use shoestring_engine::{Clip, position_table};
use shoestring_planner::recipe::{Optimizer, Precision};

struct Block {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Block {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn floats(numbers: impl IntoIterator<Item = f32>, shape: &[usize]) -> Block {
    let bytes = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
    Block { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

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

    let mut blocks = BTreeMap::new();
    for (precision, label) in [(Precision::F32, "f32"), (Precision::Bf16, "bf16")] {
        clip.set_precision(precision);
        let (loss, gradients) = clip.gradients(&input)?;
        println!("{label}: loss {loss}");
        let loss = Block { dtype: Dtype::F64, shape: vec![], bytes: loss.to_le_bytes().to_vec() };
        blocks.insert(format!("{label}.loss"), loss);
        for (name, gradient) in gradients {
            let dims = clip.parameters().get(&name)?.dims();
            blocks.insert(format!("{label}.{name}"), floats(gradient, dims));
        }
    }
    blocks.insert("pixels".to_owned(), floats(input.pixels.iter().copied(), &[batch, 3, side, side]));
    let ids = input.token_ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
    let ids = Block { dtype: Dtype::I64, shape: vec![batch, tokens], bytes: ids };
    blocks.insert("token_ids".to_owned(), ids);
    let vision = &shape.architecture.vision_cfg;
    let (grid, width) = (side / vision.patch_size as usize, vision.width as usize);
    let positions = position_table(grid, width).into_iter().map(|x| x as f32);
    blocks.insert("positions".to_owned(), floats(positions, &[grid * grid, width]));
    std::fs::create_dir_all(folder)?;
    safetensors::serialize_to_file(blocks, None, &folder.join("found.safetensors"))?;
    std::fs::write(folder.join("model.safetensors"), shoestring_engine::checkpoint::model_bytes(&clip)?)?;
    std::fs::write(folder.join("shape.txt"), name)?;
    Ok(())
}
