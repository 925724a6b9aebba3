//! Starting a run, or going on with it: the directory, the lock, the ledger, set-up, then its course.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use shoestring_engine::resolved_precision;
use shoestring_ledger::{BudgetGuard, Clock, Kind, Purpose, ReserveError, SystemClock};
use shoestring_planner::recipe::{Precision, Recipe, Start};
use shoestring_planner::units::{Samples, Usd};

use super::checkpoint::{self, Found};
use super::clip::Workshop;
use super::course::{Course, Position};
use super::device::{Compute, Place};
use super::directory::RunDirectory;
use super::ending::{Ended, summary};
use super::error::RunError;
use super::executor::Executor;
use super::forecast::Forecast;
use super::lock::RunLock;
use super::log::Log;
use super::observer::Observer;
use super::pace::{Pace, Replan};
use super::price::PriceFile;
use super::timing::{SAFETY, Timing};
use crate::events::Events;
use crate::lease::Lease;
use crate::money;
use crate::records::{EvaluationLine, LineFile, read_lines};
use crate::till::Till;

/// Set aside for the first set-up, of which nothing is known; later ones are measured.
const UNKNOWN_SET_UP_SECONDS: f64 = 10.0;
/// But never more than this part of the cap.
const SET_UP_OF_CAP: f64 = 0.05;

/// What to carry out, and where.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// The text that it was read from: the comments at its top are frozen with it.
    pub text: &'a str,
    /// The folder that it was read from: relative data paths start there.
    pub folder: &'a Path,
    /// The run directory.
    pub directory: &'a Path,
    /// What to compute on.
    pub compute: Compute,
}

impl Order<'_> {
    /// The recipe as it is frozen: data paths absolute, and the precision that this machine computes in, so
    /// that a run goes on in it on whatever machine it goes on.
    fn frozen(&self) -> Result<(Recipe, Place), RunError> {
        let place = self.compute.find(self.recipe)?;
        let folder = std::path::absolute(if self.folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            self.folder
        })
        .map_err(|source| RunError::file(self.folder, "find", source))?;
        let start = self
            .recipe
            .start
            .as_ref()
            .map(|start| Start { from: folder.join(&start.from).to_string_lossy().into_owned() });
        let mut recipe = Recipe { data: self.recipe.data.resolved(&folder), start, ..self.recipe.clone() };
        if recipe.optimizer.precision.is_none() {
            // A run of an older program does not say, and goes on as it began.
            recipe.optimizer.precision = match RunDirectory::new(self.directory).frozen_recipe()? {
                Some(frozen) => frozen.optimizer.precision,
                None if !place.gpus.is_empty() => Some(Precision::Bf16),
                None => Some(resolved_precision(&recipe.architecture, None)),
            };
        }
        Ok((recipe, place))
    }
}

/// The seams of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where time comes from. A run is charged from the moment that it is started.
    pub clock: Arc<dyn Clock>,
    /// Becomes true when the run shall stop after the step at hand (see [`crate::signals::watch`]).
    pub stop: Arc<AtomicBool>,
    /// Ends the process when it outlives what is paid for; without one a step that hangs is not ended.
    pub lease: Option<Arc<dyn Lease>>,
    /// Spend no more than this in all, then stop with a checkpoint; the cap still holds.
    pub until: Option<Usd>,
    /// A file that appears when the machine is about to be taken back: stop as for a signal.
    pub notice: Option<PathBuf>,
    /// A shared budget that everything must also fit into.
    pub budget: Option<PathBuf>,
    /// A file with the price at present, looked at before every quantum.
    pub price: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            stop: Arc::new(AtomicBool::new(false)),
            lease: None,
            until: None,
            notice: None,
            budget: None,
            price: None,
        }
    }
}

/// How [`start`] ended. In each case the ledger says so, and nothing is half-done.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Everything in the recipe is done.
    Finished(Summary),
    /// The next piece of work would not fit under the cap.
    CapReached(Summary),
    /// Asked to stop; the same command goes on.
    Interrupted(Summary),
}

