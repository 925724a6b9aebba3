//! What is in a data set, and how fast one core gets it ready.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use shoestring_planner::architecture::TextTokenizer;
use shoestring_planner::recipe::{Data, DataSource, ImagePreparation};
use shoestring_planner::units::Samples;

use crate::bad::Counts;
use crate::error::DataError;
use crate::manifest::{MANIFEST_NAME, read_dataset_folder};
use crate::picture::View;
use crate::source::{Fault, Picture, Source, TableKind};
use crate::text::Tokenizer;
use crate::write::Progress;

/// Samples looked at between two reports of progress.
const CHUNK: usize = 256;

/// What is asked of an inspection.
#[derive(Clone, Debug)]
pub struct InspectRequest {
    /// Where the pairs are.
    pub source: DataSource,
    /// Pairs that a generator has.
    pub drawn: Samples,
    /// Samples that are read and decoded, spread evenly over all; 0: every one.
    pub samples: u64,
    /// Side of the square that the rate of decoding is measured at, in pixels.
    pub image_size_px: u32,
    /// What caption lengths are counted in.
    pub tokenizer: TextTokenizer,
    /// Text lengths (markers included) of which is told how many captions they would cut.
    pub text_tokens: Vec<u32>,
}

/// The least, three in between and the largest of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Smallest.
    pub least: u64,
    /// A tenth is below it.
    pub p10: u64,
    /// Half is below it.
    pub p50: u64,
    /// Nine tenths are below it.
    pub p90: u64,
    /// Largest.
    pub most: u64,
}

impl Spread {
    fn of(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        let at =
            |part: usize| numbers.get((numbers.len().saturating_sub(1)) * part / 10).copied().unwrap_or(0);
        Self { least: at(0), p10: at(1), p50: at(5), p90: at(9), most: at(10) }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Samples in all.
    pub samples: u64,
    /// Shards; 0 where there are none.
    pub shards: u64,
    /// Bytes of all shards; 0 where there are none.
    pub shard_bytes: u64,
    /// Samples that were read, good and bad, the bad ones by cause.
    pub counts: Counts,
    /// Bytes of a picture's file.
    pub picture_bytes: Spread,
    /// Shorter side in pixels.
    pub shorter_side_px: Spread,
    /// Longer side in pixels.
    pub longer_side_px: Spread,
    /// Pictures by the format of their file.
    pub formats: BTreeMap<&'static str, u64>,
    /// Tokens of a caption, markers included.
    pub caption_tokens: Spread,
    /// For each text length asked for, the fraction of captions that are longer.
    pub cut: Vec<(u32, f64)>,
    /// Samples that one core reads, decodes, resizes and tokenizes in a second.
    pub samples_per_second_per_core: f64,
    /// Things that are no error but that somebody should know.
    pub warnings: Vec<String>,
}

/// The source that paths on a command line mean: a folder with `dataset.toml`, with shards or with pictures; a
/// table; else shards, whose braces are expanded. The data with it, where a `dataset.toml` says more.
pub fn find_source(paths: &[String]) -> Result<(DataSource, Option<Data>), DataError> {
    if let [only] = paths {
        let path = Path::new(only);
        if path.is_dir() {
            if path.join(MANIFEST_NAME).is_file() {
                let data = read_dataset_folder(path)?;
                return Ok((data.train.clone(), Some(data)));
            }
            let read = |source| DataError::Read { path: path.to_owned(), source };
            let mut shards: Vec<PathBuf> = Vec::new();
            for entry in std::fs::read_dir(path).map_err(read)? {
                shards.push(entry.map_err(read)?.path());
            }
            shards.retain(|path| path.extension().is_some_and(|ending| ending == "tar"));
            shards.sort_unstable();
            if shards.is_empty() {
                return Ok((DataSource::Folder { path: only.clone() }, None));
            }
            let shards = shards.iter().map(|path| path.to_string_lossy().into_owned()).collect();
            return Ok((DataSource::Webdataset { shards }, None));
        }
        if TableKind::of(path).is_some() {
            let (image_column, caption_column) = ("filepath".to_owned(), "title".to_owned());
            return Ok((DataSource::List { path: only.clone(), image_column, caption_column }, None));
        }
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml")) {
            let data = read_dataset_folder(path)?;
            return Ok((data.train.clone(), Some(data)));
        }
    }
    Ok((DataSource::Webdataset { shards: paths.to_vec() }, None))
}

