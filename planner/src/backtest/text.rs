//! The back-tests for people: plain text of at most 110 columns.

use std::fmt::Write;

use super::accuracy::{self, left_out, paper_left_out};
use super::hours::{self, HoursRow};
use super::unseen::Unseen;
use super::{BackTest, Score};
use crate::law::comparable::{Exclusion, JUDGED_ACCURACY, JUDGED_SAMPLES};
use crate::law::fit::{FittedLaw, mean_absolute};
use crate::units::{Samples, grouped};

/// Which runs of a fit are comparable, and why the others are not.
#[must_use]
pub fn comparable_words(fitted: &FittedLaw) -> String {
    let mut out = format!(
        "{} runs, of which {} are comparable: plain ViT towers, contrastive loss, trained from scratch, reported\n\
         once, sizes, lengths and samples published. The rule is fixed before anything is fitted. The law is judged\n\
         on the {} of them that reach {JUDGED_ACCURACY:.0} % after at least {} samples. Not comparable:\n",
        fitted.residuals.len() + fitted.excluded.len(),
        fitted.residuals.len(),
        fitted.judged().count(),
        Samples(JUDGED_SAMPLES as u64),
    );
    for reason in Exclusion::ALL {
        let count = fitted.excluded.iter().filter(|(_, other)| other == reason).count();
        if count > 0 {
            let _ = writeln!(out, "  {count:>4}  {}", reason.why());
        }
    }
    out
}

fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

fn points(score: Score) -> String {
    format!("{:5.2} {:+6.2} {:>6}", score.mae, score.bias, percent(score.coverage))
}

impl BackTest {
    /// Everything as text; ends with a line feed. `every_run`: a line for each judged run as well.
    #[must_use]
    pub fn text(&self, every_run: bool) -> String {
        let mut out =
            String::from("Back-test: published runs, each predicted by a law that has not seen it\n\n");
        out += &comparable_words(&self.fitted);
        self.accuracy_lines(&mut out);
        if every_run {
            self.run_lines(&mut out);
        }
        self.retrieval_lines(&mut out);
        self.clipa_v2_lines(&mut out);
        self.hours_lines(&mut out);
        self.inverse_lines(&mut out);
        out
    }

    fn accuracy_lines(&self, out: &mut String) {
        let how =
            if self.exact { "fitted anew for each run" } else { "mostly to first order; --exact fits anew" };
        let _ = writeln!(
            out,
            "\nImageNet zero-shot accuracy, in points, with the run left out ({how})\n\
             or its whole paper.\n\
             MAE: mean absolute error; bias: predicted - reported; within: reported lies in the 80 % interval.\n\n\
             {:<44} {:>5}   {:<19}   paper left out\n{:<44} {:>5}   {:>5} {:>6} {:>6}   {:>5} {:>6} {:>6}",
            "", "", "run left out", "paper", "runs", "MAE", "bias", "within", "MAE", "bias", "within"
        );
        let line = |out: &mut String, name: &str, rows: &[&crate::law::fit::Residual]| {
            let one = accuracy::score(rows.iter().map(|row| left_out(row)));
            let paper = accuracy::score(rows.iter().map(|row| paper_left_out(row)));
            let _ = writeln!(out, "{name:<44} {:>5}   {}   {}", rows.len(), points(one), points(paper));
        };
        for (paper, rows) in accuracy::by_paper(&self.fitted) {
            line(out, paper, &rows);
        }
        let all: Vec<_> = self.fitted.judged().collect();
        line(out, "all", &all);
        let (alone, shared): (Vec<_>, Vec<_>) = all.iter().partition(|row| row.only_run_of_data);
        let error =
            |rows: &[&crate::law::fit::Residual]| accuracy::score(rows.iter().map(|row| left_out(row))).mae;
        if !alone.is_empty() {
            let _ = writeln!(
                out,
                "Of these, the {} runs that are the only ones on data of their kind (without the run nothing is known \
                 of\nit) have MAE {:.2} left out, the others {:.2}.",
                alone.len(),
                error(&alone),
                error(&shared)
            );
        }
        let _ =
            writeln!(out, "In sample (the law has seen the run): MAE {:.2}.", self.fitted.in_sample_error());
    }

