//! Where runs stand: from their files alone, during a run and after a crash.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use shoestring_ledger::{Kind, Row};
use shoestring_planner::recipe::Recipe;
use shoestring_planner::units::Usd;

use crate::records::{EvaluationLine, MetricsLine, ReplanLine, read_lines};
use crate::run::ending::Ended;
use crate::run::forecast::Forecast;
use crate::run::timing::Timing;
use crate::run::{Holder, RunDirectory, RunError, holder, list_checkpoints};

/// How deep below a folder runs are looked for.
const DEPTH: u32 = 3;
/// Metrics lines that say how fast training is now.
const RECENT_LINES: usize = 10;
/// Settlements that say how fast money goes now.
const RECENT_SETTLEMENTS: usize = 20;
/// From this part of the cap on there is a warning.
const NEARLY_SPENT: f64 = 0.9;

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
    /// Steps of the whole run as they stand after re-plans.
    pub steps_now: u64,
    /// How fast money goes, per hour; `None` where nothing runs.
    pub burn_usd_per_hour: Option<Usd>,
    /// Seconds until the cap is reached if it goes on so; `None` where nothing runs or time is free.
    pub cap_reached_in_seconds: Option<f64>,
    /// Whether this is a command under `guard`, which has no steps.
    pub is_guard: bool,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// What the whole run will have cost if it goes on as it does, the cap aside; `None` before the first
    /// step.
    pub forecast: Option<Usd>,
    /// The same at the speed of the fastest and of the slowest tenth of recent steps.
    pub forecast_interval: Option<(Usd, Usd)>,
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
        if run.ledger().is_file() {
            return read_guard(directory, &run);
        }
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
    let torn = contents.as_ref().is_some_and(|contents| contents.torn_bytes > 0);
    let rows = contents.as_ref().map(|contents| contents.rows.as_slice()).unwrap_or_default();
    let metrics: Vec<MetricsLine> = lines(&run.metrics())?;
    let evaluations: Vec<EvaluationLine> = lines(&run.evaluations())?;
    let replans: Vec<ReplanLine> = lines(&run.replans())?;
    let state = state(holder, rows);
    let newest = list_checkpoints(&run.checkpoints())?.pop();
    let last = metrics.last();
    let standing = Standing::of(&recipe, rows, last, &replans);
    let account = contents.as_ref().map(|contents| contents.account.clone()).unwrap_or_default();
    let ended = matches!(state, RunState::Finished | RunState::CapReached);
    let speeds = Speeds::of(&recipe, &metrics);
    let seconds_left = |speed: fn(&Speeds) -> &Timing| {
        let timing = speed(speeds.as_ref()?);
        let images = evaluations.last().map_or_else(|| planned_images(&recipe), |line| line.samples);
        let planned = Forecast::new(&recipe, images).remaining(timing, standing.stage, standing.stage_step);
        Some(if ended { 0.0 } else { planned * standing.share_left() })
    };
    let price = price_of(rows).unwrap_or(recipe.hardware.usd_per_hour).dollars() / 3600.0;
    let cost = |seconds: f64| account.charged() + Usd::from_dollars(seconds * price);
    let usual = seconds_left(|speeds| &speeds.usual);
    let interval = seconds_left(|speeds| &speeds.fast).zip(seconds_left(|speeds| &speeds.slow));
    let burn = matches!(state, RunState::Running(_)).then(|| burn(rows).unwrap_or(price * 3600.0));
    let age = newest.as_ref().map(|newest| {
        let age = now - DateTime::<Utc>::from(newest.completed);
        (age.num_milliseconds() as f64 / 1e3).max(0.0)
    });
    let mut status = Status {
        directory: directory.to_owned(),
        name: recipe.name.clone(),
        state,
        stage: recipe.stages[standing.stage].name.clone(),
        stage_index: standing.stage,
        stages: recipe.stages.len(),
        step: standing.step,
        steps: recipe.stages.iter().map(shoestring_planner::recipe::Stage::steps).sum(),
        steps_now: standing.steps_of_stages.iter().sum(),
        samples_seen: standing.samples_seen(&recipe),
        samples: recipe.stages.iter().map(|stage| stage.steps() * u64::from(stage.batch)).sum(),
        cap: recipe.budget.cap_usd,
        settled: account.settled(),
        reserved: account.reserved(),
        spent: account.spent(),
        checkpoint_step: newest.map(|newest| newest.step),
        checkpoint_age_seconds: age,
        loss: last.map(|line| line.loss).filter(|loss| loss.is_finite()),
        samples_per_second: last.map(|line| line.samples_per_second),
        evaluation: evaluations.into_iter().last(),
        burn_usd_per_hour: burn.map(Usd::from_dollars),
        cap_reached_in_seconds: burn
            .filter(|burn| *burn > 0.0)
            .map(|burn| recipe.budget.cap_usd.minus_or_zero(account.charged()).dollars() / burn * 3600.0),
        is_guard: false,
        warnings: Vec::new(),
        forecast: usual.map(cost),
        forecast_interval: interval.map(|(fast, slow)| (cost(fast), cost(slow))),
        seconds_left: usual,
    };
    status.warnings = warnings(&status, torn, replans.last());
    Ok(status)
}

