//! However a run is cut into processes, it comes out the same.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use shoestring_planner::recipe::{Budget, Recipe};
use shoestring_planner::units::Usd;

use super::{Watch, newest_bytes, outcome, process, recipe_with_cap_seconds};
use crate::run::lock::RunLock;
use crate::run::{Outcome, RunDirectory, RunError, list_checkpoints};
use crate::status::{self, RunState};

fn plenty() -> Recipe {
    recipe_with_cap_seconds(100_000)
}

fn uninterrupted(recipe: &Recipe) -> (Vec<u8>, Vec<u8>, Option<Vec<u8>>) {
    let folder = tempfile::tempdir().expect("temporary folder");
    outcome(recipe, folder.path(), &mut Watch::new());
    newest_bytes(folder.path())
}

fn checkpoint_folders(directory: &Path) -> Vec<PathBuf> {
    let folder = RunDirectory::new(directory).checkpoints();
    list_checkpoints(&folder).expect("a folder").into_iter().map(|checkpoint| checkpoint.path).collect()
}

/// A run that was stopped after step 50 and left at least two checkpoints.
fn stopped(recipe: &Recipe, directory: &Path) -> Outcome {
    let mut watch = Watch::new();
    watch.stop_after = Some(50);
    let outcome = outcome(recipe, directory, &mut watch);
    assert!(checkpoint_folders(directory).len() >= 2);
    outcome
}

fn often(mut recipe: Recipe) -> Recipe {
    recipe.checkpoint.every_cap_fraction = 0.0001;
    recipe
}

#[test]
fn a_signal_checkpoints_after_the_step_at_hand_and_the_same_order_goes_on() {
    let recipe = often(plenty());
    let folder = tempfile::tempdir().expect("temporary folder");
    let Outcome::Interrupted(summary) = stopped(&recipe, folder.path()) else { panic!("is interrupted") };
    assert_eq!((summary.step, summary.samples_seen), (50, 800));
    assert_eq!(status::read(folder.path()).expect("reads").state, RunState::Interrupted);
    let mut watch = Watch::new();
    let Outcome::Finished(summary) = outcome(&recipe, folder.path(), &mut watch) else { panic!("finishes") };
    assert_eq!(summary.resumed_from, Some(50));
    assert_eq!(watch.steps.first(), Some(&51));
    assert_eq!(newest_bytes(folder.path()), uninterrupted(&recipe));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_said() {
    let recipe = often(plenty());
    for damage in ["model.safetensors", "optimizer.safetensors", "state.json", "DONE"] {
        let folder = tempfile::tempdir().expect("temporary folder");
        stopped(&recipe, folder.path());
        let newest = checkpoint_folders(folder.path()).pop().expect("a checkpoint");
        let file = newest.join(damage);
        let mut bytes = fs::read(&file).expect("reads");
        bytes[0] ^= 1;
        fs::write(&file, bytes).expect("writes");
        let mut watch = Watch::new();
        let outcome = outcome(&recipe, folder.path(), &mut watch);
        assert!(watch.heard("damaged checkpoint") && watch.heard("step-00000050"), "{:?}", watch.messages);
        assert!(outcome.summary().resumed_from.is_some_and(|step| step > 0 && step < 50), "{outcome:?}");
        assert_eq!(newest_bytes(folder.path()), uninterrupted(&recipe), "{damage}");
    }
}

#[test]
fn only_so_many_checkpoints_are_kept_and_unfinished_ones_are_removed() {
    let recipe = often(plenty());
    let folder = tempfile::tempdir().expect("temporary folder");
    stopped(&recipe, folder.path());
    let checkpoints = RunDirectory::new(folder.path()).checkpoints();
    assert_eq!(checkpoint_folders(folder.path()).len(), recipe.checkpoint.keep as usize);
    for name in [".step-00000051.tmp", "step-00000099"] {
        fs::create_dir(checkpoints.join(name)).expect("creates");
    }
    outcome(&recipe, folder.path(), &mut Watch::new());
    assert_eq!(fs::read_dir(&checkpoints).expect("reads").count(), recipe.checkpoint.keep as usize);
}

#[test]
fn another_recipe_is_refused_with_each_difference_and_touches_nothing() {
    let recipe = plenty();
    let folder = tempfile::tempdir().expect("temporary folder");
    stopped(&often(recipe.clone()), folder.path());
    let ledger = RunDirectory::new(folder.path()).ledger();
    let before = fs::read(&ledger).expect("reads");
    let mut other = often(recipe);
    other.stages[1].learning_rate = 0.5;
    let error =
        process(&other, folder.path(), &mut Watch::new()).expect("is not killed").expect_err("is refused");
    let text = error.to_string();
    assert!(text.contains("stage[1].learning_rate is 0.0001 there, 0.5 here"), "{text}");
    assert!(error.is_usage() && error.hint().is_some_and(|hint| hint.contains("frozen")));
    assert_eq!(fs::read(&ledger).expect("reads"), before);
}

#[test]
fn a_cap_may_be_raised_and_lowered_but_not_below_what_is_spent() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut recipe = recipe_with_cap_seconds(60);
    recipe.budget.schedule_progress = shoestring_planner::recipe::ScheduleProgress::Samples;
    let Outcome::CapReached(before) = outcome(&recipe, folder.path(), &mut Watch::new()) else {
        panic!("the cap is too low")
    };
    let lower = Recipe {
        budget: Budget { cap_usd: Usd::from_micros(20), ..recipe.budget.clone() },
        ..recipe.clone()
    };
    let error =
        process(&lower, folder.path(), &mut Watch::new()).expect("is not killed").expect_err("is refused");
    let text = error.to_string();
    assert!(text.contains("0.00002") && text.contains(&before.spent.to_string()), "{text}");
    let Outcome::CapReached(_) = outcome(&recipe, folder.path(), &mut Watch::new()) else {
        panic!("nothing has changed")
    };
    recipe.budget.cap_usd = Usd::from_micros(1000);
    let mut watch = Watch::new();
    let Outcome::Finished(summary) = outcome(&recipe, folder.path(), &mut watch) else { panic!("goes on") };
    assert!(summary.resumed_from == Some(before.step) && summary.cap == recipe.budget.cap_usd);
    assert!(watch.heard("the cap is raised from 0.00006 to 0.001 USD"), "{:?}", watch.messages);
    let frozen = RunDirectory::new(folder.path()).frozen_recipe().expect("reads").expect("is there");
    assert_eq!(frozen.budget.cap_usd, recipe.budget.cap_usd);
    let rows = shoestring_ledger::verify(&RunDirectory::new(folder.path()).ledger()).expect("is sound").rows;
    assert_eq!(rows.iter().filter(|row| row.kind == shoestring_ledger::Kind::Cap).count(), 1);
}

