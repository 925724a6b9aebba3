//! Whole reports from run directories.

#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Write as _};

use polars::prelude::{AnyValue, CsvReader, DataFrame, ParquetReader, SerReader};

use super::*;
use crate::fixture::{Sample, planned_inputs, usd};

fn text(files: &ReportFiles, path: &str) -> String {
    String::from_utf8(bytes(files, path).to_vec()).unwrap()
}

fn bytes<'a>(files: &'a ReportFiles, path: &str) -> &'a [u8] {
    let found = files.files.iter().find(|file| file.path == path);
    &found.unwrap_or_else(|| panic!("no {path} in {files:?}")).bytes
}

fn parquet(files: &ReportFiles, name: &str) -> DataFrame {
    let bytes = bytes(files, &format!("tables/{name}.parquet")).to_vec();
    ParquetReader::new(Cursor::new(bytes)).finish().unwrap()
}

fn csv(files: &ReportFiles, name: &str) -> DataFrame {
    let bytes = bytes(files, &format!("tables/{name}.csv")).to_vec();
    CsvReader::new(Cursor::new(bytes)).finish().unwrap()
}

fn value<'a>(frame: &'a DataFrame, column: &str, row: usize) -> AnyValue<'a> {
    frame.column(column).unwrap().get(row).unwrap()
}

fn row_of(frame: &DataFrame, wanted: &[(&str, &str)]) -> usize {
    (0..frame.height())
        .find(|&row| wanted.iter().all(|(column, text)| value(frame, column, row) == AnyValue::String(text)))
        .unwrap_or_else(|| panic!("no row with {wanted:?} in {frame}"))
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut inputs = planned_inputs();
    inputs.runs = vec![Sample::new("one").write(folder.path()), Sample::new("two").write(folder.path())];
    let first = Report::build(&inputs).unwrap();
    let second = Report::build(&inputs).unwrap();
    assert!(first.files.len() > 30);
    for (a, b) in first.files.iter().zip(&second.files) {
        assert_eq!(a.path, b.path);
        assert!(a.bytes == b.bytes, "{} differs", a.path);
    }
    assert_eq!(first, second);

    let out = folder.path().join("report");
    let page = first.write(&out).unwrap();
    assert_eq!(std::fs::read(page).unwrap(), bytes(&first, "index.html"));
    let count = |part: &str| std::fs::read_dir(out.join(part)).unwrap().count();
    assert_eq!(count("charts") + count("tables") + 1, first.files.len(), "no temporary is left");
}

#[test]
fn tables_say_what_the_run_directory_says() {
    let folder = tempfile::tempdir().unwrap();
    let sample = Sample { steps: [3, 1], ..Sample::new("small") };
    let directory = sample.write(folder.path());
    let ledger = shoestring_ledger::read(&directory.join("ledger.jsonl")).unwrap();
    let files = Report::build(&Inputs { runs: vec![directory], ..planned_inputs() }).unwrap();
    assert!(!files.is_partial(), "{:?}", files.notes);

    let runs = parquet(&files, "runs");
    assert_eq!(value(&runs, "run", 0), AnyValue::String("small"));
    assert_eq!(value(&runs, "cap_micro_usd", 0), AnyValue::Int64(50_000));
    assert_eq!(value(&runs, "spent_micro_usd", 0), AnyValue::Int64(ledger.account.spent().micros()));
    assert_eq!(value(&runs, "samples_seen", 0), AnyValue::Int64(3 * 64 + 32));
    assert_eq!(value(&runs, "final_evaluation", 0), AnyValue::Boolean(true));
    let AnyValue::Float64(accuracy) = value(&runs, "accuracy_percent", 0) else { panic!("{runs}") };
    assert!((accuracy - 31.0).abs() < 1e-9, "{accuracy}");

    let rows = parquet(&files, "ledger");
    assert_eq!(rows.height(), ledger.rows.len());
    let settled: i64 = (0..rows.height())
        .filter(|&row| value(&rows, "kind", row) == AnyValue::String("settle"))
        .map(|row| match value(&rows, "amount_micro_usd", row) {
            AnyValue::Int64(amount) => amount,
            other => panic!("{other}"),
        })
        .sum();
    assert_eq!(settled, ledger.account.settled().micros());

    let over_time = parquet(&files, "spend_over_time");
    let last = over_time.height() - 1;
    assert_eq!(value(&over_time, "settled_micro_usd", last), AnyValue::Int64(settled));
    // After the first reserve it counts as spent though nothing is settled yet.
    assert_eq!(value(&over_time, "settled_micro_usd", 1), AnyValue::Int64(0));
    assert_eq!(
        value(&over_time, "spent_micro_usd", 1),
        AnyValue::Int64(ledger.rows[1].amount.unwrap().micros())
    );

    // A step of ten seconds was planned at 0.11 USD an hour: 3 steps cost 917 micro-dollars.
    let comparison = parquet(&files, "planned_vs_actual");
    assert_eq!(comparison.height(), 3);
    let row = row_of(&comparison, &[("stage", "pretrain")]);
    assert_eq!(value(&comparison, "planned_micro_usd", row), AnyValue::Int64(917));
    let actual = ledger.account.settled_in_stage("pretrain").micros();
    assert_eq!(value(&comparison, "actual_micro_usd", row), AnyValue::Int64(actual));
    let AnyValue::Float64(difference) = value(&comparison, "cost_difference_percent", row) else {
        panic!("{comparison}")
    };
    assert!((difference - 100.0 * (actual as f64 / 917.0 - 1.0)).abs() < 1e-9);
    let total = row_of(&comparison, &[("stage", "total")]);
    assert_eq!(value(&comparison, "actual_micro_usd", total), AnyValue::Int64(settled));

    let evaluations = parquet(&files, "evaluations");
    assert_eq!(value(&evaluations, "metric_acc1", evaluations.height() - 1), AnyValue::Float64(0.31));
    assert_eq!(value(&evaluations, "metric_acc5", evaluations.height() - 1), AnyValue::Float64(0.62));
    // What was not finite is unknown, not zero.
    assert_eq!(value(&parquet(&files, "metrics"), "grad_norm", 0), AnyValue::Null);
}

