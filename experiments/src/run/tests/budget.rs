//! Schedules that follow the money, prices that move, money that is not all for this process.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use shoestring_ledger::{Clock, Kind, verify};
use shoestring_planner::recipe::{Billing, Recipe, ScheduleProgress};
use shoestring_planner::units::Usd;

use super::toy::Toy;
use super::{Watch, outcome, process};
use crate::records::{MetricsLine, ReplanLine, read_lines};
use crate::run::start::carry_out;
use crate::run::{Compute, Options, Order, Outcome, RunDirectory};

/// The recipe of the tests with a schedule that follows the money.
fn recipe_with_cap_seconds(seconds: i64) -> Recipe {
    let mut recipe = super::recipe_with_cap_seconds(seconds);
    recipe.budget.schedule_progress = ScheduleProgress::Budget;
    recipe
}

fn cost(watch: &Watch) -> Usd {
    Usd::from_micros(watch.clock.elapsed().as_secs_f64().ceil() as i64)
}

fn metrics(directory: &Path) -> Vec<MetricsLine> {
    read_lines(&RunDirectory::new(directory).metrics()).expect("reads")
}

fn replans(directory: &Path) -> Vec<ReplanLine> {
    read_lines(&RunDirectory::new(directory).replans()).expect("reads")
}

/// One process on the toy with more than the usual options.
fn with_options(
    recipe: &Recipe,
    directory: &Path,
    watch: &mut Watch,
    change: impl FnOnce(&mut Options),
) -> Outcome {
    let mut options =
        Options { clock: watch.clock.clone(), stop: Arc::clone(&watch.stop), ..Options::default() };
    change(&mut options);
    let order = Order { recipe, text: "", folder: Path::new("/"), directory, compute: Compute::Auto };
    carry_out(&order, recipe, &options, watch, &mut Toy::new(recipe)).expect("meets no error")
}

/// Progress that the last step of each stage was trained at, and its steps.
fn ends(directory: &Path, stage: &str) -> (f64, u64) {
    let lines = metrics(directory);
    let last = lines.iter().rev().find(|line| line.stage == stage).expect("the stage was trained");
    (last.schedule_progress.expect("is there"), last.stage_step)
}

#[test]
fn a_machine_that_becomes_ten_times_slower_anneals_both_stages_within_the_cap() {
    for (cap, slow) in [(300, 10.0), (400, 10.0), (150, 3.0)] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let recipe = recipe_with_cap_seconds(cap);
        let mut watch = Watch::new();
        watch.step_seconds = if slow > 5.0 {
            |step| if step > 15 { 10.0 } else { 1.0 }
        } else {
            |step| if step > 15 { 3.0 } else { 1.0 }
        };
        let Outcome::CapReached(summary) = outcome(&recipe, folder.path(), &mut watch) else {
            panic!("cap {cap}: cannot do everything")
        };
        assert!(cost(&watch) <= summary.cap, "cap {cap}: the clock says {}", cost(&watch));
        let replans = replans(folder.path());
        assert!(!replans.is_empty() && watch.heard("the money left pays for"), "{:?}", watch.messages);
        assert!(!watch.heard("for the stages after this one"), "cap {cap}: {:?}", watch.messages);
        for stage in ["pretrain", "finetune"] {
            let (progress, steps) = ends(folder.path(), stage);
            // Trained to the end of its schedule: the last of n steps is one n-th of the rest before it.
            let last = replans.iter().rev().find(|line| line.replan.stage == stage);
            let Some(last) = last.map(|line| &line.replan) else {
                // What was left paid for all of it.
                let planned = recipe.stages.iter().find(|one| one.name == stage).expect("a stage").steps();
                assert_eq!(steps, planned, "cap {cap}: {stage}: {:?}", watch.messages);
                continue;
            };
            assert_eq!(steps, last.steps_now, "cap {cap}: {stage}: {:?}", watch.messages);
            let end = (1.0 - last.progress) / (last.steps_now - last.stage_step).max(1) as f64;
            assert!(1.0 - progress < 2.01 * end, "{stage} ends at {progress}");
        }
        assert_eq!(Some(&summary.step), watch.steps.last(), "cap {cap}: the work is saved");
        assert!(watch.evaluations.last().is_some_and(|line| line.is_final), "cap {cap}: and evaluated");
        // Without the budget's index the second stage is never reached, and nothing is annealed.
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut plain = recipe;
        plain.budget.schedule_progress = ScheduleProgress::Samples;
        let mut other = Watch::new();
        other.step_seconds = watch.step_seconds;
        outcome(&plain, folder.path(), &mut other);
        assert!(cost(&other) <= summary.cap);
        let (progress, _) = ends(folder.path(), "pretrain");
        assert!(progress < 0.95, "cap {cap}: {progress}");
    }
}

