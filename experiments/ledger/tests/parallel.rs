//! Eight processes spend from one budget, two sweeps in one project, and are killed at random moments.
//!
//! An auditor adds up what the processes really did from their own notes, not from the ledger. Here for a few
//! seconds; for half an hour:
//! `SHOESTRING_SECONDS=1800 cargo test --release -p shoestring-ledger --test parallel -- --nocapture`

#![allow(clippy::print_stdout)]

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shoestring_ledger::{
    BudgetGuard, BudgetTerms, Clock, FakeClock, Kind, Purpose, ReserveError, SharedBudget, SystemClock,
    Terms, look, verify,
};
use shoestring_planner::units::Usd;

use support::{Dice, number};

mod support;

const WORKERS: usize = 8;
/// Shorter runs keep the cap that they begin with.
const PACED_FROM_SECONDS: u64 = 20;
/// One micro-dollar a microsecond.
const USD_PER_HOUR: Usd = Usd::from_micros(3_600_000_000);
/// What a worker that finds no room ends with.
const CAP_REACHED: i32 = 4;

/// Spends in small quanta until the cap is reached, and writes down what it really did. Not a test: the other
/// one starts it as a process of its own.
#[test]
#[ignore = "is started by the test below"]
fn worker() {
    let Ok(folder) = std::env::var("SHOESTRING_WORKER_FOLDER") else { return };
    let (folder, index) = (PathBuf::from(folder), number("SHOESTRING_WORKER", 0));
    let slice = Duration::from_millis(number("SHOESTRING_SLICE_MS", 2));
    let mut dice = Dice(number("SHOESTRING_SEED", 1) ^ u64::from(std::process::id()) << 20);
    let mut notes = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(format!("audit-{index}.txt")))
        .expect("opens");
    // Work is counted by a clock of its own, so that a machine that is busy with other things does not matter.
    let clock = Arc::new(FakeClock::new());
    let sweep = folder.join(if index.is_multiple_of(2) { "even.toml" } else { "odd.toml" });
    let (budget, _) = SharedBudget::open(&sweep, Arc::new(SystemClock::new())).expect("opens");
    let terms = Terms {
        run: format!("run-{index}"),
        cap: Usd::from_micros(i64::MAX / 4),
        usd_per_hour: USD_PER_HOUR,
        price_source: "stated".into(),
        price_as_of: None,
    };
    let path = folder.join(format!("run-{index}.jsonl"));
    let (mut guard, _) = BudgetGuard::open(&path, clock.clone(), terms, clock.elapsed()).expect("opens");
    guard.join(budget);
    let mut small = false;
    loop {
        let slices = if small { 1 } else { 1 + dice.roll(6) };
        let amount = guard.cost_of_seconds(slices as f64 * slice.as_secs_f64());
        let quantum = match guard.reserve("stage", 0, Purpose::Train, amount, Usd::ZERO) {
            Ok(quantum) => quantum,
            Err(ReserveError::Refused(_)) if !small => {
                small = true;
                continue;
            }
            Err(ReserveError::Refused(refused)) => {
                note(&mut notes, &format!("refused {refused}"));
                #[expect(clippy::exit, reason = "a test harness has no other way to end with a code")]
                std::process::exit(CAP_REACHED);
            }
            Err(error) => panic!("{error}"),
        };
        acknowledge(&mut notes, &guard);
        // Often it takes less than what was set aside.
        let done = slices - u64::from(slices > 1 && dice.roll(3) == 0);
        for _ in 0..done {
            std::thread::sleep(slice);
            // The work is done from here on, whatever becomes of this process.
            note(&mut notes, &format!("work {}", slice.as_micros()));
            clock.advance(slice);
        }
        guard.settle(quantum, 0).expect("settles");
        acknowledge(&mut notes, &guard);
    }
}

/// Notes the row of the sweep that was on disk when the call came back.
fn acknowledge(notes: &mut File, guard: &BudgetGuard) {
    let row = guard.budget().and_then(|budget| budget.rows().last()).expect("has rows");
    note(notes, &format!("row {}", row.hash));
}

/// One write a line: a kill comes before it or after it, and never leaves a part of it.
fn note(notes: &mut File, line: &str) {
    notes.write_all(format!("{line}\n").as_bytes()).expect("writes");
}

fn start(folder: &Path, index: usize, slice: u64) -> Child {
    Command::new(std::env::current_exe().expect("has a path"))
        .args(["worker", "--exact", "--ignored", "--test-threads", "1"])
        .env("SHOESTRING_WORKER_FOLDER", folder)
        .env("SHOESTRING_WORKER", index.to_string())
        .env("SHOESTRING_SLICE_MS", slice.to_string())
        .stdout(Stdio::null())
        .stderr(File::create(folder.join(format!("said-{index}.txt"))).expect("opens"))
        .spawn()
        .expect("starts")
}

