//! Steps: that they learn, what they refuse, and that they repeat to the bit.

use shoestring_planner::recipe::{Optimizer, Precision};

use super::{Pairs, variants};
use crate::error::EngineError;
use crate::params::LOGIT_SCALE;
use crate::real::{change_numbers, with_numbers};
use crate::trainer::{SKIPS_IN_A_ROW, Trainer};

fn trainer(seed: u64) -> Trainer {
    Trainer::new(&variants()[0], &Optimizer::default(), seed).expect("a trainer")
}

fn numbers(trainer: &Trainer, name: &str) -> Vec<f32> {
    let var = trainer.clip().parameters().get(name).expect("a tensor");
    with_numbers::<f32, _>(var, <[f32]>::to_vec).expect("numbers")
}

fn set(trainer: &Trainer, name: &str, work: impl FnOnce(&mut [f32])) {
    change_numbers::<f32, _>(trainer.clip().parameters().get(name).expect("a tensor"), work)
        .expect("changed");
}

#[test]
fn eight_pairs_are_learned_by_heart() {
    let pairs = Pairs::new(8, None);
    let mut trainer = trainer(1);
    let first = trainer.step(&pairs.input(), 3e-3).expect("a step").loss;
    // Untrained, each of eight captions is about equally likely: ln 8 = 2.08.
    assert!(first > 1.0, "{first}");
    let mut last = first;
    for _ in 0..60 {
        last = trainer.step(&pairs.input(), 3e-3).expect("a step").loss;
    }
    assert!(last < 0.05, "{last}");
    let image_rows = trainer.encode_images(&pairs.input().images()).expect("features");
    let text_rows = trainer.encode_texts(&pairs.input().texts()).expect("features");
    for (index, image) in image_rows.chunks_exact(10).enumerate() {
        let likeness = |text: &[f32]| image.iter().zip(text).map(|(a, b)| a * b).sum::<f32>();
        let best = text_rows.chunks_exact(10).map(likeness).enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        assert_eq!(best.map(|(best, _)| best), Some(index));
    }
}

#[test]
fn one_step_moves_every_tensor_and_a_rate_of_zero_none() {
    for architecture in variants() {
        // Each of the nine patches is kept in some image.
        let pairs = Pairs::new(4, Some((0..16).map(|index| index * 5 % 9).collect()));
        let mut trainer = Trainer::new(&architecture, &Optimizer::default(), 2).expect("a trainer");
        let names: Vec<String> =
            trainer.clip().parameters().iter().map(|(name, _)| name.to_owned()).collect();
        let all = |trainer: &Trainer| names.iter().map(|name| numbers(trainer, name)).collect::<Vec<_>>();
        let start = all(&trainer);
        trainer.step(&pairs.input(), 0.0).expect("a step of the warm-up's beginning");
        assert_eq!(start, all(&trainer));
        trainer.step(&pairs.input(), 1e-4).expect("a step");
        for ((name, before), after) in names.iter().zip(&start).zip(all(&trainer)) {
            assert_ne!(before, &after, "{name} did not move");
        }
    }
}

#[test]
fn a_tensor_that_stands_still_is_named() {
    // Decay and gradient of this tensor are zero: it starts at zero and what it feeds is multiplied by zero.
    let trainer_of = || {
        let trainer = Trainer::new(&variants()[0], &Optimizer::default(), 2).expect("a trainer");
        set(&trainer, "text_projection", |numbers| numbers.fill(0.0));
        trainer
    };
    let pairs = Pairs::new(4, None);
    let mut trainer = trainer_of();
    let error = trainer.step(&pairs.input(), 1e-3).expect_err("an error");
    assert!(
        matches!(&error, EngineError::DidNotMove { tensor, step: 1, .. } if tensor.starts_with("ln_final")),
        "{error}"
    );
    // A rate so small that an update rounds away proves nothing, so nothing is asked.
    assert!(trainer_of().step(&pairs.input(), 1e-9).is_ok());
}

#[test]
fn the_temperature_stays_within_its_limits() {
    let settings = Optimizer { logit_scale_init: 0.5, logit_scale_max: 0.502, ..Optimizer::default() };
    let mut trainer = Trainer::new(&variants()[0], &settings, 3).expect("a trainer");
    let pairs = Pairs::new(6, None);
    let mut highest = 0f32;
    for _ in 0..10 {
        let report = trainer.step(&pairs.input(), 5e-3).expect("a step");
        let log_scale = numbers(&trainer, LOGIT_SCALE)[0];
        assert!((0.0..=0.502).contains(&log_scale), "{log_scale}");
        assert!((report.logit_scale - f64::from(log_scale).exp()).abs() < 1e-9);
        highest = highest.max(log_scale);
    }
    assert_eq!(highest, 0.502, "the limit was reached");
}

