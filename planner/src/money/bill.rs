//! The bill: its lines, and its sum as a distribution.

use serde::Serialize;

use super::total::Hours2;
use crate::source::Source;
use crate::spread::Spread;
use crate::time::StageTime;
use crate::units::{Hours, Usd};

/// One line of the bill.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostLine {
    /// What is paid for.
    pub what: String,
    /// Wall-clock hours that it adds.
    pub hours: Spread<Hours>,
    /// Dollars.
    pub usd: Spread<Usd>,
    /// Where the figure is from.
    pub source: Source,
}

/// One stage's part.
#[derive(Clone, Debug, PartialEq)]
pub struct StageCost {
    /// The stage's name.
    pub name: String,
    /// Time and speed.
    pub time: StageTime,
    /// Device time's cost.
    pub usd: Spread<Usd>,
}

/// The bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// One line for each stage's device time, then set-up, checkpoints, evaluation, idle, interruptions, fallback,
    /// extras, and what the median of the sum lies above the sum of the medians.
    pub lines: Vec<CostLine>,
    /// The stages, in order.
    pub stages: Vec<StageCost>,
    /// Sum of the lines, as one distribution: those that are the same hours at the same speed are high together, set-up,
    /// checkpoints and interruptions vary by themselves ([`Cost::at_confidence`]). The medians of the lines add up to its
    /// median.
    pub total: Spread<Usd>,
    /// Wall-clock hours of everything.
    pub hours: Spread<Hours>,
    /// Accelerators in all; device hours = hours x devices.
    pub devices: u32,
    /// Time between checkpoints that was reckoned with.
    pub checkpoint_interval: Hours,
    /// Where the price is from.
    pub price_source: Source,
    /// What the reader should know: what binds, what was assumed.
    pub notes: Vec<String>,
    pub(super) distribution: Hours2,
    pub(super) rate: Usd,
    pub(super) extras: Spread<Usd>,
}

impl Cost {
    /// Accelerator hours of the stages' training alone, as publications count them.
    #[must_use]
    pub fn training_device_hours(&self) -> Spread<Hours> {
        let hours =
            self.stages.iter().fold(Spread::exact(Hours(0.0)), |sum, stage| sum.plus(stage.time.hours));
        hours.map(|hours| Hours(hours.0 * f64::from(self.devices)))
    }

    /// The amount that the cost stays below with at least this probability: hours that vary together at that quantile,
    /// those that vary by themselves as independent of them, at the price; storage goes with the hours.
    #[must_use]
    pub fn at_confidence(&self, confidence: f64) -> Usd {
        if confidence == 0.5 {
            return self.total.p50;
        }
        self.rate.per_hour_for(Hours(self.distribution.quantile(confidence)))
            + self.extras.quantile(confidence)
    }

    /// Probability that everything costs at most `usd`: [`Cost::at_confidence`] the other way round.
    #[must_use]
    pub fn probability_within(&self, usd: Usd) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..30 {
            let middle = 0.5 * (low + high);
            if self.at_confidence(middle) <= usd { low = middle } else { high = middle }
        }
        low
    }

    /// The wall-clock hours that are not exceeded with this probability.
    #[must_use]
    pub fn hours_at_confidence(&self, confidence: f64) -> Hours {
        if confidence == 0.5 { self.hours.p50 } else { Hours(self.distribution.quantile(confidence)) }
    }
}
