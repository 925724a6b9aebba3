//! What an accelerator usually costs, by the built-in catalogue: the measure by which a price is a mistake.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{Offer, built_in};
use crate::accelerator::{Accelerator, Runtime};
use crate::units::Usd;

/// An accelerator with fewer prices than this is judged by what FLOPs cost in the whole catalogue.
const ENOUGH_PRICES: usize = 3;
/// Prices within this factor of the catalogue's lowest and highest are believed.
const FACTOR: f64 = 3.0;
/// As much as nothing: what price lists write where they know no price.
const NOTHING: Usd = Usd::from_micros(10_000);

/// Prices per accelerator and hour that are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsualPrice {
    /// A third of the lowest known.
    pub low: Usd,
    /// Three times the highest known.
    pub high: Usd,
}

/// Why a price is not believed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unbelievable {
    /// Zero, a cent, negative, not a number: what price lists write for "unknown".
    #[error("no cloud charges that")]
    Nothing,
    /// Far outside what the accelerator costs elsewhere.
    #[error(
        "{per_device} USD per {accelerator} and hour, which elsewhere costs {:.2} to {:.2}",
        .usual.low.dollars(),
        .usual.high.dollars()
    )]
    Unusual {
        /// The accelerator.
        accelerator: String,
        /// USD per accelerator and hour.
        per_device: Usd,
        /// What is believed.
        usual: UsualPrice,
    },
}

/// Lowest and highest price per accelerator-hour of each accelerator, and the number of prices.
static KNOWN: LazyLock<BTreeMap<&'static str, (f64, f64, usize)>> = LazyLock::new(|| {
    let mut known = BTreeMap::new();
    for offer in built_in() {
        for price in per_device(offer) {
            let entry = known.entry(offer.accelerator.name.as_str()).or_insert((price, price, 0));
            *entry = (f64::min(entry.0, price), f64::max(entry.1, price), entry.2 + 1);
        }
    }
    known
});

/// Lowest and highest price per peak TFLOP/s and hour over the catalogue.
static PER_TFLOPS: LazyLock<(f64, f64)> = LazyLock::new(|| {
    built_in()
        .iter()
        .flat_map(|offer| per_device(offer).map(|price| price / offer.accelerator.bf16_tflops))
        .fold((f64::INFINITY, 0.0), |(low, high), rate| (f64::min(low, rate), f64::max(high, rate)))
});

fn per_device(offer: &Offer) -> impl Iterator<Item = f64> {
    let count = f64::from(offer.count);
    [offer.on_demand_usd_per_hour, offer.spot_usd_per_hour]
        .into_iter()
        .flatten()
        .map(move |price| price.dollars() / count)
}

/// What is believed of `accelerator`: within a factor of three of the catalogue's lowest and highest price,
/// on demand and spot together; with fewer than three prices known, within the catalogue's range of USD per
/// peak FLOP. A CPU has any price.
#[must_use]
pub fn usual_price(accelerator: &Accelerator) -> UsualPrice {
    if accelerator.runtime == Runtime::Cpu {
        return UsualPrice { low: Usd::from_micros(1), high: Usd::MAX };
    }
    let (low, high) = match KNOWN.get(accelerator.name.as_str()) {
        Some(&(low, high, prices)) if prices >= ENOUGH_PRICES => (low / FACTOR, high * FACTOR),
        _ => (PER_TFLOPS.0 * accelerator.bf16_tflops, PER_TFLOPS.1 * accelerator.bf16_tflops),
    };
    UsualPrice { low: Usd::from_dollars(low), high: Usd::from_dollars(high) }
}

/// Whether someone may really charge `usd_per_hour` for a machine with `count` of `accelerator`.
pub fn believable(usd_per_hour: f64, accelerator: &Accelerator, count: u32) -> Result<Usd, Unbelievable> {
    // Written so that NaN is refused as well.
    let is_some = usd_per_hour.is_finite() && usd_per_hour > NOTHING.dollars();
    if !is_some && accelerator.runtime != Runtime::Cpu || !usd_per_hour.is_finite() || usd_per_hour <= 0.0 {
        return Err(Unbelievable::Nothing);
    }
    let usual = usual_price(accelerator);
    let per_device = Usd::from_dollars(usd_per_hour / f64::from(count.max(1)));
    if (usual.low..=usual.high).contains(&per_device) {
        Ok(Usd::from_dollars(usd_per_hour))
    } else {
        Err(Unbelievable::Unusual { accelerator: accelerator.name.clone(), per_device, usual })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerator::{built_in as accelerators, find};

    #[test]
    fn every_built_in_price_is_usual() {
        for offer in built_in() {
            for price in [offer.on_demand_usd_per_hour, offer.spot_usd_per_hour].into_iter().flatten() {
                let believed = believable(price.dollars(), offer.accelerator, offer.count);
                assert_eq!(believed, Ok(price), "{offer}");
            }
        }
    }

    #[test]
    fn a_misplaced_unit_is_unusual_for_every_accelerator_with_a_known_price() {
        for accelerator in accelerators().iter().filter(|known| known.runtime != Runtime::Cpu) {
            let usual = usual_price(accelerator);
            assert!(usual.low > Usd::ZERO && usual.low < usual.high, "{}: {usual:?}", accelerator.name);
            let middle = (usual.low.dollars() * usual.high.dollars()).sqrt();
            // By the month instead of the hour, or by the second.
            for wrong in [middle * 730.0, middle / 3600.0] {
                let refused = believable(8.0 * wrong, accelerator, 8);
                assert!(refused.is_err(), "{}: {wrong} within {usual:?}", accelerator.name);
            }
        }
    }

    #[test]
    fn nothing_and_lures_are_refused_with_the_reason() {
        let b200 = find("B200").expect("B200");
        for nothing in [0.0, 0.01, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(believable(nothing, b200, 1), Err(Unbelievable::Nothing), "{nothing}");
        }
        let lure = believable(0.16, b200, 8).expect_err("two cents a B200");
        assert!(
            lure.to_string().starts_with("0.02 USD per B200-SXM and hour, which elsewhere costs 0.57"),
            "{lure}"
        );
    }
}
