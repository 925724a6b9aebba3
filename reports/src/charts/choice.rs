//! Why a plan was chosen: accuracy against dollars above, accuracy against pretraining tokens below.

use shoestring_planner::units::Usd;

use super::Draft;
use super::axis::Axis;
use super::frame::{Entry, Form, Frame, Swatch};
use super::labels::{self, Labelled, Obstacles};
use super::scene::{Color, Dash, Item, Point, Scene, Shape};
use super::{picture, registered};
use crate::words::{dollars, percent, printable};
use crate::{FrontierPoint, Picture, ReportError};

/// A plan among what else the money could buy.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The plan in a few words.
    pub label: String,
    /// What may be spent.
    pub budget: Usd,
    /// What the plan costs and brings: dollars and percent.
    pub chosen: (Usd, f64),
    /// Image tokens of its pretraining.
    pub chosen_tokens: u32,
    /// The most accurate plans by budget.
    pub frontier: Vec<FrontierPoint>,
    /// For each architecture the best accuracy at each number of image tokens, fewest first, in percent.
    pub by_tokens: Vec<(String, Vec<(u32, f64)>)>,
}

impl Choice {
    /// Draws it.
    pub fn drawn(&self) -> Result<Picture, ReportError> {
        registered()?;
        let title = format!("Why this plan for {}: {}", dollars(self.budget), printable(&self.label));
        let caption = "Above, the most accurate plan of each budget with its 80 % interval; below, the best that each \
                       architecture does at each number of image tokens in pretraining for this budget.";
        let draft = Draft::new("choice", title, caption, |form, title| {
            stacked(self.by_dollars(form, title), self.against_tokens(form))
        });
        picture(draft)
    }

    fn by_dollars(&self, form: Form, title: &str) -> Scene {
        let legend = [
            Entry::new(Swatch::Line(Dash::Solid), Color::BLUE, "most accurate for the money"),
            Entry::new(Swatch::Band, Color::BLUE.faded(0.18), "its 80 % interval"),
            Entry::new(Swatch::Mark(Shape::Diamond), Color::VERMILLION, "this plan"),
            Entry::new(Swatch::Line(Dash::Dashed), Color::GREY, "budget"),
        ];
        let (cost, accuracy) = (self.chosen.0.dollars(), self.chosen.1);
        let dollars = || self.frontier.iter().map(|point| point.cost_usd.dollars());
        let budget = self.budget.dollars();
        let low = dollars().chain([cost, budget]).filter(|usd| *usd > 0.0).fold(f64::INFINITY, f64::min);
        let high = dollars().chain([cost, budget]).fold(0.0, f64::max);
        let x = Axis::logarithmic("Cost in USD (logarithmic scale)", low / 1.1, high * 1.1);
        let ends = || {
            self.frontier.iter().flat_map(|point| [point.accuracy_percent.p10, point.accuracy_percent.p90])
        };
        let y = accuracy_axis(ends().chain([accuracy]));
        let mut frame = Frame::new(form, title, &legend, x, y);
        let mut points: Vec<&FrontierPoint> = self.frontier.iter().collect();
        points.sort_by_key(|point| point.cost_usd.micros());
        let along = |of: fn(&FrontierPoint) -> f64| -> Vec<(f64, f64)> {
            points.iter().map(|point| (point.cost_usd.dollars(), of(point))).collect()
        };
        let middle = along(|point| point.accuracy_percent.p50);
        let band: Vec<Point> = along(|point| point.accuracy_percent.p90)
            .into_iter()
            .chain(along(|point| point.accuracy_percent.p10).into_iter().rev())
            .map(|(x, y)| frame.at(x, y))
            .collect();
        frame.scene.area(band, Color::BLUE.faded(0.18));
        frame.line(&middle, Color::BLUE, Dash::Solid);
        let mut obstacles = Obstacles::default();
        let line: Vec<Point> = middle.iter().map(|&(x, y)| frame.at(x, y)).collect();
        obstacles.lines.extend(line.windows(2).map(|pair| (pair[0], pair[1])));
        let at = frame.x_at(budget);
        let upright = ((at, frame.plot.top), (at, frame.plot.bottom));
        frame.scene.line(vec![upright.0, upright.1], Color::GREY, 1.5, Dash::Dashed);
        obstacles.lines.push(upright);
        let at = frame.at(cost, accuracy);
        self.mark(&mut frame, at, obstacles);
        frame.scene
    }

