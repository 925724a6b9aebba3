//! What can go wrong with data. Advice stands apart from the error, in [`DataError::hint`].

use std::io;
use std::path::PathBuf;

use shoestring_durable::WriteError;
use shoestring_planner::recipe::RecipeError;

use crate::bad::Counts;

/// Why data could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A shard pattern with unbalanced or endless braces.
    #[error("shards: `{pattern}`: {problem}")]
    Braces {
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file could not be opened or read.
    #[error("{path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A shard at an address could not be fetched.
    #[error("{url}: {problem} (tried {tries} times)")]
    Remote {
        /// The address.
        url: String,
        /// Why.
        problem: String,
        /// How often it was tried.
        tries: usize,
    },
    /// A member of a shard could not be read though the index has it.
    #[error("{path}: byte {offset}: cannot read {bytes} bytes: {source}", path = .path.display())]
    Member {
        /// The shard.
        path: PathBuf,
        /// Where the member's data starts.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a tar file, or damaged.
    #[error("{path}: byte {offset}: {problem}", path = .path.display())]
    Tar {
        /// The shard.
        path: PathBuf,
        /// Where reading stopped making sense.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// A member reaches beyond the end of its file.
    #[error(
        "{path}: byte {offset}: the file is truncated: member `{member}` needs {bytes} bytes, but the file ends \
         after {file_bytes}",
        path = .path.display()
    )]
    Truncated {
        /// The shard.
        path: PathBuf,
        /// Name of the member.
        member: String,
        /// Where the member's data starts.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// Length of the file.
        file_bytes: u64,
    },
    /// Nothing to draw from.
    #[error("{place}: no samples: {problem}")]
    NoSamples {
        /// Shards or field.
        place: String,
        /// Why.
        problem: String,
    },
    /// More bad samples than tolerated.
    #[error(
        "{bad} of {drawn} samples cannot be used ({causes}), more than the {percent} % tolerated; \
         for example: {examples}",
        bad = .counts.bad_total(), drawn = .counts.drawn(), causes = .counts.causes(),
        percent = .tolerance * 100.0, examples = .counts.examples.join("; ")
    )]
    TooManyBad {
        /// What was drawn.
        counts: Box<Counts>,
        /// The fraction tolerated.
        tolerance: f64,
    },
    /// A value that this version cannot carry out.
    #[error("{field} = {value}: {problem}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        problem: String,
        /// What would do.
        hint: String,
    },
    /// A line of a class-name or template file.
    #[error("{path}:{line}: {problem}", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
        /// What would do.
        hint: String,
    },
    /// A table that is no list of pictures and captions.
    #[error("{path}: {problem}", path = .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What would do.
        hint: String,
    },
    /// A label without a class name.
    #[error("{place}: label {label}, but there are {classes} class names (0 to {last})", last = .classes - 1)]
    Label {
        /// Shard and key.
        place: String,
        /// The label.
        label: u64,
        /// Class names known; at least 1.
        classes: usize,
    },
    /// `dataset.toml` is missing.
    #[error("{folder}: no dataset.toml in it", folder = .folder.display())]
    NoManifest {
        /// The folder.
        folder: PathBuf,
    },
    /// `dataset.toml` was refused.
    #[error(transparent)]
    Manifest(#[from] RecipeError),
    /// The folder to write to holds something else.
    #[error("{folder}: {problem}", folder = .folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// What is there.
        problem: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Stopped because the caller asked for it.
    #[error("stopped before it was finished")]
    Stopped,
    /// The loading thread could not be started or ended early.
    #[error("the loading thread {0}")]
    Thread(String),
}

impl DataError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let advice = match self {
            Self::Braces { .. } => "write ranges as {000..007} and lists as {a,b}",
            Self::Read { source, path } => match source.kind() {
                io::ErrorKind::NotFound if path.to_string_lossy().contains("://") => {
                    "shards are read from files of this machine and from http:// and https://"
                }
                io::ErrorKind::NotFound => "paths are relative to the file they stand in; check the name",
                io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidData => "is it the right file?",
                io::ErrorKind::PermissionDenied => "the file may not be read by this user",
                _ => return None,
            },
            Self::Remote { .. } => {
                "what came so far is kept; check the address and the network, and give the command again"
            }
            Self::Member { .. } => "the shard changed or its disk failed while it was being read",
            Self::Tar { problem, .. } if problem.contains("gzip") => "unpack it first: gunzip FILE.tar.gz",
            Self::Tar { .. } | Self::Truncated { .. } => {
                "download or write the shard again, or leave it out of `shards`"
            }
            Self::NoSamples { .. } => {
                "a sample is an image (.jpg, .jpeg, .png, .webp) beside a caption (.txt, or .json with \
                 \"caption\") of the same name"
            }
            Self::TooManyBad { .. } => "look at the examples; a data set this damaged trains badly",
            Self::Value { hint, .. } | Self::Line { hint, .. } | Self::Table { hint, .. } => hint,
            Self::Label { .. } => "line k of the class-name file names class k, counted from 0",
            Self::NoManifest { .. } => {
                "name a folder that `data synth` wrote, or write a dataset.toml (docs/formats.md)"
            }
            Self::Manifest(error) => return error.hint(),
            Self::Occupied { .. } => "choose another folder, or remove this one first",
            Self::Write(error) => return error.hint(),
            Self::Stopped => "the same command goes on where this one stopped",
            Self::Thread(_) => return None,
        };
        Some(advice.to_owned())
    }
}
