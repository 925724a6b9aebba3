//! Why a report could not be made.

use std::path::PathBuf;

use shoestring_durable::WriteError;
use shoestring_planner::recipe::RecipeError;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The directory lacks what every run has.
    #[error("{path} is not a run: {problem}", path = .path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// A file is there and cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A run's recipe cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A journal was written by a newer version of the program.
    #[error(
        "{path}:{line}: version = {found}, but this program reads this journal up to version {known}",
        path = .path.display()
    )]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// The version found.
        found: u64,
        /// The newest version that is known.
        known: u64,
    },
    /// A table could not be built or encoded.
    #[error("cannot make the table {table}: {message}")]
    Table {
        /// The table's name.
        table: String,
        /// What polars said.
        message: String,
    },
    /// A chart could not be drawn.
    #[error("cannot draw the chart {chart}: {message}")]
    Chart {
        /// The chart's name.
        chart: String,
        /// What plotters or the PNG encoder said.
        message: String,
    },
    /// A file of the report could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl ReportError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotARun { .. } => {
                Some("name directories that `shoestring run` wrote, for example runs/demo".to_owned())
            }
            Self::Recipe(error) => error.hint(),
            Self::Newer { .. } => Some("update shoestring".to_owned()),
            Self::Read { .. } | Self::Table { .. } | Self::Chart { .. } => None,
            Self::Write(error) => error.hint(),
        }
    }
}
