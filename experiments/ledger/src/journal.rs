//! The file: JSON lines, append-only, chained by hash.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::account::{Account, AccountError};
use crate::disk::{Disk, DiskFile, LocalDisk};
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
    read_on(&LocalDisk, path)
}

/// The same on another disk.
pub(crate) fn read_on(disk: &dyn Disk, path: &Path) -> Result<Contents, LedgerError> {
    let bytes = disk.read(path).map_err(|source| LedgerError::io(path, source))?;
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

/// The contents and the bytes that they take up.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Contents, usize), LedgerError> {
    let mut contents = Contents { rows: Vec::new(), account: Account::new(), torn_bytes: 0 };
    let (used, torn) = take_in(path, bytes, &mut contents.rows, &mut contents.account)?;
    contents.torn_bytes = torn;
    Ok((contents, used))
}

/// Takes in the rows in `bytes`, which follow those in `rows`. Returns the bytes that they take up and the bytes
/// of a torn line after them. A last line that is whole but for its line break counts.
fn take_in(
    path: &Path,
    bytes: &[u8],
    rows: &mut Vec<Row>,
    account: &mut Account,
) -> Result<(usize, u64), LedgerError> {
    let mut at = 0;
    while at < bytes.len() {
        let line_number = rows.len() + 1;
        let (line, broken) = match bytes[at..].iter().position(|&byte| byte == b'\n') {
            Some(length) => (&bytes[at..at + length], true),
            None => (&bytes[at..], false),
        };
        let row = match parse_line(path, line_number, line) {
            Ok(row) => row,
            // Only what is no whole JSON object can be the beginning of a row that this program wrote.
            Err(_) if !broken && !is_json(line) => return Ok((at, line.len() as u64)),
            Err(error) => return Err(error),
        };
        check_chain(path, rows, &row)?;
        account.apply(&row).map_err(|error| LedgerError::row(path, line_number, error.to_string()))?;
        rows.push(row);
        at += line.len() + usize::from(broken);
    }
    Ok((at, 0))
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
            format!("the row was changed: expected the hash {computed:.12}…, found {found:.12}…"),
        ),
    })
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

fn check_chain(path: &Path, rows: &[Row], row: &Row) -> Result<(), LedgerError> {
    let line_number = rows.len() + 1;
    let expected = rows.len() as u64;
    if row.seq != expected {
        let problem =
            format!("expected seq = {expected}, found seq = {}: a row is missing or was moved", row.seq);
        return Err(LedgerError::row(path, line_number, problem));
    }
    let prev = rows.last().map_or("", |last| last.hash.as_str());
    if row.prev != prev {
        let problem = format!(
            "expected prev = {prev:.12}…, found prev = {:.12}…: the row before was replaced",
            row.prev
        );
        return Err(LedgerError::row(path, line_number, problem));
    }
    Ok(())
}

/// How often a lock that somebody else holds is asked for again: at first, and at most.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(10));

/// An open ledger file that rows can be added to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Bytes of the rows that are known.
    bytes: u64,
    rows: Vec<Row>,
    account: Account,
}

impl Journal {
    /// Opens or creates; checks what is there; drops a torn last line. Returns also how many bytes that was.
    /// For a file that only this process writes to; see [`Journal::shared`].
    pub fn open(path: &Path) -> Result<(Self, u64), LedgerError> {
        let mut journal = Self::shared(&LocalDisk, path)?;
        let torn = journal.refresh()?;
        Ok((journal, torn))
    }

    /// Opens like [`Journal::open`] and keeps others who do the same out until it is dropped.
    pub fn open_alone(path: &Path) -> Result<(Self, u64), LedgerError> {
        Self::open_alone_on(&LocalDisk, path)
    }

    /// The same on another disk.
    pub(crate) fn open_alone_on(disk: &dyn Disk, path: &Path) -> Result<(Self, u64), LedgerError> {
        let mut journal = Self::shared(disk, path)?;
        // Where a file system knows no locks, the lock of the run directory has to do.
        if matches!(journal.file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(LedgerError::InUse { path: path.to_owned() });
        }
        let torn = journal.refresh()?;
        Ok((journal, torn))
    }

    /// Opens or creates a file that several processes write to; knows no row yet. Each of them takes the lock,
    /// [refreshes](Journal::refresh), appends and lets go of it.
    pub(crate) fn shared(disk: &dyn Disk, path: &Path) -> Result<Self, LedgerError> {
        let file = disk.open(path).map_err(|source| LedgerError::io(path, source))?;
        let path = path.to_owned();
        Ok(Self { path, file, bytes: 0, rows: Vec::new(), account: Account::new() })
    }

    /// Takes in the rows that came to the file since it was last read, checks them, and drops a torn last line:
    /// its writer is dead, or it would hold the lock. Returns how many bytes that was.
    pub fn refresh(&mut self) -> Result<u64, LedgerError> {
        let length = self.file.length().map_err(self.failed())?;
        if length == self.bytes {
            return Ok(0);
        }
        if length < self.bytes {
            let problem =
                format!("expected at least {} bytes, found {length}: rows were taken away", self.bytes);
            return Err(LedgerError::row(&self.path, self.rows.len(), problem));
        }
        let bytes = self.file.read_from(self.bytes).map_err(self.failed())?;
        let (used, torn) = take_in(&self.path, &bytes, &mut self.rows, &mut self.account)?;
        self.bytes += used as u64;
        if torn > 0 {
            self.file.cut(self.bytes).map_err(self.failed())?;
        } else if used > 0 && bytes.last() != Some(&b'\n') {
            self.file.append(b"\n").map_err(self.failed())?;
            self.bytes += 1;
        }
        Ok(torn)
    }

