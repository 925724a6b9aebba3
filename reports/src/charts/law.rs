//! The inverse scaling law: points of accuracy lost against tokens kept, by encoder size, with what was published.

use super::Draft;
use super::axis::Axis;
use super::frame::{Entry, Form, Frame, Swatch};
use super::scene::{Color, Dash, Scene, Shape};
use crate::inputs::DropChart;

/// A little more than the lengths on it, so that no mark sits on the edge.
const ROOM: f64 = 1.12;

pub(super) fn chart(input: &DropChart) -> Draft {
    let title = input.title.as_str();
    Draft::new(input.id.as_str(), title, input.caption.as_str(), |form, title| lay_out(form, title, input))
}

fn lay_out(form: Form, title: &str, input: &DropChart) -> Scene {
    let mut legend = Vec::new();
    for (index, series) in input.series.iter().enumerate() {
        let (color, shape) = (Color::series(index), Shape::series(index));
        let swatch =
            if series.published.is_empty() { Swatch::Line(Dash::Dashed) } else { Swatch::LineAndMark(shape) };
        legend.push(Entry::new(swatch, color, series.label.as_str()));
    }
    legend.push(Entry::new(Swatch::Line(Dash::Solid), Color::GREY, "line: the law"));
    legend.push(Entry::new(Swatch::Mark(Shape::Circle), Color::GREY, input.published.as_str()));
    if input.series.iter().any(|series| series.published.is_empty()) {
        legend.push(Entry::new(Swatch::Line(Dash::Dashed), Color::GREY, "no published points of this size"));
    }
    let all = || input.series.iter().flat_map(|series| series.curve.iter().chain(&series.published));
    let ends = |of: fn(&(f64, f64)) -> f64| {
        all()
            .map(of)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ((shortest, longest), (least, most)) = (ends(|point| point.0), ends(|point| point.1));
    let x = Axis::logarithmic(input.length.as_str(), shortest / ROOM, longest * ROOM);
    let y = Axis::linear("Accuracy lost in percentage points", least.min(0.0), most);
    let mut frame = Frame::new(form, title, &legend, x, y);
    frame.level(0.0, Color::GREY, Dash::Solid);
    for (index, series) in input.series.iter().enumerate() {
        let dash = if series.published.is_empty() { Dash::Dashed } else { Dash::Solid };
        frame.line(&series.curve, Color::series(index), dash);
    }
    let radius = frame.sizes.mark;
    for (index, series) in input.series.iter().enumerate() {
        for &(tokens, points) in &series.published {
            let at = frame.at(tokens, points);
            frame.scene.mark(at, Shape::series(index), radius, Color::series(index));
        }
    }
    frame.scene
}
