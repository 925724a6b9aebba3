//! `status`: where runs stand.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use shoestring_experiments::signals;
use shoestring_experiments::status::{self, RunState, Status};
use shoestring_planner::units::Hours;

use super::run::failure;
use crate::cli::{Format, StatusArgs};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, complain};

/// Clears a terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(crate) fn status(args: &StatusArgs, printer: Printer) -> Result<Exit, Failure> {
    if !args.watch {
        return screen(args, printer, "");
    }
    let stop = signals::watch()?;
    let clear = if args.format == Format::Text && std::io::stdout().is_terminal() { CLEAR } else { "" };
    let every = Duration::from_secs_f64(args.every.clamp(0.1, 3600.0));
    loop {
        screen(args, printer, clear)?;
        let since = Instant::now();
        while since.elapsed() < every {
            if stop.load(Ordering::Relaxed) {
                return Ok(Exit::Success);
            }
            std::thread::sleep(Duration::from_millis(50).min(every));
        }
    }
}

fn screen(args: &StatusArgs, printer: Printer, clear: &str) -> Result<Exit, Failure> {
    let named = !args.paths.is_empty();
    let roots = if named { args.paths.clone() } else { vec![PathBuf::from("runs")] };
    let mut directories = Vec::new();
    for root in &roots {
        if !root.exists() && !named {
            continue;
        }
        let found = status::scan(root).map_err(|error| {
            failure(error).hint("name run directories, or a folder with runs below it".to_owned())
        })?;
        if found.is_empty() && named {
            return Err(Failure::new(Exit::Failure, anyhow::anyhow!("{}: no run in here", root.display()))
                .hint("name run directories, or a folder with runs below it".to_owned()));
        }
        directories.extend(found);
    }
    let mut runs = Vec::new();
    let mut unreadable = 0;
    for directory in directories {
        match status::read(&directory) {
            Ok(status) => runs.push(status),
            Err(error) => {
                unreadable += 1;
                complain(&failure(error).render());
            }
        }
    }
    match args.format {
        Format::Text => printer.data(&format!("{clear}{}", text(&runs)))?,
        Format::Json => printer.json(&json!({
            "schema": "shoestring.status", "version": 1, "runs": runs.iter().map(object).collect::<Vec<_>>(),
        }))?,
    }
    Ok(if unreadable == 0 { Exit::Success } else { Exit::Partial })
}

fn text(runs: &[Status]) -> String {
    if runs.is_empty() {
        return "no runs here yet; `shoestring run recipe.toml` starts one\n".to_owned();
    }
    let mut out = String::new();
    for run in runs {
        let state = match &run.state {
            RunState::Running(holder) => format!("running (process {} on {})", holder.pid, holder.host),
            RunState::Finished => "finished".to_owned(),
            RunState::CapReached => "cap reached".to_owned(),
            RunState::Interrupted => "interrupted; the same command resumes".to_owned(),
            RunState::Stopped => "stopped without an end; the same command resumes".to_owned(),
        };
        let _ = writeln!(out, "{} ({}): {state}", run.name, run.directory.display());
        if !run.is_guard {
            let planned =
                if run.steps_now == run.steps { String::new() } else { format!(" ({} planned)", run.steps) };
            let _ = writeln!(
                out,
                "  progress    {:.0} %, stage {} of {} ({}), step {} of {}{planned}",
                100.0 * run.progress(),
                run.stage_index + 1,
                run.stages,
                run.stage,
                run.step,
                run.steps_now
            );
        }
        let reserved =
            if run.reserved.micros() > 0 { format!(", {} reserved", run.reserved) } else { String::new() };
        let _ = writeln!(out, "  money       {} of {} USD spent{reserved}", run.spent, run.cap);
        if let (Some(burn), Some(seconds)) = (run.burn_usd_per_hour, run.cap_reached_in_seconds) {
            let _ = writeln!(
                out,
                "  burn        {burn} USD per hour, the cap in {}",
                Hours::from_seconds(seconds)
            );
        }
        if !matches!(run.state, RunState::Finished | RunState::CapReached)
            && let (Some(forecast), Some(seconds)) = (run.forecast, run.seconds_left)
        {
            let interval = run
                .forecast_interval
                .map_or(String::new(), |(low, high)| format!(" ({low} to {high} at its recent speeds)"));
            let _ = writeln!(
                out,
                "  forecast    {forecast} USD when done{interval}, in {}",
                Hours::from_seconds(seconds)
            );
        }
        if let (Some(step), Some(age)) = (run.checkpoint_step, run.checkpoint_age_seconds) {
            let _ = writeln!(out, "  checkpoint  step {step}, {} ago", Hours::from_seconds(age));
        }
        if let Some(loss) = run.loss {
            let speed = run.samples_per_second.map_or(String::new(), |rate| format!(", {rate:.0} samples/s"));
            let _ = writeln!(out, "  training    loss {loss:.3}{speed}");
        }
        if let Some(line) = &run.evaluation {
            let _ = writeln!(
                out,
                "  zero-shot   top-1 {:.1} % at step {} ({} classes, chance {:.2} %)",
                100.0 * line.metrics.acc1,
                line.step,
                line.classes,
                100.0 / line.classes as f64
            );
        }
        for warning in &run.warnings {
            let _ = writeln!(out, "  warning     {warning}");
        }
    }
    out
}

fn object(run: &Status) -> serde_json::Value {
    json!({
        "name": run.name, "directory": run.directory, "state": run.state.name(),
        "stage": run.stage, "stage_index": run.stage_index, "stages": run.stages,
        "step": run.step, "steps": run.steps, "samples_seen": run.samples_seen, "samples": run.samples,
        "cap_usd": run.cap, "spent_usd": run.spent, "settled_usd": run.settled, "reserved_usd": run.reserved,
        "kind": if run.is_guard { "guard" } else { "run" }, "steps_now": run.steps_now,
        "burn_usd_per_hour": run.burn_usd_per_hour, "cap_reached_in_seconds": run.cap_reached_in_seconds,
        "forecast_usd": run.forecast, "forecast_p10_usd": run.forecast_interval.map(|(low, _)| low),
        "forecast_p90_usd": run.forecast_interval.map(|(_, high)| high), "seconds_left": run.seconds_left,
        "warnings": run.warnings,
        "checkpoint_step": run.checkpoint_step, "checkpoint_age_seconds": run.checkpoint_age_seconds,
        "loss": run.loss, "samples_per_second": run.samples_per_second, "evaluation": run.evaluation,
    })
}
