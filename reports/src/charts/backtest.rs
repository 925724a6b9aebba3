//! The back-test: predicted against reported accuracy or hours of runs that the law had not seen.

use super::Draft;
use super::axis::Axis;
use super::frame::{Entry, Form, Frame, Swatch};
use super::scene::{Color, Dash, Scene, Shape};
use crate::inputs::{BackTestChart, BackTestQuantity};

pub(super) fn chart(input: &BackTestChart) -> Draft {
    let title = input.title.as_str();
    let id = match input.quantity {
        BackTestQuantity::Accuracy => "backtest",
        BackTestQuantity::DeviceHours => "backtest-hours",
    };
    Draft::new(id, title, input.caption.as_str(), |form, title| lay_out(form, title, input))
}

fn lay_out(form: Form, title: &str, input: &BackTestChart) -> Scene {
    let mut legend: Vec<Entry> = input
        .groups
        .iter()
        .enumerate()
        .map(|(index, group)| {
            let label = format!("{} ({})", group.label, group.points.len());
            Entry::new(Swatch::Mark(Shape::series(index)), Color::series(index), label)
        })
        .collect();
    legend.push(Entry::new(Swatch::Line(Dash::Solid), Color::GREY, "predicted as reported"));
    let points = || input.groups.iter().flat_map(|group| &group.points);
    if points().any(|point| point.interval.is_some()) {
        legend.push(Entry::new(Swatch::Line(Dash::Solid), Color::INK, "upright: 80 % interval"));
    }
    let (x, y) = axes(input);
    let mut frame = Frame::new(form, title, &legend, x, y);
    let (low, high) = (frame.x.low().max(frame.y.low()), frame.x.high().min(frame.y.high()));
    frame.line(&[(low, low), (high, high)], Color::GREY, Dash::Solid);
    let thin = 0.45 * frame.sizes.line;
    for (index, group) in input.groups.iter().enumerate() {
        for point in &group.points {
            if let Some((from, to)) = point.interval {
                let ends = vec![frame.at(point.reported, from), frame.at(point.reported, to)];
                frame.scene.line(ends, Color::series(index), thin, Dash::Solid);
            }
        }
    }
    // Many points: smaller than elsewhere.
    let radius = if points().count() > 100 { 0.62 } else { 0.85 } * frame.sizes.mark;
    for (index, group) in input.groups.iter().enumerate() {
        for point in &group.points {
            let at = frame.at(point.reported, point.predicted);
            frame.scene.mark(at, Shape::series(index), radius, Color::series(index));
        }
    }
    frame.scene
}

/// Both axes hold every point and the line between them.
fn axes(input: &BackTestChart) -> (Axis, Axis) {
    let values = || {
        input.groups.iter().flat_map(|group| &group.points).flat_map(|point| {
            let (from, to) = point.interval.unwrap_or((point.predicted, point.predicted));
            [point.reported, point.predicted, from, to]
        })
    };
    match input.quantity {
        BackTestQuantity::Accuracy => {
            let low = values().fold(f64::INFINITY, f64::min).min(99.0);
            let high = values().fold(low + 1.0, f64::max);
            (
                Axis::linear("Reported ImageNet zero-shot accuracy in %", low, high),
                Axis::linear("Predicted in %", low, high),
            )
        }
        BackTestQuantity::DeviceHours => {
            let positive = || values().filter(|value| *value > 0.0);
            let low = positive().fold(f64::INFINITY, f64::min).min(1e9) / 1.3;
            let high = positive().fold(low, f64::max) * 1.3;
            (
                Axis::logarithmic("Reported device hours (logarithmic scale)", low, high),
                Axis::logarithmic("Predicted device hours", low, high),
            )
        }
    }
}
