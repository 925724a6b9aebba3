//! The index of a set of shards: one pass over the tar headers, then any sample by its offset.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::prelude::*;

use super::expand;
use super::remote::local;
use crate::bounded::Metered;
use crate::error::DataError;

/// Shards whose file stays open; more are opened for each read, below the usual limit of 1,024 open files.
const OPEN_SHARDS: usize = 256;

/// Names and attributes of a member are no longer: what claims to be is damage, and is not read into memory.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Waits before a member that could not be read is tried again.
const WAITS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// Where a member's bytes lie in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// What a caption is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptionKind {
    /// `.txt`: the caption itself.
    Text,
    /// `.json`: an object with a `caption`.
    Json,
}

/// Members of the same key, next to each other in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Number of the shard, see [`ShardIndex::path`].
    pub shard: u32,
    /// Path up to the first dot after the last slash.
    pub key: Box<str>,
    /// `.jpg`, `.png`, `.jpeg` or `.webp`; the first in the shard where there are several.
    pub image: Option<Member>,
    /// `.txt`, else `.json`.
    pub caption: Option<(CaptionKind, Member)>,
    /// `.cls`.
    pub label: Option<Member>,
}

/// Index of a set of shards, in the order they were named. About 100 bytes of memory a sample.
#[derive(Debug)]
pub struct ShardIndex {
    shards: Vec<Shard>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    /// Whether the two empty blocks that end a tar file are there.
    terminated: bool,
}

impl ShardIndex {
    /// Reads the headers of every shard that the patterns stand for. Shards at an address (http, https) are
    /// fetched first, and kept.
    pub fn open(patterns: &[String]) -> Result<Self, DataError> {
        let mut names = Vec::new();
        for pattern in patterns {
            names.extend(expand(pattern)?);
        }
        let paths: Vec<PathBuf> = names.par_iter().map(|name| local(name)).collect::<Result<_, _>>()?;
        Self::open_files(&paths)
    }

    /// Reads the headers of these shards; braces in a name stand for themselves.
    pub fn open_files(paths: &[PathBuf]) -> Result<Self, DataError> {
        if paths.is_empty() {
            return Err(DataError::Value {
                field: "shards",
                value: "[]".to_owned(),
                problem: "names no shard".to_owned(),
                hint: "list the tars: shards = [\"data/{00000..00099}.tar\"]".to_owned(),
            });
        }
        let read: Vec<Result<(Shard, Vec<Sample>), DataError>> =
            paths.par_iter().enumerate().map(|(number, path)| read_shard(number, path)).collect();
        let (mut shards, mut samples) = (Vec::with_capacity(read.len()), Vec::new());
        for result in read {
            let (shard, of_shard) = result?;
            shards.push(shard);
            samples.extend(of_shard);
        }
        if samples.is_empty() {
            let place = match shards.as_slice() {
                [only] => only.path.display().to_string(),
                _ => format!("{} and {} more shards", shards[0].path.display(), shards.len() - 1),
            };
            let problem = "no member has the name of an image or caption".to_owned();
            return Err(DataError::NoSamples { place, problem });
        }
        Ok(Self { shards, samples })
    }

    /// All samples: shards in order, samples in the order they lie in.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Path of a shard.
    #[must_use]
    pub fn path(&self, shard: u32) -> &Path {
        &self.shards[shard as usize].path
    }

    /// Shard and key of a sample, for messages.
    #[must_use]
    pub fn place(&self, sample: &Sample) -> String {
        format!("{}: {}", self.path(sample.shard).display(), sample.key)
    }

    /// How many shards there are, and their bytes.
    #[must_use]
    pub fn shard_bytes(&self) -> (u64, u64) {
        (self.shards.len() as u64, self.shards.iter().map(|shard| shard.bytes).sum())
    }

    /// Shards without the empty blocks that end a tar file: perhaps cut off between two members.
    pub fn unterminated(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().filter(|shard| !shard.terminated).map(|shard| shard.path.as_path())
    }

    /// A member's bytes. May be called from many threads at once.
    pub fn read(&self, shard: u32, member: Member) -> Result<Vec<u8>, DataError> {
        let shard = &self.shards[shard as usize];
        let mut bytes = vec![0; usize::try_from(member.bytes).unwrap_or(usize::MAX)];
        let mut read = match &shard.file {
            Some(file) => read_exact_at(file, &mut bytes, member.offset),
            None => File::open(&shard.path).and_then(|file| read_exact_at(&file, &mut bytes, member.offset)),
        };
        // A disk in the network may be gone for a moment.
        for wait in WAITS {
            if read.is_ok() {
                break;
            }
            std::thread::sleep(wait);
            read = File::open(&shard.path).and_then(|file| read_exact_at(&file, &mut bytes, member.offset));
        }
        read.map_err(|source| DataError::Member {
            path: shard.path.clone(),
            offset: member.offset,
            bytes: member.bytes,
            source,
        })?;
        Ok(bytes)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

fn read_shard(number: usize, path: &Path) -> Result<(Shard, Vec<Sample>), DataError> {
    let failed = |source| DataError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "not a file");
        return Err(failed(source));
    }
    let file_bytes = metadata.len();
    let broken = |offset, problem: String| DataError::Tar { path: path.to_owned(), offset, problem };
    if file_bytes == 0 {
        return Err(broken(0, "the file is empty".to_owned()));
    }
    refuse_compressed(&file).map_err(|problem| broken(0, problem))?;

