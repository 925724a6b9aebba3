//! The back-test: predicted against reported accuracy of runs that the law had not seen.

use super::Draft;
use super::axis::Axis;
use super::frame::{Entry, Form, Frame, Swatch};
use super::scene::{Color, Dash, Scene, Shape};
use crate::inputs::BackTestChart;

pub(super) fn chart(input: &BackTestChart) -> Draft {
    let title = input.title.as_str();
    Draft::new("backtest", title, input.caption.as_str(), |form, title| lay_out(form, title, input))
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
    let all = || input.groups.iter().flat_map(|group| &group.points);
    let low = all().map(|&(x, y)| x.min(y)).fold(f64::INFINITY, f64::min).min(99.0);
    let high = all().map(|&(x, y)| x.max(y)).fold(low + 1.0, f64::max);
    let x = Axis::linear("Reported ImageNet zero-shot accuracy in %", low, high);
    let y = Axis::linear("Predicted in %", low, high);
    let mut frame = Frame::new(form, title, &legend, x, y);
    let (low, high) = (frame.x.low(), frame.x.high());
    frame.line(&[(low, low), (high, high)], Color::GREY, Dash::Solid);
    // Many points: smaller than elsewhere.
    let radius = 0.62 * frame.sizes.mark;
    for (index, group) in input.groups.iter().enumerate() {
        for &(reported, predicted) in &group.points {
            let at = frame.at(reported, predicted);
            frame.scene.mark(at, Shape::series(index), radius, Color::series(index));
        }
    }
    frame.scene
}
