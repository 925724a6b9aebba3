//! The user's own runs move the law: one offset for a user, shrunk towards none the fewer runs there are.
//!
//! A lab is to the law what a paper is: its code, data and evaluation make all its runs a little better or worse.
//! With r = ln(z observed / z predicted), z being -100 ln(accuracy / 100), which is about the error, a user's n runs
//! give (empirical Bayes)
//!
//! ```text
//! offset = n · mean(r) / (n + k),   k = variance within papers / variance between papers
//! ```
//!
//! and the law's z is multiplied with exp(offset), so that ranking and the ends at 0 and 100 % stay as they are. A short
//! run is a part of one, by the square of the standard deviation that the fit grants it. Both variances are those of the
//! leave-paper-out fit. The interval is not narrowed: it was measured on whole papers.

use super::{Law, accuracy, fit};
use crate::published::{self, PublishedRun};

/// How papers differ from the law as a whole, and runs from their paper: standard deviations of r.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperSpread {
    /// Of a run around its paper's mean.
    pub within: f64,
    /// Of papers' means around the law that has not seen them.
    pub between: f64,
}

impl PaperSpread {
    /// Nothing is known of papers, so that no run of a user moves anything.
    pub(super) const UNKNOWN: Self = Self { within: 1.0, between: 0.0 };

    /// Of the residuals r, grouped by paper. Each paper is one draw of an offset around 0, by moments: the variance
    /// between is the mean of mean(r)² - within² / n.
    pub(super) fn of(papers: &[Vec<f64>]) -> Self {
        let (mut squares, mut freedom) = (0.0, 0.0);
        for rows in papers {
            let mean = rows.iter().sum::<f64>() / rows.len().max(1) as f64;
            squares += rows.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            freedom += rows.len().saturating_sub(1) as f64;
        }
        let within = squares / f64::max(freedom, 1.0);
        let filled: Vec<&Vec<f64>> = papers.iter().filter(|rows| !rows.is_empty()).collect();
        let between = filled
            .iter()
            .map(|rows| {
                let count = rows.len() as f64;
                (rows.iter().sum::<f64>() / count).powi(2) - within / count
            })
            .sum::<f64>()
            / (filled.len() as f64).max(1.0);
        Self { within: within.sqrt(), between: between.max(0.0).sqrt() }
    }

    /// Runs at which the offset is half of the mean residual.
    #[must_use]
    pub fn runs_for_half(self) -> f64 {
        if self.between > 0.0 { (self.within / self.between).powi(2) } else { f64::INFINITY }
    }
}

/// What a user's own runs say of the law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// Runs that count.
    pub runs: usize,
    /// Long runs that they are worth together: short ones, which the law itself holds loosely, count less.
    pub worth: f64,
    /// Mean of r over them, weighted so.
    pub mean: f64,
    /// worth / (worth + k), from 0 to 1.
    pub weight: f64,
}

impl Offset {
    /// Nothing is moved.
    pub const NONE: Self = Self { runs: 0, worth: 0.0, mean: 0.0, weight: 0.0 };

    /// Of residuals r, each with what its run is worth (1: a long one).
    #[must_use]
    pub fn of(residuals: &[(f64, f64)], spread: PaperSpread) -> Self {
        let worth: f64 = residuals.iter().map(|(_, worth)| worth).sum();
        if worth <= 0.0 || spread.between <= 0.0 {
            return Self { runs: residuals.len(), worth, ..Self::NONE };
        }
        Self {
            runs: residuals.len(),
            worth,
            mean: residuals.iter().map(|(residual, worth)| residual * worth).sum::<f64>() / worth,
            weight: worth / (worth + spread.runs_for_half()),
        }
    }

    /// What the error is multiplied with: below 1, the user's runs do better than the law says.
    #[must_use]
    pub fn error_multiplier(self) -> f64 {
        (self.weight * self.mean).exp()
    }
}

