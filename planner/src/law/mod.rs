//! Accuracy as a function of architecture, tokens, samples seen and data, fitted on published runs, with an
//! interval that is as wide as the law was wrong on runs that it had not seen; and the inverse scaling law.
//!
//! A search ranks with [`Law::error_percent`]; [`Law::predict`] adds the interval; words (what lies outside the
//! data, which published run is nearest) come from [`Law::extrapolation`] and [`Law::nearest`].

mod accuracy;
mod case;
pub mod comparable;
mod evidence;
pub mod fit;
mod interval;
pub mod inverse;
mod parameters;
mod range;
mod refine;
mod retrieval;
mod solver;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use self::accuracy::Subject;
pub use self::case::{Case, DataShape, Family, StageShape};
pub use self::evidence::Evidence;
use self::evidence::Surroundings;
use self::interval::Width;
use self::inverse::InverseLaw;
use self::parameters::Coefficients;
pub use self::range::Extrapolation;
use self::range::Ranges;
pub use self::refine::{Offset, OwnRun, PaperSpread, Refined};
use self::retrieval::RetrievalLaw;
pub use self::retrieval::RetrievalTarget;
pub use self::stored::{LAW_VERSION, StoredLawError, fingerprint, read_law, write_law};
use crate::compute;
use crate::dataset;
use crate::published::{self, PublishedRun};
use crate::spread::Spread;

/// The stored law (`planner/data/law.toml`).
pub const LAW_TOML: &str = include_str!("../../data/law.toml");

/// A fitted law.
#[derive(Clone, Debug, PartialEq)]
pub struct Law {
    coefficients: Coefficients,
    width: Width,
    surroundings: Surroundings,
    ranges: Ranges,
    inverse: InverseLaw,
    paper_spread: PaperSpread,
    /// Those that enough runs report, in the order of [`RetrievalTarget::ALL`].
    retrieval: Vec<RetrievalLaw>,
    /// Of a user's own runs ([`Offset`]); 1 without any.
    error_multiplier: f64,
}

/// What the law expects of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// ImageNet zero-shot top-1 accuracy in percent with its 80 % interval; `None` below 1 %, where none is claimed
    /// (use `error_percent` to rank such cases).
    pub accuracy_percent: Option<Spread>,
    /// Error in percent: 100 - accuracy while accuracy is claimed. Beyond that it keeps falling as a plan gets
    /// better, for any input, and may exceed 100.
    pub error_percent: f64,
    /// Distance to the nearest published run, see [`Evidence`]; the interval grows with it.
    pub distance: f64,
}

impl Law {
    /// The law that comes with the program.
    ///
    /// # Panics
    /// Never: the stored law is read by a test.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static LAW: LazyLock<Law> = LazyLock::new(|| {
            #[expect(clippy::expect_used, reason = "the embedded law is checked by a test")]
            read_law(LAW_TOML, published::runs(), published::RUNS_CSV)
                .expect("the embedded law fits the embedded runs")
        });
        &LAW
    }

    /// Error in percent alone, which is all that ranking needs; see [`Prediction::error_percent`]. Allocates
    /// nothing.
    #[must_use]
    pub fn error_percent(&self, case: &Case<'_>) -> f64 {
        subject(case).map_or(f64::INFINITY, |subject| accuracy::error_percent(self.raw(&subject)))
    }

    fn raw(&self, subject: &Subject<'_>) -> f64 {
        accuracy::raw(&self.coefficients, subject) * self.error_multiplier
    }

    /// Accuracy with its interval. A case without stages has learned nothing: infinite error.
    #[must_use]
    pub fn predict(&self, case: &Case<'_>) -> Prediction {
        subject(case).map_or(
            Prediction { accuracy_percent: None, error_percent: f64::INFINITY, distance: f64::INFINITY },
            |subject| self.predict_subject(&subject, |_| false),
        )
    }

    /// What the law says of a published run; `None` where the run lacks a size, a length or its samples. The law
    /// has seen most runs, so this is no test of it: see [`fit::fit`] for that.
    #[must_use]
    pub fn predict_run(&self, run: &PublishedRun) -> Option<Prediction> {
        Some(self.predict_subject(&fit::subject_of(run)?, |_| false))
    }

    fn predict_subject(&self, subject: &Subject<'_>, skip: impl Fn(usize) -> bool) -> Prediction {
        let raw = self.raw(subject);
        let standing = self.surroundings.standing(subject, skip);
        let p50 = accuracy::accuracy_percent(raw);
        let half = self.width.at(standing);
        let accuracy_percent = (p50 >= accuracy::LEAST_ACCURACY).then(|| Spread {
            p10: (p50 - half).max(0.0),
            p50,
            p90: (p50 + half).min(100.0),
        });
        Prediction {
            accuracy_percent,
            error_percent: accuracy::error_percent(raw),
            distance: standing.distance,
        }
    }

    /// The published run nearest to a case, and what differs.
    #[must_use]
    pub fn nearest(&self, case: &Case<'_>) -> Option<Evidence> {
        self.surroundings.nearest(&subject(case)?)
    }

    /// [`Law::extrapolation`] of a published run; empty where it lacks a size, a length or its samples.
    #[must_use]
    pub fn extrapolation_of(&self, run: &PublishedRun) -> Vec<Extrapolation> {
        fit::subject_of(run).map_or_else(Vec::new, |subject| self.outside(&subject, &run.dataset))
    }

    /// Variables out of their range; or, with each in its range, a combination that lies far from every run.
    fn outside(&self, subject: &Subject<'_>, data_name: &str) -> Vec<Extrapolation> {
        let mut out = self.ranges.outside(subject, data_name);
        if out.is_empty() {
            out.extend(self.surroundings.nearest(subject).and_then(|nearest| range::combination(&nearest)));
        }
        out
    }

    /// Every variable of a case that lies outside the published runs, in words. Empty: nothing is extrapolated.
    #[must_use]
    pub fn extrapolation(&self, case: &Case<'_>) -> Vec<Extrapolation> {
        subject(case).map_or_else(Vec::new, |subject| self.outside(&subject, case.data.name))
    }
}

/// The case as the law sees it; `None` without stages.
fn subject<'a>(case: &Case<'a>) -> Option<Subject<'a>> {
    let counts = compute::parameters(case.architecture);
    (!case.stages.is_empty()).then(|| Subject {
        image_parameters: counts.image as f64,
        text_parameters: counts.text as f64,
        dataset: dataset::index_of(case.data.name),
        unique_samples: Some((case.data.unique_samples.0 as f64).max(1.0)),
        family: Family::of(case.architecture),
        stages: case.stages,
    })
}
