//! Retrieval beside classification: recall at rank 1 on COCO and Flickr30k, from what the law says of ImageNet.
//!
//! For each target, with z = -100 ln(accuracy) of ImageNet by the law, r the recall, m the text tokens of pretraining
//! (at most 32), S the samples and N the parameters of the image tower,
//!
//! ```text
//! ln(-ln r) = c + a ln(z / 30) + t ln(32 / m) + s ln(S / 10 B) + n ln(N / 300 M) + data set + recipe family
//! ```
//!
//! least squares with priors and the law's robust loss on the comparable runs that report the target. ImageNet carries
//! most of it; captions cut short, and data that are filtered for classes, cost retrieval more. Data sets and families
//! are drawn around none, so that one that never reported the target is taken as an average one.

use std::collections::BTreeMap;

use super::accuracy::{self, Subject};
use super::case::{Case, Family};
use super::evidence::Surroundings;
use super::fit::{FitError, Observation, Residual, worth};
use super::interval::{Miss, Width};
use super::solver::{self, Gradient, Problem};
use super::{Law, subject};
use crate::dataset;
use crate::published::PublishedRun;
use crate::spread::Spread;

macro_rules! targets {
    ($($variant:ident $name:literal $words:literal;)*) => {
        /// What is retrieved on which test set, and reported as recall at rank 1 in percent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RetrievalTarget {
            $(#[doc = $words] $variant,)*
        }

        impl RetrievalTarget {
            /// Every target, in the order of its index.
            pub const ALL: [Self; 4] = [$(Self::$variant,)*];

            /// Name in JSON and `law.toml`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its column in `runs.csv` and quantity in back-tests.
            #[must_use]
            pub const fn column(self) -> &'static str {
                match self { $(Self::$variant => concat!($name, "_percent"),)* }
            }

            /// In words.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)* }
            }
        }
    };
}

targets! {
    CocoImage "coco_image_r1" "COCO image R@1";
    CocoText "coco_text_r1" "COCO text R@1";
    FlickrImage "flickr_image_r1" "Flickr30k image R@1";
    FlickrText "flickr_text_r1" "Flickr30k text R@1";
}

/// c, a, t, s, n: names in `law.toml`, prior means and standard deviations.
pub(super) const FEATURES: [(&str, f64, f64); 5] = [
    ("intercept", -0.357, 1.0),
    ("imagenet_exponent", 1.0, 0.5),
    ("text_exponent", 0.0, 0.1),
    ("samples_exponent", 0.0, 0.1),
    ("size_exponent", 0.0, 0.1),
];
/// Prior standard deviations of a data set's and a family's effect.
const DATA_SD: f64 = 0.1;
const FAMILY_SD: f64 = 0.05;
/// Standard deviation of ln(-ln r) granted to a long run: a point of recall where half is found.
const ROW_SD: f64 = 0.03;
/// Fewer runs than this make no law.
const FEWEST_RUNS: usize = 20;

/// Where features are zero.
const REFERENCE_Z: f64 = 30.0;
const FULL_TEXT: f64 = 32.0;
const REFERENCE_SAMPLES: f64 = 10e9;
const REFERENCE_SIZE: f64 = 300e6;

fn length() -> usize {
    FEATURES.len() + dataset::known().len() + Family::ALL.len()
}

/// Where the effect of a data set lies; sets of one quality share it.
pub(super) fn dataset_at(index: usize) -> usize {
    FEATURES.len() + dataset::quality_of(index)
}

/// Where the effect of a family lies.
pub(super) fn family_at(family: Family) -> usize {
    FEATURES.len() + dataset::known().len() + family.index()
}

/// The derivatives of ln(-ln r) that are not zero; `z` by the law.
fn features(subject: &Subject<'_>, z: f64) -> Gradient {
    let samples: f64 = subject.stages.iter().map(|stage| (stage.samples.0 as f64).max(1.0)).sum();
    let text = f64::from(subject.stages[0].text_tokens.0.max(1)).min(FULL_TEXT);
    let values = [
        1.0,
        (z.max(f64::MIN_POSITIVE) / REFERENCE_Z).ln(),
        (FULL_TEXT / text).ln(),
        (samples / REFERENCE_SAMPLES).ln(),
        (subject.image_parameters / REFERENCE_SIZE).ln(),
    ];
    let mut out: Gradient = values.into_iter().enumerate().collect();
    out.extend(subject.dataset.map(|index| (dataset_at(index), 1.0)));
    out.push((family_at(subject.family), 1.0));
    out
}

