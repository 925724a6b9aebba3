//! Reading run directories.

mod journal;
mod rows;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use shoestring_ledger::{Account, Kind, LedgerError, Row};
use shoestring_planner::recipe::{Recipe, read_recipe};
use shoestring_planner::units::{Hours, Usd};

use self::journal::{Journal, read_journal};
pub(crate) use self::rows::{EvaluationRow, MetricRow};
use crate::words::{counted, printable, slug, unique};
use crate::{Note, ReportError};

/// Everything that one run directory says.
#[derive(Debug)]
pub(crate) struct RunRecord {
    /// The recipe's name, with `-2`, `-3`, … where several runs share it.
    pub(crate) label: String,
    /// The label as part of file names.
    pub(crate) slug: String,
    /// The directory as it was named.
    pub(crate) directory: PathBuf,
    /// The frozen recipe.
    pub(crate) recipe: Recipe,
    /// The ledger's rows.
    pub(crate) ledger: Vec<Row>,
    /// Their sums.
    pub(crate) account: Account,
    /// Training, oldest first, without what a resume repeated.
    pub(crate) metrics: Vec<MetricRow>,
    /// Evaluations, oldest first, without what a resume repeated.
    pub(crate) evaluations: Vec<EvaluationRow>,
}

/// Money and time at one moment of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SpendPoint {
    /// The ledger row after which it stood so.
    pub(crate) seq: u64,
    /// When.
    pub(crate) time: DateTime<Utc>,
    /// Wall-clock hours since the ledger was opened, pauses included.
    pub(crate) elapsed: Hours,
    /// Hours charged so far.
    pub(crate) charged: Hours,
    /// Settled so far.
    pub(crate) settled: Usd,
    /// Settled and reserved.
    pub(crate) spent: Usd,
}

impl RunRecord {
    /// The number that is never exceeded: the ledger's, or the recipe's before the ledger is opened.
    pub(crate) fn cap(&self) -> Usd {
        if self.ledger.is_empty() { self.recipe.budget.cap_usd } else { self.account.cap() }
    }

    /// Hours that were charged.
    pub(crate) fn charged_hours(&self) -> Hours {
        Hours::from_seconds(self.account.spending().iter().map(|one| one.seconds).sum())
    }

    /// Samples seen so far.
    pub(crate) fn samples_seen(&self) -> u64 {
        let trained = self.metrics.last().map_or(0, |row| row.samples_seen);
        trained.max(self.evaluations.last().map_or(0, |row| row.samples_seen))
    }

    /// The newest zero-shot classification, the first named if several data sets were evaluated then.
    pub(crate) fn last_accuracy(&self) -> Option<&EvaluationRow> {
        let last = self.evaluations.iter().rfind(|row| row.accuracy_percent().is_some())?;
        self.evaluations.iter().find(|row| row.step == last.step && row.accuracy_percent().is_some())
    }

    /// Money over time, one point a row that moves money.
    pub(crate) fn spend(&self) -> Vec<SpendPoint> {
        let mut account = Account::new();
        let mut charged = 0.0;
        let Some(start) = self.ledger.first().map(|row| row.time) else { return Vec::new() };
        let mut points = Vec::with_capacity(self.ledger.len());
        for row in &self.ledger {
            // The rows were checked when the ledger was read, so that each of them follows.
            if account.apply(row).is_err() || matches!(row.kind, Kind::Note | Kind::Warn) {
                continue;
            }
            if matches!(row.kind, Kind::Settle | Kind::Spend) {
                charged += row.seconds.unwrap_or_default();
            }
            points.push(SpendPoint {
                seq: row.seq,
                time: row.time,
                elapsed: Hours::from_seconds((row.time - start).num_milliseconds() as f64 / 1e3),
                charged: Hours::from_seconds(charged),
                settled: account.settled(),
                spent: account.spent(),
            });
        }
        points
    }

    /// What a stage cost so far (open reserves included) and the hours charged to it; `None` where the ledger
    /// has nothing on it.
    pub(crate) fn spent_in_stage(&self, stage: &str) -> Option<(Usd, Hours)> {
        let mut found = false;
        let (mut amount, mut seconds) = (Usd::ZERO, 0.0);
        for one in self.account.spending().iter().filter(|one| one.stage == stage) {
            found = true;
            amount += one.settled;
            seconds += one.seconds;
        }
        for (quantum, reserve) in self.account.open_reserves() {
            let of_stage =
                |row: &&Row| row.kind == Kind::Reserve && row.quantum == quantum && row.stage == stage;
            if self.ledger.iter().any(|row| of_stage(&row)) {
                found = true;
                amount += reserve;
            }
        }
        found.then_some((amount, Hours::from_seconds(seconds)))
    }
}

