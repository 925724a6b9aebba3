//! Published CLIP runs, embedded: what was trained on what, for how long, at what cost, and how accurate it is.

mod fields;
mod own;
mod reference;

use std::sync::LazyLock;

use serde::Deserialize;

pub use self::fields::RunsError;
use self::fields::Table;
use crate::compute;
use crate::law::{Family, RetrievalTarget, StageShape};
use crate::recipe::Recipe;
use crate::units::{Hours, Samples, Usd};

/// The embedded table (`planner/data/runs.csv`).
pub const RUNS_CSV: &str = include_str!("../../data/runs.csv");

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
    /// Recall at rank 1 in percent, by [`RetrievalTarget`].
    pub retrieval_percent: [Option<f64>; RetrievalTarget::ALL.len()],
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

    /// Whether two runs are the same training with the same result, within rounding, whatever their names.
    #[must_use]
    pub fn same_training(&self, other: &Self) -> bool {
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.03;
        let sizes = match (self.image_parameters, other.image_parameters) {
            (Some(a), Some(b)) => near(a, b),
            _ => false,
        };
        sizes
            && self.family == other.family
            && self.dataset == other.dataset
            && !self.stages.is_empty()
            && self.stages.len() == other.stages.len()
            && self.accuracy_percent == other.accuracy_percent
            && self.stages.iter().zip(&other.stages).all(|(a, b)| {
                a.image_tokens == b.image_tokens
                    && a.text_tokens == b.text_tokens
                    && a.text_reduction == b.text_reduction
                    && near(a.samples.0 as f64, b.samples.0 as f64)
            })
    }

    /// A user's run as its recipe says it, trained up to `samples` (a run that a cap ended has seen fewer than its
    /// recipe's), with its `ImageNet` zero-shot accuracy in percent.
    #[must_use]
    pub fn of_recipe(recipe: &Recipe, id: &str, samples: Samples, accuracy_percent: f64) -> Self {
        let architecture = &recipe.architecture;
        let counts = compute::parameters(architecture);
        let mut left = samples;
        let mut stages = Vec::new();
        for stage in &recipe.stages {
            if left == Samples(0) {
                break;
            }
            let seen = Samples(stage.samples.0.min(left.0));
            left = Samples(left.0 - seen.0);
            stages.push(StageShape { samples: seen, ..StageShape::of(stage, architecture) });
        }
        Self {
            id: id.to_owned(),
            paper: "own".to_owned(),
            model: architecture.name.clone(),
            family: Family::of(architecture),
            initialised_from: None,
            image_parameters: Some(counts.image as f64),
            text_parameters: counts.text as f64,
            patch_size: Some(architecture.vision_cfg.patch_size),
            dataset: recipe.data.name.clone(),
            unique_samples: Some(recipe.data.unique_samples),
            stages,
            hardware: None,
            device_hours: None,
            hours_basis: None,
            usd_per_hour: None,
            cost: None,
            accuracy_percent,
            retrieval_percent: [None; RetrievalTarget::ALL.len()],
            same_as: None,
            confidence: "exact".to_owned(),
            source: String::new(),
            notes: String::new(),
        }
    }

    /// `CLIPA-v2 (2306.15658): ViT-H/14, clipav2-H14-dc-70-224`: for a sentence.
    #[must_use]
    pub fn citation(&self) -> String {
        format!("{}: {} ({})", self.paper, self.model, self.id)
    }
}

/// Every embedded run, in the table's order.
///
/// # Panics
/// Never: the embedded table is read by a test.
#[must_use]
pub fn runs() -> &'static [PublishedRun] {
    static RUNS: LazyLock<Vec<PublishedRun>> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "the embedded table is checked by a test")]
        read_runs("runs.csv", RUNS_CSV).expect("the embedded table of runs is well formed")
    });
    &RUNS
}

/// Reads a table of runs, `file` being its name in errors. Two layouts are known, told apart by their header: that of
/// `planner/data/runs.csv` (`accuracy_percent`) and that of collections from papers (`imagenet_zero_shot_top1`,
/// parameters and samples in millions); both are described in `docs/formats.md`.
///
/// # Errors
/// A missing column, an empty field where one is needed, a value that cannot be, or columns that contradict each
/// other, with file, line, column and value.
pub fn read_runs(file: &str, text: &str) -> Result<Vec<PublishedRun>, RunsError> {
    let table = Table::read(file, text)?;
    let read = if table.has("imagenet_zero_shot_top1") { reference::run } else { own::run };
    let needed = if table.has("imagenet_zero_shot_top1") { reference::NEEDED } else { own::NEEDED };
    table.need(needed)?;
    let mut seen = std::collections::HashMap::new();
    let mut out = Vec::new();
    for row in table.rows() {
        let run = read(&row)?;
        if let Some(first) = seen.insert(run.id.clone(), row.line()) {
            return Err(row.contradiction("id", &format!("already the name of line {first}")));
        }
        out.push(run);
    }
    if out.is_empty() {
        return Err(table.empty());
    }
    Ok(out)
}

/// The run of this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static PublishedRun> {
    runs().iter().find(|run| run.id == id)
}

#[cfg(test)]
mod tests;
