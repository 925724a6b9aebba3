//! Random histories of reserve, spend and settle, of two runs that share nested budgets, with crashes between and in
//! the middle of everything that is written, compared with a model that counts for itself.
//!
//! A crash may come at any write: a row, the break of a line, a torn line being dropped, a budget file, the file of a
//! holder, a new journal. Of a row nothing, any beginning, a beginning and zeros, all but its line break, or all of it
//! without anybody being told has then reached the disk; the rest is done or not. A crash ends one process, or all as
//! when the machine goes down; it may also leave the beginning of an older row at the end of a file.
//!
//! # Invariants, checked after every event
//! 1. What is spent never exceeds the cap, at any level and in any run's own ledger.
//! 2. What is charged never decreases.
//! 3. Work that was really done (by the model's own count, not the ledger's) is never more than what is charged
//!    and reserved: at every level, and in each run's own ledger.
//! 4. An outer budget has at least as much spent as the inner ones took from it, together with what was spent
//!    from it directly.
//! 5. A reserve is refused if and only if it does not fit somewhere, and then the level that is named has no room.
//!    After a refusal, nothing is set aside anywhere.
//! 6. A settlement charges what the clock says, up to the reserve and what is left everywhere; the rest is named.
//! 7. The files only grow: what was acknowledged stays, byte for byte, and every file verifies (but for a torn last
//!    line after a crash, which the next process drops).
//! 8. Once all are gone and the budget is opened again, nothing is reserved, and every reserve that a crash cut off
//!    was charged in full.
//!
//! 9. Clocks that are set, caps that are raised and lowered, and clocks that outrun a reserve change none of this.
//!
//! A thousand on a disk in memory and a few on real files here; a million with
//! `SHOESTRING_CASES=1000000 cargo test --release -p shoestring-ledger histories -- --nocapture`
//! (`SHOESTRING_FILE_CASES` are on real files, `SHOESTRING_SEED` picks others).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use shoestring_planner::units::Usd;

use crate::budget::{BudgetTerms, SharedBudget};
use crate::clock::{Clock, FakeClock};
use crate::disk::{Disk, LocalDisk};
use crate::error::LedgerError;
use crate::guard::{BudgetGuard, Quantum, ReserveError, Terms};
use crate::journal::read_on;
use crate::kind::Purpose;

mod crashes;
#[path = "../tests/support/mod.rs"]
mod support;

use crashes::{Crashes, Crashing, Memory, Reached};
use support::{Dice, number};

impl Dice {
    fn money(&mut self, below: u64) -> Usd {
        Usd::from_micros(self.roll(below) as i64)
    }
}

/// 3,600 micro-dollars an hour: one micro-dollar a second.
const PRICE: Usd = Usd::from_micros(3600);

/// One run with its process, if that is alive.
struct Run {
    name: &'static str,
    budget: PathBuf,
    ledger: PathBuf,
    cap: Usd,
    process: Option<Process>,
    /// Work that was really done, in micro-dollars, by the model's count.
    work: i64,
}

struct Process {
    guard: BudgetGuard,
    quantum: Option<Quantum>,
    /// What the open quantum has done so far, and how much it may.
    done: i64,
}

impl Process {
    /// What a running quantum has done, as far as its reserve covers it: what it does beyond that is not promised.
    fn covered(&self) -> i64 {
        self.quantum.as_ref().map_or(0, |quantum| self.done.min(quantum.reserve().micros()))
    }
}

struct World {
    disk: Arc<dyn Disk>,
    fuse: Crashes,
    clock: Arc<FakeClock>,
    runs: Vec<Run>,
    journals: Vec<PathBuf>,
    /// What was on disk after the last event.
    before: Vec<Vec<u8>>,
    /// What it charged and spent.
    sums: Vec<(Usd, Usd)>,
    /// What was charged after the last event.
    charged_before: Vec<Usd>,
    dice: Dice,
    settlements: u64,
    refusals: u64,
    crashes: u64,
}

