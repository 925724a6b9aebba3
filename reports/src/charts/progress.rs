//! Accuracy over samples seen, one chart a data set, with what guessing would reach.

use std::collections::{BTreeMap, HashSet};

use super::Draft;
use super::axis::Axis;
use super::frame::{Entry, Form, Frame, Swatch};
use super::scene::{Color, Dash, Scene, Shape};
use crate::read::RunRecord;
use crate::words::{counted, percent, slug, unique};

/// More lines than this in one chart cannot be told apart: further runs go to the next chart.
const LINES: usize = 6;

/// A data set and its number of classes: the same name with another number of classes is another task.
type Task<'a> = (&'a str, Option<u64>);

struct Series<'a> {
    label: &'a str,
    /// Samples seen and percent.
    points: Vec<(f64, f64)>,
}

/// The charts of all data sets that were evaluated.
pub(super) fn all(runs: &[RunRecord]) -> Vec<Draft> {
    let mut datasets: BTreeMap<Task, Vec<Series>> = BTreeMap::new();
    for run in runs {
        let mut of_run: BTreeMap<Task, Vec<(f64, f64)>> = BTreeMap::new();
        for row in &run.evaluations {
            if let Some(accuracy) = row.accuracy_percent() {
                let points = of_run.entry((row.dataset.as_str(), row.classes)).or_default();
                points.push((row.samples_seen as f64, accuracy));
            }
        }
        for (dataset, points) in of_run {
            datasets.entry(dataset).or_default().push(Series { label: &run.label, points });
        }
    }
    let mut taken = HashSet::new();
    let mut drafts = Vec::new();
    for ((dataset, classes), series) in &datasets {
        let chance = classes.filter(|&classes| classes > 0).map(|classes| 100.0 / classes as f64);
        let parts = series.len().div_ceil(LINES);
        for (index, part) in series.chunks(LINES).enumerate() {
            let id = unique(format!("accuracy-over-samples-{}", slug(dataset)), &mut taken);
            let which = if parts > 1 { format!(" ({} of {parts})", index + 1) } else { String::new() };
            let title = format!("Accuracy over samples seen: {dataset} zero-shot{which}");
            let caption = caption(dataset, *classes, chance, part);
            // The parts share their axes, so that they can be compared.
            let extent = extent(series, chance);
            let chart = |form: Form, title: &str| lay_out(form, title, chance, part, extent);
            drafts.push(Draft::new(id, title, caption, chart));
        }
    }
    drafts
}

fn caption(dataset: &str, classes: Option<u64>, chance: Option<f64>, series: &[Series]) -> String {
    let ends: Vec<String> = series
        .iter()
        .filter_map(|one| Some(format!("{} {}", one.label, percent(one.points.last()?.1))))
        .collect();
    let guessing = match (classes, chance) {
        (Some(classes), Some(chance)) => {
            let classes = counted(classes as usize, "class", "classes");
            format!(" Guessing among {classes} would reach {}.", percent(chance))
        }
        _ => String::new(),
    };
    format!(
        "Zero-shot top-1 accuracy on {dataset} at each evaluation; at the last one: {}.{guessing}",
        ends.join(", ")
    )
}

/// The most samples and the best accuracy of all series.
fn extent(series: &[Series], chance: Option<f64>) -> (f64, f64) {
    let values = || series.iter().flat_map(|one| one.points.iter().copied());
    let most = values().map(|point| point.0).fold(1.0, f64::max);
    (most, values().map(|point| point.1).chain(chance).fold(1.0, f64::max))
}

fn lay_out(
    form: Form,
    title: &str,
    chance: Option<f64>,
    series: &[Series],
    (most, best): (f64, f64),
) -> Scene {
    let mut legend: Vec<Entry> = series
        .iter()
        .enumerate()
        .map(|(index, one)| {
            Entry::new(Swatch::LineAndMark(Shape::series(index)), Color::series(index), one.label)
        })
        .collect();
    if let Some(chance) = chance {
        let label = format!("chance, {}", percent(chance));
        legend.push(Entry::new(Swatch::Line(Dash::Dotted), Color::GREY, label));
    }
    let x = Axis::samples(most * 1.04);
    let y = Axis::linear("Zero-shot top-1 accuracy in %", 0.0, (best * 1.05).min(100.0));
    let mut frame = Frame::new(form, title, &legend, x, y);
    if let Some(chance) = chance {
        frame.level(chance, Color::GREY, Dash::Dotted);
    }
    for (index, one) in series.iter().enumerate() {
        frame.line(&one.points, Color::series(index), Dash::Solid);
    }
    let radius = frame.sizes.mark * 0.8;
    for (index, one) in series.iter().enumerate() {
        for &(x, y) in &one.points {
            let at = frame.at(x, y);
            frame.scene.mark(at, Shape::series(index), radius, Color::series(index));
        }
    }
    frame.scene
}
