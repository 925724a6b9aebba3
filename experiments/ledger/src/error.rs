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
    /// A row was changed, moved, replaced or taken away after it was written.
    #[error("{path}:{line}: expected {field} = {expected}, found {found}: {what}", path = .path.display(),
        what = .field.what_happened())]
    Tampered {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1; the row's `seq` is one less.
        line: usize,
        /// What does not agree.
        field: Seal,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The last line is the beginning of a row that a crash cut off. It never counted; whoever writes next drops it.
    #[error("{path}:{line}: expected a whole row, found the first {bytes} bytes of one", path = .path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// How much of it is there.
        bytes: u64,
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
    /// A budget file that says something that cannot be.
    #[error("{path}: {field}{sep}{problem}", path = .path.display(), sep = if .field.is_empty() { "" } else { ": " })]
    Budget {
        /// The file.
        path: PathBuf,
        /// The field; empty where the message names it.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A cap below what is spent.
    #[error("{path}: a cap of {cap} USD is below the {spent} USD that are spent or reserved", path = .path.display())]
    CapBelowSpent {
        /// The budget file.
        path: PathBuf,
        /// The cap asked for.
        cap: shoestring_planner::units::Usd,
        /// Spent and reserved so far.
        spent: shoestring_planner::units::Usd,
    },
    /// A budget with spend of unknown amount.
    #[error("{path}:{line}: the amount of this row is unknown, so nothing can be said to fit under the cap",
        path = .path.display())]
    SpendUnknown {
        /// The journal.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
    },
    /// A budget on a file system whose locks cannot be relied on.
    #[error("{path}: lies on a network file system ({kind})", path = .path.display())]
    Network {
        /// The budget file.
        path: PathBuf,
        /// Type of the file system.
        kind: String,
    },
    /// Another process adds rows to this ledger.
    #[error("{path}: another process is writing to it", path = .path.display())]
    InUse {
        /// The ledger.
        path: PathBuf,
    },
    /// Somebody held the lock all the time.
    #[error("{path}: another process has kept its lock for {seconds} s ({holders})", path = .path.display())]
    Locked {
        /// The journal.
        path: PathBuf,
        /// How long it was asked for.
        seconds: u64,
        /// Who has the budget open.
        holders: String,
    },
}

/// What of a row, or of the whole file, seals what was written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// The row's number.
    Seq,
    /// The hash of the row before.
    Prev,
    /// The hash of the row itself.
    Hash,
    /// The bytes of the file, which only ever become more.
    Length,
}

impl Seal {
    fn what_happened(self) -> &'static str {
        match self {
            Self::Seq => "a row is missing or was moved",
            Self::Prev => "the row before was replaced",
            Self::Hash => "the row was changed after it was written",
            Self::Length => "rows were taken away",
        }
    }
}

impl std::fmt::Display for Seal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Seq => "seq",
            Self::Prev => "prev",
            Self::Hash => "hash",
            Self::Length => "bytes",
        })
    }
}

impl LedgerError {
    pub(crate) fn tampered(
        path: &Path,
        line: usize,
        field: Seal,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Self::Tampered { path: path.to_owned(), line, field, expected, found }
    }

    pub(crate) fn budget(path: &Path, field: &str, problem: impl Into<String>) -> Self {
        Self::Budget { path: path.to_owned(), field: field.to_owned(), problem: problem.into() }
    }

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
            Self::Io { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                Some("money only counts once it is on disk; make the folder writable".into())
            }
            Self::Io { .. } | Self::Budget { .. } => None,
            Self::CapBelowSpent { spent, .. } => Some(format!(
                "set the cap to {spent} USD or more: at exactly what is spent nothing more starts; processes \
                 that run now go on under the old cap"
            )),
            Self::SpendUnknown { line, .. } => Some(format!(
                "state it: `shoestring ledger adjust --row {} --amount USD --reason TEXT`",
                line.saturating_sub(1)
            )),
            Self::Network { .. } => Some(
                "put the budget on a local disk; or state `trust_network_locks = true` in it if locks of this \
                 file system hold between all machines and end with their process"
                    .into(),
            ),
            Self::InUse { .. } => Some("wait until the run has ended, or interrupt it".into()),
            Self::Locked { .. } => Some(
                "a process was stopped in the middle of a row; let it go on or end it, and give the same \
                 command again"
                    .into(),
            ),
            Self::Torn { .. } => Some(
                "a crash cut it off before it counted; the next command that writes to this ledger drops it".into(),
            ),
            Self::Row { .. } | Self::Tampered { .. } => Some(
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
