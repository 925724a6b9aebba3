//! A shape: everything of a candidate but its machine and its samples.

use super::menu::{self, Amount, FineTuning, MenuLimits, Pretraining};
use super::schedule;
use crate::architecture::Architecture;
use crate::compute;
use crate::law::inverse;
use crate::recipe::{ImageReduction, Schedule, Stage, TextReduction, kept_image_tokens};
use crate::units::{Samples, Tokens};

/// Fine-tuning by a fraction of the pretraining samples stops where the fixed amounts begin.
const LARGEST_FRACTION_SAMPLES: u64 = 128_000_000;

/// CLIPA tuned with 4 and 5 % of its samples, which were hundreds of millions; below so many samples of tuning a larger
/// fraction is needed to get used to the full length. Assumed.
const SMALL_FRACTION: f64 = 0.1;
const FEW_TUNING_SAMPLES: u64 = 10_000_000;

/// Stages of a shape at most: pretraining and two of fine-tuning.
pub(super) const MOST_STAGES: usize = 3;

/// What a stage asks of a machine for each sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Work {
    pub(super) architecture: usize,
    pub(super) image_size_px: u32,
    pub(super) image_tokens: Tokens,
    pub(super) text_tokens: Tokens,
}

/// Everything but machine and samples.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Index into the architectures searched.
    pub(super) index: usize,
    pub(super) architecture: &'static Architecture,
    pub(super) pretraining: Pretraining,
    pub(super) text_reduction: TextReduction,
    pub(super) tuning: Vec<FineTuning>,
    /// What each stage asks for each sample, pretraining first; the same however the image is shortened.
    works: Vec<Work>,
}

/// Every shape of the architectures within the limits.
pub(super) fn all(
    architectures: &[&'static Architecture],
    limits: &MenuLimits,
    reductions: &[TextReduction],
) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for (index, &architecture) in architectures.iter().enumerate() {
        for pretraining in menu::pretrainings(architecture, limits) {
            if !fits(architecture, pretraining) {
                continue;
            }
            let text_reduction = mildest(architecture, pretraining.text_tokens, reductions);
            for tuning in menu::finetunings(architecture, pretraining, limits) {
                shapes.push(Shape::new(index, architecture, pretraining, text_reduction, tuning));
            }
        }
    }
    shapes
}

/// Whether a pinned size suits this architecture.
fn fits(architecture: &Architecture, pretraining: Pretraining) -> bool {
    pretraining.image_size_px > 0
        && pretraining.image_size_px.is_multiple_of(architecture.vision_cfg.patch_size)
        && (2..=architecture.text_cfg.context_length).contains(&pretraining.text_tokens.0)
}

/// The allowed reduction that loses least at this length; truncation where nothing is cut.
fn mildest(architecture: &Architecture, tokens: Tokens, allowed: &[TextReduction]) -> TextReduction {
    let full = menu::full_text_tokens(architecture);
    if tokens >= full {
        return TextReduction::Truncate;
    }
    let size = compute::parameters(architecture).image as f64;
    let drop = |reduction: &TextReduction| inverse::text_drop_points(size, tokens, full, *reduction);
    allowed.iter().copied().min_by(|a, b| drop(a).total_cmp(&drop(b))).unwrap_or_default()
}

/// What a shape of the menu asks for each sample.
fn work(index: usize, architecture: &Architecture, px: u32, mask_ratio: f64, text_tokens: Tokens) -> Work {
    let side = px / architecture.vision_cfg.patch_size;
    let image_tokens = kept_image_tokens(menu::masked_by(mask_ratio), mask_ratio, side);
    Work { architecture: index, image_size_px: px, image_tokens, text_tokens }
}

/// A fine-tuning stage's samples, when pretraining sees `samples`; `None` where the menu does not apply.
pub(super) fn amount(tuning: &FineTuning, samples: u64) -> Option<u64> {
    match tuning.amount {
        Amount::Fixed(samples) => Some(samples.0),
        Amount::Fraction(fraction) => {
            let tuned = (samples as f64 * fraction) as u64;
            if fraction < SMALL_FRACTION && tuned < FEW_TUNING_SAMPLES {
                return None;
            }
            (tuned <= LARGEST_FRACTION_SAMPLES && tuned >= u64::from(schedule::SMALLEST_BATCH))
                .then_some(tuned)
        }
    }
}

impl Shape {
    fn new(
        index: usize,
        architecture: &'static Architecture,
        pretraining: Pretraining,
        text_reduction: TextReduction,
        tuning: Vec<FineTuning>,
    ) -> Self {
        let (px, text) = (pretraining.image_size_px, pretraining.text_tokens);
        let first = work(index, architecture, px, 0.0, text);
        let later = tuning.iter().map(|tuning| {
            work(index, architecture, tuning.image_size_px, tuning.mask_ratio, tuning.text_tokens)
        });
        let works = std::iter::once(first).chain(later).collect();
        Self { index, architecture, pretraining, text_reduction, tuning, works }
    }

