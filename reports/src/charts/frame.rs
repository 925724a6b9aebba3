//! What every chart has around its data: title, legend, axes, grid.

use super::axis::{Axis, Tick};
use super::scene::{Anchor, Color, Dash, Point, Rect, Scene, Shape, TextStyle};
use super::text;

/// Which form of a chart: wide for screens and files, narrow for phones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Wide,
    Narrow,
}

/// Sizes of a form, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizes {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) margin: f64,
    pub(super) title: f64,
    pub(super) text: f64,
    pub(super) small: f64,
    pub(super) line: f64,
    pub(super) mark: f64,
}

impl Form {
    pub(super) fn sizes(self) -> Sizes {
        match self {
            Self::Wide => Sizes {
                width: 1200,
                height: 750,
                margin: 30.0,
                title: 25.0,
                text: 18.0,
                small: 17.0,
                line: 2.5,
                mark: 6.5,
            },
            Self::Narrow => Sizes {
                width: 380,
                height: 440,
                margin: 12.0,
                title: 16.0,
                text: 13.0,
                small: 12.5,
                line: 2.0,
                mark: 4.5,
            },
        }
    }
}

impl Sizes {
    pub(super) fn text_style(&self, color: Color) -> TextStyle {
        TextStyle { em: self.text, bold: false, color }
    }

    pub(super) fn small_style(&self, color: Color) -> TextStyle {
        TextStyle { em: self.small, bold: false, color }
    }
}

/// How a series looks in the legend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Swatch {
    Line(Dash),
    Mark(Shape),
    LineAndMark(Shape),
    Band,
    Block,
}

/// One entry of the legend.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) swatch: Swatch,
    pub(super) color: Color,
    pub(super) label: String,
}

impl Entry {
    pub(super) fn new(swatch: Swatch, color: Color, label: impl Into<String>) -> Self {
        Self { swatch, color, label: label.into() }
    }
}

/// A chart with its title, legend and axes drawn, ready for its data.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) scene: Scene,
    pub(super) sizes: Sizes,
    /// Where the data goes.
    pub(super) plot: Rect,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

/// Title and legend on an empty scene; also the height at which what follows may begin.
pub(super) fn headed(sizes: Sizes, title: &str, legend: &[Entry]) -> (Scene, f64) {
    let mut scene = Scene::new(sizes.width, sizes.height);
    let room = f64::from(sizes.width) - 2.0 * sizes.margin;
    let style = TextStyle { em: sizes.title, bold: true, color: Color::INK };
    let mut baseline = sizes.margin;
    for line in text::wrapped(title, sizes.title, true, room) {
        baseline += sizes.title * 0.85;
        scene.text(sizes.margin, baseline, Anchor::Left, style, &line);
        baseline += sizes.title * 0.4;
    }
    let bottom = draw_legend(&mut scene, &sizes, baseline, legend);
    (scene, bottom)
}

fn draw_legend(scene: &mut Scene, sizes: &Sizes, top: f64, legend: &[Entry]) -> f64 {
    let (swatch, gap) = (1.7 * sizes.text, 0.45 * sizes.text);
    let right = f64::from(sizes.width) - sizes.margin;
    let mut x = sizes.margin;
    let mut baseline = top + 1.1 * sizes.text;
    for entry in legend {
        let room = right - sizes.margin - swatch - gap;
        let label = text::fitted(&entry.label, sizes.text, false, room);
        let width = swatch + gap + text::width(&label, sizes.text, false);
        if x > sizes.margin && x + width > right {
            x = sizes.margin;
            baseline += 1.45 * sizes.text;
        }
        draw_swatch(scene, sizes, entry, (x, baseline - 0.35 * sizes.text), swatch);
        scene.text(x + swatch + gap, baseline, Anchor::Left, sizes.text_style(Color::INK), &label);
        x += width + 1.3 * sizes.text;
    }
    if legend.is_empty() { top } else { baseline + 0.4 * sizes.text }
}

fn draw_swatch(scene: &mut Scene, sizes: &Sizes, entry: &Entry, (x, y): Point, length: f64) {
    let middle = (x + length / 2.0, y);
    let half = 0.36 * sizes.text;
    let line = vec![(x, y), (x + length, y)];
    match entry.swatch {
        Swatch::Line(dash) => scene.line(line, entry.color, sizes.line, dash),
        Swatch::Mark(shape) => scene.mark(middle, shape, sizes.mark, entry.color),
        Swatch::LineAndMark(shape) => {
            scene.line(line, entry.color, sizes.line, Dash::Solid);
            scene.mark(middle, shape, sizes.mark * 0.8, entry.color);
        }
        Swatch::Band | Swatch::Block => {
            let rect = Rect { left: x, top: y - half, right: x + length, bottom: y + half };
            scene.rect(rect, entry.color);
        }
    }
}

impl Frame {
    /// Draws everything but the data.
    pub(super) fn new(form: Form, title: &str, legend: &[Entry], x: Axis, y: Axis) -> Self {
        let sizes = form.sizes();
        let (mut scene, top) = headed(sizes, title, legend);
        let small = sizes.small;

        // The y axis is named above it, horizontally, where it is easiest to read.
        let name = top + 1.5 * small;
        let room = f64::from(sizes.width) - 2.0 * sizes.margin;
        let style = sizes.small_style(Color::GREY);
        scene.text(sizes.margin, name, Anchor::Left, style, &text::fitted(&y.title, small, false, room));

        let height = f64::from(sizes.height);
        let bottom = height - sizes.margin - 2.9 * small;
        let plot_top = name + 0.9 * small;
        let y_ticks = y.ticks(((bottom - plot_top) / (4.0 * small)) as usize);
        let widest = y_ticks.iter().map(|tick| text::width(&tick.label, small, false)).fold(0.0f64, f64::max);
        let left = sizes.margin + widest + 0.6 * small;
        let right = f64::from(sizes.width) - sizes.margin - 0.3 * small;
        let plot = Rect { left, top: plot_top, right, bottom };
        let mut frame = Self { scene, sizes, plot, x, y };
        frame.draw_axes(&y_ticks);
        frame
    }

