//! Tables of runs, good and bad.

use std::collections::HashSet;

use super::*;
use crate::dataset;
use crate::units::Tokens;

#[test]
fn the_embedded_table_is_read_whole() {
    let runs = read_runs("runs.csv", RUNS_CSV).expect("reads");
    assert_eq!(runs.len(), 874);
    let ids: HashSet<&str> = runs.iter().map(|run| run.id.as_str()).collect();
    assert_eq!(ids.len(), runs.len(), "ids are unique");
    for run in &runs {
        assert!(run.same_as.as_deref().is_none_or(|other| ids.contains(other)), "{}", run.id);
        assert!(run.device_hours.is_none() == run.hours_basis.is_none(), "{}", run.id);
        assert!(dataset::lookup(&run.dataset).is_some(), "{}: {}", run.id, run.dataset);
    }
}

#[test]
fn a_run_with_three_stages_is_read_as_published() {
    let run = find("clipav2-H14-dc-84-336").expect("there");
    assert_eq!(run.accuracy_percent, 81.8);
    assert_eq!(run.cost, Some(Usd::from_dollars(13_613.0)));
    assert_eq!(run.device_hours, Some(Hours(8_640.0)));
    let lengths: Vec<(u32, u32, u32)> =
        run.stages.iter().map(|s| (s.image_tokens.0, s.full_image_tokens.0, s.text_tokens.0)).collect();
    assert_eq!(lengths, [(36, 36, 8), (179, 256, 32), (346, 576, 32)]);
    assert_eq!(run.stages[0].samples, Samples(12_800_000_000));
}

#[test]
fn masked_pretraining_knows_the_whole_grid() {
    let run = find("clipa-t11-S/16-random-mask-17-pre").expect("there");
    assert_eq!((run.stages[0].image_tokens, run.stages[0].full_image_tokens), (Tokens(16), Tokens(196)));
}

#[test]
fn costs_are_hours_times_price_but_for_the_one_row_known_to_differ() {
    for run in runs() {
        let (Some(hours), Some(price), Some(cost)) = (run.device_hours, run.usd_per_hour, run.cost) else {
            continue;
        };
        let product = hours.0 * price.dollars();
        let off = (product / cost.dollars() - 1.0).abs();
        if run.id == "clipav2-G14-dc-84-336" {
            assert!(off > 0.03 && run.notes.contains("inconsistent"));
        } else {
            assert!(off < 0.002, "{}: {product} against {}", run.id, cost.dollars());
        }
    }
}

#[test]
fn a_bad_row_is_refused_with_its_number() {
    let mut lines: Vec<String> = RUNS_CSV.lines().take(3).map(str::to_owned).collect();
    lines[2] = lines[2].replace(",64.2,", ",642,");
    let error = read_runs("bad.csv", &lines.join("\n")).expect_err("642 percent");
    assert_eq!(error.to_string(), "bad.csv:3: accuracy_percent = `642`: is no percentage");
}

const REFERENCE: &str = include_str!("../../tests/fixtures/reference-runs.csv");

#[test]
fn the_layout_of_collections_means_the_same_runs() {
    let read = read_runs("reference.csv", REFERENCE).expect("reads");
    assert!(read.len() > 10);
    for run in &read {
        let own = find(&run.id).expect("in both tables");
        assert_eq!(
            (&run.paper, run.family, run.accuracy_percent),
            (&own.paper, own.family, own.accuracy_percent)
        );
        assert_eq!(run.image_parameters, own.image_parameters, "{}", run.id);
        assert_eq!(
            (run.unique_samples, run.device_hours, run.cost),
            (own.unique_samples, own.device_hours, own.cost)
        );
        if run.stages.is_empty() {
            // Prose about tuning, or samples that nobody published.
            assert!(run.id.starts_with("flip-L14") || own.stages.is_empty(), "{}", run.id);
            continue;
        }
        assert_eq!(run.stages.len(), own.stages.len(), "{}", run.id);
        for (a, b) in run.stages.iter().zip(&own.stages) {
            assert_eq!(
                (a.image_tokens, a.full_image_tokens),
                (b.image_tokens, b.full_image_tokens),
                "{}",
                run.id
            );
            assert_eq!(
                (a.text_tokens, a.text_reduction, a.batch),
                (b.text_tokens, b.text_reduction, b.batch)
            );
            assert_eq!((a.image_reduction, a.mask_ratio), (b.image_reduction, b.mask_ratio), "{}", run.id);
            // 512M is 524,288,000 where the batches are known.
            assert!((a.samples.0 as f64 / b.samples.0 as f64 - 1.0).abs() < 0.03, "{}", run.id);
        }
    }
}