#[test]
fn eight_processes_that_are_killed_stay_under_one_cap_and_use_it_up() {
    if let Ok(folder) = std::env::var("SHOESTRING_AUDIT") {
        return audit(Path::new(&folder), Duration::ZERO);
    }
    let seconds = number("SHOESTRING_SECONDS", 1);
    // A quantum is 1 to 6 slices; long runs take longer ones, so that the journal stays small.
    let slice = (seconds / 10).clamp(4, 120);
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let cap = Usd::from_micros((seconds * 1_000_000 * WORKERS as u64 * 7 / 10) as i64);
    let clock = Arc::new(SystemClock::new());
    let make = |name: &str, terms: &BudgetTerms| {
        SharedBudget::create(&folder.join(name), terms, clock.clone()).expect("is made");
    };
    make("project.toml", &BudgetTerms::new("project", cap));
    for name in ["even", "odd"] {
        let terms = BudgetTerms::new(name, Usd::from_micros(cap.micros() * 3 / 4));
        let terms = BudgetTerms { parent: Some("project.toml".into()), ..terms };
        make(&format!("{name}.toml"), &terms);
    }
    let begun = Instant::now();
    let mut dice = Dice(number("SHOESTRING_SEED", 1));
    let mut workers: Vec<Option<Child>> =
        (0..WORKERS).map(|index| Some(start(folder, index, slice))).collect();
    let mut kills = 0;
    // Kills become rarer than quanta, or nothing would ever be settled.
    let pause = (100 * slice).min(12_000);
    // How much a disk lets them spend is not known before they do: after a tenth of the time the cap becomes what
    // they will need the rest of it for, and nine tenths of it are still to be used up then.
    let mut paced = seconds < PACED_FROM_SECONDS;
    while workers.iter().any(Option::is_some) {
        if !paced && 10 * begun.elapsed() >= Duration::from_secs(seconds) {
            paced = true;
            let spent = look(&folder.join("project.toml")).expect("reads")[0].account.spent();
            let cap = Usd::from_micros(spent.micros() * 10);
            let pairs = [("even", 3, 4), ("odd", 3, 4), ("project", 1, 1)];
            for (name, numerator, denominator) in pairs {
                let path = folder.join(format!("{name}.toml"));
                let (mut budget, _) = SharedBudget::open(&path, clock.clone()).expect("opens");
                let cap = Usd::from_micros(cap.micros() * numerator / denominator);
                budget.set_cap(cap).expect("is above what is spent");
            }
            println!("{spent} USD spent in a tenth of the time: a cap of {cap} USD from here on");
        }
        std::thread::sleep(Duration::from_millis(1 + dice.roll(pause)));
        for (index, worker) in workers.iter_mut().enumerate() {
            let Some(child) = worker else { continue };
            match child.try_wait().expect("can be asked") {
                None => {}
                Some(status) if status.code() == Some(CAP_REACHED) => *worker = None,
                Some(status) if status.code().is_none() => *child = start(folder, index, slice),
                Some(status) => {
                    let said = fs::read_to_string(folder.join(format!("said-{index}.txt")));
                    panic!("worker {index} ended with {status}: {said:?}");
                }
            }
        }
        let index = dice.roll(WORKERS as u64) as usize;
        if let Some(child) = &mut workers[index] {
            child.kill().expect("can be killed");
            kills += 1;
        }
        // Nobody waits for ever: a deadlock would leave workers that neither end nor are refused.
        assert!(begun.elapsed() < Duration::from_secs(60 + 20 * seconds), "a deadlock, or no progress");
    }
    println!("{kills} kills");
    audit(folder, begun.elapsed());
}

/// By the files alone, with the cap as the project's journal has it at the end.
fn audit(folder: &Path, took: Duration) {
    // Dead holders' reserves are charged by whoever comes next.
    for name in ["even.toml", "odd.toml"] {
        SharedBudget::open(&folder.join(name), Arc::new(SystemClock::new())).expect("opens");
    }
    let contents = |name: &str| verify(&folder.join(name)).expect("is sound");
    let (project, even, odd) = (contents("project.jsonl"), contents("even.jsonl"), contents("odd.jsonl"));
    let (spent, cap) = (project.account.spent(), project.account.cap());
    let starts: HashSet<&str> =
        project.rows.iter().map(|row| row.holder.as_str()).filter(|holder| !holder.is_empty()).collect();
    let lasted = project.rows.last().map_or(0, |last| (last.time - project.rows[0].time).num_seconds());
    assert!(spent <= cap, "{spent} of {cap}");
    assert_eq!(project.account.reserved(), Usd::ZERO);
    assert!(even.account.spent() + odd.account.spent() <= spent);
    let rows: HashSet<&str> = even.rows.iter().chain(&odd.rows).map(|row| row.hash.as_str()).collect();
    let mut work = 0;
    for index in 0..WORKERS {
        let notes = fs::read_to_string(folder.join(format!("audit-{index}.txt"))).expect("reads");
        let mut own = 0;
        for line in notes.lines() {
            match line.split_once(' ') {
                Some(("work", micros)) => own += micros.parse::<i64>().expect("a number"),
                Some(("row", hash)) => assert!(rows.contains(hash), "row {hash} of {index} is lost"),
                _ => {}
            }
        }
        let name = format!("run-{index}");
        let charged: i64 = project
            .rows
            .iter()
            .filter(|row| row.run == name && row.kind == Kind::Settle)
            .filter_map(|row| row.amount.map(Usd::micros))
            .sum();
        assert!(own <= charged, "{name} did {own}, was charged {charged}");
        work += own;
    }
    let share = |micros: i64| 100.0 * micros as f64 / cap.micros() as f64;
    println!(
        "{WORKERS} processes, started {} times, {lasted} s from the first row to the last ({:.0} s in all), {} rows of \
         the project: cap {cap} USD, charged {spent} USD ({:.3} %), work by the auditor {:.3} %",
        starts.len(),
        took.as_secs_f64(),
        project.rows.len(),
        share(spent.micros()),
        share(work)
    );
    assert!(work <= cap.micros());
    assert!(share(spent.micros()) >= 98.0, "only {:.2} % of the cap were used", share(spent.micros()));
}
