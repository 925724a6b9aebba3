//! Checks of a recipe's values that types alone cannot make.

use std::collections::HashSet;
use std::fmt;

use super::{ImageReduction, Recipe, Stage};
use crate::architecture::Architecture;
use crate::units::Usd;

/// A value that cannot be carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} = {value}: {problem}")]
pub struct CheckError {
    /// Dotted path of the field.
    pub field: String,
    /// Its value.
    pub value: String,
    /// Why it cannot be.
    pub problem: String,
    /// What would do.
    pub hint: String,
}

fn refuse(field: impl Into<String>, value: impl fmt::Display, problem: &str, hint: &str) -> CheckError {
    CheckError {
        field: field.into(),
        value: value.to_string(),
        problem: problem.to_owned(),
        hint: hint.to_owned(),
    }
}

impl Recipe {
    /// Checks everything that can be checked without touching data or device.
    pub fn check(&self) -> Result<(), CheckError> {
        if self.budget.cap_usd <= Usd::ZERO {
            let cap = self.budget.cap_usd;
            return Err(refuse("budget.cap_usd", cap, "must be more than zero", "state the cap in dollars"));
        }
        if self.hardware.usd_per_hour < Usd::ZERO {
            let price = self.hardware.usd_per_hour;
            return Err(refuse("hardware.usd_per_hour", price, "is negative", "a price is zero or more"));
        }
        if self.hardware.count == 0 {
            return Err(refuse("hardware.count", 0, "must be at least 1", "count the accelerators"));
        }
        if self.data.unique_samples.0 == 0 {
            let hint = "count the different image-caption pairs";
            return Err(refuse("data.unique_samples", 0, "must be at least 1", hint));
        }
        let reading = &self.data.reading;
        if !(reading.least_crop_percent > 0.0 && reading.least_crop_percent <= 100.0) {
            let hint = "40 shows at least two fifths of every picture, 100 all of it";
            let value = reading.least_crop_percent;
            return Err(refuse("data.reading.least_crop_percent", value, "is no part of a picture", hint));
        }
        if !(0.0..=100.0).contains(&reading.tolerated_bad_percent) {
            let hint = "10 gives up when more than a tenth of the samples cannot be used";
            let value = reading.tolerated_bad_percent;
            return Err(refuse("data.reading.tolerated_bad_percent", value, "is no percentage", hint));
        }
        self.architecture.check()?;
        if self.stages.is_empty() {
            return Err(refuse("stage", "[]", "has no stages", "add at least one [[stage]]"));
        }
        let mut names = HashSet::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if !names.insert(stage.name.as_str()) {
                let field = format!("stage[{index}].name");
                return Err(refuse(field, &stage.name, "is used twice", "stage names are unique"));
            }
            stage.check(index, &self.architecture)?;
        }
        for (field, value, range) in [
            ("optimizer.beta1", self.optimizer.beta1, 0.0..1.0),
            ("optimizer.beta2", self.optimizer.beta2, 0.0..1.0),
            ("optimizer.weight_decay", self.optimizer.weight_decay, 0.0..f64::INFINITY),
            ("optimizer.epsilon", self.optimizer.epsilon, f64::MIN_POSITIVE..1.0),
            ("checkpoint.every_cap_fraction", self.checkpoint.every_cap_fraction, f64::MIN_POSITIVE..1.01),
        ] {
            if !range.contains(&value) {
                let hint = format!("use a number from {:e} to below {:e}", range.start, range.end);
                return Err(refuse(field, value, "is out of range", &hint));
            }
        }
        if self.hardware.spot && self.checkpoint.every_cap_fraction >= 1.0 {
            let hint = "a spot machine can be taken back at any time: write one at least every tenth of the cap, 0.1";
            let (field, value) = ("checkpoint.every_cap_fraction", self.checkpoint.every_cap_fraction);
            return Err(refuse(field, value, "means no checkpoint before the end, on spot machines", hint));
        }
        if self.checkpoint.keep == 0 {
            return Err(refuse("checkpoint.keep", 0, "must be at least 1", "resuming needs a checkpoint"));
        }
        Ok(())
    }
}

