//! The learning rate as a function of a stage's progress.

use shoestring_planner::recipe::{Schedule, Stage};
use shoestring_planner::units::Samples;

/// The learning rate after `seen` of a stage's samples; pass the samples seen before the step.
#[must_use]
pub fn learning_rate(stage: &Stage, seen: Samples) -> f64 {
    learning_rate_at(stage, seen.0 as f64 / stage.samples.0 as f64)
}

/// The learning rate where `progress` of a stage is done, from 0 to 1, however that is reckoned: by samples, or by
/// money spent where that is further. A run that is cut short still ends on its schedule's last value.
#[must_use]
pub fn learning_rate_at(stage: &Stage, progress: f64) -> f64 {
    let warmup = stage.warmup_samples.0 as f64 / stage.samples.0 as f64;
    let decay = stage.decay_fraction.unwrap_or(Stage::DECAY_FRACTION);
    stage.learning_rate * share_of_peak(stage.schedule, warmup, decay, progress)
}

/// Share of the peak where `progress` of a stage is done. From 0 linearly to 1 at `warmup`; from there by the
/// schedule. A warm-up as long as the stage or longer is cut at its end, where cosine and WSD are at 0; a warm-up
/// that overlaps WSD's decay gives the lower of both.
fn share_of_peak(schedule: Schedule, warmup: f64, decay: f64, progress: f64) -> f64 {
    let progress = progress.clamp(0.0, 1.0);
    let ends_at_zero = schedule != Schedule::Constant;
    if progress >= 1.0 && ends_at_zero {
        return 0.0;
    }
    let rising = if progress < warmup { progress / warmup } else { 1.0 };
    match schedule {
        Schedule::Cosine if progress >= warmup => {
            0.5 * (1.0 + (std::f64::consts::PI * (progress - warmup) / (1.0 - warmup)).cos())
        }
        Schedule::Cosine | Schedule::Constant => rising,
        Schedule::Wsd => rising.min((1.0 - progress) / decay),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_cosine_passes_through_its_landmarks() {
        let at = |seen: f64| 2e-3 * share_of_peak(Schedule::Cosine, 100.0 / 1100.0, 0.2, seen / 1100.0);
        for (seen, expected) in [
            (0.0, 0.0),
            (50.0, 1e-3),
            (100.0, 2e-3),
            (350.0, 1.707_106_781_186_547_5e-3),
            (600.0, 1e-3),
            (1100.0, 0.0),
            (9000.0, 0.0),
        ] {
            assert!((at(seen) - expected).abs() < 1e-12, "{seen}: {}", at(seen));
        }
        assert!((share_of_peak(Schedule::Cosine, 0.0, 0.2, 0.0) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn wsd_warms_up_stays_and_decays_and_constant_only_warms_up() {
        let wsd = |progress| share_of_peak(Schedule::Wsd, 0.1, 0.25, progress);
        for (progress, expected) in
            [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.5, 1.0), (0.75, 1.0), (0.9, 0.4), (1.0, 0.0)]
        {
            assert!((wsd(progress) - expected).abs() < 1e-12, "{progress}: {}", wsd(progress));
        }
        let constant = |progress| share_of_peak(Schedule::Constant, 0.1, 0.25, progress);
        assert_eq!([0.05, 0.1, 0.99, 1.0, 7.0].map(constant), [0.5, 1.0, 1.0, 1.0, 1.0]);
        let overlapping = share_of_peak(Schedule::Wsd, 0.9, 0.5, 0.8);
        assert!((overlapping - 0.4).abs() < 1e-12, "the lower of 0.8 / 0.9 and 0.2 / 0.5");
    }

    proptest! {
        #[test]
        fn it_rises_then_falls_and_never_leaves_zero_to_peak(
            schedule in prop::sample::select(vec![Schedule::Cosine, Schedule::Wsd, Schedule::Constant]),
            warmup in 0.0..2.0f64, decay in 0.01..1.0f64, progress in -0.5..1.5f64, further in 0.0..0.1f64,
        ) {
            let at = |progress| share_of_peak(schedule, warmup, decay, progress);
            let (now, next) = (at(progress), at(progress + further));
            prop_assert!((0.0..=1.0).contains(&now));
            if progress + further < warmup.min(1.0 - decay).min(1.0) {
                prop_assert!(next >= now - 1e-12);
            } else if progress >= warmup {
                prop_assert!(next <= now + 1e-12);
            }
            if schedule != Schedule::Constant {
                prop_assert_eq!(at(1.0), 0.0);
            }
        }
    }
}
