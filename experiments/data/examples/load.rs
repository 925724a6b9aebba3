//! Passes over shards as training reads them, on one core, each at a line on stdin; prints the samples of it,
//! its seconds, and the memory that the process holds after it in bytes:
//!
//!     cargo run --release -p shoestring-data --example load -- 64 'shards/{000..003}.tar'
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::stdin;
use std::time::Instant;

use shoestring_data::Loader;
use shoestring_planner::architectures;
use shoestring_planner::recipe::{DataSource, Stage};
use shoestring_planner::units::Samples;

const BATCH: u32 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let size: u32 = args.next().ok_or("name a size in pixels")?.parse()?;
    let source = DataSource::Webdataset { shards: args.collect() };
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;
    let stage: Stage = toml::from_str(&format!(
        "name = \"load\"\nsamples = 1000000\nimage_size_px = {size}\ntext_tokens = 16\nbatch = {BATCH}\n\
         learning_rate = 0.001\nwarmup_samples = 0"
    ))?;
    let loader = Loader::open(&source, &stage, architectures::find("ViT-B-16")?, 1, Samples(1))?;
    let batches = loader.epoch_samples().0 / u64::from(BATCH);
    let mut at = 0;
    for line in stdin().lines() {
        line?;
        let start = Instant::now();
        for _ in 0..batches {
            std::hint::black_box(loader.batch(at, BATCH)?);
            at += u64::from(BATCH);
        }
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let resident: u64 = pages.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        println!("{} {} {}", batches * u64::from(BATCH), start.elapsed().as_secs_f64(), resident * 4096);
    }
    Ok(())
}
