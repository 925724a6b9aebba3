//! `prices diff`: what changed between two price tables.

use std::fmt::Write;

use serde_json::json;
use shoestring_planner::offer::Offer;
use shoestring_planner::prices::{self, Diff};
use shoestring_planner::units::Usd;

use super::offers_of;
use crate::cli::{Format, PricesDiffArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(crate) fn diff(args: &PricesDiffArgs, printer: Printer) -> Result<Exit, Failure> {
    let (old, new) = (offers_of(Some(&args.old))?, offers_of(Some(&args.new))?);
    let diff = prices::diff(&old, &new);
    match args.format {
        Format::Text => printer.data(&text(&diff))?,
        Format::Json => printer.json(&object(&diff))?,
    }
    Ok(Exit::Success)
}

fn shown(price: Option<Usd>) -> String {
    price.map_or("-".to_owned(), |price| price.to_string())
}

fn text(diff: &Diff<'_>) -> String {
    let mut out = String::new();
    for change in &diff.changed {
        let percent = change.percent().map_or("       -".to_owned(), |percent| format!("{percent:+7.1} %"));
        let sale = if change.sale == "spot" { "spot" } else { "on demand" };
        let _ = writeln!(
            out,
            "~ {:<50} {sale:<9} {:>10} -> {:>10} {percent}",
            change.offer,
            shown(change.old),
            shown(change.new)
        );
    }
    for (mark, offers) in [("+", &diff.added), ("-", &diff.gone)] {
        for offer in offers {
            let _ = writeln!(
                out,
                "{mark} {:<50} {:>10} on demand, {:>10} spot",
                offer.name(),
                shown(offer.on_demand_usd_per_hour),
                shown(offer.spot_usd_per_hour)
            );
        }
    }
    let _ = writeln!(
        out,
        "{} prices changed, {} offers added, {} gone, {} as they were (USD per hour of the whole machine)",
        diff.changed.len(),
        diff.added.len(),
        diff.gone.len(),
        diff.unchanged
    );
    out
}

fn object(diff: &Diff<'_>) -> serde_json::Value {
    let offers = |offers: &[&Offer]| -> Vec<serde_json::Value> {
        offers
            .iter()
            .map(|offer| {
                json!({
                    "offer": offer.name(), "on_demand_usd_per_hour": offer.on_demand_usd_per_hour,
                    "spot_usd_per_hour": offer.spot_usd_per_hour, "as_of": offer.as_of,
                })
            })
            .collect()
    };
    json!({
        "schema": "shoestring.prices_diff", "version": 1,
        "changed": diff.changed.iter().map(|change| json!({
            "offer": change.offer, "sale": change.sale, "old_usd_per_hour": change.old,
            "new_usd_per_hour": change.new, "change_percent": change.percent(),
        })).collect::<Vec<_>>(),
        "added": offers(&diff.added), "gone": offers(&diff.gone), "unchanged": diff.unchanged,
    })
}
