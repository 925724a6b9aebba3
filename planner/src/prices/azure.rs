//! Azure's retail prices: paged JSON, one question for each machine type, answered for all regions. The list
//! says nothing of accelerators: types are those of the built-in catalogue.

use std::collections::BTreeMap;

use reqwest::Url;
use serde::Deserialize;

use super::batch::{Batch, Found, NotAnswered, Reason};
use super::row::{Machine, PriceRow};
use super::{FetchError, PriceSource, Web, not_empty, whole};
use crate::offer::{self, Offer};

/// A server that does not answer for so many machine types in a row is not asked for the rest.
const MOST_FAILURES: usize = 3;
/// No machine type has more pages than this.
const MOST_PAGES: usize = 50;

/// Azure's retail price list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureRetail {
    /// What is asked; the question is added.
    pub base: String,
}

impl AzureRetail {
    /// Where the list is published.
    pub const BASE: &'static str = "https://prices.azure.com/api/retail/prices";
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    billing_currency: Option<String>,
    items: Vec<Item>,
    #[serde(default)]
    next_page_link: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    currency_code: String,
    retail_price: f64,
    arm_region_name: String,
    meter_name: String,
    product_name: String,
    sku_name: String,
    unit_of_measure: String,
    #[serde(rename = "type")]
    kind: String,
    arm_sku_name: String,
    #[serde(default)]
    effective_start_date: String,
}

impl PriceSource for AzureRetail {
    fn feeds(&self) -> Vec<String> {
        vec!["azure".to_owned()]
    }

    fn fetch(&self, feed: &str, web: &dyn Web, _known: &[PriceRow]) -> Result<Batch, FetchError> {
        let mut types: Vec<&'static Offer> =
            offer::built_in().iter().filter(|offer| offer.provider == "azure").collect();
        types.sort_by(|a, b| a.instance_type.cmp(&b.instance_type));
        types.dedup_by(|a, b| a.instance_type == b.instance_type);
        let mut batch = Batch::default();
        let mut first = None;
        let mut failed_in_a_row = 0;
        for machine in types {
            if failed_in_a_row >= MOST_FAILURES {
                batch.not_answered.push(NotAnswered {
                    what: machine.instance_type.clone(),
                    why: "not asked: those before it did not answer".to_owned(),
                });
                continue;
            }
            let mut found = Batch::default();
            match self.machine(feed, web, machine, &mut found) {
                Ok(()) => {
                    failed_in_a_row = 0;
                    batch.add(found);
                }
                Err(error) => {
                    failed_in_a_row += 1;
                    let why = error.to_string();
                    batch.not_answered.push(NotAnswered { what: machine.instance_type.clone(), why });
                    first.get_or_insert(error);
                }
            }
        }
        match (batch.rows.is_empty(), first) {
            // Nothing at all: what went wrong says more than that nothing is there.
            (true, Some(error)) => Err(error),
            _ => not_empty(batch, &self.base),
        }
    }
}

impl AzureRetail {
    fn question(&self, instance_type: &str) -> Result<Url, FetchError> {
        // Values are case-sensitive.
        let filter = format!(
            "serviceName eq 'Virtual Machines' and priceType eq 'Consumption' and armSkuName eq '{instance_type}'"
        );
        let parameters = [("api-version", "2023-01-01-preview"), ("$filter", &filter)];
        Url::parse_with_params(&self.base, &parameters).map_err(|error| FetchError::NotACatalogue {
            url: self.base.clone(),
            line: 0,
            problem: format!("not a URL: {error}"),
        })
    }

    fn machine(
        &self,
        feed: &str,
        web: &dyn Web,
        machine: &'static Offer,
        batch: &mut Batch,
    ) -> Result<(), FetchError> {
        let first = self.question(&machine.instance_type)?;
        let mut url = first.clone();
        // By region and way of sale, with the day from which the price holds.
        let mut found: BTreeMap<(String, bool), (String, f64, String)> = BTreeMap::new();
        for _ in 0..MOST_PAGES {
            let fetched = web.get(url.as_str(), &whole)?;
            let broken = |line: usize, problem: String| FetchError::NotACatalogue {
                url: url.to_string(),
                line: line as u64,
                problem,
            };
            let page: Page = serde_json::from_slice(&fetched.body)
                .map_err(|error| broken(error.line(), error.to_string()))?;
            if let Some(currency) = page.billing_currency.filter(|currency| currency != "USD") {
                return Err(broken(0, format!("prices are in {currency}, not in USD")));
            }
            for item in page.items {
                sort_out(item, machine, &fetched.as_of.to_string(), &mut found, batch);
            }
            match page.next_page_link.filter(|link| !link.is_empty()) {
                None => {
                    rows(feed, &first, machine, found, batch);
                    return Ok(());
                }
                Some(link) => url = next(&first, &url, &link).map_err(|problem| broken(0, problem))?,
            }
        }
        let problem = format!("no end after {MOST_PAGES} pages");
        Err(FetchError::NotACatalogue { url: first.to_string(), line: 0, problem })
    }
}

