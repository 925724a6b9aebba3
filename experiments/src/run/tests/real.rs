//! The same with a real model on the procedural generator.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use shoestring_planner::recipe::{DataSource, Recipe};
use shoestring_planner::units::Samples;

use super::{Killed, Watch, newest_bytes, small_recipe};
use crate::records::{MetricsLine, read_lines};
use crate::run::{Options, Order, Outcome, RunDirectory, RunError, Standing, check, start};

/// Two stages of a few steps each.
fn recipe() -> Recipe {
    let mut recipe = small_recipe();
    recipe.stages[0].samples = Samples(192);
    recipe.stages[1].samples = Samples(96);
    recipe.checkpoint.every_cap_fraction = 1e-9;
    recipe
}

fn order<'a>(recipe: &'a Recipe, directory: &'a Path) -> Order<'a> {
    Order { recipe, text: "", folder: Path::new(""), directory }
}

fn process(recipe: &Recipe, directory: &Path, watch: &mut Watch) -> Option<Result<Outcome, RunError>> {
    let options = Options { clock: watch.clock.clone(), stop: Arc::clone(&watch.stop), ..Options::default() };
    match catch_unwind(AssertUnwindSafe(|| start(&order(recipe, directory), &options, watch))) {
        Ok(result) => Some(result),
        Err(thrown) if thrown.is::<Killed>() => None,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[test]
fn killed_and_interrupted_training_ends_with_the_same_bits() {
    let recipe = recipe();
    let folder = tempfile::tempdir().expect("temporary folder");
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    let mut watch = Watch::new();
    let outcome = process(&recipe, &whole, &mut watch).expect("is not killed").expect("meets no error");
    let Outcome::Finished(summary) = outcome else { panic!("finishes") };
    assert_eq!((summary.step, summary.samples_seen), (18, 288));
    let last = summary.evaluation.expect("an evaluation");
    assert!(last.is_final && last.classes > 1 && last.samples == 96);

    for (killed_after, stop_after) in [(Some(9), None), (None, Some(10)), (Some(14), None), (Some(12), None)]
    {
        let mut watch = Watch::new();
        (watch.killed_after, watch.stop_after) = (killed_after, stop_after);
        if let Some(result) = process(&recipe, &pieces, &mut watch) {
            assert!(matches!(result, Ok(Outcome::Interrupted(_)) if stop_after.is_some()), "{result:?}");
        }
    }
    let result = process(&recipe, &pieces, &mut Watch::new()).expect("is not killed");
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
