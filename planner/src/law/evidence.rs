//! How far a case is from what has been trained and published.

use super::accuracy::Subject;
use super::case::Family;
use super::fit;
use super::interval::{self, Standing};
use crate::dataset;
use crate::published::PublishedRun;
use crate::recipe::{ImageReduction, TextReduction};

/// The published run nearest to a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Its row ([`crate::published::find`]).
    pub id: String,
    /// Paper, model and row, for a sentence.
    pub citation: String,
    /// Its accuracy in percent.
    pub accuracy_percent: f64,
    /// Distance: 0 is the same training; 1 is, for instance, another data set, or 4 times the encoder, tokens or
    /// samples; differences add up as squares.
    pub distance: f64,
    /// What differs, in words; empty for the same training.
    pub differences: Vec<String>,
}

/// What is compared, as logarithms where it is a size.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    image_parameters: f64,
    trained_tokens: f64,
    evaluated_tokens: f64,
    text_tokens: f64,
    samples: f64,
    tuning: f64,
    repetition: f64,
    /// NaN: not known.
    batch: f64,
    dataset: Option<usize>,
    family: Family,
    image_reduction: ImageReduction,
    text_reduction: TextReduction,
}

/// A ratio of four is one unit of distance.
const UNIT: f64 = 1.386_294_361_119_890_6;
/// Weights of the axes, squared into the distance; fine-tuning samples and repetition matter less.
const TEXT_WEIGHT: f64 = 0.5;
const TUNING_WEIGHT: f64 = 0.25;
const REPETITION_WEIGHT: f64 = 0.4;
const BATCH_WEIGHT: f64 = 0.5;
const OTHER_DATASET: f64 = 1.0;
const OTHER_FAMILY: f64 = 0.5;
const OTHER_REDUCTION: f64 = 0.4;
/// Text as long as this is not shortened, whatever the reduction is called.
const FULL_TEXT: f64 = 32.0;

fn axis(a: f64, b: f64) -> f64 {
    ((a - b) / UNIT).powi(2)
}

impl Place {
    fn of(subject: &Subject<'_>) -> Self {
        let (mut samples, mut tokens) = (0.0, 0.0);
        for stage in subject.stages {
            let seen = (stage.samples.0 as f64).max(1.0);
            samples += seen;
            tokens += seen * f64::from(stage.image_tokens.0.max(1)).ln();
        }
        let first = subject.stages[0];
        let last = subject.stages[subject.stages.len() - 1];
        let tuning = (samples - first.samples.0 as f64).max(0.0);
        Self {
            image_parameters: subject.image_parameters.ln(),
            trained_tokens: tokens / samples,
            evaluated_tokens: f64::from(last.full_image_tokens.0.max(1)).ln(),
            // 32, 64 and 77 are all the whole caption.
            text_tokens: f64::from(first.text_tokens.0.max(1)).min(FULL_TEXT).ln(),
            samples: samples.ln(),
            // 90 M samples of tuning are one unit away from none.
            tuning: (1.0 + tuning / 30e6).ln(),
            repetition: subject
                .unique_samples
                .map_or(0.0, |unique| (samples / unique.max(1.0)).max(1.0).ln()),
            batch: if first.batch == 0 { f64::NAN } else { f64::from(first.batch).ln() },
            dataset: subject.dataset,
            family: subject.family,
            image_reduction: if first.mask_ratio > 0.0 {
                first.image_reduction
            } else {
                ImageReduction::Resize
            },
            text_reduction: if f64::from(first.text_tokens.0) < FULL_TEXT {
                first.text_reduction
            } else {
                TextReduction::Truncate
            },
        }
    }

    /// What the data set's quality goes by.
    fn quality(&self) -> Option<usize> {
        self.dataset.map(dataset::quality_of)
    }

    fn squared_at_least(&self, other: &Self) -> f64 {
        axis(self.image_parameters, other.image_parameters) + axis(self.samples, other.samples)
    }

    fn squared(&self, other: &Self) -> f64 {
        let mut sum = self.squared_at_least(other)
            + axis(self.trained_tokens, other.trained_tokens)
            + axis(self.evaluated_tokens, other.evaluated_tokens)
            + TEXT_WEIGHT * axis(self.text_tokens, other.text_tokens)
            + TUNING_WEIGHT * axis(self.tuning, other.tuning)
            + REPETITION_WEIGHT * axis(self.repetition, other.repetition);
        let batch = axis(self.batch, other.batch);
        if !batch.is_nan() {
            sum += BATCH_WEIGHT * batch;
        }
        let steps = [
            (self.family != other.family, OTHER_FAMILY),
            (self.image_reduction != other.image_reduction, OTHER_REDUCTION),
            (self.text_reduction != other.text_reduction, OTHER_REDUCTION),
            (self.dataset.is_none() || self.dataset != other.dataset, OTHER_DATASET),
        ];
        sum + steps.iter().filter(|(differs, _)| *differs).map(|(_, step)| step * step).sum::<f64>()
    }
}

