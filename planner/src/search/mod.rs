//! The search: everything that a budget could be spent on, and the one way to take.
//!
//! Exhaustive over architecture x pretraining image size x text length x fine-tuning menu x offer x number of machines;
//! samples are solved from the budget, since cost grows with them. A rough look ranks every shape on its best machine;
//! what is near the best is computed exactly ([`Candidate`]).

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
mod machine;
mod menu;
mod request;
mod rough;
mod schedule;
mod shape;
mod sources;
mod space;
mod tiers;

pub use self::candidate::{Bound, Candidate, PlannedStage, short_name};
pub use self::choose::NEAR;
pub use self::error::{RequestError, SearchError};
pub use self::fixed::Fixed;
pub use self::frontier::{FrontierPoint, frontier};
pub use self::machine::Machine;
pub use self::request::{DataRequest, HardwareRequest, Request, StatedPrice};
pub use self::rough::{LookTime, time_rough_look};
use self::space::Space;
use crate::law::Law;
use crate::plan::{Plan, recipe_of};

/// Turns a request into a plan: the first budget's, with a tier for each further one.
pub fn plan(request: &Request) -> Result<Plan, SearchError> {
    let space = Space::new(request, Law::built_in())?;
    let budget = request.budgets[0];
    let outcome = space.decide(budget)?;
    let chosen = outcome.chosen.clone();
    Ok(Plan {
        recipe: recipe_of(request, &space.training.data, &chosen, budget),
        tie: space.tie(&outcome),
        binding: space.binding(&chosen, budget),
        marginal: space.marginal(&outcome, budget)?,
        runner_ups: space.runner_ups(&outcome, budget),
        published: space.published_rows(budget, &chosen),
        inverse_law: space.inverse_law(&chosen),
        sources: space.sources(&chosen),
        remarks: space.remarks(&chosen),
        tiers: space.tiers(&chosen)?,
        request: request.clone(),
        budget,
        chosen,
    })
}
