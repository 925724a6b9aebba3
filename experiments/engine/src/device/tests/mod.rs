//! The device's way against the one in main memory, on candle's CPU device.

mod parallel;

use candle_core::{DType, Device, Tensor};
use shoestring_planner::architecture::{Architecture, ImagePositions};
use shoestring_planner::recipe::{Optimizer, Precision};

use super::collective::connect;
use super::contrast::contrast;
use super::trainer::DeviceTrainer;
use crate::tests::{Pairs, masks, variants};
use crate::trainer::Trainer;
use crate::{EngineError, Saved, Training};

fn settings() -> Optimizer {
    Optimizer {
        precision: Some(Precision::F32),
        ema_decay: Some(0.9),
        layer_decay: Some(0.8),
        clip_norm: Some(0.5),
        ..Optimizer::default()
    }
}

fn on_device(architecture: &Architecture, seed: u64) -> DeviceTrainer {
    on_devices(architecture, seed, 1)
}

/// The same on so many devices.
fn on_devices(architecture: &Architecture, seed: u64, devices: usize) -> DeviceTrainer {
    let host = Trainer::new(architecture, &settings(), seed).expect("a trainer");
    DeviceTrainer::new(host, &vec![Device::Cpu; devices]).expect("a trainer")
}

/// The numbers of a safetensors file, by tensor.
fn numbers(bytes: &[u8]) -> Vec<(String, Vec<f32>)> {
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu).expect("tensors");
    let mut all: Vec<_> = tensors
        .into_iter()
        .filter(|(_, tensor)| tensor.dtype() == DType::F32)
        .map(|(name, tensor)| (name, tensor.flatten_all().and_then(|t| t.to_vec1()).expect("numbers")))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn assert_near(found: &[u8], expected: &[u8], bound: f32) {
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len());
    for ((name, found), (other, expected)) in found.iter().zip(&expected) {
        assert_eq!((name, found.len()), (other, expected.len()));
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < bound, "{name}: {a} is not {b}");
        }
    }
}

#[test]
fn ten_steps_are_those_of_the_kernels() {
    for (architecture, kept) in variants().iter().zip(masks(8)) {
        for microbatch in [usize::MAX, 3] {
            let mut host = Trainer::new(architecture, &settings(), 5).expect("a trainer");
            let mut device = on_device(architecture, 5);
            assert_eq!(device.save().expect("bytes").model, host.model_bytes().expect("bytes"));
            assert_ten_steps_alike(&mut device, &mut host, microbatch, &Pairs::new(8, kept.clone()));
        }
    }
}

/// Ten steps of the one on these pairs are those of the other.
fn assert_ten_steps_alike(
    one: &mut dyn Training,
    other: &mut dyn Training,
    microbatch: usize,
    pairs: &Pairs,
) {
    one.set_microbatch(microbatch);
    other.set_microbatch(microbatch);
    for step in 0..10 {
        let (found, expected) = (one.step(&pairs.input(), 1e-3), other.step(&pairs.input(), 1e-3));
        let (found, expected) = (found.expect("a step"), expected.expect("a step"));
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-4;
        assert!(near(found.loss, expected.loss), "step {step}: {found:?}, not {expected:?}");
        assert!(near(found.grad_norm, expected.grad_norm), "{found:?}, not {expected:?}");
        assert!(near(found.logit_scale, expected.logit_scale), "{found:?}, not {expected:?}");
    }
    // A gradient that is zero but for rounding, as that of the keys' bias, still moves by the rate.
    let tensors = |saved: &Saved| -> Vec<(String, Vec<f32>)> {
        numbers(&saved.model).into_iter().filter(|(name, _)| !name.ends_with("in_proj_bias")).collect()
    };
    let (found, expected) = (one.save().expect("bytes"), other.save().expect("bytes"));
    for ((name, found), (_, expected)) in tensors(&found).iter().zip(tensors(&expected)) {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 2e-4, "{name}: {a} is not {b}");
        }
    }
    let images = pairs.input().images();
    let (a, b) = (one.encode_images(&images).expect("rows"), other.encode_images(&images).expect("rows"));
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3));
}

