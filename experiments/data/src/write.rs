//! Writing the generator's pictures as webdataset shards, with everything around them.

use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use serde::Serialize;
use shoestring_durable::{WholeFile, WriteError, write_file};
use shoestring_planner::recipe::{Data, DataSource, EvaluationData, RECIPE_VERSION, Reading};
use shoestring_planner::units::Samples;

use crate::bounded::{MAX_TEXT_BYTES, read_text_bounded};
use crate::error::DataError;
use crate::manifest::MANIFEST_NAME;
use crate::picture::Rgb;
use crate::synth::{Synth, TEMPLATES, class_names};
use crate::webdataset::ShardIndex;

/// What a folder is being made from; written first, so that an interrupted writing can go on.
const REQUEST_NAME: &str = "synth.toml";
/// How the names of the files written here begin.
const OURS: [&str; 6] = ["train-", "eval-", REQUEST_NAME, "classnames", "templates", "dataset"];
/// Images in an evaluation shard.
const EVALUATION_SHARD: u64 = 10_000;
/// Samples drawn and encoded at a time: bounds memory, and how soon a stop is seen.
const CHUNK: u64 = 256;

/// What to write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SynthRequest {
    /// Folder to write into; made when missing.
    #[serde(skip)]
    pub out: PathBuf,
    /// Training pairs.
    pub samples: Samples,
    /// Labelled images of the held-out classes; 0: none.
    pub eval_samples: Samples,
    /// Side of the pictures in pixels.
    pub image_size_px: u32,
    /// Training shards.
    pub shards: u32,
    /// Seed of the drawing.
    pub seed: u64,
}

/// How far the writing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Pictures that are in a shard.
    pub done: u64,
    /// Pictures in all.
    pub total: u64,
}

#[derive(Serialize)]
pub(crate) struct Manifest<'a> {
    pub(crate) version: u32,
    #[serde(flatten)]
    pub(crate) data: &'a Data,
}

