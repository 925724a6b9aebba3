//! The search against what is known: CLIPA-v2's situation, ties, tiers, refusals, and properties of every plan.

#![allow(clippy::expect_used)]

use chrono::NaiveDate;
use proptest::prelude::*;
use shoestring_planner::plan::Plan;
use shoestring_planner::recipe::{Data, DataSource, EvaluationData, Reading, read_recipe};
use shoestring_planner::search::{
    Bound, DataRequest, Fixed, HardwareRequest, NEAR, Request, SearchError, StatedPrice, frontier, plan,
};
use shoestring_planner::units::{Hours, Samples, Tokens, Usd};

fn usd(dollars: f64) -> Usd {
    Usd::from_dollars(dollars)
}

fn asking(budget: f64) -> Request {
    Request::new(usd(budget), NaiveDate::from_ymd_opt(2026, 11, 24).expect("a day"))
}

/// 8 x A100-80GB at 1.575 USD per GPU-hour, DataComp-1B: what CLIPA-v2 reckoned with.
fn papers_machine(budget: f64) -> Request {
    Request {
        hardware: HardwareRequest {
            gpu: Some("A100-80GB-SXM".to_owned()),
            price: Some(StatedPrice::PerGpuHour(usd(1.575))),
            gpus: Some(8),
            ..HardwareRequest::default()
        },
        data: DataRequest::Named { name: "DataComp-1B".to_owned(), unique_samples: None },
        data_stated: true,
        ..asking(budget)
    }
}

/// The same with the paper's samples: 12.8 B, then 512 M at 224 px.
fn papers_situation(budget: f64, sizes: &[u32]) -> Request {
    Request {
        samples: Some(Samples(12_800_000_000)),
        finetune_samples: Some(Samples(512_000_000)),
        finetune_sizes_px: Some(sizes.to_vec()),
        ..papers_machine(budget)
    }
}

fn this_machine(budget: f64) -> Request {
    let drawn = DataSource::Synthetic { seed: 0, image_size_px: 64 };
    Request {
        hardware: HardwareRequest {
            offer: Some("this-machine".to_owned()),
            price: Some(StatedPrice::PerMachineHour(usd(0.6))),
            ..HardwareRequest::default()
        },
        data: DataRequest::Own(Box::new(Data {
            name: "synthetic".to_owned(),
            unique_samples: Samples(50_000),
            train: drawn.clone(),
            reading: Reading::default(),
            evaluation: Some(EvaluationData {
                source: drawn,
                samples: Samples(480),
                class_names: String::new(),
                templates: String::new(),
            }),
        })),
        data_stated: true,
        ..asking(budget)
    }
}

fn planned(request: &Request) -> Plan {
    plan(request).unwrap_or_else(|error| panic!("{error} {:?}", error.hint()))
}

/// (image size, text tokens, samples) of each stage.
fn stages(plan: &Plan) -> Vec<(u32, u32, u64)> {
    plan.chosen
        .stages
        .iter()
        .map(|planned| (planned.stage.image_size_px, planned.stage.text_tokens.0, planned.stage.samples.0))
        .collect()
}

fn refused(request: &Request) -> SearchError {
    plan(request).map(|plan| plan.chosen.label()).expect_err("must be refused")
}

#[test]
fn ten_thousand_dollars_buy_the_papers_plan() {
    let plan = planned(&papers_situation(10_000.0, &[224]));
    assert_eq!(plan.chosen.architecture.name, "ViT-H-14-CLIPA");
    assert_eq!(stages(&plan), [(70, 8, 12_800_000_000), (224, 32, 512_000_000)]);
    let cost = plan.chosen.cost.total.p50.dollars();
    assert!((cost / 9_324.0 - 1.0).abs() < 0.05, "{cost}");
    let accuracy = plan.chosen.accuracy().expect("claimed");
    assert!((accuracy - 81.1).abs() < 1.0, "{accuracy}");
    let evidence = plan.chosen.evidence.as_ref().expect("there is one");
    assert_eq!(evidence.id, "clipav2-H14-dc-70-224");
    assert!(plan.chosen.prediction.distance <= NEAR);
}

