//! `law`: the inverse scaling law as a table and a plot; `law fit`: the fit itself.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use shoestring_planner::architecture::Architecture;
use shoestring_planner::law::inverse::{Ablation, Tuning};
use shoestring_planner::law::{self, inverse};
use shoestring_planner::published::{self, PublishedRun};
use shoestring_planner::recipe::TextReduction;
use shoestring_planner::units::Tokens;
use shoestring_planner::{architectures, backtest, compute};
use shoestring_reports::{DropChart, DropSeries, drop_picture};

use super::read_text;
use crate::cli::{Format, LawArgs, LawCommand, LawFitArgs};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, write_file};
use crate::progress::Waiting;

/// The columns of CLIPA's own tables, and the lengths of CLIPA-v2.
const IMAGE_COLUMNS: [u32; 6] = [100, 64, 49, 36, 25, 16];
const TEXT_COLUMNS: [u32; 4] = [16, 8, 6, 4];
const TEXT_REDUCTIONS: [(&str, TextReduction); 4] = [
    ("truncate", TextReduction::Truncate),
    ("random", TextReduction::Random),
    ("block", TextReduction::Block),
    ("syntax", TextReduction::Syntax),
];

pub(crate) fn law(args: &LawArgs, printer: Printer) -> Result<Exit, Failure> {
    if let Some(LawCommand::Fit(args)) = &args.command {
        return fit(args, printer);
    }
    if !(args.drop.is_finite() && args.drop > 0.0) {
        return Err(Failure::usage(format!("--drop {}: must be more than 0 points", args.drop))
            .hint("1 tolerates one percentage point of ImageNet accuracy".to_owned()));
    }
    let chosen: Vec<&Architecture> = if args.arch.is_empty() {
        architectures::built_in().iter().filter(|one| one.vision_cfg.image_size >= 224).collect()
    } else {
        args.arch.iter().map(|name| architectures::find(name)).collect::<Result<_, _>>().map_err(|error| {
            let hint = error.hint().unwrap_or_else(|| "`shoestring law` lists every architecture".to_owned());
            Failure::new(Exit::Usage, error).hint(hint)
        })?
    };
    if let Some(path) = &args.plot {
        for written in plot(args, path, &chosen)? {
            printer.note(&format!("{} written", written.display()));
        }
    }
    match args.format {
        Format::Text => printer.data(&text(args, &chosen))?,
        Format::Json => printer.json(&object(args, &chosen))?,
    }
    Ok(Exit::Success)
}

/// Draws the image chart as `path` and the text chart beside it.
fn plot(args: &LawArgs, path: &Path, chosen: &[&Architecture]) -> Result<[PathBuf; 2], Failure> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
    if !matches!(ending.as_str(), "svg" | "png") {
        return Err(Failure::usage(format!("--plot {}: neither .svg nor .png", path.display()))
            .hint("the name's ending says how to draw: law.svg or law.png".to_owned()));
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("law");
    let beside = path.with_file_name(format!("{stem}-text.{ending}"));
    // With architectures named, theirs; else those of the published points and CLIPA-v2's.
    let sizes: Vec<&Architecture> = if args.arch.is_empty() {
        ["S/16", "B/16", "L/16", "H/14"].iter().filter_map(|name| architectures::find(name).ok()).collect()
    } else {
        chosen.iter().take(MOST_CURVES).copied().collect()
    };
    for (path, ablation) in [
        (path, Ablation::Image(args.reduction.into(), Tuning::After)),
        (beside.as_path(), Ablation::Text(args.text_reduction.into())),
    ] {
        let picture = drop_picture(&chart(ablation, &sizes)?).map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Failure, error).hint(hint)
        })?;
        write_file(path, if ending == "svg" { picture.svg.as_bytes() } else { &picture.png })?;
    }
    Ok([path.to_path_buf(), beside])
}

/// Curves that a chart's colours can tell apart.
const MOST_CURVES: usize = 6;