impl Architecture {
    /// Checks that the sizes divide as the towers need.
    pub fn check(&self) -> Result<(), CheckError> {
        let (vision, text) = (&self.vision_cfg, &self.text_cfg);
        for (field, value) in [
            ("architecture.embed_dim", self.embed_dim),
            ("architecture.vision_cfg.layers", vision.layers),
            ("architecture.vision_cfg.width", vision.width),
            ("architecture.vision_cfg.head_width", vision.head_width),
            ("architecture.vision_cfg.patch_size", vision.patch_size),
            ("architecture.text_cfg.context_length", text.context_length),
            ("architecture.text_cfg.vocab_size", text.vocab_size),
            ("architecture.text_cfg.width", text.width),
            ("architecture.text_cfg.heads", text.heads),
            ("architecture.text_cfg.layers", text.layers),
        ] {
            if value == 0 {
                return Err(refuse(field, 0, "must be at least 1", "use a whole number above zero"));
            }
        }
        if !vision.width.is_multiple_of(vision.head_width) {
            let hint = format!("vision_cfg.width is {}; use a divisor of it", vision.width);
            let field = "architecture.vision_cfg.head_width";
            return Err(refuse(field, vision.head_width, "does not divide the width", &hint));
        }
        if !vision.width.is_multiple_of(4) {
            let field = "architecture.vision_cfg.width";
            let hint = "2-D sine-cosine positions need a multiple of 4";
            return Err(refuse(field, vision.width, "is not a multiple of 4", hint));
        }
        if !text.width.is_multiple_of(text.heads) {
            let hint = format!("text_cfg.width is {}; use a divisor of it", text.width);
            let field = "architecture.text_cfg.heads";
            return Err(refuse(field, text.heads, "does not divide the width", &hint));
        }
        Ok(())
    }
}

impl Stage {
    fn check(&self, index: usize, architecture: &Architecture) -> Result<(), CheckError> {
        let field = |name: &str| format!("stage[{index}].{name}");
        let patch = architecture.vision_cfg.patch_size;
        if self.image_size_px == 0 || !self.image_size_px.is_multiple_of(patch) {
            let below = (self.image_size_px / patch).max(1) * patch;
            let hint = format!("patches are {patch} px: {below} or {} would do", below + patch);
            let value = self.image_size_px;
            return Err(refuse(field("image_size_px"), value, "is not a multiple of the patch size", &hint));
        }
        if !(0.0..1.0).contains(&self.image_mask_ratio) {
            let value = self.image_mask_ratio;
            let hint = "0 keeps every patch, 0.75 keeps a quarter";
            return Err(refuse(field("image_mask_ratio"), value, "must be from 0 to below 1", hint));
        }
        if self.image_reduction == ImageReduction::Resize && self.image_mask_ratio != 0.0 {
            let hint = "choose image_reduction = \"random\", \"grid\" or \"block\", or leave the ratio out";
            let value = self.image_mask_ratio;
            return Err(refuse(field("image_mask_ratio"), value, "resize drops no patches", hint));
        }
        let context = architecture.text_cfg.context_length;
        if self.text_tokens.0 < 2 || self.text_tokens.0 > context {
            let hint = format!("use 2 (start and end marker) to {context} (text_cfg.context_length)");
            return Err(refuse(field("text_tokens"), self.text_tokens, "is out of range", &hint));
        }
        if self.batch < 2 {
            let hint = "the contrastive loss needs other samples to compare with";
            return Err(refuse(field("batch"), self.batch, "must be at least 2", hint));
        }
        if self.samples.0 < u64::from(self.batch) {
            let hint = format!("one step takes a batch of {}", self.batch);
            return Err(refuse(field("samples"), self.samples.0, "is less than one batch", &hint));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            let value = self.learning_rate;
            let hint = "CLIPA pretrains at 8e-6 x batch / 256";
            return Err(refuse(field("learning_rate"), value, "must be above zero", hint));
        }
        Ok(())
    }
}