impl World {
    fn new(disk: Arc<dyn Disk>, folder: &Path, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let fuse = Crashes::new();
        let disk: Arc<dyn Disk> = Arc::new(Crashing { disk, crashes: fuse.clone() });
        let clock = Arc::new(FakeClock::new());
        let mut parent = None;
        let depth = 1 + dice.roll(3) as usize;
        let mut journals = Vec::new();
        let mut budgets = Vec::new();
        for name in ["project", "sweep", "part"].into_iter().take(depth) {
            let path = folder.join(format!("{name}.toml"));
            let cap = Usd::from_micros(1) + dice.money(1000);
            let terms = BudgetTerms { parent: parent.take(), ..BudgetTerms::new(name, cap) };
            let text = terms.text(&path).expect("has a TOML form");
            disk.write_whole(&path, text.as_bytes()).expect("writes");
            journals.push(BudgetTerms::journal(&path));
            parent = Some(PathBuf::from(format!("{name}.toml")));
            budgets.push(path);
        }
        let runs = ["one", "two"]
            .into_iter()
            .map(|name| {
                let ledger = folder.join(format!("{name}.jsonl"));
                journals.push(ledger.clone());
                Run {
                    name,
                    budget: budgets[dice.roll(depth as u64) as usize].clone(),
                    ledger,
                    cap: Usd::from_micros(1) + dice.money(1000),
                    process: None,
                    work: 0,
                }
            })
            .collect();
        let before = vec![Vec::new(); journals.len()];
        let sums = vec![(Usd::ZERO, Usd::ZERO); journals.len()];
        let charged_before = vec![Usd::ZERO; journals.len()];
        Self {
            disk,
            fuse,
            clock,
            runs,
            journals,
            before,
            sums,
            charged_before,
            dice,
            settlements: 0,
            refusals: 0,
            crashes: 0,
        }
    }

    /// One event. The process may die in the middle of it, at any of its writes.
    fn event(&mut self) {
        let index = self.dice.roll(2) as usize;
        if self.dice.roll(6) == 0 {
            let (writes, share) = (1 + self.dice.roll(6) as u32, self.dice.roll(256) as u8);
            let reached = match self.dice.roll(8) {
                0..4 => Reached::Beginning(share),
                4 => Reached::Zeros(share),
                5 => Reached::AllButLast,
                _ => Reached::Everything,
            };
            self.fuse.light(writes, reached);
        }
        let was_alive = self.runs[index].process.is_some();
        let covered = self.runs[index].process.as_ref().map_or(0, Process::covered);
        let result = match self.runs[index].process.take() {
            None => self.open(index),
            Some(process) => self.step(index, process),
        };
        if self.fuse.blown() {
            // The process is gone: what it held in memory is lost, its files stay as they are.
            assert!(result.is_err() || self.runs[index].process.is_none(), "a crash is an end");
            self.runs[index].process = None;
            self.crashes += 1;
        } else {
            result.expect("only crashes fail");
        }
        if was_alive && self.runs[index].process.is_none() {
            self.runs[index].work += covered;
        }
        self.fuse.put_out();
        self.check();
    }

    fn open(&mut self, index: usize) -> Result<(), LedgerError> {
        let clock = Arc::clone(&self.clock);
        let run = &mut self.runs[index];
        let (budget, _) = SharedBudget::open_on(&self.disk, &run.budget, clock.clone())?;
        // A crash in a change of the cap leaves the one before or the one after it.
        let written = read_on(&*self.disk, &run.ledger).ok().filter(|contents| !contents.rows.is_empty());
        let terms = Terms {
            run: run.name.into(),
            cap: written.map_or(run.cap, |contents| contents.account.cap()),
            usd_per_hour: PRICE,
            price_source: "stated".into(),
            price_as_of: None,
        };
        let (mut guard, _) =
            BudgetGuard::open_on(&*self.disk, &run.ledger, clock.clone(), terms, clock.elapsed())?;
        assert_eq!(guard.account().reserved(), Usd::ZERO, "8: what was cut off is charged");
        guard.join(budget);
        run.process = Some(Process { guard, quantum: None, done: 0 });
        Ok(())
    }

