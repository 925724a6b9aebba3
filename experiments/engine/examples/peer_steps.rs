//! Takes training steps when told to, for `tests/peers/bench.py`: a line `N` on stdin is N steps; the answer is
//! a line of JSON with their wall-clock seconds, processor seconds, model FLOPs, the FLOPs per second of products
//! alone just after them, and the process's peak memory.
//!
//! `cargo run --release -p shoestring-engine --example peer_steps -- a|b|c [bf16|f32]`
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::io::BufRead;
use std::time::{Duration, Instant};

use shoestring_engine::Trainer;
use shoestring_engine::measure::{RandomPairs, Shape, cpu_time_seconds, peak_memory_bytes, product_rate};
use shoestring_planner::recipe::{Optimizer, Precision};

/// The allocator that the command has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long products alone are timed.
const PEAK: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().ok_or("which shape?")?;
    let shape = Shape::named(name).ok_or_else(|| format!("there is no shape `{name}`"))?;
    let precision = match arguments.get(1).map(String::as_str) {
        Some("f32") => Precision::F32,
        _ => Precision::Bf16,
    };
    let settings = Optimizer { precision: Some(precision), ..Optimizer::default() };
    let mut trainer = Trainer::new(&shape.architecture, &settings, 0)?;
    let pairs: Vec<RandomPairs> = (0..4).map(|seed| RandomPairs::of(&shape, seed)).collect();
    let mut batches = pairs.iter().cycle();
    for line in std::io::stdin().lock().lines() {
        let steps: usize = line?.trim().parse()?;
        let (start, cpu) = (Instant::now(), cpu_time_seconds().unwrap_or(f64::NAN));
        let mut loss = f64::NAN;
        for pairs in batches.by_ref().take(steps) {
            loss = trainer.step(&pairs.input(), 1e-4)?.loss;
        }
        let seconds = start.elapsed().as_secs_f64();
        let cpu = cpu_time_seconds().unwrap_or(f64::NAN) - cpu;
        let (flops, peak) = (shape.step_flops() * steps as f64, product_rate(precision, PEAK));
        let memory = peak_memory_bytes().unwrap_or(0);
        println!(
            "{{\"seconds\": {seconds}, \"cpu_seconds\": {cpu}, \"flops\": {flops}, \"peak_flops_per_second\": {peak}, \
             \"peak_bytes\": {memory}, \"loss\": {loss}}}"
        );
    }
    Ok(())
}
