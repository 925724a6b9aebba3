//! The same shards with smaller pictures, for stages with short sequences.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use serde::Serialize;
use shoestring_durable::{WholeFile, WriteError, write_file};
use shoestring_planner::recipe::{Data, DataSource, Interpolation, RECIPE_VERSION};
use shoestring_planner::units::Samples;

use crate::bad::{BadCause, BadSample, Counts};
use crate::error::DataError;
use crate::manifest::MANIFEST_NAME;
use crate::picture::{MAX_BYTES, decode, resize_whole};
use crate::webdataset::{Grouping, ShardIndex, expand, local, split_name};
use crate::write::{Manifest, Progress, append, claim_folder, holds, to_toml};

const REQUEST_NAME: &str = "repack.toml";
const OURS: [&str; 3] = ["shard-", REQUEST_NAME, "dataset"];
/// Samples that are worked on at a time: bounds memory, and how soon a stop is seen.
const CHUNK: usize = 256;
/// Bytes of members that are held at a time.
const MOST_WAITING_BYTES: usize = 512 << 20;
/// Pictures of a shard whose decoding is timed, before and after.
const TIMED: usize = 64;

/// What to write.
#[derive(Clone, Debug)]
pub struct RepackRequest {
    /// Shards, braces expanded.
    pub shards: Vec<String>,
    /// Folder to write into; made when missing.
    pub out: PathBuf,
    /// What the shorter side of a larger picture becomes, in pixels. Smaller pictures stay as they are.
    pub shorter_side_px: u32,
    /// Quality of the JPEG files, 1 to 100.
    pub quality: u8,
    /// What the shards belong to; their `dataset.toml` is written again for the new ones.
    pub data: Option<Data>,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repacked {
    /// Shards written, those of an earlier call included.
    pub shards: u64,
    /// Samples in them.
    pub samples: u64,
    /// Samples left out of the shards that this call wrote, by cause.
    pub counts: Counts,
    /// Bytes of all shards before.
    pub bytes_before: u64,
    /// Bytes of all shards now.
    pub bytes_after: u64,
    /// Seconds of one core to decode a picture before, from a sample of the shards that this call wrote.
    pub decode_seconds_before: f64,
    /// Seconds of one core to decode a picture now.
    pub decode_seconds_after: f64,
}

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    shards: &'a [String],
    shard_bytes: &'a [u64],
    shorter_side_px: u32,
    quality: u8,
}

