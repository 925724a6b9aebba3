//! How fast the search looks at candidates: `cargo run --release -p shoestring-planner --example search_rate`.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use chrono::NaiveDate;
use shoestring_planner::offer::{self, Offer};
use shoestring_planner::search::{self, Request};
use shoestring_planner::units::Usd;

/// The catalogue `times` over, each copy a little dearer with a little more CPUs, so that none beats another.
fn catalogue(times: u32) -> Vec<Offer> {
    (0..times)
        .flat_map(|copy| {
            offer::built_in().iter().map(move |offer| {
                let mut offer = offer.clone();
                let dearer = |usd: Usd| Usd::from_dollars(usd.dollars() * (1.0 + 1e-4 * f64::from(copy)));
                offer.on_demand_usd_per_hour = offer.on_demand_usd_per_hour.map(dearer);
                offer.vcpus = Some(offer.vcpus.unwrap_or(10_000) + copy);
                offer
            })
        })
        .collect()
}

/// The most memory that this process has held, MB, where the system says so.
fn peak_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kilobytes| kilobytes / 1024.0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let today = NaiveDate::from_ymd_opt(2026, 11, 24).ok_or("no such day")?;
    println!("offers  candidates  first look       again    candidates/s    whole plan   peak memory");
    let mut first: Option<(u64, f64, f64)> = None;
    for times in [1, 10] {
        let mut request = Request::new(Usd::from_dollars(10_000.0), today);
        request.hardware.prices = Some(catalogue(times));
        let looks = search::time_rough_look(&request, &mut || {
            static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
            START.elapsed().as_secs_f64()
        })?;
        let start = Instant::now();
        let plan = search::plan(&request)?;
        let whole = start.elapsed().as_secs_f64();
        println!(
            "{:6}  {:10}  {:7.1} ms  {:7.1} ms  {:12.0}  {:9.1} ms  {:8.1} MB   {}",
            request.hardware.prices.as_ref().map_or(0, Vec::len),
            looks.candidates,
            1e3 * looks.first_seconds,
            1e3 * looks.again_seconds,
            looks.candidates as f64 / looks.again_seconds,
            1e3 * whole,
            peak_megabytes().unwrap_or(f64::NAN),
            plan.chosen.label()
        );
        match first {
            None => first = Some((looks.candidates, looks.again_seconds, whole)),
            Some((candidates, seconds, plan)) => println!(
                "{:.1} times the candidates take {:.1} times as long, the whole plan {:.1} times",
                looks.candidates as f64 / candidates as f64,
                looks.again_seconds / seconds,
                whole / plan
            ),
        }
    }
    Ok(())
}
