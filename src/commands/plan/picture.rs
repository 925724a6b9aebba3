//! `plan --explain --plot`: the reasoning as a picture.

use std::path::Path;

use shoestring_planner::plan::Plan;
use shoestring_planner::search;
use shoestring_planner::units::Usd;
use shoestring_reports::Choice;

use super::{drawable, failure};
use crate::failure::{Exit, Failure};
use crate::output::write_file;

/// Budgets on the frontier, from a tenth of the plan's to ten times it.
const STEPS: i32 = 12;
/// Architectures shown against tokens: those that do best.
const MOST_SERIES: usize = 5;

pub(super) fn draw(path: &Path, plan: &Plan) -> Result<(), Failure> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    if ending != "svg" && ending != "png" {
        let hint = "name the file .svg or .png".to_owned();
        return Err(Failure::usage(format!("--plot {}: neither SVG nor PNG", path.display())).hint(hint));
    }
    let Some(accuracy) = plan.chosen.accuracy() else {
        let hint = "plan for a data set that the law knows, such as --data DataComp-1B".to_owned();
        return Err(Failure::usage("--plot draws accuracies, and none is claimed on these data").hint(hint));
    };
    let picture = choice(plan, accuracy)?.drawn().map_err(|error| Failure::new(Exit::Failure, error))?;
    let bytes = if ending == "svg" { picture.svg.into_bytes() } else { picture.png };
    write_file(path, &bytes)
}

fn choice(plan: &Plan, accuracy: f64) -> Result<Choice, Failure> {
    let budget = plan.budget.dollars();
    let ladder: Vec<Usd> = (-STEPS..=STEPS)
        .map(|step| Usd::from_dollars(budget * 10f64.powf(f64::from(step) / f64::from(STEPS))))
        .collect();
    let mut request = plan.request.clone();
    request.budgets = vec![ladder[0]];
    request.target_accuracy_percent = None;
    let frontier = search::frontier(&request, &ladder).map_err(failure)?;
    let mut by_tokens: Vec<(String, Vec<(u32, f64)>)> = Vec::new();
    for row in &plan.reasoning.by_tokens {
        let point = (row.image_tokens, 100.0 - row.error_percent);
        match by_tokens.iter_mut().find(|(name, _)| *name == row.architecture) {
            Some((_, points)) => points.push(point),
            None => by_tokens.push((row.architecture.clone(), vec![point])),
        }
    }
    let best = |points: &[(u32, f64)]| points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    by_tokens.sort_by(|a, b| best(&b.1).total_cmp(&best(&a.1)));
    let chosen_name = plan.chosen.short_name();
    let is_chosen = |series: &(String, Vec<(u32, f64)>)| series.0 == chosen_name;
    if let Some(at) = by_tokens.iter().position(is_chosen).filter(|&at| at >= MOST_SERIES) {
        by_tokens.swap(MOST_SERIES - 1, at);
    }
    by_tokens.truncate(MOST_SERIES);
    Ok(Choice {
        label: plan.chosen.label(),
        budget: plan.budget,
        chosen: (plan.chosen.cost.total.p50, accuracy),
        chosen_tokens: plan.chosen.stages.first().map_or(0, |planned| planned.image_tokens.0),
        frontier: drawable(frontier),
        by_tokens,
    })
}