fn dot(theta: &[f64], features: &Gradient) -> f64 {
    features.iter().map(|(index, value)| theta[*index] * value).sum()
}

/// Recall in percent of ln(-ln r).
fn recall_percent(value: f64) -> f64 {
    100.0 * (-value.exp()).exp()
}

/// The law of one target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RetrievalLaw {
    pub(super) target: RetrievalTarget,
    /// [`FEATURES`], then data sets, then families.
    pub(super) theta: Vec<f64>,
    pub(super) width: Width,
    surroundings: Surroundings,
}

impl RetrievalLaw {
    /// From numbers and the runs that they were fitted on.
    pub(super) fn new(target: RetrievalTarget, theta: Vec<f64>, width: Width, runs: &[PublishedRun]) -> Self {
        Self { target, theta, width, surroundings: surroundings(target, runs) }
    }

    /// A vector with the numbers of `FEATURES` and none else.
    pub(super) fn without_effects(features: [f64; FEATURES.len()]) -> Vec<f64> {
        let mut theta = vec![0.0; length()];
        theta[..FEATURES.len()].copy_from_slice(&features);
        theta
    }

    fn predict(&self, subject: &Subject<'_>, z: f64) -> Spread {
        let p50 = recall_percent(dot(&self.theta, &features(subject, z)));
        let half = self.width.at(self.surroundings.standing(subject, |_| false));
        Spread { p10: (p50 - half).max(0.0), p50, p90: (p50 + half).min(100.0) }
    }
}

fn reports(target: RetrievalTarget, run: &PublishedRun) -> Option<f64> {
    run.retrieval_percent[target as usize].filter(|recall| *recall > 0.0 && *recall < 100.0)
}

fn surroundings(target: RetrievalTarget, runs: &[PublishedRun]) -> Surroundings {
    let reporting: Vec<PublishedRun> =
        runs.iter().filter(|run| reports(target, run).is_some()).cloned().collect();
    Surroundings::new(&reporting)
}

/// A run that reports the target.
struct Row<'a> {
    run: &'a PublishedRun,
    subject: Subject<'a>,
    features: Gradient,
    /// ln(-ln r) as published.
    value: f64,
    recall: f64,
    sd: f64,
    judged: bool,
    /// z by laws that have not seen the run, or its paper.
    z_left_out: f64,
    z_paper_left_out: f64,
}

/// The rows of a fit.
struct Rows<'a, 'b>(Vec<&'b Row<'a>>);

impl Problem for Rows<'_, '_> {
    fn parameters(&self) -> usize {
        length()
    }

    fn prior(&self, index: usize) -> (f64, f64) {
        match FEATURES.get(index) {
            Some((_, mean, sd)) => (*mean, *sd),
            None if index < FEATURES.len() + dataset::known().len() => (0.0, DATA_SD),
            None => (0.0, FAMILY_SD),
        }
    }

    fn residuals(&self, theta: &[f64]) -> Vec<f64> {
        self.0.iter().map(|row| (dot(theta, &row.features) - row.value) / row.sd).collect()
    }

    fn linearise(&self, theta: &[f64]) -> Vec<(f64, Gradient)> {
        self.residuals(theta)
            .into_iter()
            .zip(&self.0)
            .map(|(residual, row)| {
                (residual, row.features.iter().map(|(index, value)| (*index, value / row.sd)).collect())
            })
            .collect()
    }
}

fn solve(rows: Vec<&Row<'_>>) -> Result<solver::Solution, FitError> {
    let count = rows.len();
    let problem = Rows(rows);
    let start = (0..length()).map(|index| problem.prior(index).0).collect();
    solver::solve(&problem, start, 100).ok_or(FitError::NotConverged { rows: count })
}