#[test]
fn gradients_are_scaled_down_to_the_clip_norm() {
    // With β₁ = β₂ = 0 and a huge ε a step is rate / ε times the clipped gradient.
    let settings =
        Optimizer { beta1: 0.0, beta2: 0.0, epsilon: 1e6, weight_decay: 0.0, ..Optimizer::default() };
    let moved = |clip_norm: Option<f64>| {
        let settings = Optimizer { clip_norm, ..settings.clone() };
        let mut trainer = Trainer::new(&variants()[0], &settings, 4).expect("a trainer");
        let before = numbers(&trainer, "visual.proj");
        let report = trainer.step(&Pairs::new(6, None).input(), 1e6).expect("a step");
        let after = numbers(&trainer, "visual.proj");
        let distance = before.iter().zip(&after).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        (report.grad_norm, distance)
    };
    let (norm, free) = moved(None);
    let (same_norm, clipped) = moved(Some(norm / 100.0));
    assert_eq!(norm, same_norm, "the norm reported is that before clipping");
    assert!((free / clipped / 100.0 - 1.0).abs() < 1e-3, "{free} and {clipped}");
    assert_eq!(moved(Some(norm * 1.01)).1, free, "below the limit nothing is scaled");
}

#[test]
fn a_loss_that_is_not_a_number_skips_the_step_until_there_are_too_many() {
    let mut trainer = trainer(5);
    let pairs = Pairs::new(4, None);
    let mut broken = Pairs::new(4, None);
    broken.pixels[7] = f32::NAN;
    trainer.step(&pairs.input(), 1e-3).expect("a step");
    let before = (trainer.model_bytes().expect("bytes"), trainer.optimizer().steps());
    for _ in 0..SKIPS_IN_A_ROW {
        let report = trainer.step(&broken.input(), 1e-3).expect("a skipped step");
        assert!(report.skipped && report.loss.is_nan() && report.grad_norm.is_nan());
        assert_eq!(report.non_finite.as_deref(), Some("pixels"));
    }
    assert_eq!(before, (trainer.model_bytes().expect("bytes"), trainer.optimizer().steps()));
    let error = trainer.step(&broken.input(), 1e-3).expect_err("one too many");
    assert!(
        matches!(&error, EngineError::NonFinite { tensor, in_a_row: SKIPS_IN_A_ROW } if tensor == "pixels")
    );
    assert!(error.hint().is_some());
    // One good step, and the count begins again.
    assert!(!trainer.step(&pairs.input(), 1e-3).expect("a step").skipped);
    assert!(trainer.step(&broken.input(), 1e-3).expect("a skipped step").skipped);
}

#[test]
fn a_gradient_that_overflows_is_named() {
    let mut trainer = trainer(6);
    // Features of ordinary size, but the gradient of the projection is about one over its values.
    set(&trainer, "visual.ln_post.weight", |numbers| numbers.fill(1e36));
    set(&trainer, "visual.proj", |numbers| numbers.iter_mut().for_each(|x| *x *= 1e-39));
    let before = trainer.model_bytes().expect("bytes");
    let report = trainer.step(&Pairs::new(4, None).input(), 1e-3).expect("a skipped step");
    assert!(report.loss.is_finite() && report.skipped, "{report:?}");
    assert_eq!(report.non_finite.as_deref(), Some("visual.proj"));
    assert_eq!(before, trainer.model_bytes().expect("bytes"));
}

/// What breaks the loss is named, from the input to the end of the towers.
#[test]
fn the_layer_where_a_number_stops_being_finite_is_named() {
    let named = |tensor: &str, value: f32| {
        let mut trainer = trainer(9);
        set(&trainer, tensor, |numbers| numbers.fill(value));
        let report = trainer.step(&Pairs::new(70, None).input(), 1e-3).expect("a skipped step");
        assert!(report.skipped, "{tensor}");
        report.non_finite.expect("a name")
    };
    for (tensor, value, layer) in [
        ("visual.conv1.weight", f32::NAN, "visual.conv1.weight"),
        ("visual.conv1.weight", f32::MAX, "visual.conv1"),
        ("visual.transformer.resblocks.1.ln_2.weight", f32::MAX, "visual.transformer.resblocks.1"),
        ("transformer.resblocks.0.ln_1.weight", f32::MAX, "transformer.resblocks.0"),
        ("visual.proj", f32::MAX, "visual.proj"),
        ("text_projection", f32::MAX, "text_projection"),
        ("logit_scale", 1e9, "loss"),
    ] {
        assert_eq!(named(tensor, value), layer, "{tensor} = {value}");
    }
}

/// Once sums over microbatches in `f32` went back to other buffers than they had come from: memory grew by the size of the
/// model in every step.
#[test]
fn the_memory_of_a_step_is_that_of_the_next_one() {
    let pairs = Pairs::new(8, None);
    for precision in [Precision::F32, Precision::Bf16] {
        for microbatch in [8, 3] {
            let settings = Optimizer { precision: Some(precision), ..Optimizer::default() };
            let mut trainer = Trainer::new(&variants()[0], &settings, 4).expect("a trainer");
            trainer.set_microbatch(microbatch);
            let mut after = || {
                trainer.step(&pairs.input(), 1e-4).expect("a step");
                trainer.clip().numbers_at_rest()
            };
            let (_, second) = (after(), after());
            assert!(second > 0);
            assert_eq!([after(), after()], [second; 2], "{precision:?}, {microbatch} at a time");
        }
    }
}