impl Outcome {
    /// What the run came to so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        match self {
            Self::Finished(summary) | Self::CapReached(summary) | Self::Interrupted(summary) => summary,
        }
    }

    fn summary_mut(&mut self) -> &mut Summary {
        match self {
            Self::Finished(summary) | Self::CapReached(summary) | Self::Interrupted(summary) => summary,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The run directory.
    pub directory: PathBuf,
    /// Settled and reserved money.
    pub spent: Usd,
    /// The number that is never exceeded.
    pub cap: Usd,
    /// Wall-clock seconds charged.
    pub seconds: f64,
    /// Steps in the newest checkpoint.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Samples seen in the newest checkpoint.
    pub samples_seen: u64,
    /// The newest checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// The last evaluation.
    pub evaluation: Option<EvaluationLine>,
    /// The step from which this process went on; `None` when it began the run.
    pub resumed_from: Option<u64>,
    /// The run had ended before; nothing was done or spent.
    pub already_ended: bool,
}

/// What [`start`] would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Begin a run.
    New,
    /// Go on after this step.
    Resumes {
        /// Steps in the newest checkpoint.
        step: u64,
    },
    /// Nothing: everything is done.
    Finished,
    /// Nothing: the cap is reached.
    CapReached,
}

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What [`start`] would do.
    pub standing: Standing,
    /// Pairs in an epoch of the training data.
    pub training_samples: Samples,
    /// Images of an evaluation; 0: nothing is evaluated.
    pub evaluation_samples: Samples,
    /// What is no error but worth knowing.
    pub warnings: Vec<String>,
}

/// Opens the data and looks at the directory as [`start`] would; writes nothing, spends nothing.
pub fn check(order: &Order<'_>) -> Result<Check, RunError> {
    let (recipe, place) = order.frozen()?;
    let directory = RunDirectory::new(order.directory);
    let standing = if directory.check(&recipe)? { standing(&directory)? } else { Standing::New };
    let mut workshop = Workshop::new(&recipe, place);
    workshop.open()?;
    Ok(Check {
        standing,
        training_samples: workshop.training_samples(),
        evaluation_samples: workshop.evaluation_samples(),
        warnings: workshop.warnings(),
    })
}

fn standing(directory: &RunDirectory) -> Result<Standing, RunError> {
    let path = directory.ledger();
    if path.exists() {
        match Ended::of(&shoestring_ledger::read(&path)?.rows) {
            Some(Ended::Finished) => return Ok(Standing::Finished),
            Some(Ended::CapReached) => return Ok(Standing::CapReached),
            Some(Ended::Interrupted) | None => {}
        }
    }
    let newest = checkpoint::list(&directory.checkpoints())?.pop();
    Ok(newest.map_or(Standing::New, |newest| Standing::Resumes { step: newest.step }))
}

/// Carries a recipe out, or goes on with it where the last process stopped. The same order again resumes.
pub fn start(order: &Order<'_>, options: &Options, observer: &mut dyn Observer) -> Result<Outcome, RunError> {
    let (recipe, place) = order.frozen()?;
    let mut workshop = Workshop::new(&recipe, place);
    carry_out(order, &recipe, options, observer, &mut workshop)
}

/// Opens the data, then builds the model: what a run trains with.
pub(crate) trait Train {
    /// Opens the data. Before anything is written, so that a recipe with bad data leaves nothing behind.
    fn open(&mut self) -> Result<(), RunError>;
    /// What is worth telling about it.
    fn warnings(&self) -> Vec<String>;
    /// Builds the model with the values that the seed gives.
    fn build(&mut self) -> Result<Box<dyn Executor>, RunError>;
}

