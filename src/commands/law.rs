//! `law`: the inverse scaling law as a table.

use std::fmt::Write;

use serde_json::json;
use shoestring_planner::architecture::Architecture;
use shoestring_planner::law::inverse;
use shoestring_planner::recipe::TextReduction;
use shoestring_planner::units::Tokens;
use shoestring_planner::{architectures, compute};

use crate::cli::{Format, LawArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

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
    if !(args.drop.is_finite() && args.drop > 0.0) {
        return Err(Failure::usage(format!("--drop {}: must be more than 0 points", args.drop))
            .hint("1 tolerates one percentage point of ImageNet accuracy".to_owned()));
    }
    let chosen: Vec<&Architecture> = if args.arch.is_empty() {
        architectures::built_in().iter().filter(|one| one.vision_cfg.image_size >= 224).collect()
    } else {
        args.arch.iter().map(|name| architectures::find(name)).collect::<Result<_, _>>().map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Usage, error).hint(hint)
        })?
    };
    match args.format {
        Format::Text => printer.data(&text(args, &chosen))?,
        Format::Json => printer.json(&object(args, &chosen))?,
    }
    Ok(Exit::Success)
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
