//! Fitting the law on runs, and measuring how wrong it is on runs that it has not seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::Law;
use super::accuracy::{self, Subject};
use super::comparable::{self, Exclusion};
use super::evidence::Surroundings;
use super::interval::{self, Miss, Standing, Width};
use super::inverse::InverseLaw;
use super::parameters::{self, Coefficients, GLOBALS};
use super::range::Ranges;
use super::refine::{self, PaperSpread};
use super::retrieval::{self, RetrievalTarget};
use super::solver::{self, Gradient, Problem, Solution};
use crate::dataset;
use crate::published::PublishedRun;

/// Why no law could be fitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// Too few runs for the number of parameters.
    #[error("{found} runs that the law is meant for, but at least {needed} are needed")]
    TooFew {
        /// Runs that can be used.
        found: usize,
        /// Runs that are needed.
        needed: usize,
    },
    /// The equations could not be solved.
    #[error("the fit of {rows} runs did not converge")]
    NotConverged {
        /// Runs in the fit.
        rows: usize,
    },
}

impl FitError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooFew { .. } => {
                Some("add your runs to the published ones instead of fitting them alone".into())
            }
            Self::NotConverged { .. } => Some("look for sizes, samples or accuracies in a wrong unit".into()),
        }
    }
}

/// A law with the account of its errors.
#[derive(Clone, Debug)]
pub struct FittedLaw {
    /// The law.
    pub law: Law,
    /// Every run of the fit, in the order given, with what the law says of it when it has and has not seen it.
    pub residuals: Vec<Residual>,
    /// The retrieval laws' residuals, in percent recalled at rank 1.
    pub retrieval: Vec<(RetrievalTarget, Vec<Residual>)>,
    /// Every other run with the reason why it is not comparable, in the order given.
    pub excluded: Vec<(String, Exclusion)>,
    /// Steps that the solver took.
    pub steps: usize,
}

/// One run against the law. All in points of accuracy.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual {
    /// Row.
    pub id: String,
    /// Paper.
    pub paper: String,
    /// Whether the row is of the size that the law is judged on: at least 40 % accuracy and 250 M samples.
    pub judged: bool,
    /// Observed accuracy in percent.
    pub observed: f64,
    /// Predicted accuracy in percent by the law that has seen the run.
    pub fitted: f64,
    /// Predicted accuracy in percent by a law that has not seen the run: to first order, or fitted anew where the fit
    /// leans on the run.
    pub left_out: f64,
    /// Half the 80 % interval of that prediction.
    pub left_out_half_width: f64,
    /// Whether no other comparable run used the data set: without the run nothing is known of its quality.
    pub only_run_of_data: bool,
    /// Distance to the nearest other run, see [`super::Evidence`].
    pub left_out_distance: f64,
    /// Predicted accuracy in percent by a law that has seen nothing of the run's paper.
    pub paper_left_out: f64,
    /// Half the 80 % interval of that prediction, its width calibrated without the paper's runs as well.
    pub paper_left_out_half_width: f64,
    /// Distance to the nearest run of another paper.
    pub paper_left_out_distance: f64,
}

impl Residual {
    /// Whether the observed accuracy lies in the 80 % interval of a law that has not seen the run.
    #[must_use]
    pub fn left_out_hit(&self) -> bool {
        (self.left_out - self.observed).abs() <= self.left_out_half_width
    }

    /// Whether the observed accuracy lies in the 80 % interval of a law that has seen nothing of the paper.
    #[must_use]
    pub fn paper_left_out_hit(&self) -> bool {
        (self.paper_left_out - self.observed).abs() <= self.paper_left_out_half_width
    }
}

/// Part of the values that are true; 0 of none.
#[must_use]
pub fn share(values: impl IntoIterator<Item = bool>) -> f64 {
    let (count, hits) = values
        .into_iter()
        .fold((0.0f64, 0.0), |(count, hits), hit| (count + 1.0, hits + f64::from(u8::from(hit))));
    hits / count.max(1.0)
}