#[test]
fn fourteen_thousand_with_the_336_px_stage_buy_its_84_px_plan() {
    let plan = planned(&papers_situation(14_000.0, &[224, 336]));
    assert_eq!(plan.chosen.architecture.name, "ViT-H-14-CLIPA");
    assert_eq!(stages(&plan), [(84, 8, 12_800_000_000), (224, 32, 512_000_000), (336, 32, 128_000_000)]);
    let cost = plan.chosen.cost.total.p50.dollars();
    assert!((cost / 13_613.0 - 1.0).abs() < 0.05, "{cost}");
    let accuracy = plan.chosen.accuracy().expect("claimed");
    assert!((accuracy - 81.8).abs() < 1.0, "{accuracy}");
}

#[test]
fn other_prices_and_pins_lead_elsewhere() {
    // The anchor is computed: half the money, or a price twice as high, buys the smaller model.
    let half = planned(&papers_situation(6_500.0, &[224]));
    assert_eq!(half.chosen.short_name(), "L/14");
    let mut dear = papers_situation(10_000.0, &[224]);
    dear.hardware.price = Some(StatedPrice::PerGpuHour(usd(3.15)));
    assert_ne!(planned(&dear).chosen.short_name(), "H/14");
    let mut pinned = papers_situation(20_000.0, &[224]);
    pinned.architecture = Some("H/14".to_owned());
    pinned.fixed = Fixed::lengths(Some(84), Some(Tokens(16)));
    assert_eq!(stages(&planned(&pinned))[0], (84, 16, 12_800_000_000));
}

#[test]
fn with_samples_free_ties_go_to_published_evidence_in_words() {
    let plan = planned(&papers_machine(10_000.0));
    let (chosen, best) = (&plan.chosen, &plan.tie.best);
    assert!(plan.tie.tied > 1 && plan.tie.tolerance_points > 0.0);
    let ahead = best.accuracy().expect("claimed") - chosen.accuracy().expect("claimed");
    assert!((0.0..=plan.tie.tolerance_points).contains(&ahead), "{ahead}");
    assert!(chosen.prediction.distance <= NEAR, "{}", chosen.label());
    for words in ["tied", "published run", "points"] {
        assert!(plan.tie.words.contains(words), "{}", plan.tie.words);
    }
    assert!(plan.text().contains("clipav2-H14-dc-70-224"), "the paper's recipe is one of the rows");
    assert!(plan.published.iter().any(|row| row.id == "clipav2-H14-dc-70-224"));
    assert_eq!(plan.binding[0].kind, "budget");
}

#[test]
fn runner_ups_differ_in_kind_and_say_why_they_lost() {
    let plan = planned(&papers_situation(10_000.0, &[224]));
    assert!(plan.runner_ups.len() >= 3);
    let mut kinds: Vec<&str> = plan.runner_ups.iter().map(|runner_up| runner_up.kind).collect();
    kinds.dedup();
    assert_eq!(kinds.len(), plan.runner_ups.len());
    let why = |kind: &str| {
        let found = plan.runner_ups.iter().find(|runner_up| runner_up.kind == kind);
        found.map(|runner_up| (runner_up.candidate.label(), runner_up.why.clone())).expect(kind)
    };
    let (label, words) = why("longer_tokens");
    assert!(label.starts_with("H/14 at 84 px") && words.contains("over the budget"), "{label}: {words}");
    let (label, words) = why("smaller");
    assert!(label.starts_with("L/1") && words.contains("points lower"), "{label}: {words}");
    let (label, words) = why("larger");
    assert!(label.starts_with("g/14") && words.contains("over the budget"), "{label}: {words}");
}

