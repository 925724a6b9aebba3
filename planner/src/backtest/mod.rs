//! How wrong the planner has been: every published run predicted by laws that have not seen it.
//!
//! Nothing here is fitted on what it reports. Accuracy: each run by a law without the run, and by one without its
//! paper ([`crate::law::fit`]). Hours: by a speed model without the run ([`hours`]). The inverse scaling law: each
//! point of CLIPA's ablations by a law without the point ([`crate::law::inverse::Ablation`]).

pub mod accuracy;
pub mod hours;
mod json;
mod table;
mod text;
pub mod unseen;

use self::accuracy::ClipaV2Row;
use self::hours::HoursRow;
pub use self::json::comparable_object;
pub use self::table::{COLUMNS, Line};
pub use self::text::comparable_words;
use crate::law::comparable;
use crate::law::fit::{self, FitError, FittedLaw};
use crate::law::inverse::{Ablation, AblationPoint};
use crate::published::PublishedRun;

/// Every back-test of one table of runs.
#[derive(Clone, Debug)]
pub struct BackTest {
    /// The law with what it says of every comparable run, and which runs are not comparable.
    pub fitted: FittedLaw,
    /// Whether `left_out` of every judged row is by a fit of its own, instead of to first order.
    pub exact: bool,
    /// CLIPA-v2, left out altogether.
    pub clipa_v2: Vec<ClipaV2Row>,
    /// Hours and dollars.
    pub hours: Vec<HoursRow>,
    /// The inverse scaling law on CLIPA's ablations.
    pub inverse: Vec<(Ablation, Vec<AblationPoint>)>,
}

impl BackTest {
    /// Runs them all. `exact`: leave-one-out by fitting anew for every judged run, which takes about a minute,
    /// instead of to first order for most (a row with leverage h moves its own prediction by h times its residual).
    /// `progress` hears (done, of) now and then, from any thread.
    pub fn run(
        runs: &[PublishedRun],
        exact: bool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Self, FitError> {
        let counts = |run: &&PublishedRun| comparable::exclusion(run).is_none() && comparable::judged(run);
        let judged = runs.iter().filter(counts).count() as u64;
        let all = if exact { 3 + judged } else { 3 };
        progress(0, all);
        let mut fitted = fit::fit(runs)?;
        progress(1, all);
        let clipa_v2 = accuracy::clipa_v2(runs)?;
        progress(2, all);
        if exact {
            fitted.leave_each_out_exactly(runs, &|done, _| progress(2 + done, all))?;
        }
        let inverse = Ablation::all()
            .into_iter()
            .map(|ablation| Ok((ablation, ablation.back_test(runs)?)))
            .filter(|pair: &Result<(_, Vec<_>), FitError>| !pair.as_ref().is_ok_and(|pair| pair.1.is_empty()))
            .collect::<Result<_, _>>()?;
        let back_test = Self { fitted, exact, clipa_v2, hours: hours::hours(), inverse };
        progress(all, all);
        Ok(back_test)
    }
}

/// Errors of a number of predictions, in the unit of the errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Predictions.
    pub rows: usize,
    /// Mean absolute error.
    pub mae: f64,
    /// Mean error, predicted - reported: positive is too high.
    pub bias: f64,
    /// Part (0 to 1) within the 80 % interval.
    pub coverage: f64,
}

impl Score {
    /// Of (predicted - reported, whether the interval holds the reported value). All 0 of nothing.
    pub fn of(errors: impl IntoIterator<Item = (f64, bool)>) -> Self {
        let mut sum = Self::default();
        for (error, hit) in errors {
            sum.rows += 1;
            sum.mae += error.abs();
            sum.bias += error;
            sum.coverage += f64::from(u8::from(hit));
        }
        let count = (sum.rows as f64).max(1.0);
        Self { mae: sum.mae / count, bias: sum.bias / count, coverage: sum.coverage / count, ..sum }
    }
}

#[cfg(test)]
mod tests;
