//! Why this plan: what binds, what the next dollar brings, and the plans that lost, in words and numbers.

use super::candidate::{Bound, Candidate, short_name};
use super::choose::{Nearness, Outcome, RELATIVE_TIE, law_error_points};
use super::error::SearchError;
use super::rough::Rough;
use super::space::{ASSUMED_DEADLINE, Space};
use crate::compute;
use crate::law::inverse;
use crate::memory::largest_microbatch;
use crate::plan::{Binding, Marginal, PublishedRow, RunnerUp, Tie, money};
use crate::published::{self, PublishedRun};
use crate::recipe::{ImageReduction, TextReduction};
use crate::units::{Samples, Usd};

/// Repetition is worth mentioning when more different pairs would bring this many points.
const NOTABLE_POINTS: f64 = 0.1;
/// Image parameters of the smallest encoder of CLIPA's ablations, S/16, with some room.
const SMALLEST_ABLATED: f64 = 18e6;
/// A plan that takes this part of the deadline is bound by it too.
const NEARLY_LATE: f64 = 0.98;
/// Runs shown at this hardware's price.
const PUBLISHED_ROWS: usize = 3;

/// Points of accuracy that `candidate` is above `reference`; absent where no accuracy is claimed.
pub(super) fn points_over(candidate: &Candidate, reference: &Candidate) -> Option<f64> {
    Some(candidate.accuracy()? - reference.accuracy()?)
}

/// How `candidate` compares with `reference`: `1.2 points lower`, `ranks 3 % worse`.
pub(super) fn difference_words(candidate: &Candidate, reference: &Candidate) -> String {
    if let Some(points) = points_over(candidate, reference) {
        return match points {
            points if points.abs() < 0.05 => "as accurate".to_owned(),
            points if points > 0.0 => format!("{points:.1} points higher"),
            points => format!("{:.1} points lower", -points),
        };
    }
    let ratio = candidate.prediction.error_percent / reference.prediction.error_percent - 1.0;
    match ratio {
        ratio if ratio.abs() < 0.005 => "ranks the same".to_owned(),
        ratio if ratio < 0.0 => format!("ranks {:.0} % better by the law's raw error", -100.0 * ratio),
        ratio => format!("ranks {:.0} % worse by the law's raw error", 100.0 * ratio),
    }
}

