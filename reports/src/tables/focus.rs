//! Ledgers in the columns of FOCUS 1.0, the FinOps Open Cost and Usage Specification (focus.finops.org), one
//! charge a row: `settle`, `spend`, `import` and `adjust` rows of known amount.
//!
//! What the ledger does not know and FOCUS allows to be empty is empty. Where it does not: the list price is the
//! recorded price, the account is stated by the user, and a provider that is not known is `unknown`.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, SubsecRound, TimeDelta, Utc};
use serde_json::json;
use shoestring_ledger::{Bought, Kind, Purpose, Row};

use super::Table;
use super::build::Builder;
use super::ledger::LedgerRows;
use crate::ReportError;

/// One charge with the run that it belongs to.
struct Charge<'a> {
    of: &'a LedgerRows,
    row: &'a Row,
    micros: i64,
}

impl Charge<'_> {
    fn dollars(&self) -> Option<f64> {
        Some(self.micros as f64 / 1e6)
    }

    fn is_usage(&self) -> bool {
        self.row.kind != Kind::Adjust
    }

    fn category(&self) -> &'static str {
        match (self.is_usage(), self.micros < 0) {
            (true, _) => "Usage",
            (false, true) => "Credit",
            (false, false) => "Adjustment",
        }
    }

    fn bought(&self) -> Option<&Bought> {
        self.row.bought.as_ref().filter(|_| self.is_usage())
    }

    /// Time that a process was charged for.
    fn is_time(&self) -> bool {
        self.is_usage() && self.row.bought.is_none()
    }

    fn provider(&self) -> &str {
        let named = self.row.bought.as_ref().map_or("", |bought| bought.provider.as_str());
        match (named.is_empty(), self.of.provider.is_empty()) {
            (false, _) => named,
            (true, false) => &self.of.provider,
            (true, true) => "unknown",
        }
    }

    /// What was counted, and in what: hours of time, or what an import says.
    fn quantity(&self) -> Option<f64> {
        match self.bought() {
            Some(bought) => bought.quantity.filter(|_| !bought.unit.is_empty()),
            None => self.row.seconds.filter(|_| self.is_time()).map(|seconds| seconds / 3600.0),
        }
    }

    fn unit(&self) -> &str {
        match (self.quantity(), self.bought()) {
            (None, _) => "",
            (Some(_), Some(bought)) => &bought.unit,
            (Some(_), None) => "Hours",
        }
    }

    /// Dollars a unit.
    fn unit_price(&self) -> Option<f64> {
        match self.bought() {
            Some(bought) => Some(bought.unit_price? * bought.usd_per_unit?),
            None => self.row.usd_per_hour.filter(|_| self.is_time()).map(|price| price.dollars()),
        }
    }

    /// From when to when, by whole seconds begun; a charge that is not of time has the day on which it was written
    /// down.
    fn period(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let time = self.row.time;
        match self.row.seconds {
            Some(seconds) if self.is_time() && seconds > 0.0 => {
                let start = (time - TimeDelta::milliseconds((seconds * 1e3) as i64)).trunc_subsecs(0);
                let end = time.trunc_subsecs(0);
                let whole = end == time && end > start;
                (start, if whole { end } else { end + TimeDelta::seconds(1) })
            }
            _ => {
                let day = time.date_naive();
                (midnight(day), midnight(day + Days::new(1)))
            }
        }
    }

    fn month(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let start = self.period().0.date_naive();
        let first = start.with_day(1).unwrap_or(start);
        (midnight(first), midnight(first + Months::new(1)))
    }

    fn service(&self) -> &'static str {
        match self.row.purpose {
            Purpose::Storage => "Storage",
            Purpose::Egress => "Networking",
            Purpose::Other | Purpose::Run => "Other",
            _ => "Compute",
        }
    }

    /// What was bought, by a name of our own: the machine, or the purpose where no machine is known.
    fn sku(&self) -> String {
        let what = if self.is_time() && !self.of.resource.is_empty() {
            self.of.resource.as_str()
        } else {
            self.row.purpose.name()
        };
        if what.starts_with(self.provider()) {
            what.to_owned()
        } else {
            format!("{}/{what}", self.provider())
        }
    }

    /// The same at its price.
    fn sku_price(&self) -> String {
        let price = self.unit_price().map_or("unknown".to_owned(), |price| format!("{price} USD"));
        let unit = if self.unit().is_empty() { String::new() } else { format!("/{}", self.unit()) };
        format!("{} at {price}{unit}", self.sku())
    }

    fn description(&self) -> String {
        let unknown = self.is_usage() && (self.quantity().is_none() || self.unit_price().is_none());
        let unknown = if unknown { "; quantity or price: the ledger does not know" } else { "" };
        let stage = if self.row.stage.is_empty() { String::new() } else { format!(" in {}", self.row.stage) };
        let note = if self.row.note.is_empty() { String::new() } else { format!(": {}", self.row.note) };
        format!("{} of {}{stage}{note}{unknown}", self.row.purpose.name(), self.row.run)
    }

    fn tags(&self) -> String {
        json!({
            "run": self.row.run, "stage": self.row.stage, "purpose": self.row.purpose.name(),
            "price_source": self.row.price_source,
        })
        .to_string()
    }
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_hms_opt(0, 0, 0).unwrap_or_default().and_utc()
}

