//! `plan --own-runs`: a table of runs, or run directories with what was measured in them.

use std::path::Path;

use shoestring_experiments::records::EvaluationLine;
use shoestring_experiments::run::RunDirectory;
use shoestring_experiments::status;
use shoestring_planner::law::{Law, Refined};
use shoestring_planner::published::PublishedRun;
use shoestring_planner::units::Samples;

use crate::commands::law::read_runs;
use crate::commands::read_text;
use crate::commands::run::failure;
use crate::failure::{Exit, Failure};

/// `ImageNet`-1k's classes: what the law speaks of.
const IMAGENET_CLASSES: u64 = 1_000;
/// Runs named in an error.
const MOST_NAMED: usize = 4;

/// The law moved by the runs at `path`.
pub(super) fn read(path: &Path) -> Result<&'static Refined, Failure> {
    let (runs, passed_over) = if path.is_dir() {
        from_directories(path)?
    } else {
        (read_runs(path, &read_text(path)?)?, Vec::new())
    };
    let mut refined = Law::built_in().refined(&runs);
    refined.passed_over.extend(passed_over);
    if refined.counted.is_empty() {
        let named: Vec<String> =
            refined.passed_over.iter().take(MOST_NAMED).map(|(id, why)| format!("{id}: {why}")).collect();
        let more = refined.passed_over.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let hint = "a run counts with ImageNet-1k zero-shot accuracy (1,000 classes), plain ViT towers trained from \
                    scratch with a contrastive loss, and at least 2.5 M samples; docs/law.md says more"
            .to_owned();
        return Err(Failure::usage(format!(
            "--own-runs {}: no run in it counts: {}{more}",
            path.display(),
            named.join("; ")
        ))
        .hint(hint));
    }
    // One a program.
    Ok(Box::leak(Box::new(refined)))
}

/// Runs that say nothing of `ImageNet`, with why.
type PassedOver = Vec<(String, &'static str)>;

fn from_directories(root: &Path) -> Result<(Vec<PublishedRun>, PassedOver), Failure> {
    let directories = status::scan(root).map_err(failure)?;
    if directories.is_empty() {
        let hint = "name a run directory, a folder with runs below it, or a table of runs (CSV)".to_owned();
        return Err(Failure::usage(format!("--own-runs {}: no run in here", root.display())).hint(hint));
    }
    let (mut runs, mut passed_over) = (Vec::new(), Vec::new());
    for directory in directories {
        let id = directory.display().to_string();
        match run_of(&RunDirectory::new(&directory), &id)? {
            Ok(run) => runs.push(run),
            Err(why) => passed_over.push((id, why)),
        }
    }
    Ok((runs, passed_over))
}

/// The run as its frozen recipe and its last evaluation say it.
fn run_of(directory: &RunDirectory, id: &str) -> Result<Result<PublishedRun, &'static str>, Failure> {
    let Some(recipe) = directory.frozen_recipe().map_err(failure)? else {
        return Ok(Err("it has no recipe"));
    };
    let path = directory.evaluations();
    if !path.exists() {
        return Ok(Err("nothing was evaluated yet"));
    }
    let lines = evaluations(&path, &read_text(&path)?)?;
    let of_imagenet =
        |line: &&EvaluationLine| line.task == "zeroshot_classification" && line.classes == IMAGENET_CLASSES;
    Ok(match lines.iter().rfind(of_imagenet) {
        Some(last) => {
            let accuracy = 100.0 * last.metrics.acc1;
            Ok(PublishedRun::of_recipe(&recipe, id, Samples(last.samples_seen), accuracy))
        }
        None if lines.is_empty() => Err("nothing was evaluated yet"),
        None => Err("it was not evaluated on ImageNet's 1,000 classes"),
    })
}

/// The lines of `eval.jsonl`. One that a crash cut off is left out; any other that is none is an error.
fn evaluations(path: &Path, text: &str) -> Result<Vec<EvaluationLine>, Failure> {
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    text[..whole]
        .lines()
        .enumerate()
        .map(|(index, line)| {
            let read: EvaluationLine = serde_json::from_str(line).map_err(|error| {
                let hint = "`run` writes these lines; docs/formats.md has their fields".to_owned();
                Failure::new(
                    Exit::Usage,
                    anyhow::anyhow!("{}:{}: no evaluation: {error}", path.display(), index + 1),
                )
                .hint(hint)
            })?;
            if !(0.0..=1.0).contains(&read.metrics.acc1) {
                return Err(Failure::new(
                    Exit::Usage,
                    anyhow::anyhow!(
                        "{}:{}: metrics.acc1 = `{}`: is no fraction",
                        path.display(),
                        index + 1,
                        read.metrics.acc1
                    ),
                )
                .hint("accuracies in eval.jsonl are fractions of 1".to_owned()));
            }
            Ok(read)
        })
        .collect()
}
