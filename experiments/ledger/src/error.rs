//! What can be wrong with a ledger.

use std::io;
use std::path::{Path, PathBuf};

use crate::row::LEDGER_VERSION;

/// Why a ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system said no.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A row that this program did not write like that.
    #[error("{path}:{line}: {problem}", path = .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Written by a newer version of the program.
    #[error(
        "{path}:{line}: version = {found}, but this program reads ledgers up to version {LEDGER_VERSION}",
        path = .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// The version found.
        found: u32,
    },
    /// The ledger was opened for another cap.
    #[error("{path}: was opened with a cap of {found} USD, not {asked} USD", path = .path.display())]
    OtherCap {
        /// The file.
        path: PathBuf,
        /// The cap in the ledger.
        found: shoestring_planner::units::Usd,
        /// The cap asked for.
        asked: shoestring_planner::units::Usd,
    },
}

impl LedgerError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn row(path: &Path, line: usize, problem: impl Into<String>) -> Self {
        Self::Row { path: path.to_owned(), line, problem: problem.into() }
    }

    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Some("the disk is full; make room and give the same command again: no row was lost".into())
            }
            Self::Io { .. } => None,
            Self::Row { .. } => Some(
                "a ledger is never edited: put back the file as it was written, or start a new run directory"
                    .into(),
            ),
            Self::Newer { .. } => Some("update shoestring".into()),
            Self::OtherCap { .. } => {
                Some("the cap of a run is frozen; start another run directory for another cap".into())
            }
        }
    }
}
