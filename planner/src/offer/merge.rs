//! One offer from several feeds' rows about it.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::Offer;
use crate::units::Usd;

/// Which of several feeds of the same day is believed: one's own contract, then the cloud's own price list, then
/// catalogues that others gather, last an estimate from a published saving.
fn rank(feed: &str) -> usize {
    const ORDER: [&str; 6] = ["import", "azure", "aws", "skypilot", "gpuhunt", "aws-spot"];
    let source = feed.split('/').next().unwrap_or_default();
    // The built-in catalogue's rows name no feed.
    ORDER.iter().position(|known| *known == source).unwrap_or(3)
}

/// One's own contract holds, however old; an estimate gives way to any price that was asked, however old.
fn tier(feed: &str) -> u8 {
    match feed.split('/').next().unwrap_or_default() {
        "import" => 0,
        "aws-spot" => 2,
        _ => 1,
    }
}

/// A date of a month or a year alone is as old as it can be: `2026-08` comes before every day of August.
fn newest_first(a: &Offer, b: &Offer) -> Ordering {
    b.as_of.cmp(&a.as_of)
}

/// One offer of each name, in the order of their first rows. Each price is from one's own contract where it has one, else
/// the newest of those that have it; of the same day, from the feed most to be believed, and of equal standing the
/// lower. The note says which older price it replaced where the two differ.
pub(super) fn one_of_each(offers: Vec<Offer>) -> Vec<Offer> {
    let mut place: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Vec<Offer>> = Vec::new();
    for offer in offers {
        let next = groups.len();
        let at = *place.entry(offer.name()).or_insert(next);
        if at == next {
            groups.push(vec![offer]);
        } else {
            groups[at].push(offer);
        }
    }
    groups.into_iter().filter_map(merged).collect()
}

fn merged(mut group: Vec<Offer>) -> Option<Offer> {
    let price = |offer: &Offer| offer.on_demand_usd_per_hour.unwrap_or(Usd::MAX);
    group.sort_by(|a, b| {
        let by_tier = tier(&a.feed).cmp(&tier(&b.feed));
        let by_rank = rank(&a.feed).cmp(&rank(&b.feed)).then(price(a).cmp(&price(b)));
        by_tier.then(newest_first(a, b)).then(by_rank)
    });
    let mut group = group.into_iter();
    let mut first = group.next()?;
    for other in group {
        let same = other.accelerator.name == first.accelerator.name && other.count == first.count;
        if !same {
            continue;
        }
        first.vcpus = first.vcpus.or(other.vcpus);
        first.interrupted_percent_per_month =
            first.interrupted_percent_per_month.or(other.interrupted_percent_per_month);
        for (what, mine, theirs) in [
            ("on demand", &mut first.on_demand_usd_per_hour, other.on_demand_usd_per_hour),
            ("spot", &mut first.spot_usd_per_hour, other.spot_usd_per_hour),
        ] {
            if let (Some(newer), Some(older)) = (*mine, theirs)
                && newer != older
                && !first.note.contains("instead of")
            {
                let between = if first.note.is_empty() { "" } else { "; " };
                let from = if other.feed.is_empty() { "the catalogue" } else { &other.feed };
                first.note =
                    format!("{}{between}{what} instead of {older} of {} ({from})", first.note, other.as_of);
            }
            if mine.is_none() && theirs.is_some() {
                *mine = theirs;
                first.citation = format!("{} ; {what}: {}", first.citation, other.citation);
                // An offer is as old as the older of its prices.
                first.as_of = std::cmp::min(&first.as_of, &other.as_of).clone();
                if !other.note.is_empty() && !first.note.contains(&other.note) {
                    let between = if first.note.is_empty() { "" } else { "; " };
                    first.note = format!("{}{between}{}", first.note, other.note);
                }
            }
        }
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::super::PriceTable;
    use super::*;

    const HEADER: &str = "provider,region,instance_type,accelerator,count,vcpus,on_demand_usd_per_hour,spot_usd_per_hour,basis,as_of,source,note\n";

    #[test]
    fn rows_of_one_name_become_one_offer_of_the_prices_most_to_be_believed() {
        let header = HEADER.replace("note\n", "note,feed,interrupted_percent_per_month\n");
        let table = PriceTable::read(&format!(
            "{header}\
            aws,r,p5,H100,8,192,60,20,list,2026-08-01,sky,,skypilot/aws,\n\
            aws,r,p5,H100,8,,55,,list,2026-08-03,bulk,,aws/r,\n\
            aws,r,p5,H100,8,,55,18,list,2026-08-02,advisor,estimated,aws-spot,16\n\
            aws,s,p5,H100,8,,70,,list,2026-08-02,bulk,,aws/s,\n"
        ));
        assert_eq!(table.rejected, []);
        assert_eq!(table.today.len(), 2);
        let offer = &table.today[0];
        assert_eq!(offer.on_demand_usd_per_hour, Some(Usd::from_micros(55_000_000)));
        assert_eq!(offer.spot_usd_per_hour, Some(Usd::from_micros(20_000_000)));
        assert_eq!((offer.citation.as_str(), offer.as_of.as_str()), ("bulk ; spot: sky", "2026-08-01"));
        assert_eq!((offer.vcpus, offer.interrupted_percent_per_month), (Some(192), Some(16)));
        assert_eq!(offer.feed, "aws/r");
        assert_eq!(offer.note, "on demand instead of 60.00 of 2026-08-01 (skypilot/aws)");
    }

    #[test]
    fn the_newer_price_wins_and_says_what_it_replaced() {
        let header = HEADER.replace("note\n", "note,feed\n");
        let price = |rows: &str| {
            let table = PriceTable::read(&format!("{header}{rows}"));
            assert_eq!((table.rejected.len(), table.today.len()), (0, 1), "{rows}");
            let offer = &table.today[0];
            (offer.on_demand_usd_per_hour.expect("a price").dollars(), offer.feed.clone(), offer.note.clone())
        };
        let row =
            |usd: u32, day: &str, feed: &str| format!("aws,r,p5,H100,8,192,{usd},,list,{day},s,,{feed}\n");
        // A gathered catalogue of today beats the cloud's own list of last month.
        let old = row(60, "2026-08-01", "aws/r");
        let (usd, feed, note) = price(&(old.clone() + &row(50, "2026-09-01", "skypilot/aws")));
        assert_eq!((usd, feed.as_str()), (50.0, "skypilot/aws"));
        assert_eq!(note, "on demand instead of 60.00 of 2026-08-01 (aws/r)");
        // Of the same day, or of a month that may be before it, the cloud's own list.
        for day in ["2026-08-01", "2026-08"] {
            assert_eq!(price(&(row(50, day, "skypilot/aws") + &old)).0, 60.0, "{day}");
        }
        // One's own contract holds however old; an estimate never replaces a price that was asked.
        assert_eq!(price(&(old.clone() + &row(40, "2025", "import"))).0, 40.0);
        assert_eq!(price(&(old + &row(30, "2026-10-01", "aws-spot"))).0, 60.0);
    }
}
