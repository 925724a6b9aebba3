//! Where the data end: which variable of a case lies outside what was ever observed, by how much, in words.

use super::accuracy::Subject;
use super::evidence::{Evidence, times};
use super::fit::Observation;
use crate::units::{Samples, grouped};

/// A variable outside the range of the runs that the law was fitted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Extrapolation {
    /// The variable, in words.
    pub variable: &'static str,
    /// How many times outside the range: above 1. 0 where it is no number (an unknown data set).
    pub factor: f64,
    /// The whole sentence.
    pub message: String,
}

/// Least and greatest value of each variable.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ranges([(f64, f64); VARIABLES.len()]);

type Value = fn(&Subject<'_>) -> Option<f64>;

/// Words for a variable, its value, words for a value.
type Variable = (&'static str, Value, fn(f64) -> String);

/// Every variable that has a range.
const VARIABLES: [Variable; 10] = [
    ("image tower", |s| Some(s.image_parameters), parameters),
    ("text tower", |s| Some(s.text_parameters), parameters),
    ("samples seen", |s| Some(samples_seen(s)), samples),
    ("unique samples", |s| s.unique_samples, samples),
    ("epochs", |s| Some(samples_seen(s) / s.unique_samples?.max(1.0)), |value| format!("{value:.0}")),
    ("pretraining image tokens", |s| Some(f64::from(s.stages[0].image_tokens.0)), tokens),
    ("final image tokens", |s| Some(f64::from(s.stages.last()?.full_image_tokens.0)), tokens),
    ("pretraining text tokens", |s| Some(f64::from(s.stages[0].text_tokens.0)), tokens),
    ("fine-tuning samples", tuning, samples),
    ("batch", |s| (s.stages[0].batch > 0).then_some(f64::from(s.stages[0].batch)), tokens),
];

/// Samples after the first stage; `None` without any.
fn tuning(subject: &Subject<'_>) -> Option<f64> {
    let seen: f64 = subject.stages.iter().skip(1).map(|stage| stage.samples.0 as f64).sum();
    (seen > 0.0).then_some(seen)
}

fn samples_seen(subject: &Subject<'_>) -> f64 {
    subject.stages.iter().map(|stage| stage.samples.0 as f64).sum()
}

fn parameters(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.1} M parameters", value / 1e6)
    } else {
        format!("{:.0} k parameters", value / 1e3)
    }
}

fn samples(value: f64) -> String {
    Samples(value as u64).to_string()
}

fn tokens(value: f64) -> String {
    grouped(value as u64)
}

/// Values up to this many times outside do not count: 225 tokens against 196 is no extrapolation.
const TOLERANCE: f64 = 1.05;

/// Distance to the nearest run from which on a combination counts as new: 8 times one of encoder, tokens or samples.
const FAR: f64 = 1.5;

/// A case whose every variable was seen, but never together.
pub(super) fn combination(nearest: &Evidence) -> Option<Extrapolation> {
    (nearest.distance > FAR).then(|| Extrapolation {
        variable: "combination",
        factor: nearest.distance / FAR,
        message: format!(
            "combination: each part of it was trained, but nothing like the whole; the nearest published run, {}, \
             differs: {}",
            nearest.citation,
            nearest.differences.join(", ")
        ),
    })
}

impl Ranges {
    pub(super) fn of(rows: &[Observation<'_>]) -> Self {
        Self(VARIABLES.map(|(_, value, _)| {
            rows.iter()
                .filter(|row| row.judged())
                .filter_map(|row| value(&row.subject))
                .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)))
        }))
    }

    /// Everything that lies outside.
    pub(super) fn outside(&self, subject: &Subject<'_>, data_name: &str) -> Vec<Extrapolation> {
        let mut out: Vec<Extrapolation> = VARIABLES
            .iter()
            .zip(self.0)
            .filter_map(|((variable, value, show), (low, high))| {
                let value = value(subject)?;
                let (factor, word, end, bound) = if value < low {
                    (low / value.max(f64::MIN_POSITIVE), "below", "smallest", low)
                } else {
                    (value / high, "above", "largest", high)
                };
                // Few epochs are no extrapolation: fewer than one is the same as one.
                (factor > TOLERANCE && !(*variable == "epochs" && value < low)).then(|| Extrapolation {
                    variable,
                    factor,
                    message: format!(
                        "{variable}: {}, {} {word} the {end} of the published runs ({})",
                        show(value),
                        times(factor),
                        show(bound)
                    ),
                })
            })
            .collect();
        if subject.dataset.is_none() {
            out.push(Extrapolation {
                variable: "data set",
                factor: 0.0,
                message: format!(
                    "data set: no published run used `{data_name}`, so its quality is taken as average and the \
                     interval is wider"
                ),
            });
        }
        out
    }
}