#[test]
fn tables_survive_csv() {
    let folder = tempfile::tempdir().unwrap();
    let sample = Sample { steps: [4, 2], ..Sample::new("comma, \"quote\"\tand – dash") };
    let files =
        Report::build(&Inputs { runs: vec![sample.write(folder.path())], ..planned_inputs() }).unwrap();
    for name in
        ["runs", "planned_vs_actual", "evaluations", "ledger", "spend_over_time", "frontier", "published"]
    {
        let (from_csv, from_parquet) = (csv(&files, name), parquet(&files, name));
        assert_eq!(from_csv.shape(), from_parquet.shape(), "{name}");
        for column in from_parquet.columns() {
            for row in 0..from_parquet.height() {
                let found = value(&from_csv, column.name(), row);
                match column.get(row).unwrap() {
                    AnyValue::Datetime(millis, ..) => {
                        let AnyValue::String(text) = found else { panic!("{name}: {found}") };
                        let time = chrono::DateTime::parse_from_rfc3339(text).unwrap();
                        assert_eq!(time.timestamp_millis(), millis);
                    }
                    AnyValue::Float64(number) => {
                        assert_eq!(found.extract::<f64>(), Some(number), "{name}.{}", column.name());
                    }
                    AnyValue::String("") => assert!(matches!(found, AnyValue::Null | AnyValue::String(""))),
                    expected => assert_eq!(found, expected, "{name}.{}", column.name()),
                }
            }
        }
    }
    let label = "comma, \"quote\" and – dash";
    assert_eq!(value(&csv(&files, "runs"), "run", 0), AnyValue::String(label));
}

#[test]
fn names_cannot_break_out_of_the_page_or_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let name = "../</title><script>alert(1)</script>&\u{1}";
    let mut inputs = planned_inputs();
    inputs.runs = vec![Sample::new(name).write(folder.path())];
    inputs.as_of = "<img src=x onerror=alert(2)>".to_owned();
    inputs.published[0].label = "</svg><script>".to_owned();
    inputs.published[0].paper = "\"><script>".to_owned();
    let files = Report::build(&inputs).unwrap();
    let page = text(&files, "index.html");
    assert!(!page.contains("<script") && !page.contains("<img src=x"), "unescaped");
    assert!(page.contains("&lt;script&gt;alert(1)"));
    for file in &files.files {
        assert!(!file.path.contains(".."), "{}", file.path);
        if file.path.ends_with(".svg") {
            let document = std::str::from_utf8(&file.bytes).unwrap();
            assert!(!document.contains("<script"), "{}", file.path);
            assert!(!document.chars().any(|c| c.is_control() && c != '\n'), "{}", file.path);
        }
    }
}

