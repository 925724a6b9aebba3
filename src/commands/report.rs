//! `report`: tables and charts of runs, published models and the planner's frontier.

use serde_json::json;
use shoestring_planner::published::{self, PublishedRun};
use shoestring_planner::units::Usd;
use shoestring_reports::{Inputs, Note, PublishedPoint, Report, SourceNote};

use super::plan::frontier;
use crate::cli::{Format, ReportArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(crate) fn report(args: &ReportArgs, printer: Printer) -> Result<Exit, Failure> {
    let frontier = frontier(&args.budget)?;
    let inputs = Inputs {
        runs: args.runs.clone(),
        frontier: frontier.points,
        frontier_context: frontier.context,
        published: published_points(),
        budgets: args.budget.clone(),
        as_of: frontier.as_of,
        sources: sources(),
    };
    let failed = |error: shoestring_reports::ReportError| {
        let hint = error.hint();
        Failure::new(Exit::Failure, error).hint(hint)
    };
    let built = Report::build(&inputs).map_err(failed)?;
    for note in &built.notes {
        printer.note(&format!("note: {}", words(note)));
    }
    let page = built.write(&args.out).map_err(failed)?;
    match args.format {
        Format::Text => printer.data(&format!("{} files written\n{}", built.files.len(), page.display()))?,
        Format::Json => printer.json(&json!({
            "schema": "shoestring.report", "version": 1, "page": page,
            "files": built.files.iter().map(|file| &file.path).collect::<Vec<_>>(),
            "notes": built.notes.iter().map(words).collect::<Vec<_>>(),
        }))?,
    }
    Ok(if built.is_partial() { Exit::Partial } else { Exit::Success })
}

fn words(note: &Note) -> String {
    note.run.as_ref().map_or_else(|| note.text.clone(), |run| format!("{run}: {}", note.text))
}

/// Published runs whose authors say what they cost.
fn published_points() -> Vec<PublishedPoint> {
    published::runs()
        .iter()
        .filter(|run| run.same_as.is_none())
        .filter_map(|run| {
            let cost = run.cost.filter(|&cost| cost > Usd::ZERO)?;
            Some(PublishedPoint {
                label: label(run),
                paper: run.paper.clone(),
                cost_usd: cost,
                accuracy_percent: run.accuracy_percent,
            })
        })
        .collect()
}

/// A run in a few words: `CLIPA-v2 H/14, 84/224 px`, and the data where they are not the ones that plans assume.
fn label(run: &PublishedRun) -> String {
    let model = run.model.replace("ViT-", "");
    let who = run.paper.split_whitespace().next().filter(|paper| paper.starts_with("CLIPA"));
    let mut out = who.map_or_else(|| model.clone(), |paper| format!("{paper} {model}"));
    if run.stages.len() > 1 {
        let sizes: Vec<String> = run.stages.iter().map(|stage| stage.image_size_px.to_string()).collect();
        out.push_str(&format!(", {} px", sizes.join("/")));
    }
    if run.dataset != "DataComp-1B" {
        out.push_str(&format!(", {}", run.dataset));
    }
    out
}

fn sources() -> Vec<SourceNote> {
    let note = |what: &str, source: &str| SourceNote { what: what.into(), source: source.into() };
    vec![
        note("published costs and accuracies", "planner/data/runs.csv, each row with its own source"),
        note("prices of the frontier", "the built-in catalogue, planner/data/offers.csv, each row dated"),
        note("expected accuracy", "law fitted on planner/data/runs.csv, parameters in planner/data/law.toml"),
    ]
}
