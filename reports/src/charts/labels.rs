//! Labels beside data points that overlap neither each other nor the marks.

use super::scene::{Anchor, Color, Dash, Point, Rect, Scene, TextStyle, box_of_width};
use super::text;

/// A point that wants a label.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Labelled {
    pub(super) at: Point,
    /// What is written beside it if there is room.
    pub(super) text: String,
    /// What is written otherwise, explained in the chart's key; empty: nothing.
    pub(super) short: String,
    pub(super) color: Color,
}

/// What labels keep clear of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Obstacles {
    /// Never covered.
    pub(super) boxes: Vec<Rect>,
    /// Covered only where there is no better place.
    pub(super) lines: Vec<(Point, Point)>,
}

/// A label in its place.
#[derive(Clone, Debug)]
struct Placed {
    area: Rect,
    x: f64,
    baseline: f64,
    anchor: Anchor,
    /// From the point to the label, where they lie apart.
    leader: Option<(Point, Point)>,
    cost: f64,
}

/// Draws the labels of `points` within `bounds`; `radius` is that of their marks. True when every label was
/// written, false when some stand as their short forms (or not at all).
pub(super) fn draw(
    scene: &mut Scene,
    bounds: &Rect,
    points: &[Labelled],
    mut obstacles: Obstacles,
    style: TextStyle,
    radius: f64,
) -> bool {
    obstacles.boxes.extend(points.iter().map(|point| Rect::around(point.at, radius + 1.0)));
    // A label never takes more than a third of the plot: the chart's key has it in full.
    let room = 0.34 * (bounds.right - bounds.left);
    let cut: Vec<String> =
        points.iter().map(|point| text::fitted(&point.text, style.em, style.bold, room)).collect();
    let full: Vec<&str> = cut.iter().map(String::as_str).collect();
    let short: Vec<&str> = points.iter().map(|point| point.short.as_str()).collect();
    if let Some(placed) = place(bounds, points, &full, &obstacles, style, radius) {
        write(scene, points, &full, placed.into_iter().map(Some), style);
        return true;
    }
    let mut taken = obstacles;
    let placed: Vec<Option<Placed>> = points
        .iter()
        .zip(&short)
        .map(|(point, text)| {
            let best = best_place(bounds, point.at, text, &taken, &[], style, radius)?;
            taken.boxes.push(best.area.grown(1.0));
            Some(best)
        })
        .collect();
    write(scene, points, &short, placed.into_iter(), style);
    false
}

/// A place for every label, or `None` when one of them finds none. The labels are placed one after the other in
/// several orders, and the order that ends with the closest labels is taken.
fn place(
    bounds: &Rect,
    points: &[Labelled],
    texts: &[&str],
    obstacles: &Obstacles,
    style: TextStyle,
    radius: f64,
) -> Option<Vec<Placed>> {
    let indices: Vec<usize> = (0..points.len()).collect();
    let sorted = |key: &dyn Fn(&Labelled) -> f64| {
        let mut order = indices.clone();
        order.sort_by(|&a, &b| key(&points[a]).total_cmp(&key(&points[b])));
        order
    };
    let orders = [
        sorted(&|point| point.at.0),
        sorted(&|point| -point.at.0),
        sorted(&|point| point.at.1),
        sorted(&|point| -point.at.1),
    ];
    let mut best: Option<(f64, Vec<Placed>)> = None;
    for order in orders {
        let mut taken = obstacles.clone();
        let mut leaders: Vec<(Point, Point)> = Vec::new();
        let mut placed: Vec<Option<Placed>> = vec![None; points.len()];
        let mut total = 0.0;
        for index in order {
            let found = best_place(bounds, points[index].at, texts[index], &taken, &leaders, style, radius);
            let Some(found) = found else { break };
            taken.boxes.push(found.area.grown(2.0));
            leaders.extend(found.leader);
            total += found.cost;
            placed[index] = Some(found);
        }
        let complete: Option<Vec<Placed>> = placed.into_iter().collect();
        if let Some(complete) = complete
            && best.as_ref().is_none_or(|(cost, _)| total < *cost)
        {
            best = Some((total, complete));
        }
    }
    best.map(|(_, placed)| placed)
}

