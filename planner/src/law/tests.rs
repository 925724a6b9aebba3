//! The law against published runs, and its shape for any input.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::fit::{FittedLaw, fit, hold_out, mean_absolute};
use super::*;
use crate::architecture::Architecture;
use crate::architectures;
use crate::published::{RUNS_CSV, read_runs, runs};
use crate::recipe::{ImageReduction, TextReduction, kept_image_tokens};
use crate::units::{Samples, Tokens};

static FITTED: LazyLock<FittedLaw> = LazyLock::new(|| fit(runs()).expect("fits"));

const DATACOMP: DataShape<'static> =
    DataShape { name: "DataComp-1B", unique_samples: Samples(1_400_000_000) };

fn pretraining(architecture: &Architecture, px: u32, text: u32, samples: u64) -> StageShape {
    let tokens = architecture.vision_cfg.tokens_at(px);
    StageShape {
        image_size_px: px,
        image_tokens: tokens,
        full_image_tokens: tokens,
        image_reduction: ImageReduction::Resize,
        mask_ratio: 0.0,
        text_tokens: Tokens(text),
        text_reduction: TextReduction::Syntax,
        samples: Samples(samples),
        batch: 65_536,
    }
}

fn tuning(architecture: &Architecture, px: u32, mask: f64, samples: u64) -> StageShape {
    let side = px / architecture.vision_cfg.patch_size;
    StageShape {
        image_size_px: px,
        image_tokens: kept_image_tokens(ImageReduction::Random, mask, side),
        full_image_tokens: Tokens(side * side),
        image_reduction: ImageReduction::Random,
        mask_ratio: mask,
        text_tokens: Tokens(32),
        text_reduction: TextReduction::Truncate,
        samples: Samples(samples),
        batch: 32_768,
    }
}

/// CLIPA-v2: pretraining at `px`, 512 M at 224 px with 30 % masked, and 128 M at 336 px with 40 % masked.
fn clipa_v2(architecture: &Architecture, px: u32, at_336: bool) -> Vec<StageShape> {
    let mut stages =
        vec![pretraining(architecture, px, 8, 12_800_000_000), tuning(architecture, 224, 0.3, 524_288_000)];
    if at_336 {
        stages.push(tuning(architecture, 336, 0.4, 131_072_000));
    }
    stages
}

const CLIPA_V2: [(&str, u32, bool, f64, &str); 7] = [
    ("H/14", 70, false, 81.1, "clipav2-H14-dc-70-224"),
    ("H/14", 84, false, 81.5, "clipav2-H14-dc-84-224"),
    ("H/14", 84, true, 81.8, "clipav2-H14-dc-84-336"),
    ("L/14", 84, false, 79.7, "clipav2-L14-dc-84-224"),
    ("L/14", 84, true, 80.3, "clipav2-L14-dc-84-336"),
    ("G/14", 84, false, 82.7, "clipav2-G14-dc-84-224"),
    ("G/14", 84, true, 83.0, "clipav2-G14-dc-84-336"),
];

#[test]
fn the_stored_law_is_what_a_fit_of_the_stored_runs_gives() {
    let stored = read_law(LAW_TOML, runs(), RUNS_CSV).expect("reads");
    let again = read_law(&write_law(&FITTED, RUNS_CSV), runs(), RUNS_CSV).expect("reads what it writes");
    for (index, (a, b)) in stored.coefficients.values.iter().zip(&again.coefficients.values).enumerate() {
        assert!(
            (a / b - 1.0).abs() < 2e-3 || (a - b).abs() < 1e-3,
            "parameter {index}: stored {a}, fitted {b}"
        );
    }
    for run in runs() {
        let (Some(a), Some(b)) = (stored.predict_run(run), again.predict_run(run)) else { continue };
        assert!((a.error_percent - b.error_percent).abs() < 0.01, "{}", run.id);
        if let (Some(a), Some(b)) = (a.accuracy_percent, b.accuracy_percent) {
            assert!(((a.p90 - a.p10) - (b.p90 - b.p10)).abs() < 0.02, "{}", run.id);
        }
    }
    let size = 303e6;
    for (reduction, _) in inverse::IMAGE_REDUCTIONS {
        let index = reduction as usize;
        let (a, b) = (stored.inverse.image_after[index], again.inverse.image_after[index]);
        assert!((a.scale / b.scale - 1.0).abs() < 2e-3, "{reduction:?} at {size}");
    }
}

