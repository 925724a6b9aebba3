//! The recipe: everything a run needs and nothing a run finds out. The file format of `recipe.toml`.
//!
//! A recipe written by hand is as good as one written by `plan`. Units stand in the field names.

mod billing;
mod check;
mod data;
mod read;
mod write;

use serde::{Deserialize, Serialize};

pub use self::billing::Billing;
pub use self::check::CheckError;
pub use self::data::{
    Data, DataSource, EvaluationData, ImagePreparation, Interpolation, Normalisation, Reading, WeightedSource,
};
pub use self::read::{RecipeError, read_manifest, read_recipe};
pub use self::write::write_recipe;
use crate::architecture::Architecture;
use crate::units::{Hours, Samples, Tokens, Usd};

/// The newest `version` of `recipe.toml` that this program reads and the one it writes.
pub const RECIPE_VERSION: u32 = 1;

/// One carrying-out of training: budget, hardware, data, architecture, stages in order, evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Format version, [`RECIPE_VERSION`].
    pub version: u32,
    /// Name of the run; also the default name of its directory.
    pub name: String,
    /// The one seed from which every named random stream is derived.
    #[serde(default)]
    pub seed: u64,
    /// The money.
    pub budget: Budget,
    /// What is rented, and its price.
    pub hardware: Hardware,
    /// What is trained and evaluated on.
    pub data: Data,
    /// What is trained.
    pub architecture: Architecture,
    /// What training starts from; absent: the values that the seed gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// How it is trained, the same in every stage.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Training phases in order.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
    /// When and on how much to evaluate.
    #[serde(default)]
    pub evaluation: Evaluation,
    /// When to write checkpoints and how many to keep.
    #[serde(default)]
    pub checkpoint: CheckpointPolicy,
    /// What the planner expected, for planned-against-actual; absent in a recipe written by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Planned>,
}

/// What training starts from: pretraining that somebody has paid already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// A folder that `import` or `export` wrote, or a run directory; relative to the recipe's file.
    pub from: String,
}

/// The money of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The number that is never exceeded.
    pub cap_usd: Usd,
    /// What drives the learning rate down.
    #[serde(default, skip_serializing_if = "ScheduleProgress::is_default")]
    pub schedule_progress: ScheduleProgress,
}

/// What the progress of a learning-rate schedule is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleProgress {
    /// Samples done of samples planned, whatever they cost: only the cap ends a run early, and it is then not
    /// annealed.
    #[default]
    Samples,
    /// Samples done of samples planned, or dollars spent of the budget, whichever is further: a run that
    /// turns out slower than planned does fewer samples in every stage, and holds back what the later ones
    /// are to cost.
    Budget,
}

impl ScheduleProgress {
    // The signature is serde's.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What is rented, and its price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// Provider and instance type, or `this-machine`.
    pub offer: String,
    /// Accelerator name, `cpu` for `this-machine`.
    pub accelerator: String,
    /// Accelerators in all.
    pub count: u32,
    /// Price of everything together, per wall-clock hour.
    pub usd_per_hour: Usd,
    /// Interruptible machines: the provider may take them back at any time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spot: bool,
    /// The highest price per hour that has to be reckoned with: money is set aside at this price. Absent: the
    /// price above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_usd_per_hour: Option<Usd>,
    /// Where the price is from: `stated`, `assumed`, or a catalogue with its date.
    pub price_source: String,
    /// Billing periods; absent: those usual with the offer's provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing: Option<Billing>,
}

/// Optimiser: `AdamW` with parameter groups (no decay on biases, norms, positions, temperature).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// First-moment decay.
    pub beta1: f64,
    /// Second-moment decay.
    pub beta2: f64,
    /// Denominator offset.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Global gradient norm above which gradients are scaled down; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Initial temperature is exp of this, ln(1/0.07).
    pub logit_scale_init: f64,
    /// The log-scale is clamped to [0, this], ln 100.
    pub logit_scale_max: f64,
    /// Layer-wise decay of the learning rate: in both towers what lies k blocks below the head learns at this
    /// to the k times the rate (Clark et al., 2003.10555, appendix A; Bao et al., 2106.08254); absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f64>,
    /// Decay a step of the running mean of the weights, kept beside them; absent: none is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// Precision of the operands of matrix products; absent: bf16 where the processor multiplies bf16
    /// numbers, `f32` elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
}

/// What numbers are rounded to before they are multiplied with each other; sums are `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bfloat16: the range of `f32`, 8 bits of precision.
    Bf16,
    /// Not at all.
    F32,
}

impl Default for Optimizer {
    /// CLIPA's values (`clipa_jax/configs`), with the clamp of its `PyTorch` code.
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.2,
            clip_norm: Some(1.0),
            logit_scale_init: (1.0f64 / 0.07).ln(),
            logit_scale_max: 100f64.ln(),
            layer_decay: None,
            ema_decay: None,
            precision: None,
        }
    }
}

/// How an image's token sequence is shortened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageReduction {
    /// Resize the image: fewer pixels, fewer patches.
    #[default]
    Resize,
    /// Keep a random subset of patches.
    Random,
    /// Keep one random patch in each cell of a regular grid.
    Grid,
    /// Keep one contiguous square block of patches.
    Block,
}

/// How a caption's token sequence is shortened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextReduction {
    /// Keep the first tokens.
    #[default]
    Truncate,
    /// Keep a random subset, in order.
    Random,
    /// Keep a random contiguous block.
    Block,
    /// Keep nouns first, then adjectives, then the rest, in order (English).
    Syntax,
}