    /// Its pretraining alone.
    pub(super) fn without_tuning(&self) -> Self {
        Self { tuning: Vec::new(), works: self.works[..1].to_vec(), ..self.clone() }
    }

    /// What each stage asks for each sample, pretraining first.
    pub(super) fn works(&self) -> &[Work] {
        &self.works
    }

    /// Whether the menu applies when pretraining sees `samples`.
    pub(super) fn applies_to(&self, samples: u64) -> bool {
        self.tuning.iter().all(|tuning| amount(tuning, samples).is_some())
    }

    /// Whether pretraining sees fewer patches than a whole image has.
    pub(super) fn is_shortened(&self) -> bool {
        self.pretraining.image_size_px < self.architecture.vision_cfg.image_size
    }

    /// Side of the pretraining image in pixels and the part of its patches that is dropped, for as many patches as the
    /// resized image has: a mask is laid over the whole image, as in CLIPA's ablation.
    pub(super) fn image(&self, reduction: ImageReduction) -> (u32, f64) {
        let (small, whole) = (self.pretraining.image_size_px, self.architecture.vision_cfg.image_size);
        if reduction == ImageReduction::Resize || !self.is_shortened() {
            return (small, 0.0);
        }
        let kept = (f64::from(small) / f64::from(whole)).powi(2);
        // Four digits keep the number of patches as it is and a recipe readable.
        (whole, ((1.0 - kept) * 1e4).round() / 1e4)
    }

    /// Samples of each stage as a line in the pretraining samples: (fixed, per pretraining sample).
    pub(super) fn amounts(&self) -> Vec<(f64, f64)> {
        let tunings = self.tuning.iter().map(|tuning| match tuning.amount {
            Amount::Fixed(samples) => (samples.0 as f64, 0.0),
            Amount::Fraction(fraction) => (0.0, fraction),
        });
        std::iter::once((0.0, 1.0)).chain(tunings).collect()
    }

    /// The stages when pretraining sees `samples` in the rule's batch; `None` where the menu does not apply.
    pub(super) fn stages(&self, samples: u64, reduction: ImageReduction) -> Option<Vec<Stage>> {
        self.stages_with(samples, schedule::pretraining_batch(Samples(samples)), reduction)
    }

    /// The stages when pretraining sees `samples` in batches of `batch`; `None` where the menu does not apply.
    pub(super) fn stages_with(
        &self,
        samples: u64,
        batch: u32,
        image_reduction: ImageReduction,
    ) -> Option<Vec<Stage>> {
        let width = self.architecture.vision_cfg.width;
        let (image_size_px, image_mask_ratio) = self.image(image_reduction);
        let mut first = Stage {
            name: "pretrain".to_owned(),
            image_size_px,
            image_reduction,
            image_mask_ratio,
            text_tokens: self.pretraining.text_tokens,
            text_reduction: self.text_reduction,
            samples: Samples(samples),
            batch,
            learning_rate: 0.0,
            warmup_samples: Samples(0),
            schedule: Schedule::Cosine,
            decay_fraction: None,
            carry_optimizer: false,
        };
        schedule::set_pretraining(&mut first, width);
        let mut stages = vec![first];
        for tuning in &self.tuning {
            let samples = amount(tuning, samples)?;
            push_tuning(&mut stages, tuning, samples);
        }
        Some(stages)
    }
}

