//! Published CLIP runs, embedded: what was trained on what, for how long, at what cost, and how accurate it is.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::dataset;
use crate::law::{Family, StageShape};
use crate::recipe::{ImageReduction, TextReduction, kept_image_tokens};
use crate::units::{Hours, Samples, Tokens, Usd};

/// The embedded table (`planner/data/runs.csv`).
pub const RUNS_CSV: &str = include_str!("../data/runs.csv");

/// Where a number of device hours comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoursBasis {
    /// The authors measured and print it.
    Reported,
    /// Authors (of this or another paper) computed it from a throughput.
    Estimated,
    /// Worked out here or by a collector from device count and samples per second or days.
    Inferred,
}

/// One published run with the sizes, data and schedule that the law needs, and its result.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedRun {
    /// Unique, stable name of the row.
    pub id: String,
    /// Paper or page with its number.
    pub paper: String,
    /// Model as its authors call it.
    pub model: String,
    /// Recipe family.
    pub family: Family,
    /// What the weights started from; `None`: from scratch.
    pub initialised_from: Option<String>,
    /// Parameters of the image tower; `None` where it is no plain ViT (ConvNeXt).
    pub image_parameters: Option<f64>,
    /// Parameters of the text tower, its token embedding included.
    pub text_parameters: f64,
    /// Side of a patch in pixels.
    pub patch_size: Option<u32>,
    /// Training set.
    pub dataset: String,
    /// Different pairs in it.
    pub unique_samples: Option<Samples>,
    /// Pretraining first, then fine-tuning stages; empty where lengths or samples are not published.
    /// `batch` 0: not published.
    pub stages: Vec<StageShape>,
    /// Hardware in the authors' words.
    pub hardware: Option<String>,
    /// Device hours of everything.
    pub device_hours: Option<Hours>,
    /// Where the hours come from.
    pub hours_basis: Option<HoursBasis>,
    /// Price per device hour that the cost was computed with.
    pub usd_per_hour: Option<Usd>,
    /// Cost that the authors print.
    pub cost: Option<Usd>,
    /// ImageNet-1k zero-shot top-1 accuracy in percent.
    pub accuracy_percent: f64,
    /// The row that reports the same training under another name.
    pub same_as: Option<String>,
    /// `exact`, `inferred` or `read-from-figure`.
    pub confidence: String,
    /// Where the row can be read.
    pub source: String,
    /// Remarks.
    pub notes: String,
}

impl PublishedRun {
    /// Samples seen in all stages.
    #[must_use]
    pub fn samples_seen(&self) -> Samples {
        self.stages.iter().map(|stage| stage.samples).sum()
    }

    /// `CLIPA-v2 (2306.15658): ViT-H/14, clipav2-H14-dc-70-224`: for a sentence.
    #[must_use]
    pub fn citation(&self) -> String {
        format!("{}: {} ({})", self.paper, self.model, self.id)
    }
}

/// Why a table of runs could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// Not CSV of the expected columns.
    #[error("row {row}: {problem}")]
    Row {
        /// Row, counted from 1 below the header.
        row: usize,
        /// What is wrong.
        problem: String,
    },
}

impl RunsError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(
            "the columns are those of planner/data/runs.csv; leave a field empty where nothing is known"
                .into(),
        )
    }
}

#[derive(Deserialize)]
struct Row {
    id: String,
    paper: String,
    model: String,
    family: String,
    initialised_from: Option<String>,
    patch_size: Option<u32>,
    image_parameters: Option<f64>,
    text_parameters: f64,
    dataset: String,
    unique_samples: Option<u64>,
    image_size_px: Option<u32>,
    image_tokens: Option<u32>,
    image_reduction: Option<ImageReduction>,
    image_mask_ratio: Option<f64>,
    text_tokens: Option<u32>,
    text_reduction: Option<TextReduction>,
    samples: Option<u64>,
    batch: Option<u32>,
    finetune: String,
    hardware: Option<String>,
    device_hours: Option<f64>,
    hours_basis: Option<HoursBasis>,
    usd_per_hour: Option<f64>,
    cost_usd: Option<f64>,
    accuracy_percent: f64,
    same_as: Option<String>,
    confidence: String,
    source: String,
    notes: String,
}

