//! What a report is made from.

use std::path::PathBuf;

use shoestring_planner::recipe::Interval;
use shoestring_planner::units::Usd;

/// Everything a report is made from. Every list may be empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Run directories, in the order in which they are shown.
    pub runs: Vec<PathBuf>,
    /// What the planner expects for more and less money, on `ImageNet`.
    pub frontier: Vec<FrontierPoint>,
    /// In words, what the frontier was computed for (machine, price, data).
    pub frontier_context: String,
    /// Published CLIP runs whose cost is known.
    pub published: Vec<PublishedPoint>,
    /// Budgets drawn as lines.
    pub budgets: Vec<Usd>,
    /// In words, as of when prices and facts hold. Never the current time, so that reports compare equal.
    pub as_of: String,
    /// Where the numbers come from, listed at the end of the page.
    pub sources: Vec<SourceNote>,
}

/// One plan on the frontier of cost and accuracy.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontierPoint {
    /// The plan in a few words: `H/14, 70 px then 224 px`.
    pub label: String,
    /// Its expected cost.
    pub cost_usd: Usd,
    /// Its expected zero-shot top-1 accuracy on `ImageNet` in percent, with the 80 % interval.
    pub accuracy_percent: Interval,
}

/// A published run with its cost.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedPoint {
    /// The run in a few words: `CLIPA-v2 H/14, 84 px`.
    pub label: String,
    /// Where it was published.
    pub paper: String,
    /// What its authors say it cost.
    pub cost_usd: Usd,
    /// Zero-shot top-1 accuracy on `ImageNet` in percent.
    pub accuracy_percent: f64,
}

/// Where a number comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNote {
    /// The number or the set of numbers.
    pub what: String,
    /// Where it is from, with its date.
    pub source: String,
}

/// One picture in both of its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// SVG document, 1200 px wide.
    pub svg: String,
    /// PNG file of the same size.
    pub png: Vec<u8>,
}

/// Points of accuracy lost against tokens kept: input of [`crate::drop_picture`].
#[derive(Clone, Debug, PartialEq)]
pub struct DropChart {
    /// Name of the chart.
    pub id: String,
    /// Its title.
    pub title: String,
    /// A sentence for those who cannot see it.
    pub caption: String,
    /// What is on the logarithmic x axis, with its unit.
    pub length: String,
    /// What the marks are, for the legend.
    pub published: String,
    /// One for each encoder size, at most six.
    pub series: Vec<DropSeries>,
}

/// An encoder size.
#[derive(Clone, Debug, PartialEq)]
pub struct DropSeries {
    /// Encoder with its size.
    pub label: String,
    /// The law: tokens and points lost, by tokens.
    pub curve: Vec<(f64, f64)>,
    /// What was published: tokens and points lost.
    pub published: Vec<(f64, f64)>,
}

/// Predicted against reported: input of [`crate::backtest_picture`].
#[derive(Clone, Debug, PartialEq)]
pub struct BackTestChart {
    /// What is predicted.
    pub quantity: BackTestQuantity,
    /// Its title.
    pub title: String,
    /// A sentence for those who cannot see it.
    pub caption: String,
    /// Papers, at most six.
    pub groups: Vec<BackTestGroup>,
}

/// What a back-test predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackTestQuantity {
    /// ImageNet zero-shot accuracy in percent, on linear axes.
    Accuracy,
    /// Device hours, on logarithmic axes.
    DeviceHours,
}

/// The runs of a paper.
#[derive(Clone, Debug, PartialEq)]
pub struct BackTestGroup {
    /// The paper.
    pub label: String,
    /// Its runs.
    pub points: Vec<BackTestPoint>,
}

/// A run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackTestPoint {
    /// As published.
    pub reported: f64,
    /// Median.
    pub predicted: f64,
    /// The 80 % interval, where it is to be drawn.
    pub interval: Option<(f64, f64)>,
}
