//! Never over the cap, whatever the machine does.

use proptest::prelude::*;
use shoestring_ledger::{Kind, Purpose, verify};
use shoestring_planner::units::Usd;

use super::{Watch, outcome, process, recipe_with_cap_seconds};
use crate::run::{Outcome, RunDirectory};

/// Seconds that the clock has run, in micro-dollars at one a second: what the machine really cost.
fn real_cost(watch: &Watch) -> Usd {
    use shoestring_ledger::Clock;
    Usd::from_micros(watch.clock.elapsed().as_secs_f64().ceil() as i64)
}

#[test]
fn enough_money_finishes_and_every_second_is_charged() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recipe = recipe_with_cap_seconds(1000);
    let mut watch = Watch::new();
    let Outcome::Finished(summary) = outcome(&recipe, folder.path(), &mut watch) else { panic!("finishes") };
    assert_eq!((summary.step, summary.steps, summary.samples_seen), (80, 80, 1280));
    assert_eq!(watch.steps, (1..=80).collect::<Vec<u64>>());
    let at: Vec<(u64, bool)> = watch.evaluations.iter().map(|line| (line.step, line.is_final)).collect();
    assert_eq!(at, [(30, false), (60, false), (70, false), (80, true)]);
    let contents = verify(&RunDirectory::new(folder.path()).ledger()).expect("is sound");
    assert_eq!(contents.account.reserved(), Usd::ZERO);
    // Each settlement rounds up to a whole micro-dollar, here a second.
    let settlements = contents.rows.iter().filter(|row| row.kind == Kind::Settle).count() as i64;
    let (settled, real) = (contents.account.settled(), real_cost(&watch));
    assert!(settled >= real && settled.micros() <= real.micros() + settlements, "{settled} for {real}");
    assert_eq!(contents.account.settled_for(Purpose::Evaluate).micros(), 4 * 2, "1.2 s each, rounded up");
}

#[test]
fn the_cap_stops_training_with_a_checkpoint_and_an_evaluation_of_the_last_step() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recipe = recipe_with_cap_seconds(60);
    let mut watch = Watch::new();
    let Outcome::CapReached(summary) = outcome(&recipe, folder.path(), &mut watch) else { panic!("stops") };
    assert!(summary.spent <= summary.cap && summary.step > 20, "{summary:?}");
    assert_eq!(Some(&summary.step), watch.steps.last(), "the checkpoint has all the work");
    let last = watch.evaluations.last().expect("an evaluation");
    assert!(last.is_final && last.step == summary.step);

    let ledger = RunDirectory::new(folder.path()).ledger();
    let before = std::fs::read(&ledger).expect("reads");
    let Outcome::CapReached(again) = outcome(&recipe, folder.path(), &mut watch) else { panic!("stays so") };
    assert!(again.already_ended && again.spent == summary.spent);
    assert_eq!(std::fs::read(&ledger).expect("reads"), before, "nothing is written or spent");
}

#[test]
fn steps_that_suddenly_take_ten_times_as_long_do_not_break_the_cap() {
    for cap in [40, 47, 55, 63, 90, 131] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let recipe = recipe_with_cap_seconds(cap);
        let mut watch = Watch::new();
        watch.step_seconds = |step| if step > 25 { 2.0 } else { 0.2 };
        let Outcome::CapReached(summary) = outcome(&recipe, folder.path(), &mut watch) else {
            panic!("stops")
        };
        assert!(real_cost(&watch) <= summary.cap, "cap {cap}: the clock says {}", real_cost(&watch));
        assert!(summary.spent <= summary.cap);
        assert_eq!(Some(&summary.step), watch.steps.last(), "cap {cap}: the work is saved");
        assert!(watch.evaluations.last().is_some_and(|line| line.is_final), "cap {cap}: and evaluated");
    }
}

#[test]
fn one_step_longer_than_everything_is_charged_up_to_the_cap_and_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recipe = recipe_with_cap_seconds(100);
    let mut watch = Watch::new();
    watch.step_seconds = |step| if step == 20 { 500.0 } else { 1.0 };
    let Outcome::CapReached(summary) = outcome(&recipe, folder.path(), &mut watch) else { panic!("stops") };
    assert_eq!(summary.spent, summary.cap);
    assert!(watch.heard("longer than all that was left"), "{:?}", watch.messages);
    assert!(watch.heard("no money is left for a checkpoint"), "{:?}", watch.messages);
    assert!(summary.checkpoint.is_some_and(|path| path.join("DONE").exists()), "an older one is there");
}

#[test]
fn a_cap_that_pays_for_next_to_nothing_ends_at_once_and_in_order() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recipe = recipe_with_cap_seconds(1);
    let mut watch = Watch::new();
    let Outcome::CapReached(summary) = outcome(&recipe, folder.path(), &mut watch) else { panic!("stops") };
    assert!(summary.spent <= summary.cap);
    assert_eq!(watch.steps.len(), summary.step as usize);
}

#[test]
fn free_time_is_not_stopped() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut recipe = recipe_with_cap_seconds(1);
    recipe.hardware.usd_per_hour = Usd::ZERO;
    let mut watch = Watch::new();
    watch.step_seconds = |_| 400.0;
    let Outcome::Finished(summary) = outcome(&recipe, folder.path(), &mut watch) else { panic!("finishes") };
    assert_eq!(summary.spent, Usd::ZERO);
    assert_eq!(summary.step, 80);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_machine_does_and_however_often_it_dies(
        cap in 5i64..400,
        pace in 0usize..4,
        batch_seconds in 0.0..2.0f64,
        checkpoint_seconds in 0.0..5.0f64,
        kills in prop::collection::vec(0usize..60, 0..8),
    ) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let recipe = recipe_with_cap_seconds(cap);
        let paces: [fn(u64) -> f64; 4] = [
            |_| 1.0,
            |step| (step % 7) as f64,
            |step| if step % 20 == 0 { 30.0 } else { 0.3 },
            |step| step as f64 / 10.0,
        ];
        let ledger = RunDirectory::new(folder.path()).ledger();
        let mut settled = Usd::ZERO;
        let mut spent = Usd::ZERO;
        for killed_after in kills.into_iter().map(Some).chain([None]) {
            let mut watch = Watch::new();
            watch.step_seconds = paces[pace];
            watch.evaluation_batch_seconds = batch_seconds;
            watch.checkpoint_seconds = checkpoint_seconds;
            watch.killed_after = killed_after;
            let ended = process(&recipe, folder.path(), &mut watch);
            let account = verify(&ledger).expect("is sound at every moment").account;
            prop_assert!(account.spent() <= account.cap());
            prop_assert!(account.settled() >= settled && account.spent() >= spent, "nothing is taken back");
            (settled, spent) = (account.settled(), account.spent());
            match ended {
                None => prop_assert!(killed_after.is_some()),
                Some(Ok(Outcome::Finished(summary))) => prop_assert_eq!(summary.step, 80),
                Some(Ok(Outcome::CapReached(_))) => {}
                Some(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
