//! AWS's spot advisor: how far interruptible machines are below the on-demand price, and how often they are
//! interrupted. The spot price is reckoned from an on-demand price at hand, so it is an estimate, and says
//! so.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::batch::{Batch, Found, Reason};
use super::row::{Machine, PriceRow, known_machine};
use super::{FetchError, PriceSource, Web, not_empty, whole};
use crate::accelerator;
use crate::offer;
use crate::units::Usd;

/// AWS's spot advisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpotAdvisor {
    /// The document.
    pub url: String,
}

impl SpotAdvisor {
    /// Where the document is published.
    pub const URL: &'static str = "https://spot-bid-advisor.s3.amazonaws.com/spot-advisor-data.json";
}

#[derive(Deserialize)]
struct Document {
    ranges: Vec<Range>,
    spot_advisor: BTreeMap<String, BTreeMap<String, BTreeMap<String, Advice>>>,
}

#[derive(Deserialize)]
struct Range {
    index: u32,
    label: String,
    max: u32,
}

#[derive(Deserialize)]
struct Advice {
    /// Per cent below the on-demand price.
    #[serde(rename = "s")]
    saving: f64,
    /// Index of the range of monthly interruptions.
    #[serde(rename = "r")]
    range: u32,
}

/// An on-demand price to reckon from.
struct OnDemand {
    usd_per_hour: Usd,
    as_of: String,
    source: String,
}

impl PriceSource for SpotAdvisor {
    fn feeds(&self) -> Vec<String> {
        vec!["aws-spot".to_owned()]
    }

    fn fetch(&self, feed: &str, web: &dyn Web, known: &[PriceRow]) -> Result<Batch, FetchError> {
        let fetched = web.get(&self.url, &whole)?;
        let document: Document =
            serde_json::from_slice(&fetched.body).map_err(|error| FetchError::NotACatalogue {
                url: self.url.clone(),
                line: error.line() as u64,
                problem: error.to_string(),
            })?;
        let mut batch = read(feed, &self.url, &document, known)?;
        batch.unchanged = fetched.unchanged;
        Ok(batch)
    }
}

fn read(feed: &str, url: &str, document: &Document, known: &[PriceRow]) -> Result<Batch, FetchError> {
    let mut batch = Batch::default();
    for (region, systems) in &document.spot_advisor {
        for (instance_type, advice) in systems.get("Linux").into_iter().flatten() {
            let Some(machine) = machine(instance_type, known) else {
                batch.pass_over("a machine without known accelerators");
                continue;
            };
            let what = format!("aws/{instance_type}/{region}");
            let Some(on_demand) = on_demand(instance_type, region, known) else {
                batch.refuse(None, what, Reason::NoOnDemandPrice);
                continue;
            };
            if !(0.0..100.0).contains(&advice.saving) {
                let problem = format!("s = {}: a saving is 0 to 99 per cent", advice.saving);
                batch.refuse(None, what, Reason::Unreadable(problem));
                continue;
            }
            let Some(range) = document.ranges.iter().find(|range| range.index == advice.range) else {
                batch.refuse(None, what, Reason::Unreadable(format!("r = {}: no such range", advice.range)));
                continue;
            };
            let mut row = PriceRow::new(feed, "aws", region, &machine);
            // The estimate is as old as the price that it is reckoned from.
            row.as_of = on_demand.as_of;
            row.source = format!("{url} on {}", on_demand.source);
            row.note = format!(
                "spot estimated at {} % below on demand; {} of such machines are interrupted in a month",
                advice.saving, range.label
            );
            row.interrupted_percent_per_month = Some(range.max);
            let on_demand = on_demand.usd_per_hour.dollars();
            let spot = Some(on_demand * (100.0 - advice.saving) / 100.0);
            let accelerator = machine.accelerator;
            batch.offer(Found { line: None, accelerator, on_demand: Some(on_demand), spot, row });
        }
    }
    not_empty(batch, url)
}

