//! The plan as one JSON object: additions allowed, renames not.

use serde_json::{Map, Value, json};

use super::{OwnRunsEffect, PLAN_SCHEMA, PLAN_VERSION, Plan, Tier, TierPlan};
use crate::search::Candidate;
use crate::spread::Spread;
use crate::units::{Hours, Usd};

impl Plan {
    /// `{"schema": "shoestring.plan", "version": 1, ...}`; keys end in their unit, numbers are numbers.
    #[must_use]
    pub fn json(&self) -> Value {
        let runner_ups = self.runner_ups.iter().map(|runner_up| {
            let mut value = candidate_json(&runner_up.candidate);
            value.insert("kind".into(), runner_up.kind.into());
            value.insert("why".into(), runner_up.why.clone().into());
            Value::Object(value)
        });
        let published = self.published.iter().map(|row| {
            let mut value = candidate_json(&row.candidate);
            value.insert("run".into(), row.id.clone().into());
            value.insert("reported_accuracy_percent".into(), row.reported_accuracy_percent.into());
            value.insert("reported_cost_usd".into(), row.reported_cost.map(Usd::dollars).into());
            Value::Object(value)
        });
        let binding =
            self.binding.iter().map(|binding| json!({"kind": binding.kind, "words": binding.words}));
        let sources = self
            .sources
            .iter()
            .map(|note| json!({"what": note.what, "value": note.value, "source": note.source}));
        json!({
            "schema": PLAN_SCHEMA,
            "version": PLAN_VERSION,
            "command": self.request.command,
            "date": self.request.today.to_string(),
            "budget_usd": self.budget.dollars(),
            "confidence": self.request.confidence,
            "chosen": candidate_json(&self.chosen),
            "retrieval_percent": self.retrieval_json(),
            "tie": {
                "tolerance_points": self.tie.tolerance_points,
                "tied": self.tie.tied,
                "most_accurate": candidate_json(&self.tie.best),
                "words": self.tie.words,
            },
            "binding": binding.collect::<Vec<_>>(),
            "marginal": {
                "more_usd": self.marginal.more_usd.dollars(),
                "accuracy_points": self.marginal.points,
                "words": self.marginal.words,
            },
            "runner_ups": runner_ups.collect::<Vec<_>>(),
            "published": published.collect::<Vec<_>>(),
            "inverse_law": self.inverse_law,
            "sources": sources.collect::<Vec<_>>(),
            "target": self.target.map(|target| json!({
                "accuracy_percent": target.accuracy_percent,
                "probability": target.probability,
            })),
            "sensitivity": self.sensitivity.iter().map(|row| json!({
                "what": row.what,
                "changes": row.changes,
                "plan": row.plan.as_ref().map(candidate_json),
            })).collect::<Vec<_>>(),
            "shadow_prices": self.shadow_prices.iter().map(|row| json!({
                "one_more": row.what,
                "accuracy_points": row.points,
                "words": row.words,
            })).collect::<Vec<_>>(),
            "reasoning": self.reasoning_json(),
            "remarks": self.remarks,
            "own_runs": self.own_runs.as_ref().map(OwnRunsEffect::json),
            "tiers": self.tiers.iter().map(tier).collect::<Vec<_>>(),
            "recipe": self.recipe.recipe,
        })
    }
}

impl Plan {
    fn reasoning_json(&self) -> Value {
        let reasoning = &self.reasoning;
        let by_size = reasoning.by_size.iter().map(|row| {
            json!({
                "architecture": row.architecture,
                "feasible_shapes": row.feasible,
                "image_size_px": row.image_size_px,
                "text_tokens": row.text_tokens,
                "samples": row.samples.0,
                "raw_error_percent": row.error_percent,
                "machine": row.machine,
                "rough_cost_usd": row.usd,
            })
        });
        let by_reduction = reasoning.by_reduction.iter().map(|row| {
            json!({
                "image_reduction": row.reduction,
                "image_size_px": row.image_size_px,
                "image_tokens": row.image_tokens,
                "raw_error_percent": row.error_percent,
                "pretrained_raw_error_percent": row.pretrained_error_percent,
                "chosen": row.chosen,
            })
        });
        let tied = reasoning.tied.iter().map(|row| {
            json!({
                "label": row.label,
                "raw_error_percent": row.error_percent,
                "evidence_distance": row.distance,
            })
        });
        let by_tokens = reasoning.by_tokens.iter().map(|row| {
            json!({
                "architecture": row.architecture,
                "image_tokens": row.image_tokens,
                "raw_error_percent": row.error_percent,
            })
        });
        json!({
            "candidates": reasoning.candidates,
            "shapes": reasoning.shapes,
            "feasible_shapes": reasoning.feasible,
            "by_size": by_size.collect::<Vec<_>>(),
            "by_reduction": by_reduction.collect::<Vec<_>>(),
            "tied": tied.collect::<Vec<_>>(),
            "by_tokens": by_tokens.collect::<Vec<_>>(),
        })
    }
}

