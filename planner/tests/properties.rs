//! What must hold of every search, on random requests. A few cases by default; `SHOESTRING_CASES=1000` for more.

#![allow(clippy::expect_used)]

use chrono::NaiveDate;
use proptest::prelude::*;
use shoestring_planner::plan::Plan;
use shoestring_planner::search::{HardwareRequest, Request, SearchError, StatedPrice, plan};
use shoestring_planner::units::{Hours, Samples, Usd};

fn cases(by_default: u32) -> u32 {
    std::env::var("SHOESTRING_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(by_default)
}

/// A random question, small enough to be answered often: one architecture family of sizes, one kind of machine.
#[derive(Clone, Debug)]
struct Question {
    budget: f64,
    gpu: &'static str,
    gpus: u32,
    price: f64,
    confidence: f64,
    architecture: Option<&'static str>,
    deadline: Option<f64>,
    samples: Option<u64>,
}

const GPUS: [&str; 6] = ["A100-80GB-SXM", "H100-SXM", "RTX4090", "L40S", "T4", "V100-16GB-SXM"];
const ARCHITECTURES: [&str; 6] = ["S/16", "B/16", "L/14", "H/14", "G/14", "ViT-B-32"];

fn any_question() -> impl Strategy<Value = Question> {
    let hardware = (0..GPUS.len(), prop::sample::select(vec![1u32, 2, 4, 8]), 0.2f64..8.0);
    let pinned = (
        prop::option::weighted(0.5, 0..ARCHITECTURES.len()),
        prop::option::weighted(0.4, 0.8f64..3.3),
        prop::option::weighted(0.3, 7.0f64..10.5),
    );
    (1.2f64..5.5, 0.3f64..0.95, hardware, pinned).prop_map(
        |(log_budget, confidence, (gpu, gpus, price), (architecture, log_hours, log_samples))| Question {
            budget: 10f64.powf(log_budget),
            gpu: GPUS[gpu],
            gpus,
            price,
            confidence,
            architecture: architecture.map(|index| ARCHITECTURES[index]),
            deadline: log_hours.map(|log| 10f64.powf(log)),
            samples: log_samples.map(|log| 10f64.powf(log) as u64),
        },
    )
}

impl Question {
    fn request(&self) -> Request {
        let today = NaiveDate::from_ymd_opt(2026, 11, 24).expect("a day");
        Request {
            hardware: HardwareRequest {
                gpu: Some(self.gpu.to_owned()),
                gpus: Some(self.gpus),
                price: Some(StatedPrice::PerGpuHour(Usd::from_dollars(self.price))),
                ..HardwareRequest::default()
            },
            confidence: self.confidence,
            architecture: self.architecture.map(str::to_owned),
            deadline: self.deadline.map(Hours),
            samples: self.samples.map(Samples),
            ..Request::new(Usd::from_dollars(self.budget), today)
        }
    }

    /// `None` where nothing fits, which is an answer too.
    fn answer(&self) -> Option<Plan> {
        match plan(&self.request()) {
            Ok(plan) => Some(plan),
            Err(SearchError::NoFeasiblePlan { .. } | SearchError::OutOfReach { .. }) => None,
            Err(SearchError::Request(error)) => panic!("{error} in {self:?}"),
        }
    }
}

/// The error in percent of the most accurate plan; infinite where nothing fits.
fn least_error(answer: Option<&Plan>) -> f64 {
    answer.map_or(f64::INFINITY, |plan| plan.tie.best.prediction.error_percent)
}

/// Rounding of the last bit only: samples are exact to three digits and never fewer for more.
const ROUNDING: f64 = 1e-9;

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(12), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn more_budget_never_lowers_the_accuracy(question in any_question(), factor in 1.001f64..4.0) {
        let more = Question { budget: question.budget * factor, ..question.clone() };
        let (less, more) = (question.answer(), more.answer());
        prop_assert!(
            least_error(more.as_ref()) <= least_error(less.as_ref()) + ROUNDING,
            "{} then {}",
            less.as_ref().map_or("nothing".to_owned(), |plan| plan.tie.best.label()),
            more.as_ref().map_or("nothing".to_owned(), |plan| plan.tie.best.label()),
        );
    }

    #[test]
    fn a_cheaper_price_never_lowers_the_accuracy_nor_raises_the_cost_of_the_same(
        question in any_question(),
        factor in 0.3f64..0.999,
    ) {
        let cheaper = Question { price: question.price * factor, ..question.clone() };
        let (dear, cheap) = (question.answer(), cheaper.answer());
        prop_assert!(least_error(cheap.as_ref()) <= least_error(dear.as_ref()) + ROUNDING);
        if let (Some(dear), Some(cheap)) = (dear, cheap) {
            let (dear, cheap) = (&dear.tie.best, &cheap.tie.best);
            let same = dear.architecture.name == cheap.architecture.name
                && dear.stages.len() == cheap.stages.len()
                && dear.stages.iter().zip(&cheap.stages).all(|(a, b)| a.stage == b.stage);
            let cost = |candidate: &shoestring_planner::search::Candidate| candidate.cost_at(question.confidence);
            prop_assert!(!same || cost(cheap) <= cost(dear));
        }
    }

    #[test]
    fn more_time_never_hurts(question in any_question(), log_hours in 0.8f64..3.3, factor in 1.001f64..5.0) {
        let hours = 10f64.powf(log_hours);
        let short = Question { deadline: Some(hours), ..question.clone() };
        let long = Question { deadline: Some(hours * factor), ..question.clone() };
        let (short, long) = (short.answer(), long.answer());
        prop_assert!(least_error(long.as_ref()) <= least_error(short.as_ref()) + ROUNDING);
    }

    #[test]
    fn the_cost_stays_within_the_budget_at_the_stated_confidence(question in any_question()) {
        let Some(plan) = question.answer() else { return Ok(()) };
        let budget = Usd::from_dollars(question.budget);
        for candidate in [&plan.chosen, &plan.tie.best] {
            prop_assert!(candidate.cost_at(question.confidence) <= budget);
            prop_assert!(candidate.cost.probability_within(budget) >= question.confidence - 1e-3);
            if let Some(deadline) = question.deadline {
                prop_assert!(candidate.cost.hours_at_confidence(question.confidence).0 <= deadline * (1.0 + 1e-6));
            }
        }
        prop_assert!(plan.recipe.recipe.check().is_ok());
    }

    #[test]
    fn the_cheapest_plan_for_an_accuracy_reaches_it_and_costs_no_more_at_a_lower_price(
        question in any_question(),
        wanted in 30.0f64..78.0,
        factor in 0.4f64..0.99,
    ) {
        let aimed = |price: f64| {
            let question = Question { price, deadline: None, samples: None, ..question.clone() };
            let request = Request { target_accuracy_percent: Some(wanted), budgets: vec![], ..question.request() };
            plan(&request).ok()
        };
        let (Some(dear), Some(cheap)) = (aimed(question.price), aimed(question.price * factor)) else {
            return Ok(());
        };
        for plan in [&dear, &cheap] {
            prop_assert!(plan.chosen.accuracy().expect("claimed") >= wanted - 1e-9);
            prop_assert!(plan.target.expect("a target").probability >= 0.5 - 1e-6);
        }
        prop_assert!(cheap.budget <= dear.budget, "{} then {}", dear.budget, cheap.budget);
    }
}
