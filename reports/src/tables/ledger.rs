//! Ledgers as tables to take elsewhere.

use shoestring_ledger::Row;

use super::Table;
use super::build::Builder;
use super::focus::focus;
use crate::ReportError;

/// A ledger and what is known of the machine that it paid for; empty is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerRows {
    /// What the ledger is called.
    pub label: String,
    /// Who rents the machine out.
    pub provider: String,
    /// Where it stands.
    pub region: String,
    /// The machine: its offer's name.
    pub resource: String,
    /// All rows.
    pub rows: Vec<Row>,
}

/// Which columns an export has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerColumns {
    /// Those of the ledger, every row.
    Own,
    /// Those of FOCUS 1.0, every charge, for a billing account of that name.
    Focus {
        /// `BillingAccountId`.
        account: String,
    },
}

/// Ledgers as CSV, UTF-8, with a header; an empty field is unknown.
pub fn ledger_csv(ledgers: &[LedgerRows], columns: &LedgerColumns) -> Result<Vec<u8>, ReportError> {
    super::csv(&table(ledgers, columns)?)
}

/// Ledgers as Parquet.
pub fn ledger_parquet(ledgers: &[LedgerRows], columns: &LedgerColumns) -> Result<Vec<u8>, ReportError> {
    super::parquet(&table(ledgers, columns)?)
}

fn table(ledgers: &[LedgerRows], columns: &LedgerColumns) -> Result<Table, ReportError> {
    match columns {
        LedgerColumns::Own => rows(
            ledgers.iter().flat_map(|one| one.rows.iter().map(|row| (one.label.as_str(), row))).collect(),
        ),
        LedgerColumns::Focus { account } => focus(ledgers, account),
    }
}

/// Every row with the name of its ledger.
pub(super) fn rows(rows: Vec<(&str, &Row)>) -> Result<Table, ReportError> {
    Builder::new("ledger", "one movement of money")
        .text("run", rows.iter().map(|(label, _)| *label))
        .whole("seq", rows.iter().map(|(_, row)| Some(row.seq)))
        .time("time_utc", rows.iter().map(|(_, row)| Some(row.time)))
        .text("stage", rows.iter().map(|(_, row)| row.stage.as_str()))
        .whole("step", rows.iter().map(|(_, row)| Some(row.step)))
        .text("kind", rows.iter().map(|(_, row)| row.kind.name()))
        .text("purpose", rows.iter().map(|(_, row)| row.purpose.name()))
        .money("amount", rows.iter().map(|(_, row)| row.amount))
        .whole("quantum", rows.iter().map(|(_, row)| Some(row.quantum)))
        .number("seconds", rows.iter().map(|(_, row)| row.seconds))
        .money("price_per_hour", rows.iter().map(|(_, row)| row.usd_per_hour))
        .text("price_source", rows.iter().map(|(_, row)| row.price_source.as_str()))
        .text("note", rows.iter().map(|(_, row)| row.note.as_str()))
        .known("price_as_of", rows.iter().map(|(_, row)| row.price_as_of.clone()))
        .text("ledger_run", rows.iter().map(|(_, row)| row.run.as_str()))
        .text("holder", rows.iter().map(|(_, row)| row.holder.as_str()))
        .whole("of", rows.iter().map(|(_, row)| row.of))
        .text("hash", rows.iter().map(|(_, row)| row.hash.as_str()))
        .finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chrono::DateTime;
    use shoestring_ledger::{Bought, Draft, Journal, Kind, Purpose, read};
    use shoestring_planner::units::Usd;

    use super::*;

    fn ledgers() -> Vec<LedgerRows> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let (mut journal, _) = Journal::open(&path).unwrap();
        let at = |kind, amount: Option<i64>| Draft {
            run: "demo".into(),
            purpose: Purpose::Train,
            amount: amount.map(Usd::from_micros),
            price_source: "aws spot".into(),
            usd_per_hour: Some(Usd::from_micros(2_000_000)),
            ..Draft::new(kind, DateTime::from_timestamp(1_767_225_600, 0).unwrap())
        };
        let bought = Bought {
            provider: "box".into(),
            quantity: Some(2.0),
            unit: "GB-month".into(),
            unit_price: Some(0.5),
            currency: "USD".into(),
            amount: Some(1.0),
            usd_per_unit: Some(1.0),
        };
        let storage =
            Draft { purpose: Purpose::Storage, bought: Some(bought), ..at(Kind::Import, Some(1_000_000)) };
        for draft in [
            at(Kind::Open, Some(9_000_000)),
            Draft { quantum: 1, ..at(Kind::Reserve, Some(3_000_000)) },
            Draft { quantum: 1, seconds: Some(3600.0), ..at(Kind::Settle, Some(2_000_000)) },
            storage,
            at(Kind::Import, None),
            Draft { note: "refund".into(), ..at(Kind::Adjust, Some(-500_000)) },
        ] {
            journal.append(draft).unwrap();
        }
        let rows = read(&path).unwrap().rows;
        let region = "us-east-1".to_owned();
        vec![LedgerRows {
            label: "demo".into(),
            provider: "aws".into(),
            region,
            resource: "p4d".into(),
            rows,
        }]
    }

    fn fields(bytes: &[u8]) -> Vec<Vec<String>> {
        // No field of these has a line break; commas only stand in the quoted tags.
        let text = std::str::from_utf8(bytes).unwrap();
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn focus_has_one_row_a_charge_with_cost_quantity_and_period() {
        let bytes = ledger_csv(&ledgers(), &LedgerColumns::Focus { account: "grant".into() }).unwrap();
        let table = fields(&bytes);
        assert_eq!(table.len(), 4, "a header, a settlement, an import of known amount, an adjustment");
        let column = |name: &str| {
            let at = table[0].iter().position(|one| one == name).unwrap();
            table[1..].iter().map(|row| row[at].clone()).collect::<Vec<_>>()
        };
        assert_eq!(column("BilledCost"), ["2.0", "1.0", "-0.5"]);
        assert_eq!(column("ChargeCategory"), ["Usage", "Usage", "Credit"]);
        assert_eq!(column("ConsumedQuantity"), ["1.0", "2.0", ""]);
        assert_eq!(column("ConsumedUnit"), ["Hours", "GB-month", ""]);
        assert_eq!(column("ListUnitPrice"), ["2.0", "0.5", ""]);
        assert_eq!(column("ProviderName"), ["aws", "box", "aws"]);
        assert_eq!(column("PricingCategory"), ["Dynamic", "Dynamic", ""]);
        assert_eq!(column("ChargePeriodStart")[0], "2025-12-31T23:00:00Z");
        assert_eq!(
            column("BillingPeriodStart"),
            ["2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]
        );
    }

    #[test]
    fn own_columns_keep_every_row_and_leave_unknown_amounts_empty() {
        let bytes = ledger_csv(&ledgers(), &LedgerColumns::Own).unwrap();
        let table = fields(&bytes);
        assert_eq!(table.len(), 7);
        let at = table[0].iter().position(|one| one == "amount_micro_usd").unwrap();
        assert_eq!((table[5][at].as_str(), table[6][at].as_str()), ("", "-500000"));
        let parquet = ledger_parquet(&ledgers(), &LedgerColumns::Own).unwrap();
        assert_eq!(&parquet[..4], b"PAR1");
        assert_eq!(parquet, ledger_parquet(&ledgers(), &LedgerColumns::Own).unwrap(), "the same bytes");
    }
}
