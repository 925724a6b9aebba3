//! Existing recipes side by side, as text and JSON.

use serde_json::{Value, json};

use super::json::candidate_json;
use super::table::{Table, wrapped};
use super::{OwnRunsEffect, money};
use crate::memory::{Activations, State};
use crate::search::Assessment;
use crate::units::{Usd, grouped};

const COLUMNS: usize = 100;

/// A number of an assessment, whose difference is shown.
type Number<'a> = &'a dyn Fn(&Assessment) -> Option<f64>;

/// Cost, time, memory and accuracy of recipes, one column each.
#[must_use]
pub fn assessments_text(found: &[Assessment]) -> String {
    let mut out = Vec::new();
    let heads = [vec![""; 1], vec!["recipe"; 1], vec!["a", "b"]];
    let head: Vec<&'static str> = if found.len() == 1 {
        [heads[0].clone(), heads[1].clone()].concat()
    } else {
        [heads[0].clone(), heads[2].clone(), vec!["b - a"]].concat()
    };
    let mut table = Table::new(&head);
    let mut row = |what: &str, value: &dyn Fn(&Assessment) -> String, number: Option<Number<'_>>| {
        let mut cells = vec![what.to_owned()];
        cells.extend(found.iter().map(value));
        if found.len() == 2 {
            let difference = number.and_then(|number| Some(number(&found[1])? - number(&found[0])?));
            cells.push(difference.map_or_else(String::new, |difference| format!("{difference:+.2}")));
        }
        table.row(cells);
    };
    let dollars = |usd: Usd| usd.dollars();
    row("name", &|found| found.name.clone(), None);
    row("architecture", &|found| found.candidate.short_name(), None);
    row("cap, USD", &|found| money(found.cap), Some(&|found| Some(dollars(found.cap))));
    row(
        "cost, USD",
        &|found| money(found.candidate.cost.total.p50),
        Some(&|found| Some(dollars(found.candidate.cost.total.p50))),
    );
    row("  80 %: from", &|found| money(found.candidate.cost.total.p10), None);
    row("  to", &|found| money(found.candidate.cost.total.p90), None);
    row("within the cap", &|found| format!("{:.0} %", 100.0 * found.within_cap), None);
    row(
        "time",
        &|found| found.candidate.cost.hours.p50.to_string(),
        Some(&|found| Some(found.candidate.cost.hours.p50.0)),
    );
    row(
        "device hours",
        &|found| format!("{:.1}", found.candidate.device_hours()),
        Some(&|found| Some(found.candidate.device_hours())),
    );
    row("USD per hour", &|found| money(found.candidate.machine.usd_per_hour), None);
    let memory = |found: &Assessment| {
        found.candidate.memory.iter().map(|fit| fit.bytes.total() / 1e9).fold(0.0, f64::max)
    };
    row("memory a device, GB", &|found| format!("{:.1}", memory(found)), Some(&|found| Some(memory(found))));
    row(
        "accuracy, %",
        &|found| {
            found.candidate.accuracy().map_or("not claimed".to_owned(), |accuracy| format!("{accuracy:.1}"))
        },
        Some(&|found| found.candidate.accuracy()),
    );
    row(
        "  80 %",
        &|found| {
            found
                .candidate
                .prediction
                .accuracy_percent
                .map_or("-".to_owned(), |spread| format!("{:.1} to {:.1}", spread.p10, spread.p90))
        },
        None,
    );
    out.extend(table.lines(COLUMNS));
    for (index, assessed) in found.iter().enumerate() {
        out.push(String::new());
        let which = if found.len() == 1 { String::new() } else { format!("{}: ", ["a", "b"][index.min(1)]) };
        out.push(format!(
            "  {which}{} on {}",
            assessed.candidate.short_name(),
            assessed.candidate.machine.label()
        ));
        for (planned, fit) in assessed.candidate.stages.iter().zip(&assessed.candidate.memory) {
            let stage = &planned.stage;
            let activations = match fit.activations {
                Activations::Kept => "",
                Activations::Recomputed => ", blocks recomputed",
            };
            let state = match fit.state {
                State::Replicated => "",
                State::Sharded => ", state sharded",
            };
            let binds = if planned.time.decoding_binds { ", decoding binds" } else { "" };
            let words = format!(
                "{}: {} px ({} tokens), {} text tokens, {} samples in batches of {} ({} at a time, {:.0} \
                 GB{activations}{state}): {}, {} USD{binds}",
                stage.name,
                stage.image_size_px,
                planned.image_tokens,
                stage.text_tokens,
                stage.samples,
                grouped(u64::from(stage.batch)),
                fit.microbatch,
                fit.bytes.total() / 1e9,
                planned.time.hours.p50,
                money(planned.usd.p50)
            );
            out.extend(wrapped("    ", &words, COLUMNS));
        }
        for line in assessed.candidate.cost.lines.iter().filter(|line| !line.what.ends_with("device time")) {
            out.push(format!("    {}: {} USD", line.what, money(line.usd.p50)));
        }
        for outside in &assessed.candidate.extrapolation {
            out.extend(wrapped("    extrapolated: ", outside, COLUMNS));
        }
        if let Some(own) = &assessed.own_runs {
            out.extend(wrapped("    your own runs: ", &own.words(), COLUMNS));
        }
    }
    out.push(String::new());
    out.join("\n")
}

/// `{"schema": "shoestring.assessment", "version": 1, "recipes": [...]}`.
#[must_use]
pub fn assessments_json(found: &[Assessment]) -> Value {
    let recipes: Vec<Value> = found
        .iter()
        .map(|assessed| {
            let mut value = candidate_json(&assessed.candidate);
            value.insert("name".into(), assessed.name.clone().into());
            value.insert("cap_usd".into(), assessed.cap.dollars().into());
            value.insert("within_cap_probability".into(), assessed.within_cap.into());
            let own = assessed.own_runs.as_ref().map(OwnRunsEffect::json);
            value.insert("own_runs".into(), own.unwrap_or_default());
            Value::Object(value)
        })
        .collect();
    json!({"schema": "shoestring.assessment", "version": 1, "recipes": recipes})
}