/// ln(z observed / z predicted); `None` where one of them is below [`accuracy::LEAST_ACCURACY`] or perfect.
pub(super) fn residual(predicted_percent: f64, observed_percent: f64) -> Option<f64> {
    let z =
        |percent: f64| (accuracy::LEAST_ACCURACY..100.0).contains(&percent).then(|| -(percent / 100.0).ln());
    Some((z(observed_percent)? / z(predicted_percent)?).ln())
}

/// A user's run that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnRun {
    /// Its name.
    pub id: String,
    /// `ImageNet` zero-shot accuracy in percent as measured.
    pub observed_percent: f64,
    /// The same as the law predicts it without any offset.
    pub predicted_percent: f64,
    /// 1 for a long run, less for a short one.
    pub worth: f64,
}

/// A law moved by a user's own runs, with what moved it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refined {
    /// The law to plan with.
    pub law: Law,
    /// How far it was moved.
    pub offset: Offset,
    /// How papers differ, which decided how far.
    pub spread: PaperSpread,
    /// The runs that count.
    pub counted: Vec<OwnRun>,
    /// The other ones, each with why.
    pub passed_over: Vec<(String, &'static str)>,
}

impl Law {
    /// How papers differ from this law, which decides how far a user's own runs move it.
    #[must_use]
    pub fn paper_spread(&self) -> PaperSpread {
        self.paper_spread
    }

    /// This law moved by a table of a user's own runs (the columns of a table of runs, `docs/formats.md`).
    #[must_use]
    pub fn refined(&self, own: &[PublishedRun]) -> Refined {
        let (mut counted, mut passed_over, mut residuals) = (Vec::new(), Vec::new(), Vec::new());
        for run in own {
            match self.own_run(run) {
                Ok((found, residual)) => {
                    residuals.push((residual, found.worth));
                    counted.push(found);
                }
                Err(why) => passed_over.push((run.id.clone(), why)),
            }
        }
        let offset = Offset::of(&residuals, self.paper_spread);
        Refined { law: self.with_offset(offset), offset, spread: self.paper_spread, counted, passed_over }
    }

