//! `ledger budget`: one cap over many runs.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use shoestring_ledger::{BudgetTerms, By, LevelState, SharedBudget, SystemClock, grouped, look};

use super::failure;
use crate::cli::{BudgetCreateArgs, BudgetSetCapArgs, BudgetShowArgs, Format};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(super) fn create(args: &BudgetCreateArgs, printer: Printer) -> Result<Exit, Failure> {
    if args.file.extension().is_none_or(|ending| ending != "toml") {
        return Err(Failure::usage(format!("{}: a budget file ends in .toml", args.file.display())));
    }
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let terms = BudgetTerms {
        parent: args.parent.clone(),
        warn: args.warn.clone(),
        rates: args.rate.clone(),
        ..BudgetTerms::new(args.name.clone().unwrap_or(stem), args.cap)
    };
    SharedBudget::create(&args.file, &terms, Arc::new(SystemClock::new())).map_err(failure)?;
    tell(&args.file, args.format, printer)?;
    Ok(Exit::Success)
}

pub(super) fn show(args: &BudgetShowArgs, printer: Printer) -> Result<Exit, Failure> {
    let levels = tell(&args.file, args.format, printer)?;
    let crossed =
        args.fail_at.is_some_and(|percent| levels.iter().any(|level| share(level) >= f64::from(percent)));
    Ok(if crossed { Exit::Differs } else { Exit::Success })
}

pub(super) fn set_cap(args: &BudgetSetCapArgs, printer: Printer) -> Result<Exit, Failure> {
    // A cap written into the file by hand is taken in first, and may be refused by itself.
    let (mut budget, told) = SharedBudget::open(&args.file, Arc::new(SystemClock::new())).map_err(failure)?;
    told.iter().for_each(|text| printer.note(text));
    let before = budget.set_cap(args.cap).map_err(failure)?;
    drop(budget);
    printer.note(&format!("the cap was {before} USD"));
    tell(&args.file, args.format, printer)?;
    Ok(Exit::Success)
}

/// Percent of the cap that is spent; everything of a cap of nothing.
fn share(level: &LevelState) -> f64 {
    let cap = level.account.cap().dollars();
    if cap > 0.0 { 100.0 * level.account.spent().dollars() / cap } else { 100.0 }
}

fn tell(file: &Path, format: Format, printer: Printer) -> Result<Vec<LevelState>, Failure> {
    let levels = look(file).map_err(failure)?;
    let rows = shoestring_ledger::read(&BudgetTerms::journal(file)).map_err(failure)?.rows;
    let runs = grouped(rows.iter().filter(|row| row.kind.is_charge()), By::Run);
    match format {
        Format::Json => {
            let runs: Vec<_> = runs
                .iter()
                .map(
                    |one| json!({ "run": one.name, "charged_usd": one.charged, "unknown_rows": one.unknown }),
                )
                .collect();
            printer.json(&json!({
                "schema": "shoestring.budget", "version": 1,
                "levels": levels.iter().map(level_object).collect::<Vec<_>>(), "runs": runs,
            }))?;
        }
        Format::Text => {
            let mut out = String::new();
            let titles = ["budget", "cap", "charged", "reserved", "left", "spent"];
            let [name, cap, charged, reserved, left, spent] = titles;
            let _ = writeln!(out, "{name:<16} {cap:>12} {charged:>12} {reserved:>12} {left:>12} {spent:>8}");
            for level in &levels {
                let account = &level.account;
                let _ = writeln!(
                    out,
                    "{:<16} {:>12} {:>12} {:>12} {:>12} {:>6.1} %",
                    level.terms.name,
                    account.cap(),
                    account.charged(),
                    account.reserved(),
                    account.left(),
                    share(level)
                );
                for seq in account.unknown() {
                    let _ = writeln!(
                        out,
                        "  row {seq}: amount unknown; nothing more is reserved until it is stated"
                    );
                }
                for one in &level.terms.warn {
                    let told = if account.warned().contains(&one.at_percent) { "crossed" } else { "ahead" };
                    let _ = writeln!(out, "  warning at {} %: {told}", one.at_percent);
                }
            }
            if !runs.is_empty() {
                let _ = writeln!(out, "\n{:<16} {:>12}", "run", "charged");
            }
            for one in &runs {
                let _ = writeln!(out, "{:<16} {:>12}", one.name, one.charged);
            }
            printer.data(&out)?;
        }
    }
    Ok(levels)
}

fn level_object(level: &LevelState) -> Value {
    let account = &level.account;
    let warn: Vec<_> = level
        .terms
        .warn
        .iter()
        .map(|one| {
            json!({ "at_percent": one.at_percent, "crossed": account.warned().contains(&one.at_percent) })
        })
        .collect();
    let held: Vec<_> = account
        .held()
        .iter()
        .map(|(quantum, one)| json!({ "quantum": quantum, "holder": one.holder, "reserved_usd": one.amount }))
        .collect();
    json!({
        "name": level.terms.name, "path": level.path, "cap_usd": account.cap(),
        "charged_usd": account.charged(), "settled_usd": account.settled(),
        "imported_usd": account.imported(), "adjusted_usd": account.adjusted(),
        "reserved_usd": account.reserved(), "spent_usd": account.spent(), "left_usd": account.left(),
        "spent_percent": share(level), "unknown_rows": account.unknown(), "warn": warn, "held": held,
    })
}