    let what = "a header of more than 16 MiB";
    let (metered, meter) = Metered::new(&file, MAX_HEADER_BYTES, what);
    let mut archive = tar::Archive::new(metered);
    let mut grouped = Grouped { shard: number as u32, samples: Vec::new(), grouping: Grouping::default() };
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(|error| broken(0, error.to_string()))? {
        meter.restart();
        let entry = entry.map_err(|error| broken(end, header_problem(&error, end, file_bytes)))?;
        let member = Member { offset: entry.raw_file_position(), bytes: entry.size() };
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let is_file = entry.header().entry_type().is_file();
        let data_end = member.offset.saturating_add(member.bytes);
        // Data is padded to whole blocks; a file that ends inside the padding was cut off, too.
        let padded = data_end.checked_next_multiple_of(512).filter(|&padded| padded <= file_bytes);
        let Some(padded) = padded else {
            let (offset, bytes) = (member.offset, member.bytes);
            return Err(DataError::Truncated {
                path: path.to_owned(),
                member: name,
                offset,
                bytes,
                file_bytes,
            });
        };
        end = padded;
        if is_file {
            grouped.add(&name, member);
        }
    }
    let terminated = end.saturating_add(1024) <= file_bytes;
    let file = (number < OPEN_SHARDS).then_some(file);
    Ok((Shard { path: path.to_owned(), file, bytes: file_bytes, terminated }, grouped.samples))
}

fn header_problem(error: &io::Error, offset: u64, file_bytes: u64) -> String {
    if offset == 0 {
        format!("not a tar file: {error}")
    } else if file_bytes - offset < 512 {
        format!("the file is truncated: it ends after {file_bytes} bytes, inside a header")
    } else {
        format!("damaged header: {error}")
    }
}

fn refuse_compressed(file: &File) -> Result<(), String> {
    let mut start = [0; 6];
    let mut length = 0;
    while length < start.len() {
        match (&mut &*file).read(&mut start[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) => return Err(error.to_string()),
        }
    }
    io::Seek::rewind(&mut &*file).map_err(|error| error.to_string())?;
    let kind = match start {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [b'P', b'K', 3, 4, ..] => "zip",
        [0xfd, b'7', b'z', b'X', b'Z', 0] => "xz",
        [b'B', b'Z', b'h', ..] => "bzip2",
        _ => return Ok(()),
    };
    Err(format!("compressed with {kind}; samples can only be found by offset in a plain tar file"))
}

/// Endings of members that samples are made of.
const ENDINGS: [&str; 7] = ["jpg", "png", "jpeg", "webp", "txt", "json", "cls"];

/// Tells where one sample ends and the next begins: at another key, and where an ending comes a second time, as
/// two samples of one name that lie side by side are two pairs and not one picture with the other's caption.
#[derive(Default)]
pub(crate) struct Grouping {
    key: Option<String>,
    /// Of [`ENDINGS`], those that the sample has.
    had: [bool; ENDINGS.len()],
}

impl Grouping {
    /// Whether the next member, of this key and ending (in lower case), begins a sample.
    pub(crate) fn begins(&mut self, key: &str, ending: &str) -> bool {
        let number = ENDINGS.iter().position(|known| *known == ending);
        let again = number.is_some_and(|number| self.had[number]);
        let begins = again || self.key.as_deref() != Some(key);
        if begins {
            *self = Self { key: Some(key.to_owned()), had: Default::default() };
        }
        if let Some(number) = number {
            self.had[number] = true;
        }
        begins
    }
}

/// Groups members into samples while a shard is read.
struct Grouped {
    shard: u32,
    samples: Vec<Sample>,
    grouping: Grouping,
}

impl Grouped {
    fn add(&mut self, name: &str, member: Member) {
        let Some((key, extension)) = split_name(name) else { return };
        let extension = extension.to_ascii_lowercase();
        if !ENDINGS.contains(&extension.as_str()) {
            return;
        }
        if self.grouping.begins(key, &extension) {
            let (shard, key) = (self.shard, key.into());
            self.samples.push(Sample { shard, key, image: None, caption: None, label: None });
        }
        let Some(sample) = self.samples.last_mut() else { return };
        match extension.as_str() {
            // Two pictures under one key are one sample; the first in the shard is taken.
            "jpg" | "png" | "jpeg" | "webp" => {
                sample.image.get_or_insert(member);
            }
            "txt" => sample.caption = Some((CaptionKind::Text, member)),
            "json" => {
                sample.caption.get_or_insert((CaptionKind::Json, member));
            }
            _ => sample.label = Some(member),
        }
    }
}

/// Key and extension as webdataset splits them: the key is everything up to the first dot after the last
/// slash. `None` for names without extension, hidden files and webdataset's own `__meta__` members.
pub(crate) fn split_name(name: &str) -> Option<(&str, &str)> {
    let base_at = name.rfind('/').map_or(0, |slash| slash + 1);
    let base = &name[base_at..];
    let dot = base.find('.')?;
    let is_meta = base_at == 0 && base.starts_with("__") && base.ends_with("__");
    if dot == 0 || is_meta {
        return None;
    }
    Some((&name[..base_at + dot], &base[dot + 1..]))
}

#[cfg(test)]
mod tests {
    use super::split_name;

    #[test]
    fn names_split_as_webdataset_splits_them() {
        for (name, expected) in [
            ("000.jpg", Some(("000", "jpg"))),
            ("a/b.c/000.seg.png", Some(("a/b.c/000", "seg.png"))),
            ("./000.txt", Some(("./000", "txt"))),
            ("000", None),
            (".hidden", None),
            ("a/.hidden.jpg", None),
            ("__meta__", None),
        ] {
            assert_eq!(split_name(name), expected, "{name}");
        }
    }
}