/// The place nearest to the point that is free, right or left of it by preference.
fn best_place(
    bounds: &Rect,
    point: Point,
    text: &str,
    obstacles: &Obstacles,
    leaders: &[(Point, Point)],
    style: TextStyle,
    radius: f64,
) -> Option<Placed> {
    const DIRECTIONS: u32 = 24;
    if text.is_empty() {
        return None;
    }
    let width = text::width(text, style.em, style.bold);
    let mut best: Option<Placed> = None;
    for ring in 0..9u32 {
        let distance = radius + 0.4 * style.em + f64::from(ring) * 0.9 * style.em;
        for step in 0..DIRECTIONS {
            let angle = f64::from(step) / f64::from(DIRECTIONS) * std::f64::consts::TAU;
            let (dx, dy) = (angle.cos(), angle.sin());
            let tip = (point.0 + distance * dx, point.1 + distance * dy);
            let anchor = match dx {
                dx if dx > 0.2 => Anchor::Left,
                dx if dx < -0.2 => Anchor::Right,
                _ => Anchor::Middle,
            };
            // The label's edge that faces the point touches the tip.
            let baseline = tip.1 + 0.36 * style.em + 0.36 * style.em * dy;
            let area = box_of_width(tip.0, baseline, anchor, style.em, width);
            let leader = (ring > 0).then_some((point, tip));
            let own_mark = Rect::around(point, radius + 1.0);
            let hits = |area: &Rect| obstacles.boxes.iter().any(|other| other.overlaps(area));
            let blocked = leader.is_some_and(|(from, to)| {
                let others = obstacles.boxes.iter().filter(|other| **other != own_mark);
                others.into_iter().any(|other| other.clip(from, to).is_some())
            });
            let crossed = leaders.iter().any(|&(from, to)| area.grown(1.0).clip(from, to).is_some());
            if !bounds.contains(&area) || hits(&area) || blocked || crossed {
                continue;
            }
            let near = area.grown(2.0);
            let over = obstacles.lines.iter().filter(|(from, to)| near.clip(*from, *to).is_some()).count();
            let sideways = 0.25 * style.em * dy.abs() + if dx < -0.2 { 0.1 * style.em } else { 0.0 };
            let cost = distance + sideways + 1.5 * style.em * over as f64;
            if best.as_ref().is_none_or(|best| cost < best.cost) {
                best = Some(Placed { area, x: tip.0, baseline, anchor, leader, cost });
            }
        }
    }
    best
}

fn write(
    scene: &mut Scene,
    points: &[Labelled],
    texts: &[&str],
    placed: impl Iterator<Item = Option<Placed>>,
    style: TextStyle,
) {
    for ((point, text), placed) in points.iter().zip(texts).zip(placed) {
        let Some(placed) = placed else { continue };
        if let Some((from, to)) = placed.leader {
            scene.line(vec![from, to], point.color.faded(0.6), 1.0, Dash::Solid);
        }
        // Lines that could not be kept clear of do not run through letters.
        scene.rect(placed.area, Color::WHITE.faded(0.8));
        let style = TextStyle { color: point.color, ..style };
        scene.text(placed.x, placed.baseline, placed.anchor, style, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Rect = Rect { left: 0.0, top: 0.0, right: 900.0, bottom: 500.0 };
    const STYLE: TextStyle = TextStyle { em: 17.0, bold: false, color: Color::INK };

    fn drawn(points: &[(f64, f64)], name: &str) -> (bool, Scene) {
        text::register().expect("the font is embedded");
        let points: Vec<Labelled> = points
            .iter()
            .enumerate()
            .map(|(index, &at)| Labelled {
                at,
                text: format!("{name} {index}"),
                short: (index + 1).to_string(),
                color: Color::INK,
            })
            .collect();
        let mut scene = Scene::new(900, 500);
        let full = draw(&mut scene, &BOUNDS, &points, Obstacles::default(), STYLE, 6.0);
        (full, scene)
    }

    fn assert_apart(scene: &Scene) {
        let boxes = scene.text_boxes();
        for (index, (one, text)) in boxes.iter().enumerate() {
            assert!(BOUNDS.contains(one), "{text} is outside");
            for (other, other_text) in &boxes[index + 1..] {
                assert!(!one.overlaps(other), "{text} overlaps {other_text}");
            }
        }
    }

    #[test]
    fn crowded_labels_stay_apart() {
        let cluster: Vec<(f64, f64)> = (0..10)
            .map(|index| (400.0 + 14.0 * f64::from(index % 4), 200.0 + 9.0 * f64::from(index)))
            .collect();
        let (full, scene) = drawn(&cluster, "CLIPA-v2 H/14");
        assert!(full);
        assert_eq!(scene.text_boxes().len(), 10);
        assert_apart(&scene);
    }

    #[test]
    fn where_labels_have_no_room_there_are_numbers() {
        let cluster: Vec<(f64, f64)> = (0..80)
            .map(|index| (60.0 + 40.0 * f64::from(index % 20), 60.0 + 90.0 * f64::from(index / 20)))
            .collect();
        let (full, scene) = drawn(&cluster, "a run with a rather long name that takes room");
        assert!(!full);
        assert_eq!(scene.text_boxes().len(), 80);
        assert_apart(&scene);
    }
}