/// The law's curve of each architecture with the published points of the same size.
fn chart(ablation: Ablation, sizes: &[&Architecture]) -> Result<DropChart, Failure> {
    let published = ablation.back_test(published::runs())?;
    let (title, length, full_of): (String, &str, fn(&Architecture) -> Tokens) = match ablation {
        Ablation::Text(reduction) => (
            format!("Inverse scaling law: accuracy lost with captions cut by {}", name_of(&reduction)),
            "Text tokens in pretraining (logarithmic scale)",
            inverse::full_text_tokens,
        ),
        Ablation::Image(reduction, _) => (
            format!("Inverse scaling law: accuracy lost with images cut by {}", name_of(&reduction)),
            "Image tokens in pretraining (logarithmic scale)",
            inverse::full_image_tokens,
        ),
        Ablation::TuningMask => return Err(Failure::usage("masks in fine-tuning have no chart")),
    };
    let series = sizes
        .iter()
        .map(|architecture| {
            let (full, size) = (full_of(architecture), compute::parameters(architecture).image as f64);
            DropSeries {
                label: format!("{}, {:.0} M in its image tower", architecture.name, size / 1e6),
                curve: parts(ablation)
                    .map(|part| (part * f64::from(full.0), ablation.drop_points(size, part)))
                    .collect(),
                published: published
                    .iter()
                    .filter(|point| (point.image_parameters / size - 1.0).abs() < 0.1)
                    .map(|point| (point.part * published_length(ablation), point.reported))
                    .collect(),
            }
        })
        .collect();
    let caption = "Points of ImageNet zero-shot accuracy lost against pretraining at full length, after a short \
                   fine-tuning at full length. Lines are the law, dashed beyond the published sizes; marks are \
                   CLIPA's published points (arXiv 2305.07017).";
    let published = format!("marks: published (CLIPA, {})", ablation.place());
    let id = ablation.name();
    Ok(DropChart { id, title, caption: caption.to_owned(), length: length.to_owned(), published, series })
}

/// Parts of the sequence from the shortest that was tried to the whole, evenly on a logarithmic axis.
fn parts(ablation: Ablation) -> impl Iterator<Item = f64> {
    const STEPS: i32 = 80;
    (0..=STEPS).map(move |step| ablation.least_part().powf(1.0 - f64::from(step) / f64::from(STEPS)))
}

/// Tokens of the whole sequence in CLIPA's tables: 224 px in patches of 16, and captions of 32.
fn published_length(ablation: Ablation) -> f64 {
    match ablation {
        Ablation::Text(_) => f64::from(inverse::FULL_TEXT_TOKENS),
        _ => 196.0,
    }
}

/// A reduction's name as on the command line.
fn name_of(reduction: &impl std::fmt::Debug) -> String {
    match format!("{reduction:?}").to_lowercase().as_str() {
        "resize" => "resizing".to_owned(),
        "truncate" => "truncation".to_owned(),
        "syntax" => "syntax".to_owned(),
        masked => format!("a {masked} mask"),
    }
}

/// `law fit`.
fn fit(args: &LawFitArgs, printer: Printer) -> Result<Exit, Failure> {
    let (text, own);
    let (runs, csv): (&[PublishedRun], &str) = match &args.runs {
        None => (published::runs(), published::RUNS_CSV),
        Some(path) => {
            text = read_text(path)?;
            own = read_runs(path, &text)?;
            (&own, &text)
        }
    };
    let waiting = Waiting::start(printer, "fitting");
    let fitted = law::fit::fit(runs).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Failure, error).hint(hint)
    })?;
    waiting.done();
    if let Some(path) = &args.out {
        write_file(path, law::write_law(&fitted, csv).as_bytes())?;
        printer.note(&format!("{} written", path.display()));
    }
    let (one, paper) = (fitted.leave_one_out_coverage(), fitted.leave_paper_out_coverage());
    match args.format {
        Format::Text => printer.data(&format!(
            "{}\n\
             Mean absolute error in points of ImageNet accuracy, and how often the 80 % interval holds the report:\n  \
             in sample              {:.3}\n  leave one run out      {:.3}   {:.1} %\n  \
             leave one paper out    {:.3}   {:.1} %\n",
            backtest::comparable_words(&fitted),
            fitted.in_sample_error(),
            fitted.leave_one_out_error(),
            100.0 * one,
            fitted.leave_paper_out_error(),
            100.0 * paper,
        ))?,
        Format::Json => printer.json(&json!({
            "schema": "shoestring.law_fit", "version": 1, "runs_sha256": law::fingerprint(csv),
            "comparable": backtest::comparable_object(&fitted),
            "in_sample_mae_points": fitted.in_sample_error(),
            "leave_one_out_mae_points": fitted.leave_one_out_error(),
            "leave_one_out_coverage_percent": 100.0 * one,
            "leave_paper_out_mae_points": fitted.leave_paper_out_error(),
            "leave_paper_out_coverage_percent": 100.0 * paper,
            "out": args.out,
        }))?,
    }
    Ok(Exit::Success)
}

