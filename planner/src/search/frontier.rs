//! What each budget can buy.

use super::error::SearchError;
use super::request::Request;
use super::space::Space;
use crate::spread::Spread;
use crate::units::{Hours, Usd};

/// The most accurate plan of a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontierPoint {
    /// The budget.
    pub budget: Usd,
    /// The plan's cost.
    pub cost: Spread<Usd>,
    /// Its wall-clock hours.
    pub hours: Spread<Hours>,
    /// Its accuracy in percent; absent where none is claimed.
    pub accuracy_percent: Option<Spread>,
    /// The plan in a few words.
    pub label: String,
    /// Architecture as papers name it.
    pub architecture: String,
}

/// The most accurate plan of every budget that buys one, in the order given. Plans that a tie would prefer for their
/// evidence lie up to the tolerance below this line.
pub fn frontier(request: &Request, budgets: &[Usd]) -> Result<Vec<FrontierPoint>, SearchError> {
    let space = Space::new(request, request.law())?;
    let mut points = Vec::with_capacity(budgets.len());
    for &budget in budgets {
        let best = match space.decide(budget) {
            Ok(outcome) => outcome.best,
            Err(SearchError::NoFeasiblePlan { .. }) => continue,
            Err(error) => return Err(error),
        };
        points.push(FrontierPoint {
            budget,
            cost: best.cost.total,
            hours: best.cost.hours,
            accuracy_percent: best.prediction.accuracy_percent,
            label: best.label(),
            architecture: best.short_name(),
        });
    }
    Ok(points)
}
