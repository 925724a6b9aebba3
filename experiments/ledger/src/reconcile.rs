//! What was billed, against what was recorded: where they differ, by how much, and why.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use shoestring_planner::units::Usd;

use crate::budget::BudgetTerms;
use crate::error::LedgerError;
use crate::invoice::InvoiceLine;
use crate::row::Row;

/// The charges of one run, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Name of the run, as bills name it.
    pub run: String,
    /// Who rents it out; empty where not known.
    pub provider: String,
    /// What the plan expected.
    pub planned: Option<Usd>,
    /// Its ledger.
    pub rows: Vec<Row>,
}

/// Why a bill and the record differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The same charge was billed before.
    BilledTwice,
    /// A charge for something that no ledger knows.
    NotRecorded,
    /// Recorded time that no line bills.
    NotBilled,
    /// Another price than the recorded one.
    Price,
    /// More or fewer hours than the recorded ones.
    Quantity,
    /// The amount is not quantity x unit price.
    Arithmetic,
    /// The bill does not say enough to tell.
    Unexplained,
    /// The bill leaves the amount open.
    Unknown,
}

impl Cause {
    /// As it stands in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BilledTwice => "billed_twice",
            Self::NotRecorded => "not_recorded",
            Self::NotBilled => "not_billed",
            Self::Price => "price",
            Self::Quantity => "quantity",
            Self::Arithmetic => "arithmetic",
            Self::Unexplained => "unexplained",
            Self::Unknown => "unknown",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Line of the bill, counted from 1; `None` for what is missing on it.
    pub line: Option<usize>,
    /// Who bills.
    pub provider: String,
    /// The run.
    pub run: String,
    /// Why.
    pub cause: Cause,
    /// Billed less recorded, in dollars; `None` is unknown.
    pub difference: Option<Usd>,
    /// With the numbers.
    pub text: String,
}

/// Sums of one provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderSums {
    /// Its name.
    pub provider: String,
    /// What plans expected; `None` where a run has none.
    pub planned: Option<Usd>,
    /// What ledgers recorded.
    pub recorded: Usd,
    /// What the bill says, as far as it states amounts.
    pub billed: Usd,
}

impl ProviderSums {
    /// Billed against recorded, in percent; `None` where nothing was recorded.
    #[must_use]
    pub fn error_percent(&self) -> Option<f64> {
        let recorded = self.recorded.dollars();
        (recorded > 0.0).then(|| 100.0 * (self.billed.dollars() - recorded) / recorded)
    }
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reconciliation {
    /// By provider.
    pub providers: Vec<ProviderSums>,
    /// What differs by more than the tolerance, in the order of the bill, what is missing on it last.
    pub findings: Vec<Finding>,
}

/// Differences up to so much of what was recorded, and up to a cent, are rounding.
const ROUNDING: f64 = 0.001;
const CENT: f64 = 0.01;

/// A recorded charge: when, for how long, how much.
struct Charge {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    amount: f64,
    seconds: f64,
    billed: bool,
}

/// Compares a bill with ledgers. A line speaks of the charges of its run within its period (all of them where it
/// names none); its difference is split exactly into arithmetic (amount less quantity x price), quantity (at the
/// recorded price) and price (for the billed quantity).
pub fn reconcile(
    path: &Path,
    lines: &[InvoiceLine],
    records: &[Recorded],
    rates: &BudgetTerms,
) -> Result<Reconciliation, LedgerError> {
    let mut sums: BTreeMap<String, ProviderSums> = BTreeMap::new();
    let mut charges: Vec<Vec<Charge>> = records.iter().map(charges_of).collect();
    for (record, charges) in records.iter().zip(&charges) {
        let sum = sums_of(&mut sums, provider_of(record, lines));
        sum.recorded += Usd::from_dollars(charges.iter().map(|charge| charge.amount).sum());
        sum.planned = match (sum.planned, record.planned) {
            (Some(sum), Some(planned)) => Some(sum + planned),
            _ => None,
        };
    }
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let rate = line.usd_per_unit(path, rates)?;
        let known = records.iter().position(|record| {
            record.run == line.run
                && (record.provider.is_empty()
                    || line.provider.is_empty()
                    || record.provider == line.provider)
        });
        let provider = match known {
            Some(at) => provider_of(&records[at], lines),
            None => line.provider.clone(),
        };
        let finding = |cause, difference: Option<f64>, text: String| Finding {
            line: Some(line.line),
            provider: provider.clone(),
            run: line.run.clone(),
            cause,
            difference: difference.map(Usd::from_dollars),
            text,
        };
        let Some(billed) = line.amount.map(|amount| amount * rate) else {
            findings.push(finding(Cause::Unknown, None, "the bill leaves the amount open".to_owned()));
            continue;
        };
        sums_of(&mut sums, provider.clone()).billed += Usd::from_dollars(billed);
        let earlier = lines[..index].iter().find(|earlier| same_charge(earlier, line));
        if let Some(earlier) = earlier {
            let text = format!("{billed:.2} USD are on line {} already", earlier.line);
            findings.push(finding(Cause::BilledTwice, Some(billed), text));
            continue;
        }
        let Some(at) = known else {
            let text = format!("{billed:.2} USD for `{}`, of which no ledger was given", line.run);
            findings.push(finding(Cause::NotRecorded, Some(billed), text));
            continue;
        };
        let (amount, seconds) = take(&mut charges[at], line);
        if amount == 0.0 && seconds == 0.0 {
            let text = format!("{billed:.2} USD for a time in which the ledger has no charge");
            findings.push(finding(Cause::NotRecorded, Some(billed), text));
            continue;
        }
        let tolerance = CENT.max(ROUNDING * amount);
        for (cause, difference, text) in explain(line, rate, billed, amount, seconds / 3600.0) {
            if difference.abs() > tolerance {
                findings.push(finding(cause, Some(difference), text));
            }
        }
    }
    for (record, charges) in records.iter().zip(&charges) {
        let open: Vec<&Charge> = charges.iter().filter(|charge| !charge.billed).collect();
        let amount: f64 = open.iter().map(|charge| charge.amount).sum();
        if amount.abs() > CENT {
            let from = open.iter().map(|charge| charge.start).min().unwrap_or_default();
            let until = open.iter().map(|charge| charge.end).max().unwrap_or_default();
            findings.push(Finding {
                line: None,
                provider: provider_of(record, lines),
                run: record.run.clone(),
                cause: Cause::NotBilled,
                difference: Some(Usd::from_dollars(-amount)),
                text: format!(
                    "{amount:.2} USD recorded between {} and {} are on no line",
                    from.format("%Y-%m-%d %H:%M"),
                    until.format("%Y-%m-%d %H:%M")
                ),
            });
        }
    }
    Ok(Reconciliation { providers: sums.into_values().collect(), findings })
}

