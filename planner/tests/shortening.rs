//! Masks besides resizing: which the search takes, and what it says of the others.

#![allow(clippy::expect_used)]

use chrono::NaiveDate;
use shoestring_planner::plan::Plan;
use shoestring_planner::recipe::ImageReduction;
use shoestring_planner::search::{DataRequest, HardwareRequest, Request, StatedPrice, plan};
use shoestring_planner::units::{Samples, Usd};

fn request() -> Request {
    let today = NaiveDate::from_ymd_opt(2026, 11, 24).expect("a day");
    Request {
        hardware: HardwareRequest {
            gpu: Some("A100-80GB-SXM".to_owned()),
            price: Some(StatedPrice::PerGpuHour(Usd::from_dollars(1.575))),
            gpus: Some(8),
            ..HardwareRequest::default()
        },
        data: DataRequest::Named { name: "DataComp-1B".to_owned(), unique_samples: None },
        data_stated: true,
        ..Request::new(Usd::from_dollars(10_000.0), today)
    }
}

fn planned(request: &Request) -> Plan {
    plan(request).unwrap_or_else(|error| panic!("{error} {:?}", error.hint()))
}

#[test]
fn with_fine_tuning_resizing_wins_and_the_plan_says_by_how_much() {
    let request = Request {
        samples: Some(Samples(12_800_000_000)),
        finetune_samples: Some(Samples(512_000_000)),
        finetune_sizes_px: Some(vec![224]),
        ..request()
    };
    let plan = planned(&request);
    let rows = &plan.reasoning.by_reduction;
    assert_eq!(rows.len(), 4);
    let (taken, others): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.chosen);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].reduction, ImageReduction::Resize);
    assert!((taken[0].error_percent - plan.chosen.prediction.error_percent).abs() < 1e-9);
    for other in others {
        assert!(other.error_percent > taken[0].error_percent, "{other:?}");
        assert_eq!((other.image_size_px, other.image_tokens), (224, taken[0].image_tokens));
    }
    for words in ["the same tokens by other means", "a random mask", "a grid mask", "a block mask"] {
        assert!(plan.explained().contains(words), "no `{words}`");
    }
    assert_eq!(plan.json()["reasoning"]["by_reduction"][0]["image_reduction"], "resize");
}

#[test]
fn the_least_error_of_the_four_is_taken_without_fine_tuning_too() {
    for text_tokens in [8, 32] {
        let mut request = Request { finetune_sizes_px: Some(Vec::new()), ..request() };
        request.fix(&format!("pretrain.text_tokens={text_tokens}")).expect("known");
        let plan = planned(&request);
        let best = &plan.tie.best;
        assert_eq!(best.stages.len(), 1);
        let least =
            plan.reasoning.by_reduction.iter().min_by(|a, b| a.error_percent.total_cmp(&b.error_percent));
        if let Some(least) = least {
            assert!(least.chosen, "{least:?} but {}", plan.chosen.label());
        }
    }
}

#[test]
fn a_pinned_mask_is_laid_over_the_whole_image() {
    let mut request = request();
    request.fix("pretrain.image_reduction=random").expect("known");
    let plan = planned(&request);
    let first = &plan.chosen.stages[0].stage;
    assert_eq!(first.image_reduction, ImageReduction::Random);
    assert_eq!(first.image_size_px, plan.chosen.architecture.vision_cfg.image_size);
    assert!(first.image_mask_ratio > 0.0 && plan.recipe.recipe.check().is_ok());
    assert!(plan.chosen.label().contains("a random mask to"), "{}", plan.chosen.label());
    assert!(plan.chosen.cost.total.p50 <= plan.budget);
}