#[test]
fn evaluations_that_are_over_or_never_come_hold_no_money() {
    let folder = tempfile::tempdir().expect("temporary folder");
    // Half of the steps are left when the machine becomes slower, and none of the evaluations on the way is.
    let mut recipe = recipe_with_cap_seconds(200);
    recipe.stages.truncate(1);
    recipe.checkpoint.every_cap_fraction = 1.0;
    let mut watch = Watch::new();
    watch.step_seconds = |step| if step > 30 { 8.0 } else { 1.0 };
    watch.evaluation_batch_seconds = 1.0;
    let Outcome::CapReached(summary) = outcome(&recipe, folder.path(), &mut watch) else { panic!() };
    let at: Vec<(u64, bool)> = watch.evaluations.iter().map(|line| (line.step, line.is_final)).collect();
    assert_eq!(at, [(30, false), (summary.step, true)]);
    // 36 s before, 6 and the last evaluation, which takes as much longer as the steps for all that is known: 72 s
    // are held for it. A step less than nine fits into the rest.
    let left = (summary.cap - summary.spent).micros();
    assert!(summary.step >= 37, "{} steps, {left} s left: {:?}", summary.step, watch.messages);
    let (progress, steps) = ends(folder.path(), "pretrain");
    assert!(1.0 - progress < 2.0 * 0.5 / (steps - 31) as f64, "{progress} at {steps}");
}

#[test]
fn dear_evaluations_on_the_way_go_before_steps_do() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut recipe = recipe_with_cap_seconds(150);
    recipe.checkpoint.every_cap_fraction = 1.0;
    let mut watch = Watch::new();
    watch.step_seconds = |step| if step > 10 { 2.0 } else { 1.0 };
    watch.evaluation_batch_seconds = 2.0;
    outcome(&recipe, folder.path(), &mut watch);
    assert!(watch.heard("not evaluated, which would take"), "{:?}", watch.messages);
    let at: Vec<bool> = watch.evaluations.iter().map(|line| line.is_final).collect();
    assert_eq!(at, [false, true], "the first shows how dear they are");
    assert!(ends(folder.path(), "finetune").1 > 10, "{:?}", watch.messages);
}

#[test]
fn a_machine_that_recovers_has_steps_back() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut recipe = recipe_with_cap_seconds(190);
    recipe.checkpoint.every_cap_fraction = 0.1;
    let mut watch = Watch::new();
    watch.step_seconds = |step| if (16..20).contains(&step) { 4.0 } else { 1.0 };
    outcome(&recipe, folder.path(), &mut watch);
    let replans = replans(folder.path());
    assert!(replans.iter().any(|line| line.replan.steps_now < line.replan.steps_before), "{replans:?}");
    assert!(replans.iter().any(|line| line.replan.steps_now > line.replan.steps_before), "{replans:?}");
    let (progress, steps) = ends(folder.path(), "pretrain");
    let fewest = replans.iter().map(|line| line.replan.steps_now).min().expect("some");
    let why = &watch.messages;
    assert!(steps > fewest && 1.0 - progress < 2.0 / steps as f64, "{steps} steps, {progress}: {why:?}");
}

