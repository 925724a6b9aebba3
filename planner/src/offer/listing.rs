//! Offers side by side: filtered, sorted, with what a FLOP of each costs.

use std::cmp::Ordering;

use chrono::NaiveDate;

use super::Offer;
use crate::accelerator::Accelerator;
use crate::architectures;
use crate::names::UnknownName;
use crate::time;
use crate::units::{Tokens, Usd};

/// The work by which offers are compared: the paper's short-token pretraining of H/14 at 84 px.
const WORK: (&str, Tokens, Tokens) = ("ViT-H-14-CLIPA", Tokens(36), Tokens(8));

/// Which offers are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Of this accelerator.
    pub gpu: Option<&'static Accelerator>,
    /// Of this provider.
    pub provider: Option<String>,
    /// In this region.
    pub region: Option<String>,
    /// With at least so many accelerators in the machine.
    pub min_gpus: Option<u32>,
    /// Interruptible, at the interruptible price.
    pub spot: bool,
    /// At most this per accelerator-hour.
    pub max_price: Option<Usd>,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// The lowest price per FLOP.
    #[default]
    Exaflop,
    /// The lowest price of the machine.
    Hour,
    /// The lowest price of one accelerator.
    GpuHour,
    /// The alphabet.
    Name,
}

/// What one filter left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The filter as a flag.
    pub filter: String,
    /// Offers before it.
    pub before: usize,
    /// Offers after it.
    pub after: usize,
}

/// No offer is left.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("no offer is left: {}", words(.steps))]
pub struct ListError {
    /// Each filter up to the one that removed the last offer.
    pub steps: Vec<Removed>,
    /// Advice.
    pub hint: String,
}