/// What the machine is made of, by the rows at hand or the built-in catalogue.
fn machine<'a>(instance_type: &'a str, known: &[PriceRow]) -> Option<Machine<'a>> {
    let row = known.iter().find(|row| row.provider == "aws" && row.instance_type == instance_type);
    if let Some(row) = row {
        let accelerator = accelerator::find(&row.accelerator).ok()?;
        return Some(Machine { instance_type, accelerator, count: row.count, vcpus: row.vcpus });
    }
    let known = known_machine("aws", instance_type)?;
    Some(Machine { instance_type, accelerator: known.accelerator, count: known.count, vcpus: known.vcpus })
}

/// The on-demand price of the rows at hand, AWS's own first; else of the built-in catalogue.
fn on_demand(instance_type: &str, region: &str, known: &[PriceRow]) -> Option<OnDemand> {
    known
        .iter()
        .filter(|row| {
            row.provider == "aws"
                && row.instance_type == instance_type
                && row.region == region
                && row.feed != "aws-spot"
                && row.feed != super::IMPORT_FEED
        })
        .filter_map(|row| Some((row, row.on_demand_usd_per_hour?)))
        .min_by_key(|(row, _)| !row.feed.starts_with("aws/"))
        .map(|(row, usd_per_hour)| OnDemand {
            usd_per_hour,
            as_of: row.as_of.clone(),
            source: row.source.clone(),
        })
        .or_else(|| {
            let offer = offer::built_in().iter().find(|offer| {
                offer.provider == "aws" && offer.instance_type == instance_type && offer.region == region
            })?;
            Some(OnDemand {
                usd_per_hour: offer.on_demand_usd_per_hour?,
                as_of: offer.as_of.clone(),
                source: offer.citation.clone(),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("fixtures/spot_advisor.json");

    fn parsed(text: &str) -> Document {
        serde_json::from_str(text).expect("the document")
    }

    #[test]
    fn a_saving_and_an_on_demand_price_make_an_estimate_with_its_range() {
        let machine = Machine {
            instance_type: "p5.48xlarge",
            accelerator: accelerator::find("H100").expect("H100"),
            count: 8,
            vcpus: Some(192),
        };
        let mut row = PriceRow::new("aws/us-east-1", "aws", "us-east-1", &machine);
        row.on_demand_usd_per_hour = Some(Usd::from_micros(50_000_000));
        row.as_of = "2026-08-20".into();
        row.source = "bulk".into();
        let mut other = PriceRow::new("skypilot/aws", "aws", "us-east-1", &machine);
        other.on_demand_usd_per_hour = Some(Usd::from_micros(60_000_000));
        let batch = read("aws-spot", "http://x", &parsed(DOCUMENT), &[other, row]).expect("advice");
        let p5 = batch.rows.iter().find(|row| row.instance_type == "p5.48xlarge").expect("p5");
        assert_eq!(p5.spot_usd_per_hour, Some(Usd::from_micros(17_000_000)));
        assert_eq!(p5.interrupted_percent_per_month, Some(16));
        assert_eq!((p5.as_of.as_str(), p5.source.as_str()), ("2026-08-20", "http://x on bulk"));
        assert!(p5.note.contains("66 % below on demand; 10-15% of such"), "{}", p5.note);
        // From the built-in catalogue, where no price is at hand.
        let g5 = batch.rows.iter().find(|row| row.instance_type == "g5.xlarge").expect("g5");
        assert_eq!(g5.on_demand_usd_per_hour, Some(Usd::from_micros(1_006_000)));
        assert_eq!(batch.passed_over["a machine without known accelerators"], 1);
        let refused: Vec<String> =
            batch.refused.iter().map(|one| format!("{}: {}", one.what, one.reason)).collect();
        assert_eq!(
            refused,
            [
                "aws/p5.48xlarge/eu-nowhere-1: no on-demand price to reckon the spot price from",
                "aws/g4dn.xlarge/us-east-1: s = 140: a saving is 0 to 99 per cent",
                "aws/g6.xlarge/us-east-1: r = 9: no such range",
            ]
        );
    }

    #[test]
    fn advice_without_a_usable_row_is_a_fault() {
        let none = DOCUMENT.replace("us-east-1", "eu-nowhere-2");
        let error = read("aws-spot", "http://x", &parsed(&none), &[]).expect_err("no prices there");
        assert!(error.to_string().contains("no offer in it: "), "{error}");
    }
}