#[test]
fn a_run_on_plan_is_never_replanned() {
    let folder = tempfile::tempdir().expect("temporary folder");
    // 80 steps, four evaluations, a dozen checkpoints, and each settlement rounded up to a whole second.
    let mut recipe = recipe_with_cap_seconds(170);
    recipe.checkpoint.every_cap_fraction = 0.1;
    let mut watch = Watch::new();
    let Outcome::Finished(summary) = outcome(&recipe, folder.path(), &mut watch) else { panic!("finishes") };
    assert_eq!((summary.step, replans(folder.path()).len()), (80, 0));
}

#[test]
fn a_resumed_schedule_is_a_function_of_what_the_checkpoint_records() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recipe = recipe_with_cap_seconds(200);
    let slow: fn(u64) -> f64 = |step| if step > 15 { 4.0 } else { 1.0 };
    for stop_after in [Some(20), Some(26), None] {
        let mut watch = Watch::new();
        (watch.step_seconds, watch.stop_after) = (slow, stop_after);
        outcome(&recipe, folder.path(), &mut watch);
    }
    let directory = RunDirectory::new(folder.path());
    let newest = crate::run::list_checkpoints(&directory.checkpoints()).expect("reads").pop().expect("one");
    let state = crate::run::checkpoint::read_state(&newest.path).expect("is whole");
    assert!(state.replans.len() > 1);
    for line in metrics(folder.path()) {
        let stage = recipe.stages.iter().find(|stage| stage.name == line.stage).expect("a stage");
        let known: Vec<_> = state.replans.iter().filter(|replan| replan.step < line.step).cloned().collect();
        let pace = crate::run::pace::Pace::new(stage, &known);
        let recorded = line.schedule_progress.expect("is there");
        // The lines are read back to within the last bit.
        assert!((recorded - pace.progress(line.stage_step - 1)).abs() < 1e-15, "step {}", line.step);
    }
}

#[test]
fn no_more_is_spent_than_asked_for_and_the_same_command_goes_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recipe = recipe_with_cap_seconds(1000);
    let mut at = 0;
    for until in [40, 40, 75] {
        let mut watch = Watch::new();
        let asked = Usd::from_micros(until);
        let ended = with_options(&recipe, folder.path(), &mut watch, |options| options.until = Some(asked));
        let Outcome::Interrupted(summary) = ended else { panic!("{:?}", watch.messages) };
        assert!(summary.spent <= asked && summary.step >= at, "{summary:?}");
        assert_eq!(replans(folder.path()).len(), 0, "what is asked for is no cap");
        at = summary.step;
    }
    assert!(at > 40);
    let Outcome::Finished(summary) = outcome(&recipe, folder.path(), &mut Watch::new()) else { panic!() };
    assert_eq!(summary.step, 80);
}

#[test]
fn the_notice_of_a_spot_machine_stops_like_a_signal() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let notice = folder.path().join("notice");
    fs::write(&notice, "").expect("writes");
    let directory = folder.path().join("run");
    let recipe = recipe_with_cap_seconds(1000);
    let mut watch = Watch::new();
    let ended =
        with_options(&recipe, &directory, &mut watch, |options| options.notice = Some(notice.clone()));
    assert!(matches!(ended, Outcome::Interrupted(_)), "{ended:?}");
    fs::remove_file(&notice).expect("removes");
    let ended = with_options(&recipe, &directory, &mut Watch::new(), |options| options.notice = Some(notice));
    assert!(matches!(ended, Outcome::Finished(_)), "{ended:?}");
}