impl Space<'_> {
    /// What it is tied with and why it was taken.
    pub(super) fn tie(&self, outcome: &Outcome) -> Tie {
        let (chosen, best) = (&outcome.chosen, &outcome.best);
        let near = |candidate: &Candidate| {
            let run = candidate.evidence.as_ref().map_or_else(String::new, |evidence| evidence.id.clone());
            format!("{run}, distance {:.2}", candidate.prediction.distance)
        };
        let error = law_error_points();
        let same = chosen.label() == best.label();
        let words = if !self.training.known {
            let form = if same {
                "the best rank is taken".to_owned()
            } else {
                format!(
                    "{} plans differ by less than {:.0} % (assumed: the law was never tried there); of them the best is \
                     taken that ends at full length, as published recipes do ({} {})",
                    outcome.tied,
                    100.0 * RELATIVE_TIE,
                    best.label(),
                    difference_words(best, chosen)
                )
            };
            format!(
                "the law has seen no run on `{}`: plans are ranked by its raw error, and {form}",
                self.training.data.name
            )
        } else if outcome.tied == 1 {
            format!(
                "no other plan comes within {:.1} points, what two predictions must differ by to be told apart \
                 (the law's error of {error:.2} on runs that it had not seen, times the square root of 2)",
                outcome.tolerance
            )
        } else {
            let lead = if same {
                "it is the most accurate of them and".to_owned()
            } else {
                format!(
                    "the most accurate, {}, is {} but farther from published runs ({}); this one",
                    best.label(),
                    difference_words(best, chosen),
                    near(best)
                )
            };
            let nearness = match Nearness::of(chosen) {
                Nearness::Published => "is, but for rounding, a published run",
                Nearness::Close => "is the most accurate of those close to a published run",
                Nearness::InReach => "is the most accurate of those within reach of a published run",
                Nearness::Far => "has no published run near it, as none of them has",
            };
            format!(
                "{} plans are tied within {:.1} points (the law's error of {error:.2} on runs that it had not seen, \
                 times the square root of 2 for a difference): {lead} {nearness} ({})",
                outcome.tied,
                outcome.tolerance,
                near(chosen)
            )
        };
        Tie { tolerance_points: outcome.tolerance, tied: outcome.tied, best: best.clone(), words }
    }

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
    fn neighbours(&self, index: usize, larger: bool) -> Vec<usize> {
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

    /// How the inverse scaling law was applied.
    pub(super) fn inverse_law(&self, chosen: &Candidate) -> Vec<String> {
        let Some(first) = chosen.stages.first() else { return Vec::new() };
        let mut words = Vec::new();
        let size = compute::parameters(chosen.architecture).image as f64;
        let full = inverse::full_image_tokens(chosen.architecture);
        let (name, tokens) = (chosen.short_name(), first.image_tokens);
        let index = self.architectures.iter().position(|other| other.name == chosen.architecture.name);
        // Of the next smaller size, the one with the same patches, so that tokens mean the same.
        let smaller = index.and_then(|index| {
            let sizes = self.neighbours(index, false);
            let patch = chosen.architecture.vision_cfg.patch_size;
            let same = sizes.iter().find(|&&other| self.architectures[other].vision_cfg.patch_size == patch);
            same.or(sizes.first()).map(|&other| self.architectures[other])
        });
        let beyond = if size < SMALLEST_ABLATED { " (extrapolated: CLIPA's smallest was S/16)" } else { "" };
        if tokens < full {
            let drop = inverse::drop_points(size, tokens, full, ImageReduction::Resize);
            let mut line = format!(
                "{name} tolerates {tokens} of {full} image tokens for a drop of {drop:.1} points after fine-tuning at \
                 full length{beyond}"
            );
            if let Some(other) = smaller {
                let other_size = compute::parameters(other).image as f64;
                let other_full = inverse::full_image_tokens(other);
                let lost = inverse::drop_points(other_size, tokens, other_full, ImageReduction::Resize);
                let needed = inverse::shortest_image_tokens(other, drop, ImageReduction::Resize);
                line.push_str(&format!(
                    "; {} would lose {lost:.1}, or need {needed} of {other_full} for the same drop",
                    short_name(other)
                ));
            }
            words.push(line);
        } else {
            words.push(format!("{name} is pretrained on all {full} image tokens: nothing is shortened"));
        }
        let full_text = inverse::full_text_tokens(chosen.architecture);
        if first.stage.text_tokens < full_text {
            let reduction = first.stage.text_reduction;
            let drop = inverse::text_drop_points(size, first.stage.text_tokens, full_text, reduction);
            words.push(format!(
                "{} of {full_text} text tokens ({}) cost it {drop:.1} points",
                first.stage.text_tokens,
                reduction_word(reduction)
            ));
        }
        words
    }

    /// Published recipes that can be costed here: on these data, with an architecture known here.
    pub(super) fn published_rows(&self, budget: Usd, chosen: &Candidate) -> Vec<PublishedRow> {
        if !self.training.known {
            return Vec::new();
        }
        let most = 1.5 * budget.dollars();
        let mut rows: Vec<PublishedRow> = published::runs()
            .iter()
            .filter(|run| run.same_as.is_none() && run.initialised_from.is_none())
            .filter(|run| {
                crate::dataset::lookup(&run.dataset).map(|set| set.name) == Some(&self.training.data.name)
            })
            .filter_map(|run| self.published_row(run, chosen))
            .filter(|row| row.candidate.cost.total.p50.dollars() <= most)
            .collect();
        // Only those that no cheaper one beats; the last may lie above the budget.
        rows.sort_by_key(|row| row.candidate.cost.total.p50);
        let mut best = f64::NEG_INFINITY;
        rows.retain(|row| {
            let better = row.reported_accuracy_percent > best;
            best = best.max(row.reported_accuracy_percent);
            better
        });
        let within = rows.iter().take_while(|row| row.candidate.cost.total.p50 <= budget).count();
        rows.truncate(within + 1);
        rows.split_off(rows.len().saturating_sub(PUBLISHED_ROWS))
    }

    fn published_row(&self, run: &'static PublishedRun, chosen: &Candidate) -> Option<PublishedRow> {
        let size = run.image_parameters?;
        let first = run.stages.first()?;
        let architecture = *self.architectures.iter().find(|architecture| {
            let ours = compute::parameters(architecture).image as f64;
            (ours / size - 1.0).abs() < 0.03
                && Some(architecture.vision_cfg.patch_size) == run.patch_size
                && crate::law::Family::of(architecture) == run.family
        })?;
        let stages = run
            .stages
            .iter()
            .enumerate()
            .map(|(index, shape)| crate::recipe::Stage {
                name: if index == 0 {
                    "pretrain".to_owned()
                } else {
                    format!("finetune-{}", shape.image_size_px)
                },
                image_size_px: shape.image_size_px,
                image_reduction: shape.image_reduction,
                image_mask_ratio: shape.mask_ratio,
                text_tokens: shape.text_tokens,
                text_reduction: shape.text_reduction,
                samples: shape.samples,
                batch: if shape.batch > 0 { shape.batch } else { first.batch.max(1_024) },
                learning_rate: 1e-3,
                warmup_samples: Samples(0),
                schedule: crate::recipe::Schedule::Cosine,
                decay_fraction: None,
                carry_optimizer: false,
            })
            .collect::<Vec<_>>();
        let bill = self.bill(architecture, &stages, &chosen.machine);
        let candidate = self.candidate(architecture, stages, chosen.machine.clone(), bill, Bound::Samples)?;
        Some(PublishedRow {
            id: run.id.clone(),
            reported_accuracy_percent: run.accuracy_percent,
            reported_cost: run.cost,
            candidate,
        })
    }
}

fn reduction_word(reduction: TextReduction) -> &'static str {
    match reduction {
        TextReduction::Truncate => "truncated",
        TextReduction::Random => "a random subset",
        TextReduction::Block => "a random block",
        TextReduction::Syntax => "nouns first",
    }
}