#[test]
fn a_report_needs_no_run_and_nothing_else_either() {
    let files = Report::build(&planned_inputs()).unwrap();
    let page = text(&files, "index.html");
    assert!(page.contains("What a budget can buy") && page.contains("would buy"));
    assert_eq!(files.files.iter().filter(|file| file.path.ends_with(".svg")).count(), 1);
    assert_eq!(parquet(&files, "frontier").height(), 40);
    assert_eq!(parquet(&files, "ledger").height(), 0);
    assert!(!files.is_partial());

    let empty = Report::build(&Inputs::default()).unwrap();
    assert!(text(&empty, "index.html").contains("No run was named"));
    assert!(!empty.files.iter().any(|file| file.path.starts_with("charts/")));
}

#[test]
fn the_page_asks_for_nothing_outside_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut inputs = planned_inputs();
    inputs.runs = vec![Sample::new("one").write(folder.path())];
    let page = text(&Report::build(&inputs).unwrap(), "index.html");
    for wanted in ["src=\"", "srcset=\""] {
        for part in page.split(wanted).skip(1) {
            assert!(part.starts_with("data:image/svg+xml;base64,"), "{}", &part[..60.min(part.len())]);
        }
    }
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("@import"));
    assert!(page.contains("<html lang=\"en\">") && page.contains("prefers-color-scheme: dark"));
    let (pictures, alts) = (page.matches("<img ").count(), page.matches(" alt=\"").count());
    assert_eq!((pictures, alts), (6, 6));
    assert!(page.contains("scope=\"col\"") && page.contains("scope=\"row\""));
}

#[test]
fn runs_that_share_a_name_are_told_apart() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sample = Sample { steps: [3, 1], ..Sample::new("demo") };
    let runs = vec![sample.write(a.path()), sample.write(b.path())];
    let files = Report::build(&Inputs { runs, ..Inputs::default() }).unwrap();
    assert_eq!(value(&parquet(&files, "runs"), "run", 1), AnyValue::String("demo-2"));
    bytes(&files, "charts/spend-demo.svg");
    bytes(&files, "charts/spend-demo-2.svg");
    assert!(text(&files, "index.html").contains("What 2 runs bought"));
}

#[test]
fn different_benchmarks_get_different_charts() {
    let folder = tempfile::tempdir().unwrap();
    let own = Sample { steps: [3, 1], ..Sample::new("own") };
    let imagenet = Sample {
        steps: [3, 1],
        dataset: "imagenet1k".to_owned(),
        classes: 1000,
        usd_per_hour: 90_000.0,
        cap: 2_000.0,
        ..Sample::new("benchmarked")
    };
    let runs = vec![own.write(folder.path()), imagenet.write(folder.path())];
    let files = Report::build(&Inputs { runs, ..planned_inputs() }).unwrap();
    let on_imagenet = text(&files, "charts/accuracy-vs-cost.svg");
    assert!(on_imagenet.contains("\nbenchmarked\n") && !on_imagenet.contains("\nown\n"));
    let on_own = text(&files, "charts/accuracy-vs-cost-synthetic.svg");
    assert!(on_own.contains("\nown\n") && !on_own.contains("\nbenchmarked\n"));
    assert!(!on_own.contains("published CLIP runs"));
}

#[test]
fn a_torn_line_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Sample { steps: [3, 1], ..Sample::new("torn") }.write(folder.path());
    let whole = Report::build(&Inputs { runs: vec![directory.clone()], ..Inputs::default() }).unwrap();
    for name in ["ledger.jsonl", "metrics.jsonl", "eval.jsonl"] {
        let mut file = std::fs::OpenOptions::new().append(true).open(directory.join(name)).unwrap();
        file.write_all(b"{\"version\":1,\"time\":\"2026-").unwrap();
    }
    let torn = Report::build(&Inputs { runs: vec![directory.clone()], ..Inputs::default() }).unwrap();
    for name in ["ledger", "metrics", "evaluations"] {
        let path = format!("tables/{name}.parquet");
        assert!(bytes(&whole, &path) == bytes(&torn, &path), "{name}");
    }
    let cut: Vec<&Note> = torn.notes.iter().filter(|note| note.text.contains("cut off")).collect();
    assert_eq!(cut.len(), 3, "{:?}", torn.notes);
    assert!(!torn.is_partial());

    // In the middle of a file it is damage: told, and the rest still shown.
    let metrics = std::fs::read_to_string(directory.join("metrics.jsonl")).unwrap();
    std::fs::write(directory.join("metrics.jsonl"), metrics.replacen("\"step\":1,", "\"step\":", 1)).unwrap();
    let damaged = Report::build(&Inputs { runs: vec![directory], ..Inputs::default() }).unwrap();
    assert!(damaged.is_partial());
    assert!(text(&damaged, "index.html").contains("the first is line 1"));
}

