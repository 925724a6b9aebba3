//! `data repack`.

use std::ops::ControlFlow;

use serde_json::json;
use shoestring_data::{RepackRequest, find_source};
use shoestring_planner::recipe::DataSource;
use shoestring_planner::units::Usd;

use super::{bytes, causes, failure};
use crate::cli::{Format, RepackArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;
use crate::progress::bar;

pub(crate) fn repack(args: &RepackArgs, printer: Printer) -> Result<Exit, Failure> {
    let (source, data) = find_source(&args.data).map_err(failure)?;
    let DataSource::Webdataset { shards } = source else {
        return Err(Failure::usage(format!("{}: no shards", args.data.join(" ")))
            .hint("only tar shards can be written again".to_owned()));
    };
    let request = RepackRequest {
        shards,
        out: args.out.clone(),
        shorter_side_px: args.size,
        quality: args.quality,
        data,
    };
    let bar = bar(printer, 1, "repacking");
    let done = shoestring_data::repack(&request, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        ControlFlow::Continue(())
    })
    .map_err(failure)?;
    bar.finish_and_clear();
    let saved = done.bytes_before as f64 - done.bytes_after as f64;
    let saved_usd = args.egress_price.map(|price| {
        let micros = price.micros() as f64 * saved / 1e9;
        Usd::from_micros(micros.round() as i64)
    });
    let faster =
        (done.decode_seconds_after > 0.0).then(|| done.decode_seconds_before / done.decode_seconds_after);
    match args.format {
        Format::Json => printer.json(&json!({
            "schema": "shoestring.data_repack", "version": 1,
            "out": args.out, "shards": done.shards, "samples": done.samples,
            "left_out_samples": done.counts.bad_total(),
            "left_out_samples_by_cause": causes(&done.counts),
            "examples": done.counts.examples,
            "bytes_before": done.bytes_before, "bytes_after": done.bytes_after,
            "decode_seconds_before": done.decode_seconds_before, "decode_seconds_after": done.decode_seconds_after,
            "egress_saved_usd": saved_usd.map(|usd| usd.micros() as f64 / 1e6),
        }))?,
        Format::Text => {
            let mut text = format!(
                "{}: {} samples in {} shards, {} instead of {} ({:.0} % less)\n",
                args.out.join("dataset.toml").display(),
                done.samples,
                done.shards,
                bytes(done.bytes_after as f64),
                bytes(done.bytes_before as f64),
                100.0 * saved / (done.bytes_before as f64).max(1.0),
            );
            if done.counts.bad_total() > 0 {
                text += &format!("left out: {}; for example {}\n", done.counts.causes(), done.counts.examples.join("; "));
            }
            if let Some(faster) = faster {
                text += &format!(
                    "decoding a picture: {:.2} ms instead of {:.2} ms ({faster:.1} times as fast)\n",
                    1e3 * done.decode_seconds_after,
                    1e3 * done.decode_seconds_before,
                );
            }
            if let Some(usd) = saved_usd {
                text += &format!("moving it once costs {usd} less\n");
            }
            printer.data(&text)?;
        }
    }
    Ok(Exit::Success)
}
