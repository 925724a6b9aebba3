//! Samples per second of training steps on this machine.
//!
//! `cargo run --release -p shoestring-engine --example step_rate -- [tiny|a|b|c] [batch] [seconds] [bf16|f32] [image tokens]`
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use shoestring_engine::measure::{Shape, StepOptions, measure_step};
use shoestring_planner::recipe::Precision;

/// The allocator that the command has: the system's gives large blocks back after every operation and has
/// their pages faulted in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("a", String::as_str);
    let mut shape = Shape::named(name).ok_or_else(|| format!("there is no shape `{name}`"))?;
    if let Some(batch) = arguments.get(1) {
        shape.batch = batch.parse()?;
    }
    if let Some(tokens) = arguments.get(4) {
        shape = shape.with_image_tokens(tokens.parse()?).ok_or("image tokens are the square of a number")?;
    }
    let seconds: f64 = arguments.get(2).map_or(Ok(10.0), |text| text.parse())?;
    let precision = match arguments.get(3).map(String::as_str) {
        Some("f32") => Some(Precision::F32),
        Some("bf16") => Some(Precision::Bf16),
        _ => None,
    };
    let options = StepOptions { precision, ..StepOptions::default() };
    let found = measure_step(&shape, &options, seconds, &mut |_| {})?;
    println!(
        "{} ({:?}, {}): {:.1} samples/s, {:.1} per second of a core, {:.0} GFLOP/s, products {:.0} GFLOP/s, \
         {:.3} GFLOP a sample, \
         {:.0} MB, batch {}, {} threads",
        shape.name,
        found.precision,
        found.kernels,
        found.samples_per_second,
        found.samples_per_cpu_second.unwrap_or(f64::NAN),
        found.flops_per_second / 1e9,
        found.peak_flops_per_second / 1e9,
        shape.step_flops() / f64::from(shape.batch) / 1e9,
        found.peak_memory_bytes.unwrap_or(0) as f64 / 1e6,
        shape.batch,
        found.threads,
    );
    Ok(())
}
