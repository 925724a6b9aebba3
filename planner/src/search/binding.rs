//! What keeps a plan from being better: money, time, memory, decoding, data.

use super::candidate::{Bound, Candidate};
use super::space::{ASSUMED_DEADLINE, Space};
use crate::compute;
use crate::memory::largest_microbatch;
use crate::plan::{Binding, money};
use crate::units::{Samples, Usd};

/// Repetition is worth mentioning when more different pairs would bring this many points.
pub(super) const NOTABLE_POINTS: f64 = 0.1;
/// A plan that takes this part of the deadline is bound by it too.
const NEARLY_LATE: f64 = 0.98;

impl Space<'_> {
    /// What keeps a plan from being better.
    pub(super) fn binding(&self, chosen: &Candidate, budget: Usd) -> Vec<Binding> {
        let mut binding = Vec::new();
        let mut add = |kind, words| binding.push(Binding { kind, words });
        let cost = chosen.cost_at(self.request.confidence);
        let left = money(budget.minus_or_zero(cost));
        match chosen.bound {
            Bound::Budget if self.usable < 1.0 => add(
                "budget",
                format!(
                    "budget: {} of {} USD; {left} stay in hand for start-up and slower moments",
                    money(cost),
                    money(budget)
                ),
            ),
            Bound::Budget => add("budget", format!("budget: {} of {} USD", money(cost), money(budget))),
            Bound::Deadline => {
                let deadline = self.deadline.unwrap_or(ASSUMED_DEADLINE);
                let whose =
                    if self.deadline_assumed { " (assumed: state yours with --deadline)" } else { "" };
                add("deadline", format!("deadline: {deadline}{whose}; {left} USD stay unspent"));
            }
            Bound::Samples if self.request.target_accuracy_percent.is_some() => add(
                "accuracy",
                "the accuracy that is aimed at: fewer samples would miss it, and no other plan reaches it for less".to_owned(),
            ),
            Bound::Samples => {
                add("samples", format!("samples, which are pinned: {left} USD of the budget stay unspent"))
            }
        }
        if let (Bound::Budget, Some(deadline)) = (chosen.bound, self.deadline) {
            let hours = chosen.cost.hours_at_confidence(self.request.confidence);
            if hours.0 > NEARLY_LATE * deadline.0 {
                add(
                    "deadline",
                    format!("deadline: {hours} of {deadline}, so more money alone brings nothing"),
                );
            }
        }
        for planned in chosen.stages.iter().filter(|planned| planned.time.decoding_binds) {
            add(
                "decoding",
                format!(
                    "decoding in {}: {} vCPUs feed {:.0} images a second, slower than the accelerators train; smaller \
                     stored images would make it cheaper",
                    planned.stage.name,
                    chosen.machine.offer.vcpus.unwrap_or(0) * chosen.machine.nodes,
                    planned.time.samples_per_second.p50
                ),
            );
        }
        if let Some(words) = self.too_large(chosen) {
            add("memory", words);
        }
        if let Some(words) = self.repetition(chosen) {
            add("data", words);
        }
        binding
    }

    /// The next larger architecture, if it does not fit into the devices' memory.
    fn too_large(&self, chosen: &Candidate) -> Option<String> {
        let first = chosen.stages.first()?;
        let index = self.architectures.iter().position(|other| other.name == chosen.architecture.name)?;
        let devices = chosen.machine.devices();
        let accelerator = chosen.machine.offer.accelerator;
        let (image, text) = (first.image_tokens, first.stage.text_tokens);
        self.neighbours(index, true)
            .into_iter()
            .filter_map(|index| {
                let larger = self.architectures[index];
                largest_microbatch(larger, image, text, accelerator, devices, first.stage.batch).err()
            })
            .next()
            .map(|error| format!("memory: {error}"))
    }

    /// Indices of the architectures of the next smaller or larger size; those within a tenth are of one size.
    pub(super) fn neighbours(&self, index: usize, larger: bool) -> Vec<usize> {
        let size = |index: usize| compute::parameters(self.architectures[index]).image as f64;
        let ours = size(index);
        let beyond =
            |other: &usize| if larger { size(*other) > 1.25 * ours } else { size(*other) < 0.8 * ours };
        let others: Vec<usize> = (0..self.architectures.len()).filter(beyond).collect();
        let next = others.iter().copied().map(size);
        let next = if larger { next.reduce(f64::min) } else { next.reduce(f64::max) };
        let Some(next) = next else { return Vec::new() };
        others.into_iter().filter(|&other| (size(other) / next).ln().abs() < 0.1).collect()
    }

    /// What more different pairs would bring, if that is anything.
    fn repetition(&self, chosen: &Candidate) -> Option<String> {
        let unique = self.training.data.unique_samples;
        let seen: Samples = chosen.stages.iter().map(|planned| planned.stage.samples).sum();
        let epochs = seen.0 as f64 / unique.0.max(1) as f64;
        if epochs <= 1.0 {
            return None;
        }
        let shapes = chosen.shapes();
        let mut endless = self.case(chosen.architecture, &shapes);
        endless.data.unique_samples = seen;
        let gained = chosen.prediction.error_percent - self.law.error_percent(&endless);
        let claimed = chosen.accuracy().is_some();
        if claimed && gained < NOTABLE_POINTS {
            return None;
        }
        let each = format!("data: {unique} different pairs, each seen {epochs:.1} times");
        Some(if claimed {
            format!("{each}; if all were different, the law expects {gained:.1} points more")
        } else {
            each
        })
    }
}