/// Adds a fine-tuning stage that sees `samples` after those in `stages`.
pub(super) fn push_tuning(stages: &mut Vec<Stage>, tuning: &FineTuning, samples: u64) {
    let before = stages.last().map_or(schedule::SMALLEST_BATCH, |stage| stage.batch);
    let base = format!("finetune-{}", tuning.image_size_px);
    let same = stages.iter().filter(|stage| stage.name.starts_with(&base)).count();
    let mut stage = Stage {
        name: if same == 0 { base } else { format!("{base}-{}", same + 1) },
        image_size_px: tuning.image_size_px,
        image_reduction: tuning.reduction(),
        image_mask_ratio: tuning.mask_ratio,
        text_tokens: tuning.text_tokens,
        text_reduction: TextReduction::Truncate,
        samples: Samples(samples),
        batch: schedule::finetuning_batch(Samples(samples), tuning.image_size_px, before),
        learning_rate: 0.0,
        warmup_samples: Samples(0),
        schedule: Schedule::Cosine,
        decay_fraction: None,
        carry_optimizer: false,
    };
    // Of two fine-tuning stages both take their share of pretraining.
    let pretraining = stages.first().map_or(1e-3, |stage| stage.learning_rate);
    schedule::set_finetuning(&mut stage, pretraining);
    stages.push(stage);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architectures;

    fn shapes(name: &str, limits: &MenuLimits) -> Vec<Shape> {
        let architecture = architectures::find(name).expect(name);
        all(&[architecture], limits, &[TextReduction::Truncate, TextReduction::Syntax])
    }

    #[test]
    fn clipa_v2s_recipe_is_among_the_shapes() {
        let shapes = shapes("H/14", &MenuLimits::default());
        let shape = shapes
            .iter()
            .find(|shape| {
                shape.pretraining == Pretraining { image_size_px: 70, text_tokens: Tokens(8) }
                    && shape.amounts() == [(0.0, 1.0), (512e6, 0.0), (128e6, 0.0)]
            })
            .expect("70 px, 512 M at 224 px, 128 M at 336 px");
        assert_eq!(shape.text_reduction, TextReduction::Syntax);
        let tokens: Vec<u32> = shape.works().iter().map(|work| work.image_tokens.0).collect();
        assert_eq!(tokens, [25, 179, 346]);
        let stages = shape.stages(12_800_000_000, ImageReduction::Resize).expect("stages");
        let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["pretrain", "finetune-224", "finetune-336"]);
    }

    #[test]
    fn pins_leave_only_what_they_allow() {
        let limits = MenuLimits {
            image_size_px: Some(84),
            text_tokens: Some(Tokens(8)),
            finetune_samples: Some(Samples(512_000_000)),
            finetune_sizes_px: Some(vec![224]),
            ..MenuLimits::default()
        };
        let shapes = shapes("H/14", &limits);
        assert_eq!(shapes.len(), 1, "{shapes:?}");
        assert_eq!(shapes[0].amounts(), [(0.0, 1.0), (512e6, 0.0)]);
        let wrong = MenuLimits { image_size_px: Some(90), ..MenuLimits::default() };
        assert!(self::shapes("H/14", &wrong).is_empty(), "90 px is no multiple of 14");
    }

    #[test]
    fn small_architectures_are_tuned_at_their_own_size_by_a_fraction() {
        for shape in shapes("ViT-Tiny-8", &MenuLimits::default()) {
            for tuning in &shape.tuning {
                assert_eq!((tuning.image_size_px, tuning.mask_ratio), (64, 0.0));
            }
            // A twentieth of few samples is too little tuning.
            let little = |tuning: &FineTuning| matches!(tuning.amount, Amount::Fraction(part) if part < SMALL_FRACTION);
            if shape.tuning.iter().any(little) {
                assert!(shape.stages(100_000, ImageReduction::Resize).is_none());
                continue;
            }
            let stages = shape.stages(100_000, ImageReduction::Resize);
            let applies = shape.tuning.iter().all(
                |tuning| matches!(tuning.amount, Amount::Fraction(fraction) if fraction >= SMALL_FRACTION),
            );
            let fixed = shape.tuning.iter().any(|tuning| matches!(tuning.amount, Amount::Fixed(_)));
            assert_eq!(stages.is_some(), applies || fixed, "{:?}", shape.tuning);
            if applies {
                assert!(stages.is_some_and(|stages| stages.iter().all(|stage| stage.batch >= 32)));
            }
        }
    }

    #[test]
    fn every_stage_passes_the_recipes_checks() {
        for architecture in architectures::built_in() {
            for shape in all(&[architecture], &MenuLimits::default(), &[TextReduction::Block]) {
                let by = |reduction| shape.stages(2_000_000_000, reduction);
                let Some(mut stages) = by(ImageReduction::Resize) else { continue };
                if shape.is_shortened() {
                    for reduction in [ImageReduction::Random, ImageReduction::Grid, ImageReduction::Block] {
                        let masked = by(reduction).expect("the menu applies").swap_remove(0);
                        // As many patches of the whole image as the small one has.
                        assert_eq!(masked.image_tokens(architecture), stages[0].image_tokens(architecture));
                        assert_eq!(masked.image_size_px, architecture.vision_cfg.image_size);
                        stages.push(masked);
                    }
                }
                for stage in &stages {
                    assert!(
                        stage.image_size_px.is_multiple_of(architecture.vision_cfg.patch_size),
                        "{stage:?}"
                    );
                    assert!(
                        stage.samples.0 >= u64::from(stage.batch) && stage.learning_rate > 0.0,
                        "{stage:?}"
                    );
                    assert!(stage.text_tokens.0 <= architecture.text_cfg.context_length, "{stage:?}");
                    assert!((0.0..1.0).contains(&stage.image_mask_ratio), "{stage:?}");
                }
            }
        }
    }
}
