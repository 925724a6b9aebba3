//! `ledger`: what happened to the money of a run.

use std::fmt::Write;
use std::io::ErrorKind;

use serde_json::json;
use shoestring_ledger::{Contents, Kind, LedgerError, Row};

use crate::cli::{Format, LedgerArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(crate) fn show(args: &LedgerArgs, printer: Printer) -> Result<Exit, Failure> {
    let contents = shoestring_ledger::read(&args.dir.join("ledger.jsonl")).map_err(failure)?;
    match args.format {
        Format::Text => printer.data(&text(&contents, args.rows))?,
        Format::Json => printer.json(&object(&contents, args.rows)?)?,
    }
    if contents.torn_bytes > 0 {
        printer.note(&format!(
            "note: the last row was cut off ({} bytes) and never counted; the next run drops it",
            contents.torn_bytes
        ));
    }
    Ok(Exit::Success)
}

pub(crate) fn verify(args: &LedgerArgs, printer: Printer) -> Result<Exit, Failure> {
    let contents = shoestring_ledger::verify(&args.dir.join("ledger.jsonl")).map_err(failure)?;
    let rows = contents.rows.len();
    match args.format {
        Format::Text => printer.data(&format!(
            "{rows} rows, every hash and sum right: {} of {} USD spent",
            contents.account.spent(),
            contents.account.cap()
        ))?,
        Format::Json => printer.json(&json!({
            "schema": "shoestring.ledger-verify", "version": 1, "rows": rows, "sound": true,
        }))?,
    }
    Ok(Exit::Success)
}

fn failure(error: LedgerError) -> Failure {
    let missing = matches!(&error, LedgerError::Io { source, .. } if source.kind() == ErrorKind::NotFound);
    let hint = if missing {
        Some("name a run directory: one that `shoestring run` made, with a ledger.jsonl in it".to_owned())
    } else {
        error.hint()
    };
    Failure::new(Exit::Failure, error).hint(hint)
}

fn text(contents: &Contents, with_rows: bool) -> String {
    let account = &contents.account;
    let mut out = String::new();
    let run = contents.rows.first().map_or("", |row| row.run.as_str());
    let price = contents
        .rows
        .first()
        .map(|row| format!("{} USD/h, {}", row.usd_per_hour.unwrap_or_default(), row.price_source));
    let _ = writeln!(out, "Ledger of {run} ({}; {} rows)\n", price.unwrap_or_default(), contents.rows.len());
    let _ = writeln!(out, "{:<16} {:<12} {:>12} {:>12}", "stage", "purpose", "time", "USD");
    for one in account.spending() {
        let hours = shoestring_planner::units::Hours::from_seconds(one.seconds);
        let stage = if one.stage.is_empty() { "-" } else { &one.stage };
        let _ = writeln!(out, "{stage:<16} {:<12} {hours:>12} {:>12}", one.purpose.name(), one.settled);
    }
    let _ = writeln!(out, "{:<16} {:<12} {:>12} {:>12}", "settled", "", "", account.settled());
    if account.reserved() != shoestring_planner::units::Usd::ZERO {
        let _ = writeln!(out, "{:<16} {:<12} {:>12} {:>12}", "reserved", "", "", account.reserved());
    }
    let _ = writeln!(out, "{:<16} {:<12} {:>12} {:>12}", "left of cap", "", "", account.left());
    let _ = writeln!(out, "{:<16} {:<12} {:>12} {:>12}", "cap", "", "", account.cap());
    if with_rows {
        let _ =
            writeln!(out, "\n{:>5}  {:<24} {:<8} {:>6} {:>10}  stage", "seq", "time", "kind", "step", "USD");
        for row in &contents.rows {
            let _ = writeln!(out, "{}", line(row).trim_end());
        }
    } else {
        for row in contents.rows.iter().filter(|row| !row.note.is_empty()) {
            let _ = writeln!(out, "{} step {}: {}", row.time.format("%Y-%m-%d %H:%M:%S"), row.step, row.note);
        }
    }
    out
}

fn line(row: &Row) -> String {
    let kind = row.kind.name();
    let amount = match row.kind {
        Kind::Note | Kind::End | Kind::Release | Kind::Warn | Kind::PriceChange => String::new(),
        _ => row.amount.map_or("unknown".to_owned(), |amount| amount.to_string()),
    };
    let (time, stage, purpose) = (row.time.format("%Y-%m-%dT%H:%M:%S%.3fZ"), &row.stage, row.purpose.name());
    format!(
        "{:>5}  {time:<24} {kind:<8} {:>6} {amount:>10}  {stage} {purpose} {}",
        row.seq, row.step, row.note
    )
}

fn object(contents: &Contents, with_rows: bool) -> Result<serde_json::Value, Failure> {
    let account = &contents.account;
    let spending: Vec<_> = account
        .spending()
        .iter()
        .map(|one| {
            json!({
                "stage": one.stage, "purpose": one.purpose.name(), "seconds": one.seconds,
                "settled_usd": one.settled,
            })
        })
        .collect();
    let mut object = json!({
        "schema": "shoestring.ledger", "version": 1,
        "run": contents.rows.first().map(|row| &row.run),
        "cap_usd": account.cap(), "settled_usd": account.settled(), "reserved_usd": account.reserved(),
        "spent_usd": account.spent(), "left_usd": account.left(), "spending": spending,
        "torn_bytes": contents.torn_bytes,
    });
    if with_rows {
        object["rows"] = serde_json::to_value(&contents.rows)?;
    }
    Ok(object)
}
