//! Hours and dollars of published runs against a speed model that was fitted without them.

use super::Score;
use crate::published::{self, HoursBasis, PublishedRun};
use crate::spread::Spread;
use crate::time::{PublishedSpeed, SpeedModel, published_speeds};
use crate::units::{Hours, Samples, Usd};

/// Where only a rate was published, hours are those of this many samples.
pub const RATE_SAMPLES: Samples = Samples(1_000_000_000);

/// One published run or speed.
#[derive(Clone, Debug, PartialEq)]
pub struct HoursRow {
    /// Row of `runs.csv`, or of `throughput.csv` where only a rate was published.
    pub id: String,
    /// Paper or group.
    pub paper: String,
    /// Device model.
    pub accelerator: String,
    /// Devices in all.
    pub devices: u32,
    /// Samples that the hours are for, fine-tuning included.
    pub samples: Samples,
    /// Where the published hours come from; `None`: from a published rate.
    pub basis: Option<HoursBasis>,
    /// Device hours as published.
    pub reported: Hours,
    /// Device hours by a model fitted without the row: neither its speed nor its spread.
    pub predicted: Spread<Hours>,
    /// Median by a model that has seen no run of the architecture.
    pub architecture_left_out: Hours,
    /// Median by a model that has seen nothing of the paper.
    pub paper_left_out: Hours,
    /// Dollars as published.
    pub reported_cost: Option<Usd>,
    /// The predicted hours at the row's own price; `None` where it has no price.
    pub predicted_cost: Option<Spread<Usd>>,
}

impl HoursRow {
    /// Whether the published hours lie in the 80 % interval.
    #[must_use]
    pub fn hit(&self) -> bool {
        (self.predicted.p10.0..=self.predicted.p90.0).contains(&self.reported.0)
    }

    /// (predicted - reported) / reported, in percent.
    #[must_use]
    pub fn error_percent(&self) -> f64 {
        relative_percent(self.predicted.p50.0, self.reported.0)
    }

    /// The same for dollars.
    #[must_use]
    pub fn cost_error_percent(&self) -> Option<f64> {
        Some(relative_percent(self.predicted_cost?.p50.dollars(), self.reported_cost?.dollars()))
    }
}

fn relative_percent(predicted: f64, reported: f64) -> f64 {
    100.0 * (predicted / reported - 1.0)
}

/// Every published run with hours or a speed, in the order of `throughput.csv`; fine-tuned totals behind the rows
/// that they are made of.
#[must_use]
pub fn hours() -> Vec<HoursRow> {
    let speeds = published_speeds();
    let mut ids: Vec<&str> = Vec::new();
    let mut out = Vec::new();
    for speed in speeds {
        if speed.published_runs.is_empty() && speed.samples().0 == 1 {
            out.push(row(&[speed], speed.run.clone(), None));
        }
        for id in &speed.published_runs {
            let Some(run) = published::find(id).filter(|_| !ids.contains(&id.as_str())) else { continue };
            ids.push(id);
            let parts: Vec<&PublishedSpeed> =
                speeds.iter().filter(|speed| speed.published_runs.contains(id)).collect();
            out.push(row(&parts, id.clone(), Some(run)));
        }
    }
    out
}

/// `parts` are the measured pieces whose hours add up to the row's.
fn row(parts: &[&PublishedSpeed], id: String, run: Option<&PublishedRun>) -> HoursRow {
    let without = |hidden: &dyn Fn(&PublishedSpeed) -> bool| {
        let kept: Vec<PublishedSpeed> =
            published_speeds().iter().filter(|speed| !hidden(speed)).cloned().collect();
        SpeedModel::fit(&kept)
    };
    let of = |model: &SpeedModel| {
        parts.iter().map(|part| model.predicted_hours(part)).fold(Spread::exact(Hours(0.0)), Spread::plus)
    };
    let first = parts[0];
    // Rows of one name are the same set-up at another time.
    let row_out = without(&|speed| parts.iter().any(|part| part.run == speed.run));
    let architecture_out = without(&|speed| speed.architecture.name == first.architecture.name);
    let paper_out = without(&|speed| speed.paper == first.paper);
    let rate_only = first.samples().0 == 1;
    let scale = if rate_only { RATE_SAMPLES.0 as f64 } else { 1.0 };
    let times = |hours: Hours| Hours(hours.0 * scale);
    let predicted = of(&row_out).map(times);
    let price = run.and_then(|run| run.usd_per_hour);
    HoursRow {
        id,
        paper: first.paper.clone(),
        accelerator: first.accelerator.name.clone(),
        devices: first.devices,
        samples: if rate_only { RATE_SAMPLES } else { parts.iter().map(|part| part.samples()).sum() },
        basis: run.and_then(|run| run.hours_basis),
        reported: times(Hours::from_seconds(parts.iter().map(|part| part.device_seconds).sum())),
        predicted,
        architecture_left_out: times(of(&architecture_out).p50),
        paper_left_out: times(of(&paper_out).p50),
        reported_cost: run.and_then(|run| run.cost),
        predicted_cost: price.map(|price| predicted.map(|hours| price.per_hour_for(hours))),
    }
}

/// Errors in percent of the reported hours.
pub fn score<'a>(rows: impl IntoIterator<Item = &'a HoursRow>) -> Score {
    Score::of(rows.into_iter().map(|row| (row.error_percent(), row.hit())))
}

/// Mean absolute error in percent of the reported hours where the whole paper was left out.
pub fn score_without<'a>(
    rows: impl IntoIterator<Item = &'a HoursRow>,
    of: impl Fn(&HoursRow) -> Hours,
) -> Score {
    Score::of(rows.into_iter().map(|row| (relative_percent(of(row).0, row.reported.0), false)))
}