/// Every embedded run, in the table's order.
///
/// # Panics
/// Never: the embedded table is read by a test.
#[must_use]
pub fn runs() -> &'static [PublishedRun] {
    static RUNS: LazyLock<Vec<PublishedRun>> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "the embedded table is checked by a test")]
        read_runs(RUNS_CSV).expect("the embedded table of runs is well formed")
    });
    &RUNS
}

/// The run of this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static PublishedRun> {
    runs().iter().find(|run| run.id == id)
}

/// Reads a table of runs.
pub fn read_runs(text: &str) -> Result<Vec<PublishedRun>, RunsError> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut out = Vec::new();
    for (index, row) in reader.deserialize::<Row>().enumerate() {
        let fail = |problem: String| RunsError::Row { row: index + 1, problem };
        let row = row.map_err(|error| fail(error.to_string()))?;
        out.push(row.into_run().map_err(fail)?);
    }
    Ok(out)
}

impl Row {
    fn into_run(self) -> Result<PublishedRun, String> {
        if !(0.0..=100.0).contains(&self.accuracy_percent) {
            return Err(format!("accuracy_percent = {} is no percentage", self.accuracy_percent));
        }
        let family =
            Family::from_name(&self.family).ok_or_else(|| format!("family = {} is unknown", self.family))?;
        let stages = self.stages()?;
        let stated = dataset::lookup(&self.dataset).and_then(|set| set.unique_samples);
        Ok(PublishedRun {
            id: self.id,
            paper: self.paper,
            model: self.model,
            family,
            initialised_from: self.initialised_from,
            image_parameters: self.image_parameters,
            text_parameters: self.text_parameters,
            patch_size: self.patch_size,
            dataset: self.dataset,
            unique_samples: self.unique_samples.map(Samples).or(stated),
            stages,
            hardware: self.hardware,
            device_hours: self.device_hours.map(Hours),
            hours_basis: self.hours_basis,
            usd_per_hour: self.usd_per_hour.map(Usd::from_dollars),
            cost: self.cost_usd.map(Usd::from_dollars),
            accuracy_percent: self.accuracy_percent,
            same_as: self.same_as,
            confidence: self.confidence,
            source: self.source,
            notes: self.notes,
        })
    }

    fn stages(&self) -> Result<Vec<StageShape>, String> {
        let (Some(px), Some(tokens), Some(text_tokens), Some(samples), Some(patch)) =
            (self.image_size_px, self.image_tokens, self.text_tokens, self.samples, self.patch_size)
        else {
            return Ok(Vec::new());
        };
        let mask_ratio = self.image_mask_ratio.unwrap_or(0.0);
        // A mask hides part of the grid; `resize` and no reduction use all of it.
        let full = if mask_ratio > 0.0 { (px / patch).pow(2) } else { tokens };
        let mut stages = vec![StageShape {
            image_size_px: px,
            image_tokens: Tokens(tokens),
            full_image_tokens: Tokens(full.max(tokens)),
            image_reduction: self.image_reduction.unwrap_or_default(),
            mask_ratio,
            text_tokens: Tokens(text_tokens),
            text_reduction: self.text_reduction.unwrap_or_default(),
            samples: Samples(samples),
            batch: self.batch.unwrap_or(0),
        }];
        for part in self.finetune.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            stages.push(
                finetuning_stage(part, patch).ok_or_else(|| format!("finetune = `{part}` is not a stage"))?,
            );
        }
        Ok(stages)
    }
}

