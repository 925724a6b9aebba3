//! What happened: runs, their ledgers, training and evaluations.

use std::collections::BTreeSet;

use super::Table;
use super::build::Builder;
use crate::ReportError;
use crate::read::{EvaluationRow, MetricRow, RunRecord, SpendPoint};

/// Pairs each row of each run with its run.
fn rows<'a, T>(runs: &'a [RunRecord], of: impl Fn(&'a RunRecord) -> Vec<T> + 'a) -> Vec<(&'a RunRecord, T)> {
    runs.iter().flat_map(|run| of(run).into_iter().map(move |row| (run, row))).collect()
}

pub(super) fn runs(runs: &[RunRecord]) -> Result<Table, ReportError> {
    let plan = |run: &RunRecord| run.recipe.planned.clone();
    let account = |run: &RunRecord| (!run.ledger.is_empty()).then(|| run.account.clone());
    let accuracy = |run: &RunRecord| run.last_accuracy().cloned();
    Builder::new("runs", "one run")
        .text("run", runs.iter().map(|run| run.label.as_str()))
        .text("directory", runs.iter().map(|run| run.directory.to_string_lossy()))
        .text("architecture", runs.iter().map(|run| run.recipe.architecture.name.as_str()))
        .text("data", runs.iter().map(|run| run.recipe.data.name.as_str()))
        .text("offer", runs.iter().map(|run| run.recipe.hardware.offer.as_str()))
        .text("accelerator", runs.iter().map(|run| run.recipe.hardware.accelerator.as_str()))
        .whole("accelerators", runs.iter().map(|run| Some(u64::from(run.recipe.hardware.count))))
        .money("price_per_hour", runs.iter().map(|run| Some(run.recipe.hardware.usd_per_hour)))
        .text("price_source", runs.iter().map(|run| run.recipe.hardware.price_source.as_str()))
        .money("cap", runs.iter().map(|run| Some(run.cap())))
        .money("spent", runs.iter().map(|run| account(run).map(|account| account.spent())))
        .money("settled", runs.iter().map(|run| account(run).map(|account| account.settled())))
        .money("reserved", runs.iter().map(|run| account(run).map(|account| account.reserved())))
        .money("planned", runs.iter().map(|run| plan(run).map(|plan| plan.cost_usd)))
        .number(
            "charged_hours",
            runs.iter().map(|run| (!run.ledger.is_empty()).then(|| run.charged_hours().0)),
        )
        .number("planned_hours", runs.iter().map(|run| plan(run).map(|plan| plan.hours.0)))
        .whole("samples_seen", runs.iter().map(|run| Some(run.samples_seen())))
        .whole("planned_samples", runs.iter().map(|run| Some(planned_samples(run))))
        .text("evaluated_on", runs.iter().map(|run| accuracy(run).map_or(String::new(), |row| row.dataset)))
        .number("accuracy_percent", runs.iter().map(|run| accuracy(run)?.accuracy_percent()))
        .number("chance_percent", runs.iter().map(|run| accuracy(run)?.chance_percent()))
        .flag("final_evaluation", runs.iter().map(|run| accuracy(run).is_some_and(|row| row.is_final)))
        .finish()
}

/// Samples of all stages of the recipe.
fn planned_samples(run: &RunRecord) -> u64 {
    run.recipe.stages.iter().map(|stage| stage.samples.0).sum()
}

pub(super) fn spending(runs: &[RunRecord]) -> Result<Table, ReportError> {
    let rows = rows(runs, |run| run.account.spending().iter().collect());
    Builder::new("spending", "what was settled for one purpose in one stage of a run")
        .text("run", rows.iter().map(|(run, _)| run.label.as_str()))
        .text("stage", rows.iter().map(|(_, row)| row.stage.as_str()))
        .text("purpose", rows.iter().map(|(_, row)| row.purpose.name()))
        .money("settled", rows.iter().map(|(_, row)| Some(row.settled)))
        .number("hours", rows.iter().map(|(_, row)| Some(row.seconds / 3600.0)))
        .finish()
}

pub(super) fn ledger(runs: &[RunRecord]) -> Result<Table, ReportError> {
    super::ledger::rows(
        runs.iter().flat_map(|run| run.ledger.iter().map(|row| (run.label.as_str(), row))).collect(),
    )
}

