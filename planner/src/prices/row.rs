//! A row of a price table, and why something that looked like one is not.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::accelerator::{self, Accelerator};
use crate::offer::{self, Offer, Unbelievable};
use crate::units::Usd;

/// A row of a price table: the columns of the built-in catalogue, and the feed it came by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PriceRow {
    /// Cloud.
    pub provider: String,
    /// Region, as the cloud calls it.
    pub region: String,
    /// Instance type.
    pub instance_type: String,
    /// Accelerator, by the catalogue's name.
    pub accelerator: String,
    /// Accelerators in the machine.
    pub count: u32,
    /// Virtual CPUs.
    pub vcpus: Option<u32>,
    /// USD per hour for the whole machine.
    pub on_demand_usd_per_hour: Option<Usd>,
    /// USD per hour for the whole machine, interruptible.
    pub spot_usd_per_hour: Option<Usd>,
    /// What kind of price: see [`offer::PriceBasis`].
    pub basis: String,
    /// Day of the price.
    pub as_of: String,
    /// Where the price was read.
    pub source: String,
    /// What to know about it.
    pub note: String,
    /// What the row came by: `skypilot/aws`, `azure`, `import`; rows of a feed are replaced together.
    #[serde(default)]
    pub feed: String,
    /// At most this share of interruptible machines is interrupted in a month.
    #[serde(default)]
    pub interrupted_percent_per_month: Option<u32>,
}

impl PriceRow {
    /// What one row of a feed is about: its offer's name.
    #[must_use]
    pub fn key(&self) -> (String, String, String) {
        (self.provider.clone(), self.region.clone(), self.instance_type.clone())
    }
}

impl From<&Offer> for PriceRow {
    fn from(offer: &Offer) -> Self {
        Self {
            provider: offer.provider.clone(),
            region: offer.region.clone(),
            instance_type: offer.instance_type.clone(),
            accelerator: offer.accelerator.name.clone(),
            count: offer.count,
            vcpus: offer.vcpus,
            on_demand_usd_per_hour: offer.on_demand_usd_per_hour,
            spot_usd_per_hour: offer.spot_usd_per_hour,
            basis: offer.basis.word().to_owned(),
            as_of: offer.as_of.clone(),
            source: offer.citation.clone(),
            note: offer.note.clone(),
            feed: offer.feed.clone(),
            interrupted_percent_per_month: offer.interrupted_percent_per_month,
        }
    }
}

/// Why a row is no offer although it should be one.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// A fraction of an accelerator.
    Fraction(f64),
    /// An accelerator that the hardware table does not have.
    UnknownAccelerator(String),
    /// A machine of which it is not known what accelerators it has.
    UnknownMachine(String),
    /// The price is for the accelerator alone, and no host for it is sold in the same place.
    WithoutHost,
    /// No price at all.
    NoPrice,
    /// A price that cannot be believed.
    Price {
        /// Column.
        column: &'static str,
        /// The price found.
        usd_per_hour: f64,
        /// Why not.
        why: Unbelievable,
    },
    /// A spot price with nothing to reckon it from.
    NoOnDemandPrice,
    /// Something that cannot be read.
    Unreadable(String),
}

impl Reason {
    /// The reason without the values, to count by.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Fraction(_) => "a fraction of an accelerator".into(),
            Self::UnknownAccelerator(name) => format!("unknown accelerator {name}"),
            Self::UnknownMachine(_) => "a machine whose accelerators are not known".into(),
            Self::WithoutHost => "an accelerator priced without a host".into(),
            Self::NoPrice => "no price".into(),
            Self::Price { column, why: Unbelievable::Nothing, .. } => {
                format!("{column} of at most a cent")
            }
            Self::Price { column, why: Unbelievable::Unusual { .. }, .. } => {
                format!("{column} far outside what the accelerator usually costs")
            }
            Self::NoOnDemandPrice => "no on-demand price to reckon the spot price from".into(),
            Self::Unreadable(_) => "cannot be read".into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(count) => write!(f, "{count} of an accelerator"),
            Self::UnknownAccelerator(name) => write!(f, "no accelerator is called `{name}`"),
            Self::UnknownMachine(name) => write!(f, "it is not known what accelerators `{name}` has"),
            Self::Price { column, usd_per_hour, why } => write!(f, "{column} = {usd_per_hour}: {why}"),
            Self::Unreadable(problem) => f.write_str(problem),
            _ => f.write_str(&self.kind()),
        }
    }
}

/// A row that is no offer, or a price of one that was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Line of the document, counted from 1, where lines count.
    pub line: Option<u64>,
    /// Which machine, where.
    pub what: String,
    /// Why.
    pub reason: Reason,
}