    fn step(&mut self, index: usize, mut process: Process) -> Result<(), LedgerError> {
        let roll = self.dice.roll(20);
        match (process.quantum.take(), roll) {
            // Dies between two events; on the way it may have begun to write a row.
            (_, 0) => {
                drop(process);
                if self.dice.roll(3) == 0 {
                    // The whole machine goes down.
                    for run in &mut self.runs {
                        let process = run.process.take();
                        run.work += process.as_ref().map_or(0, Process::covered);
                    }
                }
                let at = self.dice.roll(self.journals.len() as u64) as usize;
                let (path, before) = (&self.journals[at], &self.before[at]);
                if before.last() == Some(&b'\n') && self.runs.iter().all(|run| run.process.is_none()) {
                    let torn = before.len().min(self.dice.roll(200) as usize);
                    let mut file = self.disk.open(path).map_err(|source| LedgerError::io(path, source))?;
                    file.append(&before[..torn]).map_err(|source| LedgerError::io(path, source))?;
                }
                self.crashes += 1;
                return Ok(());
            }
            (quantum, 1) => {
                self.clock.set(TimeDelta::days(if self.dice.roll(2) == 0 { 1 } else { -1 }));
                process.quantum = quantum;
            }
            (quantum, 2) => {
                let cap = self.dice.money(1500);
                let spent = process.guard.account().spent();
                match process.guard.set_cap(cap) {
                    Ok(()) => self.runs[index].cap = cap,
                    Err(LedgerError::CapBelowSpent { .. }) => assert!(cap < spent),
                    Err(error) => return Err(error),
                }
                process.quantum = quantum;
            }
            (quantum, 3) => {
                let cap = self.dice.money(1500);
                let budget = process.guard.budget_mut().expect("has joined");
                match budget.set_cap(cap) {
                    Ok(_) | Err(LedgerError::CapBelowSpent { .. }) => {}
                    Err(error) => return Err(error),
                }
                process.quantum = quantum;
            }
            (None, 4) => {
                let amount = self.dice.money(60);
                let settled = process.guard.spend("", 0, Purpose::Idle, amount, 1.0, "a gap")?;
                assert_eq!(settled.charged + settled.uncharged, amount, "6");
            }
            (None, _) => {
                let (amount, hold) = (self.dice.money(120), self.dice.money(40));
                let own = process.guard.account().left();
                match process.guard.reserve("stage", 0, Purpose::Train, amount, hold) {
                    Ok(quantum) => {
                        assert!(amount + hold <= own, "5");
                        process.quantum = Some(quantum);
                        process.done = 0;
                    }
                    Err(ReserveError::Refused(refused)) => {
                        let left = match &refused.level {
                            None => own,
                            Some(name) => {
                                let levels = process.guard.budget().expect("has joined").levels();
                                let level = levels.iter().find(|level| level.terms.name == **name);
                                level.expect("is one of them").account.left()
                            }
                        };
                        assert!(amount + hold > left && left == refused.left, "5");
                        self.refusals += 1;
                    }
                    Err(ReserveError::Ledger(error)) => return Err(error),
                }
            }
            // Works within its reserve; now and then one step takes far longer.
            (Some(quantum), 5..12) => {
                let left = process.guard.seconds_left(&quantum).max(0.0) as u64;
                let seconds = if roll == 11 { self.dice.roll(400) } else { self.dice.roll(left + 1) };
                self.clock.advance(Duration::from_secs(seconds));
                process.done += seconds as i64;
                // Others of this world run at the same time.
                process.quantum = Some(quantum);
            }
            (Some(quantum), 12) if process.done == 0 => {
                process.guard.release(quantum, 0)?;
            }
            (Some(quantum), _) => {
                let used = process.guard.uncharged_seconds().ceil() as i64;
                let settled = process.guard.settle(quantum, 0)?;
                assert_eq!(settled.charged + settled.uncharged, Usd::from_micros(used), "6");
                // What is beyond every cap could not be stopped in time and is named, not charged.
                self.runs[index].work += process.done.min(settled.charged.micros());
                self.settlements += 1;
                process.done = 0;
            }
        }
        self.runs[index].process = Some(process);
        Ok(())
    }

