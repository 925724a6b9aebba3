//! The plan for people: plain text of at most 100 columns.

use super::table::{Table, wrapped, wrapped_under};
use super::{Plan, Tier, TierPlan, evidence_words, money};
use crate::search::Candidate;
use crate::units::{Hours, Usd, grouped};

/// Longest line.
const COLUMNS: usize = 100;
/// Runner-ups shown; the JSON form has all.
const RUNNER_UPS: usize = 3;

impl Plan {
    /// The plan as text, without colour; ends with a line feed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        let chosen = &self.chosen;
        let probability = 100.0 * self.request.confidence;
        let first = match self.target {
            Some(target) => format!(
                "The cheapest plan for {:.1} %: {} USD, not exceeded with probability {probability:.0} %; it reaches the \
                 accuracy with probability {:.0} %.",
                target.accuracy_percent,
                money(self.budget),
                100.0 * target.probability
            ),
            None => format!(
                "Plan for {} USD: the cost stays within it with probability {probability:.0} %; the cap holds in any case.",
                money(self.budget)
            ),
        };
        out.extend(wrapped("", &first, COLUMNS));
        out.push(String::new());
        out.extend(wrapped(
            "  ",
            &format!(
                "{} on {}, {} USD per hour",
                chosen.short_name(),
                chosen.machine.label(),
                money(chosen.machine.usd_per_hour)
            ),
            COLUMNS,
        ));
        out.push(String::new());
        out.extend(stage_table(chosen));
        out.push(String::new());
        out.extend(expectation(chosen));
        if let Some(words) = self.retrieval_words() {
            out.extend(wrapped("  retrieval (80 %): ", &words, COLUMNS));
        }
        out.push(String::new());
        if let Some(own) = &self.own_runs {
            section(&mut out, "Your own runs", [own.words().as_str()]);
        }
        section(&mut out, "Why this one", [self.tie.words.as_str()]);
        section(&mut out, "What binds", self.binding.iter().map(|binding| binding.words.as_str()));
        section(&mut out, "The next dollar", [self.marginal.words.as_str()]);
        if let Some(words) = self.sensitivity_line() {
            section(&mut out, "What if", [words.as_str()]);
        }
        section(&mut out, "Inverse scaling law", self.inverse_law.iter().map(String::as_str));
        self.runner_up_lines(&mut out);
        self.published_lines(&mut out);
        for tier in &self.tiers {
            tier_lines(&mut out, tier);
        }
        section(&mut out, "To know", self.remarks.iter().map(String::as_str));
        out.push("Where the numbers are from:".to_owned());
        for note in &self.sources {
            let first = format!("  {:<13}  {:<17}  ", note.what, note.value);
            out.extend(wrapped(&first, &note.source, COLUMNS));
        }
        out.push(String::new());
        out.join("\n")
    }

    fn runner_up_lines(&self, out: &mut Vec<String>) {
        if self.runner_ups.is_empty() {
            return;
        }
        out.push("Runner-ups:".to_owned());
        for runner_up in self.runner_ups.iter().take(RUNNER_UPS) {
            let candidate = &runner_up.candidate;
            let elsewhere = if candidate.machine.offer == self.chosen.machine.offer {
                String::new()
            } else {
                format!(" on {}", candidate.machine.label())
            };
            let words = format!(
                "{}{elsewhere}: {} USD, {}: {}",
                candidate.label(),
                money(candidate.cost.total.p50),
                accuracy_or_rank(candidate),
                runner_up.why
            );
            out.extend(wrapped("  - ", &words, COLUMNS));
        }
        out.push(String::new());
    }

    fn published_lines(&self, out: &mut Vec<String>) {
        if self.published.is_empty() {
            return;
        }
        out.push("Published recipes on this hardware:".to_owned());
        for row in &self.published {
            let reported =
                row.reported_cost.map_or_else(String::new, |cost| format!(" for {} USD", money(cost)));
            let words = format!(
                "{} ({}): {} USD, {} by the law{}; published {:.1} %{reported}",
                row.candidate.label(),
                row.id,
                money(row.candidate.cost.total.p50),
                accuracy_or_rank(&row.candidate),
                decoding_bound(&row.candidate),
                row.reported_accuracy_percent
            );
            out.extend(wrapped("  - ", &words, COLUMNS));
        }
        out.push(String::new());
    }
}

/// `, bound by decoding in pretrain`: where vCPUs and not accelerators set the time, size and tokens do not change it.
fn decoding_bound(candidate: &Candidate) -> String {
    let bound: Vec<&str> = candidate
        .stages
        .iter()
        .filter(|planned| planned.time.decoding_binds)
        .map(|planned| planned.stage.name.as_str())
        .collect();
    if bound.is_empty() { String::new() } else { format!(", bound by decoding in {}", bound.join(" and ")) }
}

