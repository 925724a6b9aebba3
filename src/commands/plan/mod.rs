//! `plan`: a budget becomes a recipe.

use std::path::Path;

use shoestring_planner::architecture::Architecture;
use shoestring_planner::calibration::Calibration;
use shoestring_planner::offer::{Offer, PriceTable, THIS_MACHINE};
use shoestring_planner::open_clip;
use shoestring_planner::plan::Plan;
use shoestring_planner::recipe::TextReduction;
use shoestring_planner::search::{
    self, DataRequest, Fixed, HardwareRequest, Keeping, Request, SearchError, StatedPrice,
};
use shoestring_planner::units::{Tokens, Usd};
use shoestring_reports::FrontierPoint;

use super::{data, read_text, today};
use crate::cli::{PlanArgs, PlanFormat};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, write_file};

mod assess;
mod own_runs;
mod picture;
mod stored;

pub(crate) fn plan(args: &PlanArgs, printer: Printer) -> Result<Exit, Failure> {
    let request = request(args)?;
    if let Some(path) = &args.recipe {
        return assess::one(path, &request, args.format, printer);
    }
    if let Some([first, second]) = args.compare.as_deref() {
        return assess::two([first, second], &request, args.format, printer);
    }
    let plan = search::plan(&request).map_err(failure)?;
    let toml = meant(&plan);
    if let Some(path) = &args.out {
        write_recipe(path, &toml, args.force)?;
    }
    if let Some(path) = &args.plot {
        picture::draw(path, &plan)?;
        printer.note(&format!("drawn in {}", path.display()));
    }
    match args.format {
        PlanFormat::Text if args.explain => printer.data(&plan.explained())?,
        PlanFormat::Text => printer.data(&plan.text())?,
        PlanFormat::Json => printer.json(&plan.json())?,
        PlanFormat::Toml => printer.data(&toml)?,
    }
    if let Some(path) = &args.out {
        printer.note(&format!("recipe written to {}", path.display()));
    }
    Ok(Exit::Success)
}

/// The recipe of the last tier: what `--out` writes.
fn meant(plan: &Plan) -> String {
    plan.tiers.last().map_or_else(|| plan.recipe.toml(), |tier| tier.meant().recipe.toml())
}

fn request(args: &PlanArgs) -> Result<Request, Failure> {
    let first = args.budget.first().copied().unwrap_or_default();
    let this_machine = args.offer.as_deref() == Some(THIS_MACHINE);
    let price = args.price.map(|price| {
        if this_machine { StatedPrice::PerMachineHour(price) } else { StatedPrice::PerGpuHour(price) }
    });
    let mut stored = None;
    let data = match &args.data {
        None => match DataRequest::default() {
            DataRequest::Named { name, .. } => {
                DataRequest::Named { name, unique_samples: args.unique_samples }
            }
            own @ DataRequest::Own(_) => own,
        },
        Some(folder) if Path::new(folder).is_dir() => {
            let own = shoestring_data::read_dataset_folder(Path::new(folder)).map_err(data::failure)?;
            stored = stored::stored_pictures(&own.train);
            // Next to its data, a recipe stays good when both are moved.
            let beside = args.out.as_deref().and_then(|out| std::path::absolute(out).ok());
            DataRequest::Own(Box::new(match beside.as_deref().and_then(Path::parent) {
                Some(beside) => own.relative_to(beside),
                None => own,
            }))
        }
        Some(name) => DataRequest::Named { name: name.clone(), unique_samples: args.unique_samples },
    };
    let calibration = match &args.calibration {
        None => None,
        Some(path) => Some(Calibration::read(&read_text(path)?).map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Usage, anyhow::anyhow!("{}: {error}", path.display())).hint(hint)
        })?),
    };
    let mut request = Request::new(first, today());
    if let Some(reduction) = args.text_reduction {
        request.text_reductions = vec![TextReduction::from(reduction)];
    }
    let (architecture, own_architecture) = architecture(args)?;
    let request = Request {
        budgets: args.budget.clone(),
        target_accuracy_percent: args.target_accuracy,
        keeping: Keeping {
            data_gb: args.data_gb,
            storage_usd_per_gb_month: args.storage_price,
            egress_usd_per_gb: args.egress_price,
            egress_passes: args.egress_passes,
            idle: args.idle,
        },
        own_architecture,
        hardware: HardwareRequest {
            offer: args.offer.clone(),
            gpu: args.gpu.clone(),
            price,
            gpus: args.gpus,
            spot: args.spot,
            provider: args.provider.clone(),
            region: args.region.clone(),
            fallback_after: args.fallback_after,
            prices: args.prices.as_deref().map(read_prices).transpose()?,
        },
        deadline: args.deadline,
        data_stated: args.data.is_some(),
        data,
        samples: args.samples,
        finetune_samples: args.finetune_samples,
        finetune_sizes_px: args.finetune_sizes.as_ref().map(|sizes| sizes.0.clone()),
        architecture,
        fixed: Fixed::lengths(args.image_size, args.text_tokens.map(Tokens)),
        confidence: args.confidence,
        own_runs: args.own_runs.as_deref().map(own_runs::read).transpose()?,
        calibration,
        stored,
        command: command_line(),
        ..request
    };
    let mut request = request;
    for decision in &args.fixed {
        request.fix(decision).map_err(|error| failure(error.into()))?;
    }
    Ok(request)
}

