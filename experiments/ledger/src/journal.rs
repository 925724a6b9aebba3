//! The file: JSON lines, append-only, chained by hash.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use shoestring_durable::sync_folder;

use crate::account::Account;
use crate::error::LedgerError;
use crate::row::{Draft, ParseError, Row};

/// What a ledger file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// Its rows.
    pub rows: Vec<Row>,
    /// Their sums.
    pub account: Account,
    /// Bytes after the last whole row: a row that a crash cut off before it counted.
    pub torn_bytes: u64,
}

/// Reads a ledger and checks every row, the chain of hashes and the sums; changes nothing. A torn last line is
/// left out: it never counted.
pub fn read(path: &Path) -> Result<Contents, LedgerError> {
    let bytes = fs::read(path).map_err(|source| LedgerError::io(path, source))?;
    parse(path, &bytes).map(|(contents, _)| contents)
}

/// Checks a ledger as [`read`] does and also refuses a torn last line.
pub fn verify(path: &Path) -> Result<Contents, LedgerError> {
    let contents = read(path)?;
    if contents.torn_bytes > 0 {
        let problem = "the last line is cut off; the next run drops it, since it never counted";
        return Err(LedgerError::row(path, contents.rows.len() + 1, problem));
    }
    Ok(contents)
}

/// The contents and the bytes that they take up. A last line that is whole but for its line break counts.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Contents, usize), LedgerError> {
    let mut contents = Contents { rows: Vec::new(), account: Account::new(), torn_bytes: 0 };
    let mut at = 0;
    while at < bytes.len() {
        let line_number = contents.rows.len() + 1;
        let (line, broken) = match bytes[at..].iter().position(|&byte| byte == b'\n') {
            Some(length) => (&bytes[at..at + length], true),
            None => (&bytes[at..], false),
        };
        let row = match parse_line(path, line_number, line) {
            Ok(row) => row,
            // Only what is no whole JSON object can be the beginning of a row that this program wrote.
            Err(_) if !broken && !is_json(line) => {
                contents.torn_bytes = line.len() as u64;
                break;
            }
            Err(error) => return Err(error),
        };
        check_chain(path, &contents, &row)?;
        contents
            .account
            .apply(&row)
            .map_err(|error| LedgerError::row(path, line_number, error.to_string()))?;
        contents.rows.push(row);
        at += line.len() + usize::from(broken);
    }
    Ok((contents, at))
}

fn parse_line(path: &Path, line_number: usize, line: &[u8]) -> Result<Row, LedgerError> {
    let text =
        std::str::from_utf8(line).map_err(|error| LedgerError::row(path, line_number, error.to_string()))?;
    Row::parse(text).map_err(|error| match error {
        ParseError::Json(error) => LedgerError::row(path, line_number, error.to_string()),
        ParseError::Newer(found) => LedgerError::Newer { path: path.to_owned(), line: line_number, found },
        ParseError::HashNotLast => LedgerError::row(path, line_number, "`hash` is not the last field"),
        ParseError::Hash { computed, found } => LedgerError::row(
            path,
            line_number,
            format!("the row was changed: its hash is {computed:.12}…, it says {found:.12}…"),
        ),
    })
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

fn check_chain(path: &Path, contents: &Contents, row: &Row) -> Result<(), LedgerError> {
    let line_number = contents.rows.len() + 1;
    let expected = contents.rows.len() as u64;
    if row.seq != expected {
        let problem = format!("seq = {}, but {expected} comes here: a row is missing or was moved", row.seq);
        return Err(LedgerError::row(path, line_number, problem));
    }
    let prev = contents.rows.last().map_or("", |last| last.hash.as_str());
    if row.prev != prev {
        let problem = "`prev` is not the hash of the row before: a row was replaced";
        return Err(LedgerError::row(path, line_number, problem));
    }
    Ok(())
}

/// An open ledger file that rows can be added to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    rows: Vec<Row>,
    account: Account,
}