pub(super) fn spend_over_time(runs: &[RunRecord]) -> Result<Table, ReportError> {
    let rows: Vec<(&RunRecord, SpendPoint)> = rows(runs, RunRecord::spend);
    Builder::new("spend_over_time", "money and time of a run after one movement of money")
        .text("run", rows.iter().map(|(run, _)| run.label.as_str()))
        .whole("seq", rows.iter().map(|(_, point)| Some(point.seq)))
        .time("time_utc", rows.iter().map(|(_, point)| Some(point.time)))
        .number("elapsed_hours", rows.iter().map(|(_, point)| Some(point.elapsed.0)))
        .number("charged_hours", rows.iter().map(|(_, point)| Some(point.charged.0)))
        .money("settled", rows.iter().map(|(_, point)| Some(point.settled)))
        .money("spent", rows.iter().map(|(_, point)| Some(point.spent)))
        .money("cap", rows.iter().map(|(run, _)| Some(run.cap())))
        .finish()
}

pub(super) fn metrics(runs: &[RunRecord]) -> Result<Table, ReportError> {
    let rows: Vec<(&RunRecord, &MetricRow)> = rows(runs, |run| run.metrics.iter().collect());
    Builder::new("metrics", "one line of training metrics; repeated steps once")
        .text("run", rows.iter().map(|(run, _)| run.label.as_str()))
        .time("time_utc", rows.iter().map(|(_, row)| Some(row.time)))
        .text("stage", rows.iter().map(|(_, row)| row.stage.as_str()))
        .whole("step", rows.iter().map(|(_, row)| Some(row.step)))
        .whole("stage_step", rows.iter().map(|(_, row)| Some(row.stage_step)))
        .whole("samples_seen", rows.iter().map(|(_, row)| Some(row.samples_seen)))
        .number("loss", rows.iter().map(|(_, row)| row.loss))
        .number("learning_rate", rows.iter().map(|(_, row)| row.learning_rate))
        .number("logit_scale", rows.iter().map(|(_, row)| row.logit_scale))
        .number("grad_norm", rows.iter().map(|(_, row)| row.grad_norm))
        .number("samples_per_second", rows.iter().map(|(_, row)| row.samples_per_second))
        .number("spend_usd", rows.iter().map(|(_, row)| row.spend_usd))
        .finish()
}

pub(super) fn evaluations(runs: &[RunRecord]) -> Result<Table, ReportError> {
    let rows: Vec<(&RunRecord, &EvaluationRow)> = rows(runs, |run| run.evaluations.iter().collect());
    // A column for every metric that any evaluation has, in a fixed order.
    let names: BTreeSet<&str> =
        rows.iter().flat_map(|(_, row)| row.metrics.keys().map(String::as_str)).collect();
    let mut table = Builder::new("evaluations", "one evaluation; metrics as fractions of one")
        .text("run", rows.iter().map(|(run, _)| run.label.as_str()))
        .time("time_utc", rows.iter().map(|(_, row)| Some(row.time)))
        .text("stage", rows.iter().map(|(_, row)| row.stage.as_str()))
        .whole("step", rows.iter().map(|(_, row)| Some(row.step)))
        .whole("samples_seen", rows.iter().map(|(_, row)| Some(row.samples_seen)))
        .text("dataset", rows.iter().map(|(_, row)| row.dataset.as_str()))
        .text("task", rows.iter().map(|(_, row)| row.task.as_str()))
        .whole("classes", rows.iter().map(|(_, row)| row.classes))
        .whole("samples", rows.iter().map(|(_, row)| row.samples))
        .whole("image_size_px", rows.iter().map(|(_, row)| row.image_size_px))
        .number("spend_usd", rows.iter().map(|(_, row)| row.spend_usd))
        .flag("final", rows.iter().map(|(_, row)| row.is_final))
        .number("accuracy_percent", rows.iter().map(|(_, row)| row.accuracy_percent()))
        .number("chance_percent", rows.iter().map(|(_, row)| row.chance_percent()));
    for name in names {
        let values = rows.iter().map(|(_, row)| row.metrics.get(name).copied().flatten());
        table = table.number(&format!("metric_{name}"), values);
    }
    table.finish()
}
