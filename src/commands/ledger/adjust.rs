//! `ledger adjust`: a correction with its reason.

use chrono::Utc;
use serde_json::json;
use shoestring_ledger::{Draft, Kind, Purpose};

use super::place::Place;
use crate::cli::{Format, LedgerAdjustArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(super) fn adjust(args: &LedgerAdjustArgs, printer: Printer) -> Result<Exit, Failure> {
    if args.reason.trim().is_empty() {
        return Err(
            Failure::usage("--reason is empty").hint("say why, for whoever reads it later".to_owned())
        );
    }
    let place = Place::of(&args.into);
    let rows = place.read()?.rows;
    let about = match args.row {
        None => None,
        Some(seq) => match usize::try_from(seq).ok().and_then(|seq| rows.get(seq)) {
            Some(row) => Some(row),
            None => {
                let error = anyhow::anyhow!("--row {seq}: the ledger has {} rows, from 0 on", rows.len());
                return Err(Failure::new(Exit::Usage, error));
            }
        },
    };
    let draft = Draft {
        run: about.or(rows.first()).map(|row| row.run.clone()).unwrap_or_default(),
        stage: about.map(|row| row.stage.clone()).unwrap_or_default(),
        purpose: about.map_or(Purpose::Other, |row| row.purpose),
        amount: Some(args.amount),
        seconds: None,
        price_source: "stated".to_owned(),
        note: args.reason.clone(),
        of: args.row,
        ..Draft::new(Kind::Adjust, Utc::now())
    };
    place.add(vec![draft], printer)?;
    let account = place.read()?.account;
    match args.format {
        Format::Text => printer.data(&format!(
            "adjusted by {} USD ({}); {} of {} USD spent",
            args.amount,
            args.reason,
            account.spent(),
            account.cap()
        ))?,
        Format::Json => printer.json(&json!({
            "schema": "shoestring.ledger-adjust", "version": 1, "adjusted_usd": args.amount,
            "row": args.row, "reason": args.reason, "spent_usd": account.spent(), "cap_usd": account.cap(),
        }))?,
    }
    Ok(Exit::Success)
}
