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
    assert!(error.to_string().contains("row 2") && error.to_string().contains("642"), "{error}");
}

#[test]
fn tmp_reference() {
    let text = std::fs::read_to_string("/work/shared/facts/reference_runs.csv").expect("f");
    let mut lines = text.lines();
    let _ = &mut lines;
    match read_runs("ref.csv", &text) {
        Err(error) => panic!("{error}"),
        Ok(runs) => {
            for run in &runs {
                let own = find(&run.id).expect("id");
                let ok = own.stages.len() == run.stages.len()
                    && own.stages.iter().zip(&run.stages).all(|(a, b)| {
                        a.image_tokens == b.image_tokens
                            && a.full_image_tokens == b.full_image_tokens
                            && a.batch == b.batch
                            && a.text_tokens == b.text_tokens
                            && a.text_reduction == b.text_reduction
                            && a.image_reduction == b.image_reduction
                            && (a.samples.0 as f64 / b.samples.0 as f64 - 1.0).abs() < 0.03
                    })
                    && own.unique_samples == run.unique_samples
                    && own.device_hours == run.device_hours
                    && own.cost == run.cost
                    && own.hours_basis == run.hours_basis;
                if !ok {
                    println!(
                        "{}\n   {:?} {:?} {:?}\n   {:?} {:?} {:?}",
                        run.id,
                        own.stages,
                        own.unique_samples,
                        own.hours_basis,
                        run.stages,
                        run.unique_samples,
                        run.hours_basis
                    );
                }
            }
        }
    }
}
