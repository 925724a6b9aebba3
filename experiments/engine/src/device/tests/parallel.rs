//! Several devices against one, on as many of candle's CPU devices.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{Device, Tensor};

use super::*;
use crate::device::collective::Collective;
use crate::error::Result;

#[test]
fn ten_steps_are_those_of_one_device() {
    // Whole shares of three or two samples, and shares in pieces with and without a rest.
    for (devices, piece) in [(2, 2), (3, 1)] {
        for (architecture, kept) in variants().iter().zip(masks(6)) {
            for microbatch in [usize::MAX, piece] {
                let mut one = on_device(architecture, 5);
                let mut several = on_devices(architecture, 5, devices);
                assert_ten_steps_alike(&mut several, &mut one, microbatch, &Pairs::new(6, kept.clone()));
            }
        }
    }
}

#[test]
fn every_device_has_the_same_bits_and_so_has_the_same_training_again() {
    let architecture = &variants()[1];
    let pairs = Pairs::new(6, masks(6)[1].clone());
    let run = || {
        let mut trainer = on_devices(architecture, 1, 3);
        trainer.set_microbatch(1);
        let reports: Vec<_> = (0..5).map(|_| trainer.step(&pairs.input(), 1e-3).expect("a step")).collect();
        let mut saved = Vec::new();
        for _ in 0..3 {
            saved.push(trainer.save().expect("bytes"));
            trainer.replicas.rotate_left(1);
        }
        assert!(saved[0].ema.is_some());
        assert!(saved[1] == saved[0] && saved[2] == saved[0], "the devices differ");
        (reports, saved.remove(0))
    };
    let (first, again) = (run(), run());
    assert_eq!(first.0, again.0);
    assert!(first.1 == again.1, "the threads' order shows");
}

#[test]
fn the_loss_and_its_gradients_are_those_of_the_whole_batch() {
    let (batch, width, log_scale) = (12, 6, 2.9f64);
    let (images, texts) = (unit_rows(batch, width, 0.0), unit_rows(batch, width, 1.3));
    let expected = crate::loss::contrast::<f32>(&images, &texts, width, log_scale as f32);
    for devices in [2, 3] {
        let share = batch / devices;
        let lines = connect(&vec![Device::Cpu; devices]).expect("lines");
        let of_ranks: Vec<_> = std::thread::scope(|scope| {
            let begin = |(rank, line): (usize, Box<dyn Collective>)| {
                let tensor = |rows: &[f32]| {
                    let own = &rows[rank * share * width..(rank + 1) * share * width];
                    Tensor::from_slice(own, (share, width), &Device::Cpu).expect("a tensor")
                };
                let (images, texts) = (tensor(&images), tensor(&texts));
                scope.spawn(move || contrast(&*line, &images, &texts, log_scale, 4).expect("a loss"))
            };
            let threads: Vec<_> = lines.into_iter().enumerate().map(begin).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let d_log_scale: f64 = of_ranks.iter().map(|found| found.d_log_scale).sum();
        assert!((d_log_scale - f64::from(expected.d_log_scale)).abs() < 1e-5);
        for found in &of_ranks {
            assert_eq!(found.loss, of_ranks[0].loss);
            assert!((found.loss - expected.loss).abs() < 1e-5, "{} is not {}", found.loss, expected.loss);
        }
        let assert_rows = |found: Vec<&Tensor>, expected: &[f32]| {
            let found: Vec<f32> =
                Tensor::cat(&found, 0).and_then(|t| t.flatten_all()?.to_vec1()).expect("numbers");
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 1e-5, "{a} is not {b}");
            }
        };
        assert_rows(of_ranks.iter().map(|found| &found.d_images).collect(), &expected.d_images);
        assert_rows(of_ranks.iter().map(|found| &found.d_texts).collect(), &expected.d_texts);
    }
}

#[test]
fn a_batch_that_devices_cannot_share_is_refused() {
    let mut trainer = on_devices(&variants()[0], 1, 3);
    let before = trainer.save().expect("bytes");
    let refused = trainer.step(&Pairs::new(8, None).input(), 1e-3).expect_err("8 is no multiple of 3");
    assert_eq!(refused.to_string(), "a batch of 8 cannot be shared evenly by 3 devices");
    assert!(refused.hint().is_some_and(|hint| hint.contains("multiple of 3")));
    assert!(trainer.save().expect("bytes") == before);
    assert!(trainer.step(&Pairs::new(6, None).input(), 1e-3).is_ok(), "and the next one is not");
    let host = Trainer::new(&variants()[0], &settings(), 1).expect("a trainer");
    assert!(DeviceTrainer::new(host, &[]).is_err());
}

#[test]
fn what_is_not_finite_on_one_device_changes_nothing_on_any() {
    let mut trainer = on_devices(&variants()[0], 1, 2);
    let mut pairs = Pairs::new(4, None);
    // In the second device's share.
    *pairs.pixels.last_mut().expect("pixels") = f32::INFINITY;
    let before = trainer.save().expect("bytes").model;
    let report = trainer.step(&pairs.input(), 1e-3).expect("a step");
    assert!(report.skipped && report.non_finite.as_deref() == Some("loss"), "{report:?}");
    assert!(trainer.save().expect("bytes").model == before);
    let report = trainer.step(&Pairs::new(4, None).input(), 1e-3).expect("a step");
    assert!(!report.skipped, "{report:?}");
}

/// A device that stops in a sum, as one without memory left does.
#[derive(Debug)]
struct Faulty {
    line: Box<dyn Collective>,
    panics: bool,
}

impl Collective for Faulty {
    fn ranks(&self) -> usize {
        self.line.ranks()
    }

    fn rank(&self) -> usize {
        self.line.rank()
    }

    fn gather(&self, own: &Tensor) -> Result<Tensor> {
        self.line.gather(own)
    }

    fn sum(&self, _: Vec<Tensor>) -> Result<Vec<Tensor>> {
        assert!(!self.panics, "out of luck");
        Err(candle_core::Error::Msg("out of memory".to_owned()).into())
    }

    fn leave(&self) {
        self.line.leave();
    }
}

fn with_faulty_rank_1(panics: bool) -> DeviceTrainer {
    let mut trainer = on_devices(&variants()[0], 1, 3);
    let line =
        std::mem::replace(&mut trainer.replicas[1].ranks, connect(&[Device::Cpu]).expect("a line").remove(0));
    trainer.replicas[1].ranks = Box::new(Faulty { line, panics });
    trainer
}

#[test]
fn a_device_that_fails_is_named_and_nobody_waits_for_it() {
    let pairs = Pairs::new(6, None);
    let mut trainer = with_faulty_rank_1(false);
    let failed = trainer.step(&pairs.input(), 1e-3).expect_err("rank 1 fails");
    assert_eq!(failed.to_string(), "rank 1 of 3 devices (from 0): out of memory");
    // Nothing was changed, and no step goes on without it.
    let before = on_devices(&variants()[0], 1, 3).save().expect("bytes");
    assert!(trainer.save().expect("bytes") == before);
    let failed = trainer.step(&pairs.input(), 1e-3).expect_err("it stays so");
    assert!(matches!(failed, EngineError::OtherRank { rank: 1 }) && failed.hint().is_some(), "{failed}");
}

#[test]
fn a_device_that_panics_keeps_nobody_waiting() {
    let pairs = Pairs::new(6, None);
    let mut trainer = with_faulty_rank_1(true);
    let panic = catch_unwind(AssertUnwindSafe(|| trainer.step(&pairs.input(), 1e-3))).expect_err("a panic");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"out of luck"));
}
