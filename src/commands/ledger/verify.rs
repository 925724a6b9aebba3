//! `ledger verify`: is every row as it was written, and does every sum hold?

use serde_json::json;

use super::failure;
use super::place::Place;
use crate::cli::{Format, LedgerVerifyArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(super) fn verify(args: &LedgerVerifyArgs, printer: Printer) -> Result<Exit, Failure> {
    let mut lines = Vec::new();
    let mut ledgers = Vec::new();
    for path in &args.places {
        let ledger = Place::of(path).ledger();
        let contents = shoestring_ledger::verify(&ledger).map_err(failure)?;
        let (rows, account) = (contents.rows.len(), &contents.account);
        let unknown = match account.unknown().len() {
            0 => String::new(),
            count => format!(", {count} of unknown amount"),
        };
        let name = if args.places.len() > 1 { format!("{}: ", path.display()) } else { String::new() };
        lines.push(format!(
            "{name}{rows} rows, every hash and sum right: {} of {} USD spent{unknown}",
            account.spent(),
            account.cap()
        ));
        for (seq, seconds) in shoestring_ledger::clock_set_back(&contents.rows) {
            printer.note(&format!(
                "note: {}: the time of day was set back by {seconds} s before row {seq}; money is counted by \
                 another clock",
                ledger.display()
            ));
        }
        ledgers.push(json!({
            "path": path, "rows": rows, "spent_usd": account.spent(), "cap_usd": account.cap(),
            "unknown_rows": account.unknown(),
        }));
    }
    match args.format {
        Format::Text => printer.data(&lines.join("\n"))?,
        Format::Json => {
            let rows: u64 = ledgers.iter().filter_map(|one| one["rows"].as_u64()).sum();
            printer.json(&json!({
                "schema": "shoestring.ledger-verify", "version": 1, "rows": rows, "sound": true,
                "ledgers": ledgers,
            }))?;
        }
    }
    Ok(Exit::Success)
}
