//! `run`: carries a recipe out.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use shoestring_experiments::lease::{KernelLease, process_age_seconds};
use shoestring_experiments::run::{Check, Options, Order, Outcome, RunError, Standing, check, start};
use shoestring_experiments::signals;
use shoestring_ledger::SystemClock;
use shoestring_planner::recipe::{Recipe, read_recipe};
use shoestring_planner::units::Hours;

use super::read_text;
use crate::cli::{Format, RunArgs};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, complain};
use crate::progress::RunProgress;

pub(crate) fn run(args: &RunArgs, printer: Printer) -> Result<Exit, Failure> {
    // First of all, so that the money is counted from here and no signal is missed.
    let options = options(args)?;
    let text = read_text(&args.recipe)?;
    let recipe = read_recipe(&text, &args.recipe).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Usage, error).hint(hint)
    })?;
    let directory = args.dir.clone().unwrap_or_else(|| PathBuf::from("runs").join(&recipe.name));
    let folder = args.recipe.parent().unwrap_or(Path::new("."));
    let compute = args.compute().ok_or_else(|| {
        Failure::usage("--devices counts GPUs, and --device cpu uses none")
            .hint("leave one of them out".to_owned())
    })?;
    let order = Order { recipe: &recipe, text: &text, folder, directory: &directory, compute };

    if args.dry_run {
        let found = check(&order).map_err(failure)?;
        for warning in &found.warnings {
            printer.note(&format!("warning: {warning}"));
        }
        printer.data(&dry(&recipe, &directory, &found))?;
        return Ok(Exit::Success);
    }

    let mut progress = RunProgress::new(printer, args.log_format);
    let outcome = start(&order, &options, &mut progress);
    progress.finish();
    let outcome = outcome.map_err(failure)?;
    match args.format {
        Format::Text => printer.data(&summary(&recipe, &outcome))?,
        Format::Json => printer.json(&object(&recipe, &outcome))?,
    }
    Ok(match outcome {
        Outcome::Finished(_) => Exit::Success,
        Outcome::CapReached(_) => Exit::CapReached,
        Outcome::Interrupted(_) => Exit::Interrupted,
    })
}

/// The seams of a real run: the clock has been running since the system started the process, and the kernel ends
/// the process when it outlives what is paid for.
pub(super) fn options(args: &RunArgs) -> Result<Options, Failure> {
    // Less than a second, unless other verbs ran before in the same process: their time is not the run's.
    let age = std::time::Duration::from_secs_f64(process_age_seconds().min(1.0));
    Ok(Options {
        clock: Arc::new(SystemClock::running_for(age)),
        stop: signals::watch()?,
        lease: Some(Arc::new(KernelLease::new(lapsed)?)),
        until: args.until,
        notice: args.spot_notice.clone(),
        budget: args.budget.clone(),
        price: args.price_file.clone(),
    })
}

/// The end of a process whose work at hand outlasts the money for it. The ledger says so already.
#[expect(clippy::exit, reason = "another thread is in the middle of work that does not end")]
pub(super) fn lapsed(why: &str) {
    complain(&format!("error: {why}\nhint: the same command goes on from the newest checkpoint"));
    std::process::exit(signals::INTERRUPTED);
}

pub(super) fn failure(error: RunError) -> Failure {
    let hint = error.hint();
    Failure::new(if error.is_usage() { Exit::Usage } else { Exit::Failure }, error).hint(hint)
}

fn dry(recipe: &Recipe, directory: &Path, found: &Check) -> String {
    let would = match found.standing {
        Standing::New => "begin a run".to_owned(),
        Standing::Resumes { step } => format!("resume after step {step}"),
        Standing::Finished => "do nothing: the run is finished".to_owned(),
        Standing::CapReached => "do nothing: the cap is reached".to_owned(),
    };
    let mut out = String::new();
    let _ = writeln!(out, "{} in {}: would {would}", recipe.name, directory.display());
    let _ = writeln!(
        out,
        "cap {} USD at {} USD per hour, {} training pairs an epoch, {} images an evaluation",
        recipe.budget.cap_usd, recipe.hardware.usd_per_hour, found.training_samples, found.evaluation_samples
    );
    for stage in &recipe.stages {
        let _ = writeln!(
            out,
            "  {:<16} {:>4} px, {:>4} image tokens, {:>3} text tokens, {} samples, batch {}",
            stage.name,
            stage.image_size_px,
            stage.image_tokens(&recipe.architecture),
            stage.text_tokens,
            stage.samples,
            stage.batch
        );
    }
    out.push_str("dry run: nothing was written or spent\n");
    out
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Finished(_) => "finished",
        Outcome::CapReached(_) => "cap_reached",
        Outcome::Interrupted(_) => "interrupted",
    }
}

fn summary(recipe: &Recipe, outcome: &Outcome) -> String {
    let facts = outcome.summary();
    let mut out = String::new();
    let headline = match (outcome, facts.already_ended) {
        (Outcome::Finished(_), false) => "finished".to_owned(),
        (Outcome::Finished(_), true) => "was finished before; nothing was done or spent".to_owned(),
        (Outcome::CapReached(_), false) => "stopped at its cap; the checkpoint is there".to_owned(),
        (Outcome::CapReached(_), true) => "had reached its cap before; nothing was done or spent".to_owned(),
        (Outcome::Interrupted(_), _) => "interrupted; the same command resumes".to_owned(),
    };
    let _ = writeln!(out, "{} {headline}", recipe.name);
    let _ = writeln!(
        out,
        "  spent       {} of {} USD ({} at {} USD/h)",
        facts.spent,
        facts.cap,
        Hours::from_seconds(facts.seconds),
        recipe.hardware.usd_per_hour
    );
    if let Some(planned) = &recipe.planned {
        let _ = writeln!(out, "  planned     {} USD ({})", planned.cost_usd, planned.hours);
    }
    let _ = writeln!(
        out,
        "  trained     {} of {} steps, {} samples",
        facts.step, facts.steps, facts.samples_seen
    );
    if let Some(line) = &facts.evaluation {
        let chance = 100.0 / line.classes as f64;
        let top1 = 100.0 * line.metrics.acc1;
        let _ = writeln!(
            out,
            "  zero-shot   top-1 {top1:.1} % on {} classes of {} ({:.1} times chance, {chance:.2} %){}",
            line.classes,
            line.dataset,
            top1 / chance,
            line.metrics.acc5.map_or(String::new(), |top5| format!(", top-5 {:.1} %", 100.0 * top5))
        );
    }
    if let Some(checkpoint) = &facts.checkpoint {
        let _ = writeln!(out, "  checkpoint  {}", checkpoint.display());
    }
    out
}

fn object(recipe: &Recipe, outcome: &Outcome) -> serde_json::Value {
    let facts = outcome.summary();
    json!({
        "schema": "shoestring.run", "version": 1, "name": recipe.name, "outcome": name(outcome),
        "directory": facts.directory, "spent_usd": facts.spent, "cap_usd": facts.cap,
        "planned_usd": recipe.planned.as_ref().map(|planned| planned.cost_usd), "seconds": facts.seconds,
        "step": facts.step, "steps": facts.steps, "samples_seen": facts.samples_seen,
        "checkpoint": facts.checkpoint, "evaluation": facts.evaluation, "resumed_from_step": facts.resumed_from,
        "already_ended": facts.already_ended,
    })
}
