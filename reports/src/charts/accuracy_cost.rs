//! Accuracy against dollars: on `ImageNet` beside published runs and the planner's frontier, and, apart from it, on
//! every other data set that runs were evaluated on, since accuracies on different data cannot be compared.

use std::collections::BTreeMap;

use shoestring_planner::units::Usd;

use super::Draft;
use super::axis::Axis;
use super::frame::{Entry, Form, Frame, Swatch};
use super::labels::{self, Labelled, Obstacles};
use super::scene::{Anchor, Color, Dash, Point, Rect, Scene, Shape, text_box};
use crate::read::{EvaluationRow, RunRecord};
use crate::words::{counted, dollars, percent, printable, significant, slug, unique};
use crate::{FrontierPoint, Inputs, PublishedPoint};

/// A run's way through cost and accuracy, oldest first.
struct Trail {
    label: String,
    letter: String,
    /// Dollars and percent; dollars above zero.
    points: Vec<(f64, f64)>,
}

/// `A`, `B`, … `Z`, `AA`, `AB`, …
fn letter(index: usize) -> String {
    let last = char::from(b'A' + (index % 26) as u8);
    if index < 26 { last.to_string() } else { format!("{}{last}", letter(index / 26 - 1)) }
}

fn trails(runs: &[RunRecord], of: impl Fn(&EvaluationRow) -> bool) -> Vec<Trail> {
    let mut out = Vec::new();
    for run in runs {
        let points: Vec<(f64, f64)> = run
            .evaluations
            .iter()
            .filter(|row| of(row))
            .filter_map(|row| Some((row.spend_usd.filter(|&usd| usd > 0.0)?, row.accuracy_percent()?)))
            .collect();
        if !points.is_empty() {
            out.push(Trail { label: run.label.clone(), letter: letter(out.len()), points });
        }
    }
    out
}

/// The best plan on the frontier that a budget pays for, by median.
pub(crate) fn affordable(frontier: &[FrontierPoint], budget: Usd) -> Option<&FrontierPoint> {
    let paid = frontier.iter().filter(|point| point.cost_usd <= budget);
    paid.max_by(|a, b| a.accuracy_percent.p50.total_cmp(&b.accuracy_percent.p50))
}

fn drawable(dollars: f64, accuracies: &[f64]) -> bool {
    dollars > 0.0 && dollars.is_finite() && accuracies.iter().all(|value| value.is_finite())
}

/// On `ImageNet`: published runs, the frontier, the user's own runs, budgets.
pub(super) fn on_imagenet(inputs: &Inputs, runs: &[RunRecord]) -> Option<Draft> {
    let own = trails(runs, EvaluationRow::is_imagenet);
    let published: Vec<(usize, &PublishedPoint)> = inputs
        .published
        .iter()
        .enumerate()
        .filter(|(_, point)| drawable(point.cost_usd.dollars(), &[point.accuracy_percent]))
        .collect();
    let mut frontier: Vec<&FrontierPoint> = inputs
        .frontier
        .iter()
        .filter(|point| {
            let accuracy = point.accuracy_percent;
            drawable(point.cost_usd.dollars(), &[accuracy.p10, accuracy.p50, accuracy.p90])
        })
        .collect();
    frontier.sort_by_key(|point| point.cost_usd.micros());
    if own.is_empty() && published.is_empty() && frontier.is_empty() {
        return None;
    }
    let data = OnImageNet { published, frontier, own, budgets: budgets(inputs) };
    let mut caption =
        "Zero-shot top-1 accuracy on ImageNet against the cost of training, both as published and as planned.".to_owned();
    if !data.frontier.is_empty() {
        caption += " The line is the best the planner expects for the money, the band its 80 % interval";
        let bought: Vec<String> = data
            .budgets
            .iter()
            .filter_map(|&budget| {
                let point = affordable(&inputs.frontier, budget)?;
                Some(format!("{} for {}", percent(point.accuracy_percent.p50), dollars(budget)))
            })
            .collect();
        caption += &if bought.is_empty() { ".".to_owned() } else { format!(": {}.", bought.join(", ")) };
    }
    let mut key: Vec<(String, String)> = Vec::new();
    for (index, point) in &data.published {
        let cost = dollars(point.cost_usd);
        let text = format!("{}: {cost}, {}", printable(&point.label), percent(point.accuracy_percent));
        key.push(((index + 1).to_string(), text));
    }
    key.extend(trail_key(&data.own));
    let title = "Accuracy against dollars: ImageNet zero-shot";
    let mut draft = Draft::new("accuracy-vs-cost", title, caption, |form, title| data.lay_out(form, title));
    draft.key = key;
    Some(draft)
}