/// The time as FOCUS writes it: UTC, ISO 8601.
fn text(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The charges of all ledgers as FOCUS 1.0; `account` stands in `BillingAccountId`.
pub(super) fn focus(ledgers: &[LedgerRows], account: &str) -> Result<Table, ReportError> {
    let charges: Vec<Charge<'_>> = ledgers
        .iter()
        .flat_map(|of| of.rows.iter().map(move |row| (of, row)))
        .filter(|(_, row)| row.kind.is_charge())
        .filter_map(|(of, row)| Some(Charge { of, row, micros: row.amount?.micros() }))
        .collect();
    let some = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let all = |value: &str| vec![value.to_owned(); charges.len()];
    let none = || vec![None::<String>; charges.len()];
    let each = |of: &dyn Fn(&Charge<'_>) -> Option<String>| charges.iter().map(of).collect::<Vec<_>>();
    let number = |of: &dyn Fn(&Charge<'_>) -> Option<f64>| charges.iter().map(of).collect::<Vec<_>>();
    let cost = || number(&|charge| charge.dollars());
    let region = || each(&|charge| some(&charge.of.region));
    let provider = || each(&|charge| Some(charge.provider().to_owned()));
    let spot = |charge: &Charge<'_>| charge.row.price_source.to_lowercase().contains("spot");
    Builder::new("focus", "one charge, in the columns of FOCUS 1.0")
        .known("AvailabilityZone", none())
        .number("BilledCost", cost())
        .text("BillingAccountId", all(account))
        .known("BillingAccountName", none())
        .text("BillingCurrency", all("USD"))
        .known("BillingPeriodEnd", each(&|charge| Some(text(charge.month().1))))
        .known("BillingPeriodStart", each(&|charge| Some(text(charge.month().0))))
        .known("ChargeCategory", each(&|charge| Some(charge.category().to_owned())))
        .known("ChargeClass", none())
        .known("ChargeDescription", each(&|charge| Some(charge.description())))
        .known(
            "ChargeFrequency",
            each(&|charge| Some(if charge.is_usage() { "Usage-Based" } else { "One-Time" }.to_owned())),
        )
        .known("ChargePeriodEnd", each(&|charge| Some(text(charge.period().1))))
        .known("ChargePeriodStart", each(&|charge| Some(text(charge.period().0))))
        .known("CommitmentDiscountCategory", none())
        .known("CommitmentDiscountId", none())
        .known("CommitmentDiscountName", none())
        .known("CommitmentDiscountStatus", none())
        .known("CommitmentDiscountType", none())
        .number("ConsumedQuantity", number(&|charge| charge.quantity()))
        .known("ConsumedUnit", each(&|charge| some(charge.unit())))
        .number("ContractedCost", cost())
        .number("ContractedUnitPrice", number(&|charge| charge.unit_price()))
        .number("EffectiveCost", cost())
        .known("InvoiceIssuerName", provider())
        .number("ListCost", cost())
        .number("ListUnitPrice", number(&|charge| charge.unit_price()))
        .known(
            "PricingCategory",
            each(&|charge| {
                charge.is_usage().then(|| if spot(charge) { "Dynamic" } else { "Standard" }.to_owned())
            }),
        )
        .number("PricingQuantity", number(&|charge| charge.quantity()))
        .known("PricingUnit", each(&|charge| some(charge.unit())))
        .known("ProviderName", provider())
        .known("PublisherName", provider())
        .known("RegionId", region())
        .known("RegionName", region())
        .known("ResourceId", each(&|charge| some(&charge.row.run)))
        .known("ResourceName", each(&|charge| some(&charge.of.resource)))
        .known("ResourceType", each(&|charge| some(&charge.of.resource).map(|_| "Machine".to_owned())))
        .known("ServiceCategory", each(&|charge| Some(charge.service().to_owned())))
        .known("ServiceName", each(&|charge| Some(charge.row.purpose.name().to_owned())))
        .known("SkuId", each(&|charge| charge.is_usage().then(|| charge.sku())))
        .known("SkuPriceId", each(&|charge| charge.is_usage().then(|| charge.sku_price())))
        .known("SubAccountId", none())
        .known("SubAccountName", none())
        .known("Tags", each(&|charge| Some(charge.tags())))
        .known("x_Kind", each(&|charge| Some(charge.row.kind.name().to_owned())))
        .known("x_PriceAsOf", each(&|charge| charge.row.price_as_of.clone()))
        .known("x_PriceSource", each(&|charge| some(&charge.row.price_source)))
        .known("x_Purpose", each(&|charge| Some(charge.row.purpose.name().to_owned())))
        .known("x_RowHash", each(&|charge| Some(charge.row.hash.clone())))
        .known("x_Run", each(&|charge| Some(charge.row.run.clone())))
        .known("x_Stage", each(&|charge| some(&charge.row.stage)))
        .finish()
}

#[cfg(test)]
mod tests {
    use shoestring_ledger::{Draft, Journal};
    use shoestring_planner::units::Usd;

    use super::*;

    fn rows(drafts: Vec<Draft>) -> Vec<Row> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (mut journal, _) = Journal::open(&folder.path().join("ledger.jsonl")).expect("opens");
        for draft in drafts {
            journal.append(draft).expect("follows");
        }
        journal.rows().to_vec()
    }

    #[test]
    fn a_charge_of_less_than_a_second_has_a_period_and_what_is_unknown_is_said() {
        let time = DateTime::from_timestamp_millis(1_767_225_600_400).expect("in range");
        let amount = |micros| Some(Usd::from_micros(micros));
        let drafts = vec![
            Draft { run: "one".into(), amount: amount(100), ..Draft::new(Kind::Open, time) },
            Draft {
                run: "one".into(),
                amount: amount(5),
                seconds: Some(0.3),
                usd_per_hour: amount(60_000),
                purpose: Purpose::Train,
                ..Draft::new(Kind::Spend, time)
            },
            Draft {
                run: "elsewhere".into(),
                amount: amount(7),
                purpose: Purpose::Storage,
                bought: Some(Bought { provider: "aws".into(), ..Bought::default() }),
                ..Draft::new(Kind::Import, time)
            },
        ];
        let rows = rows(drafts);
        let of = LedgerRows {
            label: "one".into(),
            provider: String::new(),
            region: String::new(),
            resource: String::new(),
            rows: Vec::new(),
        };
        let charge = |row| Charge { of: &of, row, micros: 0 };
        let (short, import) = (charge(&rows[1]), charge(&rows[2]));
        assert_eq!(
            [short.period().0, short.period().1].map(text),
            ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"]
        );
        assert!(!short.description().contains("does not know"), "{}", short.description());
        assert_eq!(short.sku_price(), "unknown/train at 0.06 USD/Hours");
        assert!(import.description().ends_with("the ledger does not know"), "{}", import.description());
        assert_eq!(import.sku_price(), "aws/storage at unknown");
    }
}
