//! The layout of collections from papers: parameters and samples in millions, fine-tuning in one field, several
//! columns that say the same thing and must not contradict each other.

use super::fields::{Row, RunsError};
use super::own::{family, mask_ratio, text_reduction, tuning};
use super::{HoursBasis, PublishedRun};
use crate::dataset;
use crate::law::StageShape;
use crate::recipe::{ImageReduction, kept_image_tokens};
use crate::units::{Hours, Samples, Tokens, Usd};

/// Columns without which the table is refused.
pub(super) const NEEDED: &[&str] = &[
    "id",
    "paper",
    "model",
    "image_encoder_width_depth_patch",
    "image_params_M",
    "text_params_M",
    "dataset",
    "dataset_size_M",
    "pretrain_resolution",
    "pretrain_image_tokens",
    "pretrain_mask_ratio",
    "image_reduction",
    "pretrain_text_tokens",
    "text_reduction",
    "pretrain_samples_seen_M",
    "batch_size",
    "finetune_stages",
    "imagenet_zero_shot_top1",
    "recipe",
];

const MILLION: f64 = 1e6;

/// Reads one row.
pub(super) fn run(row: &Row<'_>) -> Result<PublishedRun, RunsError> {
    let dataset = row.needed("dataset")?;
    let stated = dataset::lookup(&dataset).and_then(|set| set.unique_samples);
    let unique =
        row.number("dataset_size_M", f64::MIN_POSITIVE)?.map(|count| Samples((count * MILLION) as u64));
    let patch_size = patch(row)?;
    let (device_hours, basis) = hours(row)?;
    let (price, cost) = money(row, device_hours)?;
    Ok(PublishedRun {
        id: row.needed("id")?,
        paper: row.needed("paper")?,
        model: row.needed("model")?,
        family: family(row, "recipe")?,
        initialised_from: row.some("init").filter(|init| init != "scratch"),
        image_parameters: row.number("image_params_M", f64::MIN_POSITIVE)?.map(|count| count * MILLION),
        text_parameters: row.needed_number("text_params_M", f64::MIN_POSITIVE)? * MILLION,
        patch_size,
        // LAION-400M is written as 400 M here and there; the set itself knows better.
        unique_samples: match (unique, stated) {
            (Some(unique), Some(stated)) if (unique.0 as f64 / stated.0 as f64 - 1.0).abs() < 0.02 => {
                Some(stated)
            }
            (unique, stated) => unique.or(stated),
        },
        dataset,
        stages: stages(row, patch_size)?,
        hardware: row.some("hardware"),
        device_hours,
        hours_basis: basis,
        usd_per_hour: price,
        cost,
        accuracy_percent: row.accuracy("imagenet_zero_shot_top1")?,
        retrieval_percent: row.percents([
            "coco_image_retrieval_R1",
            "coco_text_retrieval_R1",
            "flickr_image_retrieval_R1",
            "flickr_text_retrieval_R1",
        ])?,
        same_as: None,
        confidence: row.text("confidence").to_owned(),
        source: row.text("source").to_owned(),
        notes: row.text("notes").to_owned(),
    })
}

/// The third of `width;depth;patch`.
fn patch(row: &Row<'_>) -> Result<Option<u32>, RunsError> {
    const COLUMN: &str = "image_encoder_width_depth_patch";
    if row.text(COLUMN).is_empty() {
        return Ok(None);
    }
    let parts: Option<Vec<u32>> = row.text(COLUMN).split(';').map(|part| part.trim().parse().ok()).collect();
    match parts.as_deref() {
        Some([width, depth, patch]) if *width > 0 && *depth > 0 && *patch > 0 => Ok(Some(*patch)),
        _ => Err(row.wrong(COLUMN, "is not width;depth;patch", "write 1280;32;14 for ViT-H/14")),
    }
}

