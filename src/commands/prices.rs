//! `prices`: the offers that plans choose from, and where newer ones come from.

use std::fmt::Write;

use serde_json::json;
use shoestring_planner::accelerator;
use shoestring_planner::offer::{self, Offer};
use shoestring_planner::prices::{self, Http};
use shoestring_planner::units::Usd;

use crate::cli::{Format, PricesListArgs, PricesUpdateArgs};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, write_file};

pub(crate) fn list(args: &PricesListArgs, printer: Printer) -> Result<Exit, Failure> {
    let gpu = match &args.gpu {
        None => None,
        Some(name) => Some(accelerator::find(name).map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Usage, error).hint(hint)
        })?),
    };
    let loaded = args.prices.as_deref().map(super::plan::read_prices).transpose()?;
    let mut offers: Vec<&Offer> = loaded
        .as_deref()
        .unwrap_or_else(|| offer::built_in())
        .iter()
        .filter(|offer| gpu.is_none_or(|gpu| gpu.name == offer.accelerator.name))
        .collect();
    offers.sort_by(|a, b| usd_per_exaflop(a).total_cmp(&usd_per_exaflop(b)));
    match args.format {
        Format::Text => printer.data(&text(&offers))?,
        Format::Json => printer.json(&json!({
            "schema": "shoestring.prices", "version": 1,
            "offers": offers.iter().map(|offer| json!({
                "offer": offer.name(), "accelerator": offer.accelerator.name, "count": offer.count,
                "on_demand_usd_per_hour": offer.on_demand_usd_per_hour,
                "spot_usd_per_hour": offer.spot_usd_per_hour,
                "usd_per_peak_exaflop": usd_per_exaflop(offer), "as_of": offer.as_of,
                "source": offer.citation, "note": offer.note,
            })).collect::<Vec<_>>(),
        }))?,
    }
    Ok(Exit::Success)
}

/// The lower of the two prices, over peak bf16 FLOPs: what a perfect program would pay for 10^18 operations.
fn usd_per_exaflop(offer: &Offer) -> f64 {
    let price = [offer.on_demand_usd_per_hour, offer.spot_usd_per_hour].into_iter().flatten().min();
    let flops_per_hour = offer.accelerator.bf16_tflops * 1e12 * 3600.0 * f64::from(offer.count);
    price.map_or(f64::INFINITY, |price| price.dollars() * 1e18 / flops_per_hour)
}

fn text(offers: &[&Offer]) -> String {
    let shown = |price: Option<Usd>| price.map_or("-".to_owned(), |price| price.to_string());
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<52} {:>4} {:<18} {:>10} {:>10} {:>9}  as of",
        "offer (USD per hour of the whole machine)", "", "accelerator", "on demand", "spot", "USD/EFLOP"
    );
    for offer in offers {
        let _ = writeln!(
            out,
            "{:<52} {:>3}x {:<18} {:>10} {:>10} {:>9.4}  {}",
            offer.name(),
            offer.count,
            offer.accelerator.name,
            shown(offer.on_demand_usd_per_hour),
            shown(offer.spot_usd_per_hour),
            usd_per_exaflop(offer),
            offer.as_of
        );
    }
    let _ = writeln!(
        out,
        "\nUSD/EFLOP: the lower price over peak bf16 FLOPs; what training reaches of the peak differs by machine."
    );
    out
}

pub(crate) fn update(args: &PricesUpdateArgs, printer: Printer) -> Result<Exit, Failure> {
    let failed = |error: prices::FetchError| {
        let hint = error.hint();
        Failure::new(Exit::Failure, error).hint(hint)
    };
    let http = Http::new().map_err(failed)?;
    let update = prices::update(&http, &args.url, &args.cloud).map_err(failed)?;
    write_file(&args.out, update.csv().as_bytes())?;
    for (reason, count) in &update.skipped {
        printer.note(&format!("skipped {count}: {reason}"));
    }
    printer.data(&format!(
        "{}: {} offers of {} clouds; plan with them by `--prices {}`",
        args.out.display(),
        update.rows.len(),
        args.cloud.len(),
        args.out.display()
    ))?;
    Ok(Exit::Success)
}
