//! The numbers of the law: names, priors, and their home in one flat vector so that a solver can move them.

use super::case::Family;
use crate::dataset;
use crate::recipe::{ImageReduction, TextReduction};

/// One global parameter: its name in `law.toml`, its prior as mean and standard deviation. Positive quantities
/// are held as natural logarithms, then the standard deviation is relative.
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) mean: f64,
    pub(super) sd: f64,
    pub(super) log: bool,
}

macro_rules! parameters {
    ($($index:ident $name:literal $mean:literal +- $sd:literal $scale:ident;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[derive(Clone, Copy)]
        enum Order { $($index,)* }
        $(pub(super) const $index: usize = Order::$index as usize;)*
        /// Every global parameter, in the order of the vector.
        pub(super) static GLOBALS: &[Definition] = &[
            $(Definition { name: $name, mean: $mean, sd: $sd, log: parameters!(@$scale) }),*
        ];
    };
    (@log) => { true };
    (@linear) => { false };
}

parameters! {
    FLOOR "floor" 5.0 +- 0.5 log;
    SIZE "size_scale" 18.0 +- 0.5 log;
    SIZE_EXPONENT "size_exponent" 0.28 +- 0.3 log;
    TEXT_SHARE "text_tower_share" 0.1 +- 0.05 linear;
    SAMPLES "samples_scale" 15.0 +- 0.5 log;
    SAMPLES_EXPONENT "samples_exponent" 0.45 +- 0.3 log;
    SAMPLES_SIZE_EXPONENT "samples_size_exponent" 0.1 +- 0.2 linear;
    SAMPLES_TOKENS_EXPONENT "samples_tokens_exponent" 0.1 +- 0.2 linear;
    TOKENS "tokens_scale" 2.0 +- 0.5 log;
    TOKENS_SIZE_EXPONENT "tokens_size_exponent" 0.12 +- 0.1 linear;
    TOKENS_EXPONENT "tokens_exponent" 0.9 +- 0.2 log;
    PRETRAINING_SHARE "tokens_pretraining_share" 0.18 +- 0.5 log;
    MASK_RANDOM "pretraining_mask_random" 1.0 +- 0.5 log;
    MASK_GRID "pretraining_mask_grid" 1.0 +- 0.5 log;
    MASK_BLOCK "pretraining_mask_block" 1.0 +- 0.5 log;
    ADAPTATION "adaptation_samples_millions" 24.0 +- 0.7 log;
    MISMATCH_RANDOM "unadapted_mask_random" 0.5 +- 0.7 log;
    MISMATCH_GRID "unadapted_mask_grid" 0.5 +- 0.7 log;
    MISMATCH_BLOCK "unadapted_mask_block" 0.6 +- 0.7 log;
    MISMATCH_EXPONENT "unadapted_mask_exponent" 1.3 +- 0.2 log;
    MISMATCH_SIZE_EXPONENT "unadapted_mask_size_exponent" 0.2 +- 0.15 linear;
    REPETITION "repetition_epochs" 12.0 +- 0.7 log;
    REPETITION_SIZE_EXPONENT "repetition_size_exponent" 0.3 +- 0.2 linear;
    REPETITION_SHAPE "repetition_shape" 1.0 +- 0.7 log;
    TEXT_TRUNCATE "text_truncate" 0.8 +- 0.7 log;
    TEXT_RANDOM "text_random" 1.3 +- 0.7 log;
    TEXT_BLOCK "text_block" 0.7 +- 0.7 log;
    TEXT_SYNTAX "text_syntax" 0.3 +- 0.7 log;
    TEXT_EXPONENT "text_exponent" 2.5 +- 0.3 log;
    TEXT_SIZE_EXPONENT "text_size_exponent" 0.1 +- 0.1 linear;
    PROMPT "prompt_cut_scale" 28.0 +- 0.3 log;
    PROMPT_LENGTH "prompt_cut_tokens" 6.3 +- 0.15 log;
    PROMPT_STEEPNESS "prompt_cut_steepness" 8.0 +- 0.3 log;
    BATCH "batch_scale" 0.6 +- 0.7 log;
    BATCH_EXPONENT "batch_exponent" 2.2 +- 0.2 log;
    BATCH_SIGMOID "batch_sigmoid_share" 0.8 +- 0.5 log;
    STAGE_WEIGHT "stage_weight_exponent" 0.7 +- 0.15 log;
    STEPS "steps_half" 3000.0 +- 0.7 log;
}

/// Prior standard deviation of a data set's log error multiplier and of its log sample efficiency.
pub(super) const DATA_ERROR_SD: f64 = 0.08;
pub(super) const DATA_EFFICIENCY_SD: f64 = 0.5;
/// Prior standard deviation of a recipe family's log error multiplier.
pub(super) const FAMILY_SD: f64 = 0.05;

/// Length of the vector: globals, then (error, efficiency) of every data set, then every family.
pub(super) fn length() -> usize {
    GLOBALS.len() + 2 * dataset::known().len() + Family::ALL.len()
}

/// Where a data set's error multiplier lies; its efficiency follows. Sets of one quality share both.
pub(super) fn dataset_at(index: usize) -> usize {
    GLOBALS.len() + 2 * dataset::quality_of(index)
}

/// Where a family's multiplier lies.
pub(super) fn family_at(family: Family) -> usize {
    GLOBALS.len() + 2 * dataset::known().len() + family.index()
}

/// Prior mean and standard deviation of entry `index` of the vector.
pub(super) fn prior(index: usize) -> (f64, f64) {
    let sets = dataset::known().len();
    if let Some(global) = GLOBALS.get(index) {
        let mean = if global.log { global.mean.ln() } else { global.mean };
        return (mean, global.sd);
    }
    let rest = index - GLOBALS.len();
    if rest >= 2 * sets {
        return (0.0, FAMILY_SD);
    }
    (0.0, if rest.is_multiple_of(2) { DATA_ERROR_SD } else { DATA_EFFICIENCY_SD })
}

/// The vector made ready for evaluation: logarithms undone, indices gone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Coefficients {
    pub(super) values: Vec<f64>,
}

