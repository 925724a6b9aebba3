//! Plans that lost, and why.

use super::candidate::{Bound, Candidate};
use super::choose::{Nearness, Outcome};
use super::explain::difference_words;
use super::rough::Rough;
use super::space::Space;
use crate::plan::{RunnerUp, money};
use crate::units::Usd;

impl Space<'_> {
    /// Plans that lost, each different in kind, most telling first.
    pub(super) fn runner_ups(&self, outcome: &Outcome, budget: Usd) -> Vec<RunnerUp> {
        let mut found: Vec<RunnerUp> = Vec::new();
        let chosen = &outcome.chosen;
        let shape = &self.shapes[outcome.chosen_shape];
        if outcome.best.label() != chosen.label() {
            self.add_runner_up(&mut found, "most_accurate", outcome, budget, Some(outcome.best.clone()));
        }
        let exact = |rough: Option<&Rough>| self.exact(rough?, budget, true);
        // Feasible ones come first in the list, then the most accurate.
        let pick = |filter: &dyn Fn(&Rough) -> bool| outcome.roughs.iter().find(|rough| filter(rough));

        let longer = outcome
            .roughs
            .iter()
            .filter(|rough| {
                let other = &self.shapes[rough.shape];
                other.index == shape.index
                    && other.tuning == shape.tuning
                    && other.pretraining.text_tokens == shape.pretraining.text_tokens
                    && other.pretraining.image_size_px > shape.pretraining.image_size_px
            })
            .min_by_key(|rough| self.shapes[rough.shape].pretraining.image_size_px);
        self.add_runner_up(&mut found, "longer_tokens", outcome, budget, exact(longer));

        let of_size = |larger: bool| {
            let sizes = self.neighbours(shape.index, larger);
            let of_size = |rough: &Rough| sizes.contains(&self.shapes[rough.shape].index);
            let same = |rough: &Rough| {
                let other = &self.shapes[rough.shape];
                of_size(rough) && other.pretraining == shape.pretraining && other.tuning == shape.tuning
            };
            pick(&|rough| of_size(rough) && rough.feasible).or_else(|| pick(&same)).or_else(|| pick(&of_size))
        };
        self.add_runner_up(&mut found, "smaller", outcome, budget, exact(of_size(false)));
        self.add_runner_up(&mut found, "larger", outcome, budget, exact(of_size(true)));

        let elsewhere = self.rough_by_machine(outcome.chosen_shape, budget).into_iter().find(|rough| {
            self.machines.list[rough.machine].offer.accelerator.name != chosen.machine.offer.accelerator.name
        });
        self.add_runner_up(&mut found, "hardware", outcome, budget, exact(elsewhere.as_ref()));

        let tuned = pick(&|rough| {
            let other = &self.shapes[rough.shape];
            other.index == shape.index
                && other.pretraining == shape.pretraining
                && other.tuning != shape.tuning
        });
        self.add_runner_up(&mut found, "fine_tuning", outcome, budget, exact(tuned));
        found
    }

    fn add_runner_up(
        &self,
        found: &mut Vec<RunnerUp>,
        kind: &'static str,
        outcome: &Outcome,
        budget: Usd,
        candidate: Option<Candidate>,
    ) {
        let Some(candidate) = candidate else { return };
        let same = |other: &Candidate| {
            other.machine == candidate.machine
                && other.stages.len() == candidate.stages.len()
                && other.architecture.name == candidate.architecture.name
                && other.stages.iter().zip(&candidate.stages).all(|(a, b)| a.stage == b.stage)
        };
        if same(&outcome.chosen) || found.iter().any(|earlier| same(&earlier.candidate)) {
            return;
        }
        let why = self.why_not(&candidate, outcome, budget, kind);
        found.push(RunnerUp { kind, candidate, why });
    }

    fn why_not(&self, candidate: &Candidate, outcome: &Outcome, budget: Usd, kind: &str) -> String {
        let chosen = &outcome.chosen;
        let difference = difference_words(candidate, chosen);
        let cost = candidate.cost_at(self.request.confidence);
        let available = self.available(budget);
        if cost > available {
            return format!(
                "needs {} USD, {} over the budget; would be {difference}",
                money(cost),
                money(cost - available)
            );
        }
        if let Some(deadline) = self.deadline {
            let hours = candidate.cost.hours_at_confidence(self.request.confidence);
            if hours.0 > deadline.0 {
                return format!("takes {hours}, longer than {deadline}; would be {difference}");
            }
        }
        let worse = candidate.prediction.error_percent - outcome.best.prediction.error_percent;
        if kind == "hardware" {
            let samples = candidate.stages[0].stage.samples;
            let more = money(cost.minus_or_zero(chosen.cost_at(self.request.confidence)));
            return match chosen.bound {
                Bound::Samples => format!("the same training for {more} USD more"),
                _ => format!("{samples} samples for the same money: {difference}"),
            };
        }
        if self.training.known && worse <= outcome.tolerance {
            let distance = candidate.prediction.distance;
            let evidence = if Nearness::of(candidate) > Nearness::of(chosen) {
                format!("less published evidence near it (distance {distance:.2})")
            } else {
                format!("no more published evidence near it (distance {distance:.2})")
            };
            return format!("tied: {difference}, within the law's {:.1}; {evidence}", outcome.tolerance);
        }
        difference
    }
}