fn sums_of(sums: &mut BTreeMap<String, ProviderSums>, provider: String) -> &mut ProviderSums {
    sums.entry(provider.clone()).or_insert_with(|| ProviderSums {
        provider,
        planned: Some(Usd::ZERO),
        ..ProviderSums::default()
    })
}

/// Who bills a run: as its recipe says, else as the first line of the bill that names the run.
fn provider_of(record: &Recorded, lines: &[InvoiceLine]) -> String {
    if !record.provider.is_empty() {
        return record.provider.clone();
    }
    let named = lines.iter().find(|line| line.run == record.run && !line.provider.is_empty());
    named.map_or_else(|| "unknown".to_owned(), |line| line.provider.clone())
}

fn charges_of(record: &Recorded) -> Vec<Charge> {
    let charge = |row: &Row| {
        let amount = row.amount.filter(|_| row.kind.is_charge())?.dollars();
        let seconds = row.seconds.unwrap_or_default();
        let length = TimeDelta::milliseconds((seconds * 1e3) as i64);
        Some(Charge { start: row.time - length, end: row.time, amount, seconds, billed: false })
    };
    record.rows.iter().filter_map(charge).filter(|charge| charge.amount != 0.0).collect()
}

/// The charges within the period of a line, marked as billed: dollars and seconds. One belongs to the period in
/// which its middle lies.
fn take(charges: &mut [Charge], line: &InvoiceLine) -> (f64, f64) {
    let (mut amount, mut seconds) = (0.0, 0.0);
    for charge in charges.iter_mut().filter(|charge| !charge.billed) {
        let middle = charge.start + (charge.end - charge.start) / 2;
        let within =
            line.start.is_none_or(|start| middle >= start) && line.end.is_none_or(|end| middle < end);
        if within {
            charge.billed = true;
            amount += charge.amount;
            seconds += charge.seconds;
        }
    }
    (amount, seconds)
}

fn same_charge(one: &InvoiceLine, other: &InvoiceLine) -> bool {
    let key = |line: &InvoiceLine| (line.start, line.end, line.quantity.map(f64::to_bits));
    one.run == other.run
        && one.provider == other.provider
        && one.purpose == other.purpose
        && one.unit == other.unit
        && one.amount == other.amount
        && key(one) == key(other)
}

