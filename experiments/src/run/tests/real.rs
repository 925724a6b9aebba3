//! The same with a real model on the procedural generator.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use shoestring_engine::{Device, EngineError, resolved_precision};
use shoestring_planner::architecture::{
    AttentionPool, AttentionPoolKind, ImagePool, ImagePositions, TextPool,
};
use shoestring_planner::recipe::{
    DataSource, EvaluatedWeights, ImageReduction, Optimizer, Precision, Recipe, Schedule, TextReduction,
};
use shoestring_planner::units::Samples;

use super::{Killed, Watch, newest_bytes, small_recipe};
use crate::records::{MetricsLine, read_lines};
use crate::run::clip::Workshop;
use crate::run::device::Place;
use crate::run::start::carry_out;
use crate::run::{Compute, Options, Order, Outcome, RunDirectory, RunError, Standing, check, start};

/// Two stages of a few steps each.
fn recipe() -> Recipe {
    let mut recipe = small_recipe();
    recipe.stages[0].samples = Samples(192);
    recipe.stages[1].samples = Samples(96);
    recipe.checkpoint.every_cap_fraction = 1e-9;
    recipe
}

fn order<'a>(recipe: &'a Recipe, directory: &'a Path) -> Order<'a> {
    Order { recipe, text: "", folder: Path::new(""), directory, compute: Compute::Auto }
}

