//! The lines of `metrics.jsonl` and `eval.jsonl`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

/// One line of `metrics.jsonl`. Numbers that were not finite are written as `null`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct MetricRow {
    pub(crate) time: DateTime<Utc>,
    pub(crate) stage: String,
    pub(crate) step: u64,
    pub(crate) stage_step: u64,
    pub(crate) samples_seen: u64,
    #[serde(default)]
    pub(crate) loss: Option<f64>,
    #[serde(default)]
    pub(crate) learning_rate: Option<f64>,
    #[serde(default)]
    pub(crate) logit_scale: Option<f64>,
    #[serde(default)]
    pub(crate) grad_norm: Option<f64>,
    #[serde(default)]
    pub(crate) samples_per_second: Option<f64>,
    #[serde(default)]
    pub(crate) spend_usd: Option<f64>,
}

/// One line of `eval.jsonl`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct EvaluationRow {
    pub(crate) time: DateTime<Utc>,
    pub(crate) stage: String,
    pub(crate) step: u64,
    pub(crate) samples_seen: u64,
    pub(crate) dataset: String,
    pub(crate) task: String,
    #[serde(default)]
    pub(crate) classes: Option<u64>,
    #[serde(default)]
    pub(crate) samples: Option<u64>,
    #[serde(default)]
    pub(crate) image_size_px: Option<u64>,
    pub(crate) metrics: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    pub(crate) spend_usd: Option<f64>,
    #[serde(default, rename = "final")]
    pub(crate) is_final: bool,
}

impl EvaluationRow {
    /// Zero-shot top-1 accuracy in percent.
    pub(crate) fn accuracy_percent(&self) -> Option<f64> {
        if self.task != "zeroshot_classification" {
            return None;
        }
        let share = self.metrics.get("acc1").copied().flatten()?;
        share.is_finite().then_some(100.0 * share)
    }

    /// What guessing would reach, in percent.
    pub(crate) fn chance_percent(&self) -> Option<f64> {
        self.classes.filter(|&classes| classes > 0).map(|classes| 100.0 / classes as f64)
    }

    /// Whether it is on the benchmark that published runs report: `ImageNet-1k`, all classes of it.
    pub(crate) fn is_imagenet(&self) -> bool {
        let name: String =
            self.dataset.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        let name = name.strip_prefix("wds").unwrap_or(&name);
        self.classes == Some(1000)
            && matches!(name, "imagenet" | "imagenet1k" | "imagenetval" | "imagenet1kval" | "in1k")
    }
}

/// Drops the rows that a later row makes void: a resume goes back to its checkpoint and writes the steps
/// from there on again, so everything from that step on that stands before belongs to the cut-off branch.
pub(crate) fn without_repeated_steps(rows: Vec<MetricRow>) -> Vec<MetricRow> {
    let mut kept: Vec<MetricRow> = Vec::with_capacity(rows.len());
    for row in rows {
        while kept.last().is_some_and(|last| last.step >= row.step) {
            kept.pop();
        }
        kept.push(row);
    }
    kept
}

/// The same for evaluations, of which one step has several: one a data set and task.
pub(crate) fn without_repeated_evaluations(rows: Vec<EvaluationRow>) -> Vec<EvaluationRow> {
    let mut kept: Vec<EvaluationRow> = Vec::with_capacity(rows.len());
    for row in rows {
        kept.retain(|old| {
            let repeated = old.step == row.step && old.dataset == row.dataset && old.task == row.task;
            old.step <= row.step && !repeated
        });
        kept.push(row);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_replaces_the_branch_that_was_cut_off() {
        let metric = |step| MetricRow {
            time: DateTime::UNIX_EPOCH,
            stage: String::new(),
            step,
            stage_step: step,
            samples_seen: 0,
            loss: None,
            learning_rate: None,
            logit_scale: None,
            grad_norm: None,
            samples_per_second: None,
            spend_usd: None,
        };
        let kept = without_repeated_steps([10, 20, 30, 40, 20, 30].map(metric).to_vec());
        assert_eq!(kept.iter().map(|row| row.step).collect::<Vec<_>>(), [10, 20, 30]);

        let evaluation = |(step, name): (u64, &str)| EvaluationRow { step, ..row(name, 24) };
        let written = [(10, "a"), (10, "b"), (20, "a"), (10, "a"), (10, "b"), (20, "b")];
        let kept = without_repeated_evaluations(written.map(evaluation).to_vec());
        let kept: Vec<_> = kept.iter().map(|row| (row.step, row.dataset.as_str())).collect();
        assert_eq!(kept, [(10, "a"), (10, "b"), (20, "b")]);
    }

    fn row(dataset: &str, classes: u64) -> EvaluationRow {
        EvaluationRow {
            time: DateTime::UNIX_EPOCH,
            stage: String::new(),
            step: 0,
            samples_seen: 0,
            dataset: dataset.to_owned(),
            task: "zeroshot_classification".to_owned(),
            classes: Some(classes),
            samples: None,
            image_size_px: None,
            metrics: BTreeMap::from([("acc1".to_owned(), Some(0.5))]),
            spend_usd: None,
            is_final: false,
        }
    }

    #[test]
    fn only_the_whole_imagenet_is_put_beside_published_runs() {
        for name in ["ImageNet", "imagenet-1k", "wds/imagenet1k", "ImageNet_1K val"] {
            assert!(row(name, 1000).is_imagenet(), "{name}");
        }
        for (name, classes) in
            [("imagenet", 100), ("imagenette", 1000), ("imagenetv2", 1000), ("synthetic", 24)]
        {
            assert!(!row(name, classes).is_imagenet(), "{name}");
        }
    }

    #[test]
    fn accuracy_is_of_classification_only() {
        let mut one = row("synthetic", 24);
        assert_eq!(one.accuracy_percent(), Some(50.0));
        one.metrics.insert("acc1".to_owned(), None);
        assert_eq!(one.accuracy_percent(), None);
        one.task = "zeroshot_retrieval".to_owned();
        assert_eq!(one.accuracy_percent(), None);
    }
}