impl Journal {
    /// Opens or creates; checks what is there; drops a torn last line. Returns also how many bytes that was.
    pub fn open(path: &Path) -> Result<(Self, u64), LedgerError> {
        let failed = |source| LedgerError::io(path, source);
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        let bytes = fs::read(path).map_err(failed)?;
        let (contents, used) = parse(path, &bytes)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            bytes: used as u64,
            rows: contents.rows,
            account: contents.account,
        };
        if contents.torn_bytes > 0 {
            journal.file.set_len(journal.bytes).map_err(failed)?;
        }
        if used > 0 && contents.torn_bytes == 0 && bytes.last() != Some(&b'\n') {
            journal.file.write_all(b"\n").map_err(failed)?;
            journal.bytes += 1;
        }
        journal.file.sync_all().map_err(failed)?;
        if bytes.is_empty() {
            // A new file's name is only safe once its folder is on disk too.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            sync_folder(folder.unwrap_or(Path::new("."))).map_err(|error| failed(error.source))?;
        }
        Ok((journal, contents.torn_bytes))
    }

    /// Adds a row: it is on disk, and counts, once this returns. On any error nothing was added, and the file
    /// is cut back to its last whole row.
    pub fn append(&mut self, draft: Draft) -> Result<&Row, LedgerError> {
        let line_number = self.rows.len() + 1;
        let prev = self.rows.last().map_or("", |row| row.hash.as_str());
        let (row, mut line) = Row::place(draft, self.rows.len() as u64, prev)
            .map_err(|error| LedgerError::row(&self.path, line_number, error.to_string()))?;
        let mut account = self.account.clone();
        account.apply(&row).map_err(|error| LedgerError::row(&self.path, line_number, error.to_string()))?;
        line.push('\n');
        if let Err(source) = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()) {
            // Best effort: if even this fails, the torn line is dropped when the file is next opened.
            let _ = self.file.set_len(self.bytes).and_then(|()| self.file.sync_data());
            return Err(LedgerError::io(&self.path, source));
        }
        self.bytes += line.len() as u64;
        self.account = account;
        self.rows.push(row);
        Ok(&self.rows[self.rows.len() - 1])
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Their sums.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use shoestring_planner::units::Usd;

    use super::*;
    use crate::row::{Kind, tests::draft};

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("ledger.jsonl");
        let (mut journal, torn) = Journal::open(&path).expect("opens");
        assert_eq!(torn, 0);
        for (kind, quantum, micros) in
            [(Kind::Open, 0, 5000), (Kind::Reserve, 1, 2000), (Kind::Settle, 1, 1250)]
        {
            let amount = Usd::from_micros(micros);
            journal.append(Draft { kind, quantum, amount, ..draft() }).expect("appends");
        }
        path
    }

    #[test]
    fn rows_survive_reopening_and_chain() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = written(folder.path());
        let contents = verify(&path).expect("is sound");
        assert_eq!(contents.rows.len(), 3);
        assert_eq!(contents.account.settled().micros(), 1250);
        assert_eq!(contents.rows[0].prev, "");
        assert_eq!(contents.rows[2].prev, contents.rows[1].hash);
    }

    #[test]
    fn a_last_line_torn_at_any_byte_is_dropped_and_nothing_else() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = written(folder.path());
        let whole = fs::read(&path).expect("reads");
        let second_end =
            whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).expect("two rows").0 + 1;
        for length in second_end..=whole.len() {
            fs::write(&path, &whole[..length]).expect("writes");
            let (mut journal, torn) = Journal::open(&path).expect("heals");
            let complete = length >= whole.len() - 1;
            assert_eq!(journal.rows().len(), if complete { 3 } else { 2 }, "cut at byte {length}");
            assert_eq!(torn as usize, if complete { 0 } else { length - second_end });
            journal.append(Draft { kind: Kind::Note, ..draft_of_nothing() }).expect("goes on");
            verify(&path).expect("is sound again");
        }
    }

    fn draft_of_nothing() -> Draft {
        Draft { amount: Usd::ZERO, quantum: 0, ..draft() }
    }

    #[test]
    fn a_changed_removed_or_moved_row_is_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = written(folder.path());
        let whole = fs::read_to_string(&path).expect("reads");
        let lines: Vec<&str> = whole.lines().collect();
        let cases = [
            (whole.replacen("2000", "1999", 1), 2),
            (format!("{}\n{}\n", lines[0], lines[2]), 2),
            (format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]), 1),
            (format!("{}\nnonsense\n{}\n", lines[0], lines[1]), 2),
        ];
        for (text, expected) in cases {
            fs::write(&path, &text).expect("writes");
            let error = Journal::open(&path).expect_err("is refused");
            assert!(matches!(&error, LedgerError::Row { line, .. } if *line == expected), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("reads"), text, "a refused file is left as it is");
        }
    }
}
