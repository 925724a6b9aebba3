//! Who watches a run: the progress bars, or a test that brings its own clock and its own faults.

use std::path::Path;

use crate::records::EvaluationLine;

/// Where a stage starts or goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct StageProgress<'a> {
    /// Name of the stage.
    pub name: &'a str,
    /// Its place, from 0.
    pub index: usize,
    /// How many stages there are.
    pub stages: usize,
    /// Steps of it that are done.
    pub stage_step: u64,
    /// Steps that it has.
    pub stage_steps: u64,
    /// Samples per step.
    pub batch: u32,
    /// Side of the images in pixels.
    pub image_size_px: u32,
    /// Patches an image that reach the transformer.
    pub image_tokens: u32,
    /// Tokens a caption.
    pub text_tokens: u32,
}

/// Where training stands after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepProgress<'a> {
    /// Name of the stage.
    pub stage: &'a str,
    /// Steps of the stage that are done.
    pub stage_step: u64,
    /// Steps that the stage has.
    pub stage_steps: u64,
    /// Steps done since the run began.
    pub step: u64,
    /// Steps that the run has.
    pub steps: u64,
    /// Contrastive loss of the step's batch, in nats.
    pub loss: f64,
    /// Samples a second in recent steps.
    pub samples_per_second: f64,
    /// Spent by the clock, in dollars.
    pub spend_usd: f64,
    /// The number that is never exceeded, in dollars.
    pub cap_usd: f64,
}

/// Watches a run. Every method does nothing unless it is written.
pub trait Observer {
    /// A stage starts, or goes on after a resume.
    fn stage_started(&mut self, _stage: &StageProgress<'_>) {}
    /// A step is done. The time that this takes is charged to the step.
    fn step(&mut self, _step: &StepProgress<'_>) {}
    /// An evaluation is going on: `done` of `total` images. The time that this takes is charged to it.
    fn evaluating(&mut self, _done: u64, _total: u64) {}
    /// An evaluation is done.
    fn evaluated(&mut self, _line: &EvaluationLine) {}
    /// A checkpoint is complete at this path. The time that this takes is charged to it.
    fn checkpoint(&mut self, _path: &Path, _step: u64) {}
    /// Something a person may want to know; `run.log` has it too.
    fn message(&mut self, _text: &str) {}
}

/// Nobody watches.
impl Observer for () {}