#[test]
fn the_same_runs_give_the_same_law_bit_for_bit() {
    let again = fit(&read_runs("runs.csv", RUNS_CSV).expect("reads")).expect("fits");
    assert_eq!(write_law(&again, RUNS_CSV), write_law(&FITTED, RUNS_CSV));
    assert_eq!(again.residuals, FITTED.residuals);
}

#[test]
fn left_out_rows_are_missed_by_less_than_a_point() {
    let judged = FITTED.judged().count();
    assert!(judged > 400, "{judged}");
    assert!(FITTED.leave_one_out_error() < 0.60, "{}", FITTED.leave_one_out_error());
    assert!(FITTED.leave_paper_out_error() < 1.60, "{}", FITTED.leave_paper_out_error());
}

#[test]
fn leaving_one_out_to_first_order_is_leaving_one_out() {
    for id in [
        "clipav2-G14-dc-84-336",
        "openai-L14",
        "cherti-g-14_Data-2B_Samples-13B_lr-5e-4_bs-64k",
        "flip-t1-0-16384",
    ] {
        let exact = hold_out(runs(), |run| run.id == id).expect("fits");
        let row = FITTED.residuals.iter().find(|row| row.id == id).expect("in the fit");
        assert!((exact[0].2 - row.left_out).abs() < 0.25, "{id}: {} against {}", exact[0].2, row.left_out);
    }
}

#[test]
fn clipa_v2_is_predicted_within_a_point() {
    for (name, px, at_336, reported, id) in CLIPA_V2 {
        let architecture = architectures::find(name).expect("known");
        let stages = clipa_v2(architecture, px, at_336);
        let case = Case { architecture, stages: &stages, data: DATACOMP };
        let prediction = Law::built_in().predict(&case);
        let accuracy = prediction.accuracy_percent.expect("claimed");
        assert!((accuracy.p50 - reported).abs() < 1.0, "{id}: {} against {reported}", accuracy.p50);
        assert!((prediction.error_percent - (100.0 - accuracy.p50)).abs() < 1e-9);
        assert!(accuracy.p10 < accuracy.p50 && accuracy.p50 < accuracy.p90);
        let row = FITTED.residuals.iter().find(|row| row.id == id).expect("in the fit");
        assert!((row.left_out - reported).abs() < 1.0, "{id} left out: {}", row.left_out);
        assert!(
            Law::built_in().extrapolation(&case).is_empty(),
            "{:?}",
            Law::built_in().extrapolation(&case)
        );
        let nearest = Law::built_in().nearest(&case).expect("some run");
        assert_eq!(nearest.id, id);
        assert!(nearest.distance < 0.1, "{nearest:?}");
    }
}

#[test]
fn clipa_v2_is_predicted_without_having_seen_any_of_it() {
    let held = hold_out(runs(), |run| run.paper.starts_with("CLIPA-v2")).expect("fits");
    for (_, _, _, reported, id) in CLIPA_V2 {
        let (_, _, predicted) = held.iter().find(|(other, ..)| other == id).expect("held out");
        assert!((predicted - reported).abs() < 1.2, "{id}: {predicted} against {reported}");
    }
    assert!(mean_absolute(held.iter().map(|(_, observed, predicted)| predicted - observed)) < 1.0);
}

fn share(inside: impl Iterator<Item = bool>) -> f64 {
    let (all, within) = inside.fold((0, 0), |(all, within), inside| (all + 1, within + i32::from(inside)));
    f64::from(within) / f64::from(all)
}

#[test]
fn intervals_contain_about_eighty_percent_of_left_out_runs() {
    let by_row =
        share(FITTED.judged().map(|row| (row.left_out - row.observed).abs() <= row.left_out_half_width));
    assert!((0.75..0.90).contains(&by_row), "row left out: {by_row}");
    let by_paper = share(
        FITTED.judged().map(|row| (row.paper_left_out - row.observed).abs() <= row.paper_left_out_half_width),
    );
    assert!((0.70..0.90).contains(&by_paper), "paper left out: {by_paper}");
}

