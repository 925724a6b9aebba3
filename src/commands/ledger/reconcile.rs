//! `ledger reconcile`: an invoice against what was planned and recorded.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;
use shoestring_ledger::{BudgetTerms, Reconciliation, Recorded, Row, read_invoice};
use shoestring_planner::units::Usd;

use super::failure;
use super::place::{self, Place};
use crate::cli::{Format, LedgerReconcileArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(super) fn reconcile(args: &LedgerReconcileArgs, printer: Printer) -> Result<Exit, Failure> {
    let lines = read_invoice(&args.invoice).map_err(failure)?;
    let mut rates = BudgetTerms::new("", Usd::ZERO);
    rates.rates.clone_from(&args.rate);
    let records = records(args, &mut rates)?;
    let result = shoestring_ledger::reconcile(&args.invoice, &lines, &records, &rates).map_err(failure)?;
    match args.format {
        Format::Text => printer.data(&text(&result))?,
        Format::Json => printer.json(&object(&result))?,
    }
    Ok(if result.findings.is_empty() { Exit::Success } else { Exit::Differs })
}

/// One record a run: a budget has rows of many.
fn records(args: &LedgerReconcileArgs, rates: &mut BudgetTerms) -> Result<Vec<Recorded>, Failure> {
    let mut records = Vec::new();
    for (path, ledger) in args.places.iter().zip(place::ledgers(&args.places)?) {
        let place = Place::of(path);
        if let Place::Budget(path) = &place {
            rates.rates.extend(BudgetTerms::read(path).map_err(failure)?.rates);
        }
        let planned = place.recipe()?.and_then(|recipe| recipe.planned).map(|planned| planned.cost_usd);
        let mut runs: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in ledger.rows.into_iter().filter(|row| row.kind.is_charge()) {
            runs.entry(row.run.clone()).or_default().push(row);
        }
        for (run, rows) in runs {
            records.push(Recorded { run, provider: ledger.provider.clone(), planned, rows });
        }
    }
    Ok(records)
}

fn text(result: &Reconciliation) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<16} {:>12} {:>12} {:>12} {:>9}",
        "provider", "planned", "recorded", "billed", "error"
    );
    for sums in &result.providers {
        let name = if sums.provider.is_empty() { "unknown" } else { &sums.provider };
        let planned = sums.planned.map_or("unknown".to_owned(), |planned| planned.to_string());
        let error = sums.error_percent().map_or("-".to_owned(), |percent| format!("{percent:+.1} %"));
        let _ =
            writeln!(out, "{name:<16} {planned:>12} {:>12} {:>12} {error:>9}", sums.recorded, sums.billed);
    }
    if result.findings.is_empty() {
        let _ = writeln!(out, "\nno difference above rounding");
        return out;
    }
    let _ = writeln!(out, "\n{:>5}  {:<16} {:<13} {:>12}  why", "line", "run", "kind", "difference");
    for one in &result.findings {
        let line = one.line.map_or("-".to_owned(), |line| line.to_string());
        let difference = one.difference.map_or("unknown".to_owned(), |difference| difference.to_string());
        let _ = writeln!(
            out,
            "{line:>5}  {:<16} {:<13} {difference:>12}  {}",
            one.run,
            one.cause.name(),
            one.text
        );
    }
    out
}

fn object(result: &Reconciliation) -> serde_json::Value {
    let providers: Vec<_> = result
        .providers
        .iter()
        .map(|sums| {
            json!({
                "provider": sums.provider, "planned_usd": sums.planned, "recorded_usd": sums.recorded,
                "billed_usd": sums.billed, "error_percent": sums.error_percent(),
            })
        })
        .collect();
    let findings: Vec<_> = result
        .findings
        .iter()
        .map(|one| {
            json!({
                "line": one.line, "provider": one.provider, "run": one.run, "kind": one.cause.name(),
                "difference_usd": one.difference, "text": one.text,
            })
        })
        .collect();
    json!({
        "schema": "shoestring.ledger-reconcile", "version": 1, "providers": providers, "findings": findings,
    })
}