/// The next page: the link's question, put to the host that was asked first (links name a port that some
/// proxies do not pass).
fn next(first: &Url, now: &Url, link: &str) -> Result<Url, String> {
    let link = Url::parse(link).map_err(|error| format!("NextPageLink `{link}` is not a URL: {error}"))?;
    let mut next = first.clone();
    next.set_query(link.query());
    if next == *now || next == *first { Err("NextPageLink leads back".to_owned()) } else { Ok(next) }
}

fn sort_out(
    item: Item,
    machine: &Offer,
    as_of: &str,
    found: &mut BTreeMap<(String, bool), (String, f64, String)>,
    batch: &mut Batch,
) {
    let has = |word: &str| item.meter_name.contains(word) || item.sku_name.contains(word);
    let other = if item.arm_sku_name != machine.instance_type {
        Some("another machine type")
    } else if item.kind != "Consumption" {
        Some("other terms: reservations and test prices")
    } else if item.product_name.contains("Windows") {
        Some("with a Windows licence")
    } else if item.product_name.contains("Dedicated") || has("Low Priority") {
        Some("other terms: dedicated or low priority")
    } else {
        None
    };
    if let Some(other) = other {
        return batch.pass_over(other);
    }
    let what = format!("azure/{}/{}", item.arm_sku_name, item.arm_region_name);
    if item.currency_code != "USD" {
        return batch.refuse(
            None,
            what,
            Reason::Unreadable(format!("is in {}, not in USD", item.currency_code)),
        );
    }
    if item.unit_of_measure != "1 Hour" {
        let problem = format!("is per `{}`, not per `1 Hour`", item.unit_of_measure);
        return batch.refuse(None, what, Reason::Unreadable(problem));
    }
    let key = (item.arm_region_name.clone(), has("Spot"));
    let newer = found.get(&key).is_none_or(|(since, ..)| *since < item.effective_start_date);
    if newer {
        found.insert(key, (item.effective_start_date, item.retail_price, as_of.to_owned()));
    }
}

