//! `calibrate`: measures this machine.

use std::fmt::Write;

use serde_json::json;
use shoestring_experiments::calibrate;
use shoestring_planner::calibration::Calibration;

use crate::cli::{CalibrateArgs, Format};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, write_file};
use crate::progress::bar;

pub(crate) fn calibrate(args: &CalibrateArgs, printer: Printer) -> Result<Exit, Failure> {
    let bar = bar(printer, 1, "measuring");
    // Checkpoints are written near by: measured on the same disk.
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(std::path::Path::new("."));
    let today = super::today().to_string();
    let calibration = calibrate::measure(f64::from(args.seconds), folder, &today, &mut |measuring| {
        bar.set_length(measuring.total as u64);
        bar.set_position(measuring.done as u64);
        bar.set_message(measuring.what);
    })
    .map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Failure, error).hint(hint)
    })?;
    bar.finish_and_clear();
    write_file(&args.out, calibration.write()?.as_bytes())?;
    match args.format {
        Format::Text => printer.data(&text(args, &calibration))?,
        Format::Json => {
            let mut object = json!({ "schema": "shoestring.calibration", "file": args.out });
            let measured = serde_json::to_value(&calibration)?;
            for (key, value) in measured.as_object().into_iter().flatten() {
                object[key] = value.clone();
            }
            printer.json(&object)?;
        }
    }
    Ok(Exit::Success)
}

fn text(args: &CalibrateArgs, calibration: &Calibration) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} (training steps of two towers, batch as stated)\n", calibration.machine);
    let _ = writeln!(
        out,
        "{:>6} {:>13} {:>12} {:>6} {:>10} {:>9}",
        "width", "image tokens", "text tokens", "batch", "samples/s", "GFLOP/s"
    );
    for row in &calibration.rows {
        let _ = writeln!(
            out,
            "{:>6} {:>13} {:>12} {:>6} {:>10.1} {:>9.2}",
            row.width,
            row.image_tokens,
            row.text_tokens,
            row.batch,
            row.samples_per_second,
            row.flops_per_second / 1e9
        );
    }
    let _ = writeln!(
        out,
        "\n{:>6} {:>9} {:>7} {:>18}   (read, cropped, resized, one core)",
        "format", "stored px", "px", "pictures/s per core"
    );
    for row in &calibration.pictures {
        let _ = writeln!(
            out,
            "{:>6} {:>9} {:>7} {:>18.0}",
            row.format.word(),
            row.stored_px,
            row.image_size_px,
            row.per_second_per_core
        );
    }
    if let Some(rate) = calibration.checkpoint_bytes_per_second {
        let _ = writeln!(out, "\na checkpoint is written at {:.0} MB/s", rate / 1e6);
    }
    let _ = writeln!(out, "\n{}", args.out.display());
    out
}