fn hours(row: &Row<'_>) -> Result<(Option<Hours>, Option<HoursBasis>), RunsError> {
    let (printed, total) = (row.number("device_hours", 0.0)?, row.number("total_gpu_hours", 0.0)?);
    if let (Some(printed), Some(total)) = (printed, total)
        && (printed - total).abs() > 0.01 * printed.max(total)
    {
        return Err(row.contradiction("total_gpu_hours", &format!("device_hours says {printed}")));
    }
    let basis = match (printed, total, row.text("hardware").contains("estimated")) {
        (None, None, _) => None,
        (Some(_), _, false) => Some(HoursBasis::Reported),
        (Some(_), _, true) => Some(HoursBasis::Estimated),
        (None, Some(_), _) => Some(HoursBasis::Inferred),
    };
    Ok((printed.or(total).map(Hours), basis))
}

/// Price per device hour and cost. Published rows keep to hours x price within 5 %.
fn money(row: &Row<'_>, hours: Option<Hours>) -> Result<(Option<Usd>, Option<Usd>), RunsError> {
    let (price, cost) = (row.number("price_per_hour_usd", 0.0)?, row.number("reported_cost_usd", 0.0)?);
    if let (Some(hours), Some(price), Some(cost)) = (hours, price, cost)
        && (hours.0 * price - cost).abs() > 0.05 * cost
    {
        let product = format!("hours x price_per_hour_usd is {:.0}", hours.0 * price);
        return Err(row.contradiction("reported_cost_usd", &product));
    }
    Ok((price.map(Usd::from_dollars), cost.map(Usd::from_dollars)))
}

fn image_reduction(row: &Row<'_>, mask: f64) -> Result<ImageReduction, RunsError> {
    let reduction = match row.text("image_reduction") {
        "" | "none" | "resize" => ImageReduction::Resize,
        "random" | "random-mask" => ImageReduction::Random,
        "grid" => ImageReduction::Grid,
        "block" => ImageReduction::Block,
        _ => {
            let hint = "one of none, resize, random-mask, grid, block, or empty";
            return Err(row.wrong("image_reduction", "is unknown", hint));
        }
    };
    if (reduction == ImageReduction::Resize) != (mask == 0.0) {
        let problem = format!("image_reduction says `{}`", row.text("image_reduction"));
        return Err(row.contradiction("pretrain_mask_ratio", &problem));
    }
    Ok(reduction)
}

/// Empty where a length or the samples are not known.
fn stages(row: &Row<'_>, patch: Option<u32>) -> Result<Vec<StageShape>, RunsError> {
    let (px, tokens) = (row.count("pretrain_resolution", 1)?, row.count("pretrain_image_tokens", 1)?);
    let text_tokens = row.count("pretrain_text_tokens", 1)?;
    let samples = row.number("pretrain_samples_seen_M", f64::MIN_POSITIVE)?;
    let mask_ratio = mask_ratio(row, "pretrain_mask_ratio")?;
    let reduction = image_reduction(row, mask_ratio)?;
    let text_reduction = text_reduction(row)?;
    let batch = row.count("batch_size", 1)?;
    let (Some(px), Some(text_tokens), Some(samples), Some(patch)) = (px, text_tokens, samples, patch) else {
        return Ok(Vec::new());
    };
    if px < patch {
        return Err(row.contradiction("pretrain_resolution", &format!("a patch has {patch} px")));
    }
    let side = px / patch;
    let expected = kept_image_tokens(reduction, mask_ratio, side).0;
    let Some(tokens) = tokens else { return Ok(Vec::new()) };
    // Masks are rounded in more than one way.
    let slack = (f64::from(side) * 1.01).max(1.0);
    if tokens > side * side
        || (reduction == ImageReduction::Resize && tokens != side * side)
        || (f64::from(tokens) - f64::from(expected)).abs() > slack
    {
        let problem = format!("{px} px in patches of {patch} with this mask make {expected} tokens");
        return Err(row.contradiction("pretrain_image_tokens", &problem));
    }
    let mut stages = vec![StageShape {
        image_size_px: px,
        image_tokens: Tokens(tokens),
        full_image_tokens: Tokens(side * side),
        image_reduction: reduction,
        mask_ratio,
        text_tokens: Tokens(text_tokens),
        text_reduction,
        samples: Samples((samples * MILLION) as u64),
        batch: batch.unwrap_or(0),
    }];
    let text = row.text("finetune_stages");
    // Prose about a tuning that nobody gives the lengths of.
    if text.contains("tuning") {
        return Ok(Vec::new());
    }
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty() && *part != "none") {
        stages.push(finetuning_stage(part, patch).ok_or_else(|| {
            row.wrong(
                "finetune_stages",
                &format!("`{part}` is no stage"),
                "write 224px/32tok/512M/mask30% (stages apart by `;`), or none",
            )
        })?);
    }
    check_tuning(row, &stages)?;
    Ok(stages)
}