    /// Takes the operating system's lock on the file, which ends with the process however that ends. Asks for
    /// `patience`; false if somebody held it all that time.
    pub(crate) fn lock(&self, patience: Duration) -> Result<bool, LedgerError> {
        let start = Instant::now();
        let mut pause = ASK_AGAIN.0;
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(true),
                Err(TryLockError::WouldBlock) if start.elapsed() >= patience => return Ok(false),
                Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
                Err(TryLockError::Error(source)) => return Err(LedgerError::io(&self.path, source)),
            }
            pause = (2 * pause).min(ASK_AGAIN.1);
        }
    }

    /// Lets go of the lock.
    pub(crate) fn unlock(&self) -> Result<(), LedgerError> {
        self.file.unlock().map_err(self.failed())
    }

    /// Adds a row: checks it against the sums, writes it, syncs it. When this fails, nothing was added.
    pub fn append(&mut self, draft: Draft) -> Result<&Row, LedgerError> {
        let line_number = self.rows.len() + 1;
        let prev = self.rows.last().map_or("", |row| row.hash.as_str());
        let (row, mut line) = Row::place(draft, self.rows.len() as u64, prev)
            .map_err(|error| LedgerError::row(&self.path, line_number, error.to_string()))?;
        let refused = |error: AccountError| LedgerError::row(&self.path, line_number, error.to_string());
        self.account.check(&row).map_err(refused)?;
        line.push('\n');
        if let Err(source) = self.file.append(line.as_bytes()) {
            // Best effort: if even this fails, the torn line is dropped when the file is next read.
            let _ = self.file.cut(self.bytes);
            return Err(LedgerError::io(&self.path, source));
        }
        self.bytes += line.len() as u64;
        let refused = |error: AccountError| LedgerError::row(&self.path, line_number, error.to_string());
        self.account.apply(&row).map_err(refused)?;
        self.rows.push(row);
        Ok(&self.rows[self.rows.len() - 1])
    }

    /// Whether a row would follow; writes nothing.
    pub(crate) fn check(&self, draft: Draft) -> Result<(), LedgerError> {
        let problem = |problem: String| LedgerError::row(&self.path, self.rows.len() + 1, problem);
        let (row, _) = Row::place(draft, self.rows.len() as u64, "").map_err(|e| problem(e.to_string()))?;
        self.account.check(&row).map_err(|error| problem(error.to_string()))
    }

    fn failed(&self) -> impl FnOnce(io::Error) -> LedgerError + use<> {
        let path = self.path.clone();
        move |source| LedgerError::Io { path, source }
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
    use std::fs;

    use shoestring_planner::units::Usd;

    use super::*;
    use crate::kind::Kind;
    use crate::row::tests::draft;

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("ledger.jsonl");
        let (mut journal, torn) = Journal::open(&path).expect("opens");
        assert_eq!(torn, 0);
        for (kind, quantum, micros) in
            [(Kind::Open, 0, 5000), (Kind::Reserve, 1, 2000), (Kind::Settle, 1, 1250)]
        {
            let amount = Some(Usd::from_micros(micros));
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
        Draft { amount: Some(Usd::ZERO), quantum: 0, ..draft() }
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

    #[test]
    fn a_ledger_of_an_earlier_version_is_read_and_goes_on() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("ledger.jsonl");
        // Written by the program as it was at version 1.
        fs::write(&path, include_bytes!("../tests/files/ledger-v1.jsonl")).expect("writes");
        let contents = verify(&path).expect("is sound");
        assert_eq!((contents.rows.len(), contents.account.spent().micros()), (18, 97));
        assert_eq!(contents.rows[1].price_as_of, None);
        let (mut journal, _) = Journal::open(&path).expect("opens");
        let time = contents.rows[17].time;
        journal.append(Draft::new(Kind::Note, time)).expect("goes on");
        let rows = verify(&path).expect("is sound").rows;
        assert_eq!((rows[17].version, rows[18].version), (1, 2));
    }

    #[test]
    fn rows_of_another_process_are_taken_in_and_missing_ones_noticed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = written(folder.path());
        let (mut one, _) = Journal::open(&path).expect("opens");
        let (mut other, _) = Journal::open(&path).expect("opens");
        other.append(Draft { kind: Kind::Note, ..draft_of_nothing() }).expect("appends");
        assert_eq!(one.refresh().expect("reads on"), 0);
        assert_eq!(one.rows(), other.rows());
        assert!(one.lock(Duration::ZERO).expect("locks"));
        assert!(!other.lock(Duration::from_millis(1)).expect("asks"));
        one.unlock().expect("lets go");
        assert!(other.lock(Duration::ZERO).expect("locks"));
        fs::write(&path, b"").expect("writes");
        assert!(matches!(one.refresh(), Err(LedgerError::Row { line: 4, .. })));
    }
}
