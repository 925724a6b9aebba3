//! `guard`: the cap around any other command.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use shoestring_experiments::guard::{self, GuardEnd, GuardSummary, Guarded};
use shoestring_experiments::lease::{KernelLease, Lease, process_age_seconds};
use shoestring_experiments::signals;
use shoestring_ledger::{Clock, SystemClock};
use shoestring_planner::offer::{Offer, find};
use shoestring_planner::recipe::Billing;
use shoestring_planner::units::{Hours, Usd};

use super::run::{failure, lapsed};
use crate::cli::{Bill, Format, GuardArgs, KeeperArgs};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, complain, write_file};

pub(crate) fn guard(args: &GuardArgs, printer: Printer) -> Result<Exit, Failure> {
    // First of all, so that the money is counted from the start of the process.
    let age = std::time::Duration::from_secs_f64(process_age_seconds());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::running_for(age));
    let lease: Arc<dyn Lease> = Arc::new(KernelLease::new(lapsed)?);
    let order = order(args)?;
    let mut say = |text: &str| printer.note(&format!("guard: {text}"));
    let summary = guard::guard(&order, &clock, &lease, &mut say).map_err(failure)?;
    let told = match args.format {
        Format::Text => text(&order, &summary),
        Format::Json => format!("{:#}", object(&order, &summary)),
    };
    match &args.summary {
        Some(path) => write_file(path, format!("{}\n", told.trim_end()).as_bytes())?,
        None if args.format == Format::Json => complain(&told),
        None => printer.note(told.trim_end()),
    }
    Ok(match (summary.ended, summary.exit_code) {
        (GuardEnd::CapReached, _) | (_, None) => Exit::CapReached,
        // What a process exits with is one byte.
        (_, Some(code)) => Exit::Passed(code as u8),
    })
}

pub(crate) fn keeper(args: &KeeperArgs) -> Result<Exit, Failure> {
    guard::keep(args.orders, args.news, &args.command)?;
    Ok(Exit::Success)
}

fn order(args: &GuardArgs) -> Result<Guarded, Failure> {
    let offer = args.offer.as_deref().map(offer).transpose()?;
    let (usd_per_hour, price_source) = match (args.price, &offer) {
        (Some(price), _) => {
            (Usd::from_micros(price.micros().saturating_mul(args.devices.into())), "stated".to_owned())
        }
        (None, Some(offer)) => {
            let price = offer.price(false).ok_or_else(|| {
                Failure::usage(format!("{}: its price is not known", offer.name()))
                    .hint("state it with --price".to_owned())
            })?;
            (price, offer.price_source().to_string())
        }
        (None, None) => return Err(Failure::usage("no price is stated")),
    };
    let mut billing = match args.bill {
        None => offer.as_ref().map_or(Billing::EXACT, |offer| Billing::usual(&offer.name())),
        Some(bill) => Billing { increment_seconds: seconds(bill), minimum_seconds: 0.0 },
    };
    if let Some(minimum) = args.bill_minimum {
        billing.minimum_seconds = minimum.as_secs_f64();
    }
    let warning = signals::number(&args.signal).ok_or_else(|| {
        Failure::usage(format!("--signal {}: there is no such signal", args.signal))
            .hint("TERM, INT, HUP, QUIT, USR1 or USR2".to_owned())
    })?;
    let name = args.command.first().map(PathBuf::from).unwrap_or_default();
    let directory =
        args.dir.clone().unwrap_or_else(|| Path::new("runs").join(name.file_name().unwrap_or_default()));
    let order = Guarded {
        command: args.command.clone(),
        cap: args.cap,
        usd_per_hour,
        price_source,
        price_as_of: offer
            .map(|offer| offer.as_of.clone())
            .filter(|day| args.price.is_none() && !day.is_empty()),
        budget: args.budget.clone(),
        billing,
        grace_seconds: args.grace.as_secs_f64(),
        warning,
        directory,
        keeper: vec![std::env::current_exe()?.into(), "keeper".into()],
    };
    let price = usd_per_hour.dollars();
    let paid_seconds = if price > 0.0 { args.cap.dollars() / price * 3600.0 } else { f64::INFINITY };
    if paid_seconds < order.grace_seconds + 5.0 {
        return Err(Failure::usage(format!(
            "the cap of {} USD pays for {paid_seconds:.0} s at {usd_per_hour} USD per hour, which is no more \
             than the grace of {:.0} s and stopping",
            args.cap, order.grace_seconds
        ))
        .hint("raise --cap or shorten --grace".to_owned()));
    }
    Ok(order)
}

/// The one offer that a name means.
fn offer(name: &str) -> Result<&'static Offer, Failure> {
    let hint = || "`shoestring prices list` names the offers".to_owned();
    let found = find(name).map_err(|error| Failure::new(Exit::Usage, error).hint(hint()))?;
    match found.as_slice() {
        [one] => Ok(one),
        several => {
            let names: Vec<String> = several.iter().take(4).map(|offer| offer.name()).collect();
            let count = several.len();
            Err(Failure::usage(format!("--offer {name}: names {count} offers: {}, ...", names.join(", ")))
                .hint(hint()))
        }
    }
}

fn seconds(bill: Bill) -> f64 {
    match bill {
        Bill::Exact => 0.0,
        Bill::Second => 1.0,
        Bill::Minute => 60.0,
        Bill::Hour => 3600.0,
    }
}

fn text(order: &Guarded, summary: &GuardSummary) -> String {
    let mut out = String::new();
    let headline = match summary.ended {
        GuardEnd::Finished => "the command has ended",
        GuardEnd::CapReached if summary.exit_code.is_none() => "the cap is reached; nothing was started",
        GuardEnd::CapReached => "stopped at its cap",
        GuardEnd::Interrupted => "interrupted",
    };
    let code = summary.exit_code.map_or(String::new(), |code| format!(", exit code {code}"));
    let how = if summary.killed { ", killed" } else { "" };
    let _ = writeln!(out, "guard: {headline}{code}{how}");
    let _ = writeln!(
        out,
        "  spent       {} of {} USD (now {} at {} USD/h)",
        summary.spent,
        summary.cap,
        Hours::from_seconds(summary.seconds),
        order.usd_per_hour
    );
    let _ = writeln!(out, "  ledger      {}", summary.directory.join("ledger.jsonl").display());
    out
}

fn object(order: &Guarded, summary: &GuardSummary) -> serde_json::Value {
    let words: Vec<_> = order.command.iter().map(|word| word.to_string_lossy()).collect();
    json!({
        "schema": "shoestring.guard", "version": 1, "command": words, "outcome": summary.ended.name(),
        "exit_code": summary.exit_code, "warned": summary.warned, "killed": summary.killed,
        "spent_usd": summary.spent, "cap_usd": summary.cap, "seconds": summary.seconds,
        "usd_per_hour": order.usd_per_hour, "price_source": order.price_source,
        "directory": summary.directory,
    })
}
