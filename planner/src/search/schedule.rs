//! Batch, learning rate and warm-up of a stage, from its samples. CLIPA's rules where its batches are, a
//! stated rule of our own below them.

use crate::recipe::Stage;
use crate::units::Samples;

/// CLIPA-v2's batch (`model_h/84_8_pre_training.py`), for schedules of billions of samples.
const LARGEST_BATCH: u32 = 65_536;
/// CLIPA v1's batch, for schedules up to [`LARGE_SCHEDULE`] (LAION-400M, 2.56 B samples).
const LARGE_BATCH: u32 = 32_768;
/// Samples from which CLIPA took the larger of its two batches: half-way, in logarithm, between 2.56 B at
/// 32,768 and 12.8 B at 65,536.
const LARGE_SCHEDULE: u64 = 5_700_000_000;
/// Fewer samples than this many batches make the batch smaller instead of the schedule shorter.
const FEWEST_STEPS: u64 = 1_500;
/// The same for fine-tuning, which starts from a trained model (CLIPA: 4,000 steps of 32,768).
const FEWEST_FINETUNE_STEPS: u64 = 250;
/// The contrastive loss compares within the batch; less than this has too little to compare with.
pub(super) const SMALLEST_BATCH: u32 = 32;
/// Below this batch the law is not asked whether a smaller one would do: nothing was published there.
pub(super) const SMALLEST_SEARCHED_BATCH: u32 = 256;
/// From here up CLIPA's learning rates hold (it trained with 4,096 to 65,536).
const CLIPA_BATCH: u32 = 4_096;
/// Encoders wider than H/14 take half of CLIPA's base learning rate, as its G/14 did.
const WIDER_THAN_H: u32 = 1_280;
/// Fine-tuning stages from this size up take the 336 px stage's settings.
const LARGE_IMAGE_PX: u32 = 300;

/// The fewest samples that make a pretraining stage worth starting: 500 steps of the smallest batch. Assumed:
/// below it a contrastive model has not left chance.
pub(super) const FEWEST_USEFUL_SAMPLES: u64 = 500 * SMALLEST_BATCH as u64;

/// Largest power of two that leaves `steps` steps of `samples`, within `[SMALLEST_BATCH, largest]`.
fn batch_for(samples: u64, steps: u64, largest: u32) -> u32 {
    let most = (samples / steps.max(1)).max(1);
    let power = 1u64 << most.ilog2();
    u32::try_from(power).unwrap_or(largest).clamp(SMALLEST_BATCH, largest)
}

/// Batch of a pretraining stage.
pub(super) fn pretraining_batch(samples: Samples) -> u32 {
    let largest = if samples.0 >= LARGE_SCHEDULE { LARGEST_BATCH } else { LARGE_BATCH };
    batch_for(samples.0, FEWEST_STEPS, largest)
}

/// Batch of a fine-tuning stage: CLIPA-v2's 32,768 at 224 px and 16,384 at 336 px, never more than the stage
/// before had.
pub(super) fn finetuning_batch(samples: Samples, image_size_px: u32, before: u32) -> u32 {
    let largest = if image_size_px >= LARGE_IMAGE_PX { LARGE_BATCH / 2 } else { LARGE_BATCH };
    batch_for(samples.0, FEWEST_FINETUNE_STEPS, largest.min(before.max(SMALLEST_BATCH)))
}

/// Part of pretraining's peak rate that fine-tuning takes below CLIPA's batches, where a few hundred steps must do.
/// Measured on `examples/shapes.toml` (256 steps of 128): a tenth ends at 55 %, seven tenths at 58.5 %.
const SMALL_FINETUNING_SHARE: f64 = 0.5;

/// Fills in learning rate and warm-up of pretraining.
pub(super) fn set_pretraining(stage: &mut Stage, image_width: u32) {
    if stage.batch >= CLIPA_BATCH {
        let base = if image_width > WIDER_THAN_H { 4e-6 } else { 8e-6 };
        stage.learning_rate = base * f64::from(stage.batch) / 256.0;
        // 3,200 steps ("smaller warmup will collapse"), but no more than a tenth of a short schedule.
        stage.warmup_samples = Samples((3_200 * u64::from(stage.batch)).min(stage.samples.0 / 10));
    } else {
        stage.learning_rate = small_batch_rate(stage.batch, image_width);
        stage.warmup_samples = Samples(stage.samples.0 / 20);
    }
}

