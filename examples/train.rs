//! A training loop of one's own, without a run directory or a ledger: `cargo run --release --example train`.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;

use shoestring_data::Loader;
use shoestring_engine::{StepInput, Trainer, learning_rate};
use shoestring_planner::recipe::read_recipe;
use shoestring_planner::units::Samples;

fn main() -> Result<(), Box<dyn Error>> {
    let recipe = read_recipe(include_str!("shapes.toml"), "shapes.toml".as_ref())?;
    let stage = &recipe.stages[0];
    let loader = Loader::open(
        &recipe.data.train,
        stage,
        &recipe.architecture,
        recipe.seed,
        recipe.data.unique_samples,
    )?;
    let mut trainer = Trainer::new(&recipe.architecture, &recipe.optimizer, recipe.seed)?;
    for step in 0..50u64 {
        let seen = step * u64::from(stage.batch);
        let batch = loader.batch(seen, stage.batch)?;
        let input = StepInput {
            batch: batch.size,
            image_size_px: batch.image_size_px,
            pixels: &batch.pixels,
            kept_patches: batch.kept_patches.as_deref(),
            text_tokens: batch.text_tokens,
            token_ids: &batch.token_ids,
        };
        let report = trainer.step(&input, learning_rate(stage, Samples(seen)))?;
        if step % 10 == 9 {
            println!("step {:>3}: loss {:.3}, logit scale {:.1}", step + 1, report.loss, report.logit_scale);
        }
    }
    std::fs::write("shapes.safetensors", trainer.model_bytes()?)?;
    println!("shapes.safetensors: the weights, under open_clip's names");
    Ok(())
}
