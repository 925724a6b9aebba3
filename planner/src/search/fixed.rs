//! Parts of stages that the user has decided: `--fixed pretrain.image_size_px=84`.

use super::error::RequestError;
use super::request::Request;
use crate::names;
use crate::recipe::{ImageReduction, Stage, TextReduction};
use crate::units::{Samples, Tokens};

/// Parts of stages that the user has decided; everything else is searched or follows from rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fixed {
    /// Side of the image in pretraining, in pixels.
    pub image_size_px: Option<u32>,
    /// Text tokens in pretraining.
    pub text_tokens: Option<Tokens>,
    /// Values that are written into stages after everything else.
    settings: Vec<Setting>,
}

#[derive(Clone, Debug, PartialEq)]
struct Setting {
    /// `pretrain`, `finetune` (every fine-tuning stage) or one by name, such as `finetune-224`.
    stage: String,
    field: Field,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Batch(u32),
    LearningRate(f64),
    WarmupSamples(u64),
}

const PRETRAIN: &str = "pretrain";
const FINETUNE: &str = "finetune";
/// What can be fixed of pretraining and of fine-tuning.
const PRETRAIN_FIELDS: [&str; 8] = [
    "image_size_px",
    "image_reduction",
    "text_tokens",
    "text_reduction",
    "samples",
    "batch",
    "learning_rate",
    "warmup_samples",
];
const FINETUNE_FIELDS: [&str; 5] = ["image_size_px", "samples", "batch", "learning_rate", "warmup_samples"];

impl Fixed {
    /// Pretraining at this size and text length.
    #[must_use]
    pub fn lengths(image_size_px: Option<u32>, text_tokens: Option<Tokens>) -> Self {
        Self { image_size_px, text_tokens, settings: Vec::new() }
    }

    /// Pretraining's batch, where the user has decided it.
    pub(super) fn batch(&self) -> Option<u32> {
        self.settings.iter().rev().find_map(|setting| match setting.field {
            Field::Batch(batch) if setting.stage == PRETRAIN => Some(batch),
            _ => None,
        })
    }

    /// Whether a fine-tuning stage's batch was decided, which the rules know nothing of.
    pub(super) fn sets_a_batch(&self) -> bool {
        let set = |setting: &Setting| matches!(setting.field, Field::Batch(_)) && setting.stage != PRETRAIN;
        self.settings.iter().any(set)
    }

    /// Writes what was decided into the stages.
    pub(super) fn apply(&self, stages: &mut [Stage]) {
        for setting in &self.settings {
            let meant = |stage: &&mut Stage| {
                stage.name == setting.stage || setting.stage == FINETUNE && stage.name.starts_with(FINETUNE)
            };
            for stage in stages.iter_mut().filter(meant) {
                match setting.field {
                    Field::Batch(batch) => stage.batch = batch,
                    Field::LearningRate(rate) => stage.learning_rate = rate,
                    Field::WarmupSamples(samples) => stage.warmup_samples = Samples(samples),
                }
            }
        }
    }
}