/// Writes training shards, evaluation shards, `classnames.txt`, `templates.txt` and, last, `dataset.toml`;
/// returns the data as `dataset.toml` has it. The same request gives the same bytes; given again, it goes on
/// where it was stopped or finds that there is nothing left to do. A folder with anything else in it is
/// refused. `progress` hears of every few hundred pictures and may stop the writing.
pub fn write_synth(
    request: &SynthRequest,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Data, DataError> {
    let synth = Synth::new(request.seed, request.image_size_px)?;
    let (samples, eval_samples) = (request.samples.0, request.eval_samples.0);
    let refuse = |field, value: String, problem: &str, hint: &str| DataError::Value {
        field,
        value,
        problem: problem.to_owned(),
        hint: hint.to_owned(),
    };
    if samples == 0 {
        return Err(refuse("samples", "0".into(), "there would be nothing to train on", "use 1 or more"));
    }
    let shards = u64::from(request.shards);
    if shards == 0 || shards > samples {
        let hint = format!("use 1 to {samples} shards");
        return Err(refuse("shards", shards.to_string(), "no shard may be empty, and one is needed", &hint));
    }
    let wanted = to_toml(&Request { version: 1, request })?;
    claim_folder(&request.out, REQUEST_NAME, &wanted, &OURS)?;

    let eval_shards = eval_samples.div_ceil(EVALUATION_SHARD);
    let mut parts = Vec::new();
    for (kind, count, all) in [(Kind::Train, shards, samples), (Kind::Evaluation, eval_shards, eval_samples)]
    {
        for shard in 0..count {
            parts.push(Part { kind, shard, first: all * shard / count, end: all * (shard + 1) / count });
        }
    }
    let mut done = Progress { done: 0, total: samples + eval_samples };
    for part in &parts {
        let path = request.out.join(part.name());
        if !holds(&path, part.end - part.first) {
            let mut file = WholeFile::create(&path)?;
            part.write(&synth, &mut file, &path, &mut done, progress)?;
            file.commit()?;
        } else {
            done.done += part.end - part.first;
            report(done, progress)?;
        }
    }
    let data = describe(request, eval_shards);
    if data.evaluation.is_some() {
        write_file(&request.out.join("classnames.txt"), lines(&class_names()).as_bytes())?;
        write_file(&request.out.join("templates.txt"), lines(&TEMPLATES).as_bytes())?;
    }
    let manifest = to_toml(&Manifest { version: RECIPE_VERSION, data: &data })?;
    write_file(&request.out.join(MANIFEST_NAME), manifest.as_bytes())?;
    Ok(data)
}

fn report(done: Progress, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<(), DataError> {
    match progress(done) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(DataError::Stopped),
    }
}

fn lines(entries: &[impl AsRef<str>]) -> String {
    entries.iter().map(|entry| format!("{}\n", entry.as_ref())).collect()
}

pub(crate) fn to_toml(value: &impl Serialize) -> Result<String, DataError> {
    toml::to_string(value).map_err(|error| DataError::Value {
        field: "dataset.toml",
        value: String::new(),
        problem: error.to_string(),
        hint: "use numbers below 2^63".to_owned(),
    })
}

/// `train-{000..003}.tar`, or the one name.
fn pattern(kind: Kind, shards: u64) -> String {
    match shards {
        1 => kind.shard_name("000"),
        _ => kind.shard_name(&format!("{{000..{:03}}}", shards - 1)),
    }
}

fn describe(request: &SynthRequest, eval_shards: u64) -> Data {
    let shards = |kind, count| DataSource::Webdataset { shards: vec![pattern(kind, count)] };
    Data {
        name: "synthetic".to_owned(),
        unique_samples: request.samples,
        train: shards(Kind::Train, u64::from(request.shards)),
        reading: Reading::default(),
        evaluation: (eval_shards > 0).then(|| EvaluationData {
            source: shards(Kind::Evaluation, eval_shards),
            samples: request.eval_samples,
            class_names: "classnames.txt".to_owned(),
            templates: "templates.txt".to_owned(),
        }),
    }
}

/// Makes the folder this request's, or finds that it is, or refuses. `name`: the file that holds the request;
/// `ours`: how the names of the files begin that are written here.
pub(crate) fn claim_folder(folder: &Path, name: &str, wanted: &str, ours: &[&str]) -> Result<(), DataError> {
    let occupied = |problem: String| DataError::Occupied { folder: folder.to_owned(), problem };
    let failed = |path: &Path, action| {
        let path = path.to_owned();
        move |source| DataError::Write(WriteError { path, action, source })
    };
    match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).map_err(failed(folder, "create"))?;
        }
        Err(source) => return Err(DataError::Read { path: folder.to_owned(), source }),
        Ok(found) if !found.is_dir() => return Err(occupied("is a file, not a folder".to_owned())),
        Ok(_) => {}
    }
    let path = folder.join(name);
    match read_text_bounded(&path, MAX_TEXT_BYTES) {
        Ok(found) if found == wanted => return sweep(folder, ours).map_err(failed(folder, "clean")),
        Ok(found) => {
            let differs = found.lines().zip(wanted.lines()).find(|(there, here)| there != here);
            let (there, here) = differs.unwrap_or((found.trim(), wanted.trim()));
            return Err(occupied(format!("holds another data set (`{there}` there, `{here}` asked for)")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(DataError::Read { path, source }),
    }
    // What a crash before the first rename leaves does not count as content.
    sweep(folder, ours).map_err(failed(folder, "clean"))?;
    let mut entries = fs::read_dir(folder).map_err(failed(folder, "read"))?;
    if let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name().to_string_lossy().into_owned();
        return Err(occupied(format!("is not empty (`{name}`)")));
    }
    Ok(write_file(&path, wanted.as_bytes())?)
}

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    #[serde(flatten)]
    request: &'a SynthRequest,
}

