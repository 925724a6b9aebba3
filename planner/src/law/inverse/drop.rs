//! One law for every ablation, fitted together with those that shorten the same sequence.
//!
//! With N̂ = image-tower parameters / 86 M, u = tokens / full length and a reduction's own k, a and b, an encoder's
//! points of one ablation are
//!
//! ```text
//! drop in points = k N̂^-a (u^-b - 1) + e + noise
//! ```
//!
//! e is the encoder's own deviation in the ablation: all its drops are counted from one full-length run, whose noise
//! they share, together with what the form misses of that encoder. A drop is the difference of two runs, so half of
//! its variance is the full-length run's, which is the prior of e; no law that is printed or planned with contains
//! it. Reductions of one sequence are alike: their exponents are drawn around a common mean.

use super::super::fit::FitError;
use super::super::solver::{self, Gradient, Problem};
use super::published::Drop;

/// Image-tower parameters of N̂ = 1.
const REFERENCE_SIZE: f64 = 86e6;
/// Standard deviation in points of one run, what seeds make of it included: a drop of two runs has 0.25.
const RUN_SD: f64 = 0.25 * std::f64::consts::FRAC_1_SQRT_2;
/// Priors: mean and standard deviation of ln k, of the mean of a, and of the mean of ln b (whose own mean is the
/// group's).
const SCALE: (f64, f64) = (-0.223, 1.5);
const SIZE_EXPONENT: (f64, f64) = (0.2, 0.3);
const LENGTH_EXPONENT_SD: f64 = 0.7;
/// How far a reduction's a and ln b lie from the means of its group.
const OWN_SIZE_EXPONENT_SD: f64 = 0.1;
const OWN_LENGTH_EXPONENT_SD: f64 = 0.3;

/// k, a and b of one reduction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct DropLaw {
    pub(in super::super) scale: f64,
    pub(in super::super) size_exponent: f64,
    pub(in super::super) length_exponent: f64,
}

impl DropLaw {
    /// Points lost when `part` (0 to 1) of the sequence is kept.
    pub(super) fn points(self, image_parameters: f64, part: f64) -> f64 {
        let size = (image_parameters / REFERENCE_SIZE).max(f64::MIN_POSITIVE);
        let part = part.clamp(f64::MIN_POSITIVE, 1.0);
        self.scale * size.powf(-self.size_exponent) * (part.powf(-self.length_exponent) - 1.0)
    }
}

/// Ablations that shorten the same sequence, each with its drops.
pub(super) struct Group {
    ablations: Vec<Vec<Drop>>,
    /// Prior mean of b.
    length_exponent: f64,
    /// Ablation and encoder of every deviation.
    encoders: Vec<(usize, f64)>,
}

/// Laws of a group in its order, with each encoder's deviation.
pub(super) struct GroupLaws {
    pub(super) laws: Vec<DropLaw>,
    deviations: Vec<(usize, f64, f64)>,
}

impl GroupLaws {
    /// What the law and the encoder's deviation make of a drop in ablation `index`; no deviation is known of an
    /// encoder that was not in the fit.
    pub(super) fn points(&self, index: usize, drop: &Drop) -> f64 {
        let own = self
            .deviations
            .iter()
            .find(|(ablation, size, _)| *ablation == index && *size == drop.image_parameters)
            .map_or(0.0, |(_, _, points)| *points);
        self.laws[index].points(drop.image_parameters, drop.part) + own
    }
}

/// Common means, before the reductions' own numbers.
const MEANS: usize = 2;
/// ln k, a and ln b, the latter two as differences from the means.
const OWN: usize = 3;

impl Group {
    /// `length_exponent`: prior mean of b.
    pub(super) fn new(ablations: Vec<Vec<Drop>>, length_exponent: f64) -> Self {
        let mut encoders = Vec::new();
        for (index, drops) in ablations.iter().enumerate() {
            for drop in drops {
                if !encoders.contains(&(index, drop.image_parameters)) {
                    encoders.push((index, drop.image_parameters));
                }
            }
        }
        Self { ablations, length_exponent, encoders }
    }

    /// Without the drops that `hidden` names by ablation and position in it.
    pub(super) fn without(&self, hidden: impl Fn(usize, usize, &Drop) -> bool) -> Self {
        let kept = self
            .ablations
            .iter()
            .enumerate()
            .map(|(index, drops)| {
                drops
                    .iter()
                    .enumerate()
                    .filter(|(position, drop)| !hidden(index, *position, drop))
                    .map(|(_, drop)| *drop)
                    .collect()
            })
            .collect();
        Self::new(kept, self.length_exponent)
    }

    /// The most probable laws.
    pub(super) fn fitted(&self) -> Result<GroupLaws, FitError> {
        let rows = self.ablations.iter().map(Vec::len).sum();
        let mut start = vec![0.0; self.parameters()];
        for (index, value) in start.iter_mut().enumerate() {
            *value = self.prior(index).0;
        }
        let theta = solver::solve(self, start, 200).ok_or(FitError::NotConverged { rows })?.theta;
        let laws = (0..self.ablations.len()).map(|index| Self::law(&theta, index)).collect();
        let first = self.first_deviation();
        let deviations = self
            .encoders
            .iter()
            .zip(&theta[first..])
            .map(|(&(ablation, size), &points)| (ablation, size, points))
            .collect();
        Ok(GroupLaws { laws, deviations })
    }

