//! What the ledger costs on this disk: rows a second with fsync, and the share of a run's time at one quantum every
//! three seconds, by itself and under budgets one to three levels deep.
//!
//! `cargo run --release -p shoestring-ledger --example overhead -- FOLDER [PAIRS]`

#![expect(clippy::print_stdout, reason = "what it measures is its output")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shoestring_ledger::{BudgetGuard, BudgetTerms, Clock, Purpose, SharedBudget, SystemClock, Terms};
use shoestring_planner::units::Usd;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const QUANTUM_SECONDS: f64 = 3.0;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder on the disk to measure")?);
    let pairs: usize = arguments.next().map_or(Ok(300), |text| text.parse())?;
    println!("levels  rows/s  reserve+settle ms: median     p99     max  share of run time");
    for levels in 0..=3 {
        let folder = folder.join(format!("levels-{levels}"));
        std::fs::create_dir_all(&folder)?;
        let mut times = measure(&folder, levels, pairs)?;
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        let total: f64 = times.iter().map(Duration::as_secs_f64).sum();
        let rows = (2 * pairs * (1 + levels)) as f64;
        let share = 100.0 * total / pairs as f64 / QUANTUM_SECONDS;
        println!(
            "{levels:>6} {:>7.0} {:>25.2} {:>7.2} {:>7.2}  {share:.3} % (mean)",
            rows / total,
            at(0.5),
            at(0.99),
            at(1.0)
        );
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn measure(folder: &Path, levels: usize, pairs: usize) -> Outcome<Vec<Duration>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let terms = Terms {
        run: "run".into(),
        cap: Usd::from_micros(i64::MAX / 1024),
        usd_per_hour: Usd::from_micros(1_000_000),
        price_source: "stated".into(),
        price_as_of: None,
    };
    let (mut guard, _) =
        BudgetGuard::open(&folder.join("ledger.jsonl"), Arc::clone(&clock), terms, clock.elapsed())?;
    let mut parent: Option<PathBuf> = None;
    for level in 0..levels {
        let path = folder.join(format!("budget-{level}.toml"));
        let terms = BudgetTerms::new(format!("level {level}"), Usd::from_micros(1_000_000_000));
        SharedBudget::create(&path, &BudgetTerms { parent: parent.take(), ..terms }, Arc::clone(&clock))?;
        parent = path.file_name().map(PathBuf::from);
    }
    if let Some(innermost) = parent {
        guard.join(SharedBudget::open(&folder.join(innermost), Arc::clone(&clock))?.0);
    }
    let mut times = Vec::with_capacity(pairs);
    for step in 0..pairs as u64 {
        let start = Instant::now();
        let quantum = guard.reserve("pretrain", step, Purpose::Train, Usd::from_micros(1000), Usd::ZERO)?;
        guard.settle(quantum, step)?;
        times.push(start.elapsed());
    }
    Ok(times)
}
