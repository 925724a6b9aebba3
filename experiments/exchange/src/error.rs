//! What can go wrong with a model from elsewhere, or on its way there.

use std::io;
use std::path::{Path, PathBuf};

use shoestring_durable::WriteError;
use shoestring_engine::EngineError;

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, ExchangeError>;

/// Why a model could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// A file could not be read or a folder made.
    #[error("{path}: cannot {action}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file could not be written whole.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The folder to write to holds something else.
    #[error("{folder}: holds {found}, which is no file of an export", folder = .folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// One of the things it holds.
        found: String,
    },
    /// A file of weights that is damaged, that lies about itself, or that is none.
    #[error("{path}: {problem}", path = .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What would do.
        hint: String,
    },
    /// A field of a configuration that cannot be carried out.
    #[error("{path}: {field} = {value}: {problem}", path = .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Dotted path of the field.
        field: String,
        /// Its value.
        value: String,
        /// Why it cannot be.
        problem: String,
        /// What would do.
        hint: String,
    },
    /// A tensor of another shape than the configuration says.
    #[error("{path}: tensor `{tensor}` is {found:?}, but the configuration asks for {expected:?}",
        path = .path.display())]
    Shape {
        /// The file of weights.
        path: PathBuf,
        /// Name in the file.
        tensor: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape by the configuration.
        expected: Vec<usize>,
    },
    /// A tensor that the configuration asks for is not there.
    #[error("{path}: tensor `{tensor}` of {expected:?} is missing", path = .path.display())]
    Missing {
        /// The file of weights.
        path: PathBuf,
        /// Name that the file should have.
        tensor: String,
        /// Shape by the configuration.
        expected: Vec<usize>,
    },
    /// A tensor that the configuration has no place for.
    #[error("{path}: tensor `{tensor}` of {found:?} has no place in the configuration",
        path = .path.display())]
    Surplus {
        /// The file of weights.
        path: PathBuf,
        /// Name in the file.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor with a number that no sound model has.
    #[error("{path}: tensor `{tensor}`: number {place} is {found}", path = .path.display())]
    NotFinite {
        /// The file of weights.
        path: PathBuf,
        /// Name in the file.
        tensor: String,
        /// Place of the first such number, counted from 0, row by row.
        place: usize,
        /// The number.
        found: f32,
    },
    /// The target's own model classes have no such thing.
    #[error("{field} = {value} cannot be expressed in {target}: {reason}")]
    Inexpressible {
        /// Where to.
        target: &'static str,
        /// Field of the architecture.
        field: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// The engine refused the model.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ExchangeError {
    pub(crate) fn file(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), action, source }
    }

    pub(crate) fn format(path: &Path, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), problem: problem.into(), hint: hint.into() }
    }

    /// Whether what was asked for cannot be (exit code 2), rather than something failing (1).
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Inexpressible { .. } | Self::Occupied { .. })
    }

    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => "check the path".into(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => {
                "is it the right file?".into()
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                "is it the right file? Configurations are UTF-8".into()
            }
            Self::File { .. } => return None,
            Self::Write(error) => return error.hint(),
            Self::Occupied { .. } => "name a new or empty folder with --out".into(),
            Self::Format { hint, .. } | Self::Config { hint, .. } => hint.clone(),
            Self::Shape { .. } | Self::Missing { .. } | Self::Surplus { .. } => {
                "weights and configuration are not of the same model: look at sizes, layers and pooling"
                    .into()
            }
            Self::NotFinite { .. } => {
                "the model broke while it was trained: take an earlier checkpoint".into()
            }
            Self::Inexpressible { target: "Hugging Face's CLIPModel", .. } => {
                "export it --to open_clip, whose ViT has these options".into()
            }
            Self::Inexpressible { .. } => return None,
            Self::Engine(error) => return error.hint(),
        })
    }
}