/// Images of an evaluation before there was one, as far as the recipe says it.
fn planned_images(recipe: &Recipe) -> u64 {
    let of_set = recipe.data.evaluation.as_ref().map_or(0, |set| set.samples.0);
    let most = recipe.evaluation.max_samples.0;
    if most == 0 { of_set } else { of_set.min(most) }
}

/// The price that the latest row knows.
fn price_of(rows: &[Row]) -> Option<Usd> {
    rows.iter().rev().find_map(|row| row.usd_per_hour)
}

fn state(holder: Option<Holder>, rows: &[Row]) -> RunState {
    match (holder, Ended::of(rows)) {
        (_, Some(Ended::Finished)) => RunState::Finished,
        (_, Some(Ended::CapReached)) => RunState::CapReached,
        (Some(holder), _) => RunState::Running(holder),
        (None, Some(Ended::Interrupted)) => RunState::Interrupted,
        (None, None) => RunState::Stopped,
    }
}

/// A command under `guard`: money and no more.
fn read_guard(directory: &Path, run: &RunDirectory) -> Result<Status, RunError> {
    let holder = holder(directory);
    let contents = shoestring_ledger::read(&run.ledger())?;
    let rows = contents.rows.as_slice();
    let state = match (holder, Ended::of(rows)) {
        // The same folder may guard one command after the other.
        (Some(holder), None) => RunState::Running(holder),
        (_, ended) => self::state(None, if ended.is_some() { rows } else { &[] }),
    };
    let account = contents.account.clone();
    let price = price_of(rows).map_or(0.0, Usd::dollars);
    let burn = matches!(state, RunState::Running(_)).then_some(price);
    let mut status = Status {
        directory: directory.to_owned(),
        name: rows.first().map(|row| row.run.clone()).unwrap_or_default(),
        state,
        stage: String::new(),
        stage_index: 0,
        stages: 0,
        step: 0,
        steps: 0,
        steps_now: 0,
        samples_seen: 0,
        samples: 0,
        cap: account.cap(),
        settled: account.settled(),
        reserved: account.reserved(),
        spent: account.spent(),
        checkpoint_step: None,
        checkpoint_age_seconds: None,
        loss: None,
        samples_per_second: None,
        evaluation: None,
        burn_usd_per_hour: burn.map(Usd::from_dollars),
        cap_reached_in_seconds: burn
            .filter(|burn| *burn > 0.0)
            .map(|burn| account.cap().minus_or_zero(account.charged()).dollars() / burn * 3600.0),
        is_guard: true,
        warnings: Vec::new(),
        forecast: None,
        forecast_interval: None,
        seconds_left: None,
    };
    status.warnings = warnings(&status, contents.torn_bytes > 0, None);
    Ok(status)
}

/// Where training stands, by the latest of what the files say.
struct Standing {
    stage: usize,
    stage_step: u64,
    step: u64,
    steps_of_stages: Vec<u64>,
    planned_of_stage: u64,
}

impl Standing {
    fn of(recipe: &Recipe, rows: &[Row], last: Option<&MetricsLine>, replans: &[ReplanLine]) -> Self {
        // Not every step has a metrics line, and a resumed run is where its last row says, not where its
        // lines end.
        let row = rows.iter().rev().find(|row| !row.stage.is_empty());
        let (stage, step) = match (row, last) {
            (Some(row), Some(line)) if line.time >= row.time && line.step >= row.step => {
                (line.stage.as_str(), line.step)
            }
            (Some(row), _) => (row.stage.as_str(), row.step),
            (None, Some(line)) => (line.stage.as_str(), line.step),
            (None, None) => ("", 0),
        };
        let steps_of_stages: Vec<u64> = recipe
            .stages
            .iter()
            .map(|stage| {
                let replanned = replans.iter().rev().map(|line| &line.replan);
                let mut of_stage =
                    replanned.filter(|replan| replan.stage == stage.name && replan.step <= step);
                of_stage.next().map_or(stage.steps(), |replan| replan.steps_now)
            })
            .collect();
        let stage = recipe.stages.iter().position(|known| known.name == stage).unwrap_or(0);
        let before: u64 = steps_of_stages[..stage].iter().sum();
        let planned_of_stage = recipe.stages[stage].steps();
        Self { stage, stage_step: step.saturating_sub(before), step, steps_of_stages, planned_of_stage }
    }