#[test]
fn a_run_with_gaps_is_still_shown() {
    let folder = tempfile::tempdir().unwrap();
    let sample = Sample { steps: [3, 1], planned: false, ..Sample::new("bare") };
    let directory = sample.write(folder.path());
    for name in ["metrics.jsonl", "eval.jsonl"] {
        std::fs::remove_file(directory.join(name)).unwrap();
    }
    let inputs = Inputs { runs: vec![directory.clone()], ..Inputs::default() };
    let files = Report::build(&inputs).unwrap();
    assert!(!files.is_partial());
    let notes: Vec<&str> = files.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(notes.iter().any(|note| note.contains("metrics.jsonl is missing")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("eval.jsonl is missing")), "{notes:?}");
    assert!(text(&files, "index.html").contains("not evaluated"));

    // Unknown money is said to be unknown, never zero.
    std::fs::remove_file(directory.join("ledger.jsonl")).unwrap();
    let files = Report::build(&inputs).unwrap();
    assert!(files.is_partial());
    assert_eq!(value(&parquet(&files, "runs"), "spent_micro_usd", 0), AnyValue::Null);
    assert!(text(&files, "index.html").contains("cost is not known"));

    // A ledger that somebody edited is not believed.
    let directory = Sample { steps: [3, 1], ..Sample::new("edited") }.write(folder.path());
    let ledger = std::fs::read_to_string(directory.join("ledger.jsonl")).unwrap();
    std::fs::write(directory.join("ledger.jsonl"), ledger.replacen("\"step\":2", "\"step\":3", 1)).unwrap();
    let files = Report::build(&Inputs { runs: vec![directory], ..Inputs::default() }).unwrap();
    assert!(files.is_partial());
    assert!(files.notes.iter().any(|note| note.text.contains("cannot be trusted")), "{:?}", files.notes);
}

#[test]
fn an_open_reserve_counts_as_spent_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let sample = Sample { cut_off: true, steps: [3, 2], ..Sample::new("cut") };
    let files =
        Report::build(&Inputs { runs: vec![sample.write(folder.path())], ..Inputs::default() }).unwrap();
    let runs = parquet(&files, "runs");
    let AnyValue::Int64(reserved) = value(&runs, "reserved_micro_usd", 0) else { panic!("{runs}") };
    assert!(reserved > 0);
    let comparison = parquet(&files, "planned_vs_actual");
    let sum: i64 = ["pretrain", "finetune"]
        .map(|stage| match value(&comparison, "actual_micro_usd", row_of(&comparison, &[("stage", stage)])) {
            AnyValue::Int64(amount) => amount,
            other => panic!("{other}"),
        })
        .iter()
        .sum();
    assert_eq!(AnyValue::Int64(sum), value(&runs, "spent_micro_usd", 0));
    assert!(files.notes.iter().any(|note| note.text.contains("counts as spent")));
}

#[test]
fn a_directory_that_is_not_a_run_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let build = |path: &Path| {
        Report::build(&Inputs { runs: vec![path.to_owned()], ..Inputs::default() }).unwrap_err()
    };
    for path in [folder.path().to_owned(), folder.path().join("nowhere")] {
        let error = build(&path);
        assert!(matches!(error, ReportError::NotARun { .. }), "{error}");
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        assert!(error.hint().is_some());
    }
    std::fs::write(folder.path().join("recipe.toml"), "version = 1\nnam = \"x\"\n").unwrap();
    let error = build(folder.path());
    assert!(matches!(error, ReportError::Recipe(_)) && error.to_string().contains("recipe.toml:"), "{error}");
}

#[test]
fn budgets_that_nobody_can_pay_do_not_break_charts() {
    let mut inputs = planned_inputs();
    inputs.budgets = vec![usd(0.0), usd(1e-6), usd(9e12), usd(10_000.0), usd(10_000.0)];
    inputs.frontier[0].accuracy_percent.p50 = f64::NAN;
    let files = Report::build(&inputs).unwrap();
    assert!(text(&files, "charts/accuracy-vs-cost.svg").contains("10,000\u{a0}USD"));
}