#[test]
fn intervals_contain_about_eighty_percent_in_four_folds() {
    // The folds are fitted anew, and each fold's own width is calibrated without the fold's rows.
    const FOLDS: usize = 4;
    let all = runs();
    let (mut within, mut count) = (0.0, 0.0);
    for fold in 0..FOLDS {
        let hidden = |index: usize| (index * 7 + index / 11) % FOLDS == fold;
        let seen: Vec<PublishedRun> =
            all.iter().enumerate().filter(|(index, _)| !hidden(*index)).map(|(_, run)| run.clone()).collect();
        let law = fit(&seen).expect("fits").law;
        for (_, run) in all.iter().enumerate().filter(|(index, _)| hidden(*index)) {
            if !FITTED.judged().any(|row| row.id == run.id) {
                continue;
            }
            let prediction = law.predict_run(run).expect("complete");
            let accuracy = prediction.accuracy_percent.expect("claimed");
            count += 1.0;
            within += f64::from(u8::from((accuracy.p10..=accuracy.p90).contains(&run.accuracy_percent)));
        }
    }
    let share = within / count;
    assert!(count > 400.0 && (0.74..0.92).contains(&share), "{share} of {count}");
}

#[test]
fn the_law_is_defined_for_laptop_scale_and_says_that_it_extrapolates() {
    let mut architecture = architectures::find("S/16").expect("known").clone();
    architecture.vision_cfg.width = 64;
    architecture.vision_cfg.layers = 2;
    architecture.vision_cfg.patch_size = 4;
    architecture.vision_cfg.image_size = 32;
    architecture.text_cfg.width = 64;
    architecture.text_cfg.layers = 2;
    let mut last = f64::INFINITY;
    for samples in [1, 100, 10_000, 20_000, 1_000_000, 1_000_000_000] {
        let mut stage = pretraining(&architecture, 32, 16, samples);
        stage.batch = 64;
        let data = DataShape { name: "synthetic", unique_samples: Samples(samples) };
        let stages = [stage];
        let case = Case { architecture: &architecture, stages: &stages, data };
        let prediction = Law::built_in().predict(&case);
        assert!(prediction.error_percent.is_finite() && prediction.error_percent < last, "{samples}");
        last = prediction.error_percent;
        if samples <= 10_000 {
            assert!(
                prediction.error_percent > 100.0 && prediction.accuracy_percent.is_none(),
                "{prediction:?}"
            );
            let words = Law::built_in().extrapolation(&case);
            for variable in ["image tower", "samples seen", "unique samples", "batch", "data set"] {
                assert!(words.iter().any(|word| word.variable == variable), "{variable}: {words:?}");
            }
        }
    }
}

#[test]
fn far_from_the_data_the_interval_is_wider_and_words_say_why() {
    let architecture = architectures::find("H/14").expect("known");
    let near = clipa_v2(architecture, 84, false);
    let mut far = near.clone();
    far[0].samples = Samples(400_000_000_000);
    let law = Law::built_in();
    let width = |stages: &[StageShape], data| {
        let interval = law.predict(&Case { architecture, stages, data }).accuracy_percent.expect("claimed");
        interval.p90 - interval.p10
    };
    let unknown = DataShape { name: "my own photographs", ..DATACOMP };
    assert!(width(&far, DATACOMP) > 2.0 * width(&near, DATACOMP));
    assert!(width(&near, unknown) > 3.0 * width(&near, DATACOMP));
    let words = law.extrapolation(&Case { architecture, stages: &far, data: DATACOMP });
    let sentence = &words.iter().find(|word| word.variable == "samples seen").expect("said").message;
    assert!(sentence.contains("400.52 B") && sentence.contains("times above the largest"), "{sentence}");
    assert!(
        law.extrapolation(&Case { architecture, stages: &near, data: unknown })[0].message.contains("my own")
    );
}

