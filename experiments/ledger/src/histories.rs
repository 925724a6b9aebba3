//! Random histories of reserve, spend and settle, of two runs that share nested budgets, with crashes between and in
//! the middle of writes, compared with a model that counts for itself.
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
//! A few hundred here; a million with
//! `SHOESTRING_CASES=1000000 cargo test --release -p shoestring-ledger histories -- --nocapture`
//! (`SHOESTRING_SEED` picks others, `TMPDIR=/dev/shm` keeps them off the disk).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use shoestring_planner::units::Usd;

use crate::budget::{BudgetTerms, SharedBudget};
use crate::clock::{Clock, FakeClock};
use crate::error::LedgerError;
use crate::guard::{BudgetGuard, Quantum, ReserveError, Terms};
use crate::journal::{fuse, read};
use crate::kind::Purpose;

#[path = "../tests/support/mod.rs"]
mod support;

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

struct World {
    folder: PathBuf,
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
    fn new(folder: &Path, seed: u64) -> Self {
        let mut dice = Dice(seed);
        for entry in fs::read_dir(folder).expect("reads").flatten() {
            if entry.path().is_dir() {
                fs::remove_dir_all(entry.path()).expect("empties");
            } else {
                fs::remove_file(entry.path()).expect("empties");
            }
        }
        let clock = Arc::new(FakeClock::new());
        let mut parent = None;
        let depth = 1 + dice.roll(3) as usize;
        let mut journals = Vec::new();
        let mut budgets = Vec::new();
        for name in ["project", "sweep", "part"].into_iter().take(depth) {
            let path = folder.join(format!("{name}.toml"));
            let cap = Usd::from_micros(1) + dice.money(1000);
            let terms = BudgetTerms { parent: parent.take(), ..BudgetTerms::new(name, cap) };
            fs::write(&path, terms.text(&path).expect("has a TOML form")).expect("writes");
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
        let folder = folder.to_owned();
        Self {
            folder,
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
            fuse::light(1 + self.dice.roll(5) as u32, self.dice.roll(256) as u8);
        }
        let result = match self.runs[index].process.take() {
            None => self.open(index),
            Some(process) => self.step(index, process),
        };
        if fuse::blown() {
            // The process is gone: what it held in memory is lost, its files stay as they are.
            assert!(result.is_err() || self.runs[index].process.is_none(), "a crash is an end");
            self.runs[index].process = None;
            self.crashes += 1;
        } else {
            result.expect("only crashes fail");
        }
        fuse::put_out();
        self.check();
    }

    fn open(&mut self, index: usize) -> Result<(), LedgerError> {
        let clock = Arc::clone(&self.clock);
        let run = &mut self.runs[index];
        let (budget, _) = SharedBudget::open(&run.budget, clock.clone())?;
        let terms = Terms {
            run: run.name.into(),
            cap: run.cap,
            usd_per_hour: PRICE,
            price_source: "stated".into(),
            price_as_of: None,
        };
        let (mut guard, _) = BudgetGuard::open(&run.ledger, clock.clone(), terms, clock.elapsed())?;
        assert_eq!(guard.account().reserved(), Usd::ZERO, "8: what was cut off is charged");
        guard.join(budget);
        run.process = Some(Process { guard, quantum: None, done: 0 });
        Ok(())
    }

    fn step(&mut self, index: usize, mut process: Process) -> Result<(), LedgerError> {
        let roll = self.dice.roll(20);
        let run = &mut self.runs[index];
        match (process.quantum.take(), roll) {
            // Dies between two events; on the way it may have begun to write a row.
            (_, 0) => {
                drop(process);
                let at = self.dice.roll(self.journals.len() as u64) as usize;
                if let Some(last) = self.before[at].split(|&byte| byte == b'\n').next_back()
                    && last.is_empty()
                    && self.runs.iter().all(|run| run.process.is_none())
                {
                    let mut bytes = fs::read(&self.journals[at]).unwrap_or_default();
                    let torn = bytes.len().min(self.dice.roll(200) as usize);
                    bytes.extend_from_within(..torn);
                    if !bytes.is_empty() {
                        fs::write(&self.journals[at], bytes).expect("writes");
                    }
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
                    Ok(()) => run.cap = cap,
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
                let (used, reserve) = (process.guard.uncharged_seconds().ceil() as i64, quantum.reserve());
                let outcome = process.guard.settle(quantum, 0);
                match &outcome {
                    Ok(settled) => {
                        assert_eq!(settled.charged + settled.uncharged, Usd::from_micros(used), "6");
                        // What is beyond every cap could not be stopped in time and is named, not charged.
                        run.work += process.done.min(settled.charged.micros());
                        self.settlements += 1;
                    }
                    Err(_) => run.work += process.done.min(reserve.micros()),
                }
                process.done = 0;
                outcome?;
            }
        }
        self.runs[index].process = Some(process);
        Ok(())
    }

    fn check(&mut self) {
        let mut charged = Vec::new();
        for (at, path) in self.journals.iter().enumerate() {
            let bytes = fs::read(path).unwrap_or_default();
            let before = &self.before[at];
            let whole = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            assert!(bytes.starts_with(&before[..whole]), "7: {} lost a row", path.display());
            if bytes == *before {
                charged.push(self.sums[at]);
                continue;
            }
            self.before[at] = bytes;
            let account = read(path).unwrap_or_else(|error| panic!("7: {error}")).account;
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
            // A running quantum is covered by its reserve; what it does beyond that is not promised.
            let covered = run.process.as_ref().map_or(0, |process| {
                let reserve = process.quantum.as_ref().map_or(0, |quantum| quantum.reserve().micros());
                process.done.min(reserve)
            });
            let work = run.work + covered;
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
                run.work += process
                    .quantum
                    .as_ref()
                    .map_or(0, |quantum| process.done.min(quantum.reserve().micros()));
            }
        }
        for index in 0..self.runs.len() {
            self.open(index).expect("opens");
            self.runs[index].process = None;
        }
        self.check();
        for path in &self.journals {
            if path.exists() {
                let contents = read(path).expect("is sound");
                assert_eq!((contents.account.reserved(), contents.torn_bytes), (Usd::ZERO, 0), "8");
            }
        }
        assert!(self.folder.exists());
    }
}

#[allow(clippy::print_stdout)]
#[test]
fn in_no_history_is_a_cap_exceeded_or_a_row_lost() {
    let (cases, seed) = (number("SHOESTRING_CASES", 150), number("SHOESTRING_SEED", 1));
    let folder = tempfile::tempdir().expect("temporary folder");
    let (mut events, mut settlements, mut refusals, mut crashes) = (0_u64, 0, 0, 0);
    for case in 0..cases {
        let mut world = World::new(folder.path(), seed.wrapping_mul(1 << 32) + case);
        let length = 4 + world.dice.roll(20);
        for _ in 0..length {
            world.event();
        }
        world.end();
        events += length;
        settlements += world.settlements;
        refusals += world.refusals;
        crashes += world.crashes;
        if (case + 1) % 50_000 == 0 {
            println!("{} histories", case + 1);
        }
    }
    println!(
        "{cases} histories of seed {seed}: {events} events, {settlements} settlements, {refusals} refusals, \
         {crashes} crashes"
    );
    assert!(settlements > 0 && refusals > 0 && crashes > 0, "the histories say something");
}