fn tier(tier: &Tier) -> Value {
    let planned = |planned: &TierPlan| {
        let mut value = candidate_json(&planned.candidate);
        value.insert("gained_points".into(), planned.points.into());
        value.insert("words".into(), planned.words.clone().into());
        value.insert("recipe".into(), json!(planned.recipe.recipe));
        Value::Object(value)
    };
    json!({
        "budget_usd": tier.budget.dollars(),
        "meant": if tier.extension.is_some() { "extension" } else { "fresh" },
        "words": tier.words,
        "extension": tier.extension.as_ref().map(planned),
        "fresh": planned(&tier.fresh),
    })
}

fn usd(spread: Spread<Usd>) -> Value {
    json!({"p10": spread.p10.dollars(), "p50": spread.p50.dollars(), "p90": spread.p90.dollars()})
}

fn hours(spread: Spread<Hours>) -> Value {
    json!({"p10": spread.p10.0, "p50": spread.p50.0, "p90": spread.p90.0})
}

fn percent(spread: Spread) -> Value {
    json!({"p10": spread.p10, "p50": spread.p50, "p90": spread.p90})
}

pub(super) fn candidate_json(candidate: &Candidate) -> Map<String, Value> {
    let devices = f64::from(candidate.machine.devices());
    let stages = candidate.stages.iter().zip(&candidate.memory).map(|(planned, memory)| {
        let stage = &planned.stage;
        json!({
            "name": stage.name,
            "image_size_px": stage.image_size_px,
            "image_tokens": planned.image_tokens.0,
            "image_reduction": stage.image_reduction,
            "image_mask_ratio": stage.image_mask_ratio,
            "text_tokens": stage.text_tokens.0,
            "text_reduction": stage.text_reduction,
            "samples": stage.samples.0,
            "batch": stage.batch,
            "microbatch": memory.microbatch,
            "memory_gb": memory.bytes.total() / 1e9,
            "learning_rate": stage.learning_rate,
            "warmup_samples": stage.warmup_samples.0,
            "hours": hours(planned.time.hours),
            "gpu_hours": planned.time.hours.p50.0 * devices,
            "samples_per_second": percent(planned.time.samples_per_second),
            "decoding_binds": planned.time.decoding_binds,
            "cost_usd": usd(planned.usd),
        })
    });
    let bill = candidate.cost.lines.iter().map(|line| {
        json!({"what": line.what, "cost_usd": usd(line.usd), "hours": hours(line.hours), "source": line.source})
    });
    let evidence = candidate.evidence.as_ref().map(|evidence| {
        json!({
            "run": evidence.id,
            "citation": evidence.citation,
            "accuracy_percent": evidence.accuracy_percent,
            "distance": evidence.distance,
            "differences": evidence.differences,
        })
    });
    let value = json!({
        "architecture": candidate.architecture.name,
        "label": candidate.label(),
        "hardware": {
            "offer": candidate.machine.offer.name(),
            "accelerator": candidate.machine.offer.accelerator.name,
            "count": candidate.machine.devices(),
            "machines": candidate.machine.nodes,
            "spot": candidate.machine.spot,
            "usd_per_hour": candidate.machine.usd_per_hour.dollars(),
            "price_source": candidate.machine.price_source(),
        },
        "stages": stages.collect::<Vec<_>>(),
        "cost_usd": usd(candidate.cost.total),
        "hours": hours(candidate.cost.hours),
        "gpu_hours": candidate.device_hours(),
        "accuracy_percent": candidate.prediction.accuracy_percent.map(percent),
        "raw_error_percent": candidate.prediction.error_percent,
        "evidence_distance": candidate.prediction.distance,
        "evidence": evidence,
        "extrapolation": candidate.extrapolation,
        "bill": bill.collect::<Vec<_>>(),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