fn budgets(inputs: &Inputs) -> Vec<Usd> {
    let mut budgets: Vec<Usd> = inputs.budgets.iter().copied().filter(|&budget| budget > Usd::ZERO).collect();
    budgets.sort_by_key(|budget| budget.micros());
    budgets.dedup();
    budgets
}

fn trail_key(trails: &[Trail]) -> Vec<(String, String)> {
    trails
        .iter()
        .filter_map(|trail| {
            let &(cost, accuracy) = trail.points.last()?;
            let text = format!("{}: {} USD, {}", trail.label, significant(cost), percent(accuracy));
            Some((trail.letter.clone(), text))
        })
        .collect()
}

struct OnImageNet<'a> {
    /// With their numbers less one.
    published: Vec<(usize, &'a PublishedPoint)>,
    /// By cost.
    frontier: Vec<&'a FrontierPoint>,
    own: Vec<Trail>,
    budgets: Vec<Usd>,
}

impl OnImageNet<'_> {
    fn lay_out(&self, form: Form, title: &str) -> Scene {
        let (x, y) = self.axes();
        let mut legend = Vec::new();
        if !self.published.is_empty() {
            let swatch = Swatch::Mark(Shape::Circle);
            legend.push(Entry::new(swatch, Color::VERMILLION, "published CLIP runs"));
        }
        if !self.frontier.is_empty() {
            legend.push(Entry::new(Swatch::Line(Dash::Solid), Color::BLUE, "planner’s frontier"));
            legend.push(Entry::new(Swatch::Band, Color::BLUE.faded(0.18), "its 80 % interval"));
        }
        if !self.own.is_empty() {
            legend.push(Entry::new(Swatch::LineAndMark(Shape::Square), Color::GREEN, "your runs"));
        }
        if !self.budgets.is_empty() {
            legend.push(Entry::new(Swatch::Line(Dash::Dashed), Color::GREY, "budget"));
        }
        let mut frame = Frame::new(form, title, &legend, x, y);
        let mut obstacles = Obstacles::default();
        self.draw_frontier(&mut frame, &mut obstacles);
        draw_budgets(&mut frame, &self.budgets, &mut obstacles);

        let mut points = Vec::new();
        for (index, point) in &self.published {
            let at = frame.at(point.cost_usd.dollars(), point.accuracy_percent);
            let number = (index + 1).to_string();
            points.push(labelled(form, at, &point.label, number, Color::INK));
        }
        let look = |_| (Shape::Square, Color::GREEN);
        draw_trails(&mut frame, form, &self.own, look, &mut points, &mut obstacles);
        let radius = frame.sizes.mark;
        for (_, point) in &self.published {
            let at = frame.at(point.cost_usd.dollars(), point.accuracy_percent);
            frame.scene.mark(at, Shape::Circle, radius, Color::VERMILLION);
        }
        let style = frame.sizes.small_style(Color::INK);
        labels::draw(&mut frame.scene, &frame.plot.grown(-2.0), &points, obstacles, style, radius);
        frame.scene
    }

    /// The axes span what was published, what the budgets are and what the user's runs reached; the frontier is
    /// cut to that, since it reaches down to budgets that nobody asks about.
    fn axes(&self) -> (Axis, Axis) {
        let mut costs: Vec<f64> = self.published.iter().map(|(_, point)| point.cost_usd.dollars()).collect();
        costs.extend(self.budgets.iter().map(|budget| budget.dollars()));
        costs.extend(self.own.iter().flat_map(|trail| trail.points.iter().map(|point| point.0)));
        if self.published.is_empty() && self.own.is_empty() {
            costs.extend(self.frontier.iter().map(|point| point.cost_usd.dollars()));
        }
        let low = costs.iter().copied().fold(f64::INFINITY, f64::min) / 1.8;
        let high = costs.iter().copied().fold(0.0, f64::max) * 1.8;
        let x = Axis::logarithmic("Cost of training in USD (logarithmic scale)", low, high);

        let mut accuracies: Vec<f64> =
            self.published.iter().map(|(_, point)| point.accuracy_percent).collect();
        accuracies.extend(self.own.iter().flat_map(|trail| trail.points.iter().map(|point| point.1)));
        for point in &self.frontier {
            if x.holds(point.cost_usd.dollars()) {
                accuracies.extend([point.accuracy_percent.p10, point.accuracy_percent.p90]);
            }
        }
        let low = accuracies.iter().copied().fold(f64::INFINITY, f64::min);
        let high = accuracies.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 100.0) };
        // A little air, in which labels find room, but never beyond what an accuracy can be.
        let air = 0.08 * (high - low).max(2.0);
        let y = Axis::linear("Zero-shot top-1 accuracy in %", (low - air).max(0.0), (high + air).min(100.0));
        (x, y)
    }

    fn draw_frontier(&self, frame: &mut Frame, obstacles: &mut Obstacles) {
        let along = |of: fn(&FrontierPoint) -> f64| -> Vec<(f64, f64)> {
            let values: Vec<(f64, f64)> =
                self.frontier.iter().map(|point| (point.cost_usd.dollars(), of(point))).collect();
            cut_to(&frame.x, &values)
        };
        let low = along(|point| point.accuracy_percent.p10);
        let middle = along(|point| point.accuracy_percent.p50);
        let high = along(|point| point.accuracy_percent.p90);
        let clamped = |&(x, y): &(f64, f64)| frame.at(x, y.clamp(frame.y.low(), frame.y.high()));
        let band: Vec<Point> = high.iter().map(clamped).chain(low.iter().rev().map(clamped)).collect();
        let line: Vec<Point> = middle.iter().map(|&(x, y)| frame.at(x, y)).collect();
        frame.scene.area(band, Color::BLUE.faded(0.18));
        frame.line(&middle, Color::BLUE, Dash::Solid);
        obstacles.lines.extend(line.windows(2).map(|pair| (pair[0], pair[1])));
        if let [(x, y)] = middle[..] {
            let (at, radius) = (frame.at(x, y), frame.sizes.mark * 0.8);
            frame.scene.mark(at, Shape::Diamond, radius, Color::BLUE);
        }
    }
}

