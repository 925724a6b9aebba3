//! A quantity that is not known exactly: its median with an 80 % interval.

use serde::{Deserialize, Serialize};

use crate::recipe::Interval;
use crate::units::{Hours, Usd};

/// The standard normal's 90 % quantile: how many standard deviations lie between median and P90.
pub const Z90: f64 = 1.281_551_565_544_600_4;

/// Median with an 80 % interval; `p10 <= p50 <= p90`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread<T = f64> {
    /// One in ten falls below.
    pub p10: T,
    /// Median.
    pub p50: T,
    /// One in ten falls above.
    pub p90: T,
}

impl<T> Spread<T> {
    /// The same change to all three; `change` must keep their order.
    pub fn map<U>(self, change: impl Fn(T) -> U) -> Spread<U> {
        Spread { p10: change(self.p10), p50: change(self.p50), p90: change(self.p90) }
    }
}

impl<T: Copy> Spread<T> {
    /// Known exactly.
    pub const fn exact(value: T) -> Self {
        Self { p10: value, p50: value, p90: value }
    }
}

impl<T: Copy + std::ops::Add<Output = T>> Spread<T> {
    /// Sum of two quantities that are high together and low together (hours of two stages on the same
    /// machine): then quantiles add. For independent quantities it overstates the interval, never understates.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { p10: self.p10 + other.p10, p50: self.p50 + other.p50, p90: self.p90 + other.p90 }
    }
}

impl Spread<f64> {
    /// Around `p50`, with `p10 = p50 x low` and `p90 = p50 x high`.
    #[must_use]
    pub fn around(p50: f64, low: f64, high: f64) -> Self {
        Self { p10: p50 * low, p50, p90: p50 * high }
    }

    /// `numerator / self`: the low becomes the high (hours from a rate).
    #[must_use]
    pub fn dividing(self, numerator: f64) -> Self {
        Self { p10: numerator / self.p90, p50: numerator / self.p50, p90: numerator / self.p10 }
    }

    /// The value that a fraction `probability` falls below, by a log-normal with its own width on each side
    /// of the median (all three positive), or a plain median when the spread is empty.
    #[must_use]
    pub fn quantile(self, probability: f64) -> f64 {
        let z = standard_normal_quantile(probability);
        if self.p50 <= 0.0 || z == 0.0 {
            return self.p50;
        }
        let side = if z < 0.0 { self.p50 / self.p10 } else { self.p90 / self.p50 };
        self.p50 * (side.ln() * z / Z90).exp()
    }
}

impl From<Spread<f64>> for Interval {
    fn from(spread: Spread<f64>) -> Self {
        Self { p10: spread.p10, p50: spread.p50, p90: spread.p90 }
    }
}

impl From<Interval> for Spread<f64> {
    fn from(interval: Interval) -> Self {
        Self { p10: interval.p10, p50: interval.p50, p90: interval.p90 }
    }
}

impl Spread<Usd> {
    /// See [`Spread::quantile`]; rounded to the nearest micro-dollar.
    #[must_use]
    pub fn quantile(self, probability: f64) -> Usd {
        Usd::from_dollars(self.map(Usd::dollars).quantile(probability))
    }
}

impl Spread<Hours> {
    /// See [`Spread::quantile`].
    #[must_use]
    pub fn quantile(self, probability: f64) -> Hours {
        Hours(self.map(|hours| hours.0).quantile(probability))
    }
}

/// Inverse of the standard normal distribution function, Acklam's rational approximation (relative error
/// below 1.2e-9). Probabilities are clamped to [1e-9, 1 - 1e-9].
#[must_use]
pub fn standard_normal_quantile(probability: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    let p = if probability.is_nan() { 0.5 } else { probability.clamp(1e-9, 1.0 - 1e-9) };
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / (polynomial(&D, q) * q + 1.0)
    };
    if p < 0.02425 {
        tail(p)
    } else if p > 1.0 - 0.02425 {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        let r = q * q;
        polynomial(&A, r) * q / (polynomial(&B, r) * r + 1.0)
    }
}

/// The standard normal distribution function, by Abramowitz and Stegun's 7.1.26 (absolute error below 8e-8).
#[must_use]
pub fn standard_normal_cdf(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let upper = 0.5 * polynomial * (-x * x).exp();
    if z < 0.0 { upper } else { 1.0 - upper }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_quantiles_match_the_tables() {
        for (p, z) in [(0.5, 0.0), (0.9, Z90), (0.1, -Z90), (0.975, 1.959_963_985), (0.001, -3.090_232_306)] {
            assert!((standard_normal_quantile(p) - z).abs() < 1e-6, "{p}");
        }
    }

    #[test]
    fn the_distribution_function_undoes_the_quantile() {
        for p in [0.001, 0.1, 0.5, 0.8, 0.9, 0.999] {
            assert!((standard_normal_cdf(standard_normal_quantile(p)) - p).abs() < 2e-7, "{p}");
        }
    }

    #[test]
    fn quantiles_pass_through_the_three_given_points() {
        let spread = Spread { p10: 50.0, p50: 100.0, p90: 300.0 };
        for (p, value) in [(0.1, 50.0), (0.5, 100.0), (0.9, 300.0)] {
            assert!((spread.quantile(p) - value).abs() < 1e-5, "{p}");
        }
        assert!(spread.quantile(0.7) > 100.0 && spread.quantile(0.7) < 300.0);
        assert_eq!(Spread::exact(0.0).quantile(0.9), 0.0);
    }

    #[test]
    fn a_slow_rate_makes_a_long_time() {
        let hours = Spread { p10: 1.0, p50: 2.0, p90: 4.0 }.dividing(8.0);
        assert_eq!(hours, Spread { p10: 2.0, p50: 4.0, p90: 8.0 });
    }
}