#[test]
fn a_checkpoint_goes_from_one_to_the_other_and_back() {
    let mut architecture = variants()[2].clone();
    assert_eq!(architecture.vision_cfg.pos_embed_type, ImagePositions::Learnable);
    architecture.vision_cfg.image_size = 12;
    let pairs = Pairs::new(6, None);
    let mut device = on_device(&architecture, 1);
    for _ in 0..3 {
        device.step(&pairs.input(), 1e-3).expect("a step");
    }
    let save = |trainer: &mut dyn Training| trainer.save().expect("bytes");
    let saved = save(&mut device);
    assert!(saved.ema.is_some());
    let mut host = Trainer::new(&architecture, &settings(), 2).expect("a trainer");
    Training::load(&mut host, &saved).expect("loads");
    assert_eq!(save(&mut host), saved);
    let mut again = on_device(&architecture, 3);
    again.load(&saved).expect("loads");
    assert_eq!(save(&mut again), saved);
    let (a, b) = (again.step(&pairs.input(), 1e-3), device.step(&pairs.input(), 1e-3));
    assert_eq!(a.expect("a step"), b.expect("a step"), "a loaded trainer goes on with the same bits");
    assert_eq!(save(&mut again), save(&mut device));

    // The mean is evaluated in the weights' place, and the next stage has another grid.
    let rows = |trainer: &DeviceTrainer| trainer.encode_images(&pairs.input().images()).expect("rows");
    let trained = rows(&again);
    again.exchange_ema();
    assert_ne!(rows(&again), trained);
    again.exchange_ema();
    assert_eq!(rows(&again), trained);
    let mut host = Trainer::new(&architecture, &settings(), 2).expect("a trainer");
    let saved = save(&mut again);
    Training::load(&mut host, &saved).expect("loads");
    for trainer in [&mut host as &mut dyn Training, &mut again] {
        trainer.enter_stage(16, true).expect("another grid");
    }
    assert_near(&save(&mut again).model, &save(&mut host).model, 1e-7);
    again.load(&save(&mut host)).expect("loads");
    assert!(again.check_finite().is_ok());
}

#[test]
fn what_is_not_finite_changes_nothing_and_is_refused_in_the_end() {
    let architecture = &variants()[0];
    let mut device = on_device(architecture, 1);
    let mut pairs = Pairs::new(4, None);
    pairs.pixels[17] = f32::NAN;
    let before = device.save().expect("bytes").model;
    for _ in 0..crate::SKIPS_IN_A_ROW {
        let report = device.step(&pairs.input(), 1e-3).expect("a step");
        assert!(report.skipped && report.non_finite.as_deref() == Some("loss"), "{report:?}");
    }
    assert_eq!(device.save().expect("bytes").model, before);
    let refused = device.step(&pairs.input(), 1e-3);
    assert!(matches!(refused, Err(EngineError::NonFinite { .. })), "{refused:?}");
    let refused = device.step(&pairs.input(), f64::NAN);
    assert!(matches!(refused, Err(EngineError::LearningRate(_))), "{refused:?}");
}

/// Rows of length 1.
fn unit_rows(rows: usize, width: usize, shift: f32) -> Vec<f32> {
    let raw: Vec<f32> = (0..rows * width).map(|i| (i as f32 * 0.7 + shift).sin()).collect();
    let length = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.chunks_exact(width).flat_map(|row| row.iter().map(|x| x / length(row)).collect::<Vec<_>>()).collect()
}

#[test]
fn the_loss_in_blocks_is_that_of_main_memory() {
    let (batch, width, log_scale) = (11, 6, 2.9f64);
    let (images, texts) = (unit_rows(batch, width, 0.0), unit_rows(batch, width, 1.3));
    let expected = crate::loss::contrast::<f32>(&images, &texts, width, log_scale as f32);
    let tensor = |rows: &[f32]| Tensor::from_slice(rows, (batch, width), &Device::Cpu).expect("a tensor");
    let alone = connect(&[Device::Cpu]).expect("one").remove(0);
    for block in [3, 11, 100] {
        let found = contrast(&*alone, &tensor(&images), &tensor(&texts), log_scale, block).expect("a loss");
        assert!((found.loss - expected.loss).abs() < 1e-5, "{} is not {}", found.loss, expected.loss);
        assert!((found.d_log_scale - f64::from(expected.d_log_scale)).abs() < 1e-5);
        for (found, expected) in [(found.d_images, &expected.d_images), (found.d_texts, &expected.d_texts)] {
            let found: Vec<f32> = found.flatten_all().and_then(|rows| rows.to_vec1()).expect("numbers");
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 1e-5, "{a} is not {b}");
            }
        }
    }
}