/// One training phase at a fixed image size, token reduction, text length, batch and schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// `pretrain`, `finetune-224`, ...; unique within the recipe.
    pub name: String,
    /// Side of the square image in pixels.
    pub image_size_px: u32,
    /// How the image sequence is shortened.
    #[serde(default)]
    pub image_reduction: ImageReduction,
    /// Fraction of patches dropped by a mask reduction; 0 for `resize`.
    #[serde(default)]
    pub image_mask_ratio: f64,
    /// Text tokens, start and end markers included.
    pub text_tokens: Tokens,
    /// How the text sequence is shortened.
    #[serde(default)]
    pub text_reduction: TextReduction,
    /// Samples seen in this stage.
    pub samples: Samples,
    /// Samples per optimiser step.
    pub batch: u32,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Samples of linear warm-up from zero.
    #[serde(default)]
    pub warmup_samples: Samples,
    /// The learning rate after the warm-up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: Schedule,
    /// With `wsd`: the last part of the stage, in which the rate falls to zero; absent:
    /// [`Stage::DECAY_FRACTION`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_fraction: Option<f64>,
    /// Go on with the moments of the stage before, instead of starting the optimiser afresh.
    #[serde(default, skip_serializing_if = "is_default")]
    pub carry_optimizer: bool,
}

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Down half a cosine, to zero at the end of the stage.
    #[default]
    Cosine,
    /// Warm-up, stable, decay: at its peak until the last `decay_fraction` of the stage, then down to zero in
    /// a straight line (`open_clip`'s `const-cooldown`; Hu et al., 2404.06395).
    Wsd,
    /// At its peak to the end.
    Constant,
}

// The signature is serde's.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Stage {
    /// The decay of a `wsd` schedule that does not say, as a part of the stage.
    pub const DECAY_FRACTION: f64 = 0.2;

    /// Patches per image that reach the transformer, without the class token: the kept part of the grid,
    /// rounded to the nearest whole patch, at least one. Grid and block masks round further, to what
    /// their geometry allows (see [`kept_image_tokens`]).
    #[must_use]
    pub fn image_tokens(&self, architecture: &Architecture) -> Tokens {
        let side = self.image_size_px / architecture.vision_cfg.patch_size;
        kept_image_tokens(self.image_reduction, self.image_mask_ratio, side)
    }

    /// Optimiser steps; the last one may see a smaller remainder dropped, so this rounds down, at least 1.
    #[must_use]
    pub fn steps(&self) -> u64 {
        (self.samples.0 / u64::from(self.batch)).max(1)
    }
}

/// Patches kept of a `side` x `side` grid when a fraction `mask_ratio` is dropped.
///
/// `resize`: all. `random`: round((1-r)·side²). `grid`: one per cell of a c x c lattice of cells, with
/// c = round(side·sqrt(1-r)). `block`: a square of side round(side·sqrt(1-r)).
#[must_use]
pub fn kept_image_tokens(reduction: ImageReduction, mask_ratio: f64, side: u32) -> Tokens {
    let all = side * side;
    let kept = match reduction {
        ImageReduction::Resize => all,
        ImageReduction::Random => ((1.0 - mask_ratio) * f64::from(all)).round() as u32,
        ImageReduction::Grid | ImageReduction::Block => {
            let kept_side = (f64::from(side) * (1.0 - mask_ratio).sqrt()).round() as u32;
            kept_side.max(1) * kept_side.max(1)
        }
    };
    Tokens(kept.clamp(1, all.max(1)))
}

/// When and on how much to evaluate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// Evaluations during each stage besides the one that ends it.
    pub per_stage: u32,
    /// At most this many evaluation samples each time; 0: all.
    pub max_samples: Samples,
    /// Which weights are measured.
    #[serde(skip_serializing_if = "is_default")]
    pub weights: EvaluatedWeights,
}

/// Which weights an evaluation measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluatedWeights {
    /// Those that are trained.
    #[default]
    Trained,
    /// Their running mean (`optimizer.ema_decay`).
    Ema,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self { per_stage: 3, max_samples: Samples(0), weights: EvaluatedWeights::Trained }
    }
}

/// When to write checkpoints and how many to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointPolicy {
    /// A checkpoint whenever this much has been spent since the last one (as a fraction of the cap).
    pub every_cap_fraction: f64,
    /// A checkpoint also whenever so many dollars have been spent since the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_usd: Option<Usd>,
    /// Newest checkpoints kept.
    pub keep: u32,
    /// Keep also the checkpoint with the best evaluation.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_best: bool,
}

impl Hardware {
    /// The billing periods: those stated, or those usual with the offer's provider.
    #[must_use]
    pub fn billing(&self) -> Billing {
        self.billing.unwrap_or_else(|| Billing::usual(&self.offer))
    }
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self { every_cap_fraction: 0.1, every_usd: None, keep: 2, keep_best: false }
    }
}

/// What the planner expected of this recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The command that made the recipe.
    pub command: String,
    /// Expected cost of everything.
    pub cost_usd: Usd,
    /// Expected wall-clock hours.
    pub hours: Hours,
    /// Expected ImageNet zero-shot accuracy in percent; absent where the law does not reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_percent: Option<Interval>,
    /// One row a stage, in order.
    #[serde(rename = "stage", default)]
    pub stages: Vec<PlannedStage>,
}

/// A median with its 80 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// One in ten falls below.
    pub p10: f64,
    /// Median.
    pub p50: f64,
    /// One in ten falls above.
    pub p90: f64,
}

/// What the planner expected of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedStage {
    /// The stage's name.
    pub name: String,
    /// Expected device time's cost.
    pub cost_usd: Usd,
    /// Expected wall-clock hours.
    pub hours: Hours,
}
