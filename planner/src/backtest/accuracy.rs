//! Accuracy of published runs against laws that have not seen them.

use super::Score;
use crate::law::fit::{self, FitError, FittedLaw, Residual};
use crate::published::PublishedRun;

/// A prediction with half of its 80 % interval, against what was reported. In points of accuracy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// As published, percent.
    pub reported: f64,
    /// Percent.
    pub predicted: f64,
    /// Half the 80 % interval.
    pub half_width: f64,
}

impl Held {
    /// Predicted - reported.
    #[must_use]
    pub fn error(self) -> f64 {
        self.predicted - self.reported
    }

    /// Whether the interval holds the reported accuracy.
    #[must_use]
    pub fn hit(self) -> bool {
        self.error().abs() <= self.half_width
    }
}

/// What a law says of a run when the run, or its whole paper, was left out.
#[must_use]
pub fn left_out(row: &Residual) -> Held {
    Held { reported: row.observed, predicted: row.left_out, half_width: row.left_out_half_width }
}

/// The same with the whole paper left out.
#[must_use]
pub fn paper_left_out(row: &Residual) -> Held {
    Held { reported: row.observed, predicted: row.paper_left_out, half_width: row.paper_left_out_half_width }
}

/// Errors in points.
pub fn score(rows: impl IntoIterator<Item = Held>) -> Score {
    Score::of(rows.into_iter().map(|held| (held.error(), held.hit())))
}

/// The papers of the judged rows with their rows, by name.
#[must_use]
pub fn by_paper(fitted: &FittedLaw) -> Vec<(&str, Vec<&Residual>)> {
    let mut papers: std::collections::BTreeMap<&str, Vec<&Residual>> = std::collections::BTreeMap::new();
    for row in fitted.judged() {
        papers.entry(&row.paper).or_default().push(row);
    }
    papers.into_iter().collect()
}

/// A CLIPA-v2 run by a law that has seen none of them.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipaV2Row {
    /// The run.
    pub id: String,
    /// Whether the row is one of the six of CLIPA-v2's table 4 (arXiv 2306.15658).
    pub in_table_4: bool,
    /// Prediction, interval and report.
    pub held: Held,
}

/// How the paper's rows are named.
pub const CLIPA_V2: &str = "CLIPA-v2";

/// Every CLIPA-v2 run by a law, its interval included, that was fitted without any of them and without the runs of
/// other papers that go back to the same pretraining.
pub fn clipa_v2(runs: &[PublishedRun]) -> Result<Vec<ClipaV2Row>, FitError> {
    let of_paper = |run: &PublishedRun| run.paper.starts_with(CLIPA_V2);
    let shared =
        |run: &PublishedRun| runs.iter().any(|other| of_paper(other) && same_pretraining(run, other));
    let seen: Vec<PublishedRun> = runs.iter().filter(|run| !of_paper(run) && !shared(run)).cloned().collect();
    let law = fit::fit(&seen)?.law;
    Ok(runs
        .iter()
        .filter(|run| of_paper(run))
        .filter_map(|run| {
            let accuracy = law.predict_run(run)?.accuracy_percent?;
            Some(ClipaV2Row {
                id: run.id.clone(),
                in_table_4: run.source.contains("2306.15658 Table 4"),
                held: Held {
                    reported: run.accuracy_percent,
                    predicted: accuracy.p50,
                    half_width: (accuracy.p90 - accuracy.p10) / 2.0,
                },
            })
        })
        .collect())
}

/// Whether two runs started with the same pretraining: same encoder, data and first stage.
fn same_pretraining(a: &PublishedRun, b: &PublishedRun) -> bool {
    a.image_parameters == b.image_parameters
        && a.dataset == b.dataset
        && !a.stages.is_empty()
        && a.stages.first() == b.stages.first()
}