#[test]
fn tiers_show_both_meanings() {
    let mut request = papers_situation(10_000.0, &[224, 336]);
    request.budgets.push(usd(14_000.0));
    let plan = planned(&request);
    assert_eq!(plan.tiers.len(), 1);
    let tier = &plan.tiers[0];
    let extension = tier.extension.as_ref().expect("a stage can be added");
    // The same first stages, word for word, and a 336 px stage for about 1,361 USD more.
    let before = &plan.recipe.recipe.stages;
    assert_eq!(&extension.recipe.recipe.stages[..before.len()], &before[..]);
    let added = extension.candidate.stages.last().expect("a stage");
    assert_eq!((added.stage.image_size_px, added.stage.name.as_str()), (336, "finetune-336"));
    assert!((added.usd.p50.dollars() / 1_361.0 - 1.0).abs() < 0.1, "{}", added.usd.p50);
    assert!(extension.points.expect("claimed") > 0.0);
    assert_eq!(tier.fresh.candidate.stages[0].stage.image_size_px, 84);
    assert_eq!(tier.meant(), extension);
    assert_eq!(extension.recipe.recipe.budget.cap_usd, usd(14_000.0));
    assert!(extension.candidate.cost.total.p50 <= usd(14_000.0));
    assert!(tier.words.contains("extension is meant"), "{}", tier.words);
}

