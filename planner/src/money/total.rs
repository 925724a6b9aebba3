//! The total as one distribution. Lines that are the same hours at the same speed (device time, evaluation, storage
//! while the run lasts) are high together: their quantiles add. Set-up, writing checkpoints and interruptions vary by
//! themselves: they are summed as independent quantities, by a sum over the quantiles of their own total.

use crate::spread::{Spread, standard_normal_cdf, standard_normal_quantile};

/// Points of the independent part; the shared part's distribution function is exact.
const POINTS: usize = 12;
/// Newton steps, bisected where one leaves its bracket; a relative step below `CLOSE` ends them.
const STEPS: usize = 30;
const CLOSE: f64 = 1e-7;

/// Hours that vary together and hours that vary by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Hours2 {
    /// Sum of the lines that are high together.
    pub(super) shared: Spread,
    /// Sum of the others, see [`sum_of_independent`].
    pub(super) own: Spread,
}

/// The sum of independent quantities as a spread: medians add, deviations of each side add as squares. Exact for
/// normal quantities; for skewed ones as good as their two-sided log-normal form is.
pub(super) fn sum_of_independent(parts: &[Spread]) -> Spread {
    let (mut p50, mut low, mut high) = (0.0, 0.0, 0.0);
    for part in parts {
        p50 += part.p50;
        low += (part.p50 - part.p10).powi(2);
        high += (part.p90 - part.p50).powi(2);
    }
    // A log-normal side has no width where it would reach zero.
    let least = parts.iter().fold(f64::INFINITY, |least, part| least.min(part.p10)).max(0.0);
    Spread { p10: (p50 - low.sqrt()).max(least.min(p50)), p50, p90: p50 + high.sqrt() }
}

/// Probability that a two-sided log-normal spread is at most `value`, and its density there; see [`Spread::quantile`].
fn below(spread: Spread, [low, high]: [f64; 2], value: f64) -> (f64, f64) {
    if value <= 0.0 {
        return (0.0, 0.0);
    }
    let width = if value < spread.p50 { low } else { high };
    if width <= 1e-12 {
        return (if value >= spread.p50 { 1.0 } else { 0.0 }, 0.0);
    }
    let z = (value / spread.p50).ln() / width;
    let density = (-0.5 * z * z).exp() / (SQRT_2_PI * width * value);
    (standard_normal_cdf(z), density)
}

/// The square root of 2 pi.
const SQRT_2_PI: f64 = 2.506_628_274_631_000_5;

impl Hours2 {
    /// The value that the total stays below with this probability.
    pub(super) fn quantile(&self, probability: f64) -> f64 {
        let shared = self.shared.quantile(probability);
        if self.own.p90 <= 0.0 {
            return shared;
        }
        if self.shared.p90 <= self.shared.p10 * (1.0 + 1e-9) {
            return self.shared.p50 + self.own.quantile(probability);
        }
        let mut points = [0.0; POINTS];
        for (index, point) in points.iter_mut().enumerate() {
            *point = spread_at(self.own, OWN_NORMALS[index]);
        }
        let widths = [self.shared.p50 / self.shared.p10, self.shared.p90 / self.shared.p50]
            .map(|side| side.ln() / crate::spread::Z90);
        let at = |total: f64| {
            points.iter().fold((0.0, 0.0), |(probability, density), own| {
                let (p, d) = below(self.shared, widths, total - own);
                (probability + p / POINTS as f64, density + d / POINTS as f64)
            })
        };
        // The sum lies between both at their least and both at their most.
        let (mut low, mut high) = (shared + points[0], shared + points[POINTS - 1]);
        let mut total = shared + points.iter().sum::<f64>() / POINTS as f64;
        for _ in 0..STEPS {
            let (here, density) = at(total);
            if here < probability {
                low = total
            } else {
                high = total
            }
            let next = total + (probability - here) / density.max(f64::MIN_POSITIVE);
            let next = if next > low && next < high { next } else { 0.5 * (low + high) };
            let close = (next - total).abs() <= CLOSE * total;
            total = next;
            if close {
                break;
            }
        }
        total
    }
}

fn spread_at(spread: Spread, normal: f64) -> f64 {
    let side = if normal < 0.0 { spread.p50 / spread.p10 } else { spread.p90 / spread.p50 };
    spread.p50 * (side.ln() * normal / crate::spread::Z90).exp()
}

/// Standard normal quantiles at the middles of [`POINTS`] equal parts.
static OWN_NORMALS: std::sync::LazyLock<[f64; POINTS]> = std::sync::LazyLock::new(|| {
    std::array::from_fn(|index| standard_normal_quantile((index as f64 + 0.5) / POINTS as f64))
});