/// The law of a target with what it says of every run that reports it, when it has and has not seen it; `None` where
/// too few runs do. `runs` are those of `rows`, and `residuals` what the ImageNet law says of them.
pub(super) fn fit(
    target: RetrievalTarget,
    runs: &[PublishedRun],
    rows: &[Observation<'_>],
    residuals: &[Residual],
) -> Result<Option<(RetrievalLaw, Vec<Residual>)>, FitError> {
    let z_of = |percent: f64| -100.0 * (percent.clamp(accuracy::LEAST_ACCURACY, 99.9) / 100.0).ln();
    let rows: Vec<Row<'_>> = rows
        .iter()
        .zip(residuals)
        .filter_map(|(row, residual)| {
            let recall = reports(target, row.run)?;
            Some(Row {
                run: row.run,
                subject: row.subject,
                features: features(&row.subject, z_of(residual.fitted)),
                value: (-(recall / 100.0).ln()).ln(),
                recall,
                sd: ROW_SD / worth(row.run).sqrt(),
                judged: row.judged(),
                z_left_out: z_of(residual.left_out),
                z_paper_left_out: z_of(residual.paper_left_out),
            })
        })
        .collect();
    if rows.len() < FEWEST_RUNS {
        return Ok(None);
    }
    let solution = solve(rows.iter().collect())?;
    let mut without_paper: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in &rows {
        let paper = row.run.paper.as_str();
        if !without_paper.contains_key(paper) {
            let kept = rows.iter().filter(|other| other.run.paper != paper).collect();
            without_paper.insert(paper, solve(kept)?.theta);
        }
    }
    let surroundings = surroundings(target, runs);
    let said: Vec<_> = rows
        .iter()
        .zip(&solution.weights)
        .map(|(row, weight)| {
            let fitted = dot(&solution.theta, &row.features);
            // The problem is linear, so that leaving a row out is exact but for the robust weights of the others.
            let mut gradient = vec![0.0; length()];
            for (index, value) in &row.features {
                gradient[*index] = value / row.sd;
            }
            let step = solution.curvature.solve(&gradient);
            let leverage = weight * gradient.iter().zip(&step).map(|(a, b)| a * b).sum::<f64>();
            let by = weight * (fitted - row.value) / row.sd / (1.0 - leverage).max(1e-6);
            let moved: Vec<f64> =
                solution.theta.iter().zip(&step).map(|(value, step)| value + by * step).collect();
            let left_out = recall_percent(dot(&moved, &features(&row.subject, row.z_left_out)));
            let paper = &without_paper[row.run.paper.as_str()];
            let paper_out = recall_percent(dot(paper, &features(&row.subject, row.z_paper_left_out)));
            let one = surroundings.standing(&row.subject, |index| rows[index].run.id == row.run.id);
            let of_paper =
                surroundings.standing(&row.subject, |index| rows[index].run.paper == row.run.paper);
            (recall_percent(fitted), left_out, one, paper_out, of_paper)
        })
        .collect();
    let mut misses = Vec::new();
    for (row, (_, left_out, one, paper_out, of_paper)) in rows.iter().zip(&said) {
        let paper = row.run.paper.as_str();
        misses.push((paper, Miss { standing: *one, points: (left_out - row.recall).abs() }));
        if row.judged {
            misses.push((paper, Miss { standing: *of_paper, points: (paper_out - row.recall).abs() }));
        }
    }
    let width_without = |paper: Option<&str>| {
        let kept: Vec<Miss> =
            misses.iter().filter(|(name, _)| Some(*name) != paper).map(|(_, miss)| *miss).collect();
        Width::fitted(&kept)
    };
    let width = width_without(None);
    let widths: BTreeMap<&str, Width> =
        without_paper.keys().map(|paper| (*paper, width_without(Some(*paper)))).collect();
    let all = rows
        .iter()
        .zip(&said)
        .map(|(row, (fitted, left_out, one, paper_out, of_paper))| Residual {
            id: row.run.id.clone(),
            paper: row.run.paper.clone(),
            judged: row.judged,
            observed: row.recall,
            fitted: *fitted,
            left_out: *left_out,
            left_out_half_width: width.at(*one),
            only_run_of_data: one.unknown_data,
            left_out_distance: one.distance,
            paper_left_out: *paper_out,
            paper_left_out_half_width: widths[row.run.paper.as_str()].at(*of_paper),
            paper_left_out_distance: of_paper.distance,
        })
        .collect();
    Ok(Some((RetrievalLaw { target, theta: solution.theta, width, surroundings }, all)))
}

impl Law {
    /// Recall at rank 1 in percent with its 80 % interval, for each target that the law knows; empty where no ImageNet
    /// accuracy is claimed either.
    #[must_use]
    pub fn retrieval_percent(&self, case: &Case<'_>) -> Vec<(RetrievalTarget, Spread)> {
        let Some(subject) = subject(case).filter(|_| self.predict(case).accuracy_percent.is_some()) else {
            return Vec::new();
        };
        let z = self.raw(&subject);
        self.retrieval.iter().map(|law| (law.target, law.predict(&subject, z))).collect()
    }
}
