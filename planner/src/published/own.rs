//! The layout of `planner/data/runs.csv`: plain units, one column a quantity.

use super::fields::{Row, RunsError};
use super::{HoursBasis, PublishedRun};
use crate::dataset;
use crate::law::{Family, RetrievalTarget, StageShape};
use crate::recipe::{ImageReduction, TextReduction, kept_image_tokens};
use crate::units::{Hours, Samples, Tokens, Usd};

/// Columns without which the table is refused.
pub(super) const NEEDED: &[&str] = &[
    "id",
    "paper",
    "model",
    "family",
    "patch_size",
    "image_parameters",
    "text_parameters",
    "dataset",
    "unique_samples",
    "image_size_px",
    "image_tokens",
    "image_reduction",
    "image_mask_ratio",
    "text_tokens",
    "text_reduction",
    "samples",
    "batch",
    "finetune",
    "accuracy_percent",
];

/// Reads one row.
pub(super) fn run(row: &Row<'_>) -> Result<PublishedRun, RunsError> {
    let dataset = row.needed("dataset")?;
    let stated = dataset::lookup(&dataset).and_then(|set| set.unique_samples);
    let hours = row.number("device_hours", 0.0)?;
    Ok(PublishedRun {
        id: row.needed("id")?,
        paper: row.needed("paper")?,
        model: row.needed("model")?,
        family: family(row, "family")?,
        initialised_from: row.some("initialised_from"),
        image_parameters: row.number("image_parameters", 1.0)?,
        text_parameters: row.needed_number("text_parameters", 1.0)?,
        patch_size: row.count("patch_size", 1)?,
        unique_samples: row.number("unique_samples", 1.0)?.map(|count| Samples(count as u64)).or(stated),
        dataset,
        stages: stages(row)?,
        hardware: row.some("hardware"),
        device_hours: hours.map(Hours),
        hours_basis: hours_basis(row, hours)?,
        usd_per_hour: row.number("usd_per_hour", 0.0)?.map(Usd::from_dollars),
        cost: row.number("cost_usd", 0.0)?.map(Usd::from_dollars),
        accuracy_percent: row.accuracy("accuracy_percent")?,
        retrieval_percent: row.percents(RetrievalTarget::ALL.map(RetrievalTarget::column))?,
        same_as: row.some("same_as"),
        confidence: row.text("confidence").to_owned(),
        source: row.text("source").to_owned(),
        notes: row.text("notes").to_owned(),
    })
}

/// The recipe family in a column; empty is refused.
pub(super) fn family(row: &Row<'_>, column: &str) -> Result<Family, RunsError> {
    let name = row.needed(column)?;
    Family::from_name(&name).ok_or_else(|| {
        let names: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
        row.wrong(column, "is no known recipe family", &format!("one of {}", names.join(", ")))
    })
}

fn hours_basis(row: &Row<'_>, hours: Option<f64>) -> Result<Option<HoursBasis>, RunsError> {
    match (row.text("hours_basis"), hours) {
        (_, None) => Ok(None),
        ("reported", _) => Ok(Some(HoursBasis::Reported)),
        ("estimated", _) => Ok(Some(HoursBasis::Estimated)),
        ("inferred" | "", _) => Ok(Some(HoursBasis::Inferred)),
        _ => Err(row.wrong("hours_basis", "is unknown", "one of reported, estimated, inferred")),
    }
}

/// How an image is shortened; empty: by its size alone.
fn image_reduction(row: &Row<'_>) -> Result<ImageReduction, RunsError> {
    match row.text("image_reduction") {
        "" | "resize" => Ok(ImageReduction::Resize),
        "random" => Ok(ImageReduction::Random),
        "grid" => Ok(ImageReduction::Grid),
        "block" => Ok(ImageReduction::Block),
        _ => Err(row.wrong("image_reduction", "is unknown", "one of resize, random, grid, block, or empty")),
    }
}

