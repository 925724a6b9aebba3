//! A run from inside: with a clock that the test moves, training that takes as long as the test says, and
//! faults where the test wants them.

mod budget;
mod cap;
mod real;
mod resume;
mod slow;
mod status;
mod toy;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shoestring_ledger::FakeClock;
use shoestring_planner::recipe::{Recipe, read_recipe};
use shoestring_planner::units::Usd;

use super::device::Compute;
use super::observer::StepProgress;
use super::start::carry_out;
use super::{Observer, Options, Order, Outcome, RunDirectory, RunError};
use crate::records::EvaluationLine;

pub(crate) fn small_recipe() -> Recipe {
    let text = include_str!("../../../../tests/recipes/small.toml");
    read_recipe(text, Path::new("small.toml")).expect("a recipe")
}

/// A recipe whose machine costs one micro-dollar a second, so that the cap is also a number of seconds.
pub(super) fn recipe_with_cap_seconds(seconds: i64) -> Recipe {
    let mut recipe = small_recipe();
    recipe.hardware.usd_per_hour = Usd::from_micros(3600);
    recipe.budget.cap_usd = Usd::from_micros(seconds);
    recipe.checkpoint.every_cap_fraction = 0.02;
    recipe
}

/// What [`Watch`] throws to end a process.
pub(super) struct Killed;

/// Moves the clock, injects faults, remembers what was said.
pub(super) struct Watch {
    pub(super) clock: Arc<FakeClock>,
    pub(super) stop: Arc<AtomicBool>,
    /// Seconds of a step, by its number.
    pub(super) step_seconds: fn(u64) -> f64,
    /// Seconds of an evaluation batch and of a checkpoint.
    pub(super) evaluation_batch_seconds: f64,
    pub(super) checkpoint_seconds: f64,
    /// Whether evaluations take as much longer as the step before them.
    pub(super) evaluations_slow_down: bool,
    /// Events until the process is killed.
    pub(super) killed_after: Option<usize>,
    /// Step after which it is asked to stop.
    pub(super) stop_after: Option<u64>,
    pub(super) steps: Vec<u64>,
    pub(super) evaluations: Vec<EvaluationLine>,
    pub(super) messages: Vec<String>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            clock: Arc::new(FakeClock::new()),
            stop: Arc::new(AtomicBool::new(false)),
            step_seconds: |_| 1.0,
            evaluation_batch_seconds: 0.2,
            checkpoint_seconds: 1.0,
            evaluations_slow_down: false,
            killed_after: None,
            stop_after: None,
            steps: Vec::new(),
            evaluations: Vec::new(),
            messages: Vec::new(),
        }
    }

    fn pass(&mut self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
        if let Some(left) = &mut self.killed_after {
            if *left == 0 {
                // Not a panic: a kill says nothing.
                std::panic::resume_unwind(Box::new(Killed));
            }
            *left -= 1;
        }
    }

    pub(super) fn heard(&self, words: &str) -> bool {
        self.messages.iter().any(|message| message.contains(words))
    }
}

impl Observer for Watch {
    fn step(&mut self, step: &StepProgress<'_>) {
        self.steps.push(step.step);
        if self.stop_after == Some(step.step) {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.pass((self.step_seconds)(step.step));
    }

    fn evaluating(&mut self, _done: u64, _total: u64) {
        let last = self.steps.last().copied().unwrap_or_default();
        let slower = if self.evaluations_slow_down { (self.step_seconds)(last) } else { 1.0 };
        self.pass(self.evaluation_batch_seconds * slower);
    }

    fn evaluated(&mut self, line: &EvaluationLine) {
        self.evaluations.push(line.clone());
    }

    fn checkpoint(&mut self, _path: &Path, _step: u64) {
        self.pass(self.checkpoint_seconds);
    }

    fn message(&mut self, text: &str) {
        self.messages.push(text.to_owned());
    }
}

/// One process on the toy: `None` when it was killed.
pub(super) fn process(
    recipe: &Recipe,
    directory: &Path,
    watch: &mut Watch,
) -> Option<Result<Outcome, RunError>> {
    let options = Options { clock: watch.clock.clone(), stop: Arc::clone(&watch.stop), ..Options::default() };
    let order =
        Order { recipe, text: "# a comment\n", folder: Path::new("/"), directory, compute: Compute::Auto };
    let mut toy = toy::Toy::new(recipe);
    let run = || carry_out(&order, recipe, &options, watch, &mut toy);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(result) => Some(result),
        Err(thrown) if thrown.is::<Killed>() => None,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// One process on the toy that is not killed and meets no error.
pub(super) fn outcome(recipe: &Recipe, directory: &Path, watch: &mut Watch) -> Outcome {
    process(recipe, directory, watch).expect("is not killed").expect("meets no error")
}

/// The bytes of the newest checkpoint's model, optimiser and, where there is one, running mean of the weights.
pub(super) fn newest_bytes(directory: &Path) -> (Vec<u8>, Vec<u8>, Option<Vec<u8>>) {
    let folder = RunDirectory::new(directory).checkpoints();
    let newest = super::list_checkpoints(&folder).expect("a folder").pop().expect("a checkpoint");
    let read = |name: &str| std::fs::read(newest.path.join(name)).expect("a file");
    let ema = std::fs::read(newest.path.join("ema.safetensors")).ok();
    (read("model.safetensors"), read("optimizer.safetensors"), ema)
}