/// The part of a line that lies on the axis, with its ends interpolated where the axis cuts it.
fn cut_to(axis: &Axis, values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let between = |(x0, y0): (f64, f64), (x1, y1): (f64, f64), x: f64| {
        let share = (axis.share(x) - axis.share(x0)) / (axis.share(x1) - axis.share(x0));
        (x, y0 + share * (y1 - y0))
    };
    let mut out = Vec::new();
    for (index, &value) in values.iter().enumerate() {
        if let Some(&before) = index.checked_sub(1).and_then(|before| values.get(before)) {
            for edge in [axis.low(), axis.high()] {
                if before.0 < edge && edge < value.0 {
                    out.push(between(before, value, edge));
                }
            }
        }
        if axis.holds(value.0) {
            out.push(value);
        }
    }
    out
}

/// In a narrow chart points carry numbers and letters only, which the key under it explains.
fn labelled(form: Form, at: Point, text: &str, short: String, color: Color) -> Labelled {
    let text = if form == Form::Wide { printable(text) } else { short.clone() };
    Labelled { at, text, short, color }
}

fn draw_trails(
    frame: &mut Frame,
    form: Form,
    trails: &[Trail],
    look: impl Fn(usize) -> (Shape, Color),
    points: &mut Vec<Labelled>,
    obstacles: &mut Obstacles,
) {
    let radius = frame.sizes.mark;
    for (index, trail) in trails.iter().enumerate() {
        let color = look(index).1;
        frame.line(&trail.points, color.faded(0.7), Dash::Solid);
    }
    for (index, trail) in trails.iter().enumerate() {
        let (shape, color) = look(index);
        let Some((&last, before)) = trail.points.split_last() else { continue };
        for &(x, y) in before {
            let at = frame.at(x, y);
            frame.scene.mark(at, shape, radius * 0.6, color);
            obstacles.boxes.push(Rect::around(at, radius * 0.6 + 1.0));
        }
        let at = frame.at(last.0, last.1);
        frame.scene.mark(at, shape, radius, color);
        points.push(labelled(form, at, &trail.label, trail.letter.clone(), Color::INK));
    }
}