/// The columns that repeat what `finetune_stages` says.
fn check_tuning(row: &Row<'_>, stages: &[StageShape]) -> Result<(), RunsError> {
    let tuned: f64 = stages.iter().skip(1).map(|stage| stage.samples.0 as f64).sum();
    if let Some(millions) = row.number("finetune_samples_M", 0.0)?
        && (millions * MILLION - tuned).abs() > 0.05 * tuned.max(MILLION)
    {
        let problem = format!("the stages in finetune_stages have {:.0} M in all", tuned / MILLION);
        return Err(row.contradiction("finetune_samples_M", &problem));
    }
    let last = stages[stages.len() - 1];
    if let Some(tokens) = row.count("final_image_tokens", 1)?
        && stages.len() > 1
        && tokens != last.full_image_tokens.0
    {
        let problem = format!("the last stage has {} patches", last.full_image_tokens.0);
        return Err(row.contradiction("final_image_tokens", &problem));
    }
    Ok(())
}

/// `224px/32tok/512M/random mask30%(batch 32768)`: brackets hold remarks, of which a batch is read; mask may be
/// absent; of two readings (`30% or 40%`) the first counts.
fn finetuning_stage(text: &str, patch: u32) -> Option<StageShape> {
    let batch = text.split("batch ").nth(1).and_then(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    let mut bare = String::new();
    let mut depth = 0i32;
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 => bare.push(letter),
            _ => {}
        }
    }
    let mut parts = bare.split('/').map(|part| part.split(" or ").next().unwrap_or(part).trim());
    let px: u32 = parts.next()?.strip_suffix("px")?.parse().ok()?;
    let text_tokens: u32 = parts.next()?.strip_suffix("tok")?.parse().ok()?;
    let samples = samples_of(parts.next()?)?;
    let mask = match parts.next() {
        None => (ImageReduction::Resize, 0.0),
        Some(mask) => mask_of(mask)?,
    };
    (parts.next().is_none() && px >= patch && text_tokens > 0)
        .then(|| tuning(px, patch, text_tokens, samples, mask, batch.unwrap_or(0)))
}

/// `131M`, `6.7B unmasked`.
fn samples_of(text: &str) -> Option<Samples> {
    let mut words = text.split_whitespace();
    let first = words.next()?;
    if !matches!((words.next(), words.next()), (None | Some("unmasked"), None)) {
        return None;
    }
    let (digits, unit) = match first.strip_suffix('M') {
        Some(digits) => (digits, MILLION),
        None => (first.strip_suffix('B')?, 1e3 * MILLION),
    };
    let count: f64 = digits.parse().ok()?;
    (count > 0.0 && count.is_finite()).then_some(Samples((count * unit) as u64))
}

/// `mask30%`, `grid mask50%`.
fn mask_of(text: &str) -> Option<(ImageReduction, f64)> {
    let (kind, percent) = text.strip_suffix('%')?.split_once("mask")?;
    let ratio = percent.trim().parse::<f64>().ok()? / 100.0;
    let reduction = match kind.trim() {
        "" | "random" => ImageReduction::Random,
        "grid" => ImageReduction::Grid,
        "block" => ImageReduction::Block,
        _ => return None,
    };
    (0.0..1.0).contains(&ratio).then_some((reduction, ratio))
}