    fn run_lines(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\n{:<52} {:>8}  {:<18}  {:<18}",
            "run", "reported", "run left out", "paper left out"
        );
        for row in self.fitted.judged() {
            let (one, paper) = (left_out(row), paper_left_out(row));
            let cell = |held: accuracy::Held| {
                let word = if held.hit() { "hit" } else { "miss" };
                format!("{:5.1} +-{:4.1} {word:<4}", held.predicted, held.half_width)
            };
            let _ =
                writeln!(out, "{:<52} {:>8.1}  {:<18}  {:<18}", row.id, row.observed, cell(one), cell(paper));
        }
    }

    fn retrieval_lines(&self, out: &mut String) {
        if self.fitted.retrieval.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "\nRetrieval, in points of recall at rank 1, by laws on top of the one for ImageNet; the run, or its whole\n\
             paper, is left out of both.\n\n\
             {:<44} {:>5}   {:<19}   paper left out\n{:<44} {:>5}   {:>5} {:>6} {:>6}   {:>5} {:>6} {:>6}",
            "", "", "run left out", "target", "runs", "MAE", "bias", "within", "MAE", "bias", "within"
        );
        for (target, rows) in &self.fitted.retrieval {
            let judged = || rows.iter().filter(|row| row.judged);
            let one = accuracy::score(judged().map(left_out));
            let paper = accuracy::score(judged().map(paper_left_out));
            let _ =
                writeln!(out, "{:<44} {:>5}   {}   {}", target.words(), one.rows, points(one), points(paper));
        }
    }

    fn clipa_v2_lines(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\nCLIPA-v2 left out altogether, with the runs of other papers that share its pretraining; * table 4:\n\n\
             {:<30} {:>8}  {:>9}  {:>13}",
            "run", "reported", "predicted", "80 % interval"
        );
        for row in &self.clipa_v2 {
            let held = row.held;
            let _ = writeln!(
                out,
                "{:<30} {:>8.1}  {:>9.2}  {:>5.1} to {:>4.1}  {}",
                format!("{}{}", row.id, if row.in_table_4 { " *" } else { "" }),
                held.reported,
                held.predicted,
                held.predicted - held.half_width,
                held.predicted + held.half_width,
                if held.hit() { "hit" } else { "miss" }
            );
        }
        let six = accuracy::score(self.clipa_v2.iter().filter(|row| row.in_table_4).map(|row| row.held));
        let all = accuracy::score(self.clipa_v2.iter().map(|row| row.held));
        for (name, score) in [("table 4", six), ("all", all)] {
            let _ = writeln!(
                out,
                "{name}: {} runs, MAE {:.2}, bias {:+.2}, {} within",
                score.rows,
                score.mae,
                score.bias,
                percent(score.coverage)
            );
        }
    }

    fn hours_lines(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\nDevice hours and dollars by a speed model fitted without the run (and its spread without it). CLIPA-v2's\n\
             hours are its authors' own estimates; dollars are hours at the paper's price. Where only a rate was\n\
             published, hours are those of {} samples.\n\n\
             {:<26} {:>5} {:>9} {:>9} {:>7} {:>17}      {:>9} {:>9}",
            hours::RATE_SAMPLES,
            "run",
            "count",
            "reported",
            "predicted",
            "error",
            "80 % interval",
            "reported $",
            "predicted"
        );
        for row in &self.hours {
            let (low, high) = (row.predicted.p10.0, row.predicted.p90.0);
            let cost = match (row.reported_cost, row.predicted_cost) {
                (Some(reported), Some(predicted)) => format!(
                    "{:>10} {:>9}",
                    grouped(reported.dollars().round() as u64),
                    grouped(predicted.p50.dollars().round() as u64)
                ),
                _ => String::new(),
            };
            let line = format!(
                "{:<26} {:>5} {:>9} {:>9} {:>+6.1}% {:>8}-{:<8} {:<4} {cost}",
                row.id,
                row.devices,
                grouped(row.reported.0.round() as u64),
                grouped(row.predicted.p50.0.round() as u64),
                row.error_percent(),
                grouped(low.round() as u64),
                grouped(high.round() as u64),
                if row.hit() { "hit" } else { "miss" },
            );
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out.push('\n');
        for (paper, rows) in self.hours_by_paper() {
            let score = hours::score(rows.iter().copied());
            let architecture = hours::score_without(rows.iter().copied(), |row| row.architecture_left_out);
            let whole = hours::score_without(rows.iter().copied(), |row| row.paper_left_out);
            let mut line = format!(
                "{paper}: {} rows, MAE {:.1} %, bias {:+.1} %, {} within",
                score.rows,
                score.mae,
                score.bias,
                percent(score.coverage)
            );
            // Rows that only the spread is fitted on have the same median whatever is left out.
            if architecture.mae != score.mae {
                let _ = write!(line, ";\n  MAE {:.1} % without its architecture", architecture.mae);
                let _ = write!(line, ", {:.1} % without its paper", whole.mae);
            }
            let _ = writeln!(out, "{line}");
        }
        let all = hours::score(&self.hours);
        let _ = writeln!(out, "all: {} rows, {} within", all.rows, percent(all.coverage));
    }

    /// The groups of the hours, in the order of their first row.
    #[must_use]
    pub fn hours_by_paper(&self) -> Vec<(&str, Vec<&HoursRow>)> {
        let mut out: Vec<(&str, Vec<&HoursRow>)> = Vec::new();
        for row in &self.hours {
            match out.iter_mut().find(|(paper, _)| *paper == row.paper) {
                Some((_, rows)) => rows.push(row),
                None => out.push((&row.paper, vec![row])),
            }
        }
        out
    }

    fn inverse_lines(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\nInverse scaling law on the published ablations, mean absolute error in points. Law alone: fitted on the\n\
             point itself, and what plans use; in sample: with the encoder's own deviation in the ablation (its points\n\
             share one full-length run); left out: the same from all other points; size left out: from the other\n\
             encoders alone.\n\n\
             {:<30} {:>6} {:>9} {:>9} {:>9} {:>14}",
            "ablation", "points", "law alone", "in sample", "left out", "size left out"
        );
        for (ablation, points) in &self.inverse {
            let error = |of: fn(&crate::law::inverse::AblationPoint) -> f64| {
                mean_absolute(points.iter().map(|point| of(point) - point.reported))
            };
            let _ = writeln!(
                out,
                "{:<30} {:>6} {:>9.3} {:>9.3} {:>9.3} {:>14.3}",
                ablation.name(),
                points.len(),
                error(|point| point.law_alone),
                error(|point| point.fitted),
                error(|point| point.left_out),
                error(|point| point.size_left_out)
            );
        }
    }
}

