//! The learning rate: linear warm-up, then cosine to zero.

use shoestring_planner::recipe::Stage;
use shoestring_planner::units::Samples;

/// The learning rate after `seen` of a stage's samples; pass the samples seen before the step.
#[must_use]
pub fn learning_rate(stage: &Stage, seen: Samples) -> f64 {
    warmup_then_cosine(stage.learning_rate, stage.warmup_samples, stage.samples, seen)
}

/// From 0 at 0 linearly to `peak` at `warmup`, then down half a cosine to 0 at `total` and after.
///
/// A function of progress alone, so that a run whose `total` is changed on the way still ends at zero. A
/// warm-up as long as the stage or longer is cut at its end: the rate rises, and is zero once all is seen.
#[must_use]
pub fn warmup_then_cosine(peak: f64, warmup: Samples, total: Samples, seen: Samples) -> f64 {
    let (warmup, total, seen) = (warmup.0 as f64, total.0 as f64, seen.0 as f64);
    if seen >= total {
        return 0.0;
    }
    if seen < warmup {
        return peak * seen / warmup;
    }
    let done = (seen - warmup) / (total - warmup);
    peak * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_schedule_passes_through_its_landmarks() {
        let at = |seen| warmup_then_cosine(2e-3, Samples(100), Samples(1100), Samples(seen));
        for (seen, expected) in [
            (0, 0.0),
            (50, 1e-3),
            (100, 2e-3),
            (350, 1.707_106_781_186_547_5e-3),
            (600, 1e-3),
            (1100, 0.0),
            (9000, 0.0),
        ] {
            assert!((at(seen) - expected).abs() < 1e-12, "{seen}: {}", at(seen));
        }
        let no_warmup = warmup_then_cosine(1.0, Samples(0), Samples(10), Samples(0));
        assert!((no_warmup - 1.0).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn it_rises_then_falls_and_never_leaves_zero_to_peak(
            peak in 1e-6..1.0f64, warmup in 0u64..1000, rest in 1u64..10_000, seen in 0u64..12_000,
        ) {
            let total = warmup + rest;
            let at = |seen| warmup_then_cosine(peak, Samples(warmup), Samples(total), Samples(seen));
            let (now, next) = (at(seen), at(seen + 1));
            prop_assert!((0.0..=peak).contains(&now));
            if seen < warmup {
                prop_assert!(next >= now);
            } else {
                prop_assert!(next <= now);
            }
        }
    }
}
