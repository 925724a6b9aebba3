//! The 80 % interval: how wide residuals of left-out runs are, the wider the farther the nearest published run.

/// Half-width in points = base + `per_distance` x distance + `per_short` x shortness, and on top `unknown_data` where no
/// run was trained on the data set and `unknown_family` where none follows the recipe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Width {
    /// At a published run.
    pub(super) base: f64,
    /// For each unit of distance to the nearest run.
    pub(super) per_distance: f64,
    /// For each e-fold of samples below a billion.
    pub(super) per_short: f64,
    /// Once, where nothing is known of the data set's quality.
    pub(super) unknown_data: f64,
    /// Once, where no run follows the recipe family.
    pub(super) unknown_family: f64,
}

/// Samples below which a run counts as short, where the law is looser.
const LONG_RUN: f64 = 1e9;
/// Part of left-out runs that an interval contains.
pub(super) const COVERAGE: f64 = 0.8;

/// ln(1e9 / samples), at least 0.
pub(super) fn shortness(samples: f64) -> f64 {
    (LONG_RUN / samples.max(1.0)).ln().max(0.0)
}

/// Where a prediction stands towards the runs that the law has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    /// Distance to the nearest of them.
    pub(super) distance: f64,
    /// [`shortness`] of the training.
    pub(super) shortness: f64,
    /// Whether none of them was trained on the same data set.
    pub(super) unknown_data: bool,
    /// Whether none of them follows the same recipe family.
    pub(super) unknown_family: bool,
}

/// A left-out run and how many points the law missed it by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Miss {
    pub(super) standing: Standing,
    pub(super) points: f64,
}

impl Width {
    /// Half-width in points.
    pub(super) fn at(self, standing: Standing) -> f64 {
        self.base
            + self.per_distance * standing.distance
            + self.per_short * standing.shortness
            + if standing.unknown_data { self.unknown_data } else { 0.0 }
            + if standing.unknown_family { self.unknown_family } else { 0.0 }
    }

    fn from_array([base, per_distance, per_short, unknown_data, unknown_family]: [f64; 5]) -> Self {
        Self { base, per_distance, per_short, unknown_data, unknown_family }
    }

    /// The widths whose pinball loss at [`COVERAGE`] is least: 80 % of left-out runs lie within, near and far.
    /// A pattern search over the five numbers, none of them negative.
    pub(super) fn fitted(misses: &[Miss]) -> Self {
        let loss = |candidate: [f64; 5]| -> f64 {
            let width = Self::from_array(candidate);
            misses
                .iter()
                .map(|miss| {
                    let over = miss.points - width.at(miss.standing);
                    if over > 0.0 { COVERAGE * over } else { (COVERAGE - 1.0) * over }
                })
                .sum()
        };
        let mut best = [1.0, 1.0, 0.5, 1.0, 1.0];
        let mut least = loss(best);
        let mut step = 0.5;
        while step > 1e-4 {
            let mut moved = false;
            // Along each axis, and along each pair of axes against each other.
            for (up, down) in (0..5).flat_map(|up| (0..5).map(move |down| (up, down))) {
                for sign in [step, -step] {
                    let mut candidate = best;
                    candidate[up] += sign;
                    if up != down {
                        candidate[down] -= sign;
                    }
                    let candidate = candidate.map(|value| value.max(0.0));
                    let value = loss(candidate);
                    if value < least - 1e-12 {
                        (best, least, moved) = (candidate, value, true);
                    }
                }
            }
            if !moved {
                step *= 0.5;
            }
        }
        Self::from_array(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_follows_what_was_missed() {
        let at = |distance| Standing { distance, shortness: 0.0, unknown_data: false, unknown_family: false };
        let misses: Vec<Miss> = (0..1000)
            .map(|index| {
                let distance = f64::from(index % 10) / 5.0;
                // Misses spread evenly from 0 to 1 + distance: 80 % lie within 0.8 (1 + distance).
                let points = (1.0 + distance) * (f64::from(index / 10) + 0.5) / 100.0;
                Miss { standing: at(distance), points }
            })
            .collect();
        let width = Width::fitted(&misses);
        assert!((width.at(at(0.0)) - 0.8).abs() < 0.03, "{width:?}");
        assert!((width.at(at(1.0)) - 1.6).abs() < 0.03, "{width:?}");
    }
}