/// Mean absolute value.
#[must_use]
pub fn mean_absolute(values: impl IntoIterator<Item = f64>) -> f64 {
    let (count, sum) =
        values.into_iter().fold((0.0f64, 0.0), |(count, sum), value| (count + 1.0, sum + value.abs()));
    sum / count.max(1.0)
}

impl FittedLaw {
    /// Replaces the first-order leave-one-out predictions of the judged rows by those of laws that are each fitted
    /// anew, on `runs` without the row. `progress` hears (done, of) from any thread.
    pub fn leave_each_out_exactly(
        &mut self,
        runs: &[PublishedRun],
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(), FitError> {
        let rows = observations(runs);
        let theta = self.law.coefficients.theta();
        let judged: Vec<usize> = (0..rows.len()).filter(|&index| self.residuals[index].judged).collect();
        let done = AtomicU64::new(0);
        let exact: Vec<f64> = judged
            .par_iter()
            .map(|&index| {
                let predicted = prediction_without(&rows, theta.clone(), index)?;
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, judged.len() as u64);
                Ok(predicted)
            })
            .collect::<Result<_, FitError>>()?;
        for (index, predicted) in judged.into_iter().zip(exact) {
            self.residuals[index].left_out = predicted;
        }
        Ok(())
    }

    /// Mean absolute leave-one-out error in points over the judged rows.
    #[must_use]
    pub fn leave_one_out_error(&self) -> f64 {
        mean_absolute(self.judged().map(|row| row.left_out - row.observed))
    }

    /// Mean absolute leave-paper-out error in points over the judged rows.
    #[must_use]
    pub fn leave_paper_out_error(&self) -> f64 {
        mean_absolute(self.judged().map(|row| row.paper_left_out - row.observed))
    }

    /// Mean absolute error in points over the judged rows, by the law that has seen them.
    #[must_use]
    pub fn in_sample_error(&self) -> f64 {
        mean_absolute(self.judged().map(|row| row.fitted - row.observed))
    }

    /// Part (0 to 1) of the judged rows that lie in their own 80 % interval when left out.
    #[must_use]
    pub fn leave_one_out_coverage(&self) -> f64 {
        share(self.judged().map(Residual::left_out_hit))
    }

    /// Part (0 to 1) of the judged rows that lie in their own 80 % interval when their paper is left out.
    #[must_use]
    pub fn leave_paper_out_coverage(&self) -> f64 {
        share(self.judged().map(Residual::paper_left_out_hit))
    }

    /// The rows that the law is judged on.
    pub fn judged(&self) -> impl Iterator<Item = &Residual> {
        self.residuals.iter().filter(|row| row.judged)
    }
}

/// A run as the fit sees it.
pub(super) struct Observation<'a> {
    pub(super) run: &'a PublishedRun,
    pub(super) subject: Subject<'a>,
    /// Standard deviation in points that the fit grants the row.
    sd: f64,
}

impl Observation<'_> {
    /// Whether the row is of the size that the law is judged on.
    pub(super) fn judged(&self) -> bool {
        comparable::judged(self.run)
    }
}

/// The run as the law sees it; `None` where it lacks a size, a length or its samples.
pub(super) fn subject_of(run: &PublishedRun) -> Option<Subject<'_>> {
    Some(Subject {
        image_parameters: run.image_parameters?,
        text_parameters: run.text_parameters,
        dataset: dataset::index_of(&run.dataset),
        unique_samples: run.unique_samples.map(|samples| samples.0 as f64),
        family: run.family,
        stages: (!run.stages.is_empty()).then_some(run.stages.as_slice())?,
    })
}

/// Standard deviation in points granted to a long run: seeds (0.1 to 0.2) and what the form cannot express.
const ROW_SD: f64 = 0.6;
/// More for each e-fold of samples below a billion (at most four), and for each 10 points below 40 %: such rows
/// hold the tail of the law, loosely.
const SHORT_SD: f64 = 0.4;
const LOW_SD: f64 = 0.3;

