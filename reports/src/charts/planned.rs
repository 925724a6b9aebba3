//! Planned against actual cost of one run, stage by stage, as bars.

use shoestring_planner::units::Usd;

use super::Draft;
use super::axis::Axis;
use super::frame::{Entry, Form, Swatch, headed};
use super::scene::{Anchor, Color, Dash, Rect, Scene, TextStyle};
use super::text;
use crate::read::RunRecord;
use crate::tables::{Comparison, comparisons};
use crate::words::{decimal, dollars, printable};

const PLANNED: Color = Color::ORANGE;
const ACTUAL: Color = Color::BLUE;

/// `None` where there is neither a plan nor a ledger.
pub(super) fn chart(run: &RunRecord) -> Option<Draft> {
    let rows = comparisons(run);
    if !rows.iter().any(|row| row.planned.is_some() || row.actual.is_some()) {
        return None;
    }
    let caption = caption(rows.last()?);
    let title = format!("Planned against actual cost: {}", run.label);
    let id = format!("planned-vs-actual-{}", run.slug);
    Some(Draft::new(id, title, caption, |form, title| lay_out(form, title, &rows)))
}

fn caption(total: &Comparison) -> String {
    match (total.planned, total.actual) {
        (Some((planned, _)), Some((actual, _))) => {
            let both = format!("In all {} against {} planned", dollars(actual), dollars(planned));
            match total.cost_difference_percent() {
                Some(difference) => format!("{both}, {}.", signed_percent(difference)),
                None => format!("{both}."),
            }
        }
        (None, Some((actual, _))) => {
            format!("In all {}; the recipe carries no plan to compare with.", dollars(actual))
        }
        (Some((planned, _)), None) => format!("{} planned; nothing is known to be spent.", dollars(planned)),
        (None, None) => String::new(),
    }
}

/// `+3.2 %`, `−0.4 %`.
pub(crate) fn signed_percent(value: f64) -> String {
    let text = decimal(value, 1);
    let sign = if value > 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) { "+" } else { "" };
    format!("{sign}{text}\u{a0}%")
}

fn lay_out(form: Form, title: &str, rows: &[Comparison]) -> Scene {
    let with_plan = rows.iter().any(|row| row.planned.is_some());
    let mut legend = vec![Entry::new(Swatch::Block, ACTUAL, "actual")];
    if with_plan {
        legend.insert(0, Entry::new(Swatch::Block, PLANNED, "planned"));
    }
    let bars = legend.len() as f64;
    let mut sizes = form.sizes();
    let em = sizes.small;
    // One line for the name, one for each bar, half a line of air.
    let needed = rows.len() as f64 * (2.1 + 0.9 * bars) * em;
    let (_, top) = headed(sizes, title, &legend);
    let fixed = top + 1.2 * em + 3.2 * em + sizes.margin;
    if fixed + needed > f64::from(sizes.height) {
        sizes.height = (fixed + needed).ceil() as u32;
    }
    let (mut scene, top) = headed(sizes, title, &legend);

    let plot = Rect {
        left: sizes.margin,
        top: top + 1.2 * em,
        right: f64::from(sizes.width) - sizes.margin,
        bottom: f64::from(sizes.height) - sizes.margin - 3.2 * em,
    };
    let amounts = || rows.iter().flat_map(|row| [row.planned, row.actual]).flatten().map(|(cost, _)| cost);
    let most = amounts().map(Usd::dollars).fold(0.0, f64::max);
    let widest = amounts()
        .map(|amount| text::width(&dollars(amount), em, false))
        .chain(std::iter::once(text::width("not known", em, false)))
        .fold(0.0, f64::max);
    // The longest bar leaves room for the amount at its end.
    let share = ((plot.right - plot.left - widest - em) / (plot.right - plot.left)).max(0.2);
    let axis = Axis::exact("Cost in USD", 0.0, if most > 0.0 { most / share } else { 1.0 });
    let x_at = |value: f64| plot.left + axis.share(value) * (plot.right - plot.left);
    draw_axis(&mut scene, &plot, &axis, em);

    let row_height = (plot.bottom - plot.top) / rows.len() as f64;
    let bar = (0.3 * row_height).clamp(0.8 * em, 2.6 * em);
    for (index, row) in rows.iter().enumerate() {
        let block = 1.35 * em + bars * (bar + 2.0);
        let mut y = plot.top + (index as f64 + 0.5) * row_height - block / 2.0 + em;
        let name = text::fitted(&printable(&row.stage), em, row.is_total, 0.8 * (plot.right - plot.left));
        let style = TextStyle { em, bold: row.is_total, color: Color::INK };
        // Grid lines do not run through letters.
        let behind = text::width(&name, em, row.is_total);
        scene.rect(
            Rect {
                left: plot.left + 2.0,
                top: y - 0.8 * em,
                right: plot.left + 6.0 + behind,
                bottom: y + 0.25 * em,
            },
            Color::WHITE,
        );
        scene.text(plot.left + 4.0, y, Anchor::Left, style, &name);
        y += 0.35 * em;
        for (side, color) in [(row.planned, PLANNED), (row.actual, ACTUAL)] {
            if !with_plan && color == PLANNED {
                continue;
            }
            let length = side.map_or(0.0, |(cost, _)| cost.dollars().max(0.0));
            let end = x_at(length).max(plot.left + 2.0);
            if side.is_some() {
                scene.rect(Rect { left: plot.left, top: y, right: end, bottom: y + bar }, color);
            }
            let (label, color) = match side {
                Some((cost, _)) => (dollars(cost), Color::INK),
                None => ("not known".to_owned(), Color::GREY),
            };
            let left = end + 0.4 * em;
            let width = text::width(&label, em, false);
            let middle = y + bar / 2.0;
            scene.rect(
                Rect {
                    left: left - 2.0,
                    top: middle - 0.45 * em,
                    right: left + width + 2.0,
                    bottom: middle + 0.45 * em,
                },
                Color::WHITE,
            );
            let style = TextStyle { em, bold: false, color };
            scene.text(left, middle + 0.36 * em, Anchor::Left, style, &label);
            y += bar + 2.0;
        }
    }
    scene
}

fn draw_axis(scene: &mut Scene, plot: &Rect, axis: &Axis, em: f64) {
    let style = TextStyle { em, bold: false, color: Color::GREY };
    let width = plot.right - plot.left;
    let mut free_from = f64::NEG_INFINITY;
    for tick in axis.ticks((width / (8.0 * em)) as usize) {
        let x = plot.left + axis.share(tick.value) * width;
        scene.line(vec![(x, plot.top), (x, plot.bottom)], Color::GRID, 1.0, Dash::Solid);
        let half = text::width(&tick.label, em, false) / 2.0;
        let middle = x.max(plot.left + half - 4.0).min(plot.right - half);
        if middle - half > free_from {
            scene.text(middle, plot.bottom + 1.3 * em, Anchor::Middle, style, &tick.label);
            free_from = middle + half + 0.5 * em;
        }
    }
    scene.line(vec![(plot.left, plot.top), (plot.left, plot.bottom)], Color::GREY, 1.5, Dash::Solid);
    scene.text(plot.right, plot.bottom + 2.7 * em, Anchor::Right, style, &axis.title);
}
