//! What the next dollar would bring.

use super::binding::NOTABLE_POINTS;
use super::candidate::Candidate;
use super::choose::Outcome;
use super::error::SearchError;
use super::explain::{difference_words, points_over};
use super::space::Space;
use crate::plan::{Marginal, money};
use crate::units::Usd;

impl Space<'_> {
    /// What a tenth more would bring.
    pub(super) fn marginal(&self, outcome: &Outcome, budget: Usd) -> Result<Marginal, SearchError> {
        let more = Usd::from_micros(budget.micros() / 10);
        let raised = self.decide(budget + more)?;
        let points = points_over(&raised.best, &outcome.best);
        let gain = match points {
            Some(points) => format!("{:.2} points", points.max(0.0)),
            None => {
                let ratio =
                    1.0 - raised.best.prediction.error_percent / outcome.best.prediction.error_percent;
                format!("{:.1} % of the raw error", 100.0 * ratio.max(0.0))
            }
        };
        let mut words = format!("{} USD more (10 %) would bring {gain}", money(more));
        if let Some(points) = points.filter(|points| *points > 0.0) {
            words.push_str(&format!(": {} USD a point", money(Usd::from_dollars(more.dollars() / points))));
        }
        if points.is_none_or(|points| points < 0.05)
            && let Some(next) = self.next_step(outcome, budget)
        {
            words.push_str(&format!(
                "; the next better plan, {}, needs {} USD ({})",
                next.label(),
                money(next.cost_at(self.request.confidence)),
                difference_words(&next, &outcome.chosen)
            ));
        }
        // Where money hardly matters, say so.
        let half = Usd::from_micros(budget.micros() / 2);
        if let Ok(half_outcome) = self.decide(half)
            && let Some(lost) = points_over(&outcome.best, &half_outcome.best)
            && lost < outcome.tolerance
        {
            words.push_str(&format!(
                "; half of it, {} USD, buys {lost:.1} points less, which the law cannot tell from this",
                money(half)
            ));
        }
        Ok(Marginal { more_usd: more, points, words })
    }

    /// The cheapest plan over the budget that is notably better.
    fn next_step(&self, outcome: &Outcome, budget: Usd) -> Option<Candidate> {
        let least = outcome.best.prediction.error_percent - 2.0 * NOTABLE_POINTS;
        // Not much dearer, or it is no step.
        let most = 3.0 * budget.dollars();
        let dearer = outcome.roughs.iter().filter(|rough| {
            !rough.feasible && rough.error < least && rough.usd < most && self.training.known
        });
        self.exact(dearer.min_by(|a, b| a.usd.total_cmp(&b.usd))?, budget, true)
    }
}