/// Standard deviation in points that the fit grants a run.
fn granted_sd(run: &PublishedRun) -> f64 {
    let short = interval::shortness(run.samples_seen().0 as f64).min(4.0);
    let low = ((comparable::JUDGED_ACCURACY - run.accuracy_percent) / 10.0).max(0.0);
    ROW_SD + SHORT_SD * short + LOW_SD * low
}

/// What a run counts for beside a long one (1): the square of the ratio of their standard deviations.
pub(super) fn worth(run: &PublishedRun) -> f64 {
    (ROW_SD / granted_sd(run)).powi(2)
}

/// The runs that the law is fitted on.
pub(super) fn observations(runs: &[PublishedRun]) -> Vec<Observation<'_>> {
    runs.iter()
        .filter(|run| comparable::exclusion(run).is_none())
        .filter_map(|run| Some(Observation { run, subject: subject_of(run)?, sd: granted_sd(run) }))
        .collect()
}

/// The rows of a fit; those held out are in no sum.
struct Rows<'a, 'b> {
    rows: &'b [Observation<'a>],
    held_out: &'b [bool],
}

impl<'a, 'b> Rows<'a, 'b> {
    fn kept(&self) -> impl Iterator<Item = &'b Observation<'a>> {
        self.rows.iter().zip(self.held_out).filter(|(_, held_out)| !**held_out).map(|(row, _)| row)
    }
}

impl Problem for Rows<'_, '_> {
    fn parameters(&self) -> usize {
        parameters::length()
    }

    fn prior(&self, index: usize) -> (f64, f64) {
        parameters::prior(index)
    }

    fn residuals(&self, theta: &[f64]) -> Vec<f64> {
        let c = Coefficients::new(theta);
        self.kept().map(|row| residual(&c, row)).collect()
    }

    fn linearise(&self, theta: &[f64]) -> Vec<(f64, Gradient)> {
        let moved = Moved::around(theta);
        let c = Coefficients::new(theta);
        self.kept().map(|row| (residual(&c, row), moved.gradient(row))).collect()
    }
}

fn predicted(c: &Coefficients, subject: &Subject<'_>) -> f64 {
    accuracy::accuracy_percent(accuracy::raw(c, subject))
}

fn residual(c: &Coefficients, row: &Observation<'_>) -> f64 {
    (predicted(c, &row.subject) - row.run.accuracy_percent) / row.sd
}

/// Coefficients moved a little along every axis, for numeric derivatives.
struct Moved(Vec<(Coefficients, Coefficients)>);

impl Moved {
    const STEP: f64 = 1e-5;

    fn around(theta: &[f64]) -> Self {
        let moved = |index: usize, by: f64| {
            let mut theta = theta.to_vec();
            theta[index] += by;
            Coefficients::new(&theta)
        };
        Self((0..theta.len()).map(|index| (moved(index, Self::STEP), moved(index, -Self::STEP))).collect())
    }

    /// A row depends on the globals, its own data set and its own family.
    fn gradient(&self, row: &Observation<'_>) -> Gradient {
        let family = parameters::family_at(row.subject.family);
        let sets = row.subject.dataset.map(parameters::dataset_at).into_iter().flat_map(|at| [at, at + 1]);
        (0..GLOBALS.len())
            .chain(sets)
            .chain(std::iter::once(family))
            .map(|index| {
                let (up, down) = &self.0[index];
                (index, (residual(up, row) - residual(down, row)) / (2.0 * Self::STEP))
            })
            .collect()
    }
}

const MOST_STEPS: usize = 200;

