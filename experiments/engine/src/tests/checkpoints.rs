//! Saving, loading, and going on as if nothing had happened.

use safetensors::SafeTensors;
use shoestring_planner::recipe::{Optimizer, Precision};

use super::{Pairs, variants};
use crate::error::EngineError;
use crate::real::with_numbers;
use crate::trainer::Trainer;

fn trainer(seed: u64) -> Trainer {
    Trainer::new(&variants()[0], &Optimizer::default(), seed).expect("a trainer")
}

fn bytes(trainer: &Trainer) -> (Vec<u8>, Vec<u8>) {
    (trainer.model_bytes().expect("bytes"), trainer.optimizer_bytes().expect("bytes"))
}

fn run(trainer: &mut Trainer, steps: std::ops::Range<u32>) -> Vec<f64> {
    // A different batch each step, so that different words are used, and one that has to be skipped.
    let step = |step: u32| {
        let mut pairs = Pairs::new(6, None);
        pairs.pixels.iter_mut().for_each(|x| *x += step as f32);
        pairs.token_ids.iter_mut().filter(|id| (1..35).contains(*id)).for_each(|id| *id = (*id + step) % 35);
        if step == 4 {
            pairs.pixels[0] = f32::INFINITY;
        }
        trainer.step(&pairs.input(), 1e-3 * f64::from(step + 1)).expect("a step").loss
    };
    steps.map(step).collect()
}

#[test]
fn ten_steps_are_five_saved_loaded_and_five_more() {
    let mut whole = trainer(1);
    let losses = run(&mut whole, 0..10);
    let mut first = trainer(1);
    run(&mut first, 0..5);
    let (model, optimizer) = bytes(&first);
    drop(first);
    let mut second = trainer(99);
    second.load(&model, &optimizer, None).expect("loaded");
    assert!(bytes(&second) == (model, optimizer), "loading and saving again gives the same bytes");
    let rest = run(&mut second, 5..10);
    assert_eq!(
        losses[5..].iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
        rest.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    );
    assert!(bytes(&second) == bytes(&whole), "bit for bit");
    assert_eq!(second.optimizer().steps(), 9, "one of ten was skipped");
}

#[test]
fn tensors_are_stored_under_their_open_clip_names() {
    let trainer = trainer(2);
    let (model, optimizer) = bytes(&trainer);
    let tensors = SafeTensors::deserialize(&model).expect("safetensors");
    assert_eq!(tensors.len(), trainer.clip().parameters().len());
    for name in [
        "visual.transformer.resblocks.0.attn.in_proj_weight",
        "transformer.resblocks.1.ln_2.bias",
        "logit_scale",
    ] {
        assert!(tensors.tensor(name).is_ok(), "{name}");
    }
    let state = SafeTensors::deserialize(&optimizer).expect("safetensors");
    assert_eq!(state.len(), 2 * tensors.len() + 2);
    assert_eq!(state.tensor("exp_avg_sq.visual.proj").expect("moments").shape(), [16, 10]);
}

