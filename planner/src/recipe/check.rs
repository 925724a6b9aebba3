//! Checks of a recipe's values that types alone cannot make.

use std::collections::HashSet;
use std::fmt;

use super::{EvaluatedWeights, ImageReduction, Recipe, Schedule, Stage};
use crate::architecture::{Architecture, AttentionPoolKind, ImagePool, ImagePositions, TextPool};
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
        if let Some(worst) = self.hardware.max_usd_per_hour
            && worst < self.hardware.usd_per_hour
        {
            let hint = format!("the price itself is {} USD per hour", self.hardware.usd_per_hour);
            return Err(refuse("hardware.max_usd_per_hour", worst, "is below the price", &hint));
        }
        if let Some(billing) = self.hardware.billing {
            for (field, value) in [
                ("hardware.billing.increment_seconds", billing.increment_seconds),
                ("hardware.billing.minimum_seconds", billing.minimum_seconds),
            ] {
                if !(0.0..=31_536_000.0).contains(&value) {
                    let hint = "use seconds: 0, 1, 60, 3600";
                    return Err(refuse(field, value, "is out of range", hint));
                }
            }
        }
        if self.checkpoint.every_usd.is_some_and(|every| every <= Usd::ZERO) {
            let hint = "say after how many dollars a checkpoint is due, or leave it out";
            return Err(refuse("checkpoint.every_usd", 0, "must be more than zero", hint));
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
        if let Some(value) = self.optimizer.layer_decay
            && !(f64::MIN_POSITIVE..=1.0).contains(&value)
        {
            let hint = "use a number above 0, at most 1; 0.75 is usual in fine-tuning";
            return Err(refuse("optimizer.layer_decay", value, "is out of range", hint));
        }
        if let Some(value) = self.optimizer.ema_decay
            && !(0.0..1.0).contains(&value)
        {
            let hint = "use a number from 0 to below 1; 0.999 looks back about 1,000 steps";
            return Err(refuse("optimizer.ema_decay", value, "is out of range", hint));
        }
        if let Some(limit) = self.optimizer.clip_norm
            && !(limit.is_finite() && limit > 0.0)
        {
            let hint = "CLIPA clips at 1; leave it out to clip never";
            return Err(refuse("optimizer.clip_norm", limit, "must be above zero", hint));
        }
        if self.evaluation.weights == EvaluatedWeights::Ema && self.optimizer.ema_decay.is_none() {
            let hint = "set optimizer.ema_decay, such as 0.999, or evaluate the trained weights";
            return Err(refuse("evaluation.weights", "ema", "needs optimizer.ema_decay", hint));
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
        if vision.pos_embed_type == ImagePositions::SinCos2d && !vision.width.is_multiple_of(4) {
            let field = "architecture.vision_cfg.width";
            let hint = "2-D sine-cosine positions need a multiple of 4";
            return Err(refuse(field, vision.width, "is not a multiple of 4", hint));
        }
        if let ImagePool::Attention(pool) = vision.pool_type {
            let field = "architecture.vision_cfg.pool_type.attention";
            if pool.queries == 0 {
                let field = format!("{field}.queries");
                return Err(refuse(field, 0, "must be at least 1", "open_clip's own default is 256"));
            }
            if pool.heads == 0 || !self.embed_dim.is_multiple_of(pool.heads) {
                let hint = format!("embed_dim is {}; use a divisor of it", self.embed_dim);
                return Err(refuse(
                    format!("{field}.heads"),
                    pool.heads,
                    "does not divide the embedding",
                    &hint,
                ));
            }
            if pool.kind != AttentionPoolKind::Single && vision.width != self.embed_dim {
                let hint = format!("use embed_dim = {}, or one pooler", vision.width);
                let problem = "is not the image tower's width, which two poolers need";
                return Err(refuse("architecture.embed_dim", self.embed_dim, problem, &hint));
            }
        }
        match text.eos_id {
            None if text.pool_type == TextPool::Eos => {
                let field = "architecture.text_cfg.pool_type";
                let hint = "set text_cfg.eos_id; CLIP's end marker is 49407";
                return Err(refuse(field, "eos", "needs eos_id", hint));
            }
            Some(id) if id >= text.vocab_size => {
                let hint = format!("text_cfg.vocab_size is {}; use a smaller id", text.vocab_size);
                return Err(refuse("architecture.text_cfg.eos_id", id, "is beyond the vocabulary", &hint));
            }
            _ => {}
        }
        if !text.width.is_multiple_of(text.heads) {
            let hint = format!("text_cfg.width is {}; use a divisor of it", text.width);
            let field = "architecture.text_cfg.heads";
            return Err(refuse(field, text.heads, "does not divide the width", &hint));
        }
        Ok(())
    }
}

impl Architecture {
    /// [`Architecture::check`], and that `run` can train it: plans count more than it trains.
    pub fn check_trainable(&self) -> Result<(), CheckError> {
        self.check()?;
        if let ImagePool::Attention(pool) = self.vision_cfg.pool_type {
            let field = "architecture.vision_cfg.pool_type.attention";
            if pool.kind != AttentionPoolKind::Single {
                let value = format!("{:?}", pool.kind).to_lowercase();
                let hint = "use kind = \"single\", or carry the recipe out with another program";
                let problem = "is planned with, but not trained by `run`";
                return Err(refuse(format!("{field}.kind"), value, problem, hint));
            }
            if pool.queries != 1 {
                let hint = "a CLIP uses the first query alone, the others would never be trained: use 1";
                return Err(refuse(format!("{field}.queries"), pool.queries, "is not 1", hint));
            }
        }
        if self.text_cfg.pool_type == TextPool::Class {
            let field = "architecture.text_cfg.pool_type";
            let hint = "use another pooling, or carry the recipe out with another program";
            return Err(refuse(field, "class", "is planned with, but not trained by `run`", hint));
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
        if let Some(fraction) = self.decay_fraction {
            if self.schedule != Schedule::Wsd {
                let hint = "it is the part of a \"wsd\" schedule in which the rate falls; leave it out";
                return Err(refuse(
                    field("decay_fraction"),
                    fraction,
                    "goes with schedule = \"wsd\" only",
                    hint,
                ));
            }
            if !(fraction > 0.0 && fraction <= 1.0) {
                let hint = "0.2 lets the rate fall over the last fifth of the stage";
                return Err(refuse(field("decay_fraction"), fraction, "must be above 0 and at most 1", hint));
            }
        }
        if index == 0 && self.carry_optimizer {
            let hint = "there is no stage before the first; leave it out";
            return Err(refuse(field("carry_optimizer"), true, "has nothing to carry", hint));
        }
        Ok(())
    }
}