fn words(steps: &[Removed]) -> String {
    steps
        .iter()
        .map(|step| match (step.after, step.before) {
            (0, 1) => format!("`{}` removes the last one", step.filter),
            (0, before) => format!("`{}` removes the last {before}", step.filter),
            (after, before) => format!("`{}` leaves {after} of {before}", step.filter),
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// An offer with what follows from its price.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<'a> {
    /// The offer.
    pub offer: &'a Offer,
    /// The price compared by is the interruptible one: asked for, or the only one.
    pub spot: bool,
    /// Per hour of the whole machine.
    pub usd_per_hour: Usd,
    /// Per accelerator-hour.
    pub usd_per_gpu_hour: Usd,
    /// Per 10^18 operations at the accelerators' peak, which no program reaches.
    pub usd_per_peak_exaflop: f64,
    /// Per 10^18 operations that training is expected to do, see [`speed_assumption`].
    pub usd_per_delivered_exaflop: f64,
    /// Days since the price was read, where its day is known.
    pub age_days: Option<i64>,
}

/// What `usd_per_delivered_exaflop` assumes.
#[must_use]
pub fn speed_assumption() -> String {
    let (architecture, image, text) = WORK;
    format!(
        "delivered: at the planner's median speed for {architecture} with {image} image and {text} text tokens, \
         images always at hand; other work and slow decoding deliver less or more"
    )
}

impl<'a> Listed<'a> {
    fn of(offer: &'a Offer, spot: bool, today: NaiveDate) -> Option<Self> {
        let (spot, usd_per_hour) = match (spot, offer.on_demand_usd_per_hour, offer.spot_usd_per_hour) {
            (false, Some(price), _) => (false, price),
            (_, _, Some(price)) => (true, price),
            _ => return None,
        };
        let count = f64::from(offer.count.max(1));
        let dollars = usd_per_hour.dollars();
        let exaflops = |flops_per_second: f64| flops_per_second * count * 3600.0 / 1e18;
        let (name, image, text) = WORK;
        // Speeds of an architecture that comes with the crate; its tests show that it does.
        let delivered = architectures::find(name).map_or(0.0, |architecture| {
            time::achieved_flops(architecture, image, text, offer.accelerator, offer.count, None)
                .flops_per_second
                .p50
        });
        Some(Self {
            offer,
            spot,
            usd_per_hour,
            usd_per_gpu_hour: Usd::from_dollars(dollars / count),
            usd_per_peak_exaflop: dollars / exaflops(offer.accelerator.bf16_tflops * 1e12),
            usd_per_delivered_exaflop: dollars / exaflops(delivered),
            age_days: age_days(&offer.as_of, today),
        })
    }

    /// `117 d`; `up to 327 d` where the price names no day; `-` where it has no date.
    #[must_use]
    pub fn age(&self) -> String {
        match self.age_days {
            None => "-".to_owned(),
            Some(days) if self.offer.as_of.matches('-').count() < 2 => format!("up to {days} d"),
            Some(days) => format!("{days} d"),
        }
    }
}

/// Days since `2026-07-30`, `2026-07` or `2026`: the oldest that it can mean.
#[must_use]
pub fn age_days(as_of: &str, today: NaiveDate) -> Option<i64> {
    let mut parts = as_of.trim().splitn(3, '-');
    let year: i32 = parts.next()?.parse().ok()?;
    let month: u32 = parts.next().map_or(Some(1), |part| part.parse().ok())?;
    let day: u32 = parts.next().map_or(Some(1), |part| part.get(..2).unwrap_or(part).parse().ok())?;
    Some((today - NaiveDate::from_ymd_opt(year, month, day)?).num_days())
}

/// The offers that `filter` leaves, in the order of `sort`; equal ones by name.
pub fn list<'a>(
    offers: &'a [Offer],
    filter: &Filter,
    sort: SortBy,
    today: NaiveDate,
) -> Result<Vec<Listed<'a>>, ListError> {
    let mut left: Vec<Listed<'a>> =
        offers.iter().filter_map(|offer| Listed::of(offer, filter.spot, today)).collect();
    let mut steps = Vec::new();
    if left.len() < offers.len() || offers.is_empty() {
        let flag = if filter.spot { "--spot" } else { "--prices" };
        narrowed(&mut steps, flag.to_owned(), offers.len(), left.len(), || {
            "leave --spot out: nothing is sold interruptibly".to_owned()
        })?;
    }
    let mut keep =
        |flag: String, wanted: &dyn Fn(&Listed<'a>) -> bool, hint: &dyn Fn(&[Listed<'a>]) -> String| {
            let before = left.clone();
            left.retain(|listed| wanted(listed));
            narrowed(&mut steps, flag, before.len(), left.len(), || hint(&before))
        };
    if let Some(gpu) = filter.gpu {
        keep(
            format!("--gpu {}", gpu.name),
            &|listed| listed.offer.accelerator.name == gpu.name,
            &|before| known_are("accelerator", &gpu.name, before, |offer| &offer.accelerator.name),
        )?;
    }
    if let Some(provider) = &filter.provider {
        keep(
            format!("--provider {provider}"),
            &|listed| listed.offer.provider.eq_ignore_ascii_case(provider),
            &|before| known_are("provider", provider, before, |offer| &offer.provider),
        )?;
    }
    if let Some(region) = &filter.region {
        keep(
            format!("--region {region}"),
            &|listed| listed.offer.region.eq_ignore_ascii_case(region),
            &|before| known_are("region", region, before, |offer| &offer.region),
        )?;
    }
    if let Some(least) = filter.min_gpus {
        keep(format!("--min-gpus {least}"), &|listed| listed.offer.count >= least, &|before| {
            let most = before.iter().map(|listed| listed.offer.count).max().unwrap_or(0);
            format!("the largest machine left has {most}")
        })?;
    }
    if let Some(most) = filter.max_price {
        keep(format!("--max-price {most}"), &|listed| listed.usd_per_gpu_hour <= most, &|before| {
            let cheapest = before.iter().map(|listed| listed.usd_per_gpu_hour).min().unwrap_or_default();
            format!("the cheapest left costs {cheapest} USD per GPU-hour")
        })?;
    }
    left.sort_by(|a, b| by(sort, a, b).then_with(|| a.offer.name().cmp(&b.offer.name())));
    Ok(left)
}

