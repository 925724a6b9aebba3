//! `ledger show`: what happened to money.

use std::fmt::Write;

use serde_json::{Value, json};
use shoestring_ledger::{By, Contents, Group, Kind, Row, grouped};
use shoestring_planner::units::{Hours, Usd};

use super::place::Place;
use crate::cli::{Format, LedgerBy, LedgerShowArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(super) fn show(args: &LedgerShowArgs, printer: Printer) -> Result<Exit, Failure> {
    let ledgers =
        args.places.iter().map(|path| Place::of(path).read()).collect::<Result<Vec<Contents>, Failure>>()?;
    for contents in ledgers.iter().filter(|contents| contents.torn_bytes > 0) {
        printer.note(&format!(
            "note: the last row was cut off ({} bytes) and never counted; the next run drops it",
            contents.torn_bytes
        ));
    }
    let rows = || ledgers.iter().flat_map(|contents| &contents.rows);
    match (args.by, args.format) {
        (Some(by), format) => {
            let groups = grouped(rows(), by_of(by, args));
            match format {
                Format::Text => printer.data(&groups_text(by, &groups))?,
                Format::Json => printer.json(&groups_object(by, &groups))?,
            }
        }
        (None, Format::Text) => {
            let texts: Vec<String> = ledgers.iter().map(|contents| text(contents, args.rows)).collect();
            printer.data(&texts.join("\n"))?;
        }
        (None, Format::Json) => {
            let objects = ledgers
                .iter()
                .map(|contents| object(contents, args.rows))
                .collect::<Result<Vec<Value>, Failure>>()?;
            match objects.as_slice() {
                [one] => printer.json(one)?,
                several => printer.json(&json!({
                    "schema": "shoestring.ledgers", "version": 1, "ledgers": several,
                }))?,
            }
        }
    }
    Ok(Exit::Success)
}

fn by_of(by: LedgerBy, args: &LedgerShowArgs) -> By {
    match by {
        LedgerBy::Run => By::Run,
        LedgerBy::Stage => By::Stage,
        LedgerBy::Day => By::Day(args.utc_offset),
        LedgerBy::Kind => By::Kind,
        LedgerBy::Purpose => By::Purpose,
    }
}

fn name_of(by: LedgerBy) -> &'static str {
    match by {
        LedgerBy::Run => "run",
        LedgerBy::Stage => "stage",
        LedgerBy::Day => "day",
        LedgerBy::Kind => "kind",
        LedgerBy::Purpose => "purpose",
    }
}

fn groups_text(by: LedgerBy, groups: &[Group]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<20} {:>6} {:>12} {:>12} {:>12} {:>8}",
        name_of(by),
        "rows",
        "time",
        "reserved",
        "charged",
        "unknown"
    );
    for one in groups {
        let hours = Hours::from_seconds(one.seconds);
        let _ = writeln!(
            out,
            "{:<20} {:>6} {hours:>12} {:>12} {:>12} {:>8}",
            one.name, one.rows, one.reserved, one.charged, one.unknown
        );
    }
    let charged: Usd = groups.iter().map(|one| one.charged).sum();
    let _ = writeln!(out, "{:<20} {:>6} {:>12} {:>12} {charged:>12}", "all", "", "", "");
    out
}

fn groups_object(by: LedgerBy, groups: &[Group]) -> Value {
    let name = name_of(by);
    let groups: Vec<Value> = groups
        .iter()
        .map(|one| {
            json!({
                name: one.name, "rows": one.rows, "seconds": one.seconds, "reserved_usd": one.reserved,
                "charged_usd": one.charged, "unknown_rows": one.unknown,
            })
        })
        .collect();
    json!({ "schema": "shoestring.ledger-groups", "version": 1, "by": name, "groups": groups })
}

fn text(contents: &Contents, with_rows: bool) -> String {
    let account = &contents.account;
    let mut out = String::new();
    let run = contents.rows.first().map_or("", |row| row.run.as_str());
    let price = contents.rows.first().map_or_else(String::new, price);
    let rows = contents.rows.len();
    let _ = writeln!(out, "Ledger of {run} ({price}{rows} {})\n", if rows == 1 { "row" } else { "rows" });
    let _ = writeln!(out, "{:<16} {:<12} {:>12} {:>12}", "stage", "purpose", "time", "USD");
    for one in account.spending() {
        let hours = Hours::from_seconds(one.seconds);
        let stage = if one.stage.is_empty() { "-" } else { &one.stage };
        let _ = writeln!(out, "{stage:<16} {:<12} {hours:>12} {:>12}", one.purpose.name(), one.settled);
    }
    let _ = writeln!(out, "{:<16} {:<12} {:>12} {:>12}", "settled", "", "", account.settled());
    let elsewhere = [("imported", account.imported()), ("adjusted", account.adjusted())];
    for (name, amount) in elsewhere.into_iter().filter(|(_, amount)| *amount != Usd::ZERO) {
        let _ = writeln!(out, "{name:<16} {:<12} {:>12} {amount:>12}", "", "");
    }
    for seq in account.unknown() {
        let _ = writeln!(out, "{:<16} {:<12} {:>12} {:>12}", format!("row {seq}"), "", "", "unknown");
    }
    if account.reserved() != Usd::ZERO {
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

/// The price of a row and where it is from, for a heading; a budget has none of its own.
fn price(row: &Row) -> String {
    match (row.usd_per_hour, row.price_source.as_str()) {
        (Some(price), source) => format!("{price} USD/h, {source}; "),
        (None, "") => String::new(),
        (None, source) => format!("price unknown, {source}; "),
    }
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
        "imported_usd": account.imported(), "adjusted_usd": account.adjusted(),
        "unknown_rows": account.unknown(), "torn_bytes": contents.torn_bytes,
    });
    if with_rows {
        object["rows"] = serde_json::to_value(&contents.rows)?;
    }
    Ok(object)
}
