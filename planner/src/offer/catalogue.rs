//! The offers that come with the program, with what was refused of them and why.

use std::sync::LazyLock;

use serde::Deserialize;

use super::merge::one_of_each;
use super::{Offer, PriceBasis};
use crate::accelerator;
use crate::names::{UnknownName, folded};
use crate::units::Usd;

static CSV: &str = include_str!("../../data/offers.csv");

/// A price per accelerator and hour below this is a mistake or a lure: the cheapest real listings of the
/// weakest card are ten times dearer.
const LOWEST_BELIEVABLE_PER_DEVICE: f64 = 0.02;

/// Why a row of a price table is not an offer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejected {
    /// The row cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// Neither an on-demand nor a spot price.
    #[error("has no price")]
    NoPrice,
    /// Zero, negative, not finite or not believable.
    #[error("{column} = {usd_per_hour}: not a believable price for {count} accelerators")]
    Price {
        /// Column.
        column: &'static str,
        /// The price found.
        usd_per_hour: f64,
        /// Accelerators in the machine.
        count: u32,
    },
    /// No such device model.
    #[error(transparent)]
    Accelerator(#[from] UnknownName),
    /// A machine without accelerators.
    #[error("count = 0: has no accelerator")]
    NoAccelerator,
    /// Not a price that someone asked.
    #[error("the price is from {0}, not from a price list")]
    Basis(String),
}

/// A row of a price table that is not an offer.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectedOffer {
    /// Line in the table, counted from 1 with the header.
    pub line: u64,
    /// `provider/instance_type/region`, as far as it could be read.
    pub name: String,
    /// Why.
    pub reason: Rejected,
}

#[derive(Deserialize)]
struct Row {
    provider: String,
    region: String,
    instance_type: String,
    accelerator: String,
    count: u32,
    vcpus: Option<u32>,
    on_demand_usd_per_hour: Option<f64>,
    spot_usd_per_hour: Option<f64>,
    basis: String,
    as_of: String,
    source: String,
    note: String,
    #[serde(default)]
    feed: String,
    #[serde(default)]
    interrupted_percent_per_month: Option<u32>,
}

/// A price table taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PriceTable {
    /// Offers that can be chosen.
    pub today: Vec<Offer>,
    /// What publications reckoned with ([`PriceBasis::Reference`]).
    pub references: Vec<Offer>,
    /// The other rows, with the reason.
    pub rejected: Vec<RejectedOffer>,
}

impl PriceTable {
    /// Reads a CSV with the columns of `planner/data/offers.csv`, in any order: `provider`, `region`,
    /// `instance_type`, `accelerator`, `count`, `vcpus`, `on_demand_usd_per_hour`, `spot_usd_per_hour`,
    /// `basis`, `as_of`, `source`, `note`, and those of `prices update`: `feed`,
    /// `interrupted_percent_per_month`. Rows of the same name become one offer, see [`one_of_each`]. Never
    /// fails: what is no offer is among [`PriceTable::rejected`].
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut catalogue = Self::default();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let headers = reader.headers().cloned().unwrap_or_default();
        for record in reader.records() {
            let (line, name, offer) = match record {
                Err(error) => {
                    let line = error.position().map_or(0, csv::Position::line);
                    (line, String::new(), Err(Rejected::Unreadable(error.to_string())))
                }
                Ok(record) => {
                    let line = record.position().map_or(0, csv::Position::line);
                    let part = |column: &str| {
                        let index = headers.iter().position(|header| header == column);
                        index.and_then(|index| record.get(index)).unwrap_or_default()
                    };
                    let name = format!("{}/{}/{}", part("provider"), part("instance_type"), part("region"));
                    let row = record.deserialize::<Row>(Some(&headers));
                    (line, name, row.map_err(|error| Rejected::Unreadable(error.to_string())).and_then(offer))
                }
            };
            match offer {
                Ok(offer) if offer.basis == PriceBasis::Reference => catalogue.references.push(offer),
                Ok(offer) => catalogue.today.push(offer),
                Err(reason) => catalogue.rejected.push(RejectedOffer { line, name, reason }),
            }
        }
        catalogue.today = one_of_each(catalogue.today);
        catalogue
    }
}

