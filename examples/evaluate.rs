//! Zero-shot accuracy of a model, batch by batch:
//! `cargo run --release --example evaluate -- MODEL DATASET_FOLDER`.
//!
//! MODEL is a run directory, or a folder of open_clip's or Hugging Face's; DATASET_FOLDER has a dataset.toml.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::path::Path;

use shoestring_data::evaluation::PromptCut;
use shoestring_data::{EvaluationSet, read_dataset_folder};
use shoestring_experiments::evaluate::{Embeddings, Encoder, zero_shot};
use shoestring_experiments::models::open_model;
use shoestring_planner::recipe::Precision;
use shoestring_planner::units::{Samples, Tokens};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder] = arguments.as_slice() else {
        return Err("usage: evaluate MODEL DATASET_FOLDER".into());
    };
    let opened = open_model(Path::new(model), None)?;
    let encoder = Encoder::new(&opened.model, Precision::F32)?;
    let data =
        read_dataset_folder(Path::new(folder))?.evaluation.ok_or("the data have no labelled images")?;
    let (size, length) = (encoder.image_size_px(), Tokens(encoder.text_tokens() as u32));
    let set = EvaluationSet::open_with(
        &data,
        &opened.model.architecture,
        size,
        length,
        Samples(0),
        PromptCut::End,
    )?
    .prepared(encoder.view, encoder.preparation);
    let mut embeddings = Embeddings::in_memory(encoder.width());
    // The last argument is asked after each batch whether to go on: always.
    let Ok(measured) = zero_shot(&encoder, &set, &mut embeddings, 64, &mut |_| Ok(None))? else {
        return Ok(());
    };
    for metric in &measured.metrics {
        println!("{:<24} {:.4}", metric.name, metric.value.unwrap_or(f64::NAN));
    }
    Ok(())
}