#[test]
fn a_second_process_is_refused_and_nothing_is_spent() {
    let recipe = plenty();
    let folder = tempfile::tempdir().expect("temporary folder");
    let lock = RunLock::take(folder.path(), &folder.path().join("run.lock")).expect("is free");
    let error =
        process(&recipe, folder.path(), &mut Watch::new()).expect("is not killed").expect_err("is refused");
    assert!(matches!(error, RunError::Held { elsewhere: false, .. }), "{error}");
    assert!(!folder.path().join("ledger.jsonl").exists());
    drop(lock);
    outcome(&recipe, folder.path(), &mut Watch::new());
}

#[test]
fn a_folder_of_other_things_is_no_run_directory() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::write(folder.path().join("thesis.txt"), "mine").expect("writes");
    let error =
        process(&plenty(), folder.path(), &mut Watch::new()).expect("is not killed").expect_err("is refused");
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1);
}

#[test]
fn status_tells_of_a_run_that_died_what_it_will_cost() {
    let recipe = plenty();
    let folder = tempfile::tempdir().expect("temporary folder");
    let directory = folder.path().join("runs/deep/one");
    let mut watch = Watch::new();
    // 60 steps, two evaluations of six batches, a checkpoint, and a few steps of the second stage.
    watch.killed_after = Some(78);
    assert!(process(&recipe, &directory, &mut watch).is_none());
    let status = status::read(&directory).expect("reads");
    assert_eq!(status.state, RunState::Stopped);
    // It died in the middle of its last step.
    let done = watch.steps.last().expect("steps") - 1;
    assert_eq!((status.step, status.steps, status.samples), (done, 80, 1280));
    assert!(status.reserved > Usd::ZERO && status.spent == status.settled + status.reserved);
    // 80 steps of a second, four evaluations of 1.2, two checkpoints of a second; some rounding up.
    let forecast = status.forecast.expect("has steps").micros();
    assert!((84..100).contains(&forecast), "{forecast}");
    assert_eq!(status::scan(folder.path()).expect("scans"), [directory]);
}

#[test]
fn the_comments_of_a_recipe_are_frozen_with_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    stopped(&often(plenty()), folder.path());
    let text = fs::read_to_string(folder.path().join("recipe.toml")).expect("reads");
    assert!(text.starts_with("# a comment\n"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn killed_anywhere_and_at_any_pace_the_weights_are_the_same(
        kills in prop::collection::vec(0usize..90, 1..10),
        fraction in 0.000_05..0.001f64,
        slow in any::<bool>(),
    ) {
        let mut recipe = plenty();
        recipe.checkpoint.every_cap_fraction = fraction;
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut charged = Usd::ZERO;
        for killed_after in kills.into_iter().map(Some).chain([None]) {
            let mut watch = Watch::new();
            watch.killed_after = killed_after;
            if slow {
                watch.step_seconds = |step| (step % 5) as f64 * 0.7;
            }
            let ended = process(&recipe, folder.path(), &mut watch);
            let status = status::read(folder.path()).expect("reads");
            prop_assert!(status.spent >= charged);
            charged = status.spent;
            if let Some(result) = ended {
                prop_assert!(matches!(result, Ok(Outcome::Finished(_))), "{:?}", result);
            }
        }
        prop_assert_eq!(newest_bytes(folder.path()), uninterrupted(&recipe));
    }
}