/// `224px 32tok 524288000 random 0.3 batch 32768`; mask and batch may be absent.
fn finetuning_stage(text: &str, patch: u32) -> Option<StageShape> {
    let mut words = text.split_whitespace();
    let px: u32 = words.next()?.strip_suffix("px")?.parse().ok()?;
    let text_tokens: u32 = words.next()?.strip_suffix("tok")?.parse().ok()?;
    let samples: u64 = words.next()?.parse().ok()?;
    let (mut reduction, mut mask_ratio, mut batch) = (ImageReduction::Resize, 0.0, 0);
    while let Some(word) = words.next() {
        let value = words.next()?;
        reduction = match word {
            "batch" => {
                batch = value.parse().ok()?;
                continue;
            }
            "random" => ImageReduction::Random,
            "grid" => ImageReduction::Grid,
            "block" => ImageReduction::Block,
            _ => return None,
        };
        mask_ratio = value.parse().ok()?;
    }
    let side = px / patch;
    Some(StageShape {
        image_size_px: px,
        image_tokens: kept_image_tokens(reduction, mask_ratio, side),
        full_image_tokens: Tokens(side * side),
        image_reduction: reduction,
        mask_ratio,
        text_tokens: Tokens(text_tokens),
        text_reduction: TextReduction::Truncate,
        samples: Samples(samples),
        batch,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_embedded_table_is_read_whole() {
        let runs = read_runs(RUNS_CSV).expect("reads");
        assert_eq!(runs.len(), 874);
        let ids: HashSet<&str> = runs.iter().map(|run| run.id.as_str()).collect();
        assert_eq!(ids.len(), runs.len(), "ids are unique");
        for run in &runs {
            assert!(run.same_as.as_deref().is_none_or(|other| ids.contains(other)), "{}", run.id);
            assert!(run.device_hours.is_none() == run.hours_basis.is_none(), "{}", run.id);
            assert!(dataset::lookup(&run.dataset).is_some(), "{}: {}", run.id, run.dataset);
        }
    }

    #[test]
    fn a_run_with_three_stages_is_read_as_published() {
        let run = find("clipav2-H14-dc-84-336").expect("there");
        assert_eq!(run.accuracy_percent, 81.8);
        assert_eq!(run.cost, Some(Usd::from_dollars(13_613.0)));
        assert_eq!(run.device_hours, Some(Hours(8_640.0)));
        let lengths: Vec<(u32, u32, u32)> =
            run.stages.iter().map(|s| (s.image_tokens.0, s.full_image_tokens.0, s.text_tokens.0)).collect();
        assert_eq!(lengths, [(36, 36, 8), (179, 256, 32), (346, 576, 32)]);
        assert_eq!(run.stages[0].samples, Samples(12_800_000_000));
    }

    #[test]
    fn masked_pretraining_knows_the_whole_grid() {
        let run = find("clipa-t11-S/16-random-mask-17-pre").expect("there");
        assert_eq!((run.stages[0].image_tokens, run.stages[0].full_image_tokens), (Tokens(16), Tokens(196)));
    }

    #[test]
    fn costs_are_hours_times_price_but_for_the_one_row_known_to_differ() {
        for run in runs() {
            let (Some(hours), Some(price), Some(cost)) = (run.device_hours, run.usd_per_hour, run.cost)
            else {
                continue;
            };
            let product = hours.0 * price.dollars();
            let off = (product / cost.dollars() - 1.0).abs();
            if run.id == "clipav2-G14-dc-84-336" {
                assert!(off > 0.03 && run.notes.contains("inconsistent"));
            } else {
                assert!(off < 0.002, "{}: {product} against {}", run.id, cost.dollars());
            }
        }
    }

    #[test]
    fn a_bad_row_is_refused_with_its_number() {
        let mut lines: Vec<String> = RUNS_CSV.lines().take(3).map(str::to_owned).collect();
        lines[2] = lines[2].replace(",64.2,", ",642,");
        let error = read_runs(&lines.join("\n")).expect_err("642 percent");
        assert!(error.to_string().contains("row 2") && error.to_string().contains("642"), "{error}");
    }
}
