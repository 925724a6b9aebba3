//! Why this plan: how it compares with others, and what it is tied with.

use super::candidate::Candidate;
use super::choose::{Nearness, Outcome, RELATIVE_TIE, law_error_points};
use super::space::Space;
use crate::plan::Tie;

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
}
