//! `prices import`: prices of one's own contract into a price table.

use std::fmt::Write;

use serde_json::json;
use shoestring_planner::prices::{self, ImportForm};

use super::table_of;
use crate::cli::{Format, PricesImportArgs};
use crate::commands::read_text;
use crate::commands::today;
use crate::failure::{Exit, Failure};
use crate::output::{Printer, complain, write_file};

/// More problems of one file are counted, not listed.
const MOST_LISTED: usize = 20;

pub(crate) fn import(args: &PricesImportArgs, printer: Printer) -> Result<Exit, Failure> {
    let path = args.file.display();
    let extension = args.file.extension().unwrap_or_default().to_string_lossy();
    let form = ImportForm::of(&extension).ok_or_else(|| {
        Failure::usage(format!("{path}: the ending `{extension}` names no form that is understood"))
            .hint("name the file .csv, .json or .toml".to_owned())
    })?;
    let text = read_text(&args.file)?;
    let rows = prices::import(&text, form, &today().to_string(), args.any_price).map_err(|errors| {
        let mut errors = errors.into_iter();
        // There is at least one.
        let Some(first) = errors.next() else { return Failure::usage(format!("{path}: cannot be imported")) };
        let others: Vec<_> = errors.collect();
        for error in others.iter().take(MOST_LISTED) {
            complain(&format!("{path}: {error}\n  hint: {}", error.hint));
        }
        if others.len() > MOST_LISTED {
            complain(&format!("{path}: and {} more", others.len() - MOST_LISTED));
        }
        let hint = first.hint.clone();
        Failure::usage(format!("{path}: {first}")).hint(hint)
    })?;
    let mut table = table_of(&args.out)?;
    let (read, replaced) = (rows.len(), table.merge(rows));
    write_file(&args.out, table.csv().as_bytes())?;
    match args.format {
        Format::Text => {
            let mut out = String::new();
            let _ = write!(
                out,
                "{}: {} offers imported ({} new, {replaced} replaced), {} rows in all; \
                 plan with them by `--prices {}`",
                args.out.display(),
                read,
                read - replaced,
                table.rows.len(),
                args.out.display()
            );
            printer.data(&out)?;
        }
        Format::Json => printer.json(&json!({
            "schema": "shoestring.prices_import", "version": 1, "file": args.out.to_string_lossy(),
            "imported": read, "replaced": replaced, "rows": table.rows.len(),
        }))?,
    }
    Ok(Exit::Success)
}