fn offer(row: Row) -> Result<Offer, Rejected> {
    let basis = match row.basis.as_str() {
        "list" => PriceBasis::List,
        "market" => PriceBasis::Market,
        "aggregator" => PriceBasis::Aggregator,
        "reference" => PriceBasis::Reference,
        "stated" => PriceBasis::Stated,
        other => return Err(Rejected::Basis(format!("a {other} source"))),
    };
    if row.count == 0 {
        return Err(Rejected::NoAccelerator);
    }
    let price = |column: &'static str, usd: Option<f64>| match usd {
        None => Ok(None),
        // Written so that NaN is refused as well.
        Some(usd) if usd >= LOWEST_BELIEVABLE_PER_DEVICE * f64::from(row.count) && usd.is_finite() => {
            Ok(Some(Usd::from_dollars(usd)))
        }
        Some(usd_per_hour) => Err(Rejected::Price { column, usd_per_hour, count: row.count }),
    };
    let on_demand_usd_per_hour = price("on_demand_usd_per_hour", row.on_demand_usd_per_hour)?;
    let spot_usd_per_hour = price("spot_usd_per_hour", row.spot_usd_per_hour)?;
    if on_demand_usd_per_hour.is_none() && spot_usd_per_hour.is_none() {
        return Err(Rejected::NoPrice);
    }
    Ok(Offer {
        accelerator: accelerator::find(&row.accelerator)?,
        provider: row.provider,
        region: row.region,
        instance_type: row.instance_type,
        count: row.count,
        vcpus: row.vcpus,
        on_demand_usd_per_hour,
        spot_usd_per_hour,
        basis,
        as_of: row.as_of,
        citation: row.source,
        note: row.note,
        feed: row.feed,
        interrupted_percent_per_month: row.interrupted_percent_per_month,
    })
}

static CATALOGUE: LazyLock<PriceTable> = LazyLock::new(|| PriceTable::read(CSV));

/// Offers that can be chosen: today's, without [`references`].
#[must_use]
pub fn built_in() -> &'static [Offer] {
    &CATALOGUE.today
}

/// What publications reckoned with: chosen only when asked for by name.
#[must_use]
pub fn references() -> &'static [Offer] {
    &CATALOGUE.references
}

/// Rows of the table that are not offers, with the reason.
#[must_use]
pub fn rejected() -> &'static [RejectedOffer] {
    &CATALOGUE.rejected
}

/// Every offer that `name` can mean: a full name (`provider/instance_type/region`), `provider/instance_type`,
/// a provider or an instance type; references too. At least one.
pub fn find(name: &str) -> Result<Vec<&'static Offer>, UnknownName> {
    find_among(name, built_in())
}

/// [`find`] among the offers of another price table.
pub fn find_among<'a>(name: &str, today: &'a [Offer]) -> Result<Vec<&'a Offer>, UnknownName> {
    let wanted = folded(name);
    let all = || today.iter().chain(references());
    let matching = |names: fn(&Offer) -> Vec<String>| -> Vec<&'a Offer> {
        all().filter(|offer| names(offer).iter().any(|known| folded(known) == wanted)).collect()
    };
    let full = matching(|offer| vec![offer.name()]);
    if !full.is_empty() {
        return Ok(full);
    }
    let partial = matching(|offer| {
        vec![
            format!("{}/{}", offer.provider, offer.instance_type),
            offer.instance_type.clone(),
            offer.provider.clone(),
        ]
    });
    if !partial.is_empty() {
        return Ok(partial);
    }
    let known: Vec<String> = all()
        .flat_map(|offer| {
            [
                offer.provider.clone(),
                offer.instance_type.clone(),
                format!("{}/{}", offer.provider, offer.instance_type),
            ]
        })
        .collect();
    Err(UnknownName::new("offer", name, known.iter().map(String::as_str)))
}

