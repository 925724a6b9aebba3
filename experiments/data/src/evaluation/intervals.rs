//! How far a measured rate can be from the true one: 95 % intervals.

use crate::streams::Stream;

/// The normal distribution's 97.5 % point.
const Z: f64 = 1.959_963_984_540_054;
/// Draws of a bootstrap.
const DRAWS: usize = 1_000;

/// A 95 % interval of a fraction of 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// One in forty falls below.
    pub low: f64,
    /// One in forty falls above.
    pub high: f64,
}

/// Wilson's score interval of `hits` in `samples` (Wilson 1927): (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 +
/// z²/n). Without samples nothing is known: 0 to 1.
#[must_use]
pub fn wilson(hits: u64, samples: u64) -> Interval {
    if samples == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, p) = (samples as f64, hits as f64 / samples as f64);
    let centre = p + Z * Z / (2.0 * n);
    let reach = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    Interval { low: ((centre - reach) / whole).max(0.0), high: ((centre + reach) / whole).min(1.0) }
}

/// Interval of the mean over classes of hits / samples, by drawing each class's images again with replacement
/// (percentile bootstrap, 1,000 draws, the same every time). Classes without samples are left out.
#[must_use]
pub fn bootstrap_mean_recall(classes: &[(u64, u64)]) -> Interval {
    let seen: Vec<(u64, u64)> = classes.iter().copied().filter(|(_, samples)| *samples > 0).collect();
    if seen.is_empty() {
        return Interval { low: 0.0, high: 1.0 };
    }
    let mut means: Vec<f64> = (0..DRAWS)
        .map(|draw| {
            let mut stream = Stream::new(0, "bootstrap", draw as u64);
            let sum: f64 = seen
                .iter()
                .map(|&(hits, samples)| {
                    let chance = hits as f64 / samples as f64;
                    let drawn = (0..samples).filter(|_| stream.unit() < chance).count();
                    drawn as f64 / samples as f64
                })
                .sum();
            sum / seen.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Interval { low: means[DRAWS / 40], high: means[DRAWS - 1 - DRAWS / 40] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `statsmodels.stats.proportion.proportion_confint(hits, n, method="wilson")`.
    #[test]
    fn wilson_is_the_published_interval() {
        for (hits, samples, low, high) in [
            (8, 10, 0.490_162_3, 0.943_317_6),
            (0, 20, 0.0, 0.161_125_2),
            (508, 1_414, 0.334_724_7, 0.384_629_8),
        ] {
            let interval = wilson(hits, samples);
            assert!((interval.low - low).abs() < 2e-4, "{interval:?} is not {low}");
            assert!((interval.high - high).abs() < 2e-4, "{interval:?} is not {high}");
        }
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn the_bootstrap_is_about_the_normal_interval() {
        // 50 classes of 40 images, half of them found: standard error sqrt(0.25 / 2000) = 0.0112.
        let interval = bootstrap_mean_recall(&[(20, 40); 50]);
        assert!((interval.low - (0.5 - Z * 0.0112)).abs() < 0.004, "{interval:?}");
        assert!((interval.high - (0.5 + Z * 0.0112)).abs() < 0.004, "{interval:?}");
        assert_eq!(bootstrap_mean_recall(&[(3, 3), (0, 0)]), Interval { low: 1.0, high: 1.0 });
    }
}