/// What one feed brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Rows that can be planned with, by provider, region, instance type.
    pub rows: Vec<PriceRow>,
    /// What was refused.
    pub refused: Vec<Refused>,
    /// Rows about other things (machines without accelerators, other terms), by what they are about.
    pub passed_over: BTreeMap<String, usize>,
    /// The source said that nothing changed since it was asked last.
    pub unchanged: bool,
}

impl Batch {
    /// Refusals by reason.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<String, usize> {
        let mut reasons = BTreeMap::new();
        for refused in &self.refused {
            *reasons.entry(refused.reason.kind()).or_default() += 1;
        }
        reasons
    }

    pub(super) fn refuse(&mut self, line: Option<u64>, what: impl Into<String>, reason: Reason) {
        self.refused.push(Refused { line, what: what.into(), reason });
    }

    pub(super) fn pass_over(&mut self, about: impl Into<String>) {
        *self.passed_over.entry(about.into()).or_default() += 1;
    }

    /// Adds a row whose prices can be believed; a row of which no price is left is none.
    pub(super) fn offer(&mut self, found: Found) {
        let Found { line, accelerator, on_demand, spot, mut row } = found;
        let what = format!("{}/{}/{}", row.provider, row.instance_type, row.region);
        let mut was_none = true;
        for (column, price, place) in [
            ("on_demand_usd_per_hour", on_demand, &mut row.on_demand_usd_per_hour),
            ("spot_usd_per_hour", spot, &mut row.spot_usd_per_hour),
        ] {
            let Some(usd_per_hour) = price else { continue };
            was_none = false;
            match offer::believable(usd_per_hour, accelerator, row.count) {
                Ok(usd) => *place = Some(usd),
                Err(why) => {
                    self.refuse(line, what.clone(), Reason::Price { column, usd_per_hour, why });
                }
            }
        }
        // No provider sells interruptible machines at the price of safe ones.
        if row.spot_usd_per_hour.is_some()
            && row.spot_usd_per_hour >= row.on_demand_usd_per_hour
            && row.on_demand_usd_per_hour.is_some()
        {
            row.spot_usd_per_hour = None;
        }
        if was_none {
            self.refuse(line, what, Reason::NoPrice);
        } else if row.on_demand_usd_per_hour.is_some() || row.spot_usd_per_hour.is_some() {
            self.rows.push(row);
        }
    }

    /// One row for each machine and region: zones of a region, or rows for each way it is sold, become one,
    /// with the lowest price of each kind.
    pub(super) fn one_row_each(&mut self) {
        let mut merged: BTreeMap<(String, String, String), (PriceRow, Option<Usd>)> = BTreeMap::new();
        for row in std::mem::take(&mut self.rows) {
            let spot = row.spot_usd_per_hour;
            merged
                .entry(row.key())
                .and_modify(|(kept, dearest)| {
                    kept.vcpus = kept.vcpus.or(row.vcpus);
                    kept.on_demand_usd_per_hour =
                        lower(kept.on_demand_usd_per_hour, row.on_demand_usd_per_hour);
                    kept.spot_usd_per_hour = lower(kept.spot_usd_per_hour, spot);
                    *dearest = (*dearest).max(spot);
                })
                .or_insert((row, spot));
        }
        self.rows = merged
            .into_values()
            .map(|(mut row, dearest)| {
                if let (Some(low), Some(high)) = (row.spot_usd_per_hour, dearest)
                    && low < high
                {
                    let between = if row.note.is_empty() { "" } else { "; " };
                    row.note = format!("{}{between}spot by zone {low} to {high}", row.note);
                }
                row
            })
            .collect();
    }
}

fn lower(a: Option<Usd>, b: Option<Usd>) -> Option<Usd> {
    [a, b].into_iter().flatten().min()
}

/// A row before its prices are judged.
pub(super) struct Found {
    pub(super) line: Option<u64>,
    pub(super) accelerator: &'static Accelerator,
    /// USD per hour of the machine, as read.
    pub(super) on_demand: Option<f64>,
    pub(super) spot: Option<f64>,
    pub(super) row: PriceRow,
}

impl PriceRow {
    /// A row without prices, of a price list.
    pub(super) fn new(feed: &str, provider: &str, region: &str, machine: &Machine<'_>) -> Self {
        Self {
            provider: provider.to_owned(),
            region: region.to_owned(),
            instance_type: machine.instance_type.to_owned(),
            accelerator: machine.accelerator.name.clone(),
            count: machine.count,
            vcpus: machine.vcpus,
            on_demand_usd_per_hour: None,
            spot_usd_per_hour: None,
            basis: "list".to_owned(),
            as_of: String::new(),
            source: String::new(),
            note: String::new(),
            feed: feed.to_owned(),
            interrupted_percent_per_month: None,
        }
    }
}

