//! A way to spend the money, with what it costs and what it brings.

use crate::architecture::Architecture;
use crate::law::{Evidence, Prediction, StageShape};
use crate::memory::MemoryFit;
use crate::money::Cost;
use crate::recipe::{Evaluation, ImageReduction, Stage};
use crate::spread::Spread;
use crate::time::StageTime;
use crate::units::{Tokens, Usd};

use super::machine::Machine;
use super::shortening::image_word;

/// One stage of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStage {
    /// What the recipe says of it.
    pub stage: Stage,
    /// Patches that reach the transformer.
    pub image_tokens: Tokens,
    /// Time and speed.
    pub time: StageTime,
    /// Cost of the machine during it.
    pub usd: Spread<Usd>,
}

/// A way to spend the money.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// What is trained.
    pub architecture: &'static Architecture,
    /// On what.
    pub machine: Machine,
    /// Stages in order.
    pub stages: Vec<PlannedStage>,
    /// When and on how much it is evaluated.
    pub evaluation: Evaluation,
    /// Everything that is paid for.
    pub cost: Cost,
    /// How the steps fit into memory, stage by stage.
    pub memory: Vec<MemoryFit>,
    /// What the law expects; its accuracy is absent where none is claimed.
    pub prediction: Prediction,
    /// The nearest published run.
    pub evidence: Option<Evidence>,
    /// Variables outside the published runs, in words.
    pub extrapolation: Vec<String>,
    /// What kept the samples from being more.
    pub bound: Bound,
}

/// What kept a candidate's samples from being more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The budget.
    Budget,
    /// The deadline.
    Deadline,
    /// The user's number of samples.
    Samples,
}

impl Candidate {
    /// `H/14`: the architecture as papers name it.
    #[must_use]
    pub fn short_name(&self) -> String {
        short_name(self.architecture)
    }

    /// `H/14 at 70 px, 8 text tokens, 12.8 B samples, then 224 px`: for a sentence.
    #[must_use]
    pub fn label(&self) -> String {
        let Some(first) = self.stages.first() else { return self.short_name() };
        let stage = &first.stage;
        let masked = if stage.image_reduction == ImageReduction::Resize {
            String::new()
        } else {
            format!(" ({} to {} patches)", image_word(stage.image_reduction), first.image_tokens)
        };
        let mut label = format!(
            "{} at {} px{masked}, {} text tokens, {} samples",
            self.short_name(),
            stage.image_size_px,
            stage.text_tokens,
            stage.samples
        );
        for later in &self.stages[1..] {
            label.push_str(&format!(", then {} px", later.stage.image_size_px));
        }
        label
    }

    /// Median accuracy in percent, where one is claimed.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        self.prediction.accuracy_percent.map(|accuracy| accuracy.p50)
    }

    /// Cost that is not exceeded with this probability.
    #[must_use]
    pub fn cost_at(&self, confidence: f64) -> Usd {
        self.cost.at_confidence(confidence)
    }

    /// Accelerator-hours of the stages.
    #[must_use]
    pub fn device_hours(&self) -> f64 {
        self.cost.training_device_hours().p50.0
    }

    /// The stages as the law sees them.
    #[must_use]
    pub fn shapes(&self) -> Vec<StageShape> {
        self.stages.iter().map(|planned| StageShape::of(&planned.stage, self.architecture)).collect()
    }
}

/// `ViT-H-14-CLIPA` -> `H/14`, `ViT-bigG-14-CLIPA` -> `G/14`, `ViT-Tiny-8` -> `Tiny/8`; a name that is not made
/// so stays as it is.
#[must_use]
pub fn short_name(architecture: &Architecture) -> String {
    let name = architecture.name.as_str();
    let bare = name.strip_prefix("ViT-").unwrap_or(name);
    let bare = bare.strip_suffix("-CLIPA").unwrap_or(bare);
    match bare.rsplit_once('-') {
        Some((size, patch)) if patch.chars().all(|letter| letter.is_ascii_digit()) => {
            format!("{}/{patch}", if size == "bigG" { "G" } else { size })
        }
        _ => name.to_owned(),
    }
}
