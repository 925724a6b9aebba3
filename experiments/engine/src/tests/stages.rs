//! From one stage to the next, and the running mean of the weights.

use shoestring_planner::architecture::{Architecture, ImagePositions};
use shoestring_planner::recipe::Optimizer;

use super::{Pairs, variants};
use crate::error::EngineError;
use crate::params::IMAGE_POSITIONS;
use crate::real::with_numbers;
use crate::trainer::Trainer;

/// Learned positions for images of 8 pixels a side: a grid of 2 x 2.
fn learned() -> Architecture {
    let mut architecture = variants()[0].clone();
    (architecture.vision_cfg.image_size, architecture.vision_cfg.pos_embed_type) =
        (8, ImagePositions::Learnable);
    architecture
}

fn with_mean() -> Optimizer {
    Optimizer { ema_decay: Some(0.9), ..Optimizer::default() }
}

/// Pairs with smaller images.
fn small(batch: usize) -> Pairs {
    let mut pairs = Pairs::new(batch, None);
    pairs.pixels.truncate(batch * 3 * 64);
    pairs.image_size_px = 8;
    pairs
}

type Bytes = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

fn bytes(trainer: &Trainer) -> Bytes {
    let model = trainer.model_bytes().expect("bytes");
    (model, trainer.optimizer_bytes().expect("bytes"), trainer.ema_bytes().expect("bytes"))
}

fn load(trainer: &mut Trainer, (model, optimizer, ema): &Bytes) {
    trainer.load(model, optimizer, ema.as_deref()).expect("loaded");
}

fn numbers(trainer: &Trainer, name: &str) -> Vec<f32> {
    let var = trainer.clip().parameters().get(name).expect("a tensor");
    with_numbers::<f32, _>(var, <[f32]>::to_vec).expect("numbers")
}

#[test]
fn learned_positions_go_over_to_another_grid_and_training_goes_on() {
    let mut trainer = Trainer::new(&learned(), &with_mean(), 1).expect("a trainer");
    for _ in 0..3 {
        trainer.step(&small(6).input(), 1e-3).expect("a step");
    }
    let refused = trainer.step(&Pairs::new(6, None).input(), 1e-3).expect_err("another grid");
    assert_eq!(refused.to_string(), "the image size is 12, expected 8, which the learned positions are for");
    let before = numbers(&trainer, IMAGE_POSITIONS);
    let proj = numbers(&trainer, "visual.proj");
    trainer.enter_stage(12, true).expect("entered");
    let after = numbers(&trainer, IMAGE_POSITIONS);
    assert_eq!((before.len(), after.len()), (5 * 16, 10 * 16));
    assert_eq!(before[..16], after[..16], "the class token's stays");
    // Each corner is still nearest to the corner that it was.
    for (small, large) in [(1, 1), (2, 3), (3, 7), (4, 9)] {
        let apart = |a: usize, b: usize| -> f32 {
            let (a, b) = (&before[a * 16..][..16], &after[b * 16..][..16]);
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
        };
        assert!((1..5).all(|other| other == small || apart(other, large) > apart(small, large)));
    }
    assert_eq!(numbers(&trainer, "visual.proj"), proj, "all other weights are carried");
    assert_eq!(trainer.optimizer().steps(), 3, "and so are the moments");
    let saved = bytes(&trainer);
    trainer.step(&Pairs::new(6, None).input(), 1e-3).expect("a step in the new stage");

    // A new process goes on from the new stage's checkpoint, bit for bit.
    let mut second = Trainer::new(&learned(), &with_mean(), 99).expect("a trainer");
    second.set_image_size(12).expect("the stage's grid");
    load(&mut second, &saved);
    second.step(&Pairs::new(6, None).input(), 1e-3).expect("a step");
    assert!(bytes(&second) == bytes(&trainer));

    assert!(trainer.enter_stage(10, false).is_err(), "patches of 4 pixels do not fill 10");
}

#[test]
fn the_optimiser_is_carried_only_where_asked_for() {
    let train = |carry: Option<bool>| {
        let mut trainer = Trainer::new(&variants()[0], &Optimizer::default(), 1).expect("a trainer");
        for _ in 0..3 {
            trainer.step(&Pairs::new(6, None).input(), 1e-3).expect("a step");
        }
        if let Some(carry) = carry {
            trainer.enter_stage(12, carry).expect("entered");
        }
        trainer.step(&Pairs::new(6, None).input(), 1e-3).expect("a step");
        trainer
    };
    let (through, carried, fresh) = (train(None), train(Some(true)), train(Some(false)));
    assert!(bytes(&through) == bytes(&carried), "with the moments a stage goes on as if it were the same");
    assert!(bytes(&through) != bytes(&fresh));
    assert_eq!([carried.optimizer().steps(), fresh.optimizer().steps()], [4, 1]);
}

#[test]
fn the_mean_of_the_weights_is_saved_loaded_measured_and_changes_no_training() {
    let run = |trainer: &mut Trainer, steps: std::ops::Range<usize>| {
        for step in steps {
            trainer.step(&Pairs::new(5 + step % 3, None).input(), 2e-3).expect("a step");
        }
    };
    let mut whole = Trainer::new(&variants()[1], &with_mean(), 4).expect("a trainer");
    run(&mut whole, 0..8);
    let mut first = Trainer::new(&variants()[1], &with_mean(), 4).expect("a trainer");
    run(&mut first, 0..4);
    let mut second = Trainer::new(&variants()[1], &with_mean(), 5).expect("a trainer");
    load(&mut second, &bytes(&first));
    run(&mut second, 4..8);
    assert!(bytes(&whole) == bytes(&second), "bit for bit");
    let mut without = Trainer::new(&variants()[1], &Optimizer::default(), 4).expect("a trainer");
    run(&mut without, 0..8);
    assert!(without.model_bytes().expect("bytes") == whole.model_bytes().expect("bytes"));
    assert_eq!(without.ema_bytes().expect("bytes"), None);

    // Measured in place of the weights, and put back.
    let (model, _, mean) = bytes(&whole);
    let texts = Pairs::new(4, None);
    let trained = whole.encode_texts(&texts.input().texts()).expect("features");
    whole.exchange_ema();
    assert!(whole.model_bytes().expect("bytes") == mean.expect("a mean"));
    assert_ne!(whole.encode_texts(&texts.input().texts()).expect("features"), trained);
    whole.exchange_ema();
    assert!(whole.model_bytes().expect("bytes") == model);

    let (model, optimizer, _) = bytes(&whole);
    let missing = second.load(&model, &optimizer, None).expect_err("no mean");
    assert!(matches!(missing, EngineError::MissingFile { .. }) && missing.hint().is_some(), "{missing}");
    let missing = second.load(&model, &without.optimizer_bytes().expect("bytes"), None).expect_err("no mean");
    assert!(matches!(&missing, EngineError::MissingTensor { tensor, .. } if tensor == "ema_steps"));
}