fn by(sort: SortBy, a: &Listed<'_>, b: &Listed<'_>) -> Ordering {
    match sort {
        SortBy::Exaflop => a.usd_per_delivered_exaflop.total_cmp(&b.usd_per_delivered_exaflop),
        SortBy::Hour => a.usd_per_hour.cmp(&b.usd_per_hour),
        SortBy::GpuHour => a.usd_per_gpu_hour.cmp(&b.usd_per_gpu_hour),
        SortBy::Name => Ordering::Equal,
    }
}

fn narrowed(
    steps: &mut Vec<Removed>,
    filter: String,
    before: usize,
    after: usize,
    hint: impl FnOnce() -> String,
) -> Result<(), ListError> {
    steps.push(Removed { filter, before, after });
    if after == 0 { Err(ListError { steps: steps.clone(), hint: hint() }) } else { Ok(()) }
}

/// The nearest names among what was left, or some of them.
fn known_are(
    kind: &'static str,
    name: &str,
    before: &[Listed<'_>],
    of: impl Fn(&Offer) -> &String,
) -> String {
    let mut known: Vec<&str> = before.iter().map(|listed| of(listed.offer).as_str()).collect();
    known.sort_unstable();
    known.dedup();
    UnknownName::new(kind, name, known.iter().copied()).hint().unwrap_or_else(|| {
        let some = known.iter().take(8).copied().collect::<Vec<_>>().join(", ");
        let more = if known.len() > 8 { ", ..." } else { "" };
        format!("what was left until then is of: {some}{more}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerator::find;
    use crate::offer::built_in;

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 8, 30).expect("a day")
    }

    #[test]
    fn filters_narrow_and_sorts_order() {
        let gpu = find("H100").ok();
        let filter = Filter { gpu, min_gpus: Some(8), spot: true, ..Filter::default() };
        let listed = list(built_in(), &filter, SortBy::GpuHour, today()).expect("spot H100");
        assert!(listed.len() > 5);
        assert!(listed.iter().all(|one| one.spot && one.offer.count >= 8));
        assert!(listed.iter().all(|one| one.offer.spot_usd_per_hour == Some(one.usd_per_hour)));
        assert!(listed.is_sorted_by_key(|one| one.usd_per_gpu_hour));
        let all = list(built_in(), &Filter::default(), SortBy::Exaflop, today()).expect("all");
        assert_eq!(all.len(), built_in().len());
        assert!(all.is_sorted_by(|a, b| a.usd_per_delivered_exaflop <= b.usd_per_delivered_exaflop));
        for one in &all {
            assert!(one.usd_per_delivered_exaflop.is_finite(), "{}", one.offer);
            assert!(one.usd_per_delivered_exaflop > one.usd_per_peak_exaflop, "{}", one.offer);
        }
    }

    #[test]
    fn the_filter_that_removed_the_last_offer_is_named() {
        let gpu = find("H100").ok();
        let filter = Filter { gpu, region: Some("us-est-1".into()), ..Filter::default() };
        let error = list(built_in(), &filter, SortBy::Name, today()).expect_err("no such region");
        let text = error.to_string();
        assert!(
            text.contains("`--gpu H100-SXM` leaves ") && text.contains("`--region us-est-1` removes"),
            "{text}"
        );
        assert!(error.hint.contains("us-east-1"), "{}", error.hint);
        let filter = Filter { max_price: Some(Usd::from_micros(10)), ..Filter::default() };
        let error = list(built_in(), &filter, SortBy::Name, today()).expect_err("too cheap");
        assert_eq!(error.hint, "the cheapest left costs 0.1381 USD per GPU-hour");
    }
}