fn section<'a>(out: &mut Vec<String>, title: &str, items: impl IntoIterator<Item = &'a str>) {
    let items: Vec<&str> = items.into_iter().collect();
    match items.as_slice() {
        [] => return,
        [one] => out.extend(wrapped_under(&format!("{title}: "), 2, one, COLUMNS)),
        several => {
            out.push(format!("{title}:"));
            for item in several {
                out.extend(wrapped("  - ", item, COLUMNS));
            }
        }
    }
    out.push(String::new());
}

fn accuracy_or_rank(candidate: &Candidate) -> String {
    match candidate.accuracy() {
        Some(accuracy) => format!("{accuracy:.1} %"),
        None => "no accuracy claimed".to_owned(),
    }
}

/// The bill: the stages with everything the recipe says of them, then what else is paid for.
fn stage_table(candidate: &Candidate) -> Vec<String> {
    let devices = f64::from(candidate.machine.devices());
    let total = candidate.cost.total.p50;
    let share = |usd: Usd| format!("{:.1} %", 100.0 * usd.dollars() / total.dollars().max(1e-12));
    let device_hours = |hours: f64| match hours * devices {
        hours if hours >= 100.0 => grouped(hours.round() as u64),
        hours if hours >= 1.0 => format!("{hours:.1}"),
        hours => format!("{hours:.3}"),
    };
    let device = if candidate.machine.offer.is_this_machine() { "CPU-h" } else { "GPU-h" };
    let mut table = Table::new(&[
        "stage", "image", "text", "samples", "batch", "peak lr", "time", device, "USD", "share",
    ]);
    for planned in &candidate.stages {
        let stage = &planned.stage;
        let hours = planned.time.hours.p50;
        table.row(vec![
            stage.name.clone(),
            format!("{} px ({})", stage.image_size_px, planned.image_tokens),
            stage.text_tokens.to_string(),
            stage.samples.to_string(),
            grouped(u64::from(stage.batch)),
            format!("{:.2e}", stage.learning_rate),
            hours.to_string(),
            device_hours(hours.0),
            money(planned.usd.p50),
            share(planned.usd.p50),
        ]);
    }
    let mut other = |what: &str, hours: Hours, usd: Usd| {
        let mut cells = vec![what.to_owned()];
        cells.extend(std::iter::repeat_n(String::new(), 5));
        cells.extend([hours.to_string(), device_hours(hours.0), money(usd), share(usd)]);
        table.row(cells);
    };
    for line in candidate.cost.lines.iter().filter(|line| !line.what.ends_with("device time")) {
        // A line of less than a cent is not worth a row.
        if line.usd.p50 >= Usd::from_micros(10_000) || total < Usd::from_micros(10_000_000) {
            other(&line.what, line.hours.p50, line.usd.p50);
        }
    }
    other("total", candidate.cost.hours.p50, total);
    let mut lines = table.lines(COLUMNS);
    let cost = &candidate.cost;
    lines.push(String::new());
    lines.push(format!(
        "  80 %: {} to {} USD, {} to {}; image: pixels a side (tokens)",
        money(cost.total.p10),
        money(cost.total.p90),
        cost.hours.p10,
        cost.hours.p90
    ));
    lines
}

fn expectation(candidate: &Candidate) -> Vec<String> {
    let mut lines = Vec::new();
    match candidate.prediction.accuracy_percent {
        Some(accuracy) => {
            lines.push(format!(
                "Expected: {:.1} % ImageNet zero-shot top-1 (80 %: {:.1} to {:.1})",
                accuracy.p50, accuracy.p10, accuracy.p90
            ));
            if let Some(evidence) = &candidate.evidence {
                let differences = if evidence.differences.is_empty() {
                    "the same training".to_owned()
                } else {
                    evidence.differences.join(", ")
                };
                let words = format!(
                    "nearest published run: {}; distance {:.2}: {differences}",
                    evidence_words(evidence),
                    evidence.distance
                );
                lines.extend(wrapped("  ", &words, COLUMNS));
            }
        }
        None => lines.extend(wrapped(
            "Expected: ",
            "no accuracy is claimed: these data are not among those that the law was fitted on; plans are ranked by it",
            COLUMNS,
        )),
    }
    if candidate.prediction.accuracy_percent.is_some() {
        for outside in &candidate.extrapolation {
            lines.extend(wrapped("  extrapolated: ", outside, COLUMNS));
        }
    }
    lines
}

fn tier_lines(out: &mut Vec<String>, tier: &Tier) {
    out.push(format!("Tier, {} USD in all:", money(tier.budget)));
    out.extend(wrapped("  ", &tier.words, COLUMNS));
    let mut show = |title: &str, planned: &TierPlan| {
        out.push(String::new());
        let words = format!("{}, {}", planned.words, accuracy_or_rank(&planned.candidate));
        out.extend(wrapped_under(&format!("  {title}: "), 4, &words, COLUMNS));
        out.extend(stage_table(&planned.candidate));
    };
    if let Some(extension) = &tier.extension {
        show("(a) extension", extension);
    }
    show(if tier.extension.is_some() { "(b) fresh start" } else { "fresh start" }, &tier.fresh);
    out.push(String::new());
}