impl Unseen {
    /// Everything as text; ends with a line feed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!(
            "Runs of the file against a law that has not seen them\n\n{:<40} {:>8}  {:>9}  {:>13}\n",
            "run", "reported", "predicted", "80 % interval"
        );
        for row in &self.rows {
            let said = match row.held {
                None => "not predicted".to_owned(),
                Some(held) => format!(
                    "{:>8.1}  {:>9.2}  {:>5.1} to {:>4.1}  {}",
                    held.reported,
                    held.predicted,
                    (held.predicted - held.half_width).max(0.0),
                    (held.predicted + held.half_width).min(100.0),
                    if held.hit() { "hit" } else { "miss" }
                ),
            };
            let _ = writeln!(out, "{:<40} {said}", row.id);
            if let Some(reason) = row.exclusion {
                let _ = writeln!(out, "    not counted: {}", reason.why());
            }
            for words in &row.extrapolated {
                let _ = writeln!(out, "    extrapolated: {words}");
            }
            if let Some((reported, hours)) = row.hours {
                let _ = writeln!(
                    out,
                    "    device hours: reported {}, predicted {} ({} to {})",
                    grouped(reported.0.round() as u64),
                    grouped(hours.p50.0.round() as u64),
                    grouped(hours.p10.0.round() as u64),
                    grouped(hours.p90.0.round() as u64)
                );
            }
            if let Some((reported, cost)) = row.cost {
                let _ = writeln!(out, "    dollars: reported {reported}, predicted {}", cost.p50);
            }
        }
        let score = self.score();
        let _ = writeln!(
            out,
            "\n{} comparable runs: MAE {:.2} points, bias {:+.2}, {} within the 80 % interval",
            score.rows,
            score.mae,
            score.bias,
            percent(score.coverage)
        );
        if !self.left_out_of_the_fit.is_empty() {
            let _ = writeln!(
                out,
                "{} of them are in the built-in table too: the law used here was fitted without those.",
                self.left_out_of_the_fit.len()
            );
        }
        out
    }
}
