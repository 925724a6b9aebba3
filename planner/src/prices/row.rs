//! A row of a price table, and what its machine is made of.

use serde::{Deserialize, Serialize};

use super::batch::Reason;
use crate::accelerator::{self, Accelerator};
use crate::offer::{self, Offer};
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