/// Removes the temporary files that a killed writer left.
fn sweep(folder: &Path, ours: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_temporary = name.ends_with(".tmp")
            && name.strip_prefix('.').is_some_and(|rest| ours.iter().any(|start| rest.starts_with(start)));
        if is_temporary {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a shard is there, whole, with this many samples.
pub(crate) fn holds(path: &Path, samples: u64) -> bool {
    // The path is a name, not a pattern: braces in the folder's name would be expanded.
    path.is_file()
        && ShardIndex::open_files(&[path.to_owned()]).is_ok_and(|index| {
            index.samples().len() as u64 == samples && index.unterminated().next().is_none()
        })
}

#[derive(Clone, Copy)]
enum Kind {
    Train,
    Evaluation,
}

impl Kind {
    fn shard_name(self, number: &str) -> String {
        match self {
            Self::Train => format!("train-{number}.tar"),
            Self::Evaluation => format!("eval-{number}.tar"),
        }
    }
}

/// Name and contents of a member.
type Named = (String, Vec<u8>);

/// One shard: samples `first..end`.
struct Part {
    kind: Kind,
    shard: u64,
    first: u64,
    end: u64,
}

impl Part {
    fn name(&self) -> String {
        self.kind.shard_name(&format!("{:03}", self.shard))
    }

    fn write(
        &self,
        synth: &Synth,
        out: &mut impl Write,
        path: &Path,
        done: &mut Progress,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), DataError> {
        let failed = |source| WriteError { path: path.to_owned(), action: "write", source };
        let mut archive = tar::Builder::new(out);
        let mut first = self.first;
        while first < self.end {
            let end = (first + CHUNK).min(self.end);
            let members: Vec<io::Result<Vec<Named>>> =
                (first..end).into_par_iter().map(|index| self.members(synth, index)).collect();
            for of_sample in members {
                for (name, bytes) in of_sample.map_err(failed)? {
                    append(&mut archive, &name, &bytes).map_err(failed)?;
                }
            }
            done.done += end - first;
            report(*done, progress)?;
            first = end;
        }
        archive.into_inner().map_err(failed)?;
        Ok(())
    }

    fn members(&self, synth: &Synth, index: u64) -> io::Result<Vec<Named>> {
        let key = format!("{index:09}");
        let (picture, caption, label) = match self.kind {
            Kind::Train => {
                let pair = synth.pair(index);
                (pair.picture, pair.caption, None)
            }
            Kind::Evaluation => {
                let labelled = synth.labelled(index);
                (labelled.picture, labelled.caption, Some(labelled.label))
            }
        };
        let mut members =
            vec![(format!("{key}.png"), encode_png(&picture)?), (format!("{key}.txt"), caption.into_bytes())];
        members.extend(label.map(|label| (format!("{key}.cls"), label.to_string().into_bytes())));
        Ok(members)
    }
}

fn encode_png(picture: &Rgb) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
        .write_image(&picture.pixels, picture.width, picture.height, ExtendedColorType::Rgb8)
        .map_err(io::Error::other)?;
    Ok(bytes)
}

pub(crate) fn append(
    archive: &mut tar::Builder<&mut impl Write>,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    // Nothing of this machine or moment goes into the file.
    header.set_mtime(0);
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for this many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let written = bytes.len().min(self.0);
            self.0 -= written;
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_named_with_a_hint_wherever_it_fills_up() {
        let synth = Synth::new(0, 8).expect("a size that can be drawn");
        let part = Part { kind: Kind::Evaluation, shard: 0, first: 0, end: 3 };
        let write = |room| {
            let mut done = Progress { done: 0, total: 3 };
            let path = Path::new("set/eval-000.tar");
            part.write(&synth, &mut Full(room), path, &mut done, &mut |_| ControlFlow::Continue(()))
        };
        // Three samples of three members of two blocks, and the end marker of two.
        let whole = (3 * 3 * 2 + 2) * 512;
        assert!(write(whole).is_ok());
        for room in (0..whole).step_by(256) {
            let Err(error) = write(room) else { panic!("{room} bytes are not enough") };
            assert!(error.to_string().contains("eval-000.tar"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("disk is full")), "{error}");
        }
    }
}
