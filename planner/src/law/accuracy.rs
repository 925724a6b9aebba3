//! The law itself: ImageNet zero-shot error from sizes, tokens, samples, data and recipe.
//!
//! With N̂ = image-tower parameters / 86 M (weighted with the text tower's), ñ = tokens / 196, S the samples:
//!
//! ```text
//! z = F · D · { E0 + A N̂^-a + B (q S_eff N̂^u ñ^v / 1e9)^-b + C N̂^-d [ p t_pre + (1 - p) t_fin ] + text + batch }
//! accuracy = 100 · exp(-z / 100)
//! ```
//!
//! so z is -100 times the logarithm of the accuracy, which is about the error in percent where that is small, and
//! power laws add up in it from 1 % to 84 % accuracy (a shape between this and z = error was left free in a first
//! fit and came out here).
//! F belongs to the recipe family, D and q to the data set. Every term falls (or stays) as its cause grows, so
//! the whole is monotone; it is defined for every positive input, however small.

use super::case::{Family, StageShape};
use super::parameters::{self as p, Coefficients};
use crate::recipe::ImageReduction;

/// What the law looks at. `Case`s and published runs are both turned into this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// Parameters of the image tower.
    pub(crate) image_parameters: f64,
    /// Parameters of the text tower.
    pub(crate) text_parameters: f64,
    /// Index into [`crate::dataset::known`]; `None`: a data set of unknown quality.
    pub(crate) dataset: Option<usize>,
    /// Different pairs; `None`: so many that nothing is seen twice.
    pub(crate) unique_samples: Option<f64>,
    /// Recipe family.
    pub(crate) family: Family,
    /// Stages in order, at least one.
    pub(crate) stages: &'a [StageShape],
}

/// Image-tower parameters at which size terms are 1 (ViT-B/16).
const REFERENCE_SIZE: f64 = 86e6;
/// Text-tower parameters that go with it.
const REFERENCE_TEXT_SIZE: f64 = 63e6;
/// Tokens at which token terms are 1 (224 px in patches of 16).
const REFERENCE_TOKENS: f64 = 196.0;
/// Text tokens at which text terms are their scale.
const REFERENCE_TEXT_TOKENS: f64 = 8.0;
/// Samples at which the samples term is its scale.
const REFERENCE_SAMPLES: f64 = 1e9;
/// Batch from which on a larger one brings nothing.
const AMPLE_BATCH: f64 = 65_536.0;

/// Samples that count, of `seen` drawn from `unique` different ones: the first pass counts in full, later ones
/// less and less, with `epochs` the number of repetitions that is worth about as much again.
///
/// With x = seen/unique - 1 repetitions: unique · [1 + (R/s)(1 - (1 + x/R)^-s)], which is `seen` at x = 0,
/// grows with both arguments and never exceeds unique · (1 + R/s).
pub(crate) fn effective_samples(seen: f64, unique: f64, epochs: f64, shape: f64) -> f64 {
    let repetitions = seen / unique - 1.0;
    if repetitions <= 0.0 {
        return seen;
    }
    unique * (1.0 + epochs / shape * (1.0 - (1.0 + repetitions / epochs).powf(-shape)))
}