#[test]
fn a_combination_that_nobody_trained_is_said_though_each_part_was() {
    // The largest encoder, on little data, with the least fine-tuning: each within what was published.
    let architecture = architectures::find("G/14").expect("known");
    let stages = [StageShape { samples: Samples(300_000_000), ..pretraining(architecture, 84, 8, 0) }];
    let data = DataShape { name: "LAION-80M", unique_samples: Samples(80_000_000) };
    let case = Case { architecture, stages: &stages, data };
    let law = Law::built_in();
    let words = law.extrapolation(&case);
    assert_eq!(words.iter().map(|word| word.variable).collect::<Vec<_>>(), ["combination"], "{words:?}");
    let distance = law.predict(&case).distance;
    assert!(distance > 1.5 && words[0].message.contains("nearest"), "{distance}: {words:?}");
    let interval = law.predict(&case).accuracy_percent.expect("claimed");
    let near = clipa_v2(architecture, 84, false);
    let usual =
        law.predict(&Case { architecture, stages: &near, data: DATACOMP }).accuracy_percent.expect("claimed");
    assert!(interval.p90 - interval.p10 > 1.5 * (usual.p90 - usual.p10), "{interval:?} {usual:?}");
}

#[test]
fn the_rule_of_comparable_runs_counts_every_run_once() {
    assert_eq!(FITTED.residuals.len() + FITTED.excluded.len(), runs().len());
    let excluded =
        |id: &str| FITTED.excluded.iter().find(|(other, _)| other == id).map(|(_, why)| why.name());
    let twice = runs().iter().find(|run| run.same_as.is_some()).expect("some run");
    assert_eq!(excluded(&twice.id), Some("reported_twice"));
    assert_eq!(excluded("siglip-32tpuv4-2days"), Some("incomplete"));
    assert_eq!(excluded("clipav2-H14-dc-70-224"), None);
    // The rule never looks at accuracy.
    for run in runs() {
        let other = PublishedRun { accuracy_percent: 100.0 - run.accuracy_percent, ..run.clone() };
        assert_eq!(comparable::exclusion(run), comparable::exclusion(&other));
    }
}

#[test]
fn a_shorter_fine_tuning_than_ever_published_is_said() {
    let architecture = architectures::find("H/14").expect("known");
    let mut stages = clipa_v2(architecture, 84, false);
    stages[1].samples = Samples(10_000_000);
    let words = Law::built_in().extrapolation(&Case { architecture, stages: &stages, data: DATACOMP });
    assert_eq!(words.iter().map(|word| word.variable).collect::<Vec<_>>(), ["fine-tuning samples"]);
}

#[test]
fn an_empty_training_has_learned_nothing() {
    let architecture = architectures::find("H/14").expect("known");
    let case = Case { architecture, stages: &[], data: DATACOMP };
    let prediction = Law::built_in().predict(&case);
    assert_eq!(prediction.error_percent, f64::INFINITY);
    assert!(prediction.accuracy_percent.is_none() && Law::built_in().nearest(&case).is_none());
}

