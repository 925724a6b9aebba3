//! What changed between two price tables.

use std::collections::BTreeMap;

use crate::offer::Offer;
use crate::units::Usd;

/// A price that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The offer's name.
    pub offer: String,
    /// `on_demand` or `spot`.
    pub sale: &'static str,
    /// Before; `None` where it was not sold so.
    pub old: Option<Usd>,
    /// After; `None` where it is no longer sold so.
    pub new: Option<Usd>,
}

impl Change {
    /// By how many per cent the price rose (negative: fell), where there is one before and after.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let (old, new) = (self.old?, self.new?);
        (old > Usd::ZERO).then(|| 100.0 * (new.dollars() / old.dollars() - 1.0))
    }
}

/// What changed between two price tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff<'a> {
    /// Offers that only the second has, by name.
    pub added: Vec<&'a Offer>,
    /// Offers that only the first has, by name.
    pub gone: Vec<&'a Offer>,
    /// Prices that differ, by name.
    pub changed: Vec<Change>,
    /// Offers with the same prices in both.
    pub unchanged: usize,
}

/// From `old` to `new`: offers are the same by their name.
#[must_use]
pub fn diff<'a>(old: &'a [Offer], new: &'a [Offer]) -> Diff<'a> {
    let by_name = |offers: &'a [Offer]| -> BTreeMap<String, &'a Offer> {
        offers.iter().map(|offer| (offer.name(), offer)).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let mut diff = Diff {
        added: new.iter().filter(|(name, _)| !old.contains_key(*name)).map(|(_, offer)| *offer).collect(),
        ..Diff::default()
    };
    for (name, before) in &old {
        let Some(after) = new.get(name) else {
            diff.gone.push(before);
            continue;
        };
        let prices = [
            ("on_demand", before.on_demand_usd_per_hour, after.on_demand_usd_per_hour),
            ("spot", before.spot_usd_per_hour, after.spot_usd_per_hour),
        ];
        let changes = prices.into_iter().filter(|(_, old, new)| old != new).map(|(sale, old, new)| Change {
            offer: name.clone(),
            sale,
            old,
            new,
        });
        let before = diff.changed.len();
        diff.changed.extend(changes);
        diff.unchanged += usize::from(diff.changed.len() == before);
    }
    diff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::built_in;

    #[test]
    fn added_gone_and_changed_are_told_apart() {
        let old: Vec<Offer> = built_in().iter().take(4).cloned().collect();
        let mut new = old.clone();
        let gone = new.remove(0);
        new[0].on_demand_usd_per_hour = Some(Usd::from_micros(1_500_000));
        new[1].spot_usd_per_hour = None;
        new.push(built_in()[10].clone());
        let diff = diff(&old, &new);
        assert_eq!(diff.gone, [&gone]);
        assert_eq!(diff.added, [&built_in()[10]]);
        assert_eq!(diff.unchanged, 1);
        let sales: Vec<&str> = diff.changed.iter().map(|change| change.sale).collect();
        assert_eq!(sales.len(), 2);
        assert!(sales.contains(&"spot") && sales.contains(&"on_demand"));
        for change in &diff.changed {
            let old = old.iter().find(|offer| offer.name() == change.offer).expect("an old offer");
            match change.sale {
                "spot" => assert_eq!((change.percent(), change.old), (None, old.spot_usd_per_hour)),
                _ => {
                    let before = old.on_demand_usd_per_hour.expect("sold").dollars();
                    let percent = change.percent().expect("both prices");
                    assert!((before * (1.0 + percent / 100.0) - 1.5).abs() < 1e-9);
                }
            }
        }
    }
}