/// The raw value z: like an error in percent where that is small, without an upper end.
pub(crate) fn raw(c: &Coefficients, subject: &Subject<'_>) -> f64 {
    let share = c.get(p::TEXT_SHARE);
    let size = (subject.image_parameters / REFERENCE_SIZE).powf(1.0 - share)
        * (subject.text_parameters / REFERENCE_TEXT_SIZE).powf(share);
    let image_size = subject.image_parameters / REFERENCE_SIZE;

    let (data_error, efficiency) = match subject.dataset {
        Some(index) => {
            let at = p::dataset_at(index);
            (c.get(at), c.get(at + 1))
        }
        None => (1.0, 1.0),
    };

    let token_exponent = c.get(p::TOKENS_EXPONENT);
    let adaptation = c.get(p::ADAPTATION) * 1e6;
    let (mut seen_in_all, mut steps_in_all, mut steps_known) = (0.0, 0.0, true);
    let mut trained_length = 0.0; // sum of samples x length term
    let mut trained_text = 0.0;
    let mut batch_loss = 0.0;
    let mut weights = 0.0;
    let (mut length, mut mismatch, mut prompt) = (0.0, 0.0, 0.0); // as evaluated now
    for (index, stage) in subject.stages.iter().enumerate() {
        let seen = (stage.samples.0 as f64).max(1.0);
        let kept = f64::from(stage.image_tokens.0.max(1));
        let grid = f64::from(stage.full_image_tokens.0.max(stage.image_tokens.0).max(1));
        let text = f64::from(stage.text_tokens.0.max(1));

        let weight = seen.powf(c.get(p::STAGE_WEIGHT));
        weights += weight;

        // How short sequences hurt what is learned.
        let kept_term = (kept / REFERENCE_TOKENS).powf(-token_exponent);
        let grid_term = (grid / REFERENCE_TOKENS).powf(-token_exponent);
        let masked = 1.0 + c.mask(stage.image_reduction);
        trained_length += weight * (grid_term + (kept_term - grid_term) * masked);
        trained_text += weight
            * c.text(stage.text_reduction)
            * (text / REFERENCE_TEXT_TOKENS).powf(-c.get(p::TEXT_EXPONENT));

        // How well the model fits the length it is evaluated at: a stage replaces what was before, the more
        // so the more samples it has.
        let stays = if index == 0 { 0.0 } else { 1.0 / (1.0 + seen / adaptation) };
        let unadapted = if stage.image_reduction == ImageReduction::Resize {
            0.0
        } else {
            c.mismatch(stage.image_reduction) * ((grid / kept).powf(c.get(p::MISMATCH_EXPONENT)) - 1.0)
        };
        let cut =
            c.get(p::PROMPT) / (1.0 + (text / c.get(p::PROMPT_LENGTH)).powf(c.get(p::PROMPT_STEEPNESS)));
        length = stays * length + (1.0 - stays) * grid_term;
        mismatch = stays * mismatch + (1.0 - stays) * unadapted;
        prompt = stays * prompt + (1.0 - stays) * cut;

        seen_in_all += seen;
        if stage.batch > 0 {
            let halvings = (AMPLE_BATCH / f64::from(stage.batch)).log2().max(0.0);
            batch_loss += weight * halvings.powf(c.get(p::BATCH_EXPONENT));
            steps_in_all += seen / f64::from(stage.batch);
        } else {
            steps_known &= index > 0;
            steps_in_all += seen / AMPLE_BATCH;
        }
    }
    // Of few but large steps a part is wasted.
    let worked =
        if steps_known { seen_in_all * steps_in_all / (steps_in_all + c.get(p::STEPS)) } else { seen_in_all };
    let batch_scale = match subject.family {
        Family::SiglipSigmoid | Family::LaionSiglip => c.get(p::BATCH_SIGMOID),
        _ => 1.0,
    } * c.get(p::BATCH);

    let counted = match subject.unique_samples {
        Some(unique) => {
            let epochs = c.get(p::REPETITION) * image_size.powf(-c.get(p::REPETITION_SIZE_EXPONENT));
            effective_samples(worked, unique.max(1.0), epochs, c.get(p::REPETITION_SHAPE))
        }
        None => worked,
    };
    let share = c.get(p::PRETRAINING_SHARE);
    let terms = c.get(p::FLOOR)
        + c.get(p::SIZE) * size.powf(-c.get(p::SIZE_EXPONENT))
        + c.get(p::SAMPLES)
            * (efficiency * counted / REFERENCE_SAMPLES
                * image_size.powf(c.get(p::SAMPLES_SIZE_EXPONENT))
                * (trained_length / weights).powf(-c.get(p::SAMPLES_TOKENS_EXPONENT) / token_exponent))
            .powf(-c.get(p::SAMPLES_EXPONENT))
        + c.get(p::TOKENS)
            * image_size.powf(-c.get(p::TOKENS_SIZE_EXPONENT))
            * (share * trained_length / weights + (1.0 - share) * length)
        + image_size.powf(-c.get(p::MISMATCH_SIZE_EXPONENT)) * mismatch
        + image_size.powf(-c.get(p::TEXT_SIZE_EXPONENT)) * (trained_text / weights + prompt)
        + batch_scale * batch_loss / weights;
    terms * data_error * c.get(p::family_at(subject.family))
}

/// Accuracy in percent of a raw value.
pub(crate) fn accuracy_percent(raw: f64) -> f64 {
    100.0 * (-raw / 100.0).exp()
}

/// Accuracy in percent below which none is claimed.
pub(crate) const LEAST_ACCURACY: f64 = 1.0;

/// Error in percent of a raw value. Exactly 100 - accuracy as long as that is at least [`LEAST_ACCURACY`]; beyond,
/// it goes on along the tangent, so that it still ranks what is hopeless, and exceeds 100.
pub(crate) fn error_percent(raw: f64) -> f64 {
    let last = -100.0 * (LEAST_ACCURACY / 100.0).ln();
    if raw <= last {
        100.0 - accuracy_percent(raw)
    } else {
        100.0 - LEAST_ACCURACY + LEAST_ACCURACY / 100.0 * (raw - last)
    }
}
