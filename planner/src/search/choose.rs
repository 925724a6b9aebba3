//! Which plan is taken: the most accurate, and among those that the law cannot tell from it the one nearest to
//! published evidence.

use std::f64::consts::SQRT_2;
use std::sync::LazyLock;

use super::candidate::{Candidate, short_name};
use super::error::SearchError;
use super::rough::Rough;
use super::space::Space;
use crate::law::LAW_TOML;
use crate::memory::largest_microbatch;
use crate::units::{Hours, Usd};

/// Plans this near to a published run, in the law's distance (1: four times the encoder, tokens or samples), count
/// as that run but for rounding: a factor of 1.2 in one of them.
pub const NEAR: f64 = 0.13;
/// Up to here a plan lies close to published runs, and up to there within their reach; beyond, nothing published speaks
/// for it.
const CLOSE: f64 = 0.5;
const IN_REACH: f64 = 1.0;
/// Where no accuracy is claimed, plans whose raw errors differ by less than this part are tied. Assumed: the law was
/// never tried there.
pub(super) const RELATIVE_TIE: f64 = 0.15;
/// Candidates that are computed exactly: those that are roughly within this many points of the best beyond a tie, at
/// most so many.
const ROUGHNESS_POINTS: f64 = 0.75;
const MOST_FINALISTS: usize = 240;
/// A machine whose samples (or price, where they are pinned) are within this of the best one's is computed exactly too.
const NEARLY: f64 = 0.98;
const MOST_NEARBY: usize = 4;

/// How much published evidence there is near a plan; less is better evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    /// A published run but for rounding.
    Published,
    /// Close to one.
    Close,
    /// Within reach of one.
    InReach,
    /// Far from all.
    Far,
}

impl Nearness {
    pub(super) fn of(candidate: &Candidate) -> Self {
        match candidate.prediction.distance {
            distance if distance <= NEAR => Self::Published,
            distance if distance <= CLOSE => Self::Close,
            distance if distance <= IN_REACH => Self::InReach,
            _ => Self::Far,
        }
    }
}

/// What the search decided.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The plan taken.
    pub(super) chosen: Candidate,
    /// The most accurate one, by however little.
    pub(super) best: Candidate,
    /// How many plans are tied, the chosen one included; shapes, not machines.
    pub(super) tied: usize,
    /// Differences below this many points are ties.
    pub(super) tolerance: f64,
    /// The shape that was chosen.
    pub(super) chosen_shape: usize,
    /// Every shape, roughly.
    pub(super) roughs: Vec<Rough>,
    /// The shapes near the best, exactly.
    pub(super) finalists: Vec<(usize, Candidate)>,
}

/// The law's mean absolute error on runs that it had not seen, in points.
pub(super) fn law_error_points() -> f64 {
    static POINTS: LazyLock<f64> = LazyLock::new(|| {
        let table: Option<toml::Table> = toml::from_str(LAW_TOML).ok();
        let stored = table.and_then(|table| table.get("leave_one_out_error_points")?.as_float());
        // Twice the noise between seeds (0.1 to 0.2 points), should a law ever come without it.
        stored.unwrap_or(0.4)
    });
    *POINTS
}