impl Coefficients {
    /// From the solver's vector.
    pub(super) fn new(theta: &[f64]) -> Self {
        let mut values = theta.to_vec();
        for (value, definition) in values.iter_mut().zip(GLOBALS) {
            if definition.log {
                *value = value.exp();
            }
        }
        for value in values.iter_mut().skip(GLOBALS.len()) {
            *value = value.exp();
        }
        Self { values }
    }

    /// The solver's vector again.
    pub(super) fn theta(&self) -> Vec<f64> {
        let log = |index: usize| GLOBALS.get(index).is_none_or(|definition| definition.log);
        self.values
            .iter()
            .enumerate()
            .map(|(index, value)| if log(index) { value.ln() } else { *value })
            .collect()
    }

    pub(super) fn get(&self, index: usize) -> f64 {
        self.values[index]
    }

    /// Extra weight of a masked pretraining token sequence over a resized one of the same length.
    pub(super) fn mask(&self, reduction: ImageReduction) -> f64 {
        match reduction {
            ImageReduction::Resize => 0.0,
            ImageReduction::Random => self.values[MASK_RANDOM],
            ImageReduction::Grid => self.values[MASK_GRID],
            ImageReduction::Block => self.values[MASK_BLOCK],
        }
    }

    /// Scale of the loss of a model evaluated unmasked right after masked training.
    pub(super) fn mismatch(&self, reduction: ImageReduction) -> f64 {
        match reduction {
            ImageReduction::Resize => 0.0,
            ImageReduction::Random => self.values[MISMATCH_RANDOM],
            ImageReduction::Grid => self.values[MISMATCH_GRID],
            ImageReduction::Block => self.values[MISMATCH_BLOCK],
        }
    }

    /// Scale of the loss from training on short captions.
    pub(super) fn text(&self, reduction: TextReduction) -> f64 {
        match reduction {
            TextReduction::Truncate => self.values[TEXT_TRUNCATE],
            TextReduction::Random => self.values[TEXT_RANDOM],
            TextReduction::Block => self.values[TEXT_BLOCK],
            TextReduction::Syntax => self.values[TEXT_SYNTAX],
        }
    }
}