    /// A user's run with its residual, or why it does not count.
    fn own_run(&self, run: &PublishedRun) -> Result<(OwnRun, f64), &'static str> {
        if let Some(exclusion) = super::comparable::exclusion(run) {
            return Err(exclusion.why());
        }
        if published::runs().iter().any(|seen| seen.id == run.id || seen.same_training(run)) {
            return Err("it is among the published runs that the law was fitted on");
        }
        // Whatever family a run names, the user's plans follow the recipe of their architecture; what that is worth
        // in the user's hands is part of the offset.
        let subject = fit::subject_of(run).ok_or("a size, a length or the number of samples is missing")?;
        let none = "the law claims no accuracy so low, or the run's is below 1 % or perfect";
        let predicted = self.predict_subject(&subject, |_| false).accuracy_percent.ok_or(none)?.p50;
        let residual = residual(predicted, run.accuracy_percent).ok_or(none)?;
        let found = OwnRun {
            id: run.id.clone(),
            observed_percent: run.accuracy_percent,
            predicted_percent: predicted,
            worth: fit::worth(run),
        };
        Ok((found, residual))
    }

    /// This law with an offset, instead of any that it had.
    #[must_use]
    pub fn with_offset(&self, offset: Offset) -> Self {
        Self { error_multiplier: offset.error_multiplier(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPREAD: PaperSpread = PaperSpread { within: 0.06, between: 0.03 };

    #[test]
    fn spreads_are_recovered_from_papers() {
        // Two papers, each of two runs 0.02 around its mean of +0.1 or -0.1: within² = 4 · 0.02² / 2.
        let spread = PaperSpread::of(&[vec![0.08, 0.12], vec![-0.12, -0.08]]);
        assert!((spread.within.powi(2) - 0.0008).abs() < 1e-12, "{spread:?}");
        assert!((spread.between.powi(2) - (0.01 - 0.0004)).abs() < 1e-12, "{spread:?}");
        assert!((spread.runs_for_half() - 0.0008 / 0.0096).abs() < 1e-9);
        assert_eq!(PaperSpread::of(&[vec![0.1, -0.1], vec![-0.1, 0.1]]).between, 0.0);
    }

    #[test]
    fn few_runs_move_the_law_less_than_many() {
        let one = Offset::of(&[(0.1, 1.0)], SPREAD);
        let many = Offset::of(&[(0.1, 1.0); 40], SPREAD);
        let short = Offset::of(&[(0.1, 0.2)], SPREAD);
        assert!((short.weight - 0.2 / 4.2).abs() < 1e-12 && short.runs == 1);
        assert!((one.weight - 1.0 / 5.0).abs() < 1e-12, "k = 4");
        assert!((many.weight - 40.0 / 44.0).abs() < 1e-12);
        assert!(1.0 < one.error_multiplier() && one.error_multiplier() < many.error_multiplier());
        assert!(many.error_multiplier() < 0.1f64.exp());
        assert_eq!(Offset::of(&[], SPREAD).error_multiplier(), 1.0);
        assert_eq!(Offset::of(&[(0.5, 1.0)], PaperSpread::UNKNOWN).error_multiplier(), 1.0);
    }

    #[test]
    fn a_lab_that_is_better_than_the_law_gets_better_predictions() {
        let law = Law::built_in();
        let base = published::find("clipav2-H14-dc-84-224").expect("there");
        let predicted = law.predict_run(base).expect("complete").accuracy_percent.expect("claimed").p50;
        let own: Vec<PublishedRun> = (0..12)
            .map(|index| PublishedRun {
                id: format!("mine-{index}"),
                accuracy_percent: predicted + 1.5,
                ..base.clone()
            })
            .collect();
        let refined = law.refined(&own);
        assert_eq!((refined.counted.len(), refined.passed_over.len()), (12, 0));
        assert!(refined.counted.iter().all(|run| run.worth == 1.0 && run.predicted_percent == predicted));
        let now = refined.law.predict_run(base).expect("complete").accuracy_percent.expect("claimed");
        assert!(predicted + 0.5 < now.p50 && now.p50 < predicted + 1.5, "{predicted} to {now:?}");
        let error = refined.law.predict_run(base).expect("complete").error_percent;
        assert!((error - (100.0 - now.p50)).abs() < 1e-9);
        assert_eq!(refined.law.with_offset(Offset::NONE).predict_run(base), law.predict_run(base));
    }

    #[test]
    fn what_does_not_count_is_named_with_its_reason() {
        let law = Law::built_in();
        let published = published::find("clipav2-H14-dc-84-224").expect("there").clone();
        let mine = PublishedRun { id: "mine".into(), accuracy_percent: 80.0, ..published.clone() };
        let mut short = PublishedRun { id: "short".into(), ..mine.clone() };
        for stage in &mut short.stages {
            stage.samples = crate::units::Samples(100_000);
        }
        let perfect = PublishedRun { id: "perfect".into(), accuracy_percent: 100.0, ..mine.clone() };
        let refined = law.refined(&[published, mine, short, perfect]);
        let names: Vec<&str> = refined.passed_over.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(names, ["clipav2-H14-dc-84-224", "short", "perfect"]);
        assert_eq!(refined.counted.len(), 1);
        assert!(refined.passed_over[1].1.contains("2.5 M samples"), "{:?}", refined.passed_over);
    }

    proptest! {
        #[test]
        fn the_offset_lies_between_nothing_and_the_mean(
            residuals in proptest::collection::vec((-0.5f64..0.5, 0.05f64..=1.0), 0..20),
            within in 0.001f64..1.0, between in 0.0f64..1.0,
        ) {
            let offset = Offset::of(&residuals, PaperSpread { within, between });
            prop_assert!((0.0..=1.0).contains(&offset.weight));
            prop_assert!(offset.error_multiplier().ln().abs() <= offset.mean.abs() + 1e-12);
            prop_assert!(offset.mean.abs() <= 0.5 && offset.worth <= residuals.len() as f64 + 1e-9);
        }
    }
}
