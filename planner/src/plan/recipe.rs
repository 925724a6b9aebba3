//! A candidate as a recipe.

use super::{WrittenRecipe, evidence_words, money};
use crate::recipe::{
    Budget, CheckpointPolicy, Data, Hardware, Optimizer, Planned, PlannedStage, RECIPE_VERSION, Recipe,
    ScheduleProgress,
};
use crate::search::{Candidate, Request};
use crate::source::Source;
use crate::units::{Hours, Usd};

/// The recipe that carries out `candidate` under `cap`, with what it says at its top.
#[must_use]
pub fn recipe_of(request: &Request, data: &Data, candidate: &Candidate, cap: Usd) -> WrittenRecipe {
    let machine = &candidate.machine;
    let first = candidate.stages.first().map_or(0, |planned| planned.stage.image_size_px);
    let name = request.name.clone().unwrap_or_else(|| {
        let size = candidate.short_name().replace('/', "-").to_lowercase();
        format!("{size}-{first}px-{}usd", cap.to_string().replace(',', "").trim_end_matches(".00"))
    });
    let recipe = Recipe {
        version: RECIPE_VERSION,
        name,
        seed: request.seed,
        budget: Budget { cap_usd: cap, schedule_progress: ScheduleProgress::default() },
        hardware: Hardware {
            offer: machine.offer.name(),
            accelerator: machine.offer.accelerator.name.clone(),
            count: machine.devices(),
            usd_per_hour: machine.usd_per_hour,
            spot: machine.spot,
            max_usd_per_hour: None,
            billing: None,
            price_source: match machine.price_source() {
                Source::Stated => "stated".to_owned(),
                Source::Assumed { .. } => "assumed".to_owned(),
                source => source.to_string(),
            },
        },
        data: data.clone(),
        architecture: candidate.architecture.clone(),
        start: None,
        optimizer: Optimizer::default(),
        stages: candidate.stages.iter().map(|planned| planned.stage.clone()).collect(),
        evaluation: candidate.evaluation.clone(),
        checkpoint: checkpoints(candidate, cap),
        planned: Some(Planned {
            command: request.command.clone(),
            cost_usd: candidate.cost.total.p50,
            hours: candidate.cost.hours.p50,
            accuracy_percent: candidate.prediction.accuracy_percent.map(Into::into),
            stages: candidate
                .stages
                .iter()
                .map(|planned| PlannedStage {
                    name: planned.stage.name.clone(),
                    cost_usd: planned.usd.p50,
                    hours: planned.time.hours.p50,
                })
                .collect(),
        }),
    };
    let header = header(request, candidate, cap);
    WrittenRecipe { recipe, header }
}

/// As often as the bill reckons with, where that is more often than the default: interrupted machines need it.
fn checkpoints(candidate: &Candidate, cap: Usd) -> CheckpointPolicy {
    let default = CheckpointPolicy::default();
    let spent = candidate.machine.usd_per_hour.dollars() * candidate.cost.checkpoint_interval.0;
    let fraction = spent / cap.dollars().max(1e-9);
    if candidate.machine.offer.is_this_machine() || fraction >= default.every_cap_fraction {
        return default;
    }
    // Three digits are enough for a schedule.
    let digits = 10f64.powf(2.0 - fraction.log10().floor());
    CheckpointPolicy { every_cap_fraction: (fraction * digits).round() / digits, ..default }
}

fn header(request: &Request, candidate: &Candidate, cap: Usd) -> Vec<String> {
    let cost = &candidate.cost;
    let hours = |hours: Hours| hours.to_string();
    let mut lines = vec![
        candidate.label(),
        format!(
            "Cost:     {} USD (80 %: {} to {}) of a cap of {}",
            money(cost.total.p50),
            money(cost.total.p10),
            money(cost.total.p90),
            money(cap)
        ),
        format!(
            "Time:     {} (80 %: {} to {}) on {} at {} USD per hour ({})",
            hours(cost.hours.p50),
            hours(cost.hours.p10),
            hours(cost.hours.p90),
            candidate.machine.label(),
            money(candidate.machine.usd_per_hour),
            candidate.machine.price_source()
        ),
    ];
    lines.push(match candidate.prediction.accuracy_percent {
        Some(accuracy) => format!(
            "Expect:   {:.1} % ImageNet zero-shot top-1 (80 %: {:.1} to {:.1})",
            accuracy.p50, accuracy.p10, accuracy.p90
        ),
        None => "Expect:   no accuracy is claimed on these data; the plan is the best by rank".to_owned(),
    });
    if let Some(evidence) =
        candidate.evidence.as_ref().filter(|_| candidate.prediction.accuracy_percent.is_some())
    {
        lines.push(format!("Evidence: {}", evidence_words(evidence)));
    }
    if !request.command.is_empty() {
        lines.push(format!("Made by:  {}", request.command.replace(['\n', '\r'], " ")));
    }
    lines
}