/// Writes every shard again with smaller pictures as `shard-00000.tar` and so on; last, `dataset.toml`. Other
/// members are kept as they are; samples whose picture cannot be decoded are left out and counted. The same
/// request gives the same bytes; given again, it goes on where it was stopped. `progress` counts shards.
pub fn repack(
    request: &RepackRequest,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Repacked, DataError> {
    let refuse = |field, value: String, problem: &str, hint: &str| DataError::Value {
        field,
        value,
        problem: problem.to_owned(),
        hint: hint.to_owned(),
    };
    if !(1..=100).contains(&request.quality) {
        return Err(refuse(
            "quality",
            request.quality.to_string(),
            "is no quality of a JPEG",
            "use 1 to 100",
        ));
    }
    if request.shorter_side_px == 0 {
        return Err(refuse("size", "0".to_owned(), "leaves no picture", "use 1 or more"));
    }
    let mut names = Vec::new();
    for pattern in &request.shards {
        names.extend(expand(pattern)?);
    }
    let paths: Vec<PathBuf> = names.par_iter().map(|name| local(name)).collect::<Result<_, _>>()?;
    let mut lengths = Vec::with_capacity(paths.len());
    for path in &paths {
        let read = |source| DataError::Read { path: path.clone(), source };
        lengths.push(std::fs::metadata(path).map_err(read)?.len());
    }
    let wanted = to_toml(&Request {
        version: 1,
        shards: &names,
        shard_bytes: &lengths,
        shorter_side_px: request.shorter_side_px,
        quality: request.quality,
    })?;
    claim_folder(&request.out, REQUEST_NAME, &wanted, &OURS)?;
    let mut done = Repacked { bytes_before: lengths.iter().sum(), ..Repacked::default() };
    let mut times = Times::default();
    for (number, path) in (0u64..).zip(&paths) {
        let out = request.out.join(format!("shard-{number:05}.tar"));
        // Shards appear whole under their name or not at all.
        if !out.is_file() {
            let mut file = WholeFile::create(&out)?;
            write_shard(path, &mut file, &out, request, &mut done.counts, &mut times)?;
            file.commit()?;
        }
        let samples =
            ShardIndex::open_files(std::slice::from_ref(&out)).map(|index| index.samples().len() as u64);
        // Every sample of a shard may have been left out.
        let samples = samples.unwrap_or(0);
        debug_assert!(samples == 0 || holds(&out, samples), "a shard is whole");
        done.samples += samples;
        done.shards += 1;
        let written = |source| DataError::Read { path: out.clone(), source };
        done.bytes_after += std::fs::metadata(&out).map_err(written)?.len();
        if progress(Progress { done: done.shards, total: paths.len() as u64 }).is_break() {
            return Err(DataError::Stopped);
        }
    }
    done.decode_seconds_before = times.before / times.pictures.max(1) as f64;
    done.decode_seconds_after = times.after / times.pictures.max(1) as f64;
    if done.samples == 0 {
        let problem = format!("none could be used ({})", done.counts.causes());
        return Err(DataError::NoSamples { place: "shards".to_owned(), problem });
    }
    let last = paths.len() - 1;
    let pattern =
        if last == 0 { "shard-00000.tar".to_owned() } else { format!("shard-{{00000..{last:05}}}.tar") };
    let train = DataSource::Webdataset { shards: vec![pattern] };
    let data = match &request.data {
        Some(data) => Data { train, unique_samples: Samples(done.samples), ..data.clone() },
        None => Data {
            name: "repacked".to_owned(),
            unique_samples: Samples(done.samples),
            train,
            reading: Default::default(),
            evaluation: None,
        },
    };
    let manifest = to_toml(&Manifest { version: RECIPE_VERSION, data: &data })?;
    write_file(&request.out.join(MANIFEST_NAME), manifest.as_bytes())?;
    Ok(done)
}

/// Members of one sample: name and bytes, the picture's number among them. None are held of a sample whose bytes
/// are too many.
struct Entry {
    members: Vec<(String, Vec<u8>)>,
    key: String,
    picture: Option<usize>,
    bytes: u64,
}

#[derive(Default)]
struct Times {
    pictures: u64,
    before: f64,
    after: f64,
}

fn write_shard(
    path: &Path,
    out: &mut impl Write,
    out_path: &Path,
    request: &RepackRequest,
    counts: &mut Counts,
    times: &mut Times,
) -> Result<(), DataError> {
    let read = |source| DataError::Read { path: path.to_owned(), source };
    let written = |source| WriteError { path: out_path.to_owned(), action: "write", source };
    // The index refuses what is damaged, with the place, before anything is written.
    ShardIndex::open_files(&[path.to_owned()])?;
    let mut archive =
        tar::Archive::new(io::BufReader::with_capacity(1 << 20, File::open(path).map_err(read)?));
    let mut builder = tar::Builder::new(out);
    let (mut waiting, mut grouping): (Vec<Entry>, _) = (Vec::new(), Grouping::default());
    let (mut timed, mut waiting_bytes) = (0, 0);
    let mut flush = |waiting: &mut Vec<Entry>, builder: &mut tar::Builder<_>| -> Result<(), DataError> {
        let smaller: Vec<Result<Entry, BadSample>> =
            std::mem::take(waiting).into_par_iter().map(|entry| shrink(entry, path, request)).collect();
        for result in smaller {
            match result {
                Ok(entry) => {
                    for (name, bytes) in &entry.members {
                        append(builder, name, bytes).map_err(written)?;
                    }
                    counts.good += 1;
                }
                Err(bad) => counts.add(&bad),
            }
        }
        Ok(())
    };
    for entry in archive.entries().map_err(read)? {
        let mut entry = entry.map_err(read)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let Some((key, ending)) = split_name(&name) else { continue };
        let ending = ending.to_ascii_lowercase();
        if grouping.begins(key, &ending) {
            if waiting.len() >= CHUNK || waiting_bytes > MOST_WAITING_BYTES {
                waiting_bytes = 0;
                time(&waiting, request, &mut timed, times);
                flush(&mut waiting, &mut builder)?;
            }
            waiting.push(Entry { members: Vec::new(), key: key.to_owned(), picture: None, bytes: 0 });
        }
        let Some(sample) = waiting.last_mut() else { continue };
        let is_picture = matches!(ending.as_str(), "jpg" | "jpeg" | "png" | "webp");
        sample.bytes = sample.bytes.saturating_add(entry.size());
        if sample.bytes > MAX_BYTES {
            let held = std::mem::take(&mut sample.members);
            waiting_bytes -= held.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
            sample.picture = None;
            continue;
        }
        let mut bytes = Vec::with_capacity(entry.size() as usize);
        entry.read_to_end(&mut bytes).map_err(read)?;
        waiting_bytes += bytes.len();
        if is_picture && sample.picture.is_none() {
            sample.picture = Some(sample.members.len());
        }
        sample.members.push((inside(&name), bytes));
    }
    time(&waiting, request, &mut timed, times);
    flush(&mut waiting, &mut builder)?;
    builder.into_inner().map_err(written)?;
    Ok(())
}

/// A name that stays inside whatever folder a shard is unpacked into.
fn inside(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    parts.join("/")
}

fn shrink(mut entry: Entry, path: &Path, request: &RepackRequest) -> Result<Entry, BadSample> {
    let place = || format!("{}: {}", path.display(), entry.key);
    let bad = |cause, detail| BadSample { cause, place: place(), detail };
    if entry.bytes > MAX_BYTES {
        return Err(bad(
            BadCause::ImageTooLarge,
            format!("{} bytes with all that belongs to it", entry.bytes),
        ));
    }
    let Some(number) = entry.picture else { return Err(bad(BadCause::MissingImage, String::new())) };
    match smaller(&entry.members[number].1, request) {
        Ok(None) => Ok(entry),
        Ok(Some(bytes)) => {
            let (name, contents) = &mut entry.members[number];
            let stem = split_name(name).map_or(name.as_str(), |(key, _)| key);
            *name = format!("{stem}.jpg");
            *contents = bytes;
            Ok(entry)
        }
        Err(problem) => Err(bad(BadCause::BrokenImage, problem)),
    }
}

/// The JPEG file of a smaller version; `None`: the picture is no larger than that.
fn smaller(bytes: &[u8], request: &RepackRequest) -> Result<Option<Vec<u8>>, String> {
    let picture = decode(bytes).map_err(|error| error.to_string())?;
    let shorter = picture.width.min(picture.height);
    if shorter <= request.shorter_side_px {
        return Ok(None);
    }
    let scaled = |side: u32| {
        let exact = f64::from(side) * f64::from(request.shorter_side_px) / f64::from(shorter);
        (exact.round() as u32).max(1)
    };
    let (width, height) = (scaled(picture.width), scaled(picture.height));
    let small = resize_whole(&picture, width, height, Interpolation::Bicubic);
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, request.quality)
        .write_image(&small.pixels, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| error.to_string())?;
    Ok(Some(out))
}

/// Times the decoding of a few pictures before and after, one at a time.
fn time(waiting: &[Entry], request: &RepackRequest, timed: &mut usize, times: &mut Times) {
    for entry in waiting.iter().take(TIMED.saturating_sub(*timed)) {
        *timed += 1;
        let Some(bytes) = entry.picture.map(|number| &entry.members[number].1) else { continue };
        let Ok(after) = smaller(bytes, request) else { continue };
        let seconds = |bytes: &[u8]| {
            let start = Instant::now();
            std::hint::black_box(decode(bytes).is_ok());
            start.elapsed().as_secs_f64()
        };
        times.before += seconds(bytes);
        times.after += seconds(after.as_deref().unwrap_or(bytes));
        times.pictures += 1;
    }
}