/// A table of runs that the user named.
pub(super) fn read_runs(path: &Path, text: &str) -> Result<Vec<PublishedRun>, Failure> {
    published::read_runs(&path.display().to_string(), text).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Usage, error).hint(hint)
    })
}

fn text(args: &LawArgs, chosen: &[&Architecture]) -> String {
    let reduction = args.reduction.into();
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Points of ImageNet zero-shot accuracy lost by pretraining on fewer image tokens ({:?}), after a short\n\
         fine-tuning at full length; negative: gained. Fitted on CLIPA's ablations (arXiv 2305.07017, table 11).\n",
        args.reduction
    );
    let columns = IMAGE_COLUMNS.map(Tokens);
    let _ = write!(out, "{:<22} {:>8}", "architecture", "image M");
    for tokens in columns {
        let _ = write!(out, " {:>6}", tokens.0);
    }
    let _ = writeln!(out, "   shortest for {} points", args.drop);
    for row in inverse::image_table(chosen.iter().copied(), &columns, reduction, inverse::Tuning::After) {
        let image = compute::parameters(row.architecture).image as f64 / 1e6;
        let _ = write!(out, "{:<22} {image:>8.0}", row.architecture.name);
        for drop in row.drops {
            let _ = write!(out, " {:>6}", drop.map_or("-".to_owned(), |points| format!("{points:.1}")));
        }
        let shortest = inverse::shortest_image_tokens(row.architecture, args.drop, reduction);
        let full = inverse::full_image_tokens(row.architecture);
        let _ = writeln!(out, "   {shortest} of {full} image tokens");
    }
    let _ = writeln!(
        out,
        "\nThe same for captions, by reduction (table 12), and the shortest for {} points:\n",
        args.drop
    );
    for (name, reduction) in TEXT_REDUCTIONS {
        let columns = TEXT_COLUMNS.map(Tokens);
        let _ = write!(out, "{name:<22} {:>8}", "");
        for tokens in columns {
            let _ = write!(out, " {:>6}", tokens.0);
        }
        out.push('\n');
        for row in inverse::text_table(chosen.iter().copied(), &columns, reduction) {
            let _ = write!(out, "{:<22} {:>8}", row.architecture.name, "");
            for drop in row.drops {
                let _ = write!(out, " {:>6}", drop.map_or("-".to_owned(), |points| format!("{points:.1}")));
            }
            let shortest = inverse::shortest_text_tokens(row.architecture, args.drop, reduction);
            let _ =
                writeln!(out, "   {shortest} of {} text tokens", inverse::full_text_tokens(row.architecture));
        }
    }
    out
}

fn object(args: &LawArgs, chosen: &[&Architecture]) -> serde_json::Value {
    let reduction = args.reduction.into();
    let rows: Vec<_> = chosen
        .iter()
        .map(|architecture| {
            let full = inverse::full_image_tokens(architecture);
            let size = compute::parameters(architecture).image as f64;
            let points: Vec<_> = inverse::image_lengths(architecture, reduction)
                .into_iter()
                .map(|tokens| {
                    json!({ "image_tokens": tokens.0,
                            "drop_points": inverse::drop_points(size, tokens, full, reduction) })
                })
                .collect();
            let text: serde_json::Map<_, _> = TEXT_REDUCTIONS
                .iter()
                .map(|(name, reduction)| {
                    let tokens = inverse::shortest_text_tokens(architecture, args.drop, *reduction);
                    ((*name).to_owned(), json!(tokens.0))
                })
                .collect();
            json!({
                "architecture": architecture.name, "full_image_tokens": full.0, "lengths": points,
                "shortest_image_tokens": inverse::shortest_image_tokens(architecture, args.drop, reduction).0,
                "shortest_text_tokens": text,
            })
        })
        .collect();
    json!({
        "schema": "shoestring.law", "version": 1, "tolerated_drop_points": args.drop,
        "image_reduction": format!("{:?}", args.reduction).to_lowercase(), "architectures": rows,
    })
}