fn process(recipe: &Recipe, directory: &Path, watch: &mut Watch) -> Option<Result<Outcome, RunError>> {
    let options = Options { clock: watch.clock.clone(), stop: Arc::clone(&watch.stop), ..Options::default() };
    match catch_unwind(AssertUnwindSafe(|| start(&order(recipe, directory), &options, watch))) {
        Ok(result) => Some(result),
        Err(thrown) if thrown.is::<Killed>() => None,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Everything of training that the recipe above leaves out.
fn everything() -> Recipe {
    let mut recipe = recipe();
    let vision = &mut recipe.architecture.vision_cfg;
    vision.pos_embed_type = ImagePositions::Learnable;
    vision.pool_type =
        ImagePool::Attention(AttentionPool { kind: AttentionPoolKind::Single, queries: 1, heads: 2 });
    let text = &mut recipe.architecture.text_cfg;
    (text.pool_type, text.eos_id, text.no_causal_mask) = (TextPool::Eos, Some(49_407), false);
    (recipe.optimizer.ema_decay, recipe.optimizer.layer_decay) = (Some(0.9), Some(0.8));
    recipe.evaluation.weights = EvaluatedWeights::Ema;
    let [first, second] = &mut recipe.stages[..] else { panic!("two stages") };
    (first.schedule, first.text_reduction) = (Schedule::Constant, TextReduction::Random);
    (first.image_reduction, first.image_mask_ratio) = (ImageReduction::Grid, 0.5);
    (second.schedule, second.decay_fraction, second.carry_optimizer) = (Schedule::Wsd, Some(0.5), true);
    (second.image_reduction, second.image_mask_ratio) = (ImageReduction::Block, 0.5);
    recipe.check().expect("can be carried out");
    recipe
}

#[test]
fn killed_and_interrupted_training_ends_with_the_same_bits() {
    let lines = ends_with_the_same_bits(&recipe());
    assert!(lines.iter().all(|line| line.learning_rate <= 0.001));
}

#[test]
fn every_feature_of_training_ends_with_the_same_bits() {
    let lines = ends_with_the_same_bits(&everything());
    let rate = |step: u64| lines.iter().find(|line| line.step == step).expect("a line").learning_rate;
    // 12 steps at a constant rate after a warm-up of four; then two of warm-up, and from the third on down.
    assert_eq!([rate(1), rate(5), rate(12)], [0.0, 0.001, 0.001]);
    assert_eq!(rate(13), 0.0);
    assert!((rate(15) - 1e-4).abs() < 1e-12 && (rate(18) - 1e-4 / 3.0).abs() < 1e-12);
}

/// Whole, and in pieces; the lines of the whole run.
fn ends_with_the_same_bits(recipe: &Recipe) -> Vec<MetricsLine> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    let mut watch = Watch::new();
    let outcome = process(recipe, &whole, &mut watch).expect("is not killed").expect("meets no error");
    let Outcome::Finished(summary) = outcome else { panic!("finishes") };
    assert_eq!((summary.step, summary.samples_seen), (18, 288));
    let last = summary.evaluation.expect("an evaluation");
    assert!(last.is_final && last.classes > 1 && last.samples == 96);

    for (killed_after, stop_after) in [(Some(9), None), (None, Some(10)), (Some(14), None), (Some(12), None)]
    {
        let mut watch = Watch::new();
        (watch.killed_after, watch.stop_after) = (killed_after, stop_after);
        if let Some(result) = process(recipe, &pieces, &mut watch) {
            assert!(matches!(result, Ok(Outcome::Interrupted(_)) if stop_after.is_some()), "{result:?}");
        }
    }
    let result = process(recipe, &pieces, &mut Watch::new()).expect("is not killed");
    assert!(matches!(result, Ok(Outcome::Finished(_))), "{result:?}");
    assert!(newest_bytes(&whole) == newest_bytes(&pieces), "the weights differ");

    let lines = |directory: &Path| -> Vec<MetricsLine> {
        read_lines(&RunDirectory::new(directory).metrics()).expect("reads")
    };
    let (once, repeated) = (lines(&whole), lines(&pieces));
    assert!(repeated.len() > once.len(), "repeated steps are written again");
    for line in &repeated {
        let same = once.iter().find(|other| other.step == line.step).expect("a step of the whole run");
        assert_eq!((line.loss, line.learning_rate), (same.loss, same.learning_rate), "step {}", line.step);
    }
    assert_eq!(newest_bytes(&whole).2.is_some(), recipe.optimizer.ema_decay.is_some());
    once
}

/// As a machine with so many GPUs carries it out, on as many of candle's CPU devices.
fn on_devices(recipe: &Recipe, directory: &Path, devices: usize, stop_after: Option<u64>) -> Outcome {
    let mut watch = Watch::new();
    watch.stop_after = stop_after;
    let options = Options { clock: watch.clock.clone(), stop: Arc::clone(&watch.stop), ..Options::default() };
    let mut workshop = Workshop::new(recipe, Place { gpus: vec![Device::Cpu; devices], note: None });
    carry_out(&order(recipe, directory), recipe, &options, &mut watch, &mut workshop).expect("meets no error")
}

/// Learned positions on two grids, a running mean that is evaluated, and everything else that a checkpoint holds.
#[test]
fn devices_that_share_the_batches_end_as_one_does_and_a_run_may_change_their_number() {
    let recipe = Recipe {
        optimizer: Optimizer { precision: Some(Precision::F32), ..everything().optimizer },
        ..everything()
    };
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| folder.path().join(name);
    for (name, devices) in [("one", 1), ("two", 2)] {
        let Outcome::Finished(summary) = on_devices(&recipe, &at(name), devices, None) else {
            panic!("{name}")
        };
        assert_eq!((summary.step, summary.samples_seen), (18, 288));
    }
    for (devices, stop_after) in [(4, Some(5)), (1, Some(9)), (2, None)] {
        let outcome = on_devices(&recipe, &at("changed"), devices, stop_after);
        assert_eq!(matches!(outcome, Outcome::Interrupted(_)), stop_after.is_some(), "{outcome:?}");
    }
    let host = process(&recipe, &at("host"), &mut Watch::new()).expect("is not killed");
    assert!(matches!(host, Ok(Outcome::Finished(_))), "{host:?}");
    let lines = |name: &str| -> Vec<MetricsLine> {
        read_lines(&RunDirectory::new(&at(name)).metrics()).expect("reads")
    };
    let expected = lines("one");
    let (model, optimizer, mean) = newest_bytes(&at("one"));
    for name in ["two", "changed", "host"] {
        for line in lines(name) {
            let same =
                expected.iter().find(|other| other.step == line.step).expect("a step of the whole run");
            assert!((line.loss / same.loss - 1.0).abs() < 1e-3, "{name}, step {}: {line:?}", line.step);
        }
        let (found, moments, found_mean) = newest_bytes(&at(name));
        assert_eq!((found.len(), moments.len()), (model.len(), optimizer.len()), "{name}");
        assert_eq!(found_mean.map(|mean| mean.len()), mean.as_ref().map(Vec::len), "{name}");
    }
}

/// A rate that blows the weights up: the run stops, and what is left is the last checkpoint of sound ones.
#[test]
fn weights_that_are_not_finite_stop_the_run_and_never_reach_a_checkpoint() {
    let mut recipe = recipe();
    (recipe.stages[1].learning_rate, recipe.stages[1].warmup_samples) = (3e38, Samples(0));
    let folder = tempfile::tempdir().expect("temporary folder");
    let error =
        process(&recipe, folder.path(), &mut Watch::new()).expect("is not killed").expect_err("is stopped");
    assert!(matches!(&error, RunError::Engine(EngineError::BrokenWeights { .. })), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("learning rate")), "{error}");
    let checkpoints = crate::run::list_checkpoints(&RunDirectory::new(folder.path()).checkpoints());
    let newest = checkpoints.expect("a folder").pop().expect("a checkpoint");
    assert_eq!(newest.step, 12, "the end of the sound stage");
    let (model, _, _) = newest_bytes(folder.path());
    let tensors = model.chunks_exact(4).filter(|bytes| bytes[3] & 0x7f == 0x7f && bytes[2] & 0x80 != 0);
    assert_eq!(tensors.count(), 0, "no number is infinite or none");
}