/// `--arch`: a name, or a file read as an `open_clip` config.
fn architecture(args: &PlanArgs) -> Result<(Option<String>, Option<&'static Architecture>), Failure> {
    let Some(named) = args.arch.as_deref() else { return Ok((None, None)) };
    let path = Path::new(named);
    if !path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
        return Ok((Some(named.to_owned()), None));
    }
    let stem = path.file_stem().map_or_else(|| named.to_owned(), |stem| stem.to_string_lossy().into_owned());
    let read = open_clip::read_config(&read_text(path)?, &stem).map_err(|error| {
        let hint = error.hint.clone();
        Failure::new(Exit::Usage, anyhow::anyhow!("{named}: {error}")).hint(hint)
    })?;
    // One a program.
    Ok((None, Some(Box::leak(Box::new(read)))))
}

/// Offers of a price table on disk.
pub(super) fn read_prices(path: &Path) -> Result<Vec<Offer>, Failure> {
    let table = PriceTable::read(&read_text(path)?);
    if table.today.is_empty() {
        let why = table
            .rejected
            .first()
            .map_or("it has no rows".to_owned(), |first| format!("line {}: {}", first.line, first.reason));
        return Err(Failure::new(Exit::Usage, anyhow::anyhow!("{}: no offer in it: {why}", path.display()))
            .hint(
                "`shoestring prices update` writes such a table; docs/formats.md has its columns".to_owned(),
            ));
    }
    Ok(table.today)
}

/// The command as typed, for the recipe's comments.
fn command_line() -> String {
    std::env::args()
        .enumerate()
        .map(|(index, word)| if index == 0 { "shoestring".to_owned() } else { quoted(&word) })
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn failure(error: SearchError) -> Failure {
    let hint = error.hint();
    let exit = match error {
        SearchError::Request(_) => Exit::Usage,
        SearchError::NoFeasiblePlan { .. } | SearchError::OutOfReach { .. } => Exit::Infeasible,
    };
    Failure::new(exit, error).hint(hint)
}

fn write_recipe(path: &Path, toml: &str, force: bool) -> Result<(), Failure> {
    if !force && let Ok(existing) = std::fs::read_to_string(path) {
        if same_recipe(&existing, toml) {
            return Ok(());
        }
        return Err(Failure::new(Exit::Failure, anyhow::anyhow!("{}: is another recipe", path.display()))
            .hint("--force overwrites it; --out FILE writes elsewhere".to_owned()));
    }
    write_file(path, toml.as_bytes())
}

/// Whether two recipes say the same, but for comments and the command that made them.
fn same_recipe(a: &str, b: &str) -> bool {
    let facts = |text: &str| {
        let mut table: toml::Table = text.parse().ok()?;
        if let Some(planned) = table.get_mut("planned").and_then(toml::Value::as_table_mut) {
            planned.remove("command");
        }
        Some(table)
    };
    facts(a).is_some_and(|a| facts(b) == Some(a))
}

/// What the planner expects for more and less money, for a report.
pub(super) struct Frontier {
    pub(super) points: Vec<FrontierPoint>,
    pub(super) context: String,
    pub(super) as_of: String,
}

/// The planner's frontier from a tenth of the smallest to four times the largest of `budgets`, at the paper's
/// price, since the published runs on the same chart are reckoned with it.
pub(super) fn frontier(budgets: &[Usd]) -> Result<Frontier, Failure> {
    const PAPER: &str = "clipa-v2-paper";
    let low = budgets.iter().min().copied().unwrap_or(Usd::from_micros(10_000_000_000)).dollars() / 10.0;
    let high = budgets.iter().max().copied().unwrap_or(Usd::from_micros(10_000_000_000)).dollars() * 4.0;
    let steps = 12;
    let mut ladder: Vec<Usd> = (0..=steps)
        .map(|step| Usd::from_dollars(low * (high / low).powf(f64::from(step) / f64::from(steps))))
        .chain(budgets.iter().copied())
        .collect();
    ladder.sort_unstable();
    ladder.dedup();
    let mut request = Request::new(ladder[0], today());
    request.hardware.offer = Some(PAPER.to_owned());
    let points = search::frontier(&request, &ladder).map_err(failure)?;
    let as_of = shoestring_planner::offer::references()
        .iter()
        .find(|offer| offer.provider == PAPER)
        .map_or(String::new(), |offer| offer.as_of.clone());
    Ok(Frontier {
        points: drawable(points),
        context: "planned for 8 x A100-80GB at the CLIPA-v2 paper's 1.575 USD per GPU-hour, DataComp-1B"
            .into(),
        as_of: format!("published costs as printed; the paper's price of {as_of}"),
    })
}

/// The points of a frontier that claim an accuracy, as charts take them.
fn drawable(points: Vec<search::FrontierPoint>) -> Vec<FrontierPoint> {
    points
        .into_iter()
        .filter_map(|point| {
            Some(FrontierPoint {
                label: point.label,
                cost_usd: point.cost.p50,
                accuracy_percent: point.accuracy_percent?.into(),
            })
        })
        .collect()
}
