//! Why this plan: what binds, what the next dollar brings, and the plans that lost, in words and numbers.

use super::candidate::{Bound, Candidate, short_name};
use super::choose::{NEAR, Outcome, law_error_points};
use super::error::SearchError;
use super::space::{ASSUMED_DEADLINE, Rough, Space};
use crate::compute;
use crate::law::inverse;
use crate::plan::{Binding, Marginal, PublishedRow, RunnerUp, Tie, money};
use crate::published::{self, PublishedRun};
use crate::recipe::{ImageReduction, TextReduction};
use crate::units::{Samples, Usd};

/// Repetition is worth mentioning when more different pairs would bring this many points.
const NOTABLE_POINTS: f64 = 0.1;
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
        let words = if !self.training.known {
            format!(
                "the law has seen no run on `{}`: plans are ranked by its raw error, the best rank is taken, and no \
                 accuracy is claimed",
                self.training.data.name
            )
        } else if outcome.tied == 1 {
            format!(
                "no other plan comes within {:.1} points, what two predictions must differ by to be told apart \
                 (the law's error of {error:.2} on runs that it had not seen, times the square root of 2)",
                outcome.tolerance
            )
        } else {
            let lead = if chosen.label() == best.label() {
                "it is the most accurate of them and".to_owned()
            } else {
                format!(
                    "the most accurate, {}, is {} and lies farther from published runs ({}); this one",
                    best.label(),
                    difference_words(best, chosen),
                    near(best)
                )
            };
            let nearness = if chosen.prediction.distance <= NEAR { "is, but for rounding, a published run" } else { "is nearest to published evidence" };
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
                let whose = if self.deadline_assumed { " (assumed: state yours with --deadline)" } else { "" };
                add("deadline", format!("deadline: {deadline}{whose}; {left} USD stay unspent"));
            }
            Bound::Samples => add(
                "samples",
                format!("samples, which are pinned: {left} USD of the budget stay unspent"),
            ),
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
        if let Some(fit) = chosen.memory.iter().max_by_key(|fit| fit.chunks).filter(|fit| fit.chunks > 1) {
            add(
                "memory",
                format!(
                    "memory: a device holds {} samples at a time ({:.0} GB), so a step takes {} chunks and a second \
                     forward pass",
                    fit.microbatch,
                    fit.bytes.total() / 1e9,
                    fit.chunks
                ),
            );
        }
        if let Some(words) = self.repetition(chosen) {
            add("data", words);
        }
        binding
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
                let ratio = 1.0 - raised.best.prediction.error_percent / outcome.best.prediction.error_percent;
                format!("{:.1} % of the raw error", 100.0 * ratio.max(0.0))
            }
        };
        let mut words = format!("{} USD more (10 %) would bring {gain}", money(more));
        if let Some(points) = points.filter(|points| *points > 0.0) {
            words.push_str(&format!(
                ": {} USD a point",
                money(Usd::from_dollars(more.dollars() / points))
            ));
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
        Ok(Marginal { more_usd: more, points, words })
    }

    /// The cheapest plan over the budget that is notably better.
    fn next_step(&self, outcome: &Outcome, budget: Usd) -> Option<Candidate> {
        let least = outcome.best.prediction.error_percent - 2.0 * NOTABLE_POINTS;
        let dearer = outcome.roughs.iter().filter(|rough| !rough.feasible && rough.error < least);
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

        let of_size = |index: usize| {
            let same = |rough: &Rough| {
                let other = &self.shapes[rough.shape];
                other.index == index && other.pretraining == shape.pretraining && other.tuning == shape.tuning
            };
            pick(&|rough| self.shapes[rough.shape].index == index && rough.feasible)
                .or_else(|| pick(&same))
                .or_else(|| pick(&|rough| self.shapes[rough.shape].index == index))
        };
        if let Some(smaller) = shape.index.checked_sub(1) {
            self.add_runner_up(&mut found, "smaller", outcome, budget, exact(of_size(smaller)));
        }
        self.add_runner_up(&mut found, "larger", outcome, budget, exact(of_size(shape.index + 1)));

        let elsewhere = self
            .rough_by_machine(outcome.chosen_shape, budget)
            .into_iter()
            .find(|rough| {
                self.machines.list[rough.machine].offer.accelerator.name != chosen.machine.offer.accelerator.name
            });
        self.add_runner_up(&mut found, "hardware", outcome, budget, exact(elsewhere.as_ref()));

        let tuned = pick(&|rough| {
            let other = &self.shapes[rough.shape];
            other.index == shape.index && other.pretraining == shape.pretraining && other.tuning != shape.tuning
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
            let hours = candidate.cost.hours.quantile(self.request.confidence);
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
            let evidence = if distance > chosen.prediction.distance.max(NEAR) {
                format!("less published evidence near it (distance {distance:.2})")
            } else {
                "no nearer to published evidence".to_owned()
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
        let smaller = self
            .architectures
            .iter()
            .filter(|other| {
                (compute::parameters(other).image as f64) < 0.8 * size
                    && other.vision_cfg.image_size == chosen.architecture.vision_cfg.image_size
            })
            .next_back();
        if tokens < full {
            let drop = inverse::drop_points(size, tokens, full, ImageReduction::Resize);
            let mut line = format!(
                "{name} tolerates {tokens} of {full} image tokens for a drop of {drop:.1} points after fine-tuning at \
                 full length"
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
            .filter(|run| crate::dataset::lookup(&run.dataset).map(|set| set.name) == Some(&self.training.data.name))
            .filter_map(|run| self.published_row(run, chosen))
            .filter(|row| row.candidate.cost.total.p50.dollars() <= most)
            .collect();
        // The dearest that fit are the most telling; the last of them may lie above the budget.
        rows.sort_by(|a, b| a.candidate.cost.total.p50.cmp(&b.candidate.cost.total.p50));
        let within = rows.iter().take_while(|row| row.candidate.cost.total.p50 <= budget).count();
        let end = rows.len().min(within + 1);
        rows.drain(..end).collect::<Vec<_>>().split_off(end.saturating_sub(PUBLISHED_ROWS))
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
                name: if index == 0 { "pretrain".to_owned() } else { format!("finetune-{}", shape.image_size_px) },
                image_size_px: shape.image_size_px,
                image_reduction: shape.image_reduction,
                image_mask_ratio: shape.mask_ratio,
                text_tokens: shape.text_tokens,
                text_reduction: shape.text_reduction,
                samples: shape.samples,
                batch: if shape.batch > 0 { shape.batch } else { first.batch.max(1_024) },
                learning_rate: 1e-3,
                warmup_samples: Samples(0),
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
