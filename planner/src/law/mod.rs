//! Accuracy as a function of architecture, tokens, samples seen and data, fitted on published runs.

mod accuracy;
mod case;
mod parameters;

pub use self::case::{Case, DataShape, Family, StageShape};
pub(crate) use self::accuracy::Subject;
use self::parameters::Coefficients;
use crate::compute;
use crate::dataset;
use crate::spread::Spread;

/// A fitted law.
#[derive(Clone, Debug, PartialEq)]
pub struct Law {
    coefficients: Coefficients,
}

/// What the law expects of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// ImageNet zero-shot top-1 accuracy in percent with its 80 % interval; `None` where the case is so far
    /// from every published run that no accuracy is claimed (use `error_percent` to rank such cases).
    pub accuracy_percent: Option<Spread>,
    /// The law's raw error in percent: falls as a plan gets better, for any input; may exceed 100.
    pub error_percent: f64,
}

impl Law {
    /// The law that comes with the program.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static LAW: std::sync::LazyLock<Law> = std::sync::LazyLock::new(|| {
            let theta: Vec<f64> = (0..parameters::length()).map(|index| parameters::prior(index).0).collect();
            Law { coefficients: Coefficients::new(&theta) }
        });
        &LAW
    }

    /// The raw error alone, which is what a search needs to rank: under a microsecond, allocates nothing.
    #[must_use]
    pub fn error_percent(&self, case: &Case<'_>) -> f64 {
        accuracy::raw(&self.coefficients, &subject(case))
    }

    /// Accuracy with its interval.
    #[must_use]
    pub fn predict(&self, case: &Case<'_>) -> Prediction {
        let error_percent = self.error_percent(case);
        let p50 = accuracy::accuracy_percent(&self.coefficients, error_percent);
        let accuracy_percent = (p50 > 1.0).then(|| Spread { p10: (p50 - 2.0).max(0.0), p50, p90: (p50 + 2.0).min(100.0) });
        Prediction { accuracy_percent, error_percent }
    }
}

fn subject<'a>(case: &Case<'a>) -> Subject<'a> {
    let counts = compute::parameters(case.architecture);
    Subject {
        image_parameters: counts.image as f64,
        text_parameters: counts.text as f64,
        dataset: dataset::index_of(case.data.name),
        unique_samples: Some(case.data.unique_samples.0 as f64),
        family: Family::of(case.architecture),
        stages: case.stages,
    }
}
