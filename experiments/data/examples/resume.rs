//! How long it takes to be back at sample ten million, and whether the samples that follow are those of a loader
//! that was never stopped:
//!
//!     cargo run --release -p shoestring-data --example resume
//!
//! Once from shards on disk (50 of 1,000 samples each, so far into the two-hundredth epoch), once from a source of
//! twelve million samples, once from a mixture of two.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use shoestring_data::Loader;
use shoestring_planner::architectures;
use shoestring_planner::recipe::{DataSource, Stage, WeightedSource};
use shoestring_planner::units::Samples;

const POSITION: u64 = 10_000_000;
const COMPARED: u32 = 1000;
const SHARDS: u32 = 50;
const SHARD_SAMPLES: u32 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("shoestring-resume-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let done = compare_all(&folder);
    fs::remove_dir_all(&folder)?;
    done
}

fn compare_all(folder: &Path) -> Result<(), Box<dyn Error>> {
    for shard in 0..SHARDS {
        write_shard(&folder.join(format!("{shard:05}.tar")), shard)?;
    }
    let pattern = folder.join(format!("{{00000..{:05}}}.tar", SHARDS - 1));
    let shards = DataSource::Webdataset { shards: vec![pattern.to_string_lossy().into_owned()] };
    let drawn = DataSource::Synthetic { seed: 1, image_size_px: 64 };
    let part = |weight, source: &DataSource| WeightedSource { weight, source: source.clone() };
    let mixed = DataSource::Mixed { parts: vec![part(1.0, &drawn), part(2.5, &shards)] };
    compare("shards", &shards)?;
    compare("generator", &drawn)?;
    compare("mixture", &mixed)
}

/// Samples of which nothing but the names is looked at.
fn write_shard(path: &Path, shard: u32) -> Result<(), Box<dyn Error>> {
    let mut tar = tar::Builder::new(File::create(path)?);
    for number in 0..SHARD_SAMPLES {
        for (ending, contents) in [("jpg", &b"\xff\xd8"[..]), ("txt", b"a caption")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("{shard:05}{number:04}.{ending}"), contents)?;
        }
    }
    tar.into_inner()?;
    Ok(())
}

fn compare(name: &str, source: &DataSource) -> Result<(), Box<dyn Error>> {
    let stage: Stage = toml::from_str(
        "name = \"resume\"\nsamples = 100000000\nimage_size_px = 64\ntext_tokens = 16\nbatch = 1000\n\
         learning_rate = 0.001\nwarmup_samples = 0",
    )?;
    let architecture = architectures::find("ViT-B-16")?;
    let open = || Loader::open(source, &stage, architecture, 1, Samples(12_000_000));
    let uninterrupted = open()?;
    let mut expected = Vec::new();
    for start in (0..=POSITION).step_by(COMPARED as usize) {
        expected = uninterrupted.indices(start, COMPARED);
    }
    let start = Instant::now();
    let resumed = open()?;
    let opened = start.elapsed();
    let found = resumed.indices(POSITION, COMPARED);
    let there = start.elapsed() - opened;
    println!(
        "{name}: opened in {:.1} ms, the {COMPARED} samples after {POSITION} known {:.2} ms later: {}",
        opened.as_secs_f64() * 1e3,
        there.as_secs_f64() * 1e3,
        if found == expected { "equal" } else { "DIFFERENT" },
    );
    if found == expected { Ok(()) } else { Err("the samples differ".into()) }
}
