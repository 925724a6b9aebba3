//! The file: JSON lines, append-only, chained by hash.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account::{Account, AccountError};
use crate::clock::Clock;
use crate::disk::{Disk, DiskFile, LocalDisk};
use crate::error::{LedgerError, Seal};
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
        let (line, bytes) = (contents.rows.len() + 1, contents.torn_bytes);
        return Err(LedgerError::Torn { path: path.to_owned(), line, bytes });
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
        ParseError::Hash { computed, found } => {
            LedgerError::tampered(path, line_number, Seal::Hash, short(&computed), short(&found))
        }
    })
}

/// Enough of a hash to tell it from another.
fn short(hash: &str) -> String {
    if hash.is_empty() { "nothing".to_owned() } else { format!("{hash:.12}…") }
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

fn check_chain(path: &Path, rows: &[Row], row: &Row) -> Result<(), LedgerError> {
    let line_number = rows.len() + 1;
    let expected = rows.len() as u64;
    if row.seq != expected {
        let (expected, found) = (expected.to_string(), row.seq.to_string());
        return Err(LedgerError::tampered(path, line_number, Seal::Seq, expected, found));
    }
    let prev = rows.last().map_or("", |last| last.hash.as_str());
    if row.prev != prev {
        return Err(LedgerError::tampered(path, line_number, Seal::Prev, short(prev), short(&row.prev)));
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
            let (expected, found) = (format!("{} or more", self.bytes), length.to_string());
            return Err(LedgerError::tampered(&self.path, self.rows.len(), Seal::Length, expected, found));
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
    /// `patience` in which no row was added by others; false if somebody held it all that time.
    ///
    /// Patience is what was slept between two asks, as long as was asked for: a machine that stood still, or a
    /// process that was stopped and goes on, has not waited meanwhile, and whoever holds the lock may have stood
    /// still with it.
    pub(crate) fn lock(&self, clock: &dyn Clock, patience: Duration) -> Result<bool, LedgerError> {
        let mut waited = Duration::ZERO;
        let mut pause = ASK_AGAIN.0;
        let mut length = self.bytes;
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(true),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(LedgerError::io(&self.path, source)),
            }
            // Others who take their turns do not keep it.
            let now = self.file.length().map_err(self.failed())?;
            if now != length {
                (length, waited) = (now, Duration::ZERO);
            }
            if waited >= patience {
                return Ok(false);
            }
            clock.sleep(pause);
            waited += pause;
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
    use std::fs::{self, File};
    use std::sync::Mutex;

    use chrono::{DateTime, Utc};
    use shoestring_planner::units::Usd;

    use super::*;
    use crate::clock::FakeClock;
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
            (whole.replacen("2000", "1999", 1), 2, Some(Seal::Hash)),
            (format!("{}\n{}\n", lines[0], lines[2]), 2, Some(Seal::Seq)),
            (format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]), 1, Some(Seal::Seq)),
            (format!("{}\n{}\n{}\n", lines[0], renewed(lines[1]), lines[2]), 3, Some(Seal::Prev)),
            (format!("{}\nnonsense\n{}\n", lines[0], lines[1]), 2, None),
        ];
        for (text, expected, seal) in cases {
            fs::write(&path, &text).expect("writes");
            let error = Journal::open(&path).expect_err("is refused");
            let named = match &error {
                LedgerError::Tampered { line, field, .. } => (*line, Some(*field)),
                LedgerError::Row { line, .. } => (*line, None),
                _ => (0, None),
            };
            assert_eq!(named, (expected, seal), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("reads"), text, "a refused file is left as it is");
        }
    }

    /// A row with another amount and a hash that agrees with it.
    fn renewed(line: &str) -> String {
        let row = Row::parse(line).expect("is a row");
        let draft =
            Draft { kind: row.kind, amount: Some(Usd::from_micros(1999)), quantum: row.quantum, ..draft() };
        Row::place(draft, row.seq, &row.prev).expect("has a JSON form").1
    }

    #[test]
    fn a_torn_last_row_is_an_error_of_its_own() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = written(folder.path());
        let whole = fs::read(&path).expect("reads");
        fs::write(&path, &whole[..whole.len() - 10]).expect("writes");
        let error = verify(&path).expect_err("is refused");
        assert!(matches!(&error, LedgerError::Torn { line: 3, bytes, .. } if *bytes > 100), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("drops it")));
        assert_eq!(read(&path).expect("is sound but for that").rows.len(), 2);
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
        let clock = Waits::of(|_| Duration::ZERO);
        assert!(one.lock(&clock, Duration::ZERO).expect("locks"));
        assert!(!other.lock(&clock, PATIENCE).expect("asks"));
        let slept = clock.slept();
        assert!(slept >= PATIENCE && slept < PATIENCE + ASK_AGAIN.1, "{slept:?}");
        one.unlock().expect("lets go");
        assert!(other.lock(&clock, Duration::ZERO).expect("locks"));
        fs::write(&path, b"").expect("writes");
        assert!(matches!(one.refresh(), Err(LedgerError::Tampered { line: 4, field: Seal::Length, .. })));
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A clock that nobody really waits by: calls `during` with the number of each sleep, which says how much
    /// longer than asked for it took.
    struct Waits<F> {
        clock: FakeClock,
        sleeps: Mutex<(u32, Duration)>,
        during: F,
    }

    impl<F: Fn(u32) -> Duration + Send + Sync> Waits<F> {
        fn of(during: F) -> Self {
            Self { clock: FakeClock::new(), sleeps: Mutex::default(), during }
        }

        fn slept(&self) -> Duration {
            self.sleeps.lock().expect("no panic").1
        }
    }

    impl<F> std::fmt::Debug for Waits<F> {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.clock.fmt(formatter)
        }
    }

    impl<F: Fn(u32) -> Duration + Send + Sync> Clock for Waits<F> {
        fn elapsed(&self) -> Duration {
            self.clock.elapsed()
        }

        fn now(&self) -> DateTime<Utc> {
            self.clock.now()
        }

        fn sleep(&self, time: Duration) {
            let mut sleeps = self.sleeps.lock().expect("no panic");
            sleeps.0 += 1;
            sleeps.1 += time;
            self.clock.advance(time + (self.during)(sleeps.0));
        }
    }

    #[test]
    fn a_machine_that_stood_still_has_not_waited_for_a_lock() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = written(folder.path());
        let (one, _) = Journal::open(&path).expect("opens");
        let (other, _) = Journal::open(&path).expect("opens");
        let clock = Waits::of(|sleeps| {
            if sleeps == 20 {
                one.unlock().expect("lets go");
            }
            Duration::from_secs(3600)
        });
        assert!(one.lock(&clock, Duration::ZERO).expect("locks"));
        assert!(other.lock(&clock, PATIENCE).expect("asks"), "gave up after {:?}", clock.slept());
        assert!(clock.elapsed() > Duration::from_secs(20 * 3600));
    }

    #[test]
    fn a_lock_that_others_take_in_turn_is_not_given_up() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = written(folder.path());
        let (mut one, _) = Journal::open(&path).expect("opens");
        let (other, _) = Journal::open(&path).expect("opens");
        let holder = File::open(&path).expect("opens");
        holder.lock().expect("locks");
        let one = Mutex::new(&mut one);
        let clock = Waits::of(|sleeps| {
            // A row of somebody else's every 50 s of waiting or so.
            if sleeps.is_multiple_of(5000) {
                let draft = Draft { kind: Kind::Note, ..draft_of_nothing() };
                one.lock().expect("no panic").append(draft).expect("appends");
            }
            if sleeps == 20_000 {
                holder.unlock().expect("lets go");
            }
            Duration::ZERO
        });
        assert!(other.lock(&clock, PATIENCE).expect("asks"), "gave up after {:?}", clock.slept());
        assert!(clock.slept() > 3 * PATIENCE);
    }
}
