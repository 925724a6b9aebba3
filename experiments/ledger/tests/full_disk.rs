//! A disk that is full at each write, and one that becomes read-only, with a small file system of its own.
//!
//! Needs root to mount it: `cargo test -p shoestring-ledger --test full_disk -- --ignored --nocapture --test-threads 1`
//! (one at a time: a process that one test starts holds the other's locks until it is another program)

#![allow(clippy::print_stdout)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use shoestring_ledger::{
    BudgetGuard, BudgetTerms, Clock, FakeClock, Journal, LedgerError, Purpose, Quantum, ReserveError,
    SharedBudget, Terms, look, read, verify,
};
use shoestring_planner::units::Usd;

struct Mount(PathBuf);

impl Mount {
    fn new(folder: &Path) -> Self {
        let mount = Self(folder.to_owned());
        mount.call("mount", &["-t", "tmpfs", "-o", "size=192k", "tmpfs"]);
        mount
    }

    fn call(&self, program: &str, arguments: &[&str]) {
        let status = Command::new(program).args(arguments).arg(&self.0).status().expect("starts");
        assert!(status.success(), "{program}: are you root?");
    }

    /// Takes up the last byte.
    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).expect("is made");
        for piece in [4096, 1] {
            while filler.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("is removed");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

struct World {
    folder: PathBuf,
    clock: Arc<FakeClock>,
    /// Longer names shift where rows fall on the pages of the file system.
    stage: String,
    guard: Option<BudgetGuard>,
    quantum: Option<Quantum>,
}

const STEPS: [&str; 11] =
    ["open", "reserve", "settle", "reserve", "release", "spend", "price", "cap", "budget cap", "note", "end"];

impl World {
    fn new(folder: &Path, pad: usize) -> Self {
        let clock = Arc::new(FakeClock::new());
        for entry in fs::read_dir(folder).expect("reads").flatten() {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("empties");
        }
        let make = |name: &str, parent: Option<&str>| {
            let terms = BudgetTerms {
                parent: parent.map(PathBuf::from),
                ..BudgetTerms::new(name, Usd::from_micros(10_000))
            };
            let path = folder.join(format!("{name}.toml"));
            drop(SharedBudget::create(&path, &terms, clock.clone()).expect("is made"));
        };
        make("project", None);
        make("sweep", Some("project.toml"));
        let stage = "x".repeat(pad);
        Self { folder: folder.to_owned(), clock, stage, guard: None, quantum: None }
    }

    fn open(&mut self) -> Result<(), LedgerError> {
        let (budget, _) = SharedBudget::open(&self.folder.join("sweep.toml"), self.clock.clone())?;
        let terms = Terms {
            run: "run".into(),
            cap: Usd::from_micros(9_000),
            usd_per_hour: Usd::from_micros(3600),
            price_source: "stated".into(),
            price_as_of: None,
        };
        let path = self.folder.join("ledger.jsonl");
        // The cap may have been changed since, if the ledger was opened at all.
        let written = read(&path).ok().filter(|contents| !contents.rows.is_empty());
        let cap = written.map_or(terms.cap, |contents| contents.account.cap());
        let terms = Terms { cap, ..terms };
        let since = self.clock.elapsed();
        let (mut guard, _) = BudgetGuard::open(&path, self.clock.clone(), terms, since)?;
        guard.join(budget);
        self.guard = Some(guard);
        Ok(())
    }

    fn step(&mut self, name: &str) -> Result<(), LedgerError> {
        if self.guard.is_none() {
            self.open()?;
        }
        let Some(guard) = &mut self.guard else { return Ok(()) };
        let stage = self.stage.as_str();
        self.clock.advance(Duration::from_secs(7));
        match name {
            "reserve" => match guard.reserve(stage, 1, Purpose::Train, Usd::from_micros(50), Usd::ZERO) {
                Ok(quantum) => self.quantum = Some(quantum),
                Err(ReserveError::Ledger(error)) => return Err(error),
                Err(ReserveError::Refused(refused)) => panic!("{refused}"),
            },
            "settle" => {
                if let Some(quantum) = self.quantum.take() {
                    guard.settle(quantum, 1)?;
                }
            }
            "release" => {
                if let Some(quantum) = self.quantum.take() {
                    guard.release(quantum, 1)?;
                }
            }
            "spend" => {
                guard.spend(stage, 1, Purpose::Idle, Usd::from_micros(5), 5.0, "a gap")?;
            }
            "price" => guard.change_price(1, Usd::from_micros(7200), "spot", None)?,
            "cap" => guard.set_cap(Usd::from_micros(9_500))?,
            "budget cap" => {
                guard.budget_mut().expect("has joined").set_cap(Usd::from_micros(9_900))?;
            }
            "note" => guard.note(stage, 1, "x")?,
            "end" => guard.end(stage, 1, "finished")?,
            _ => {}
        }
        Ok(())
    }

    fn journals(&self) -> Vec<(PathBuf, Vec<u8>)> {
        ["project.jsonl", "sweep.jsonl", "ledger.jsonl"]
            .map(|name| self.folder.join(name))
            .into_iter()
            .map(|path| (path.clone(), fs::read(path).unwrap_or_default()))
            .collect()
    }
}

#[test]
#[ignore = "needs root to mount a small file system"]
fn a_disk_that_is_full_at_any_write_loses_nothing_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mount = Mount::new(folder.path());
    let mut full = [0; STEPS.len()];
    let mut cases = 0;
    for pad in (0..4160).step_by(160) {
        for at in 0..STEPS.len() {
            let mut world = World::new(folder.path(), pad);
            for name in &STEPS[..at] {
                world.step(name).expect("there is room");
            }
            let before = world.journals();
            mount.fill();
            let result = world.step(STEPS[at]);
            for (path, bytes) in &before {
                let now = fs::read(path).unwrap_or_default();
                assert!(now.starts_with(bytes), "{}: a row is lost", path.display());
                if !now.is_empty() {
                    let contents = read(path).expect("is sound on a full disk");
                    assert!(contents.account.spent() <= contents.account.cap());
                }
            }
            if let Err(error) = &result {
                let LedgerError::Io { source, .. } = error else { panic!("{error}") };
                assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{error}");
                assert!(error.hint().is_some_and(|hint| hint.contains("disk is full")), "{error}");
                full[at] += 1;
            }
            mount.make_room();
            // The same process goes on, or the same command is given again.
            if (pad / 160) % 2 == 1 {
                world.quantum = None;
                world.guard = None;
            }
            for name in &STEPS[at..] {
                world.step(name).unwrap_or_else(|error| panic!("there is room again: {name}: {error}"));
            }
            drop(world);
            for name in ["project.jsonl", "sweep.jsonl", "ledger.jsonl"] {
                let contents = verify(&folder.path().join(name)).expect("is sound");
                assert!(contents.account.spent() <= contents.account.cap());
            }
            cases += 1;
        }
    }
    println!("{cases} cases; refused for want of room: {:?}", STEPS.iter().zip(full).collect::<Vec<_>>());
    for (name, full) in STEPS.iter().zip(full) {
        assert!(full > 0, "`{name}` never met a full disk");
    }
}

#[test]
#[ignore = "needs root to mount a small file system"]
fn a_file_system_that_became_read_only_is_named_and_can_still_be_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mount = Mount::new(folder.path());
    let mut world = World::new(folder.path(), 1);
    world.step("reserve").expect("is set aside");
    world.guard = None;
    mount.call("mount", &["-o", "remount,ro"]);
    let (budget, ledger) = (folder.path().join("sweep.toml"), folder.path().join("ledger.jsonl"));
    for error in [
        SharedBudget::open(&budget, world.clock.clone()).expect_err("cannot be written"),
        Journal::open(&ledger).expect_err("cannot be written"),
    ] {
        assert!(error.to_string().contains("Read-only"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("writable")), "{error}");
    }
    assert_eq!(verify(&ledger).expect("is sound").account.reserved(), Usd::from_micros(50));
    assert_eq!(look(&budget).expect("can be read").len(), 2);
    mount.call("mount", &["-o", "remount,rw"]);
    world.step("note").expect("goes on");
}
