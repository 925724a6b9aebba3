//! `ledger import`: money that was spent elsewhere.

use std::path::Path;

use chrono::Utc;
use serde_json::json;
use shoestring_ledger::{Bought, BudgetTerms, Draft, InvoiceLine, Kind, Purpose, read_invoice};
use shoestring_planner::units::Usd;

use super::failure;
use super::place::Place;
use crate::cli::{Format, LedgerImportArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(super) fn import(args: &LedgerImportArgs, printer: Printer) -> Result<Exit, Failure> {
    let place = Place::of(&args.into);
    let mut rates = match &place {
        Place::Budget(path) => BudgetTerms::read(path).map_err(failure)?,
        Place::Run(_) | Place::Ledger(_) => BudgetTerms::new("", Usd::ZERO),
    };
    // What is stated now goes before what the budget states.
    rates.rates.splice(0..0, args.rate.iter().cloned());
    let drafts = match &args.csv {
        Some(path) => read_invoice(path)
            .map_err(failure)?
            .iter()
            .map(|line| from_bill(args, path, line, &rates))
            .collect::<Result<Vec<_>, _>>()?,
        None => vec![stated(args, &rates)?],
    };
    let known: Usd = drafts.iter().filter_map(|draft| draft.amount).sum();
    let unknown = drafts.iter().filter(|draft| draft.amount.is_none()).count();
    let rows = drafts.len();
    place.add(drafts, printer)?;
    let account = place.read()?.account;
    match args.format {
        Format::Text => {
            let more = if unknown > 0 { format!(", {unknown} of unknown amount") } else { String::new() };
            printer.data(&format!(
                "{rows} {} taken in, {known} USD{more}; {} of {} USD spent",
                if rows == 1 { "row" } else { "rows" },
                account.spent(),
                account.cap()
            ))?;
        }
        Format::Json => printer.json(&json!({
            "schema": "shoestring.ledger-import", "version": 1, "rows": rows, "imported_usd": known,
            "unknown_rows": unknown, "spent_usd": account.spent(), "cap_usd": account.cap(),
        }))?,
    }
    if account.spent() > account.cap() {
        let over = account.spent() - account.cap();
        printer.note(&format!("note: that is {over} USD above the cap; nothing more starts under it"));
    }
    Ok(Exit::Success)
}

fn stated(args: &LedgerImportArgs, rates: &BudgetTerms) -> Result<Draft, Failure> {
    let amount = args.amount.and_then(|amount| amount.0);
    let currency = args.currency.to_uppercase();
    let rate = rates.usd_per_unit(&currency).ok_or_else(|| {
        Failure::usage(format!("no rate is stated for {currency}"))
            .hint(format!("state it: --rate {currency}=1.08@2026-11=contract"))
    })?;
    let bought = Bought {
        provider: args.provider.clone(),
        quantity: args.quantity,
        unit: args.unit.clone(),
        unit_price: args.unit_price,
        currency,
        amount,
        usd_per_unit: Some(rate),
    };
    Ok(Draft {
        run: args.run.clone(),
        purpose: args.purpose,
        amount: amount.map(|amount| Usd::from_dollars(amount * rate)),
        seconds: None,
        price_source: args.source.clone(),
        price_as_of: args.as_of.clone(),
        note: args.note.clone(),
        bought: Some(bought),
        ..Draft::new(Kind::Import, args.at.unwrap_or_else(Utc::now))
    })
}

fn from_bill(
    args: &LedgerImportArgs,
    path: &Path,
    line: &InvoiceLine,
    rates: &BudgetTerms,
) -> Result<Draft, Failure> {
    let rate = line.usd_per_unit(path, rates).map_err(failure)?;
    if line.amount.is_some_and(|amount| amount < 0.0) {
        let error =
            anyhow::anyhow!("{}:{}: amount = {:?} is negative", path.display(), line.line, line.amount);
        return Err(Failure::new(Exit::Usage, error).hint("credits go in by `ledger adjust`".to_owned()));
    }
    let bought = Bought {
        provider: line.provider.clone(),
        quantity: line.quantity,
        unit: line.unit.clone(),
        unit_price: line.unit_price,
        currency: line.currency.clone(),
        amount: line.amount,
        usd_per_unit: Some(rate),
    };
    Ok(Draft {
        run: line.run.clone(),
        purpose: Purpose::named(&line.purpose).unwrap_or(args.purpose),
        amount: line.amount.map(|amount| Usd::from_dollars(amount * rate)),
        seconds: line.hours().map(|hours| 3600.0 * hours),
        price_source: args.source.clone(),
        price_as_of: args.as_of.clone(),
        note: line.description.clone(),
        bought: Some(bought),
        ..Draft::new(Kind::Import, line.end.or(line.start).or(args.at).unwrap_or_else(Utc::now))
    })
}