/// Budgets as vertical lines, their amounts at the foot, where accuracy charts are empty.
fn draw_budgets(frame: &mut Frame, budgets: &[Usd], obstacles: &mut Obstacles) {
    let (plot, em) = (frame.plot, frame.sizes.small);
    let style = frame.sizes.small_style(Color::GREY);
    let mut taken: Vec<Rect> = Vec::new();
    for budget in budgets {
        if !frame.x.holds(budget.dollars()) {
            continue;
        }
        let x = frame.x_at(budget.dollars());
        frame.scene.line(vec![(x, plot.top), (x, plot.bottom)], Color::GREY, 1.5, Dash::Dashed);
        obstacles.lines.push(((x, plot.top), (x, plot.bottom)));
        let text = dollars(*budget);
        // Right of the line if that is free, else left of it, else a row higher.
        let free = (0..6).find_map(|row| {
            let baseline = plot.bottom - 0.5 * em - 1.4 * em * f64::from(row);
            [(x + 0.4 * em, Anchor::Left), (x - 0.4 * em, Anchor::Right)].into_iter().find_map(
                |(x, anchor)| {
                    let area = text_box(x, baseline, anchor, em, false, &text);
                    let free =
                        plot.contains(&area) && !taken.iter().any(|other| other.overlaps(&area.grown(3.0)));
                    // Not across another budget's line either.
                    let crosses = budgets
                        .iter()
                        .filter(|other| *other != budget && frame.x.holds(other.dollars()))
                        .map(|other| frame.x_at(other.dollars()))
                        .any(|line| (area.left - 2.0..area.right + 2.0).contains(&line));
                    (free && !crosses).then_some((x, baseline, anchor, area))
                },
            )
        });
        if let Some((x, baseline, anchor, area)) = free {
            frame.scene.text(x, baseline, anchor, style, &text);
            taken.push(area);
            obstacles.boxes.push(area.grown(2.0));
        }
    }
}

/// On every other data set: one chart each.
pub(super) fn on_own_data(runs: &[RunRecord]) -> Vec<Draft> {
    let mut datasets: BTreeMap<(&str, Option<u64>), Option<f64>> = BTreeMap::new();
    for row in runs.iter().flat_map(|run| &run.evaluations) {
        if row.accuracy_percent().is_some() && !row.is_imagenet() {
            datasets.insert((row.dataset.as_str(), row.classes), row.chance_percent());
        }
    }
    let mut taken = std::collections::HashSet::new();
    datasets
        .into_iter()
        .filter_map(|((dataset, classes), chance)| {
            let own = trails(runs, |row| row.dataset == dataset && row.classes == classes && !row.is_imagenet());
            if own.is_empty() {
                return None;
            }
            let id = unique(format!("accuracy-vs-cost-{}", slug(dataset)), &mut taken);
            let title = format!("Accuracy against dollars: {dataset} zero-shot");
            let of = classes.map_or(String::new(), |classes| {
                format!(" ({} to tell apart)", counted(classes as usize, "class", "classes"))
            });
            let caption = format!(
                "Zero-shot top-1 accuracy on {dataset}{of} against the money spent when it was measured, one line \
                 a run. This is not ImageNet: it cannot be compared with published figures."
            );
            let key = trail_key(&own);
            let chart = OnOwnData { own, chance };
            let mut draft = Draft::new(id, title, caption, |form, title| chart.lay_out(form, title));
            draft.key = key;
            Some(draft)
        })
        .collect()
}