/// Fills in learning rate and warm-up of fine-tuning; `pretraining` is pretraining's peak rate.
pub(super) fn set_finetuning(stage: &mut Stage, pretraining: f64) {
    if stage.batch >= CLIPA_BATCH {
        let base = if stage.image_size_px >= LARGE_IMAGE_PX { 1e-7 } else { 4e-7 };
        stage.learning_rate = base * f64::from(stage.batch) / 256.0;
        // 26.2 M samples, a fifth of CLIPA's shortest fine-tuning.
        stage.warmup_samples = Samples(26_214_400.min(stage.samples.0 / 5));
    } else {
        stage.learning_rate = SMALL_FINETUNING_SHARE * pretraining;
        stage.warmup_samples = Samples(stage.samples.0 / 20);
    }
}

/// Below CLIPA's batches: 1e-3 at a batch of 256, falling with the square root of the batch (Adam's usual
/// rule) and, above ViT-S, with the width; between 1e-4 and 1e-3. Assumed.
fn small_batch_rate(batch: u32, image_width: u32) -> f64 {
    let by_batch = 1e-3 * (f64::from(batch) / 256.0).sqrt();
    let by_width = (384.0 / f64::from(image_width.max(1))).min(1.0);
    (by_batch * by_width).clamp(1e-4, 1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{ImageReduction, Schedule, TextReduction};
    use crate::units::Tokens;

    fn stage(samples: u64, batch: u32, image_size_px: u32) -> Stage {
        Stage {
            name: "stage".into(),
            image_size_px,
            image_reduction: ImageReduction::Resize,
            image_mask_ratio: 0.0,
            text_tokens: Tokens(8),
            text_reduction: TextReduction::Truncate,
            samples: Samples(samples),
            batch,
            learning_rate: 0.0,
            warmup_samples: Samples(0),
            schedule: Schedule::Cosine,
            decay_fraction: None,
            carry_optimizer: false,
        }
    }

    #[test]
    fn reproduces_the_published_schedules() {
        // clipa_jax/configs/model_h/{70_8_pre_training,unmask_tuning_224_scheduleX4,unmask_tuning_336_scheduleX1}
        let batch = pretraining_batch(Samples(12_800_000_000));
        assert_eq!(batch, 65_536);
        assert_eq!(pretraining_batch(Samples(2_560_000_000)), 32_768);
        let mut pretraining = stage(12_800_000_000, batch, 70);
        set_pretraining(&mut pretraining, 1_280);
        assert!((pretraining.learning_rate - 2.048e-3).abs() < 1e-9);
        assert_eq!(pretraining.warmup_samples, Samples(209_715_200));
        set_pretraining(&mut pretraining, 1_664);
        assert!((pretraining.learning_rate - 1.024e-3).abs() < 1e-9);

        let batch = finetuning_batch(Samples(512_000_000), 224, 65_536);
        assert_eq!(batch, 32_768);
        let mut tuning = stage(512_000_000, batch, 224);
        set_finetuning(&mut tuning, 2.048e-3);
        assert!((tuning.learning_rate - 5.12e-5).abs() < 1e-10);
        assert_eq!(tuning.warmup_samples, Samples(26_214_400));

        let batch = finetuning_batch(Samples(128_000_000), 336, 32_768);
        assert_eq!(batch, 16_384);
        let mut tuning = stage(128_000_000, batch, 336);
        set_finetuning(&mut tuning, 2.048e-3);
        assert!((tuning.learning_rate - 6.4e-6).abs() < 1e-10);
    }

    #[test]
    fn small_schedules_keep_their_steps() {
        for samples in [FEWEST_USEFUL_SAMPLES, 100_000, 1_000_000, 50_000_000, 1_000_000_000] {
            let batch = pretraining_batch(Samples(samples));
            assert!(batch.is_power_of_two());
            assert!(
                batch == SMALLEST_BATCH || samples / u64::from(batch) >= FEWEST_STEPS,
                "{samples} {batch}"
            );
            assert!(samples / u64::from(batch) >= 500, "{samples} {batch}");
            let mut small = stage(samples, batch, 32);
            set_pretraining(&mut small, 192);
            assert!(small.learning_rate <= 2.048e-3 && small.learning_rate >= 1e-4);
            assert!(small.warmup_samples.0 * 10 <= samples);
        }
    }
}