    fn first_deviation(&self) -> usize {
        MEANS + OWN * self.ablations.len()
    }

    fn law(theta: &[f64], index: usize) -> DropLaw {
        let own = &theta[MEANS + OWN * index..];
        DropLaw {
            scale: own[0].exp(),
            size_exponent: theta[0] + own[1],
            length_exponent: (theta[1] + own[2]).exp(),
        }
    }

    /// Every drop with its ablation and where its encoder's deviation lies.
    fn rows(&self) -> impl Iterator<Item = (usize, usize, &Drop)> {
        let first = self.first_deviation();
        self.ablations.iter().enumerate().flat_map(move |(index, drops)| {
            drops.iter().filter_map(move |drop| {
                let at = self.encoders.iter().position(|found| *found == (index, drop.image_parameters))?;
                Some((index, first + at, drop))
            })
        })
    }

    fn residual(theta: &[f64], index: usize, deviation: usize, drop: &Drop) -> f64 {
        let predicted = Self::law(theta, index).points(drop.image_parameters, drop.part) + theta[deviation];
        (predicted - drop.points) / RUN_SD
    }
}

impl Problem for Group {
    fn parameters(&self) -> usize {
        self.first_deviation() + self.encoders.len()
    }

    fn prior(&self, index: usize) -> (f64, f64) {
        if index < MEANS {
            return [SIZE_EXPONENT, (self.length_exponent.ln(), LENGTH_EXPONENT_SD)][index];
        }
        if index >= self.first_deviation() {
            return (0.0, RUN_SD);
        }
        [SCALE, (0.0, OWN_SIZE_EXPONENT_SD), (0.0, OWN_LENGTH_EXPONENT_SD)][(index - MEANS) % OWN]
    }

    fn residuals(&self, theta: &[f64]) -> Vec<f64> {
        self.rows().map(|(index, deviation, drop)| Self::residual(theta, index, deviation, drop)).collect()
    }

    fn linearise(&self, theta: &[f64]) -> Vec<(f64, Gradient)> {
        const STEP: f64 = 1e-6;
        self.rows()
            .map(|(index, deviation, drop)| {
                let at = |theta: &[f64]| Self::residual(theta, index, deviation, drop);
                let own = MEANS + OWN * index;
                let gradient = (0..MEANS)
                    .chain(own..own + OWN)
                    .chain([deviation])
                    .map(|moved| {
                        let (mut up, mut down) = (theta.to_vec(), theta.to_vec());
                        up[moved] += STEP;
                        down[moved] -= STEP;
                        (moved, (at(&up) - at(&down)) / (2.0 * STEP))
                    })
                    .collect();
                (at(theta), gradient)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_encoder_shares_is_not_taken_for_the_law() {
        // Points of a known law; the small encoder's full-length run was 0.3 points too good.
        let truth = DropLaw { scale: 0.6, size_exponent: 0.25, length_exponent: 0.85 };
        let drops: Vec<Drop> = [22e6, 86e6, 303e6, 631e6]
            .into_iter()
            .flat_map(|image_parameters| {
                [0.5, 0.25, 0.18, 0.08].map(|part| Drop {
                    image_parameters,
                    part,
                    points: truth.points(image_parameters, part)
                        + if image_parameters < 30e6 { 0.3 } else { 0.0 },
                })
            })
            .collect();
        let group = Group::new(vec![drops.clone()], 0.9);
        let laws = group.fitted().expect("solved");
        let small = |part| laws.laws[0].points(22e6, part) - truth.points(22e6, part);
        assert!(small(0.25).abs() < 0.15 && small(0.08).abs() < 0.25, "{:?}", laws.laws);
        for drop in &drops {
            assert!((laws.points(0, drop) - drop.points).abs() < 0.2, "{drop:?}");
        }
        // A hidden point does not move what is said of it.
        let hidden = group.without(|_, position, _| position == 2).fitted().expect("solved");
        let mut altered = drops.clone();
        altered[2].points += 5.0;
        let again = Group::new(vec![altered], 0.9).without(|_, position, _| position == 2);
        assert_eq!(again.fitted().expect("solved").points(0, &drops[2]), hidden.points(0, &drops[2]));
    }

    #[test]
    fn an_ablation_without_points_follows_its_group() {
        let truth = DropLaw { scale: 0.6, size_exponent: 0.05, length_exponent: 1.2 };
        let drops: Vec<Drop> = [22e6, 86e6, 303e6]
            .into_iter()
            .flat_map(|image_parameters| {
                [0.5, 0.25, 0.1].map(|part| Drop {
                    image_parameters,
                    part,
                    points: truth.points(image_parameters, part),
                })
            })
            .collect();
        let laws = Group::new(vec![drops, Vec::new()], 0.9).fitted().expect("solved").laws;
        assert!((laws[1].size_exponent - laws[0].size_exponent).abs() < 0.1, "{laws:?}");
        assert!(laws[1].size_exponent < 0.15 && laws[1].length_exponent > 1.0, "{laws:?}");
    }
}