/// The precision that the first process resolved is the run's, whatever the next machine would choose.
#[test]
fn the_precision_is_frozen_with_the_recipe() {
    let recipe = recipe();
    assert_eq!(recipe.optimizer.precision, None);
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut watch = Watch::new();
    watch.stop_after = Some(3);
    process(&recipe, folder.path(), &mut watch).expect("is not killed").expect("meets no error");
    let run = RunDirectory::new(folder.path());
    let frozen = run.frozen_recipe().expect("reads").expect("is there").optimizer.precision;
    assert_eq!(frozen, Some(resolved_precision(&recipe.architecture, None)));
    // As if another kind of processor had begun.
    let other = if frozen == Some(Precision::Bf16) { "f32" } else { "bf16" };
    let text = fs::read_to_string(run.recipe()).expect("reads");
    let other_text = text
        .replace("precision = \"bf16\"", &format!("precision = \"{other}\""))
        .replace("precision = \"f32\"", &format!("precision = \"{other}\""));
    assert_ne!(text, other_text);
    fs::write(run.recipe(), other_text).expect("written");
    assert_eq!(
        check(&order(&recipe, folder.path())).expect("is fine").standing,
        Standing::Resumes { step: 3 }
    );
    // Stated, it has to be the same.
    let mut stated = recipe.clone();
    stated.optimizer.precision = frozen;
    let refused = check(&order(&stated, folder.path())).expect_err("is refused");
    assert!(refused.to_string().contains("optimizer.precision is"), "{refused}");
    // A run of an older program does not say.
    let silent: String =
        text.lines().filter(|line| !line.starts_with("precision")).map(|line| format!("{line}\n")).collect();
    fs::write(run.recipe(), silent).expect("written");
    assert!(check(&order(&recipe, folder.path())).is_ok());
}

#[test]
fn data_that_is_not_there_leaves_nothing_behind() {
    let mut recipe = recipe();
    recipe.data.train = DataSource::Webdataset { shards: vec!["none-{0..1}.tar".into()] };
    let folder = tempfile::tempdir().expect("temporary folder");
    let directory = folder.path().join("runs/one");
    let error =
        process(&recipe, &directory, &mut Watch::new()).expect("is not killed").expect_err("is refused");
    assert!(error.to_string().contains("none-0.tar") && error.hint().is_some(), "{error}");
    assert!(fs::read_dir(folder.path()).expect("reads").next().is_none());
}

#[test]
fn a_check_says_what_would_happen_and_writes_nothing() {
    let recipe = recipe();
    let folder = tempfile::tempdir().expect("temporary folder");
    let directory = folder.path().join("run");
    let checked = check(&order(&recipe, &directory)).expect("is fine");
    assert_eq!((checked.standing, checked.training_samples), (Standing::New, Samples(4096)));
    assert_eq!(checked.evaluation_samples, Samples(96));
    assert!(!directory.exists());
    let mut watch = Watch::new();
    watch.stop_after = Some(5);
    process(&recipe, &directory, &mut watch).expect("is not killed").expect("meets no error");
    let standing = check(&order(&recipe, &directory)).expect("is fine").standing;
    assert_eq!(standing, Standing::Resumes { step: 5 });
}
