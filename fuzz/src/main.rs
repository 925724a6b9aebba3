//! Throws damaged bytes at every parser of bytes from outside, until the time is over:
//!
//!     cargo run --release --manifest-path fuzz/Cargo.toml -- TARGET|all MINUTES [SEED]
//!
//! Each round takes a whole file of the target's kind, damages it in a few places (bits, bytes, stretches copied,
//! taken out or put in, lengths that lie, ends cut off) and hands it to the parser, which may refuse but neither
//! panic nor take more than five seconds or two gigabytes. A failing input is written to `fuzz-TARGET-SEED-ROUND`
//! and the run goes on; the exit code is 1 when there was one. The same seed gives the same rounds.

mod models;
mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mutate::Mutator;
use targets::TARGETS;

/// More is no mistake of one round but a parser that does not know its bounds.
const LONGEST: Duration = Duration::from_secs(5);
const MOST_RESIDENT_BYTES: u64 = 2 << 30;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(name), Some(minutes)) = (args.first(), args.get(1).and_then(|text| text.parse::<f64>().ok()))
    else {
        eprintln!("usage: fuzz TARGET|all MINUTES [SEED]");
        return ExitCode::from(2);
    };
    let seed = args.get(2).and_then(|text| text.parse().ok()).unwrap_or(1);
    let chosen: Vec<_> = TARGETS.iter().filter(|target| name == "all" || name == target.name).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("no target `{name}`; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    // Parsers that catch panics themselves would print each one.
    std::panic::set_hook(Box::new(|_| {}));
    let mut findings = 0;
    for target in chosen {
        findings += run(target, minutes, seed);
    }
    ExitCode::from(u8::from(findings > 0))
}

fn run(target: &targets::Target, minutes: f64, seed: u64) -> u32 {
    let seeds = (target.seeds)();
    let mut mutator = Mutator::new(seed);
    let (start, mut rounds, mut accepted, mut findings) = (Instant::now(), 0u64, 0u64, 0);
    let mut slowest = Duration::ZERO;
    while start.elapsed().as_secs_f64() < minutes * 60.0 {
        let input = mutator.damaged(&seeds);
        let begin = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.parse)(&input)));
        let took = begin.elapsed();
        slowest = slowest.max(took);
        rounds += 1;
        let problem = match outcome {
            Err(_) => Some("panicked"),
            Ok(_) if took > LONGEST => Some("took too long"),
            Ok(_) if rounds % 1024 == 0 && resident() > MOST_RESIDENT_BYTES => Some("took too much memory"),
            Ok(fine) => {
                accepted += u64::from(fine);
                None
            }
        };
        if let Some(problem) = problem {
            findings += 1;
            let path = format!("fuzz-{}-{seed}-{rounds}", target.name);
            println!("{}: {problem}: {path}", target.name);
            if let Err(error) = std::fs::write(&path, &input) {
                println!("{path}: {error}");
            }
            if findings >= 20 {
                break;
            }
        }
    }
    println!(
        "{}: {:.1} minutes, {rounds} rounds, {accepted} accepted, {findings} findings, slowest {:.0} ms",
        target.name,
        start.elapsed().as_secs_f64() / 60.0,
        slowest.as_secs_f64() * 1e3
    );
    findings
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
