//! `run.log` and who else is told.

use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};

use super::error::RunError;
use super::observer::Observer;
use crate::records::LineFile;

/// Says things to the observer and writes them into `run.log`.
#[derive(Debug)]
pub(crate) struct Log {
    file: LineFile,
}

impl Log {
    pub(crate) fn open(path: &Path) -> Result<Self, RunError> {
        LineFile::open(path).map(|file| Self { file }).map_err(|source| RunError::file(path, "open", source))
    }

    pub(crate) fn say(&mut self, now: DateTime<Utc>, observer: &mut dyn Observer, text: &str) {
        observer.message(text);
        self.write(now, text);
    }

    /// Only into the file. Best effort: a run is not stopped for its log.
    pub(crate) fn write(&mut self, now: DateTime<Utc>, text: &str) {
        let time = now.to_rfc3339_opts(SecondsFormat::Millis, true);
        let _ = self.file.append_text(&format!("{time} {}\n", text.replace('\n', " ")));
    }
}
