//! `backtest`: how wrong the planner has been on runs that it has not seen.

use serde_json::Value;
use shoestring_planner::backtest::accuracy::by_paper;
use shoestring_planner::backtest::unseen::unseen;
use shoestring_planner::backtest::{BackTest, hours};
use shoestring_planner::law::fit::{FitError, Residual};
use shoestring_planner::published;
use shoestring_reports::{BackTestChart, BackTestGroup, BackTestPoint, BackTestQuantity, backtest_picture};

use super::law::read_runs;
use super::read_text;
use crate::cli::{BacktestArgs, TableFormat};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, write_file};
use crate::progress::Waiting;

pub(crate) fn backtest(args: &BacktestArgs, printer: Printer) -> Result<Exit, Failure> {
    let failed = |error: FitError| {
        let hint = error.hint();
        Failure::new(Exit::Failure, error).hint(hint)
    };
    let waiting = Waiting::start(printer, "back-test");
    let said = match &args.runs {
        Some(path) => {
            let runs = read_runs(path, &read_text(path)?)?;
            let result = unseen(&runs, published::runs()).map_err(failed)?;
            Said { text: result.text(), csv: result.csv(), object: result.object(), charts: Vec::new() }
        }
        None => {
            let result = BackTest::run(published::runs(), args.exact, &|done, all| waiting.at(done, all))
                .map_err(failed)?;
            let charts =
                vec![("backtest", accuracy_chart(&result)), ("backtest-hours", hours_chart(&result))];
            Said { text: result.text(args.every_run), csv: result.csv(), object: result.object(), charts }
        }
    };
    waiting.done();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)?;
        let table = folder.join("backtest.csv");
        write_file(&table, said.csv.as_bytes())?;
        printer.note(&format!("{} written", table.display()));
        for (name, chart) in &said.charts {
            let picture = backtest_picture(chart)?;
            for (ending, bytes) in [("svg", picture.svg.as_bytes()), ("png", picture.png.as_slice())] {
                let path = folder.join(format!("{name}.{ending}"));
                write_file(&path, bytes)?;
                printer.note(&format!("{} written", path.display()));
            }
        }
    }
    match args.format {
        TableFormat::Text => printer.data(&said.text)?,
        TableFormat::Json => printer.json(&said.object)?,
        TableFormat::Csv => printer.data(&said.csv)?,
    }
    Ok(Exit::Success)
}

/// One result in its three forms.
struct Said {
    text: String,
    csv: String,
    object: Value,
    charts: Vec<(&'static str, BackTestChart)>,
}

/// Papers with a colour of their own on the chart; the others share one.
const NAMED_PAPERS: usize = 5;

/// Predicted against reported accuracy with each run's paper left out, the papers with most runs first.
fn accuracy_chart(result: &BackTest) -> BackTestChart {
    let mut papers = by_paper(&result.fitted);
    papers.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(b.0)));
    let points = |rows: &[&Residual]| {
        rows.iter()
            .map(|row| BackTestPoint {
                reported: row.observed,
                predicted: row.paper_left_out,
                interval: None,
            })
            .collect()
    };
    let mut groups: Vec<BackTestGroup> = papers
        .iter()
        .take(NAMED_PAPERS)
        .map(|(paper, rows)| BackTestGroup { label: (*paper).to_owned(), points: points(rows) })
        .collect();
    let rest: Vec<&Residual> =
        papers.iter().skip(NAMED_PAPERS).flat_map(|(_, rows)| rows.iter().copied()).collect();
    if !rest.is_empty() {
        groups.push(BackTestGroup { label: "other papers".to_owned(), points: points(&rest) });
    }
    BackTestChart {
        quantity: BackTestQuantity::Accuracy,
        title: "Back-test: predicted against reported accuracy, each run's paper left out".to_owned(),
        caption: format!(
            "{} published runs, each predicted by a law that has seen nothing of its paper; points above the line \
             are predicted too high. Mean absolute error {:.2} points.",
            result.fitted.judged().count(),
            result.fitted.leave_paper_out_error()
        ),
        groups,
    }
}

/// Predicted against reported device hours with each run left out, by paper, with the 80 % intervals.
fn hours_chart(result: &BackTest) -> BackTestChart {
    let groups = result
        .hours_by_paper()
        .into_iter()
        .map(|(paper, rows)| BackTestGroup {
            label: paper.to_owned(),
            points: rows
                .iter()
                .map(|row| BackTestPoint {
                    reported: row.reported.0,
                    predicted: row.predicted.p50.0,
                    interval: Some((row.predicted.p10.0, row.predicted.p90.0)),
                })
                .collect(),
        })
        .collect();
    let score = hours::score(&result.hours);
    BackTestChart {
        quantity: BackTestQuantity::DeviceHours,
        title: "Back-test: predicted against reported device hours, each run left out".to_owned(),
        caption: format!(
            "{} published runs and speeds, each predicted by a speed model that has not seen it; points above the line \
             are predicted too slow. {:.0} % lie within their 80 % interval.",
            score.rows,
            100.0 * score.coverage
        ),
        groups,
    }
}
