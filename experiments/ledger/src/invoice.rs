//! A provider's bill as a table, one charge a line.

use std::path::Path;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use crate::budget::BudgetTerms;
use crate::error::LedgerError;

/// One charge of a bill. `None` is unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct InvoiceLine {
    /// Line of the file, counted from 1.
    pub line: usize,
    /// Who bills.
    pub provider: String,
    /// For which run.
    pub run: String,
    /// What for, as the ledger names purposes; empty where not stated.
    pub purpose: String,
    /// From.
    pub start: Option<DateTime<Utc>>,
    /// Until.
    pub end: Option<DateTime<Utc>>,
    /// How much was billed.
    pub quantity: Option<f64>,
    /// In which unit.
    pub unit: String,
    /// Price of one unit, in `currency`.
    pub unit_price: Option<f64>,
    /// The charge, in `currency`.
    pub amount: Option<f64>,
    /// Three letters.
    pub currency: String,
    /// What the bill says it is.
    pub description: String,
}

/// The columns by their own names, and by those of FOCUS.
const COLUMNS: [(&str, &[&str]); 11] = [
    ("provider", &["ProviderName", "ServiceProviderName", "Provider"]),
    ("run", &["x_Run", "ResourceName", "ResourceId"]),
    ("purpose", &["x_Purpose"]),
    ("start", &["ChargePeriodStart"]),
    ("end", &["ChargePeriodEnd"]),
    ("quantity", &["PricingQuantity", "ConsumedQuantity"]),
    ("unit", &["PricingUnit", "ConsumedUnit"]),
    ("unit_price", &["ContractedUnitPrice", "ListUnitPrice"]),
    ("amount", &["BilledCost"]),
    ("currency", &["BillingCurrency"]),
    ("description", &["ChargeDescription"]),
];

/// Reads a bill: CSV with a header, columns in any order, by the names `provider, run, purpose, start, end,
/// quantity, unit, unit_price, amount, currency, description` or those of FOCUS; unknown ones are passed over.
/// `run` and `amount` must be there; an empty field is unknown; a missing currency is USD.
pub fn read_invoice(path: &Path) -> Result<Vec<InvoiceLine>, LedgerError> {
    let text = std::fs::read_to_string(path).map_err(|source| LedgerError::io(path, source))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<InvoiceLine>, LedgerError> {
    let wrong = |line: usize, problem: String| LedgerError::row(path, line, problem);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|error| wrong(1, error.to_string()))?.clone();
    let place = |name: &str| {
        let (_, others) = COLUMNS.iter().find(|(own, _)| *own == name)?;
        std::iter::once(&name)
            .chain(others.iter())
            .find_map(|name| headers.iter().position(|one| one == *name))
    };
    for needed in ["run", "amount"] {
        if place(needed).is_none() {
            return Err(wrong(1, format!("expected a column `{needed}`, found: {}", join(&headers))));
        }
    }
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, |position| position.line() as usize);
            wrong(line, error.to_string())
        })?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        let text = |name: &str| place(name).and_then(|at| record.get(at)).unwrap_or_default().to_owned();
        let number = |name: &str| match text(name).as_str() {
            "" => Ok(None),
            value => match value.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Some(number)),
                _ => Err(wrong(line, format!("{name} = `{value}` is no number"))),
            },
        };
        let time = |name: &str| match text(name).as_str() {
            "" => Ok(None),
            value => match time_of(value) {
                Some(time) => Ok(Some(time)),
                None => Err(wrong(line, format!("{name} = `{value}` is no time (2026-01-31T12:00:00Z)"))),
            },
        };
        let currency = text("currency");
        lines.push(InvoiceLine {
            line,
            provider: text("provider"),
            run: text("run"),
            purpose: text("purpose"),
            start: time("start")?,
            end: time("end")?,
            quantity: number("quantity")?,
            unit: text("unit"),
            unit_price: number("unit_price")?,
            amount: number("amount")?,
            currency: if currency.is_empty() { "USD".to_owned() } else { currency },
            description: text("description"),
        });
    }
    Ok(lines)
}

fn join(headers: &csv::StringRecord) -> String {
    headers.iter().collect::<Vec<_>>().join(", ")
}

/// A time with its zone, one without (which is UTC), or a day (its beginning).
fn time_of(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc());
        }
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0).map(|time| time.and_utc())
}

impl InvoiceLine {
    /// Dollars for one unit of its currency.
    pub fn usd_per_unit(&self, path: &Path, rates: &BudgetTerms) -> Result<f64, LedgerError> {
        rates.usd_per_unit(&self.currency).ok_or_else(|| {
            let problem = format!("currency = `{}`: no rate is stated for it", self.currency);
            LedgerError::row(path, self.line, problem)
        })
    }

    /// Hours, where that is what is billed.
    #[must_use]
    pub fn hours(&self) -> Option<f64> {
        let factor = match self.unit.to_lowercase().as_str() {
            "h" | "hr" | "hrs" | "hour" | "hours" => 1.0,
            "min" | "minute" | "minutes" => 1.0 / 60.0,
            "s" | "sec" | "second" | "seconds" => 1.0 / 3600.0,
            _ => return None,
        };
        self.quantity.map(|quantity| quantity * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_focus_columns_say_the_same() {
        let own = "run,amount,provider,start,quantity,unit\none,1.5,aws,2026-01-02,3,h\n";
        let focus = "ProviderName,x_Run,BilledCost,ChargePeriodStart,PricingQuantity,PricingUnit,Other\n\
                     aws,one,1.5,2026-01-02T01:00:00+01:00,3,h,x\n";
        let path = Path::new("bill.csv");
        let (own, focus) = (parse(path, own).expect("is right"), parse(path, focus).expect("is right"));
        assert_eq!(own, focus);
        assert_eq!((own[0].hours(), own[0].line, own[0].unit_price), (Some(3.0), 2, None));
    }

    #[test]
    fn what_cannot_be_read_is_named_by_line_and_column() {
        let path = Path::new("bill.csv");
        for (text, named) in [
            ("provider,amount\naws,1\n", "bill.csv:1: expected a column `run`"),
            ("run,amount\none,1\ntwo,much\n", "bill.csv:3: amount = `much`"),
            ("run,amount,start\none,1,yesterday\n", "bill.csv:2: start = `yesterday`"),
            ("run,amount\none\n", "bill.csv:2"),
        ] {
            let error = parse(path, text).expect_err("is wrong").to_string();
            assert!(error.contains(named), "{error}");
        }
        let line = &parse(path, "run,amount,currency\none,1,EUR\n").expect("is right")[0];
        assert!(
            line.usd_per_unit(path, &BudgetTerms::new("", shoestring_planner::units::Usd::ZERO)).is_err()
        );
    }
}