#[test]
fn todays_offers_are_searched_when_no_hardware_is_named() {
    let plan = planned(&asking(10_000.0));
    assert!(plan.chosen.cost.total.p50 <= usd(10_000.0));
    assert!(plan.chosen.accuracy().expect("claimed") > 80.0);
    let text = plan.text();
    for words in ["catalogue", "days old", "DataComp-1B is assumed", "deadline", "The next dollar"] {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
    let quick = Request { deadline: Some(Hours(48.0)), ..asking(2_000.0) };
    let plan = planned(&quick);
    assert!(plan.chosen.cost.hours.p50.0 <= 48.0 && plan.chosen.machine.devices() > 8);
}

#[test]
fn this_machine_gets_a_recipe_that_run_can_carry_out() {
    let plan = planned(&this_machine(0.05));
    let recipe = &plan.recipe.recipe;
    assert_eq!(
        (recipe.hardware.offer.as_str(), recipe.hardware.accelerator.as_str()),
        ("this-machine", "cpu")
    );
    assert!(recipe.stages.len() >= 2, "short pretraining, then full length: {}", plan.chosen.label());
    assert_eq!(
        recipe.stages.last().expect("stages").image_size_px,
        recipe.architecture.vision_cfg.image_size
    );
    assert!(
        recipe.architecture.vision_cfg.image_size <= 64 && recipe.architecture.text_cfg.vocab_size >= 49_408
    );
    assert!(recipe.stages.iter().all(|stage| stage.steps() >= 100), "{:?}", recipe.stages);
    assert!(plan.chosen.cost.total.p50.dollars() <= 0.8 * 0.05, "{}", plan.chosen.cost.total.p50);
    assert!(plan.chosen.accuracy().is_none(), "no accuracy is claimed on these data");
    assert!(plan.text().contains("no accuracy is claimed"));
    let large = Request { architecture: Some("H/14".to_owned()), ..this_machine(100.0) };
    assert!(refused(&large).hint().expect("a hint").contains("ViT-Tiny-8"));
}

#[test]
fn the_recipe_reads_back_and_says_what_to_expect() {
    for request in [papers_situation(10_000.0, &[224]), this_machine(0.05), asking(300.0)] {
        let request = Request { command: "shoestring plan --budget N".to_owned(), seed: 7, ..request };
        let plan = planned(&request);
        let text = plan.recipe.toml();
        let read = read_recipe(&text, std::path::Path::new("recipe.toml")).expect("reads");
        assert_eq!(read, plan.recipe.recipe);
        assert_eq!(read.planned.as_ref().expect("planned").cost_usd, plan.chosen.cost.total.p50);
        assert_eq!((read.seed, read.budget.cap_usd), (7, plan.budget));
        for words in ["# Cost:", "# Time:", "# Expect:", "# Made by:  shoestring plan --budget N"] {
            assert!(text.contains(words), "no `{words}` in\n{text}");
        }
    }
}

#[test]
fn text_fits_into_a_hundred_columns() {
    let mut tiers = asking(10_000.0);
    tiers.budgets.push(usd(14_000.0));
    for request in [papers_situation(10_000.0, &[224]), this_machine(0.05), tiers, asking(2_000_000.0)] {
        for line in planned(&request).text().lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}

#[test]
fn json_has_its_schema_and_numbers_with_units() {
    let mut request = papers_situation(10_000.0, &[224, 336]);
    request.budgets.push(usd(14_000.0));
    let json = planned(&request).json();
    assert_eq!((json["schema"].as_str(), json["version"].as_u64()), (Some("shoestring.plan"), Some(1)));
    let chosen = &json["chosen"];
    assert_eq!(chosen["stages"][0]["image_size_px"], 70);
    for path in [
        "/budget_usd",
        "/chosen/cost_usd/p50",
        "/chosen/gpu_hours",
        "/chosen/accuracy_percent/p10",
        "/chosen/stages/0/hours/p90",
        "/chosen/hardware/usd_per_hour",
        "/marginal/more_usd",
        "/tiers/0/extension/cost_usd/p50",
        "/tiers/0/fresh/gained_points",
        "/runner_ups/0/accuracy_percent/p50",
    ] {
        assert!(json.pointer(path).is_some_and(serde_json::Value::is_number), "{path}");
    }
    assert_eq!(json["tiers"][0]["meant"], "extension");
    fn keys_are_snake_case(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Object(map) => map.iter().all(|(key, value)| {
                key.chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
                    && keys_are_snake_case(value)
            }),
            serde_json::Value::Array(list) => list.iter().all(keys_are_snake_case),
            _ => true,
        }
    }
    assert!(keys_are_snake_case(&json));
}

#[test]
fn wrong_requests_are_refused_with_field_value_and_hint() {
    let with = |change: fn(&mut Request)| {
        let mut request = papers_machine(1_000.0);
        change(&mut request);
        match refused(&request) {
            SearchError::Request(error) => (error.field, error.value, error.hint),
            other => panic!("{other}"),
        }
    };
    for (change, field, value, hint) in [
        ((|r| r.budgets = vec![]) as fn(&mut Request), "--budget", "none", "dollars"),
        (|r| r.budgets = vec![Usd::ZERO], "--budget", "0.00", "nothing"),
        (|r| r.budgets = vec![Usd::from_micros(-1)], "--budget", "-0.000001", "dollars"),
        (|r| r.budgets = vec![usd(5.0), usd(5.0)], "--budget", "5.00", "small to large"),
        (|r| r.confidence = f64::NAN, "--confidence", "NaN", "0.9"),
        (|r| r.deadline = Some(Hours(0.0)), "--deadline", "0", "72h"),
        (|r| r.hardware.gpus = Some(0), "--gpus", "0", "count"),
        (|r| r.hardware.gpu = Some("A1000-80GB".into()), "--gpu", "A1000-80GB", "A100-80GB"),
        (|r| r.architecture = Some("ViT-H-15".into()), "--arch", "ViT-H-15", "ViT-H-14"),
        (|r| r.samples = Some(Samples(10)), "--samples", "10", "solve"),
        (
            |r| r.data = DataRequest::Named { name: "DataComp-2B".into(), unique_samples: None },
            "--data",
            "DataComp-2B",
            "DataComp-1B",
        ),
        (
            |r| {
                r.architecture = Some("H/14".into());
                r.fixed.image_size_px = Some(80);
            },
            "--fixed image_size_px",
            "80",
            "70 or 84",
        ),
    ] {
        let (found_field, found_value, found_hint) = with(change);
        assert_eq!((found_field.as_str(), found_value.as_str()), (field, value));
        assert!(found_hint.contains(hint), "{field} {value}: {found_hint}");
    }
}

#[test]
fn a_budget_too_small_is_told_the_smallest_useful_one_and_that_one_works() {
    for request in [papers_machine(1.0), asking(1.0), this_machine(1.0), papers_situation(1.0, &[224])] {
        let tiny = Request { budgets: vec![Usd::from_micros(1)], ..request };
        let error = refused(&tiny);
        assert!(matches!(error, SearchError::NoFeasiblePlan { .. }), "{error}");
        let hint = error.hint().expect("a hint");
        let named = hint.split_whitespace().rev().nth(1).expect("an amount");
        let smallest: Usd = named.parse().expect(named);
        let enough = Request { budgets: vec![smallest], ..tiny };
        assert!(planned(&enough).chosen.cost.total.p50 <= smallest, "{hint}");
        let less = Request { budgets: vec![usd(smallest.dollars() * 0.8)], ..enough };
        assert!(plan(&less).is_err(), "{hint}");
    }
}

#[test]
fn an_impossible_deadline_is_told_the_quickest() {
    let error = refused(&Request { deadline: Some(Hours(0.01)), ..papers_machine(1_000.0) });
    assert!(error.to_string().contains("quickest"), "{error}");
    let small = HardwareRequest { gpu: Some("T4".into()), gpus: Some(1), ..HardwareRequest::default() };
    let large = Request { architecture: Some("G/14".into()), hardware: small, ..asking(1_000.0) };
    let error = refused(&large);
    assert!(error.to_string().contains("does not fit"), "{error}");
}

#[test]
fn the_frontier_rises() {
    let budgets: Vec<Usd> = [0.0001, 50.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5].map(usd).to_vec();
    let points = frontier(&papers_machine(1.0), &budgets).expect("a frontier");
    assert_eq!(points.len(), budgets.len() - 1, "the first buys nothing");
    for pair in points.windows(2) {
        let accuracy = |index: usize| pair[index].accuracy_percent.expect("claimed").p50;
        assert!(accuracy(1) > accuracy(0), "{} to {}", pair[0].label, pair[1].label);
        assert!(pair[1].cost.p50 <= pair[1].budget);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_stays_within_its_budget_and_more_money_is_never_worse(
        log_budget in 1.5f64..5.3,
        factor in 1.02f64..3.0,
        confidence in 0.3f64..0.95,
        price in 0.5f64..6.0,
    ) {
        let request = |budget: f64| {
            let mut request = papers_machine(budget);
            request.confidence = confidence;
            request.hardware.price = Some(StatedPrice::PerGpuHour(usd(price)));
            request
        };
        let budget = 10f64.powf(log_budget);
        let (Ok(less), Ok(more)) = (plan(&request(budget)), plan(&request(budget * factor))) else {
            // Only what is truly too little may be refused.
            prop_assert!(budget < 100.0);
            return Ok(());
        };
        for plan in [&less, &more] {
            prop_assert!(plan.chosen.cost_at(confidence) <= plan.budget);
            prop_assert!(plan.chosen.bound == Bound::Budget);
            prop_assert!(plan.recipe.recipe.check().is_ok());
            // Nearly all of the money is used.
            prop_assert!(plan.chosen.cost_at(confidence).dollars() > 0.97 * plan.budget.dollars());
        }
        let (low, high) = (&less.chosen, &more.chosen);
        let worse = high.prediction.error_percent - low.prediction.error_percent;
        prop_assert!(worse <= more.tie.tolerance_points + 0.05, "{} then {}", low.label(), high.label());
        let best = more.tie.best.prediction.error_percent - less.tie.best.prediction.error_percent;
        prop_assert!(best <= 0.05, "{} then {}", less.tie.best.label(), more.tie.best.label());
    }
}
