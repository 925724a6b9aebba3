//! The published drops: CLIPA's tables 11 and 12, and figure 2 of CLIPA-v2.

use super::{FULL_TEXT_TOKENS, Tuning};
use crate::published::PublishedRun;
use crate::recipe::{ImageReduction, TextReduction};

/// An observed drop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Drop {
    pub(super) image_parameters: f64,
    pub(super) part: f64,
    pub(super) points: f64,
}

/// Figure 2 of CLIPA-v2: image-tower parameters, part of the patches kept in fine-tuning, points lost.
pub(super) const FIGURE_2: [(f64, f64, f64); 8] = [
    (22e6, 0.5, 1.81),
    (86e6, 0.5, 1.08),
    (303e6, 0.5, 0.83),
    (631e6, 0.5, 0.40),
    (22e6, 0.2, 7.25),
    (86e6, 0.2, 5.82),
    (303e6, 0.2, 3.84),
    (631e6, 0.2, 2.57),
];

pub(super) fn figure_2() -> Vec<Drop> {
    FIGURE_2.map(|(image_parameters, part, points)| Drop { image_parameters, part, points }).to_vec()
}

/// Rows of table 11 shortened so, against the full-length row of the same encoder.
pub(super) fn image_drops(runs: &[PublishedRun], reduction: ImageReduction, tuning: Tuning) -> Vec<Drop> {
    let table: Vec<&PublishedRun> = runs.iter().filter(|run| run.id.starts_with("clipa-t11-")).collect();
    table
        .iter()
        .filter_map(|run| {
            let image_parameters = run.image_parameters?;
            let stage = run.stages.first()?;
            let after = run.stages.len() > 1;
            let full = table.iter().find(|other| {
                other.image_parameters == run.image_parameters && other.id.contains("-none-")
            })?;
            let full_tokens = full.stages.first()?.image_tokens;
            (stage.image_reduction == reduction
                && stage.image_tokens < full_tokens
                && after == (tuning == Tuning::After))
                .then(|| Drop {
                    image_parameters,
                    part: f64::from(stage.image_tokens.0) / f64::from(full_tokens.0),
                    points: full.accuracy_percent - run.accuracy_percent,
                })
        })
        .collect()
}

/// Fine-tuned rows of table 12 shortened so, against the whole-caption row of the same reduction and encoder.
pub(super) fn text_drops(runs: &[PublishedRun], reduction: TextReduction) -> Vec<Drop> {
    let table: Vec<&PublishedRun> = runs
        .iter()
        .filter(|run| run.id.starts_with("clipa-t12-") && run.stages.len() > 1)
        .filter(|run| run.stages[0].text_reduction == reduction)
        .collect();
    table
        .iter()
        .filter_map(|run| {
            let tokens = run.stages[0].text_tokens.0;
            let full = table.iter().find(|other| {
                other.image_parameters == run.image_parameters
                    && other.stages[0].text_tokens.0 == FULL_TEXT_TOKENS
            })?;
            (tokens < FULL_TEXT_TOKENS).then_some(Drop {
                image_parameters: run.image_parameters?,
                part: f64::from(tokens) / f64::from(FULL_TEXT_TOKENS),
                points: full.accuracy_percent - run.accuracy_percent,
            })
        })
        .collect()
}