    fn against_tokens(&self, form: Form) -> Scene {
        let legend: Vec<Entry> = self
            .by_tokens
            .iter()
            .enumerate()
            .map(|(index, (name, _))| {
                Entry::new(Swatch::LineAndMark(Shape::series(index)), Color::series(index), printable(name))
            })
            .collect();
        let tokens = || self.by_tokens.iter().flat_map(|(_, points)| points.iter().map(|point| point.0));
        let low = tokens().chain([self.chosen_tokens]).min().map_or(1.0, f64::from);
        let high = tokens().chain([self.chosen_tokens]).max().map_or(256.0, f64::from);
        let x = Axis::logarithmic("Image tokens of pretraining (logarithmic scale)", low / 1.1, high * 1.1);
        let accuracies = self.by_tokens.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
        let y = accuracy_axis(accuracies.chain([self.chosen.1]));
        let title = "The same budget at other token lengths";
        let mut frame = Frame::new(form, title, &legend, x, y);
        let mut obstacles = Obstacles::default();
        for (index, (_, points)) in self.by_tokens.iter().enumerate() {
            let values: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (f64::from(x), y)).collect();
            frame.line(&values, Color::series(index), Dash::Solid);
            let line: Vec<Point> = values.iter().map(|&(x, y)| frame.at(x, y)).collect();
            obstacles.lines.extend(line.windows(2).map(|pair| (pair[0], pair[1])));
            let radius = 0.7 * frame.sizes.mark;
            for at in line {
                frame.scene.mark(at, Shape::series(index), radius, Color::series(index));
            }
        }
        let at = frame.at(f64::from(self.chosen_tokens), self.chosen.1);
        self.mark(&mut frame, at, obstacles);
        frame.scene
    }

    /// The chosen plan with its accuracy.
    fn mark(&self, frame: &mut Frame, at: Point, obstacles: Obstacles) {
        let radius = 1.3 * frame.sizes.mark;
        frame.scene.mark(at, Shape::Diamond, radius, Color::VERMILLION);
        let text = percent(self.chosen.1);
        let label = Labelled { at, short: text.clone(), text, color: Color::VERMILLION };
        let style = frame.sizes.small_style(Color::INK);
        labels::draw(&mut frame.scene, &frame.plot.grown(-2.0), &[label], obstacles, style, radius);
    }
}

fn accuracy_axis(values: impl Iterator<Item = f64>) -> Axis {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 100.0) };
    let air = 0.06 * (high - low).max(2.0);
    Axis::linear("ImageNet zero-shot top-1 accuracy in %", (low - air).max(0.0), (high + air).min(100.0))
}

/// One scene above another.
fn stacked(mut above: Scene, below: Scene) -> Scene {
    let by = f64::from(above.height);
    let moved = |point: Point| (point.0, point.1 + by);
    above.items.extend(below.items.into_iter().map(|item| match item {
        Item::Line { points, color, width, dash } => {
            Item::Line { points: points.into_iter().map(moved).collect(), color, width, dash }
        }
        Item::Area { points, color } => Item::Area { points: points.into_iter().map(moved).collect(), color },
        Item::Disc { center, radius, color } => Item::Disc { center: moved(center), radius, color },
        Item::Text { x, baseline, anchor, em, bold, color, text } => {
            Item::Text { x, baseline: baseline + by, anchor, em, bold, color, text }
        }
    }));
    above.height += below.height;
    above
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::planned_inputs;

    #[test]
    fn both_halves_are_drawn_and_name_every_architecture() {
        let frontier = planned_inputs().frontier;
        assert!(frontier.len() > 1);
        let choice = Choice {
            label: "H/14 at 70 px".to_owned(),
            budget: Usd::from_dollars(10_000.0),
            chosen: (Usd::from_dollars(9_600.0), 81.0),
            chosen_tokens: 25,
            frontier,
            by_tokens: vec![
                ("H/14".to_owned(), vec![(16, 80.0), (25, 81.0), (36, 80.5)]),
                ("L/14".to_owned(), vec![(16, 78.0), (36, 79.0)]),
            ],
        };
        let picture = choice.drawn().expect("draws");
        for words in ["Why this plan", "L/14", "this plan", "other token lengths", "81.0"] {
            assert!(picture.svg.contains(words), "{words}");
        }
        let png = image::load_from_memory(&picture.png).expect("a PNG");
        assert_eq!((png.width(), png.height()), (1200, 1500));
        assert_eq!(choice.drawn().expect("draws").svg, picture.svg, "the same bytes again");
    }
}