/// How a caption is shortened; empty: from its end.
pub(super) fn text_reduction(row: &Row<'_>) -> Result<TextReduction, RunsError> {
    match row.text("text_reduction") {
        // A mask that drops padding first keeps the words, as far as they fit.
        "" | "none" | "truncate" | "padding-prioritised mask" => Ok(TextReduction::Truncate),
        "random" => Ok(TextReduction::Random),
        "block" => Ok(TextReduction::Block),
        "syntax" => Ok(TextReduction::Syntax),
        _ => {
            Err(row.wrong("text_reduction", "is unknown", "one of truncate, random, block, syntax, or empty"))
        }
    }
}

/// A fraction of patches dropped.
pub(super) fn mask_ratio(row: &Row<'_>, column: &str) -> Result<f64, RunsError> {
    match row.number(column, 0.0)? {
        Some(ratio) if ratio >= 1.0 => {
            Err(row.wrong(column, "is no fraction", "write 0.5 for half of the patches"))
        }
        ratio => Ok(ratio.unwrap_or(0.0)),
    }
}

fn stages(row: &Row<'_>) -> Result<Vec<StageShape>, RunsError> {
    let (px, tokens) = (row.count("image_size_px", 1)?, row.count("image_tokens", 1)?);
    let (text_tokens, patch) = (row.count("text_tokens", 1)?, row.count("patch_size", 1)?);
    let samples = row.number("samples", 1.0)?;
    let (reduction, text_reduction) = (image_reduction(row)?, text_reduction(row)?);
    let (mask_ratio, batch) = (mask_ratio(row, "image_mask_ratio")?, row.count("batch", 1)?);
    let (Some(px), Some(tokens), Some(text_tokens), Some(samples), Some(patch)) =
        (px, tokens, text_tokens, samples, patch)
    else {
        return Ok(Vec::new());
    };
    // A mask hides part of the grid; `resize` and no reduction use all of it.
    let full = if mask_ratio > 0.0 { (px / patch).pow(2) } else { tokens };
    let mut stages = vec![StageShape {
        image_size_px: px,
        image_tokens: Tokens(tokens),
        full_image_tokens: Tokens(full.max(tokens)),
        image_reduction: reduction,
        mask_ratio,
        text_tokens: Tokens(text_tokens),
        text_reduction,
        samples: Samples(samples as u64),
        batch: batch.unwrap_or(0),
    }];
    for part in row.text("finetune").split(';').map(str::trim).filter(|part| !part.is_empty()) {
        stages.push(finetuning_stage(part, patch).ok_or_else(|| {
            row.wrong(
                "finetune",
                &format!("`{part}` is no stage"),
                "write `224px 32tok 524288000 random 0.3 batch 32768`; mask and batch may be left out",
            )
        })?);
    }
    Ok(stages)
}

/// `224px 32tok 524288000 random 0.3 batch 32768`; mask and batch may be absent.
fn finetuning_stage(text: &str, patch: u32) -> Option<StageShape> {
    let mut words = text.split_whitespace();
    let px: u32 = words.next()?.strip_suffix("px")?.parse().ok()?;
    let text_tokens: u32 = words.next()?.strip_suffix("tok")?.parse().ok()?;
    let samples: u64 = words.next()?.parse().ok()?;
    let (mut reduction, mut mask_ratio, mut batch) = (ImageReduction::Resize, 0.0, 0);
    while let Some(word) = words.next() {
        let value = words.next()?;
        reduction = match word {
            "batch" => {
                batch = value.parse().ok()?;
                continue;
            }
            "random" => ImageReduction::Random,
            "grid" => ImageReduction::Grid,
            "block" => ImageReduction::Block,
            _ => return None,
        };
        mask_ratio = value.parse().ok()?;
    }
    Some(tuning(px, patch, text_tokens, Samples(samples), (reduction, mask_ratio), batch))
}

/// A fine-tuning stage: whole captions, patches masked as said.
pub(super) fn tuning(
    px: u32,
    patch: u32,
    text_tokens: u32,
    samples: Samples,
    (image_reduction, mask_ratio): (ImageReduction, f64),
    batch: u32,
) -> StageShape {
    let side = (px / patch).max(1);
    StageShape {
        image_size_px: px,
        image_tokens: kept_image_tokens(image_reduction, mask_ratio, side),
        full_image_tokens: Tokens(side * side),
        image_reduction,
        mask_ratio,
        text_tokens: Tokens(text_tokens),
        text_reduction: TextReduction::Truncate,
        samples,
        batch,
    }
}