/// Reads all run directories, in order, and notes what is missing in them.
pub(crate) fn read_runs(directories: &[PathBuf]) -> Result<(Vec<RunRecord>, Vec<Note>), ReportError> {
    let (mut labels, mut slugs) = (HashSet::new(), HashSet::new());
    let mut notes = Vec::new();
    let mut runs = Vec::new();
    for directory in directories {
        let recipe = read_frozen_recipe(directory)?;
        let label = unique(printable(recipe.name.trim()), &mut labels);
        let slug = unique(slug(&label), &mut slugs);
        runs.push(read_run(directory, recipe, label, slug, &mut notes)?);
    }
    Ok((runs, notes))
}

fn read_frozen_recipe(directory: &Path) -> Result<Recipe, ReportError> {
    let not_a_run =
        |problem: &str| ReportError::NotARun { path: directory.to_owned(), problem: problem.into() };
    if !directory.exists() {
        return Err(not_a_run("there is no such directory"));
    }
    if !directory.is_dir() {
        return Err(not_a_run("it is a file"));
    }
    let path = directory.join("recipe.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(read_recipe(&text, &path)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(not_a_run("it has no recipe.toml")),
        Err(source) => Err(ReportError::Read { path, source }),
    }
}

fn read_run(
    directory: &Path,
    recipe: Recipe,
    label: String,
    slug: String,
    notes: &mut Vec<Note>,
) -> Result<RunRecord, ReportError> {
    let mut note = |text: String, partial: bool| {
        notes.push(Note { run: Some(label.clone()), text, partial });
    };
    let (ledger, account) = read_ledger(directory, &mut note)?;
    let metrics: Journal<MetricRow> = read_journal(&directory.join("metrics.jsonl"))?;
    let evaluations: Journal<EvaluationRow> = read_journal(&directory.join("eval.jsonl"))?;
    note_gaps("metrics.jsonl", "No training was recorded", &metrics, &mut note);
    note_gaps("eval.jsonl", "Nothing was evaluated", &evaluations, &mut note);
    if recipe.planned.is_none() {
        note("The recipe carries no plan: there is nothing to compare the actual cost with.".into(), false);
    }
    let reserved = account.reserved();
    if reserved > Usd::ZERO {
        let text = format!(
            "A reserve of {reserved} USD is open: the run is at work or was cut off. It counts as spent."
        );
        note(text, false);
    }
    Ok(RunRecord {
        slug,
        directory: directory.to_owned(),
        recipe,
        ledger,
        account,
        metrics: rows::without_repeated_steps(metrics.rows),
        evaluations: rows::without_repeated_evaluations(evaluations.rows),
        label,
    })
}

fn read_ledger(
    directory: &Path,
    note: &mut impl FnMut(String, bool),
) -> Result<(Vec<Row>, Account), ReportError> {
    let path = directory.join("ledger.jsonl");
    let nothing = || (Vec::new(), Account::new());
    match shoestring_ledger::read(&path) {
        Ok(contents) => {
            if contents.torn_bytes > 0 {
                note(
                    "ledger.jsonl: the last line was cut off while it was written, and never counted.".into(),
                    false,
                );
            }
            if contents.rows.is_empty() {
                note("ledger.jsonl is empty: no money was set aside yet.".into(), true);
            }
            Ok((contents.rows, contents.account))
        }
        Err(LedgerError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            note("There is no ledger.jsonl: what this run cost is not known.".into(), true);
            Ok(nothing())
        }
        Err(LedgerError::Io { path, source }) => Err(ReportError::Read { path, source }),
        Err(LedgerError::Newer { path, line, found }) => {
            let known = u64::from(shoestring_ledger::LEDGER_VERSION);
            Err(ReportError::Newer { path, line, found: u64::from(found), known })
        }
        // One damaged ledger must not hide the other runs; its money is left out and the note says why.
        Err(error) => {
            note(format!("The ledger cannot be trusted, its money is left out: {error}"), true);
            Ok(nothing())
        }
    }
}

fn note_gaps<T>(file: &str, nothing: &str, journal: &Journal<T>, note: &mut impl FnMut(String, bool)) {
    if journal.missing || (journal.rows.is_empty() && journal.damaged.is_empty()) {
        let why = if journal.missing { "is missing" } else { "is empty" };
        note(format!("{nothing}: {file} {why}."), false);
    }
    if journal.torn {
        note(format!("{file}: the last line was cut off while it was written and is left out."), false);
    }
    if let Some(first) = journal.damaged.first() {
        let lines = counted(journal.damaged.len(), "line", "lines");
        note(format!("{file}: {lines} cannot be read (the first is line {first}) and are left out."), true);
    }
}
