//! What was expected: planned against actual, the frontier, published runs.

use shoestring_planner::units::{Hours, Usd};

use super::Table;
use super::build::Builder;
use crate::read::RunRecord;
use crate::{Inputs, ReportError};

/// One stage, or all of them, as planned and as it went.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Comparison {
    /// The stage's name; `total` for all.
    pub(crate) stage: String,
    /// Whether this is the row of all stages.
    pub(crate) is_total: bool,
    /// What the recipe's plan says.
    pub(crate) planned: Option<(Usd, Hours)>,
    /// What the ledger says.
    pub(crate) actual: Option<(Usd, Hours)>,
}

impl Comparison {
    /// Actual cost over planned cost less one, in percent.
    pub(crate) fn cost_difference_percent(&self) -> Option<f64> {
        let (planned, actual) = (self.planned?.0, self.actual?.0);
        (planned > Usd::ZERO).then(|| 100.0 * (actual.dollars() / planned.dollars() - 1.0))
    }

    fn hours_difference_percent(&self) -> Option<f64> {
        let (planned, actual) = (self.planned?.1, self.actual?.1);
        (planned.0 > 0.0).then(|| 100.0 * (actual.0 / planned.0 - 1.0))
    }
}

/// Every stage of a run in order (also those that the recipe does not name), then the total.
pub(crate) fn comparisons(run: &RunRecord) -> Vec<Comparison> {
    let planned = run.recipe.planned.as_ref();
    let mut names: Vec<&str> = run.recipe.stages.iter().map(|stage| stage.name.as_str()).collect();
    let in_plan = planned.iter().flat_map(|plan| plan.stages.iter().map(|stage| stage.name.as_str()));
    let in_ledger = run.account.spending().iter().map(|one| one.stage.as_str());
    for name in in_plan.chain(in_ledger).chain(run.ledger.iter().map(|row| row.stage.as_str())) {
        if !names.contains(&name) && (!name.is_empty() || run.spent_in_stage(name).is_some()) {
            names.push(name);
        }
    }
    let mut rows: Vec<Comparison> = names
        .into_iter()
        .map(|name| Comparison {
            stage: if name.is_empty() { "outside stages".to_owned() } else { name.to_owned() },
            is_total: false,
            planned: planned
                .and_then(|plan| plan.stages.iter().find(|stage| stage.name == name))
                .map(|stage| (stage.cost_usd, stage.hours)),
            actual: run.spent_in_stage(name),
        })
        .collect();
    rows.push(Comparison {
        stage: "total".to_owned(),
        is_total: true,
        planned: planned.map(|plan| (plan.cost_usd, plan.hours)),
        actual: (!run.ledger.is_empty()).then(|| (run.account.spent(), run.charged_hours())),
    });
    rows
}

pub(super) fn planned_vs_actual(runs: &[RunRecord]) -> Result<Table, ReportError> {
    let rows: Vec<(&str, Comparison)> = runs
        .iter()
        .flat_map(|run| comparisons(run).into_iter().map(|row| (run.label.as_str(), row)))
        .collect();
    Builder::new("planned_vs_actual", "one stage of a run, and its total")
        .text("run", rows.iter().map(|(run, _)| *run))
        .text("stage", rows.iter().map(|(_, row)| row.stage.as_str()))
        .flag("is_total", rows.iter().map(|(_, row)| row.is_total))
        .number("planned_hours", rows.iter().map(|(_, row)| row.planned.map(|(_, hours)| hours.0)))
        .number("actual_hours", rows.iter().map(|(_, row)| row.actual.map(|(_, hours)| hours.0)))
        .number("hours_difference_percent", rows.iter().map(|(_, row)| row.hours_difference_percent()))
        .money("planned", rows.iter().map(|(_, row)| row.planned.map(|(cost, _)| cost)))
        .money("actual", rows.iter().map(|(_, row)| row.actual.map(|(cost, _)| cost)))
        .number("cost_difference_percent", rows.iter().map(|(_, row)| row.cost_difference_percent()))
        .finish()
}

pub(super) fn frontier(inputs: &Inputs) -> Result<Table, ReportError> {
    let points = &inputs.frontier;
    Builder::new("frontier", "one plan on the planner's frontier of cost and accuracy")
        .text("plan", points.iter().map(|point| point.label.as_str()))
        .money("cost", points.iter().map(|point| Some(point.cost_usd)))
        .number("accuracy_percent_p10", points.iter().map(|point| Some(point.accuracy_percent.p10)))
        .number("accuracy_percent_p50", points.iter().map(|point| Some(point.accuracy_percent.p50)))
        .number("accuracy_percent_p90", points.iter().map(|point| Some(point.accuracy_percent.p90)))
        .finish()
}

pub(super) fn published(inputs: &Inputs) -> Result<Table, ReportError> {
    let points = &inputs.published;
    Builder::new("published", "one published CLIP run whose cost is known")
        .whole("number", (1..=points.len() as u64).map(Some))
        .text("run", points.iter().map(|point| point.label.as_str()))
        .text("paper", points.iter().map(|point| point.paper.as_str()))
        .money("cost", points.iter().map(|point| Some(point.cost_usd)))
        .number("accuracy_percent", points.iter().map(|point| Some(point.accuracy_percent)))
        .finish()
}
