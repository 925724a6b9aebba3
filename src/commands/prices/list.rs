//! `prices list`: offers side by side.

use std::fmt::Write;

use serde_json::json;
use shoestring_planner::accelerator;
use shoestring_planner::offer::{self, Filter, Listed, SortBy};
use shoestring_planner::prices::{PriceRow, Table};
use shoestring_planner::units::Usd;

use super::offers_of;
use crate::cli::{PricesFormat, PricesListArgs, PricesSort};
use crate::commands::today;
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(crate) fn list(args: &PricesListArgs, printer: Printer) -> Result<Exit, Failure> {
    let gpu = match &args.gpu {
        None => None,
        Some(name) => Some(accelerator::find(name).map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Usage, error).hint(hint)
        })?),
    };
    let offers = offers_of(args.prices.as_deref())?;
    let filter = Filter {
        gpu,
        provider: args.provider.clone(),
        region: args.region.clone(),
        min_gpus: args.min_gpus,
        spot: args.spot,
        max_price: args.max_price,
    };
    let sort = match args.sort {
        PricesSort::Exaflop => SortBy::Exaflop,
        PricesSort::Hour => SortBy::Hour,
        PricesSort::GpuHour => SortBy::GpuHour,
        PricesSort::Name => SortBy::Name,
    };
    let listed = offer::list(&offers, &filter, sort, today()).map_err(|error| {
        let hint = error.hint.clone();
        Failure::new(Exit::Infeasible, error).hint(hint)
    })?;
    match args.format {
        PricesFormat::Text => printer.data(&text(&listed))?,
        PricesFormat::Json => printer.json(&object(&listed))?,
        PricesFormat::Csv => printer.data(&csv(&listed))?,
    }
    Ok(Exit::Success)
}

fn text(listed: &[Listed<'_>]) -> String {
    let shown = |price: Option<Usd>| price.map_or("-".to_owned(), |price| price.to_string());
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<50} {:>4} {:<18} {:>10} {:>10} {:>9} {:>10} {:>11}",
        "offer (USD per hour of the whole machine)",
        "",
        "accelerator",
        "on demand",
        "spot",
        "USD/GPU-h",
        "USD/EFLOP*",
        "price's age"
    );
    for one in listed {
        let _ = writeln!(
            out,
            "{:<50} {:>3}x {:<18} {:>10} {:>10} {:>9} {:>10.4} {:>11}",
            one.offer.name(),
            one.offer.count,
            one.offer.accelerator.name,
            shown(one.offer.on_demand_usd_per_hour),
            shown(one.offer.spot_usd_per_hour),
            format!("{}{}", one.usd_per_gpu_hour, if one.spot { "s" } else { "" }),
            one.usd_per_delivered_exaflop,
            one.age(),
        );
    }
    let _ = writeln!(out, "\n* {}.", offer::speed_assumption());
    let _ = writeln!(
        out,
        "  By the on-demand price; by the spot price (s) with --spot or where there is no other."
    );
    let oldest = listed.iter().filter_map(|one| one.age_days).max();
    if let Some(oldest) = oldest {
        let _ = writeln!(out, "  {} offers, the oldest price up to {oldest} days old.", listed.len());
    }
    out
}

fn object(listed: &[Listed<'_>]) -> serde_json::Value {
    json!({
        "schema": "shoestring.prices", "version": 1,
        "assumption": offer::speed_assumption(),
        "offers": listed.iter().map(|one| json!({
            "offer": one.offer.name(), "provider": one.offer.provider, "region": one.offer.region,
            "instance_type": one.offer.instance_type,
            "accelerator": one.offer.accelerator.name, "count": one.offer.count, "vcpus": one.offer.vcpus,
            "on_demand_usd_per_hour": one.offer.on_demand_usd_per_hour,
            "spot_usd_per_hour": one.offer.spot_usd_per_hour,
            "compared_by": if one.spot { "spot" } else { "on_demand" },
            "usd_per_gpu_hour": one.usd_per_gpu_hour,
            "usd_per_peak_exaflop": one.usd_per_peak_exaflop,
            "usd_per_delivered_exaflop": one.usd_per_delivered_exaflop,
            "usd_per_delivered_petaflop": one.usd_per_delivered_exaflop / 1000.0,
            "interrupted_percent_per_month": one.offer.interrupted_percent_per_month,
            "basis": one.offer.basis, "as_of": one.offer.as_of, "age_days": one.age_days,
            "source": one.offer.citation, "note": one.offer.note, "feed": one.offer.feed,
        })).collect::<Vec<_>>(),
    })
}

/// A price table: what `--prices` reads.
fn csv(listed: &[Listed<'_>]) -> String {
    let rows = listed.iter().map(|one| PriceRow::from(one.offer)).collect();
    Table { rows }.csv_as_it_stands()
}