/// The first CLIPA-v2 row of the fixture with one field changed.
fn changed(column: &str, value: &str) -> String {
    let mut reader = csv::Reader::from_reader(REFERENCE.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let at = header.iter().position(|name| name == column).expect("a column");
    let record = reader
        .records()
        .map(|record| record.expect("a row"))
        .find(|record| record.get(0) == Some("clipav2-H14-dc-70-224"))
        .expect("the row");
    let mut fields: Vec<&str> = record.iter().collect();
    fields[at] = value;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&header).expect("memory");
    writer.write_record(fields).expect("memory");
    String::from_utf8(writer.into_inner().expect("memory")).expect("UTF-8")
}

#[test]
fn what_cannot_be_or_contradicts_itself_is_refused_with_its_place() {
    for (column, value, problem) in [
        ("imagenet_zero_shot_top1", "", "is empty"),
        ("imagenet_zero_shot_top1", "811", "no percentage"),
        ("image_params_M", "many", "no number"),
        ("text_params_M", "-334", "at least"),
        ("pretrain_samples_seen_M", "inf", "no number"),
        ("pretrain_image_tokens", "36", "make 25 tokens"),
        ("pretrain_image_tokens", "24.5", "whole number"),
        ("pretrain_mask_ratio", "0.5", "image_reduction says `resize`"),
        ("pretrain_mask_ratio", "1.5", "no fraction"),
        ("pretrain_resolution", "7", "a patch has 14 px"),
        ("image_encoder_width_depth_patch", "1280;32", "width;depth;patch"),
        ("image_reduction", "shrink", "unknown"),
        ("text_reduction", "shrink", "unknown"),
        ("recipe", "clippa", "no known recipe family"),
        ("finetune_stages", "224px/32tok/512Q", "no stage"),
        ("finetune_samples_M", "128", "have 512 M"),
        ("final_image_tokens", "576", "has 256 patches"),
        ("total_gpu_hours", "9000", "device_hours says 5920"),
        ("reported_cost_usd", "20000", "price_per_hour_usd is 9324"),
    ] {
        let error = read_runs("mine.csv", &changed(column, value)).expect_err(column);
        let text = error.to_string();
        let place = format!("mine.csv:2: {column} = `{value}`");
        assert!(text.starts_with(&place) && text.contains(problem), "{text}");
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{text}");
    }
    assert!(read_runs("mine.csv", &changed("notes", "anything")).is_ok());
}

#[test]
fn missing_columns_doubled_names_and_empty_tables_are_refused() {
    let error =
        read_runs("mine.csv", &REFERENCE.replacen("batch_size", "batch_sise", 1)).expect_err("misspelled");
    assert_eq!(error.to_string(), "mine.csv:1: the column `batch_size` is missing");
    assert!(error.hint().is_some_and(|hint| hint.contains("batch_sise")), "{error:?}");
    let header = REFERENCE.lines().next().expect("a header");
    assert!(matches!(read_runs("mine.csv", header), Err(RunsError::Empty { .. })));
    assert!(read_runs("mine.csv", "").is_err());
    let row = changed("notes", "");
    let twice = format!("{row}{}", row.lines().nth(1).expect("a row"));
    let error = read_runs("mine.csv", &twice).expect_err("twice");
    assert!(
        error.to_string().contains("mine.csv:3: id = ") && error.to_string().contains("line 2"),
        "{error}"
    );
    let short = format!("{header}\nonly,three,fields");
    assert!(matches!(read_runs("mine.csv", &short), Err(RunsError::Csv { line: 2, .. })));
    assert!(read_runs("mine.csv", &format!("\u{feff}{REFERENCE}")).is_ok(), "a byte-order mark is no column");
}
