//! `data inspect`.

use std::fmt::Write;
use std::ops::ControlFlow;

use serde_json::{Value, json};
use shoestring_data::{InspectRequest, Inspection, Spread, find_source};
use shoestring_planner::recipe::DataSource;
use shoestring_planner::units::Samples;

use super::{bytes, causes, failure};
use crate::cli::{Format, InspectArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;
use crate::progress::bar;

pub(crate) fn inspect(args: &InspectArgs, printer: Printer) -> Result<Exit, Failure> {
    if let Some(rate) = args.compute_rate.filter(|rate| !(rate.is_finite() && *rate > 0.0)) {
        return Err(Failure::usage(format!("--compute-rate {rate}: must be more than 0"))
            .hint("samples a second, as `calibrate` or `bench` print them".to_owned()));
    }
    let (mut source, data) = find_source(&args.data).map_err(failure)?;
    if let DataSource::List { image_column, caption_column, .. } = &mut source {
        for (column, asked) in [(image_column, &args.image_column), (caption_column, &args.caption_column)] {
            asked.iter().for_each(|name| column.clone_from(name));
        }
    } else if args.image_column.is_some() || args.caption_column.is_some() {
        return Err(Failure::usage(format!("{}: only a table has columns", args.data.join(" "))).hint(
            "name a .csv, .tsv or .parquet file, or leave --image-column and --caption-column out".to_owned(),
        ));
    }
    let request = InspectRequest {
        source,
        drawn: data.map_or(Samples(0), |data| data.unique_samples),
        samples: args.samples,
        image_size_px: args.image_size,
        tokenizer: args.tokenizer.into(),
        text_tokens: args.text_tokens.clone(),
    };
    let bar = bar(printer, args.samples, "reading");
    let found = shoestring_data::inspect(&request, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        ControlFlow::Continue(())
    })
    .map_err(failure)?;
    bar.finish_and_clear();
    found.warnings.iter().for_each(|warning| printer.note(warning));
    let here = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let cores = args.cores.unwrap_or(here).max(1);
    match args.format {
        Format::Text => printer.data(&text(args, &found, cores))?,
        Format::Json => printer.json(&object(args, &found, cores))?,
    }
    Ok(Exit::Success)
}

/// Whether the reading (on so many cores) or the model will be the bound.
fn bound(args: &InspectArgs, found: &Inspection, cores: u32) -> Option<&'static str> {
    let reading = found.samples_per_second_per_core * f64::from(cores);
    args.compute_rate.map(|compute| if reading < compute { "loader" } else { "compute" })
}

fn text(args: &InspectArgs, found: &Inspection, cores: u32) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<22} {value}");
    };
    line("samples", found.samples.to_string());
    if found.shards > 0 {
        line("shards", format!("{}, {}", found.shards, bytes(found.shard_bytes as f64)));
    }
    line("looked at", found.counts.drawn().to_string());
    line(
        "cannot be used",
        match found.counts.bad_total() {
            0 => "0".to_owned(),
            bad => format!("{bad}: {}", found.counts.causes()),
        },
    );
    found.counts.examples.iter().for_each(|example| line("  for example", example.clone()));
    let spread = |of: &Spread, unit: &str| {
        format!(
            "{} least, {} (p10), {} (p50), {} (p90), {} most{unit}",
            of.least, of.p10, of.p50, of.p90, of.most
        )
    };
    if !found.formats.is_empty() {
        let formats = found.formats.iter().map(|(format, count)| format!("{count} {format}"));
        line("pictures", formats.collect::<Vec<_>>().join(", "));
        line("bytes of a picture", spread(&found.picture_bytes, ""));
    }
    if found.counts.good == 0 {
        return out;
    }
    line("shorter side", spread(&found.shorter_side_px, " px"));
    line("longer side", spread(&found.longer_side_px, " px"));
    line("caption", spread(&found.caption_tokens, " tokens, markers included"));
    for (length, cut) in &found.cut {
        line("", format!("{:5.1} % are cut at {length} tokens", 100.0 * cut));
    }
    let rate = found.samples_per_second_per_core;
    line("reading", format!("{rate:.0} samples a second and core at {} px", args.image_size));
    line("", format!("{:.0} on {cores} cores", rate * f64::from(cores)));
    match (bound(args, found, cores), args.compute_rate) {
        (Some("loader"), Some(compute)) => {
            let needed = (compute / rate.max(f64::MIN_POSITIVE)).ceil();
            line(
                "bound",
                format!(
                    "the reading: {compute:.0} samples a second need {needed} cores, or smaller pictures (data repack)"
                ),
            );
        }
        (Some(_), Some(compute)) => line("bound", format!("the model, at {compute:.0} samples a second")),
        _ => {}
    }
    out
}

fn object(args: &InspectArgs, found: &Inspection, cores: u32) -> Value {
    let spread = |of: &Spread| json!({"least": of.least, "p10": of.p10, "p50": of.p50, "p90": of.p90, "most": of.most});
    json!({
        "schema": "shoestring.data_inspect", "version": 1,
        "samples": found.samples,
        "shards": found.shards,
        "shard_bytes": found.shard_bytes,
        "looked_at_samples": found.counts.drawn(),
        "bad_samples": found.counts.bad_total(),
        "bad_samples_by_cause": causes(&found.counts),
        "examples": found.counts.examples,
        "pictures_by_format": found.formats,
        "picture_bytes": spread(&found.picture_bytes),
        "shorter_side_px": spread(&found.shorter_side_px),
        "longer_side_px": spread(&found.longer_side_px),
        "caption_tokens": spread(&found.caption_tokens),
        "cut": found.cut.iter().map(|(length, cut)| json!({"text_tokens": length, "cut_percent": 100.0 * cut})).collect::<Vec<_>>(),
        "image_size_px": args.image_size,
        "samples_per_second_per_core": found.samples_per_second_per_core,
        "cores": cores,
        "samples_per_second": found.samples_per_second_per_core * f64::from(cores),
        "compute_samples_per_second": args.compute_rate,
        "bound": bound(args, found, cores),
        "warnings": found.warnings,
    })
}