    fn check(&mut self) {
        let mut charged = Vec::new();
        for (at, path) in self.journals.iter().enumerate() {
            let bytes = self.disk.read(path).unwrap_or_default();
            let before = &self.before[at];
            let whole = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            assert!(bytes.starts_with(&before[..whole]), "7: {} lost a row", path.display());
            if bytes == *before {
                charged.push(self.sums[at]);
                continue;
            }
            self.before[at] = bytes;
            let account = read_on(&*self.disk, path).unwrap_or_else(|error| panic!("7: {error}")).account;
            assert!(account.spent() <= account.cap(), "1: {}", path.display());
            self.sums[at] = (account.charged(), account.spent());
            charged.push(self.sums[at]);
        }
        for (before, (now, _)) in self.charged_before.iter_mut().zip(&charged) {
            assert!(now >= before, "2: {now} after {before}");
            *before = *now;
        }
        let levels = self.journals.len() - self.runs.len();
        for level in 1..levels {
            assert!(charged[level - 1].1 >= charged[level].1, "4");
        }
        let mut through = vec![0; levels];
        for (at, run) in self.runs.iter().enumerate() {
            let spent = charged[levels + at].1;
            let work = run.work + run.process.as_ref().map_or(0, Process::covered);
            assert!(work <= spent.micros(), "3: {} did {work}, {spent} are spent", run.name);
            for (level, sum) in through.iter_mut().enumerate() {
                let inner = self.journals[..levels]
                    .iter()
                    .position(|journal| journal.with_extension("toml") == run.budget)
                    .expect("is a level");
                if level <= inner {
                    *sum += work;
                }
            }
        }
        for (level, work) in through.into_iter().enumerate() {
            assert!(work <= charged[level].1.micros(), "3: at level {level}");
        }
    }

    /// Everybody goes, and the next who opens the budgets finds nothing reserved.
    fn end(&mut self) {
        for run in &mut self.runs {
            if let Some(process) = run.process.take() {
                // An open quantum is charged in full, like what it has done.
                run.work += process.covered();
            }
        }
        for index in 0..self.runs.len() {
            self.open(index).expect("opens");
            self.runs[index].process = None;
        }
        self.check();
        for path in &self.journals {
            if self.disk.read(path).is_ok() {
                let contents = read_on(&*self.disk, path).expect("is sound");
                assert_eq!((contents.account.reserved(), contents.torn_bytes), (Usd::ZERO, 0), "8");
            }
        }
    }
}

/// What histories came to.
#[derive(Default)]
struct Counts {
    histories: u64,
    events: u64,
    settlements: u64,
    refusals: u64,
    crashes: u64,
}

impl Counts {
    /// One history, from its seed.
    fn history(&mut self, disk: Arc<dyn Disk>, folder: &Path, seed: u64) {
        let mut world = World::new(disk, folder, seed);
        let length = 4 + world.dice.roll(20);
        for _ in 0..length {
            world.event();
        }
        world.end();
        self.histories += 1;
        self.events += length;
        self.settlements += world.settlements;
        self.refusals += world.refusals;
        self.crashes += world.crashes;
    }

    fn and(self, other: Self) -> Self {
        Self {
            histories: self.histories + other.histories,
            events: self.events + other.events,
            settlements: self.settlements + other.settlements,
            refusals: self.refusals + other.refusals,
            crashes: self.crashes + other.crashes,
        }
    }

    #[allow(clippy::print_stdout)]
    fn say(&self, place: &str, seed: u64) {
        println!(
            "{} histories of seed {seed} {place}: {} events, {} settlements, {} refusals, {} crashes",
            self.histories, self.events, self.settlements, self.refusals, self.crashes
        );
        assert!(self.settlements > 0 && self.refusals > 0 && self.crashes > 0, "the histories say something");
    }
}

fn first_seed(seed: u64) -> u64 {
    seed.wrapping_mul(1 << 32)
}

#[test]
fn in_no_history_is_a_cap_exceeded_or_a_row_lost() {
    let (cases, seed) = (number("SHOESTRING_CASES", 1000), number("SHOESTRING_SEED", 1));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let counts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut counts = Counts::default();
                    for case in (thread..cases).step_by(threads as usize) {
                        counts.history(Arc::new(Memory::default()), Path::new("/"), first_seed(seed) + case);
                    }
                    counts
                })
            })
            .collect();
        let counts = workers.into_iter().map(|worker| worker.join().expect("no history fails"));
        counts.fold(Counts::default(), Counts::and)
    });
    counts.say("in memory", seed);
}

#[test]
fn in_no_history_on_real_files_is_a_cap_exceeded_or_a_row_lost() {
    let (cases, seed) = (number("SHOESTRING_FILE_CASES", 12), number("SHOESTRING_SEED", 1));
    let mut counts = Counts::default();
    for case in 0..cases {
        let folder = tempfile::tempdir().expect("temporary folder");
        counts.history(Arc::new(LocalDisk), folder.path(), first_seed(seed) + case);
    }
    counts.say("on real files", seed);
}
