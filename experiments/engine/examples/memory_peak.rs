//! The most memory that training steps take, against the planner's figure. One configuration a process.
//!
//! `cargo run --release -p shoestring-engine --example memory_peak -- tiny|a|b|c BATCH MICROBATCH bf16|f32 [recompute] [ema]`
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeSet;
use std::time::Instant;

use shoestring_engine::Trainer;
use shoestring_engine::measure::{RandomPairs, Shape, peak_memory_bytes};
use shoestring_planner::memory::{Activations, HostStep, host_step_bytes};
use shoestring_planner::recipe::{Optimizer, Precision};
use shoestring_planner::units::Tokens;

/// The allocator that the command has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STEPS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).map(String::as_str).ok_or("an argument is missing");
    let mut shape = Shape::named(argument(0)?).ok_or("no such shape")?;
    shape.batch = argument(1)?.parse()?;
    let microbatch: u32 = argument(2)?.parse()?;
    let precision = if argument(3)? == "f32" { Precision::F32 } else { Precision::Bf16 };
    let recompute = arguments.iter().any(|word| word == "recompute");
    let ema = arguments.iter().any(|word| word == "ema");
    let ema_decay = ema.then_some(0.999);
    let settings = Optimizer { precision: Some(precision), ema_decay, ..Optimizer::default() };
    let mut trainer = Trainer::new(&shape.architecture, &settings, 0)?;
    trainer.set_microbatch(microbatch as usize);
    trainer.set_recompute(recompute);
    let pairs = RandomPairs::of(&shape, 0);
    let mut seconds = 0.0;
    for _ in 0..STEPS {
        let start = Instant::now();
        trainer.step(&pairs.input(), 1e-4)?;
        seconds = start.elapsed().as_secs_f64();
    }
    let measured = peak_memory_bytes().ok_or("the system does not tell the peak")? as f64;
    let words = pairs.input().token_ids.iter().collect::<BTreeSet<_>>().len() as f64;
    let step = HostStep {
        image_tokens: shape.architecture.vision_cfg.tokens_at(shape.image_size_px),
        text_tokens: Tokens(shape.text_tokens),
        batch: shape.batch,
        microbatch,
        activations: if recompute { Activations::Recomputed } else { Activations::Kept },
        number_bytes: if precision == Precision::F32 { 4.0 } else { 2.0 },
        words,
        ema,
    };
    let planned = host_step_bytes(&shape.architecture, &step).total();
    println!(
        "{}: measured {:.0} MB, planned {:.0} MB, planned is {:.3} of it; {:.1} samples/s in the last step",
        arguments.join(" "),
        measured / 1e6,
        planned / 1e6,
        planned / measured,
        f64::from(shape.batch) / seconds
    );
    Ok(())
}