/// [`start`] with whatever trains.
pub(crate) fn carry_out(
    order: &Order<'_>,
    recipe: &Recipe,
    options: &Options,
    observer: &mut dyn Observer,
    train: &mut dyn Train,
) -> Result<Outcome, RunError> {
    // Zero where the clock has been running since the process was started: that time is charged too.
    let since = if options.lease.is_some() { Duration::ZERO } else { options.clock.elapsed() };
    let directory = RunDirectory::new(order.directory);
    let known = directory.check(recipe)?;
    if !known {
        train.open()?;
        fs::create_dir_all(directory.root())
            .map_err(|source| RunError::file(directory.root(), "create", source))?;
    }
    let (lock, stale) = RunLock::take(directory.root(), &directory.lock())?;
    // Another process may have frozen its recipe since the look above.
    if !directory.check(recipe)? {
        directory.freeze(recipe, order.text)?;
    }
    let mut log = Log::open(&directory.log())?;
    let clock = Arc::clone(&options.clock);
    let (guard, told) =
        money::of_recipe(&directory.ledger(), &clock, recipe, since, options.budget.as_deref())?;
    directory.refreeze(recipe)?;
    if let Some(holder) = stale {
        let text = format!("taking over from process {} on {}, which is gone", holder.pid, holder.host);
        log.say(clock.now(), observer, &text);
    }
    for text in &told {
        log.say(clock.now(), observer, text);
    }
    let ended = Ended::of(guard.rows());
    let till = Till::new(guard, options.lease.clone());
    let account = || till.with(|guard| guard.account().clone());
    let outcome = match ended {
        Some(ended @ (Ended::Finished | Ended::CapReached)) => {
            let mut outcome = ended.outcome(summary(recipe, &directory, &account())?);
            outcome.summary_mut().already_ended = true;
            Ok(outcome)
        }
        Some(Ended::Interrupted) | None => {
            let site = Site { recipe, directory: &directory, options, known, lock: &lock };
            site.work(&till, &mut log, observer, train)
        }
    };
    let text = match &outcome {
        Ok(outcome) => {
            format!("{}: spent {} of {} USD", name(outcome), account().spent(), account().cap())
        }
        Err(error) => format!("error: {error}"),
    };
    log.write(clock.now(), &text);
    outcome
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Finished(_) => "finished",
        Outcome::CapReached(_) => "cap reached",
        Outcome::Interrupted(_) => "interrupted",
    }
}

/// A run directory that is ours.
struct Site<'a> {
    recipe: &'a Recipe,
    directory: &'a RunDirectory,
    options: &'a Options,
    /// There was a run before.
    known: bool,
    lock: &'a RunLock,
}

/// What set-up gives.
struct Ready {
    executor: Box<dyn Executor>,
    position: Position,
    timing: Timing,
    checkpoint: Option<(u64, PathBuf)>,
    replans: Vec<Replan>,
    told: Vec<String>,
}

