//! Where runs stand: from their files alone, during a run and after a crash.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use shoestring_planner::recipe::Recipe;
use shoestring_planner::units::Usd;

use crate::records::{EvaluationLine, MetricsLine, read_lines};
use crate::run::ending::Ended;
use crate::run::forecast::Forecast;
use crate::run::timing::Timing;
use crate::run::{Holder, RunDirectory, RunError, holder, list_checkpoints};

/// How deep below a folder runs are looked for.
const DEPTH: u32 = 3;
/// Metrics lines that say how fast training is now.
const RECENT_LINES: usize = 10;

/// What a run is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// A process holds it.
    Running(Holder),
    /// Everything is done.
    Finished,
    /// The cap is reached.
    CapReached,
    /// Stopped by a signal: the same command goes on.
    Interrupted,
    /// Its process died, or it stopped with an error: the same command goes on.
    Stopped,
}

impl RunState {
    /// In one word, as JSON has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running(_) => "running",
            Self::Finished => "finished",
            Self::CapReached => "cap_reached",
            Self::Interrupted => "interrupted",
            Self::Stopped => "stopped",
        }
    }
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The run directory.
    pub directory: PathBuf,
    /// Name of the run.
    pub name: String,
    /// What it is doing.
    pub state: RunState,
    /// Name of the stage at hand.
    pub stage: String,
    /// Its place, from 0.
    pub stage_index: usize,
    /// How many stages there are.
    pub stages: usize,
    /// Steps done, as far as metrics tell (work since the last checkpoint is repeated after a crash).
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Samples seen so far.
    pub samples_seen: u64,
    /// Samples of the whole run.
    pub samples: u64,
    /// The number that is never exceeded.
    pub cap: Usd,
    /// Charged so far.
    pub settled: Usd,
    /// Set aside for the work at hand, or charged in full at the next start if its process died.
    pub reserved: Usd,
    /// Settled and reserved.
    pub spent: Usd,
    /// Steps in the newest checkpoint.
    pub checkpoint_step: Option<u64>,
    /// Seconds since it was completed.
    pub checkpoint_age_seconds: Option<f64>,
    /// The last loss.
    pub loss: Option<f64>,
    /// Recent training speed.
    pub samples_per_second: Option<f64>,
    /// The last evaluation.
    pub evaluation: Option<EvaluationLine>,
    /// What the whole run will have cost if it goes on as it does, the cap aside; `None` before the first step.
    pub forecast: Option<Usd>,
    /// Seconds until it is done if it goes on as it does, the cap aside; `None` before the first step.
    pub seconds_left: Option<f64>,
}

impl Status {
    /// Part of the samples that is done, 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { self.samples_seen as f64 / self.samples as f64 }
    }
}

/// Where the run in `directory` stands now.
pub fn read(directory: &Path) -> Result<Status, RunError> {
    read_at(directory, Utc::now())
}

/// Where the run in `directory` stood at `now`, which only the age of the checkpoint is taken from.
pub fn read_at(directory: &Path, now: DateTime<Utc>) -> Result<Status, RunError> {
    let run = RunDirectory::new(directory);
    let Some(recipe) = run.frozen_recipe()? else {
        return Err(RunError::NoRun { path: run.recipe() });
    };
    // Before the ledger: a process that ends in between is then seen as running, not as dead.
    let holder = holder(directory);
    let contents = match shoestring_ledger::read(&run.ledger()) {
        Ok(contents) => Some(contents),
        // A process may be just between freezing the recipe and opening the ledger.
        Err(shoestring_ledger::LedgerError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            None
        }
        Err(error) => return Err(error.into()),
    };
    let metrics: Vec<MetricsLine> = lines(&run.metrics())?;
    let evaluations: Vec<EvaluationLine> = lines(&run.evaluations())?;
    let state = match (holder, contents.as_ref().and_then(|contents| Ended::of(&contents.rows))) {
        (_, Some(Ended::Finished)) => RunState::Finished,
        (_, Some(Ended::CapReached)) => RunState::CapReached,
        (Some(holder), _) => RunState::Running(holder),
        (None, Some(Ended::Interrupted)) => RunState::Interrupted,
        (None, None) => RunState::Stopped,
    };
    let newest = list_checkpoints(&run.checkpoints())?.pop();
    let last = metrics.last();
    let stage_index =
        last.and_then(|line| recipe.stages.iter().position(|stage| stage.name == line.stage)).unwrap_or(0);
    let account = contents.map(|contents| contents.account).unwrap_or_default();
    let seconds_left = forecast(&recipe, &metrics, &evaluations, stage_index);
    let done = matches!(state, RunState::Finished);
    let price = recipe.hardware.usd_per_hour.dollars() / 3600.0;
    let seconds_left = if done { Some(0.0) } else { seconds_left };
    Ok(Status {
        directory: directory.to_owned(),
        name: recipe.name.clone(),
        state,
        stage: recipe.stages[stage_index].name.clone(),
        stage_index,
        stages: recipe.stages.len(),
        step: last.map_or(0, |line| line.step),
        steps: recipe.stages.iter().map(shoestring_planner::recipe::Stage::steps).sum(),
        samples_seen: last.map_or(0, |line| line.samples_seen),
        samples: recipe.stages.iter().map(|stage| stage.steps() * u64::from(stage.batch)).sum(),
        cap: recipe.budget.cap_usd,
        settled: account.settled(),
        reserved: account.reserved(),
        spent: account.spent(),
        checkpoint_step: newest.as_ref().map(|newest| newest.step),
        checkpoint_age_seconds: newest.map(|newest| {
            let age = now - DateTime::<Utc>::from(newest.completed);
            (age.num_milliseconds() as f64 / 1e3).max(0.0)
        }),
        loss: last.map(|line| line.loss).filter(|loss| loss.is_finite()),
        samples_per_second: last.map(|line| line.samples_per_second),
        evaluation: evaluations.into_iter().last(),
        forecast: seconds_left.map(|seconds| account.settled() + Usd::from_dollars(seconds * price)),
        seconds_left,
    })
}

fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>, RunError> {
    read_lines(path).map_err(|source| RunError::file(path, "read", source))
}

/// Seconds still to go, from how fast it went lately.
fn forecast(
    recipe: &Recipe,
    metrics: &[MetricsLine],
    evaluations: &[EvaluationLine],
    stage_index: usize,
) -> Option<f64> {
    let last = metrics.last()?;
    let mut timing = Timing::default();
    for stage in &recipe.stages {
        let of_stage = metrics.iter().rev().filter(|line| line.stage == stage.name);
        for line in of_stage.take(RECENT_LINES).filter(|line| line.samples_per_second > 0.0) {
            timing.step_took(&stage.name, f64::from(stage.batch) / line.samples_per_second);
        }
    }
    let images = evaluations.last().map_or(0, |line| line.samples);
    Some(Forecast::new(recipe, images).remaining(&timing, stage_index, last.stage_step))
}

/// The runs at or below `root`, by path: folders with a frozen recipe and a ledger.
pub fn scan(root: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut found = Vec::new();
    collect(root, DEPTH, &mut found).map_err(|source| RunError::file(root, "read", source))?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let run = RunDirectory::new(folder);
    if run.recipe().is_file() && run.ledger().is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Not through links, which may lead round in circles.
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            // What may not be read below the folder that was named holds no run of ours.
            let _ = collect(&path, depth - 1, found);
        }
    }
    Ok(())
}