impl Request {
    /// Takes one decision, `stage.field=value`, into the request: `pretrain.image_size_px=84`,
    /// `finetune-224.samples=512M`, `finetune.learning_rate=1e-5`. Unknown names get the nearest.
    pub fn fix(&mut self, text: &str) -> Result<(), RequestError> {
        let refuse = |value: &str, problem: &str, hint: String| {
            Err(RequestError::new("--fixed", value, problem.to_owned(), hint))
        };
        let Some((path, value)) = text.split_once('=') else {
            let hint = "write stage.field=value, such as pretrain.image_size_px=84";
            return refuse(text, "has no value", hint.to_owned());
        };
        let (path, value) = (path.trim(), value.trim());
        let (stage, field) = path.split_once('.').unwrap_or((PRETRAIN, path));
        let tuning = stage.starts_with(FINETUNE);
        if stage != PRETRAIN && stage != FINETUNE && size_of(stage).is_none() {
            let near = names::nearest(stage, [PRETRAIN, FINETUNE, "finetune-224", "finetune-336"]);
            let near = near.first().map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            let hint = format!("{near}(stages are pretrain, finetune, finetune-224, ...)");
            return refuse(stage, "no stage is called so", hint);
        }
        let fields: &[&str] = if tuning { &FINETUNE_FIELDS } else { &PRETRAIN_FIELDS };
        if !fields.contains(&field) {
            let near = names::nearest(field, fields.iter().copied());
            let hint = match near.first() {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("of {stage} these can be fixed: {}", fields.join(", ")),
            };
            return refuse(path, "no such field can be fixed", hint);
        }
        let whole = |least: u64| match value.parse::<Samples>() {
            Ok(Samples(number)) if number >= least => Ok(number),
            _ => {
                let hint = format!("a whole number from {least}, such as 84, 32768 or 12.8B");
                Err(RequestError::new(&format!("--fixed {path}"), value, "is not such a number", hint))
            }
        };
        let small = |least: u64| {
            u32::try_from(whole(least)?).map_err(|_| {
                let hint = "at most 4294967295".to_owned();
                RequestError::new(&format!("--fixed {path}"), value, "is too large", hint)
            })
        };
        let setting = match field {
            "image_size_px" if tuning => {
                self.finetune_sizes_px.get_or_insert_default().push(small(1)?);
                None
            }
            "image_size_px" => {
                self.fixed.image_size_px = Some(small(1)?);
                None
            }
            "text_tokens" => {
                self.fixed.text_tokens = Some(Tokens(small(2)?));
                None
            }
            "image_reduction" => {
                let reduction = match value {
                    "resize" => ImageReduction::Resize,
                    "random" => ImageReduction::Random,
                    "grid" => ImageReduction::Grid,
                    "block" => ImageReduction::Block,
                    _ => {
                        return refuse(
                            value,
                            "is no image reduction",
                            "use one of resize, random, grid, block".to_owned(),
                        );
                    }
                };
                self.image_reductions = vec![reduction];
                None
            }
            "text_reduction" => {
                let known = ["truncate", "random", "block", "syntax"];
                let reduction = match value {
                    "truncate" => TextReduction::Truncate,
                    "random" => TextReduction::Random,
                    "block" => TextReduction::Block,
                    "syntax" => TextReduction::Syntax,
                    _ => {
                        let hint = format!("use one of {}", known.join(", "));
                        return refuse(value, "is no text reduction", hint);
                    }
                };
                self.text_reductions = vec![reduction];
                None
            }
            "samples" if tuning => {
                self.finetune_samples = Some(Samples(whole(1)?));
                if let Some(size) = size_of(stage) {
                    self.finetune_sizes_px.get_or_insert_default().push(size);
                }
                None
            }
            "samples" => {
                self.samples = Some(Samples(whole(1)?));
                None
            }
            "batch" => Some(Field::Batch(small(2)?)),
            "warmup_samples" => Some(Field::WarmupSamples(whole(0)?)),
            _ => match value.parse::<f64>() {
                Ok(rate) if rate > 0.0 && rate.is_finite() => Some(Field::LearningRate(rate)),
                _ => {
                    let field = format!("--fixed {path}");
                    let hint = "a number above zero, such as 2.048e-3";
                    return Err(RequestError::new(&field, value, "is no learning rate", hint));
                }
            },
        };
        if let Some(field) = setting {
            self.fixed.settings.push(Setting { stage: stage.to_owned(), field });
        }
        if let Some(sizes) = &mut self.finetune_sizes_px {
            sizes.sort_unstable();
            sizes.dedup();
        }
        Ok(())
    }
}

/// `finetune-224` -> 224.
fn size_of(stage: &str) -> Option<u32> {
    stage.strip_prefix(FINETUNE)?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Usd;

    fn fixed(texts: &[&str]) -> Result<Request, RequestError> {
        let today = chrono::NaiveDate::from_ymd_opt(2026, 11, 24).expect("a day");
        let mut request = Request::new(Usd::from_dollars(100.0), today);
        texts.iter().try_for_each(|text| request.fix(text))?;
        Ok(request)
    }

    #[test]
    fn decisions_are_taken_as_a_recipe_names_them() {
        let request = fixed(&[
            "pretrain.image_size_px=84",
            "pretrain.text_tokens=8",
            "pretrain.samples=12.8B",
            "pretrain.batch=32768",
            "finetune-224.samples=512M",
            "finetune.learning_rate=1e-5",
        ])
        .expect("all are known");
        assert_eq!((request.fixed.image_size_px, request.fixed.text_tokens), (Some(84), Some(Tokens(8))));
        assert_eq!(request.samples, Some(Samples(12_800_000_000)));
        assert_eq!(request.finetune_samples, Some(Samples(512_000_000)));
        assert_eq!(request.finetune_sizes_px, Some(vec![224]));
        assert_eq!(request.fixed.batch(), Some(32_768));
        let blank = |name: &str| Stage {
            name: name.to_owned(),
            image_size_px: 224,
            image_reduction: ImageReduction::Resize,
            image_mask_ratio: 0.0,
            text_tokens: Tokens(8),
            text_reduction: TextReduction::Truncate,
            samples: Samples(1),
            batch: 4,
            learning_rate: 1.0,
            warmup_samples: Samples(0),
            schedule: crate::recipe::Schedule::Cosine,
            decay_fraction: None,
            carry_optimizer: false,
        };
        let mut stages = [blank("pretrain"), blank("finetune-224"), blank("finetune-336")];
        request.fixed.apply(&mut stages);
        let rates: Vec<f64> = stages.iter().map(|stage| stage.learning_rate).collect();
        assert_eq!(rates, [1.0, 1e-5, 1e-5]);
    }

    #[test]
    fn unknown_names_and_values_get_advice() {
        for (text, field, hint) in [
            ("pretrain.image_size=84", "--fixed", "image_size_px"),
            ("pretran.batch=84", "--fixed", "`pretrain`"),
            ("pretrain.batch", "--fixed", "stage.field=value"),
            ("pretrain.batch=many", "--fixed pretrain.batch", "32768"),
            ("pretrain.learning_rate=-1", "--fixed pretrain.learning_rate", "above zero"),
            ("pretrain.text_reduction=cut", "--fixed", "syntax"),
            ("pretrain.image_reduction=cut", "--fixed", "grid"),
        ] {
            let error = fixed(&[text]).expect_err(text);
            assert_eq!(error.field, field, "{text}");
            assert!(error.hint.contains(hint), "{text}: {}", error.hint);
        }
    }
}