impl Space<'_> {
    /// Points of error within which plans are tied: the mean absolute error of a difference of two predictions, which
    /// is the square root of two times that of one while their errors are independent.
    pub(super) fn tolerance(&self, best_error: f64) -> f64 {
        if self.training.known && best_error < 99.0 {
            SQRT_2 * law_error_points()
        } else {
            RELATIVE_TIE * best_error
        }
    }

    /// The best plan for a budget.
    pub(super) fn decide(&self, budget: Usd) -> Result<Outcome, SearchError> {
        let roughs = self.look(budget);
        let finalists = self.finalists(&roughs, budget);
        let Some(best) = finalists.iter().min_by(|a, b| error(a).total_cmp(&error(b))) else {
            return Err(self.nothing(&roughs, budget));
        };
        let tolerance = self.tolerance(error(best));
        let tied: Vec<&(usize, Candidate)> =
            finalists.iter().filter(|finalist| error(finalist) <= error(best) + tolerance).collect();
        // On data that the law does not know, form is the only evidence: published short-token pretraining ends with
        // a stage at full length.
        let evidence = |finalist: &(usize, Candidate)| {
            if self.training.known {
                Nearness::of(&finalist.1)
            } else if self.ends_at_full_length(finalist.0) {
                Nearness::Close
            } else {
                Nearness::Far
            }
        };
        let chosen = tied
            .iter()
            .copied()
            .min_by(|a, b| evidence(a).cmp(&evidence(b)).then(error(a).total_cmp(&error(b))))
            .unwrap_or(best);
        let tied = tied.len();
        let (chosen_shape, chosen) = (chosen.0, self.with_evidence(chosen.1.clone()));
        let best = self.with_evidence(best.1.clone());
        Ok(Outcome { chosen, best, tied, tolerance, chosen_shape, roughs, finalists })
    }

    fn ends_at_full_length(&self, shape: usize) -> bool {
        let shape = &self.shapes[shape];
        let last = shape.tuning.last().map_or(shape.pretraining.image_size_px, |tuning| tuning.image_size_px);
        last >= shape.architecture.vision_cfg.image_size
    }

    /// The feasible candidates near the best, exactly; with the index of their shape.
    fn finalists(&self, roughs: &[Rough], budget: Usd) -> Vec<(usize, Candidate)> {
        let mut found: Vec<(usize, Candidate)> = Vec::new();
        let mut limit = f64::INFINITY;
        for rough in roughs.iter().filter(|rough| rough.feasible) {
            if rough.error > limit || found.len() >= MOST_FINALISTS {
                break;
            }
            let Some(candidate) = self.exact_nearby(rough, budget) else { continue };
            if found.is_empty() {
                let beyond = if self.training.known { ROUGHNESS_POINTS } else { RELATIVE_TIE * rough.error };
                limit = rough.error + self.tolerance(rough.error) + beyond;
            }
            found.push((rough.shape, candidate));
        }
        if found.is_empty() {
            // A rough cost that is a little too high hides what just fits.
            let mut cheap: Vec<&Rough> = roughs.iter().filter(|rough| !rough.feasible).collect();
            cheap.sort_by(|a, b| a.usd.total_cmp(&b.usd));
            found.extend(
                cheap
                    .into_iter()
                    .take(40)
                    .filter_map(|rough| Some((rough.shape, self.exact(rough, budget, false)?))),
            );
        }
        found
    }

    /// A shape exactly, on the best of the machines that the rough look cannot tell apart.
    fn exact_nearby(&self, rough: &Rough, budget: Usd) -> Option<Candidate> {
        let candidates = self.nearby(rough, budget, NEARLY, MOST_NEARBY).into_iter();
        candidates.filter_map(|other| self.exact(&other, budget, false)).min_by(|a, b| {
            let cost = |candidate: &Candidate| candidate.cost_at(self.request.confidence);
            a.prediction.error_percent.total_cmp(&b.prediction.error_percent).then(cost(a).cmp(&cost(b)))
        })
    }

    /// Says what stands in the way, with the number that does not fit.
    fn nothing(&self, roughs: &[Rough], budget: Usd) -> SearchError {
        let fail = |reason: String, hint: String| SearchError::NoFeasiblePlan { budget, reason, hint };
        let Some(cheapest) = roughs.iter().min_by(|a, b| a.usd.total_cmp(&b.usd)) else {
            return self.nothing_fits(budget);
        };
        // Whatever time allows, what is the least that must be paid?
        let least = self
            .look(Usd::ZERO)
            .into_iter()
            .min_by(|a, b| a.usd.total_cmp(&b.usd))
            .and_then(|rough| self.exact_at_least(&rough));
        let Some(least) = least else { return self.nothing_fits(budget) };
        let needed = least.cost_at(self.request.confidence).dollars() / self.usable;
        if needed > budget.dollars() {
            let what = match self.request.samples {
                Some(samples) => format!("{samples} samples cost at least {} USD", money_up(needed)),
                None => format!("the smallest useful plan costs {} USD", money_up(needed)),
            };
            let reason = format!(
                "{what} ({} on {}, {} samples)",
                least.short_name(),
                least.machine.label(),
                least.stages[0].stage.samples
            );
            let hint = format!("the smallest useful budget with this hardware is {} USD", money_up(needed));
            return fail(reason, hint);
        }
        let deadline = self.deadline.unwrap_or(Hours(f64::INFINITY));
        let quickest = self.quickest(budget).unwrap_or((Hours(cheapest.usd), cheapest.shape));
        let reason = format!(
            "nothing is done within {deadline}: the quickest that the money pays takes {} ({})",
            quickest.0,
            short_name(self.shapes[quickest.1].architecture)
        );
        fail(reason, "give it more time, more accelerators (--gpus), or faster ones".to_owned())
    }

    fn nothing_fits(&self, budget: Usd) -> SearchError {
        let shape = &self.shapes[0];
        let machine = &self.machines.list[0];
        let work = shape.works()[0];
        let way = self.way(shape, super::schedule::FEWEST_USEFUL_SAMPLES, u32::MAX);
        let batch = way.map_or(super::schedule::SMALLEST_BATCH, |way| way.batch);
        let (image, text) = (work.image_tokens, work.text_tokens);
        let accelerator = machine.offer.accelerator;
        let fit = largest_microbatch(shape.architecture, image, text, accelerator, machine.devices(), batch);
        let (reason, hint) = match fit {
            Err(error) => (error.to_string(), error.hint().unwrap_or_default()),
            Ok(_) => ("no stages can be made of this request".to_owned(), "leave more of it open".to_owned()),
        };
        SearchError::NoFeasiblePlan { budget, reason, hint }
    }
}

fn error(finalist: &(usize, Candidate)) -> f64 {
    finalist.1.prediction.error_percent
}

/// Dollars rounded up to two digits, so that the budget that is named is enough.
fn money_up(dollars: f64) -> Usd {
    let unit = 10f64.powf(dollars.max(1e-6).log10().floor() - 1.0);
    Usd::from_dollars((dollars / unit).ceil() * unit)
}
