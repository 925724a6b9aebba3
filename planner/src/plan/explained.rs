//! The whole reasoning as text.

use super::table::{Table, wrapped};
use super::{Plan, Sensitivity, money};
use crate::search::image_word;
use crate::units::{Usd, grouped};

const COLUMNS: usize = 100;

/// Percent of an error, where accuracy is claimed.
fn accuracy(claimed: bool, error_percent: f64) -> String {
    if claimed { format!("{:.1} %", 100.0 - error_percent) } else { format!("rank {error_percent:.1}") }
}

impl Plan {
    /// The plan as text with everything that was looked at on the way.
    #[must_use]
    pub fn explained(&self) -> String {
        let mut out = vec![self.text(), "How it was chosen:".to_owned()];
        let reasoning = &self.reasoning;
        let claimed = self.chosen.accuracy().is_some();
        out.extend(wrapped(
            "  1. ",
            &format!(
                "{} candidates were looked at roughly: {} shapes (architecture, lengths, fine-tuning) on every \
                 number of every machine; {} shapes fit money and time. The best of each architecture:",
                grouped(reasoning.candidates),
                grouped(reasoning.shapes as u64),
                grouped(reasoning.feasible as u64)
            ),
            COLUMNS,
        ));
        let mut table = Table::new(&["architecture", "shapes", "image", "text", "samples", "USD", "roughly"]);
        for row in &reasoning.by_size {
            table.row(vec![
                row.architecture.clone(),
                row.feasible.to_string(),
                format!("{} px", row.image_size_px),
                row.text_tokens.to_string(),
                row.samples.to_string(),
                money(Usd::from_dollars(row.usd)),
                accuracy(claimed, row.error_percent),
            ]);
        }
        out.extend(table.lines(COLUMNS).into_iter().map(|line| format!("   {line}")));
        out.extend(self.reduction_lines(claimed));
        out.extend(wrapped(
            "  2. ",
            &format!(
                "Those near the best were computed exactly: the whole bill, memory, accuracy. {} are tied within \
                 {:.1} points; the most accurate of them:",
                self.tie.tied, self.tie.tolerance_points
            ),
            COLUMNS,
        ));
        for row in &reasoning.tied {
            let words = format!(
                "{}: {}, distance {:.2} to the nearest published run",
                row.label,
                accuracy(claimed, row.error_percent),
                row.distance
            );
            out.extend(wrapped("     - ", &words, COLUMNS));
        }
        out.extend(wrapped(
            "  3. ",
            &format!("Of those, {}: {}", self.chosen.label(), self.tie.words),
            COLUMNS,
        ));
        out.push(String::new());
        out.push("What would change the choice:".to_owned());
        for row in &self.sensitivity {
            out.extend(wrapped("  - ", &sensitivity_words(row), COLUMNS));
        }
        out.push(String::new());
        out.push("What one more would bring:".to_owned());
        for row in &self.shadow_prices {
            out.extend(wrapped("  - ", &row.words, COLUMNS));
        }
        out.push(String::new());
        out.join("\n")
    }

    /// The chosen plan with its images shortened by each means.
    fn reduction_lines(&self, claimed: bool) -> Vec<String> {
        let rows = &self.reasoning.by_reduction;
        let Some(first) = rows.first() else { return Vec::new() };
        let words = format!(
            "Images can be shortened by resizing or by a mask over the whole image, at the same cost of training; each \
             shape takes the best. The chosen plan by each, to {} patches:",
            first.image_tokens
        );
        let mut table = Table::new(&["images", "size", "as pretrained", "in the end", ""]);
        for row in rows {
            table.row(vec![
                image_word(row.reduction).to_owned(),
                format!("{} px", row.image_size_px),
                accuracy(claimed, row.pretrained_error_percent),
                accuracy(claimed, row.error_percent),
                if row.chosen { "taken".to_owned() } else { String::new() },
            ]);
        }
        let mut lines = wrapped("     ", &words, COLUMNS);
        lines.extend(table.lines(COLUMNS).into_iter().map(|line| format!("   {line}")));
        lines
    }

    /// One or two lines: whether the choice stands.
    pub(super) fn sensitivity_line(&self) -> Option<String> {
        if self.sensitivity.is_empty() {
            return None;
        }
        let (changed, kept): (Vec<_>, Vec<_>) = self.sensitivity.iter().partition(|row| row.changes);
        let names = |rows: &[&Sensitivity]| rows.iter().map(|row| row.what).collect::<Vec<_>>().join(", ");
        let mut words = Vec::new();
        if !kept.is_empty() {
            words.push(format!("the same choice (samples aside) at {}", names(&kept)));
        }
        words.extend(changed.iter().map(|row| sensitivity_words(row)));
        Some(words.join("; "))
    }
}

fn sensitivity_words(row: &Sensitivity) -> String {
    match &row.plan {
        None => format!("{}: nothing fits", row.what),
        Some(plan) => {
            let accuracy = plan.accuracy().map_or_else(String::new, |accuracy| format!(", {accuracy:.1} %"));
            let change = if row.changes { "" } else { "the same choice: " };
            format!(
                "{}: {change}{} on {}{accuracy}",
                row.what,
                plan.label(),
                plan.machine.offer.accelerator.name
            )
        }
    }
}