fn solve(rows: &[Observation<'_>], held_out: &[bool], start: Vec<f64>) -> Result<Solution, FitError> {
    let kept = held_out.iter().filter(|held_out| !**held_out).count();
    let needed = GLOBALS.len();
    if kept < needed {
        return Err(FitError::TooFew { found: kept, needed });
    }
    solver::solve(&Rows { rows, held_out }, start, MOST_STEPS).ok_or(FitError::NotConverged { rows: kept })
}

/// The prior means, where every fit starts.
fn start() -> Vec<f64> {
    (0..parameters::length()).map(|index| parameters::prior(index).0).collect()
}

/// What a law fitted without the runs that `held_out` names says of every row.
fn predictions_without(
    rows: &[Observation<'_>],
    start: Vec<f64>,
    held_out: impl Fn(&PublishedRun) -> bool,
) -> Result<Vec<f64>, FitError> {
    let held_out: Vec<bool> = rows.iter().map(|row| held_out(row.run)).collect();
    let c = Coefficients::new(&solve(rows, &held_out, start)?.theta);
    Ok(rows.iter().map(|row| predicted(&c, &row.subject)).collect())
}

/// What a law fitted without row `index` says of it.
fn prediction_without(rows: &[Observation<'_>], start: Vec<f64>, index: usize) -> Result<f64, FitError> {
    let mut held_out = vec![false; rows.len()];
    held_out[index] = true;
    // One row moves the optimum little: a few steps from there arrive to a hundredth of a point.
    let solution = solver::solve(&Rows { rows, held_out: &held_out }, start, FEW_STEPS)
        .ok_or(FitError::NotConverged { rows: rows.len() - 1 })?;
    let c = Coefficients::new(&solution.theta);
    Ok(predicted(&c, &rows[index].subject))
}

/// Steps of a fit that only lacks one row.
const FEW_STEPS: usize = 3;

/// Above this leverage the first order is no longer good enough.
const MOST_LEVERAGE: f64 = 0.4;

/// Fits the law on `runs`: the most probable parameters under their priors and a robust loss, the intervals from
/// what it misses when a run or its whole paper is left out, and the inverse scaling law from the ablations
/// among them. The same runs give the same law, bit for bit.
pub fn fit(runs: &[PublishedRun]) -> Result<FittedLaw, FitError> {
    let rows = observations(runs);
    let solution = solve(&rows, &vec![false; rows.len()], start())?;
    let c = Coefficients::new(&solution.theta);
    let surroundings = Surroundings::new(runs);

    // Leave-one-out to first order: a row with leverage h moves its own prediction by h times its residual. A row
    // that much depends on, such as the only run on a data set, is left out by fitting anew.
    let moved = Moved::around(&solution.theta);
    let left_out: Vec<f64> = rows
        .par_iter()
        .zip(&solution.weights)
        .enumerate()
        .map(|(index, (row, weight))| {
            let mut gradient = vec![0.0; solution.theta.len()];
            for (index, value) in moved.gradient(row) {
                gradient[index] = value;
            }
            let leverage = weight * solution.curvature.inverse_form(&gradient);
            if leverage > MOST_LEVERAGE {
                return prediction_without(&rows, solution.theta.clone(), index);
            }
            Ok(row.run.accuracy_percent + residual(&c, row) * row.sd / (1.0 - leverage))
        })
        .collect::<Result<_, FitError>>()?;

    let mut papers: Vec<&str> = rows.iter().map(|row| row.run.paper.as_str()).collect();
    papers.sort_unstable();
    papers.dedup();
    let without: Vec<Vec<f64>> = papers
        .par_iter()
        .map(|paper| predictions_without(&rows, solution.theta.clone(), |run| run.paper == *paper))
        .collect::<Result<_, _>>()?;
    let by_paper: BTreeMap<&str, Vec<f64>> = papers.into_iter().zip(without).collect();

    let standing = |row: &Observation<'_>, skip: &dyn Fn(&PublishedRun) -> bool| {
        surroundings.standing(&row.subject, |index| skip(rows[index].run))
    };
    let standings: Vec<(Standing, Standing)> = rows
        .iter()
        .map(|row| {
            let one = standing(row, &|run| run.id == row.run.id);
            (one, standing(row, &|run| run.paper == row.run.paper))
        })
        .collect();
    let mut misses = Vec::new();
    for (index, (row, &(one, paper))) in rows.iter().zip(&standings).enumerate() {
        let observed = row.run.accuracy_percent;
        let paper_name = row.run.paper.as_str();
        misses.push((paper_name, Miss { standing: one, points: (left_out[index] - observed).abs() }));
        // Nearly all short runs are in one paper; without it the law has no short end at all, which is not how
        // it is used.
        if row.judged() {
            let without_paper = by_paper[paper_name][index];
            misses.push((paper_name, Miss { standing: paper, points: (without_paper - observed).abs() }));
        }
    }
    // A width for every paper that has seen nothing of it either, so that coverage is not judged on the misses
    // that the width was fitted on.
    let fitted_without = |paper: Option<&str>| {
        let kept: Vec<Miss> =
            misses.iter().filter(|(name, _)| Some(*name) != paper).map(|(_, miss)| *miss).collect();
        Width::fitted(&kept)
    };
    let width = fitted_without(None);
    let paper_widths: BTreeMap<&str, Width> =
        by_paper.par_iter().map(|(paper, _)| (*paper, fitted_without(Some(*paper)))).collect();

    let residuals: Vec<Residual> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let (one, paper) = standings[index];
            let run = row.run;
            Residual {
                id: run.id.clone(),
                paper: run.paper.clone(),
                judged: row.judged(),
                observed: run.accuracy_percent,
                fitted: predicted(&c, &row.subject),
                left_out: left_out[index],
                left_out_half_width: width.at(one),
                only_run_of_data: one.unknown_data,
                left_out_distance: one.distance,
                paper_left_out: by_paper[run.paper.as_str()][index],
                paper_left_out_half_width: paper_widths[run.paper.as_str()].at(paper),
                paper_left_out_distance: paper.distance,
            }
        })
        .collect();
    let ranges = Ranges::of(&rows);
    let of_paper: Vec<Vec<f64>> = by_paper
        .iter()
        .map(|(paper, without)| {
            rows.iter()
                .zip(without)
                .filter(|(row, _)| row.judged() && row.run.paper == *paper)
                .filter_map(|(row, predicted)| refine::residual(*predicted, row.run.accuracy_percent))
                .collect()
        })
        .collect();
    let (mut retrieval_laws, mut retrieval) = (Vec::new(), Vec::new());
    for target in RetrievalTarget::ALL {
        if let Some((law, said)) = retrieval::fit(target, runs, &rows, &residuals)? {
            retrieval_laws.push(law);
            retrieval.push((target, said));
        }
    }
    let law = Law {
        coefficients: c,
        width,
        surroundings,
        ranges,
        inverse: InverseLaw::fitted(runs)?,
        paper_spread: PaperSpread::of(&of_paper),
        retrieval: retrieval_laws,
        error_multiplier: 1.0,
    };
    let excluded =
        runs.iter().filter_map(|run| Some((run.id.clone(), comparable::exclusion(run)?))).collect();
    Ok(FittedLaw { law, residuals, retrieval, excluded, steps: solution.steps })
}

/// Predictions in percent for `runs` by a law fitted on those for which `held_out` is false: id, observed,
/// predicted, for the held-out ones only.
pub fn hold_out(
    runs: &[PublishedRun],
    held_out: impl Fn(&PublishedRun) -> bool,
) -> Result<Vec<(String, f64, f64)>, FitError> {
    let rows = observations(runs);
    let predictions = predictions_without(&rows, start(), &held_out)?;
    Ok(rows
        .iter()
        .zip(predictions)
        .filter(|(row, _)| held_out(row.run))
        .map(|(row, predicted)| (row.run.id.clone(), row.run.accuracy_percent, predicted))
        .collect())
}