/// What a machine is made of.
pub(super) struct Machine<'a> {
    pub(super) instance_type: &'a str,
    pub(super) accelerator: &'static Accelerator,
    pub(super) count: u32,
    pub(super) vcpus: Option<u32>,
}

/// The built-in catalogue's offer of this machine type, in any region: what the type is made of, for price
/// lists that do not say.
pub(super) fn known_machine(provider: &str, instance_type: &str) -> Option<&'static Offer> {
    offer::built_in()
        .iter()
        .find(|offer| offer.provider == provider && offer.instance_type.eq_ignore_ascii_case(instance_type))
}

/// The accelerator that a catalogue means by a name, narrowed by what the instance type says of memory and
/// form factor (`sxm`, `nvl`, `pcie`): catalogues merge them under one name.
pub(super) fn named(
    provider: &str,
    name: &str,
    memory_gb: Option<u32>,
    instance_type: &str,
) -> Result<&'static Accelerator, Reason> {
    if let Some(known) = known_machine(provider, instance_type)
        && folded_starts_alike(&known.accelerator.name, name)
    {
        return Ok(known.accelerator);
    }
    let kind = instance_type.to_lowercase();
    let mut bases = Vec::new();
    if let Some(memory_gb) = memory_gb {
        bases.push(format!("{name}-{memory_gb}GB"));
    }
    bases.push(name.to_owned());
    for base in &bases {
        for (mark, suffix) in [("sxm", "SXM"), ("nvl", "NVL"), ("pcie", "PCIe")] {
            if kind.contains(mark)
                && let Ok(exact) = accelerator::find(&format!("{base}-{suffix}"))
            {
                return Ok(exact);
            }
        }
        if let Ok(found) = accelerator::find(base) {
            return Ok(found);
        }
    }
    Err(Reason::UnknownAccelerator(name.to_owned()))
}

/// Whether both names are of one family: the machine table is not believed where a catalogue says something
/// else.
fn folded_starts_alike(known: &str, name: &str) -> bool {
    let family =
        |text: &str| -> String { crate::names::folded(text.split(['-', ' ']).next().unwrap_or_default()) };
    family(known) == family(name)
}

/// `tpu-v5p-8`, `v5litepod-8`: the chip, and how many. The number counts chips from v5e on, cores (two a
/// chip) before and in v5p.
pub(super) fn tpu_slice(name: &str) -> Option<(&'static Accelerator, u32)> {
    let name = name.to_lowercase();
    let (version, number) = name.strip_prefix("tpu-").unwrap_or(&name).rsplit_once('-')?;
    let number: u32 = number.parse().ok()?;
    let (chip, per_chip) = match version {
        "v2" => ("TPU-v2", 2),
        "v3" => ("TPU-v3", 2),
        "v4" => ("TPU-v4", 2),
        "v5p" => ("TPU-v5p", 2),
        "v5e" | "v5litepod" => ("TPU-v5e", 1),
        "v6e" => ("TPU-v6e", 1),
        _ => return None,
    };
    let chips = number / per_chip;
    Some((accelerator::find(chip).ok()?, chips)).filter(|(_, chips)| *chips > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_narrowed_by_memory_and_instance_type() {
        for (provider, name, memory, instance_type, found) in [
            ("runpod", "H100", None, "1x-H100_SXM-32-65536", "H100-SXM"),
            ("runpod", "H100", None, "1x_H100-NVL_SECURE", "H100-NVL"),
            ("x", "A100", Some(40), "gpu_1x_a100", "A100-40GB-SXM"),
            ("x", "A100", Some(80), "gpu-pcie", "A100-80GB-PCIe"),
            ("azure", "A100-80GB", None, "Standard_NC24ads_A100_v4", "A100-80GB-PCIe"),
            ("azure", "A100-80GB", None, "Standard_ND96amsr_A100_v4", "A100-80GB-SXM"),
        ] {
            let accelerator = named(provider, name, memory, instance_type).expect(instance_type);
            assert_eq!(accelerator.name, found, "{instance_type}");
        }
        let error = named("x", "Z9000", None, "z").expect_err("unknown");
        assert_eq!(error, Reason::UnknownAccelerator("Z9000".into()));
    }

    #[test]
    fn slices_of_tpus_are_counted_in_chips() {
        for (name, chip, chips) in [
            ("tpu-v6e-8", "TPU-v6e", 8),
            ("v5litepod-4", "TPU-v5e", 4),
            ("tpu-v5p-8", "TPU-v5p", 4),
            ("tpu-v3-8", "TPU-v3", 4),
        ] {
            let (accelerator, count) = tpu_slice(name).expect(name);
            assert_eq!((accelerator.name.as_str(), count), (chip, chips), "{name}");
        }
        assert!(tpu_slice("A100").is_none() && tpu_slice("tpu-v5p-1").is_none());
    }
}
