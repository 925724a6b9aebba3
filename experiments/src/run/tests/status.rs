//! Where a run stands, by its files.

use std::path::Path;

use shoestring_ledger::{Draft, Journal, Kind, Row};
use shoestring_planner::recipe::{Planned, PlannedStage, Recipe};
use shoestring_planner::units::{Hours, Usd};

use super::{Watch, outcome, recipe_with_cap_seconds};
use crate::run::{Outcome, RunDirectory};
use crate::status::{RunState, Status, read};

/// A row of somebody else's in the ledger of a run that nobody holds.
fn add(directory: &Path, kind: Kind, micros: i64) -> Vec<Row> {
    let path = RunDirectory::new(directory).ledger();
    let (mut journal, _) = Journal::open_alone(&path).expect("opens");
    let time = journal.rows().last().expect("has rows").time;
    let draft = Draft { amount: Some(Usd::from_micros(micros)), ..Draft::new(kind, time) };
    journal.append(draft).expect("follows");
    journal.rows().to_vec()
}

fn status(directory: &Path) -> Status {
    read(directory).expect("reads")
}

#[test]
fn spend_that_is_taken_in_does_not_unfinish_a_run() {
    for (cap, finishes) in [(1000, true), (60, false)] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let recipe = recipe_with_cap_seconds(cap);
        let before = outcome(&recipe, folder.path(), &mut Watch::new()).summary().clone();
        let expected = if finishes { RunState::Finished } else { RunState::CapReached };
        assert_eq!(status(folder.path()).state, expected);
        add(folder.path(), Kind::Import, 7);
        let rows = add(folder.path(), Kind::Adjust, 2);
        let now = status(folder.path());
        assert_eq!(now.state, expected);
        // It is told where that is above the cap, and of nothing else.
        let over = now.spent > now.cap;
        let told = now.warnings.iter().filter(|text| text.contains("above the cap")).count();
        assert_eq!((told, now.warnings.len()), (usize::from(over), usize::from(over)), "{:?}", now.warnings);
        assert_eq!(now.spent.micros(), before.spent.micros() + 9);
        // Nor does the same command do anything.
        let mut watch = Watch::new();
        let again = outcome(&recipe, folder.path(), &mut watch);
        assert!(again.summary().already_ended && watch.steps.is_empty(), "{again:?}");
        // But for the note that its clock is behind the other's, which here is so.
        let after = shoestring_ledger::read(&RunDirectory::new(folder.path()).ledger()).expect("reads").rows;
        assert!(after[rows.len()..].iter().all(|row| row.kind == Kind::Note), "{} rows", after.len());
    }
}

#[test]
fn a_credit_lets_a_run_that_reached_its_cap_go_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recipe = recipe_with_cap_seconds(60);
    let before = outcome(&recipe, folder.path(), &mut Watch::new()).summary().clone();
    add(folder.path(), Kind::Adjust, -30);
    assert_eq!(status(folder.path()).state, RunState::Interrupted);
    let after = outcome(&recipe, folder.path(), &mut Watch::new());
    assert!(matches!(after, Outcome::CapReached(_)), "{after:?}");
    assert!(after.summary().step > before.step + 10, "{before:?} {after:?}");
    assert!(after.summary().spent <= after.summary().cap);
}

/// Interrupted after ten of the sixty steps of the first stage, each of a second; nothing is evaluated.
fn forecast(recipe: &Recipe) -> Status {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut watch = Watch::new();
    watch.stop_after = Some(10);
    outcome(recipe, folder.path(), &mut watch);
    status(folder.path())
}

#[test]
fn a_forecast_of_a_later_stage_takes_the_plan_s_ratio_and_not_the_first_stage_s_rate() {
    let mut recipe = recipe_with_cap_seconds(100_000);
    recipe.data.evaluation = None;
    for seconds_of_later_step in [0.25, 5.0, 12.0] {
        // The plan thinks this machine three times as fast as it is; the ratio of its stages holds all the same.
        let planned = |name: &str, seconds: f64| PlannedStage {
            name: name.into(),
            cost_usd: Usd::ZERO,
            hours: Hours::from_seconds(seconds / 3.0),
        };
        recipe.planned = Some(Planned {
            command: String::new(),
            cost_usd: Usd::ZERO,
            hours: Hours::from_seconds(0.0),
            accuracy_percent: None,
            stages: vec![planned("pretrain", 60.0), planned("finetune", 20.0 * seconds_of_later_step)],
        });
        let status = forecast(&recipe);
        let left = status.seconds_left.expect("is known");
        let expected = 50.0 + 20.0 * seconds_of_later_step;
        assert!((left - expected).abs() < 1.0, "{left} for {expected}");
        // At a micro-dollar a second.
        let whole = status.forecast.expect("is known").micros() - status.settled.micros();
        assert!((whole as f64 - expected).abs() < 2.0, "{whole} for {expected}");
    }
}

#[test]
fn a_forecast_has_what_was_spent_elsewhere_in_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recipe = recipe_with_cap_seconds(100_000);
    let mut watch = Watch::new();
    watch.stop_after = Some(10);
    outcome(&recipe, folder.path(), &mut watch);
    let before = status(folder.path()).forecast.expect("is known");
    add(folder.path(), Kind::Import, 4_000);
    let after = status(folder.path()).forecast.expect("is known");
    assert_eq!((after - before).micros(), 4_000);
}
