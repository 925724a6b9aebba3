//! What the course of a run needs of training: the seam between money and machine learning.

pub(crate) use shoestring_engine::Saved;

use crate::records::Accuracy;

use super::error::RunError;
use super::state::Drawn;

/// What one step reports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stepped {
    /// Contrastive loss, in nats.
    pub(crate) loss: f64,
    /// Norm of all gradients together, before clipping.
    pub(crate) grad_norm: f64,
    /// Factor on the cosine similarities.
    pub(crate) logit_scale: f64,
    /// Learning rate used.
    pub(crate) learning_rate: f64,
    /// Which number was not finite, so that the step changed nothing.
    pub(crate) skipped: Option<String>,
}

/// What an evaluation reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Evaluated {
    pub(crate) classes: u64,
    pub(crate) samples: u64,
    pub(crate) accuracy: Accuracy,
}

/// Trains and evaluates. A new executor has the weights that the recipe's seed gives.
pub(crate) trait Executor {
    /// Starts a stage from the weights at hand, with fresh optimiser moments unless the stage carries them
    /// on, and data from its first sample.
    fn enter_stage(&mut self, stage: usize) -> Result<(), RunError>;

    /// Goes on in a stage from a checkpoint's files after `stage_step` of its steps.
    fn resume(&mut self, stage: usize, stage_step: u64, saved: &Saved, drawn: &Drawn)
    -> Result<(), RunError>;

    /// Trains the next batch of the stage, its schedule being at `progress` from 0 to 1.
    fn step(&mut self, progress: f64) -> Result<Stepped, RunError>;

    /// What a checkpoint holds.
    fn save(&mut self) -> Result<Saved, RunError>;

    /// What was drawn from the data since the run began.
    fn drawn(&self) -> Drawn;

    /// The first few samples that could not be used, where they lie and why.
    fn bad_examples(&self) -> Vec<String>;

    /// Images of one evaluation; 0: nothing is evaluated.
    fn evaluation_samples(&self) -> u64;

    /// Measures zero-shot accuracy at the current stage's image size and text length; changes nothing. After
    /// each batch `proceed(done, total)` is asked; `None` when it says no.
    fn evaluate(&mut self, proceed: &mut Proceed<'_>) -> Result<Option<Evaluated>, RunError>;
}

/// Asked between the batches of an evaluation whether to go on.
pub(crate) type Proceed<'a> = dyn FnMut(u64, u64) -> Result<bool, RunError> + 'a;
