//! The front page: one HTML file with everything in it, no scripts and no requests.

mod summary;
mod table;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::table::{Format, Shown};
use crate::charts::Chart;
use crate::read::RunRecord;
use crate::tables::Table;
use crate::words::printable;
use crate::{Inputs, Note, ReportError};

const STYLE: &str = include_str!("style.css");

/// Everything that the page shows.
pub(crate) struct Contents<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) runs: &'a [RunRecord],
    pub(crate) tables: &'a [Table],
    pub(crate) charts: &'a [Chart],
    pub(crate) notes: &'a [Note],
}

/// The page.
pub(crate) fn html(contents: &Contents) -> Result<String, ReportError> {
    let inputs = contents.inputs;
    let tables = all_tables(contents)?;
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "shoestring report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (summary::headline(contents)) }
                    @if !inputs.as_of.is_empty() { p.soft { (printable(&inputs.as_of)) } }
                }
                main {
                    (summary::summary(contents))
                    (shared_charts(contents.charts))
                    (run_charts(contents))
                    @if !tables.is_empty() {
                        h2 { "Tables" }
                        @for table in &tables { (table) }
                    }
                    (other_tables(contents))
                    (sources(inputs))
                    (missing(contents))
                }
                footer {
                    p { "Made by shoestring. The same inputs give the same bytes. Charts as SVG and PNG lie in "
                        code { "charts/" } ", tables as CSV and Parquet in " code { "tables/" } "." }
                }
            }
        }
    };
    Ok(markup.into_string())
}

fn figure(chart: &Chart) -> Markup {
    let data = |svg: &str| format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg));
    html! {
        figure id=(chart.id) {
            picture {
                source media="(max-width: 900px)" srcset=(data(&chart.narrow_svg));
                img src=(data(&chart.svg)) alt=(chart.alt);
            }
            figcaption { (chart.caption) }
            @if !chart.key.is_empty() {
                ul.key {
                    @for (mark, text) in &chart.key { li { b { (mark) } (text) } }
                }
            }
            p.files {
                a href=(format!("charts/{}.svg", chart.id)) { "charts/" (chart.id) ".svg" } ", "
                a href=(format!("charts/{}.png", chart.id)) { "charts/" (chart.id) ".png" }
            }
        }
    }
}

fn shared_charts(charts: &[Chart]) -> Markup {
    let shared: Vec<&Chart> = charts.iter().filter(|chart| chart.run.is_none()).collect();
    html! {
        @if !shared.is_empty() {
            h2 { "Accuracy" }
            @for chart in shared { (figure(chart)) }
        }
    }
}

fn run_charts(contents: &Contents) -> Markup {
    // Many runs are folded away, one line each.
    let folded = contents.runs.len() > 4;
    let of_run = |run: &RunRecord| -> Vec<&Chart> {
        contents.charts.iter().filter(|chart| chart.run.as_deref() == Some(run.label.as_str())).collect()
    };
    html! {
        @if contents.runs.iter().any(|run| !of_run(run).is_empty()) {
            h2 { "Runs" }
            @for run in contents.runs {
                @if folded {
                    details { summary { (run.label) } @for chart in of_run(run) { (figure(chart)) } }
                } @else {
                    h3 { (run.label) }
                    @for chart in of_run(run) { (figure(chart)) }
                }
            }
        }
    }
}

fn shown(column: &'static str, header: &'static str, format: Format) -> Shown {
    Shown { column, header, format }
}

