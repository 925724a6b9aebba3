//! Device models: peak rates, memory, links.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::names::{UnknownName, folded};

static CSV: &str = include_str!("../data/accelerators.csv");

/// What drives an accelerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// NVIDIA.
    Cuda,
    /// AMD.
    Rocm,
    /// Google.
    Tpu,
    /// Intel Gaudi.
    Gaudi,
    /// The host itself.
    Cpu,
}

impl Runtime {
    /// Whether `run` can train on it.
    #[must_use]
    pub fn is_supported(self) -> bool {
        matches!(self, Self::Cuda | Self::Cpu)
    }
}

/// How well an entry's figures are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Read in a list or data sheet.
    Read,
    /// Recalled from a data sheet.
    Recalled,
    /// A guess.
    Assumed,
}

/// A device model. Rates are dense (no sparsity), per device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accelerator {
    /// Name: maker's name, memory and form factor (`A100-80GB-SXM`).
    pub name: String,
    /// Other names that mean this one.
    #[serde(deserialize_with = "bars")]
    pub aliases: Vec<String>,
    /// What drives it.
    pub runtime: Runtime,
    /// Peak of bf16 products with f32 sums (fp16 where there is no bf16), TFLOP/s.
    pub bf16_tflops: f64,
    /// Highest rate that large products were measured to reach, TFLOP/s; see
    /// [`Accelerator::sustained_tflops`].
    pub matmul_tflops: Option<f64>,
    /// Memory, GB.
    pub memory_gb: f64,
    /// Memory bandwidth, GB/s.
    pub bandwidth_gb_s: f64,
    /// To the other accelerators of the machine, both directions together, GB/s.
    pub link_gb_s: Option<f64>,
    /// First sold.
    pub release_year: Option<u32>,
    /// How well the figures are known.
    pub confidence: Confidence,
    /// Where they are from.
    pub source: String,
    /// What else to know.
    pub note: String,
}

/// Large products reach about this fraction of peak where nobody published a measurement: between the measured
/// 0.78 (B200) and 0.87 (A100), `stas00/ml-engineering`, "Maximum Achievable Matmul FLOPS".
const SUSTAINED_FRACTION: f64 = 0.8;

impl Accelerator {
    /// The rate that no training run can beat, TFLOP/s: the best measured for large products, or 80 % of peak.
    #[must_use]
    pub fn sustained_tflops(&self) -> f64 {
        self.matmul_tflops.unwrap_or(SUSTAINED_FRACTION * self.bf16_tflops)
    }
}

fn bars<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(text.split('|').filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

fn parse(text: &str) -> Result<Vec<Accelerator>, csv::Error> {
    csv::Reader::from_reader(text.as_bytes()).into_deserialize().collect()
}

// A table that does not parse is a fault of this crate; its tests show it.
static BUILT_IN: LazyLock<Vec<Accelerator>> = LazyLock::new(|| parse(CSV).unwrap_or_default());

/// All device models known.
#[must_use]
pub fn built_in() -> &'static [Accelerator] {
    &BUILT_IN
}

/// Finds a device model by its name or an alias; case, hyphens and spaces do not matter (`a100`, `RTX 4090`).
pub fn find(name: &str) -> Result<&'static Accelerator, UnknownName> {
    let wanted = folded(name);
    built_in()
        .iter()
        .find(|known| folded(&known.name) == wanted)
        .or_else(|| built_in().iter().find(|known| known.aliases.iter().any(|alias| folded(alias) == wanted)))
        .ok_or_else(|| {
            UnknownName::new("accelerator", name, built_in().iter().map(|known| known.name.as_str()))
        })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_parses_and_every_figure_is_possible() {
        let all = parse(CSV).expect("the embedded table");
        assert_eq!(all.len(), 39);
        for known in &all {
            assert!(
                known.bf16_tflops > 0.0 && known.memory_gb > 0.0 && known.bandwidth_gb_s > 0.0,
                "{known:?}"
            );
            assert!(known.sustained_tflops() <= known.bf16_tflops, "{}", known.name);
            assert!(known.confidence == Confidence::Assumed || !known.source.is_empty(), "{}", known.name);
        }
    }

    #[test]
    fn no_two_models_share_a_name_or_alias() {
        let mut seen = HashSet::new();
        for known in built_in() {
            for name in std::iter::once(&known.name).chain(&known.aliases) {
                assert!(seen.insert(folded(name)), "{name}");
            }
        }
    }

    #[test]
    fn people_and_catalogues_spell_names_in_many_ways() {
        for (typed, name) in [
            ("a100", "A100-80GB-SXM"),
            ("A100-80GB", "A100-80GB-SXM"),
            ("A100-80GB-PCIe-NVLink", "A100-80GB-PCIe"),
            ("H100", "H100-SXM"),
            ("rtx 4090", "RTX4090"),
            ("RTX-PRO-6000-Blackwell-WS", "RTX-PRO-6000-Blackwell"),
            ("CPU", "cpu"),
        ] {
            assert_eq!(find(typed).expect(typed).name, name, "{typed}");
        }
        let error = find("H100-SMX").expect_err("a typing error");
        assert_eq!(error.nearest[0], "H100-SXM");
    }
}