#[test]
fn a_price_that_rises_on_the_way_is_charged_and_the_cap_holds() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (price, directory) = (folder.path().join("price.toml"), folder.path().join("run"));
    let mut recipe = recipe_with_cap_seconds(150);
    recipe.hardware.max_usd_per_hour = Some(Usd::from_micros(4 * 3600));
    let mut watch = Watch::new();
    watch.stop_after = Some(20);
    let at = |options: &mut Options| options.price = Some(price.clone());
    fs::write(&price, "usd_per_hour = 0.0036\n").expect("writes");
    assert!(matches!(with_options(&recipe, &directory, &mut watch, at), Outcome::Interrupted(_)));
    let before = cost(&watch);
    fs::write(&price, "usd_per_hour = 0.0144\nsource = \"spot market, 2026-01-01\"\n").expect("writes");
    let mut watch = Watch::new();
    let at = |options: &mut Options| options.price = Some(price.clone());
    let ended = with_options(&recipe, &directory, &mut watch, at);
    assert!(matches!(ended, Outcome::CapReached(_)), "{ended:?}");
    let real = before + Usd::from_micros(4 * cost(&watch).micros());
    assert!(real <= ended.summary().cap + Usd::from_micros(4), "{real}: set-up was at the old price");
    let rows = verify(&RunDirectory::new(&directory).ledger()).expect("is sound").rows;
    let last = rows.iter().rev().find(|row| row.kind == Kind::Settle).expect("settled");
    assert_eq!(last.usd_per_hour, Some(Usd::from_micros(14_400)));
    assert_eq!(last.price_source, "spot market, 2026-01-01");
    fs::write(&price, "usd_per_hour = 0.02\n").expect("writes");
}

#[test]
fn a_price_above_what_was_reckoned_with_stops_the_run() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (price, directory) = (folder.path().join("price.toml"), folder.path().join("run"));
    let mut recipe = recipe_with_cap_seconds(1000);
    recipe.hardware.max_usd_per_hour = Some(Usd::from_micros(2 * 3600));
    fs::write(&price, "usd_per_hour = 0.02\n").expect("writes");
    let mut watch = Watch::new();
    let ended = with_options(&recipe, &directory, &mut watch, |options| options.price = Some(price));
    assert!(matches!(ended, Outcome::Interrupted(_)), "{ended:?}");
    assert!(watch.heard("more than the"), "{:?}", watch.messages);
}

#[test]
fn hours_begun_are_paid_whole_and_no_hour_is_begun_that_cannot_be_paid() {
    let folder = tempfile::tempdir().expect("temporary folder");
    // Periods of 30 s at a micro-dollar a second: 100 pay for three whole ones.
    let mut recipe = recipe_with_cap_seconds(100);
    recipe.hardware.billing = Some(Billing { increment_seconds: 30.0, minimum_seconds: 0.0 });
    let mut watch = Watch::new();
    let ended = outcome(&recipe, folder.path(), &mut watch);
    let held = watch.clock.elapsed().as_secs_f64();
    let billed = (held / 30.0).ceil() * 30.0;
    assert!(billed <= 100.0, "{billed} are billed for {held}");
    assert!(ended.summary().spent.micros() >= billed as i64, "{:?}", ended.summary());
    assert!(held > 30.0, "one period was used: {held}, {:?}", watch.messages);
}

#[test]
fn checkpoints_come_by_dollars_too_and_the_best_is_kept() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut recipe = recipe_with_cap_seconds(100_000);
    recipe.checkpoint.every_cap_fraction = 1.0;
    recipe.checkpoint.every_usd = Some(Usd::from_micros(10));
    recipe.checkpoint.keep_best = true;
    recipe.evaluation.per_stage = 5;
    let mut watch = Watch::new();
    outcome(&recipe, folder.path(), &mut watch);
    let log = fs::read_to_string(folder.path().join("run.log")).expect("a log");
    assert!(log.matches("checkpoint after step").count() >= 8, "{log}");
    let kept: Vec<u64> = crate::run::list_checkpoints(&RunDirectory::new(folder.path()).checkpoints())
        .expect("reads")
        .into_iter()
        .map(|checkpoint| checkpoint.step)
        .collect();
    assert!(kept.len() == 2 || kept.len() == 3, "{kept:?}");
    assert!(process(&recipe, folder.path(), &mut Watch::new()).is_some());
}