/// The tables that are short enough to read, where they have rows.
fn all_tables(contents: &Contents) -> Result<Vec<Markup>, ReportError> {
    let specifications: [(&str, &str, Vec<Shown>); 6] = [
        (
            "runs",
            "Runs",
            vec![
                shown("run", "Run", Format::Text),
                shown("spent_micro_usd", "Spent", Format::Money),
                shown("cap_micro_usd", "Cap", Format::Money),
                shown("planned_micro_usd", "Planned", Format::Money),
                shown("charged_hours", "Time charged", Format::Hours),
                shown("samples_seen", "Samples seen", Format::Samples),
                shown("planned_samples", "of planned", Format::Samples),
                shown("accuracy_percent", "Accuracy", Format::Percent),
                shown("chance_percent", "Chance", Format::Percent),
                shown("evaluated_on", "Evaluated on", Format::Text),
                shown("architecture", "Architecture", Format::Text),
                shown("offer", "Hardware", Format::Text),
                shown("price_per_hour_micro_usd", "Price an hour", Format::Money),
                shown("price_source", "Price from", Format::Text),
                shown("directory", "Directory", Format::Text),
            ],
        ),
        (
            "planned_vs_actual",
            "Planned against actual",
            vec![
                shown("run", "Run", Format::Text),
                shown("stage", "Stage", Format::Text),
                shown("planned_micro_usd", "Planned cost", Format::Money),
                shown("actual_micro_usd", "Actual cost", Format::Money),
                shown("cost_difference_percent", "Difference", Format::Difference),
                shown("planned_hours", "Planned time", Format::Hours),
                shown("actual_hours", "Actual time", Format::Hours),
                shown("hours_difference_percent", "Difference", Format::Difference),
            ],
        ),
        (
            "spending",
            "What the money was for",
            vec![
                shown("run", "Run", Format::Text),
                shown("stage", "Stage", Format::Text),
                shown("purpose", "Purpose", Format::Text),
                shown("settled_micro_usd", "Settled", Format::Money),
                shown("hours", "Time", Format::Hours),
            ],
        ),
        (
            "evaluations",
            "Evaluations",
            vec![
                shown("run", "Run", Format::Text),
                shown("stage", "Stage", Format::Text),
                shown("step", "Step", Format::Whole),
                shown("samples_seen", "Samples seen", Format::Samples),
                shown("dataset", "Data", Format::Text),
                shown("task", "Task", Format::Text),
                shown("classes", "Classes", Format::Whole),
                shown("samples", "Samples", Format::Samples),
                shown("image_size_px", "Image, px", Format::Whole),
                shown("accuracy_percent", "Top-1", Format::Percent),
                shown("chance_percent", "Chance", Format::Percent),
                shown("spend_usd", "Spent, USD", Format::Number),
                shown("final", "Last one", Format::Text),
            ],
        ),
        (
            "frontier",
            "What the planner expects for the money",
            vec![
                shown("plan", "Plan", Format::Long),
                shown("cost_micro_usd", "Cost", Format::Money),
                shown("accuracy_percent_p50", "Accuracy", Format::Percent),
                shown("accuracy_percent_p10", "1 in 10 below", Format::Percent),
                shown("accuracy_percent_p90", "1 in 10 above", Format::Percent),
            ],
        ),
        (
            "published",
            "Published runs",
            vec![
                shown("number", "No.", Format::Whole),
                shown("run", "Run", Format::Long),
                shown("cost_micro_usd", "Cost", Format::Money),
                shown("accuracy_percent", "Accuracy", Format::Percent),
                shown("paper", "Paper", Format::Long),
            ],
        ),
    ];
    let mut out = Vec::new();
    for (name, title, columns) in specifications {
        if let Some(found) =
            contents.tables.iter().find(|table| table.name == name && table.frame.height() > 0)
        {
            out.push(table::table(found, title, &columns)?);
        }
    }
    Ok(out)
}

/// Tables too long for a page.
fn other_tables(contents: &Contents) -> Markup {
    let long = ["ledger", "spend_over_time", "metrics"];
    let others: Vec<&Table> = contents
        .tables
        .iter()
        .filter(|table| long.contains(&table.name) && table.frame.height() > 0)
        .collect();
    html! {
        @if !others.is_empty() {
            h3 { "Longer tables, as files only" }
            ul.files {
                @for table in others {
                    li { (table.frame.height()) " rows, each " (table.row) ": " (table::files(table.name)) }
                }
            }
        }
    }
}

fn sources(inputs: &Inputs) -> Markup {
    html! {
        @if !inputs.sources.is_empty() || !inputs.frontier_context.is_empty() {
            h2 { "Sources" }
            dl {
                @if !inputs.frontier_context.is_empty() {
                    dt { "The planner’s frontier" }
                    dd { (printable(&inputs.frontier_context)) }
                }
                @for note in &inputs.sources {
                    dt { (printable(&note.what)) }
                    dd { (printable(&note.source)) }
                }
            }
        }
    }
}

/// What a reader might look for and not find, and why.
fn missing(contents: &Contents) -> Markup {
    let inputs = contents.inputs;
    let mut general = Vec::new();
    if contents.runs.is_empty() {
        general.push("No run was named: there is no spending, training or evaluation to show.");
    }
    if inputs.frontier.is_empty() {
        general.push("There is no planner’s frontier in this report.");
    }
    if inputs.published.is_empty() {
        general.push("There are no published runs in this report.");
    }
    let on_imagenet = contents.runs.iter().any(|run| run.evaluations.iter().any(|row| row.is_imagenet()));
    if !contents.runs.is_empty() && !on_imagenet {
        general.push(
            "No run was evaluated on ImageNet: their accuracies stand in charts of their own, apart from \
             published figures.",
        );
    }
    html! {
        @if !general.is_empty() || !contents.notes.is_empty() {
            h2 { "What is missing" }
            ul.notes {
                @for text in general { li { (text) } }
                @for note in contents.notes {
                    li.partial[note.partial] {
                        @if let Some(run) = &note.run { b { (run) ": " } }
                        (printable(&note.text))
                    }
                }
            }
        }
    }
}