#[test]
fn another_architectures_checkpoint_is_refused_by_name_and_shape() {
    let (model, optimizer) = bytes(&trainer(3));
    let refused = |change: fn(&mut shoestring_planner::architecture::Architecture)| {
        let mut architecture = variants()[0].clone();
        change(&mut architecture);
        let mut other = Trainer::new(&architecture, &Optimizer::default(), 4).expect("a trainer");
        let before = bytes(&other);
        let error = other.load_model(&model).expect_err("refused");
        assert!(other.load(&model, &optimizer, None).is_err());
        assert!(before == bytes(&other), "a refused checkpoint changes nothing");
        error
    };
    let error = refused(|architecture| architecture.embed_dim = 12);
    assert_eq!(
        error.to_string(),
        "tensor `text_projection` of the model is F32 [12, 10], but this architecture needs F32 [12, 12]"
    );
    let error = refused(|architecture| architecture.text_cfg.layers = 3);
    assert!(
        matches!(&error, EngineError::MissingTensor { tensor, .. } if tensor.contains("resblocks.2.")),
        "{error}"
    );
    let error = refused(|architecture| architecture.vision_cfg.layers = 1);
    assert!(
        matches!(&error, EngineError::UnexpectedTensor { tensor, .. } if tensor.contains("visual.transformer.resblocks.1.")),
        "{error}"
    );
    assert!(error.hint().is_some());
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let mut trainer = trainer(5);
    let (model, optimizer) = bytes(&trainer);
    assert!(matches!(trainer.load_model(&model[..model.len() - 1]), Err(EngineError::Unreadable { .. })));
    assert!(matches!(trainer.load(&model, &[], None), Err(EngineError::Unreadable { .. })));
    assert!(matches!(trainer.load(&model, &model, None), Err(EngineError::Version { .. })));
    let at =
        |needle: &[u8]| optimizer.windows(needle.len()).position(|window| window == needle).expect("there");
    let mut newer = optimizer.clone();
    let version = b"shoestring_optimizer_version\":\"1";
    newer[at(version) + version.len() - 1] = b'2';
    let error = trainer.load(&model, &newer, None).expect_err("refused");
    assert!(matches!(&error, EngineError::Version { found, newest: 1 } if found == "2"), "{error}");
}

/// The smallest model there is.
fn smallest() -> Trainer {
    let mut architecture = variants()[1].clone();
    architecture.embed_dim = 4;
    let vision = &mut architecture.vision_cfg;
    (vision.width, vision.head_width, vision.layers, vision.mlp_ratio) = (4, 2, 1, 1.0);
    let text = &mut architecture.text_cfg;
    (text.width, text.heads, text.layers, text.mlp_ratio) = (4, 2, 1, 1.0);
    // As version 1 computed them, whatever this processor does by default.
    let settings = Optimizer { precision: Some(Precision::F32), ..Optimizer::default() };
    Trainer::new(&architecture, &settings, 6).expect("a trainer")
}

/// Files that version 1 wrote stay readable, and mean what they meant.
#[test]
fn files_of_version_1_are_read() {
    let model = include_bytes!("version_1/model.safetensors");
    let optimizer = include_bytes!("version_1/optimizer.safetensors");
    let mut trainer = smallest();
    trainer.load(model, optimizer, None).expect("loaded");
    assert!(bytes(&trainer) == (model.to_vec(), optimizer.to_vec()), "written again, they are the same");
    assert_eq!(trainer.optimizer().steps(), 4);
    assert_eq!(trainer.optimizer().skipped_in_a_row, 1);
    // Trained for the same steps again: the same up to what processors differ in.
    let mut again = smallest();
    run(&mut again, 0..5);
    for (name, var) in trainer.clip().parameters().iter() {
        if name.ends_with("attn.in_proj_bias") {
            // The gradient of the keys' bias is zero but for rounding, which Adam magnifies.
            continue;
        }
        let numbers = |var: &candle_core::Var| with_numbers::<f32, _>(var, <[f32]>::to_vec).expect("numbers");
        let other = numbers(again.clip().parameters().get(name).expect("a tensor"));
        for (a, b) in numbers(var).iter().zip(other) {
            assert!((a - b).abs() < 1e-3, "{name}: {a} and {b}");
        }
    }
}

#[test]
#[ignore = "wrote the files of `files_of_version_1_are_read`"]
fn writes_the_files_of_a_version() {
    // Only where asked to: files of an old version must never be written again by a newer program.
    let Some(folder) = std::env::var_os("SHOESTRING_TEST_VERSION_FOLDER").map(std::path::PathBuf::from)
    else {
        return;
    };
    let mut trainer = smallest();
    run(&mut trainer, 0..5);
    let (model, optimizer) = bytes(&trainer);
    std::fs::write(folder.join("model.safetensors"), model).expect("written");
    std::fs::write(folder.join("optimizer.safetensors"), optimizer).expect("written");
}