/// The one offer of exactly this full name (what [`Offer::name`] gives).
#[must_use]
pub fn find_named(name: &str) -> Option<&'static Offer> {
    built_in().iter().chain(references()).find(|offer| offer.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    const HEADER: &str = "provider,region,instance_type,accelerator,count,vcpus,on_demand_usd_per_hour,spot_usd_per_hour,basis,as_of,source,note\n";

    fn rejects(row: &str) -> String {
        let catalogue = PriceTable::read(&format!("{HEADER}{row}\n"));
        assert!(catalogue.today.is_empty() && catalogue.references.is_empty(), "{row}");
        catalogue.rejected[0].reason.to_string()
    }

    #[test]
    fn prices_that_cannot_be_are_refused_with_the_reason() {
        for (row, reason) in [
            (
                "p,r,i,H100,8,,0,,list,2026,s,",
                "on_demand_usd_per_hour = 0: not a believable price for 8 accelerators",
            ),
            (
                "p,r,i,H100,1,,0.01,,list,2026,s,",
                "on_demand_usd_per_hour = 0.01: not a believable price for 1 accelerators",
            ),
            (
                "p,r,i,H100,1,,2,-1,list,2026,s,",
                "spot_usd_per_hour = -1: not a believable price for 1 accelerators",
            ),
            (
                "p,r,i,H100,1,,NaN,,list,2026,s,",
                "on_demand_usd_per_hour = NaN: not a believable price for 1 accelerators",
            ),
            (
                "p,r,i,H100,1,,inf,,list,2026,s,",
                "on_demand_usd_per_hour = inf: not a believable price for 1 accelerators",
            ),
            ("p,r,i,H100,1,,,,list,2026,s,", "has no price"),
            ("p,r,i,H100,0,,2,,list,2026,s,", "count = 0: has no accelerator"),
            ("p,r,i,H900,1,,2,,list,2026,s,", "no accelerator is called `H900`"),
            ("p,r,i,H100,1,,2,,fixture,2026,s,", "the price is from a fixture source, not from a price list"),
        ] {
            assert_eq!(rejects(row), reason, "{row}");
        }
        assert!(rejects("p,r,i,H100,one,,2,,list,2026,s,").contains("invalid digit"));
        assert!(rejects("p,r,i,H100").contains("found record with 4 fields"));
    }

    #[test]
    fn the_embedded_table_is_offers_and_known_rejects() {
        assert_eq!(built_in().len() + references().len() + rejected().len(), 270);
        let names: Vec<&str> = rejected().iter().map(|row| row.name.as_str()).collect();
        assert_eq!(rejected().len(), 14, "{names:?}");
        let unknown = rejected().iter().filter(|row| matches!(row.reason, Rejected::Accelerator(_))).count();
        let basis = rejected().iter().filter(|row| matches!(row.reason, Rejected::Basis(_))).count();
        assert_eq!((unknown, basis), (2, 12), "{names:?}");
        for offer in built_in() {
            assert!(!offer.as_of.is_empty() && !offer.citation.is_empty(), "{offer}");
            for price in [offer.on_demand_usd_per_hour, offer.spot_usd_per_hour].into_iter().flatten() {
                let per_device = price.dollars() / f64::from(offer.count);
                assert!((0.05..30.0).contains(&per_device), "{offer}: {per_device} per device");
            }
        }
    }

    #[test]
    fn the_papers_machine_is_found_by_name_only() {
        assert!(built_in().iter().all(|offer| offer.basis != PriceBasis::Reference));
        let found = find("clipa-v2-paper").expect("the paper's offer");
        assert_eq!(found.len(), 1);
        let offer = found[0];
        assert_eq!((offer.count, offer.accelerator.name.as_str()), (8, "A100-80GB-SXM"));
        assert_eq!(offer.on_demand_usd_per_hour, Some(Usd::from_micros(12_600_000)));
        assert_eq!(offer.as_of, "2023-06");
        assert!(matches!(offer.price_source(), Source::Published { .. }));
        assert_eq!(find_named(&offer.name()), Some(offer));
    }

    #[test]
    fn offers_are_found_by_any_part_of_their_name() {
        assert!(find("aws").expect("a provider").len() > 10);
        assert!(find("p5.48xlarge").expect("a type").iter().all(|offer| offer.provider == "aws"));
        assert_eq!(find("lambda/gpu_8x_h100_sxm5").expect("both").len(), 1);
        let error = find("p5.48xlage").expect_err("a typing error");
        assert_eq!(error.nearest[0], "p5.48xlarge");
    }

    #[test]
    fn full_names_are_unique() {
        let mut names: Vec<String> = built_in().iter().chain(references()).map(Offer::name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
