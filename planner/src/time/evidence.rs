//! Published speeds of CLIP training runs: what the prior is fitted on and judged by.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::accelerator::{self, Accelerator};
use crate::architecture::Architecture;
use crate::architectures;
use crate::compute::training_flops;
use crate::recipe::{ImageReduction, kept_image_tokens};
use crate::units::{Flops, Samples, Tokens};

static CSV: &str = include_str!("../../data/throughput.csv");

/// A training phase of a published run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublishedStage {
    /// Side of the image in pixels.
    pub image_size_px: u32,
    /// Patches per image that reach the transformer.
    pub image_tokens: Tokens,
    /// Text tokens.
    pub text_tokens: Tokens,
    /// Samples seen; 1 where only a rate was published.
    pub samples: Samples,
}

/// What a published run's devices achieved.
#[derive(Clone, Debug)]
pub struct PublishedSpeed {
    /// Name of the row.
    pub run: String,
    /// Whose it is: paper or group.
    pub paper: String,
    /// Rows of `runs.csv` whose hours contain this row's; empty where only a rate was published.
    pub published_runs: Vec<String>,
    /// Weight in the fit; zero: only judged, not fitted.
    pub weight: f64,
    /// What was trained.
    pub architecture: &'static Architecture,
    /// On what.
    pub accelerator: &'static Accelerator,
    /// On how many.
    pub devices: u32,
    /// How.
    pub stages: Vec<PublishedStage>,
    /// Device time for all stages' samples, seconds.
    pub device_seconds: f64,
    /// Where it was read.
    pub source: String,
}

impl PublishedSpeed {
    /// Samples of all stages; 1 where only a rate was published.
    #[must_use]
    pub fn samples(&self) -> Samples {
        self.stages.iter().map(|stage| stage.samples).sum()
    }

    /// Model FLOPs of all stages.
    #[must_use]
    pub fn flops(&self) -> Flops {
        let stage = |stage: &PublishedStage| {
            Flops(
                training_flops(self.architecture, stage.image_tokens, stage.text_tokens).0
                    * stage.samples.0 as f64,
            )
        };
        self.stages.iter().map(stage).sum()
    }
}

#[derive(Deserialize)]
struct Row {
    run: String,
    paper: String,
    published_runs: String,
    weight: f64,
    architecture: String,
    accelerator: String,
    devices: u32,
    stages: String,
    device_hours: Option<f64>,
    samples_per_second_per_device: Option<f64>,
    source: String,
}

impl Row {
    /// `None` if a part cannot be read or looked up.
    fn speed(self) -> Option<PublishedSpeed> {
        let architecture = architectures::find(&self.architecture).ok()?;
        let stages: Option<Vec<PublishedStage>> =
            self.stages.split(' ').map(|text| stage(text, architecture)).collect();
        let stages = stages?;
        let device_seconds = match (self.device_hours, self.samples_per_second_per_device) {
            (Some(hours), None) => hours * 3600.0,
            (None, Some(rate)) => stages.iter().map(|stage| stage.samples.0 as f64).sum::<f64>() / rate,
            _ => return None,
        };
        Some(PublishedSpeed {
            run: self.run,
            paper: self.paper,
            published_runs: self.published_runs.split_whitespace().map(str::to_owned).collect(),
            weight: self.weight,
            architecture,
            accelerator: accelerator::find(&self.accelerator).ok()?,
            devices: self.devices,
            stages,
            device_seconds,
            source: self.source,
        })
    }
}

/// `pixels:mask ratio:text tokens:samples`.
fn stage(text: &str, architecture: &Architecture) -> Option<PublishedStage> {
    let mut parts = text.split(':');
    let image_size_px: u32 = parts.next()?.parse().ok()?;
    let mask_ratio: f64 = parts.next()?.parse().ok()?;
    let text_tokens = Tokens(parts.next()?.parse().ok()?);
    let samples = Samples(parts.next()?.parse().ok()?);
    let side = image_size_px / architecture.vision_cfg.patch_size;
    let image_tokens = kept_image_tokens(ImageReduction::Random, mask_ratio, side);
    Some(PublishedStage { image_size_px, image_tokens, text_tokens, samples })
}

// Rows that cannot be read are a fault of this crate; a test counts them.
static SPEEDS: LazyLock<Vec<PublishedSpeed>> = LazyLock::new(|| {
    csv::Reader::from_reader(CSV.as_bytes())
        .into_deserialize()
        .filter_map(|row| row.ok().and_then(Row::speed))
        .collect()
});

/// All published speeds known.
#[must_use]
pub fn published_speeds() -> &'static [PublishedSpeed] {
    &SPEEDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        assert_eq!(published_speeds().len(), CSV.lines().count() - 1);
        assert!(published_speeds().iter().all(|row| row.device_seconds > 0.0 && !row.source.is_empty()));
    }

    #[test]
    fn utilisation_of_the_rows_is_what_others_reckoned() {
        // 6 FLOPs a multiply-accumulate over the peak of 312 TFLOP/s: 25.6 % for all three stages of CLIPA-v2's L/14,
        // 29.9 % for the fastest of LAION's L/14 runs.
        let of = |runs: &[&str]| {
            let rows = || published_speeds().iter().filter(|row| runs.contains(&row.run.as_str()));
            let flops: f64 = rows().map(|row| row.flops().0).sum();
            let seconds: f64 = rows().map(|row| row.device_seconds).sum();
            flops / seconds / 312e12
        };
        assert!((of(&["laion-L-14-200x448"]) - 0.299).abs() < 0.002);
        let whole = of(&["clipa-v2-L-84-224", "clipa-v2-L-336"]);
        // Others counted unmasked fine-tuning; with its masks the same hours are 23.3 %.
        assert!((whole - 0.233).abs() < 0.003, "{whole}");
    }
}