fn rows(
    feed: &str,
    url: &Url,
    machine: &'static Offer,
    found: BTreeMap<(String, bool), (String, f64, String)>,
    batch: &mut Batch,
) {
    for ((region, is_spot), (_, price, as_of)) in found {
        let made_of = Machine {
            instance_type: &machine.instance_type,
            accelerator: machine.accelerator,
            count: machine.count,
            vcpus: machine.vcpus,
        };
        let mut row = PriceRow::new(feed, "azure", &region, &made_of);
        row.as_of = as_of;
        row.source = format!(
            "{} armSkuName {}",
            url.origin().ascii_serialization() + url.path(),
            machine.instance_type
        );
        let (on_demand, spot) = if is_spot { (None, Some(price)) } else { (Some(price), None) };
        batch.offer(Found { line: None, accelerator: machine.accelerator, on_demand, spot, row });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::prices::{Fetched, Reduce};
    use crate::units::Usd;

    const FIRST: &str = include_str!("fixtures/azure_1.json");
    const SECOND: &str = include_str!("fixtures/azure_2.json");
    const NONE: &str = r#"{"BillingCurrency":"USD","Items":[],"NextPageLink":null,"Count":0}"#;

    /// Answers questions about one machine type with two pages, others with none.
    struct Pages {
        first: String,
        second: String,
        asked: RefCell<Vec<String>>,
    }

    impl Web for Pages {
        fn get(&self, url: &str, reduce: Reduce<'_>) -> Result<Fetched, FetchError> {
            self.asked.borrow_mut().push(url.to_owned());
            let text = match url {
                _ if url.contains("skip=1000") => self.second.as_str(),
                _ if url.contains("Standard_ND96isr_H100_v5") => self.first.as_str(),
                _ => NONE,
            };
            let body = reduce(&mut text.as_bytes()).expect("a body in memory");
            let as_of = chrono::NaiveDate::from_ymd_opt(2026, 8, 20).expect("a day");
            Ok(Fetched { body, as_of, unchanged: false })
        }
    }

    fn fetch(first: &str, second: &str) -> (Result<Batch, FetchError>, Vec<String>) {
        let pages = Pages { first: first.into(), second: second.into(), asked: RefCell::default() };
        let source = AzureRetail { base: "http://127.0.0.1:9/api/retail/prices".into() };
        let batch = source.fetch("azure", &pages, &[]);
        (batch, pages.asked.into_inner())
    }

    #[test]
    fn pages_are_followed_and_six_meters_become_two_prices() {
        let (batch, asked) = fetch(FIRST, SECOND);
        let batch = batch.expect("prices");
        assert_eq!(batch.rows.len(), 2, "{:#?}", batch.rows);
        let row = &batch.rows[0];
        assert_eq!((row.region.as_str(), row.accelerator.as_str(), row.count), ("eastus", "H100-SXM", 8));
        assert_eq!(row.on_demand_usd_per_hour, Some(Usd::from_micros(98_320_000)));
        assert_eq!(row.spot_usd_per_hour, Some(Usd::from_micros(28_990_000)));
        assert_eq!(batch.rows[1].region, "westus3");
        assert_eq!(batch.passed_over["with a Windows licence"], 1);
        assert_eq!(batch.passed_over["other terms: reservations and test prices"], 1);
        assert_eq!(batch.passed_over["other terms: dedicated or low priority"], 1);
        let refused: Vec<String> =
            batch.refused.iter().map(|one| format!("{}: {}", one.what, one.reason)).collect();
        assert_eq!(
            refused,
            [
                "azure/Standard_ND96isr_H100_v5/westus3: is per `1 GB/Month`, not per `1 Hour`",
                "azure/Standard_ND96isr_H100_v5/uaenorth: on_demand_usd_per_hour = 0: no cloud charges that",
            ]
        );
        // The second page comes from the host that was asked, not from the port in the link.
        assert!(
            asked.iter().all(|url| url.starts_with("http://127.0.0.1:9/api/retail/prices?")),
            "{asked:?}"
        );
        assert_eq!(asked.iter().filter(|url| url.contains("skip=1000")).count(), 1);
        assert!(
            asked[0].contains("%24filter=") && asked[0].contains("armSkuName+eq+%27Standard_"),
            "{}",
            asked[0]
        );
    }

    #[test]
    fn a_machine_type_that_fails_leaves_the_others() {
        /// Refuses one machine type, or all but one.
        struct Refusing {
            one: &'static str,
            others: bool,
        }
        impl Web for Refusing {
            fn get(&self, url: &str, reduce: Reduce<'_>) -> Result<Fetched, FetchError> {
                if url.contains(self.one) != self.others {
                    return Err(FetchError::Status { url: url.to_owned(), status: 500, tries: 3 });
                }
                let text = if url.contains("Standard_ND96isr_H100_v5") { SECOND } else { NONE };
                let body = reduce(&mut text.as_bytes()).expect("a body in memory");
                let as_of = chrono::NaiveDate::from_ymd_opt(2026, 8, 20).expect("a day");
                Ok(Fetched { body, as_of, unchanged: false })
            }
        }
        let source = AzureRetail { base: "http://127.0.0.1:9/api/retail/prices".into() };
        let one = Refusing { one: "Standard_NC24ads_A100_v4", others: false };
        let batch = source.fetch("azure", &one, &[]).expect("the others");
        assert_eq!(batch.not_answered.len(), 1);
        assert_eq!(batch.not_answered[0].what, "Standard_NC24ads_A100_v4");
        assert!(batch.not_answered[0].why.contains("answered 500"), "{:?}", batch.not_answered);
        assert!(!batch.rows.is_empty());
        // After three in a row the rest is not asked.
        let rest = Refusing { one: "Standard_NC24ads_A100_v4", others: true };
        let error = source.fetch("azure", &rest, &[]).expect_err("no offer at all");
        assert!(matches!(error, FetchError::Status { status: 500, .. }), "{error}");
    }

    #[test]
    fn another_form_or_currency_is_refused() {
        for (first, second, problem) in [
            (FIRST, "{\"Items\": [", "line 1: EOF"),
            (&FIRST.replace("\"Items\"", "\"Rows\""), SECOND, "missing field `Items`"),
            (&FIRST.replace("\"retailPrice\"", "\"price\""), SECOND, "missing field `retailPrice`"),
            (&FIRST.replace("\"BillingCurrency\":\"USD\"", "\"BillingCurrency\":\"EUR\""), SECOND, "in EUR"),
            (NONE, NONE, "no offer in it: it has no rows"),
            (FIRST, &SECOND.replace("null", "\"https://x/?%24skip=1000\""), "NextPageLink leads back"),
        ] {
            let error = fetch(first, second).0.expect_err(problem);
            assert!(error.to_string().contains(problem), "{error}");
        }
    }
}