impl Site<'_> {
    fn work(
        &self,
        till: &Till,
        log: &mut Log,
        observer: &mut dyn Observer,
        train: &mut dyn Train,
    ) -> Result<Outcome, RunError> {
        let clock = &self.options.clock;
        let beyond =
            self.options.until.map_or(Usd::ZERO, |until| self.recipe.budget.cap_usd.minus_or_zero(until));
        let cap_seconds = Forecast::new(self.recipe, 0).cap_seconds();
        let seconds = till.with(|guard| set_up_seconds(guard, cap_seconds));
        let (amount, _) = till.cost_of_next(seconds, 0.0);
        match till.reserve("", 0, Purpose::SetUp, amount, beyond, beyond) {
            Ok(()) => {}
            Err(ReserveError::Refused(refused))
                if refused.need <= till.left() + beyond && beyond > Usd::ZERO =>
            {
                log.say(clock.now(), observer, "as much is spent as was asked for");
                return self.close(till, Ended::Interrupted, None);
            }
            Err(ReserveError::Refused(refused)) => {
                log.say(clock.now(), observer, &format!("the cap is reached before set-up: {refused}"));
                return self.close(till, Ended::CapReached, None);
            }
            Err(ReserveError::Ledger(error)) => return Err(error.into()),
        }
        let ready = self.set_up(train);
        let step = ready.as_ref().map_or(0, |ready| ready.position.step);
        let settled = till.settle(step);
        let Ready { executor, position, timing, checkpoint, replans, told } = ready?;
        settled?;
        for text in &told {
            log.say(clock.now(), observer, text);
        }
        if self.known {
            let text = format!("resumed after step {step}");
            let stage = &self.recipe.stages[position.stage].name;
            till.with(|guard| guard.note(stage, step, text.as_str()))?;
            log.say(clock.now(), observer, &text);
        }
        let open =
            |path: PathBuf| LineFile::open(&path).map_err(|source| RunError::file(&path, "open", source));
        let evaluations = self.directory.evaluations();
        let evaluated: HashMap<u64, EvaluationLine> = read_lines::<EvaluationLine>(&evaluations)
            .map_err(|source| RunError::file(&evaluations, "read", source))?
            .into_iter()
            .map(|line| (line.step, line))
            .collect();
        let (events, trouble) = Events::open(&self.directory.tensorboard(), clock.now());
        if let Some(trouble) = trouble {
            log.say(clock.now(), observer, &trouble);
        }
        let mut course = Course {
            recipe: self.recipe,
            directory: self.directory,
            clock: Arc::clone(clock),
            stop: Arc::clone(&self.options.stop),
            notice: self.options.notice.clone(),
            price: self.options.price.as_deref().map(PriceFile::new),
            beyond,
            pausing: false,
            pace: Pace::new(&self.recipe.stages[position.stage], &replans),
            replans,
            replan_lines: open(self.directory.replans())?,
            later_seconds: 0.0,
            dear_evaluation: f64::INFINITY,
            forecast: Forecast::new(self.recipe, executor.evaluation_samples()),
            observer,
            lock: self.lock,
            log,
            executor,
            timing,
            position,
            entered: checkpoint.is_some(),
            metrics: open(self.directory.metrics())?,
            evaluations: open(evaluations)?,
            events,
            evaluated,
            last_checkpoint: checkpoint,
            checkpoint_settled: till.settled(),
            checkpoint_at: clock.elapsed().as_secs_f64(),
            since_line: (0, 0.0),
            bad_said: 0,
            till,
        };
        let halt = course.go()?;
        let ended = course.end(halt)?;
        drop(course);
        self.summarise(till, ended, self.known.then_some(step))
    }

    /// Opens the data unless that is done, builds the model and goes back to the newest whole checkpoint.
    fn set_up(&self, train: &mut dyn Train) -> Result<Ready, RunError> {
        if self.known {
            train.open()?;
        }
        let mut told = train.warnings();
        let mut executor = train.build()?;
        let folder = self.directory.checkpoints();
        checkpoint::remove_unfinished(&folder)?;
        let (found, passed_over): Found = checkpoint::newest_intact(&folder)?;
        told.extend(passed_over.into_iter().map(|why| format!("a damaged checkpoint is passed over: {why}")));
        let Some((path, state, saved)) = found else {
            let (position, timing) = (Position::default(), Timing::default());
            return Ok(Ready { executor, position, timing, checkpoint: None, replans: Vec::new(), told });
        };
        executor.resume(state.stage_index, state.stage_step, &saved, &state.drawn)?;
        let position = Position {
            stage: state.stage_index,
            stage_step: state.stage_step,
            step: state.step,
            samples_seen: state.samples_seen,
        };
        let checkpoint = Some((state.step, path));
        Ok(Ready { executor, position, timing: state.timing, checkpoint, replans: state.replans, told })
    }

    fn close(&self, till: &Till, ended: Ended, resumed_from: Option<u64>) -> Result<Outcome, RunError> {
        till.with(|guard| guard.end("", 0, ended.note()))?;
        self.summarise(till, ended, resumed_from)
    }

    fn summarise(&self, till: &Till, ended: Ended, resumed_from: Option<u64>) -> Result<Outcome, RunError> {
        let account = till.with(|guard| guard.account().clone());
        let mut outcome = ended.outcome(summary(self.recipe, self.directory, &account)?);
        outcome.summary_mut().resumed_from = resumed_from;
        Ok(outcome)
    }
}

/// What to set aside for set-up: its worst measured duration in this run, with the usual safety.
fn set_up_seconds(guard: &BudgetGuard, cap_seconds: f64) -> f64 {
    let measured = guard
        .rows()
        .iter()
        .filter(|row| row.kind == Kind::Settle && row.purpose == Purpose::SetUp && row.note.is_empty())
        .filter_map(|row| row.seconds.map(|seconds| SAFETY * seconds))
        .reduce(f64::max);
    measured.unwrap_or_else(|| UNKNOWN_SET_UP_SECONDS.min(SET_UP_OF_CAP * cap_seconds))
}