/// The runs that count as evidence.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Surroundings {
    places: Vec<Place>,
    runs: Vec<(String, String, f64)>,
}

impl Surroundings {
    /// Of the runs that the law is fitted on.
    pub(super) fn new(runs: &[PublishedRun]) -> Self {
        let observed = fit::observations(runs);
        Self {
            places: observed.iter().map(|row| Place::of(&row.subject)).collect(),
            runs: observed
                .iter()
                .map(|row| (row.run.id.clone(), row.run.citation(), row.run.accuracy_percent))
                .collect(),
        }
    }

    /// Where a subject stands towards the runs, but those that `skip` names by position.
    pub(super) fn standing(&self, subject: &Subject<'_>, skip: impl Fn(usize) -> bool) -> Standing {
        let place = Place::of(subject);
        let (mut least, mut unknown_data, mut unknown_family) = (f64::INFINITY, true, true);
        for (index, other) in self.places.iter().enumerate() {
            let same_data = place.quality().is_some() && place.quality() == other.quality();
            let same_family = place.family == other.family;
            let news = (unknown_data && same_data) || (unknown_family && same_family);
            // Most runs are too far in size or samples alone, which spares the rest of the sum.
            if place.squared_at_least(other) >= least && !news {
                continue;
            }
            let squared = place.squared(other);
            if (squared < least || news) && !skip(index) {
                least = least.min(squared);
                unknown_data &= !same_data;
                unknown_family &= !same_family;
            }
        }
        let shortness = interval::shortness(place.samples.exp());
        Standing { distance: least.sqrt(), shortness, unknown_data, unknown_family }
    }

    /// The nearest run with what differs.
    pub(super) fn nearest(&self, subject: &Subject<'_>) -> Option<Evidence> {
        let place = Place::of(subject);
        let squared = |index: &usize| place.squared(&self.places[*index]);
        let index = (0..self.places.len()).min_by(|a, b| squared(a).total_cmp(&squared(b)))?;
        let (id, citation, accuracy_percent) = self.runs[index].clone();
        Some(Evidence {
            id,
            citation,
            accuracy_percent,
            distance: squared(&index).sqrt(),
            differences: differences(&place, &self.places[index]),
        })
    }
}

/// Ratios nearer to one than this are not worth words.
const NOTABLE: f64 = 1.1;

fn differences(ours: &Place, theirs: &Place) -> Vec<String> {
    let mut out = Vec::new();
    let sizes = [
        ("image tower", "larger", "smaller", ours.image_parameters, theirs.image_parameters),
        ("image tokens in training", "more", "fewer", ours.trained_tokens, theirs.trained_tokens),
        ("image tokens in evaluation", "more", "fewer", ours.evaluated_tokens, theirs.evaluated_tokens),
        ("text tokens", "more", "fewer", ours.text_tokens, theirs.text_tokens),
        ("samples", "more", "fewer", ours.samples, theirs.samples),
        ("batch", "larger", "smaller", ours.batch, theirs.batch),
    ];
    for (what, up, down, a, b) in sizes {
        let ratio = (a - b).abs().exp();
        if ratio > NOTABLE {
            out.push(format!("{what} {} {}", times(ratio), if a > b { up } else { down }));
        }
    }
    if ours.dataset != theirs.dataset {
        let name = theirs.dataset.map_or("another data set", |index| dataset::known()[index].name);
        out.push(format!("that run was trained on {name}"));
    }
    if ours.family != theirs.family {
        out.push(format!("that run follows the recipe {}", theirs.family.name()));
    }
    if ours.image_reduction != theirs.image_reduction || ours.text_reduction != theirs.text_reduction {
        out.push("sequences are shortened by another means".to_owned());
    }
    if (ours.tuning - theirs.tuning).abs() > 0.5 {
        out.push(
            if ours.tuning > theirs.tuning { "more fine-tuning" } else { "less fine-tuning" }.to_owned(),
        );
    }
    out
}

/// `3.2 times`, `40 times`.
pub(super) fn times(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.1} times")
    } else {
        format!("{} times", crate::units::grouped(ratio.round() as u64))
    }
}
