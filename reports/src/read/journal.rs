//! Reading a journal of JSON lines that may end in a torn line.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::ReportError;

/// The newest version of the journals that is known.
const KNOWN_VERSION: u64 = 1;

/// What a journal holds.
#[derive(Debug)]
pub(crate) struct Journal<T> {
    /// The rows that could be read, in order.
    pub(crate) rows: Vec<T>,
    /// The last line was cut off while it was written.
    pub(crate) torn: bool,
    /// Lines before the last, counted from 1, that could not be read.
    pub(crate) damaged: Vec<usize>,
    /// There is no such file.
    pub(crate) missing: bool,
}

/// Reads the journal at `path`; a missing file is an empty journal.
pub(crate) fn read_journal<T: DeserializeOwned>(path: &Path) -> Result<Journal<T>, ReportError> {
    let mut journal = Journal { rows: Vec::new(), torn: false, damaged: Vec::new(), missing: false };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            journal.missing = true;
            return Ok(journal);
        }
        Err(source) => return Err(ReportError::Read { path: path.to_owned(), source }),
    };
    // Only the last line of a file that does not end in a line feed can be torn.
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    for (index, line) in lines.iter().enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
        if let Some(found) = value.as_ref().and_then(|value| value.get("version")?.as_u64())
            && found > KNOWN_VERSION
        {
            let path = path.to_owned();
            return Err(ReportError::Newer { path, line: index + 1, found, known: KNOWN_VERSION });
        }
        match value.and_then(|value| T::deserialize(value).ok()) {
            Some(row) => journal.rows.push(row),
            None if index + 1 == lines.len() => journal.torn = true,
            None => journal.damaged.push(index + 1),
        }
    }
    Ok(journal)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct Row {
        step: u64,
    }

    fn read(text: &str) -> Result<Journal<Row>, ReportError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        std::fs::write(&path, text).unwrap();
        read_journal(&path)
    }

    #[test]
    fn a_torn_last_line_is_told_from_a_damaged_one() {
        let whole = "{\"version\":1,\"step\":1}\n{\"version\":1,\"step\":2}\n";
        let journal = read(whole).unwrap();
        assert_eq!(journal.rows, [Row { step: 1 }, Row { step: 2 }]);
        assert!(!journal.torn && journal.damaged.is_empty() && !journal.missing);

        let journal = read(&whole[..whole.len() - 5]).unwrap();
        assert_eq!(journal.rows, [Row { step: 1 }]);
        assert!(journal.torn && journal.damaged.is_empty());

        let journal = read("{\"version\":1,\"st\n\n{\"version\":1,\"step\":2}\nnot json\n").unwrap();
        assert_eq!(journal.rows, [Row { step: 2 }]);
        assert_eq!((journal.torn, journal.damaged), (false, vec![1, 4]));
    }

    #[test]
    fn a_newer_journal_is_refused_by_line() {
        let error = read("{\"version\":1,\"step\":1}\n{\"version\":2,\"stride\":1}\n").unwrap_err();
        assert!(matches!(error, ReportError::Newer { line: 2, found: 2, .. }), "{error}");
    }
}