struct Seen {
    file: Option<(&'static str, u64)>,
    sides: (u32, u32),
    tokens: u64,
    took: Duration,
}

/// Opens a source and looks at its samples on the current rayon pool.
pub fn inspect(
    request: &InspectRequest,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Inspection, DataError> {
    let source = Source::open(&request.source, request.drawn)?;
    let all = source.len();
    let wanted = if request.samples == 0 { all } else { request.samples.min(all) };
    let tokenizer = Tokenizer::named(request.tokenizer);
    // Read once beforehand: the vocabulary is no part of a sample's time.
    let _ = tokenizer.encode("a photo");
    let (mut counts, mut seen) = (Counts::default(), Vec::new());
    let mut done = Progress { done: 0, total: wanted };
    let numbers: Vec<u64> = (0..wanted)
        .map(|number| (u128::from(number) * u128::from(all) / u128::from(wanted)) as u64)
        .collect();
    for chunk in numbers.chunks(CHUNK) {
        let looked: Vec<Result<Seen, Fault>> =
            chunk.par_iter().map(|&index| look(&source, index, request, tokenizer)).collect();
        for result in looked {
            match result {
                Ok(one) => {
                    counts.good += 1;
                    seen.push(one);
                }
                Err(Fault::Bad(bad)) => counts.add(&bad),
                Err(Fault::Stop(error)) => return Err(error),
            }
        }
        done.done += chunk.len() as u64;
        if progress(done).is_break() {
            return Err(DataError::Stopped);
        }
    }
    let numbers = |of: fn(&Seen) -> u64| Spread::of(seen.iter().map(of).collect());
    let mut formats = BTreeMap::new();
    seen.iter().filter_map(|one| one.file).for_each(|(format, _)| *formats.entry(format).or_default() += 1);
    let took: f64 = seen.iter().map(|one| one.took.as_secs_f64()).sum();
    let longer = |length: u32| seen.iter().filter(|one| one.tokens > u64::from(length)).count() as f64;
    let (shards, shard_bytes) = source.shard_bytes();
    Ok(Inspection {
        samples: all,
        shards,
        shard_bytes,
        picture_bytes: Spread::of(seen.iter().filter_map(|one| one.file).map(|(_, bytes)| bytes).collect()),
        shorter_side_px: numbers(|one| u64::from(one.sides.0.min(one.sides.1))),
        longer_side_px: numbers(|one| u64::from(one.sides.0.max(one.sides.1))),
        formats,
        caption_tokens: numbers(|one| one.tokens),
        cut: request
            .text_tokens
            .iter()
            .map(|&length| (length, longer(length) / seen.len().max(1) as f64))
            .collect(),
        samples_per_second_per_core: if took > 0.0 { seen.len() as f64 / took } else { 0.0 },
        warnings: source.warnings("", Samples(all)),
        counts,
    })
}

fn look(source: &Source, index: u64, request: &InspectRequest, tokenizer: &Tokenizer) -> Result<Seen, Fault> {
    let start = Instant::now();
    let (picture, caption) = source.pair(index)?;
    let mut sides = (0, 0);
    let mut pixels = vec![0.0; 3 * (request.image_size_px as usize).pow(2)];
    let choose = |width, height| {
        sides = (width, height);
        View::Squash
    };
    picture.prepare(choose, request.image_size_px, ImagePreparation::default(), &mut pixels)?;
    let tokens = tokenizer.encode(&caption).len() as u64 + 2;
    let file = match &picture {
        Picture::File { bytes, .. } => Some((format_of(bytes), bytes.len() as u64)),
        Picture::Drawn(_) => None,
    };
    Ok(Seen { file, sides, tokens, took: start.elapsed() })
}

fn format_of(bytes: &[u8]) -> &'static str {
    match image::guess_format(bytes) {
        Ok(image::ImageFormat::Jpeg) => "jpeg",
        Ok(image::ImageFormat::Png) => "png",
        Ok(image::ImageFormat::WebP) => "webp",
        _ => "other",
    }
}