    fn draw_axes(&mut self, y_ticks: &[Tick]) {
        let (plot, small) = (self.plot, self.sizes.small);
        let style = self.sizes.small_style(Color::GREY);
        for tick in y_ticks {
            let y = self.y_at(tick.value);
            let color = if tick.label.is_empty() { Color::FAINT } else { Color::GRID };
            self.scene.line(vec![(plot.left, y), (plot.right, y)], color, 1.0, Dash::Solid);
            self.scene.text(plot.left - 0.5 * small, y + 0.36 * small, Anchor::Right, style, &tick.label);
        }
        // As many numbers as fit beside each other.
        let mut count = ((plot.right - plot.left) / (5.0 * small)) as usize;
        let ticks = loop {
            let ticks = self.x.ticks(count);
            if count <= 2 || self.fit_beside(&ticks) {
                break ticks;
            }
            count -= 1;
        };
        let mut free_from = f64::NEG_INFINITY;
        for tick in &ticks {
            let x = self.x_at(tick.value);
            let color = if tick.label.is_empty() { Color::FAINT } else { Color::GRID };
            self.scene.line(vec![(x, plot.top), (x, plot.bottom)], color, 1.0, Dash::Solid);
            let (left, right) = self.label_span(tick);
            if !tick.label.is_empty() && left > free_from {
                let middle = (left + right) / 2.0;
                self.scene.text(middle, plot.bottom + 1.4 * small, Anchor::Middle, style, &tick.label);
                free_from = right + 0.4 * small;
            }
        }
        self.scene.line(
            vec![(plot.left, plot.bottom), (plot.right, plot.bottom)],
            Color::GREY,
            1.5,
            Dash::Solid,
        );
        let baseline = f64::from(self.sizes.height) - self.sizes.margin;
        let title = text::fitted(&self.x.title, small, false, plot.right - self.sizes.margin);
        self.scene.text(plot.right, baseline, Anchor::Right, style, &title);
    }

    /// From where to where the number of a mark on the x axis goes; never over the picture's edge.
    fn label_span(&self, tick: &Tick) -> (f64, f64) {
        let half = text::width(&tick.label, self.sizes.small, false) / 2.0;
        let middle = self.x_at(tick.value).min(f64::from(self.sizes.width) - 2.0 - half);
        (middle - half, middle + half)
    }

    fn fit_beside(&self, ticks: &[Tick]) -> bool {
        let spans: Vec<(f64, f64)> =
            ticks.iter().filter(|tick| !tick.label.is_empty()).map(|tick| self.label_span(tick)).collect();
        spans.windows(2).all(|pair| pair[0].1 + 0.8 * self.sizes.small < pair[1].0)
    }

    pub(super) fn x_at(&self, value: f64) -> f64 {
        self.plot.left + self.x.share(value) * (self.plot.right - self.plot.left)
    }

    pub(super) fn y_at(&self, value: f64) -> f64 {
        self.plot.bottom - self.y.share(value) * (self.plot.bottom - self.plot.top)
    }

    pub(super) fn at(&self, x: f64, y: f64) -> Point {
        (self.x_at(x), self.y_at(y))
    }

    /// A line through values, cut off at the plot's edges.
    pub(super) fn line(&mut self, values: &[(f64, f64)], color: Color, dash: Dash) {
        let points: Vec<Point> = values.iter().map(|&(x, y)| self.at(x, y)).collect();
        let width = self.sizes.line;
        for piece in clipped(&points, &self.plot) {
            self.scene.line(piece, color, width, dash);
        }
    }

    /// A horizontal line at a value, over the whole width.
    pub(super) fn level(&mut self, value: f64, color: Color, dash: Dash) {
        if self.y.holds(value) {
            let (y, width) = (self.y_at(value), self.sizes.line);
            self.scene.line(vec![(self.plot.left, y), (self.plot.right, y)], color, width, dash);
        }
    }
}

/// The parts of a line that lie in a rectangle.
fn clipped(points: &[Point], rect: &Rect) -> Vec<Vec<Point>> {
    let mut out: Vec<Vec<Point>> = Vec::new();
    for pair in points.windows(2) {
        let Some((from, to)) = rect.clip(pair[0], pair[1]) else { continue };
        match out.last_mut() {
            Some(piece) if piece.last() == Some(&from) => piece.push(to),
            _ => out.push(vec![from, to]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_edges() {
        let rect = Rect { left: 0.0, top: 0.0, right: 10.0, bottom: 10.0 };
        let pieces = clipped(&[(-5.0, 5.0), (5.0, 5.0), (5.0, 20.0), (8.0, 20.0), (8.0, 2.0)], &rect);
        assert_eq!(pieces, [vec![(0.0, 5.0), (5.0, 5.0), (5.0, 10.0)], vec![(8.0, 10.0), (8.0, 2.0)]]);
    }
}
