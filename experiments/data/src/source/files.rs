//! Pictures in files of their own: a folder, or a table of paths and captions.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::list;
use super::{Fault, Picture, check_caption_length, read_caption};
use crate::bad::{BadCause, BadSample};
use crate::error::DataError;
use crate::picture::MAX_BYTES;
use crate::webdataset::{CaptionKind, is_remote};

const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
const ADDRESS: &str =
    "an address, not a file: img2dataset fetches pictures into shards that are read as they are";
/// Folders within folders that are looked into; deeper ones are links that go round.
const DEEPEST: usize = 32;

pub(crate) struct Files {
    samples: Vec<FileSample>,
}

struct FileSample {
    picture: PathBuf,
    caption: FileCaption,
}

enum FileCaption {
    Text(Box<str>),
    File(PathBuf, CaptionKind),
    Missing,
    /// Not kept: why.
    Unreadable(String),
}

impl FileCaption {
    fn of_bytes(bytes: &[u8]) -> Self {
        match (check_caption_length(bytes.len() as u64), std::str::from_utf8(bytes)) {
            (Err((_, problem)), _) => Self::Unreadable(problem),
            (Ok(()), Ok(text)) => Self::Text(text.into()),
            (Ok(()), Err(_)) => Self::Unreadable("not UTF-8".to_owned()),
        }
    }
}

impl Files {
    /// All pictures below a folder, in the order of their paths.
    pub(super) fn of_folder(folder: &Path) -> Result<Self, DataError> {
        let mut pictures = Vec::new();
        collect(folder, 0, &mut pictures)?;
        pictures.sort_unstable();
        if pictures.is_empty() {
            let problem = "no picture in it or in the folders in it".to_owned();
            return Err(DataError::NoSamples { place: folder.display().to_string(), problem });
        }
        let samples = pictures.into_iter().map(|picture| {
            let beside = |ending, kind| {
                let path = picture.with_extension(ending);
                path.is_file().then_some(FileCaption::File(path, kind))
            };
            let caption = beside("txt", CaptionKind::Text).or_else(|| beside("json", CaptionKind::Json));
            FileSample { caption: caption.unwrap_or(FileCaption::Missing), picture }
        });
        Ok(Self { samples: samples.collect() })
    }

    /// The rows of a table, in its order.
    pub(super) fn of_list(path: &Path, image_column: &str, caption_column: &str) -> Result<Self, DataError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut samples = Vec::new();
        list::rows(path, [image_column, caption_column], |picture, caption| {
            let picture = String::from_utf8_lossy(picture);
            // Joined, an address would become a path that says nothing.
            let picture = if is_remote(&picture) { PathBuf::from(&*picture) } else { folder.join(&*picture) };
            samples.push(FileSample { picture, caption: FileCaption::of_bytes(caption) });
        })?;
        if samples.is_empty() {
            let problem = "the table has no rows".to_owned();
            return Err(DataError::NoSamples { place: path.display().to_string(), problem });
        }
        Ok(Self { samples })
    }

    /// What of a sample the list itself already tells to be missing.
    pub(super) fn missing(&self) -> impl Iterator<Item = Option<BadSample>> {
        self.samples.iter().map(|sample| {
            is_address(&sample.picture).then(|| BadSample {
                cause: BadCause::MissingImage,
                place: sample.picture.display().to_string(),
                detail: ADDRESS.to_owned(),
            })
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.samples.len() as u64
    }

    pub(super) fn place(&self, index: u64) -> String {
        self.samples[index as usize].picture.display().to_string()
    }

    pub(super) fn pair(&self, index: u64) -> Result<(Picture, Cow<'static, str>), Fault> {
        let sample = &self.samples[index as usize];
        let refuse = |(cause, detail)| Fault::Bad(BadSample { cause, place: self.place(index), detail });
        let caption = match &sample.caption {
            FileCaption::Missing => return Err(refuse((BadCause::MissingCaption, String::new()))),
            FileCaption::Text(text) if text.trim().is_empty() => {
                return Err(refuse((BadCause::EmptyCaption, String::new())));
            }
            FileCaption::Unreadable(detail) => {
                return Err(refuse((BadCause::UnreadableCaption, detail.clone())));
            }
            FileCaption::Text(text) => text.to_string(),
            FileCaption::File(path, kind) => {
                let bytes = read(path, check_caption_length, BadCause::MissingCaption);
                read_caption(bytes.map_err(refuse)?, *kind).map_err(refuse)?
            }
        };
        if is_address(&sample.picture) {
            return Err(refuse((BadCause::MissingImage, ADDRESS.to_owned())));
        }
        let fits = |bytes| match bytes {
            0..=MAX_BYTES => Ok(()),
            _ => Err((BadCause::ImageTooLarge, format!("{bytes} bytes"))),
        };
        let bytes = read(&sample.picture, fits, BadCause::MissingImage).map_err(refuse)?;
        Ok((Picture::File { bytes, place: self.place(index) }, caption.into()))
    }
}

fn is_address(picture: &Path) -> bool {
    picture.to_str().is_some_and(is_remote)
}

/// A file's bytes, if its length is allowed.
fn read(
    path: &Path,
    allowed: impl Fn(u64) -> Result<(), (BadCause, String)>,
    missing: BadCause,
) -> Result<Vec<u8>, (BadCause, String)> {
    let failed = |error: std::io::Error| (missing, error.to_string());
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    allowed(length)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    // A file that grows meanwhile is no reason to read without end.
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn collect(folder: &Path, depth: usize, pictures: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let failed = |source| DataError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            if depth < DEEPEST {
                collect(&path, depth + 1, pictures)?;
            }
            continue;
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        if ending.is_some_and(|ending| PICTURES.contains(&ending.as_str())) {
            pictures.push(path);
        }
    }
    Ok(())
}
