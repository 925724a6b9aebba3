//! `ledger export`: rows and charges to take elsewhere.

use serde_json::json;
use shoestring_reports::{LedgerColumns, ledger_csv, ledger_parquet};

use super::place;
use crate::cli::{Format, LedgerExportArgs};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, write_file};

pub(super) fn export(args: &LedgerExportArgs, printer: Printer) -> Result<Exit, Failure> {
    let ledgers = place::ledgers(&args.places)?;
    let columns =
        if args.focus { LedgerColumns::Focus { account: args.account.clone() } } else { LedgerColumns::Own };
    // A charge of unknown amount has no place among costs, where an empty cost would read as none.
    let unknown = ledgers.iter().flat_map(|one| &one.rows).filter(|row| row.amount.is_none()).count();
    if args.focus && unknown > 0 {
        printer.note(&format!("note: {unknown} rows of unknown amount are left out"));
    }
    let Some(out) = &args.out else {
        let bytes = ledger_csv(&ledgers, &columns)?;
        printer.data(&String::from_utf8_lossy(&bytes))?;
        return Ok(Exit::Success);
    };
    let parquet = out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"));
    let bytes = if parquet { ledger_parquet(&ledgers, &columns)? } else { ledger_csv(&ledgers, &columns)? };
    write_file(out, &bytes)?;
    match args.format {
        Format::Text => printer.data(&format!("{}: {} bytes", out.display(), bytes.len()))?,
        Format::Json => printer.json(&json!({
            "schema": "shoestring.ledger-export", "version": 1, "path": out, "bytes": bytes.len(),
            "columns": if args.focus { "focus-1.0" } else { "own" },
            "encoding": if parquet { "parquet" } else { "csv" }, "unknown_rows": unknown,
        }))?,
    }
    Ok(Exit::Success)
}
