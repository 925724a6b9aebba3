//! Axes: from values to a share of the axis' length, and round numbers to mark on it.

use crate::words::{decimal, significant};

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// What is on it, with its unit.
    pub(super) title: String,
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Values are divided by this before they are printed (`1e6`: millions).
    unit: f64,
}

/// A marked value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    /// Empty: a grid line without a number.
    pub(super) label: String,
}

impl Axis {
    /// A linear axis over at least `low..high`, grown to round numbers.
    pub(super) fn linear(title: impl Into<String>, low: f64, high: f64) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        let step = round_step((high - low) / 5.0);
        let low = (low / step + 1e-9).floor() * step;
        let high = (high / step - 1e-9).ceil() * step;
        Self { title: title.into(), low, high, logarithmic: false, unit: 1.0 }
    }

    /// A linear axis over exactly `low..high`.
    pub(super) fn exact(title: impl Into<String>, low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { title: title.into(), low, high, logarithmic: false, unit: 1.0 }
    }

    /// A logarithmic axis over `low..high`, both above zero, of at least one decade.
    pub(super) fn logarithmic(title: impl Into<String>, low: f64, high: f64) -> Self {
        let (mut low, mut high) = (low, high.max(low));
        if high < 10.0 * low {
            let middle = (low * high).sqrt();
            (low, high) = (middle / 10f64.sqrt(), middle * 10f64.sqrt());
        }
        Self { title: title.into(), low, high, logarithmic: true, unit: 1.0 }
    }

    /// The axis of a number of samples, in thousands, millions or billions where that reads better.
    pub(super) fn samples(high: f64) -> Self {
        let (unit, name) = match high {
            high if high >= 1e10 => (1e9, ", billions"),
            high if high >= 1e7 => (1e6, ", millions"),
            high if high >= 1e5 => (1e3, ", thousands"),
            _ => (1.0, ""),
        };
        Self { unit, ..Self::exact(format!("Samples seen{name}"), 0.0, high) }
    }

    /// The axis of a duration given in hours, in the unit that reads best.
    pub(super) fn hours(what: &str, high: f64) -> Self {
        let (unit, name) = match high {
            high if high >= 96.0 => (24.0, "days"),
            high if high >= 2.0 => (1.0, "hours"),
            high if high >= 2.0 / 60.0 => (1.0 / 60.0, "minutes"),
            _ => (1.0 / 3600.0, "seconds"),
        };
        Self { unit, ..Self::exact(format!("{what}, {name}"), 0.0, high) }
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    pub(super) fn share(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Whether the value lies on the axis.
    pub(super) fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    pub(super) fn low(&self) -> f64 {
        self.low
    }

    pub(super) fn high(&self) -> f64 {
        self.high
    }

    /// About `count` marks at round numbers, in order.
    pub(super) fn ticks(&self, count: usize) -> Vec<Tick> {
        if self.logarithmic { self.decades(count) } else { self.steps(count) }
    }

    fn steps(&self, count: usize) -> Vec<Tick> {
        let (low, high) = (self.low / self.unit, self.high / self.unit);
        let step = round_step((high - low) / count.max(1) as f64);
        let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
        // 2.5 needs a digit more than its decade.
        let decimals = if decimal_part(step * 10f64.powi(decimals as i32)) { decimals + 1 } else { decimals };
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        (first..=last)
            .map(|index| {
                let value = index as f64 * step;
                Tick { value: value * self.unit, label: decimal(value, decimals) }
            })
            .collect()
    }

    fn decades(&self, count: usize) -> Vec<Tick> {
        let decades = (self.high / self.low).log10();
        // Decades always carry a number; 2 and 5 do when there is room; the rest are lines only.
        let labelled: &[i32] = if 3.0 * decades <= count as f64 { &[1, 2, 5] } else { &[1] };
        let every = (decades / count.max(1) as f64).ceil().max(1.0) as i32;
        let mut ticks = Vec::new();
        for exponent in self.low.log10().floor() as i32..=self.high.log10().ceil() as i32 {
            for digit in 1..10 {
                let value = f64::from(digit) * 10f64.powi(exponent);
                if !self.holds(value) || (every > 1 && digit > 1) {
                    continue;
                }
                let shown = labelled.contains(&digit) && exponent.rem_euclid(every) == 0;
                let label = if shown { significant(value / self.unit) } else { String::new() };
                ticks.push(Tick { value, label });
            }
        }
        ticks
    }
}

fn decimal_part(value: f64) -> bool {
    (value - value.round()).abs() > 1e-6
}

/// The next of 1, 2, 2.5, 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 2.5, 5.0].into_iter().find(|digit| digit * power >= step * (1.0 - 1e-9));
    digit.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, count: usize) -> Vec<String> {
        axis.ticks(count).into_iter().map(|tick| tick.label).filter(|label| !label.is_empty()).collect()
    }

    #[test]
    fn linear_marks_are_round_and_grouped() {
        assert_eq!(
            labels(&Axis::linear("", 0.0, 9_700.0), 5),
            ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]
        );
        assert_eq!(
            labels(&Axis::exact("", 0.0, 0.011), 5),
            ["0.0000", "0.0025", "0.0050", "0.0075", "0.0100"]
        );
        assert_eq!(labels(&Axis::linear("", 3.0, 3.0), 4), ["2.5", "3.0", "3.5"]);
        assert_eq!(labels(&Axis::samples(12.8e9), 4), ["0", "5", "10"]);
    }

    #[test]
    fn logarithmic_marks_are_decades_and_fill_in_when_there_is_room() {
        assert_eq!(labels(&Axis::logarithmic("", 90.0, 200_000.0), 6), ["100", "1,000", "10,000", "100,000"]);
        assert_eq!(labels(&Axis::logarithmic("", 4e3, 5e4), 6), ["5,000", "10,000", "20,000", "50,000"]);
        // A single value still gets an axis.
        assert_eq!(labels(&Axis::logarithmic("", 5.0, 5.0), 6), ["2", "5", "10"]);
    }

    #[test]
    fn values_map_to_shares() {
        let axis = Axis::logarithmic("", 1.0, 100.0);
        assert!((axis.share(10.0) - 0.5).abs() < 1e-12);
        assert!((Axis::exact("", 2.0, 6.0).share(3.0) - 0.25).abs() < 1e-12);
    }
}
