//! Loss over samples seen of one run, with its stages.

use super::Draft;
use super::axis::Axis;
use super::frame::{Entry, Form, Frame, Swatch};
use super::scene::{Anchor, Color, Dash, Rect, Scene};
use super::text;
use crate::read::{MetricRow, RunRecord};
use crate::words::{counted, printable, significant};

/// Points drawn at most; more are averaged in groups, since they would lie in the same pixels.
const POINTS: usize = 700;

/// A stage as it went.
struct Stage {
    name: String,
    /// Samples seen before and after it.
    from: f64,
    to: f64,
    /// What a model that knows nothing would have: the logarithm of the batch.
    chance: Option<f64>,
    /// Samples seen and loss.
    points: Vec<(f64, f64)>,
}

/// `None` while no loss was recorded.
pub(super) fn chart(run: &RunRecord) -> Option<Draft> {
    let stages = stages(run);
    let last = stages.iter().rev().find_map(|stage| stage.points.last())?;
    let total: usize = stages.iter().map(|stage| stage.points.len()).sum();
    let every = total.div_ceil(POINTS).max(1);
    let mut caption = format!(
        "Contrastive loss of {} in order; the last one is {}.",
        counted(stages.len(), "stage", "stages"),
        significant(last.1)
    );
    if stages.iter().any(|stage| stage.chance.is_some()) {
        caption += " Guessing costs the natural logarithm of the batch, so stages with different batches do not \
                    compare directly.";
    }
    if every > 1 {
        caption += &format!(" Each point is the mean of {every} measurements.");
    }
    let title = format!("Loss over samples seen: {}", run.label);
    let id = format!("loss-{}", run.slug);
    Some(Draft::new(id, title, caption, |form, title| lay_out(form, title, &stages, every)))
}

fn stages(run: &RunRecord) -> Vec<Stage> {
    let mut out: Vec<Stage> = Vec::new();
    for row in &run.metrics {
        if out.last().is_none_or(|stage| stage.name != row.stage) {
            let from = out.last().map_or(0.0, |stage| stage.to);
            let batch =
                run.recipe.stages.iter().find(|stage| stage.name == row.stage).map(|stage| stage.batch);
            let chance = batch.map(|batch| f64::from(batch).ln());
            out.push(Stage { name: row.stage.clone(), from, to: from, chance, points: Vec::new() });
        }
        if let Some(stage) = out.last_mut() {
            stage.to = stage.to.max(row.samples_seen as f64);
            stage.points.extend(point(row));
        }
    }
    out
}

fn point(row: &MetricRow) -> Option<(f64, f64)> {
    row.loss.filter(|loss| loss.is_finite()).map(|loss| (row.samples_seen as f64, loss))
}

fn lay_out(form: Form, title: &str, stages: &[Stage], every: usize) -> Scene {
    let mut legend = vec![Entry::new(Swatch::Line(Dash::Solid), Color::BLUE, "loss")];
    if stages.iter().any(|stage| stage.chance.is_some()) {
        legend.push(Entry::new(Swatch::Line(Dash::Dotted), Color::GREY, "guessing, ln(batch)"));
    }
    if stages.len() > 1 {
        legend.push(Entry::new(Swatch::Line(Dash::Dashed), Color::VERMILLION, "stage boundary"));
    }
    let end = stages.last().map_or(1.0, |stage| stage.to).max(1.0);
    let losses = || stages.iter().flat_map(|stage| stage.points.iter().map(|point| point.1));
    let chances = || stages.iter().filter_map(|stage| stage.chance);
    let most = losses().chain(chances()).fold(0.0, f64::max);
    let least = losses().fold(0.0, f64::min);
    let x = Axis::samples(end * 1.02);
    // Room above the lines for the stages' names.
    let y = Axis::linear("Loss in nats", least, least + 1.15 * (most - least).max(0.1));
    let mut frame = Frame::new(form, title, &legend, x, y);
    for stage in stages {
        if let Some(chance) = stage.chance {
            frame.line(&[(stage.from, chance), (stage.to, chance)], Color::GREY, Dash::Dotted);
        }
    }
    for stage in &stages[1..] {
        let x = frame.x_at(stage.from);
        let ends = vec![(x, frame.plot.top), (x, frame.plot.bottom)];
        frame.scene.line(ends, Color::VERMILLION, 1.5, Dash::Dashed);
    }
    for stage in stages {
        let averaged: Vec<(f64, f64)> = stage
            .points
            .chunks(every)
            .map(|group| {
                let count = group.len() as f64;
                let x = group.iter().map(|point| point.0).sum::<f64>() / count;
                (x, group.iter().map(|point| point.1).sum::<f64>() / count)
            })
            .collect();
        if let [(x, y)] = averaged[..] {
            let (at, radius) = (frame.at(x, y), frame.sizes.mark * 0.7);
            frame.scene.mark(at, super::scene::Shape::Circle, radius, Color::BLUE);
        }
        frame.line(&averaged, Color::BLUE, Dash::Solid);
    }
    name_stages(&mut frame, stages);
    frame.scene
}

/// Names the stages along the top of the plot, in a second or third row where a name is wider than its stage.
fn name_stages(frame: &mut Frame, stages: &[Stage]) {
    let (plot, em) = (frame.plot, frame.sizes.small);
    let style = frame.sizes.small_style(Color::INK);
    let mut taken: Vec<Rect> = Vec::new();
    for stage in stages {
        let name = text::fitted(&printable(&stage.name), em, false, 0.45 * (plot.right - plot.left));
        let width = text::width(&name, em, false);
        let left = frame.x_at(stage.from) + 0.4 * em;
        let left = left.min(plot.right - width);
        let free = (0..3).map(|row| plot.top + 1.3 * em + 1.3 * em * f64::from(row)).find_map(|baseline| {
            let area =
                Rect { left, top: baseline - 0.9 * em, right: left + width, bottom: baseline + 0.3 * em };
            (!taken.iter().any(|other| other.overlaps(&area.grown(0.3 * em)))).then_some((baseline, area))
        });
        if let Some((baseline, area)) = free {
            // The boundary lines of later stages pass behind the name.
            frame.scene.rect(area, Color::WHITE.faded(0.85));
            frame.scene.text(left, baseline, Anchor::Left, style, &name);
            taken.push(area);
        }
    }
}