/// Parts of `billed` - `recorded` that add up to it exactly.
fn explain(
    line: &InvoiceLine,
    rate: f64,
    billed: f64,
    recorded: f64,
    hours: f64,
) -> Vec<(Cause, f64, String)> {
    let price_billed = line.unit_price.map(|price| price * rate);
    let (Some(hours_billed), Some(price_billed)) = (line.hours(), price_billed) else {
        let text = format!("{billed:.2} USD billed, {recorded:.2} recorded; no hours and price are stated");
        return vec![(Cause::Unexplained, billed - recorded, text)];
    };
    // The unit price is of the unit that is billed, the recorded one of an hour.
    let price_billed = price_billed * line.quantity.unwrap_or_default() / hours_billed.max(f64::MIN_POSITIVE);
    if hours <= 0.0 {
        let text = format!("{billed:.2} USD billed, {recorded:.2} recorded without a time");
        return vec![(Cause::Unexplained, billed - recorded, text)];
    }
    let price = recorded / hours;
    let stated = hours_billed * price_billed;
    let why = if hours_billed < hours {
        "fewer than recorded"
    } else if (hours_billed - hours.ceil()).abs() < 1e-6 {
        "rounded up to the hour"
    } else {
        "more than recorded: idle before or after, or a minimum period"
    };
    vec![
        (
            Cause::Arithmetic,
            billed - stated,
            format!("{billed:.2} USD, but {hours_billed:.3} h x {price_billed:.4} USD/h = {stated:.2}"),
        ),
        (
            Cause::Quantity,
            (hours_billed - hours) * price,
            format!("{hours_billed:.3} h billed, {hours:.3} h recorded ({why})"),
        ),
        (
            Cause::Price,
            (price_billed - price) * hours_billed,
            format!("{price_billed:.4} USD/h billed, {price:.4} recorded"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoice::read_invoice;
    use crate::kind::Kind;
    use crate::row::{Draft, tests::draft};

    /// `hours` hours at 2 USD from the first of January on, one row an hour.
    fn recorded(run: &str, hours: i64) -> Recorded {
        let time = |hour: i64| DateTime::from_timestamp(1_767_225_600 + 3600 * hour, 0).expect("in range");
        let row = |hour: i64| {
            let draft = Draft {
                run: run.into(),
                time: time(hour),
                kind: Kind::Settle,
                amount: Some(Usd::from_micros(2_000_000)),
                seconds: Some(3600.0),
                ..draft()
            };
            Row::place(draft, hour as u64, "").expect("has a JSON form").0
        };
        let planned = Some(Usd::from_micros(15_000_000));
        Recorded { run: run.into(), provider: "aws".into(), planned, rows: (1..=hours).map(row).collect() }
    }

    fn compared(bill: &str, records: &[Recorded]) -> Reconciliation {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("bill.csv");
        std::fs::write(&path, bill).expect("writes");
        let lines = read_invoice(&path).expect("reads");
        let mut rates = BudgetTerms::new("", Usd::ZERO);
        rates.rates.push(crate::budget::Rate {
            currency: "EUR".into(),
            usd: 1.25,
            as_of: "2026".into(),
            source: "stated".into(),
        });
        reconcile(&path, &lines, records, &rates).expect("compares")
    }

    const HEADER: &str = "provider,run,start,end,quantity,unit,unit_price,amount,currency\n";

    #[test]
    fn a_right_bill_has_no_finding_in_any_currency_and_unit() {
        let bill = format!(
            "{HEADER}aws,a,2026-01-01,2026-01-01T06:00:00Z,6,h,2,12,USD\n\
             aws,a,2026-01-01T06:00:00Z,2026-01-02,4,h,2,8,USD\naws,b,,,7200,s,0.0004444444444,3.2,EUR\n"
        );
        let result = compared(&bill, &[recorded("a", 10), recorded("b", 2)]);
        assert_eq!(result.findings, []);
        let sums = &result.providers[0];
        assert_eq!(
            (sums.recorded, sums.billed),
            (Usd::from_micros(24_000_000), Usd::from_micros(24_000_000))
        );
        assert_eq!((sums.planned, sums.error_percent()), (Some(Usd::from_micros(30_000_000)), Some(0.0)));
    }

    #[test]
    fn every_planted_error_is_named_with_its_amount() {
        // A wrong price, hours that nobody used, a line twice, an unknown run, a wrong sum, a forgotten run.
        let bill = format!(
            "{HEADER}aws,a,2026-01-01,2026-01-02,10,h,2.5,25,USD\naws,b,2026-01-01,2026-01-02,11,h,2,22,USD\n\
             aws,c,2026-01-01,2026-01-02,3,h,2,6,USD\naws,c,2026-01-01,2026-01-02,3,h,2,6,USD\n\
             aws,z,2026-01-01,2026-01-02,1,h,2,2,USD\naws,d,2026-01-01,2026-01-02,4,h,2,9,USD\n"
        );
        let records = ["a", "b", "c", "d", "e"].map(|run| {
            recorded(
                run,
                match run {
                    "a" => 10,
                    "b" => 9,
                    "c" => 3,
                    "d" => 4,
                    _ => 5,
                },
            )
        });
        let result = compared(&bill, &records);
        let found: Vec<_> = result
            .findings
            .iter()
            .map(|one| (one.line, one.run.as_str(), one.cause, one.difference.map(Usd::dollars)))
            .collect();
        assert_eq!(
            found,
            [
                (Some(2), "a", Cause::Price, Some(5.0)),
                (Some(3), "b", Cause::Quantity, Some(4.0)),
                (Some(5), "c", Cause::BilledTwice, Some(6.0)),
                (Some(6), "z", Cause::NotRecorded, Some(2.0)),
                (Some(7), "d", Cause::Arithmetic, Some(1.0)),
                (None, "e", Cause::NotBilled, Some(-10.0)),
            ]
        );
        // What is named adds up to the whole difference.
        let sums = &result.providers[0];
        let named: f64 = found.iter().filter_map(|one| one.3).sum();
        assert!((sums.billed.dollars() - sums.recorded.dollars() - named).abs() < 1e-6);
    }
}
