//! The search: everything that a budget could be spent on, and the one way to take.
//!
//! Exhaustive over architecture x pretraining image size x text length x fine-tuning menu x offer x number of machines;
//! samples are solved from the budget, since cost grows with them. A rough look ranks every shape on its best machine;
//! what is near the best is computed exactly ([`Candidate`]).

mod assess;
mod binding;
#[cfg(test)]
mod brute;
mod candidate;
mod choose;
mod data;
mod error;
mod exact;
mod explain;
mod fixed;
mod frontier;
mod grid;
mod hardware;
mod machine;
mod marginal;
mod menu;
mod own_runs;
mod published_rows;
mod rate;
mod request;
mod rough;
mod runner_ups;
mod schedule;
mod sensitivity;
mod shape;
mod shortening;
mod sketch;
mod sources;
mod space;
mod target;
mod tiers;
mod way;

pub use self::assess::{Assessment, assess};
pub use self::candidate::{Bound, Candidate, PlannedStage, short_name};
pub use self::choose::NEAR;
pub use self::error::{RequestError, SearchError};
pub use self::fixed::Fixed;
pub use self::frontier::{FrontierPoint, frontier};
pub use self::machine::Machine;
pub use self::rate::{LookTime, time_rough_look};
pub use self::request::{BYTES_PER_PAIR, DataRequest, HardwareRequest, Keeping, Request, StatedPrice};
pub(crate) use self::shortening::image_word;
use self::space::Space;
use crate::law::Law;
use crate::plan::{Plan, recipe_of};

/// Turns a request into a plan: the first budget's, with a tier for each further one; or the cheapest plan for an
/// accuracy, where one is aimed at.
pub fn plan(request: &Request) -> Result<Plan, SearchError> {
    let law = request.law();
    // What is not known exactly is tried beside the plan itself.
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| sensitivity::speed(request, law));
        let mut plan = planned(request, law)?;
        plan.sensitivity.extend(beside.join().unwrap_or_default());
        for row in &mut plan.sensitivity {
            row.changes = row.plan.as_ref().is_none_or(|other| sensitivity::differs(other, &plan.chosen));
        }
        Ok(plan)
    })
}

fn planned(request: &Request, law: &'static Law) -> Result<Plan, SearchError> {
    let space = Space::new(request, law)?;
    let (outcome, budget) = match request.target_accuracy_percent {
        Some(accuracy) => space.cheapest(accuracy)?,
        None => (space.decide(request.budgets[0])?, request.budgets[0]),
    };
    let chosen = outcome.chosen.clone();
    let marginal = space.marginal(&outcome, budget)?;
    Ok(Plan {
        recipe: recipe_of(request, &space.training.data, &chosen, budget),
        tie: space.tie(&outcome),
        binding: space.binding(&chosen, budget),
        shadow_prices: space.shadow_prices(&outcome, &marginal, budget),
        marginal,
        runner_ups: space.runner_ups(&outcome, budget),
        published: space.published_rows(budget, &chosen),
        inverse_law: space.inverse_law(&chosen),
        sources: space.sources(&chosen),
        remarks: space.remarks(&chosen),
        own_runs: space.own_runs(&chosen),
        tiers: space.tiers(&chosen)?,
        target: request.target_accuracy_percent.map(|accuracy| space.target(accuracy, &chosen)),
        sensitivity: space.sensitivity(&outcome, budget),
        reasoning: space.reasoning(&outcome),
        request: request.clone(),
        budget,
        chosen,
    })
}
