//! The back-tests as one JSON object.

use serde_json::{Value, json};

use super::accuracy::{self, left_out, paper_left_out};
use super::table::Line;
use super::unseen::Unseen;
use super::{BackTest, Score, hours};
use crate::law::comparable::{Exclusion, JUDGED_ACCURACY, JUDGED_SAMPLES};
use crate::law::fit::{FittedLaw, mean_absolute};

/// Version of the objects.
const VERSION: u32 = 1;

fn points(score: Score) -> Value {
    json!({
        "runs": score.rows, "mae_points": score.mae, "bias_points": score.bias,
        "coverage_percent": 100.0 * score.coverage,
    })
}

fn percent(score: Score) -> Value {
    json!({
        "rows": score.rows, "mae_percent": score.mae, "bias_percent": score.bias,
        "coverage_percent": 100.0 * score.coverage,
    })
}

fn lines(all: &[Line]) -> Vec<Value> {
    all.iter()
        .map(|line| {
            json!({
                "test": line.test, "id": line.id, "paper": line.paper, "quantity": line.quantity,
                "reported": line.reported, "predicted": line.predicted,
                "p10": line.interval.map(|interval| interval.0),
                "p90": line.interval.map(|interval| interval.1),
                "hit": line.hit(), "counted": line.counted,
            })
        })
        .collect()
}

/// Which runs are comparable and why the others are not.
#[must_use]
pub fn comparable_object(fitted: &FittedLaw) -> Value {
    let excluded: serde_json::Map<String, Value> = Exclusion::ALL
        .iter()
        .map(|reason| {
            let ids: Vec<&str> = fitted
                .excluded
                .iter()
                .filter(|(_, other)| other == reason)
                .map(|(id, _)| id.as_str())
                .collect();
            (reason.name().to_owned(), json!({ "why": reason.why(), "runs": ids.len(), "ids": ids }))
        })
        .collect();
    json!({
        "runs": fitted.residuals.len(), "judged_runs": fitted.judged().count(),
        "judged_from_accuracy_percent": JUDGED_ACCURACY, "judged_from_samples": JUDGED_SAMPLES as u64,
        "excluded": excluded,
    })
}

impl BackTest {
    /// Summaries and every prediction (`predictions`).
    #[must_use]
    pub fn object(&self) -> Value {
        let judged = || self.fitted.judged();
        let papers: Vec<Value> = accuracy::by_paper(&self.fitted)
            .into_iter()
            .map(|(paper, rows)| {
                json!({
                    "paper": paper,
                    "leave_one_out": points(accuracy::score(rows.iter().map(|row| left_out(row)))),
                    "leave_paper_out": points(accuracy::score(rows.iter().map(|row| paper_left_out(row)))),
                })
            })
            .collect();
        let clipa = |of: fn(&super::ClipaV2Row) -> bool| {
            points(accuracy::score(self.clipa_v2.iter().filter(|row| of(row)).map(|row| row.held)))
        };
        let hours: Vec<Value> = self
            .hours_by_paper()
            .into_iter()
            .map(|(paper, rows)| {
                let of = |of: fn(&super::HoursRow) -> crate::units::Hours| {
                    hours::score_without(rows.iter().copied(), of).mae
                };
                let costs = rows.iter().filter_map(|row| row.cost_error_percent());
                json!({
                    "paper": paper,
                    "run_left_out": percent(hours::score(rows.iter().copied())),
                    "architecture_left_out_mae_percent": of(|row| row.architecture_left_out),
                    "paper_left_out_mae_percent": of(|row| row.paper_left_out),
                    "cost_mae_percent": (costs.clone().count() > 0).then(|| mean_absolute(costs)),
                })
            })
            .collect();
        let inverse: Vec<Value> = self
            .inverse
            .iter()
            .map(|(ablation, all)| {
                let error = |of: fn(&super::AblationPoint) -> f64| {
                    mean_absolute(all.iter().map(|point| of(point) - point.reported))
                };
                json!({
                    "ablation": ablation.name(), "paper": ablation.paper(), "rows": all.len(),
                    "law_alone_mae_points": error(|point| point.law_alone),
                    "in_sample_mae_points": error(|point| point.fitted),
                    "leave_one_out_mae_points": error(|point| point.left_out),
                    "leave_size_out_mae_points": error(|point| point.size_left_out),
                })
            })
            .collect();
        let retrieval: Vec<Value> = self
            .fitted
            .retrieval
            .iter()
            .map(|(target, rows)| {
                let judged = || rows.iter().filter(|row| row.judged);
                json!({
                    "target": target.name(), "words": target.words(), "fitted_runs": rows.len(),
                    "in_sample_mae_points": mean_absolute(judged().map(|row| row.fitted - row.observed)),
                    "leave_one_out": points(accuracy::score(judged().map(left_out))),
                    "leave_paper_out": points(accuracy::score(judged().map(paper_left_out))),
                })
            })
            .collect();
        json!({
            "schema": "shoestring.backtest", "version": VERSION,
            "comparable": comparable_object(&self.fitted),
            "accuracy": {
                "leave_one_out_is_exact": self.exact,
                "in_sample_mae_points": self.fitted.in_sample_error(),
                "leave_one_out": points(accuracy::score(judged().map(left_out))),
                "leave_one_out_only_run_of_data":
                    points(accuracy::score(judged().filter(|row| row.only_run_of_data).map(left_out))),
                "leave_one_out_data_known":
                    points(accuracy::score(judged().filter(|row| !row.only_run_of_data).map(left_out))),
                "leave_paper_out": points(accuracy::score(judged().map(paper_left_out))),
                "papers": papers,
            },
            "clipa_v2_left_out": { "table_4": clipa(|row| row.in_table_4), "all": clipa(|_| true) },
            "retrieval": retrieval, "hours": hours, "inverse": inverse,
            "predictions": lines(&self.lines()),
        })
    }
}

impl Unseen {
    /// Summary and every prediction (`predictions`); runs without one are in `runs` alone.
    #[must_use]
    pub fn object(&self) -> Value {
        let runs: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "id": row.id, "paper": row.paper, "predicted": row.held.is_some(),
                    "not_counted_because": row.exclusion.map(Exclusion::name),
                    "extrapolated": row.extrapolated,
                })
            })
            .collect();
        json!({
            "schema": "shoestring.backtest_file", "version": VERSION,
            "accuracy": points(self.score()), "runs": runs,
            "left_out_of_the_fit": self.left_out_of_the_fit, "predictions": lines(&self.lines()),
        })
    }
}
