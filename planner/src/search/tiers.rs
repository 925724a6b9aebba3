//! Further budgets: what more money adds to a plan, or would do from the start.

use super::candidate::{Bound, Candidate};
use super::choose::Nearness;
use super::error::SearchError;
use super::exact::round_down;
use super::explain::{difference_words, points_over};
use super::menu;
use super::shape;
use super::space::Space;
use crate::plan::{Tier, TierPlan, money, recipe_of};
use crate::units::Usd;

/// The smallest stage worth adding with what is left, as a part of the menu's amount.
const SMALLEST_PART: f64 = 0.5;
/// Dearer stages that bring less than this many points over cheaper ones are not taken.
const WORTH_POINTS: f64 = 0.1;

impl Space<'_> {
    /// The tiers on top of `first`.
    pub(super) fn tiers(&self, first: &Candidate) -> Result<Vec<Tier>, SearchError> {
        let mut tiers: Vec<Tier> = Vec::new();
        let mut before = first.clone();
        for &budget in self.request.budgets.iter().skip(1) {
            let fresh = self.decide(budget)?.chosen;
            let extension = self.extend(&before, budget);
            let tier = self.tier(&before, extension, fresh, budget);
            before = tier.meant().candidate.clone();
            tiers.push(tier);
        }
        Ok(tiers)
    }

    fn tier(&self, before: &Candidate, extension: Option<Candidate>, fresh: Candidate, budget: Usd) -> Tier {
        let planned = |candidate: Candidate, words: String| TierPlan {
            recipe: recipe_of(self.request, &self.training.data, &candidate, budget),
            points: points_over(&candidate, before),
            words,
            candidate,
        };
        let cost = |candidate: &Candidate| candidate.cost_at(self.request.confidence);
        let extension = extension.map(|candidate| {
            let added: Vec<String> = candidate.stages[before.stages.len()..]
                .iter()
                .map(|planned| {
                    let stage = &planned.stage;
                    format!(
                        "{} px with {} samples for {} USD",
                        stage.image_size_px,
                        stage.samples,
                        money(planned.usd.p50)
                    )
                })
                .collect();
            let words = format!(
                "the same pretraining, then {}: {} in all {} USD, {} USD stay unspent",
                added.join(" and "),
                difference_words(&candidate, before),
                money(cost(&candidate)),
                money(budget.minus_or_zero(cost(&candidate)))
            );
            planned(candidate, words)
        });
        let words = format!(
            "{} for {} USD: {}",
            fresh.label(),
            money(cost(&fresh)),
            difference_words(&fresh, before)
        );
        let fresh = planned(fresh, words);
        let words = match &extension {
            Some(extension) => format!(
                "the extension is meant: what the tier before trained is kept. Starting again instead would be {}",
                difference_words(&fresh.candidate, &extension.candidate)
            ),
            None => "a fresh start is meant: no stage that could be added to the tier before is expected to improve it"
                .to_owned(),
        };
        Tier { budget, extension, fresh, words }
    }

    /// The plan before with stages added, for at most `budget` in all. `None` where nothing can be added that the law
    /// expects anything of.
    fn extend(&self, before: &Candidate, budget: Usd) -> Option<Candidate> {
        let last = before.stages.last()?.stage.image_size_px;
        let mut found: Vec<Candidate> = Vec::new();
        for menu in menu::extensions(before.architecture, last, &self.request.limits()) {
            for part in [1.0, SMALLEST_PART] {
                let mut stages: Vec<_> = before.stages.iter().map(|planned| planned.stage.clone()).collect();
                for tuning in &menu {
                    let menu::Amount::Fixed(samples) = tuning.amount else { continue };
                    let samples = round_down((samples.0 as f64 * part) as u64);
                    shape::push_tuning(&mut stages, tuning, samples);
                }
                let bill = self.bill(before.architecture, &stages, &before.machine);
                let within = bill.1.at_confidence(self.request.confidence) <= self.available(budget)
                    && self.deadline.is_none_or(|deadline| {
                        bill.1.hours_at_confidence(self.request.confidence).0 <= deadline.0
                    });
                if !within {
                    continue;
                }
                let machine = before.machine.clone();
                found.extend(self.candidate(before.architecture, stages, machine, bill, Bound::Budget));
                // Less than the menu's amount only where that is too dear.
                break;
            }
        }
        let error = |candidate: &Candidate| candidate.prediction.error_percent;
        found.retain(|candidate| error(candidate) < error(before));
        let best = found.iter().map(error).min_by(f64::total_cmp)?;
        let tolerance = self.tolerance(best);
        // Among those that the law cannot tell apart: published evidence, then accuracy, but no money for nothing.
        found.retain(|candidate| error(candidate) <= best + tolerance);
        let evidence = |candidate: &Candidate| self.training.known.then(|| Nearness::of(candidate));
        let most = found.iter().map(evidence).min()?;
        found.retain(|candidate| evidence(candidate) == most);
        let best = found.iter().map(error).min_by(f64::total_cmp)?;
        found
            .into_iter()
            .filter(|candidate| error(candidate) <= best + WORTH_POINTS)
            .min_by(|a, b| a.cost.total.p50.cmp(&b.cost.total.p50))
            .map(|candidate| self.with_evidence(candidate))
    }
}