#[test]
fn a_learning_rate_that_is_none_is_refused() {
    let mut trainer = trainer(7);
    for rate in [-1e-3, f64::NAN, f64::INFINITY] {
        let result = trainer.step(&Pairs::new(2, None).input(), rate);
        assert!(matches!(result, Err(EngineError::LearningRate(_))));
    }
}

/// Model and optimiser after three steps with and without dropped patches, of a model wide enough for its
/// products to be shared out among threads.
fn bits_after_three_steps(microbatch: usize) -> (Vec<u8>, Vec<u8>) {
    let mut architecture = variants()[0].clone();
    (architecture.vision_cfg.width, architecture.text_cfg.width) = (64, 96);
    let mut trainer = Trainer::new(&architecture, &Optimizer::default(), 8).expect("a trainer");
    trainer.set_microbatch(microbatch);
    let (all, some) = (Pairs::new(40, None), Pairs::new(40, Some([0, 2, 5].repeat(40))));
    for pairs in [&all, &some, &all] {
        trainer.step(&pairs.input(), 1e-3).expect("a step");
    }
    (trainer.model_bytes().expect("bytes"), trainer.optimizer_bytes().expect("bytes"))
}

#[test]
fn the_same_inputs_give_the_same_bits_on_any_number_of_threads() {
    let train = |threads: usize, microbatch: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| bits_after_three_steps(microbatch))
    };
    for microbatch in [usize::MAX, 16] {
        let once = train(2, microbatch);
        assert!(once == train(2, microbatch), "a second time");
        assert!(once == train(1, microbatch), "on one thread");
        assert!(once == train(3, microbatch), "on three threads");
    }
}

/// Fifty steps, whole on one, two and four threads, and cut in two by a new process's trainer.
#[test]
fn fifty_steps_give_the_same_bits_on_any_threads_and_through_a_resume() {
    let mut architecture = variants()[2].clone();
    (architecture.vision_cfg.width, architecture.text_cfg.width) = (64, 96);
    let settings = Optimizer { ema_decay: Some(0.99), layer_decay: Some(0.9), ..Optimizer::default() };
    let new = |seed: u64| {
        let mut trainer = Trainer::new(&architecture, &settings, seed).expect("a trainer");
        trainer.set_microbatch(25);
        trainer
    };
    let train = |trainer: &mut Trainer, steps: std::ops::Range<u32>| {
        for step in steps {
            let mut pairs = Pairs::new(40, (step % 2 == 1).then(|| [0, 2, 5].repeat(40)));
            pairs.pixels.iter_mut().for_each(|x| *x += 0.01 * step as f32);
            trainer.step(&pairs.input(), 1e-3).expect("a step");
        }
    };
    let bytes = |trainer: &Trainer| {
        let ema = trainer.ema_bytes().expect("bytes");
        (trainer.model_bytes().expect("bytes"), trainer.optimizer_bytes().expect("bytes"), ema)
    };
    let on = |threads: usize, resumed_after: Option<u32>| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let mut trainer = new(8);
            if let Some(step) = resumed_after {
                train(&mut trainer, 0..step);
                let (model, optimizer, ema) = bytes(&trainer);
                trainer = new(9);
                trainer.load(&model, &optimizer, ema.as_deref()).expect("loaded");
            }
            train(&mut trainer, resumed_after.unwrap_or(0)..50);
            bytes(&trainer)
        })
    };
    let once = on(1, None);
    assert!(once == on(2, None), "on two threads");
    assert!(once == on(4, None), "on four threads");
    assert!(once == on(2, Some(23)), "resumed after 23 steps");
}

/// Where the other process of the next test writes to.
const BITS_FILE: &str = "SHOESTRING_TEST_BITS_FILE";

/// candle fixes its own threads, and the order of its maps, once a process: so a process each, as after a
/// resume on another machine of the kind.
#[test]
fn another_process_with_other_threads_gives_the_same_bits() {
    let here = bits_after_three_steps(usize::MAX);
    for threads in ["1", "3"] {
        let file = std::env::temp_dir().join(format!("shoestring-bits-{}-{threads}", std::process::id()));
        let status = std::process::Command::new(std::env::current_exe().expect("this test's path"))
            .args(["--exact", "--ignored", "tests::training::writes_its_bits_for_the_test_above"])
            .env("RAYON_NUM_THREADS", threads)
            .env("CANDLE_NUM_THREADS", threads)
            .env(BITS_FILE, &file)
            .stdout(std::process::Stdio::null())
            .status()
            .expect("the other process");
        assert!(status.success());
        let there = std::fs::read(&file).expect("the other process's bits");
        std::fs::remove_file(&file).expect("removed");
        assert!(there == [here.0.clone(), here.1.clone()].concat(), "on {threads} threads");
    }
}

#[test]
#[ignore = "the other process of `another_process_with_other_threads_gives_the_same_bits`"]
fn writes_its_bits_for_the_test_above() {
    if let Some(file) = std::env::var_os(BITS_FILE) {
        let (model, optimizer) = bits_after_three_steps(usize::MAX);
        std::fs::write(file, [model, optimizer].concat()).expect("written");
    }
}