struct OnOwnData {
    own: Vec<Trail>,
    chance: Option<f64>,
}

impl OnOwnData {
    fn lay_out(&self, form: Form, title: &str) -> Scene {
        let costs = || self.own.iter().flat_map(|trail| trail.points.iter().map(|point| point.0));
        let (low, high) = (costs().fold(f64::INFINITY, f64::min), costs().fold(0.0, f64::max));
        let x = if high > 30.0 * low {
            Axis::logarithmic("Money spent in USD (logarithmic scale)", low / 1.5, high * 1.5)
        } else {
            Axis::exact("Money spent in USD", 0.0, high * 1.12)
        };
        let best = self.own.iter().flat_map(|trail| trail.points.iter().map(|point| point.1));
        let best = best.chain(self.chance).fold(1.0, f64::max);
        let y = Axis::linear("Zero-shot top-1 accuracy in %", 0.0, (best * 1.12).min(100.0));
        let legend: Vec<Entry> = self
            .chance
            .map(|chance| {
                let label = format!("chance, {}", percent(chance));
                Entry::new(Swatch::Line(Dash::Dotted), Color::GREY, label)
            })
            .into_iter()
            .collect();
        let mut frame = Frame::new(form, title, &legend, x, y);
        let mut obstacles = Obstacles::default();
        if let Some(chance) = self.chance {
            frame.level(chance, Color::GREY, Dash::Dotted);
            let y = frame.y_at(chance);
            obstacles.lines.push(((frame.plot.left, y), (frame.plot.right, y)));
        }
        for trail in &self.own {
            let line: Vec<Point> = trail.points.iter().map(|&(x, y)| frame.at(x, y)).collect();
            obstacles.lines.extend(line.windows(2).map(|pair| (pair[0], pair[1])));
        }
        let mut points = Vec::new();
        draw_trails(
            &mut frame,
            form,
            &self.own,
            |index| (Shape::series(index), Color::series(index)),
            &mut points,
            &mut obstacles,
        );
        let style = frame.sizes.small_style(Color::INK);
        let radius = frame.sizes.mark;
        labels::draw(&mut frame.scene, &frame.plot.grown(-2.0), &points, obstacles, style, radius);
        frame.scene
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([letter(0), letter(25), letter(26), letter(53)], ["A", "Z", "AA", "BB"]);
    }

    #[test]
    fn a_line_is_cut_where_the_axis_ends() {
        let axis = Axis::logarithmic("", 10.0, 1000.0);
        let cut = cut_to(&axis, &[(1.0, 0.0), (100.0, 2.0), (10_000.0, 4.0)]);
        assert_eq!(cut.len(), 3);
        assert!((cut[0].1 - 1.0).abs() < 1e-9 && (cut[2].1 - 3.0).abs() < 1e-9, "{cut:?}");
    }

    #[test]
    fn a_budget_buys_the_best_plan_below_it() {
        let point = |dollars: i64, p50: f64| FrontierPoint {
            label: String::new(),
            cost_usd: Usd::from_micros(dollars * 1_000_000),
            accuracy_percent: shoestring_planner::recipe::Interval { p10: p50 - 1.0, p50, p90: p50 + 1.0 },
        };
        let frontier = [point(9_000, 81.0), point(9_900, 80.0), point(13_000, 82.0)];
        let at = |dollars: i64| {
            affordable(&frontier, Usd::from_micros(dollars * 1_000_000))
                .map(|point| point.accuracy_percent.p50)
        };
        assert_eq!((at(10_000), at(14_000), at(100)), (Some(81.0), Some(82.0), None));
    }
}