#[test]
fn with_the_papers_samples_the_best_plan_of_its_budget_is_its_own() {
    // Dollars in proportion to training FLOPs, with the paper's 9,324 USD for its own plan.
    let flops = |architecture: &Architecture, stages: &[StageShape]| -> f64 {
        let stage = |stage: &StageShape| {
            compute::training_flops(architecture, stage.image_tokens, stage.text_tokens).0
                * stage.samples.0 as f64
        };
        stages.iter().map(stage).sum()
    };
    let own = architectures::find("H/14").expect("known");
    let budget = flops(own, &clipa_v2(own, 70, false)) * 10_000.0 / 9_324.0;
    let best = ["S/16", "B/16", "L/16", "L/14", "H/14", "g/14", "G/14"]
        .iter()
        .flat_map(|name| (4..=10).map(move |side| (*name, side)))
        .filter_map(|(name, side)| {
            let architecture = architectures::find(name).expect("known");
            let stages = clipa_v2(architecture, side * architecture.vision_cfg.patch_size, false);
            let case = Case { architecture, stages: &stages, data: DATACOMP };
            (flops(architecture, &stages) <= budget)
                .then(|| (Law::built_in().error_percent(&case), name, side * side))
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .expect("some plan fits");
    assert_eq!((best.1, best.2), ("H/14", 25), "{best:?}");
}

#[test]
fn a_stored_law_is_refused_when_runs_or_numbers_are_missing() {
    let other = RUNS_CSV.replacen("56.7", "56.8", 1);
    assert!(matches!(read_law(LAW_TOML, runs(), &other), Err(StoredLawError::OtherRuns { .. })));
    let cut = LAW_TOML.replace("size_exponent", "size_exponend");
    let error = read_law(&cut, runs(), RUNS_CSV).expect_err("a number is missing");
    assert!(error.to_string().contains("accuracy.size_exponent") && error.hint().is_some(), "{error}");
    let newer = LAW_TOML.replacen("version = 1", "version = 2", 1);
    assert_eq!(read_law(&newer, runs(), RUNS_CSV).expect_err("newer"), StoredLawError::Newer { found: 2 });
}

#[test]
fn too_few_runs_are_refused() {
    let error = fit(&runs()[..20]).expect_err("20 runs");
    assert!(matches!(error, fit::FitError::TooFew { .. }) && error.hint().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn better_plans_have_less_error(
        width in 1u32..26, layers in 1u32..49, px in 2u32..8, text in 2u32..77,
        log_samples in 4.0f64..12.0, log_unique in 3.0f64..11.0, tuned in 0.0f64..1.0, mask in 0.0f64..0.8,
        more in 1.05f64..8.0, batch_log in 4u32..18, known in any::<bool>(),
    ) {
        let mut architecture = architectures::find("B/16").expect("known").clone();
        architecture.vision_cfg.width = 64 * width;
        architecture.vision_cfg.layers = layers;
        let (samples, unique) = (10f64.powf(log_samples), 10f64.powf(log_unique));
        let times = |factor: f64, unique_factor: f64, final_px: u32| {
            let count = |value: f64| Samples((value * factor).ceil() as u64);
            let mut first = pretraining(&architecture, px * 16, text, 0);
            first.samples = count(samples);
            first.batch = 1 << batch_log;
            let mut stages = vec![first];
            if tuned > 0.2 {
                let mut last = tuning(&architecture, final_px, mask, 0);
                last.samples = count(samples * tuned * 0.1);
                stages.push(last);
            }
            let data = DataShape {
                name: if known { "LAION-400M" } else { "somebody's own" },
                unique_samples: Samples((unique * factor * unique_factor).ceil() as u64),
            };
            Law::built_in().error_percent(&Case { architecture: &architecture, stages: &stages, data })
        };
        let base = times(1.0, 1.0, 224);
        prop_assert!(base.is_finite() && base > 0.0);
        // Rounding to whole samples may undo less than a part in a thousand of a tiny run.
        let slack = 1.0 + 2e-3 * (1e4 / samples).min(1.0) + 1e-12;
        prop_assert!(times(more, 1.0, 224) < base * slack, "more samples at the same repetition");
        prop_assert!(times(1.0, more, 224) <= base * slack, "more unique samples");
        prop_assert!(times(1.0, 1.0, 336) <= base * (1.0 + 1e-3), "more final tokens: {base}, whole patches are kept");
    }

    #[test]
    fn repetition_helps_less_and_less(unique in 1e3f64..1e10, epochs in 0.5f64..300.0, half in 0.5f64..50.0, shape in 0.1f64..3.0) {
        let at = |epochs: f64| accuracy::effective_samples(unique * epochs, unique, half, shape);
        prop_assert!(at(epochs) <= unique * epochs * (1.0 + 1e-12));
        prop_assert!(at(epochs * 1.1) >= at(epochs));
        prop_assert!(at(epochs) <= unique * (1.0 + half / shape) * (1.0 + 1e-12));
        let (one, two, three) = (at(epochs), at(epochs + 1.0), at(epochs + 2.0));
        prop_assert!(three - two <= (two - one) * (1.0 + 1e-9) + 1e-6 * unique);
    }
}