    fn samples_seen(&self, recipe: &Recipe) -> u64 {
        let batch = |stage: usize| u64::from(recipe.stages[stage].batch);
        let before: u64 = (0..self.stage).map(|stage| self.steps_of_stages[stage] * batch(stage)).sum();
        before + self.stage_step * batch(self.stage)
    }

    /// What re-plans leave of the steps that the recipe still has.
    fn share_left(&self) -> f64 {
        let planned = self.planned_of_stage.saturating_sub(self.stage_step);
        let now = self.steps_of_stages[self.stage].saturating_sub(self.stage_step);
        if planned == 0 { 1.0 } else { now as f64 / planned as f64 }
    }
}

/// Dollars per hour by the latest settlements: what was charged, over the time from the first to the last.
fn burn(rows: &[Row]) -> Option<f64> {
    let settled: Vec<&Row> = rows
        .iter()
        .rev()
        .filter(|row| matches!(row.kind, Kind::Settle | Kind::Spend))
        .take(RECENT_SETTLEMENTS)
        .collect();
    let (last, first) = (settled.first()?, settled.last()?);
    let seconds = (last.time - first.time).num_milliseconds() as f64 / 1e3;
    let charged: Usd = settled[..settled.len() - 1].iter().filter_map(|row| row.amount).sum();
    (seconds >= 1.0).then(|| charged.dollars() / seconds * 3600.0)
}

fn warnings(status: &Status, torn: bool, replan: Option<&ReplanLine>) -> Vec<String> {
    let mut out = Vec::new();
    let ended = matches!(status.state, RunState::Finished | RunState::CapReached);
    if status.state == RunState::Stopped {
        let reserved = if status.reserved > Usd::ZERO {
            format!("; the {} USD that are reserved will be charged in full", status.reserved)
        } else {
            String::new()
        };
        out.push(format!("its process is gone and wrote no end{reserved}"));
    }
    if torn {
        out.push("the last row of the ledger is cut off; the next start drops it".to_owned());
    }
    if !ended && status.forecast.is_some_and(|forecast| forecast > status.cap) {
        out.push("at this speed it will reach its cap before it is done".to_owned());
    }
    if !ended && status.spent.dollars() >= NEARLY_SPENT * status.cap.dollars() {
        let percent = 100.0 * status.spent.dollars() / status.cap.dollars();
        out.push(format!("{percent:.0} % of the cap are spent"));
    }
    if status.spent > status.cap {
        let over = status.spent - status.cap;
        out.push(format!("spend from elsewhere or a correction is {over} USD above the cap"));
    }
    if let Some(replan) = replan.filter(|_| status.steps_now < status.steps) {
        out.push(format!(
            "re-planned to {} of {} steps: {}",
            status.steps_now, status.steps, replan.replan.reason
        ));
    }
    if !status.is_guard && !ended && status.step > 0 && status.checkpoint_step.is_none() {
        out.push("there is no checkpoint yet".to_owned());
    }
    out
}

fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>, RunError> {
    read_lines(path).map_err(|source| RunError::file(path, "read", source))
}

/// How long steps took lately: the usual one, and the fastest and slowest tenth.
struct Speeds {
    usual: Timing,
    fast: Timing,
    slow: Timing,
}

impl Speeds {
    /// `None` before the first metrics line.
    fn of(recipe: &Recipe, metrics: &[MetricsLine]) -> Option<Self> {
        metrics.last()?;
        let mut speeds = Self { usual: Timing::default(), fast: Timing::default(), slow: Timing::default() };
        for stage in &recipe.stages {
            let of_stage = metrics.iter().rev().filter(|line| line.stage == stage.name);
            let mut seconds: Vec<f64> = of_stage
                .take(RECENT_LINES)
                .filter(|line| line.samples_per_second > 0.0)
                .map(|line| f64::from(stage.batch) / line.samples_per_second)
                .collect();
            // Oldest first, as they happened.
            for took in seconds.iter().rev() {
                speeds.usual.step_took(&stage.name, *took);
            }
            seconds.sort_by(f64::total_cmp);
            if let (Some(fast), Some(slow)) =
                (seconds.get(seconds.len() / 10), seconds.iter().rev().nth(seconds.len() / 10))
            {
                speeds.fast.step_took(&stage.name, *fast);
                speeds.slow.step_took(&stage.name, *slow);
            }
        }
        Some(speeds)
    }
}

/// The runs at or below `root`, by path: folders with a frozen recipe and a ledger, and those of guarded
/// commands, with a ledger and a lock.
pub fn scan(root: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut found = Vec::new();
    collect(root, DEPTH, &mut found).map_err(|source| RunError::file(root, "read", source))?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let run = RunDirectory::new(folder);
    if run.ledger().is_file() && (run.recipe().is_file() || run.lock().is_file()) {
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
