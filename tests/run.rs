//! From a recipe to a report, as a user does it.

use std::fs;

use crate::harness::{Sandbox, json_lines};

const SMALL: &str = include_str!("recipes/small.toml");

#[test]
fn a_recipe_written_by_hand_is_carried_out_accounted_and_reported() {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", SMALL);
    let dry = sandbox.ok(&["run", "small.toml", "--dry-run"]);
    assert!(dry.stdout.contains("nothing was written or spent"), "{}", dry.snapshot());
    assert!(!sandbox.path("runs").exists());

    let done = sandbox.ok(&["run", "small.toml", "--format", "json"]).json();
    assert_eq!(done["outcome"], "finished");
    let run = sandbox.path("runs/small");
    for file in ["recipe.toml", "ledger.jsonl", "metrics.jsonl", "eval.jsonl", "run.log"] {
        assert!(run.join(file).exists(), "{file}");
    }

    let metrics = json_lines(&run.join("metrics.jsonl"));
    let last = metrics.last().expect("metrics");
    assert_eq!(last["samples_seen"], 1280);
    assert_eq!(last["step"], 80);
    assert!(metrics.iter().all(|line| line["loss"].as_f64().is_some_and(f64::is_finite)));

    let evaluations = json_lines(&run.join("eval.jsonl"));
    let stages: Vec<_> = evaluations.iter().map(|line| line["stage"].as_str().expect("stage")).collect();
    assert_eq!(stages, ["pretrain", "pretrain", "finetune", "finetune"]);
    assert_eq!(evaluations.last().expect("evaluations")["final"], true);

    let ledger = sandbox.ok(&["ledger", "show", "runs/small", "--format", "json"]).json();
    assert!(ledger["spent_usd"].as_f64() <= ledger["cap_usd"].as_f64());
    assert!(ledger["spent_usd"].as_f64() > Some(0.0));
    assert_eq!(ledger["reserved_usd"], 0.0);

    let before = fs::read(run.join("ledger.jsonl")).expect("ledger");
    let again = sandbox.ok(&["run", "small.toml", "--format", "json"]).json();
    assert_eq!(again["outcome"], "finished");
    assert_eq!(before, fs::read(run.join("ledger.jsonl")).expect("ledger"), "finished work costs nothing");

    let status = sandbox.ok(&["status", "--format", "json"]).json();
    assert_eq!(status["schema"], "shoestring.status");
    assert_eq!(status["runs"][0]["state"], "finished");

    let report = sandbox.ok(&["report", "runs/small"]);
    let page = fs::read_to_string(sandbox.path("report/index.html")).expect("page");
    assert!(page.contains("small") && !page.contains("<script"), "{}", report.snapshot());
    assert!(report.stdout.trim_end().ends_with("report/index.html"), "{}", report.snapshot());
}

#[test]
fn the_cap_stops_a_run_with_a_checkpoint_an_evaluation_and_its_own_exit_code() {
    let sandbox = Sandbox::new();
    // About four seconds of this machine's time for work that takes minutes.
    sandbox.write(
        "tight.toml",
        SMALL.replace("cap_usd = 1.0", "cap_usd = 0.0007").replace("samples = 960", "samples = 960000"),
    );
    let said = sandbox.run(&["run", "tight.toml", "--dir", "tight", "--format", "json"]);
    assert_eq!(said.code, 4, "{}", said.snapshot());
    assert_eq!(said.json()["outcome"], "cap_reached");
    let ledger = sandbox.ok(&["ledger", "show", "tight", "--format", "json"]).json();
    assert!(ledger["spent_usd"].as_f64() <= Some(0.0007), "{ledger}");
    let again = sandbox.run(&["run", "tight.toml", "--dir", "tight"]);
    assert_eq!(again.code, 4, "{}", again.snapshot());
    let after = sandbox.ok(&["ledger", "show", "tight", "--format", "json"]).json();
    assert_eq!(ledger["spent_usd"], after["spent_usd"], "a run at its cap costs nothing more");
    assert!(json_lines(&sandbox.path("tight/eval.jsonl")).iter().any(|line| line["final"] == true));
    assert!(fs::read_dir(sandbox.path("tight/checkpoints")).expect("checkpoints").next().is_some());
}

#[test]
fn shards_from_data_synth_train_like_any_webdataset() {
    let sandbox = Sandbox::new();
    let synth = &[
        "data",
        "synth",
        "--out",
        "set",
        "--samples",
        "192",
        "--eval-samples",
        "48",
        "--image-size",
        "32",
        "--shards",
        "2",
    ];
    sandbox.ok(synth);
    let bytes = |name: &str| fs::read(sandbox.path(name)).expect("file");
    let before = bytes("set/dataset.toml");
    sandbox.ok(synth);
    assert_eq!(before, bytes("set/dataset.toml"), "the same command again changes nothing");

    sandbox.ok(&["calibrate", "--seconds", "1", "--out", "machine.toml"]);
    let plan = sandbox.ok(&[
        "plan",
        "--budget",
        "0.20",
        "--offer",
        "this-machine",
        "--price",
        "0.60",
        "--calibration",
        "machine.toml",
        "--data",
        "set",
        "--out",
        "recipe.toml",
    ]);
    assert!(plan.stdout.contains("this-machine"), "{}", plan.snapshot());
    let recipe = fs::read_to_string(sandbox.path("recipe.toml")).expect("recipe");
    assert!(recipe.contains("\"set/"), "paths beside the recipe are relative to it:\n{recipe}");
    let checked = sandbox.ok(&["run", "recipe.toml", "--dry-run"]);
    assert!(checked.stdout.contains("192"), "{}", checked.snapshot());
}

#[test]
fn a_report_without_runs_shows_what_the_budget_can_buy() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["report", "--out", "page"]);
    let page = fs::read_to_string(sandbox.path("page/index.html")).expect("page");
    assert!(page.contains("CLIPA"), "published runs are on the page");
    let frontier = fs::read_to_string(sandbox.path("page/tables/frontier.csv")).expect("frontier");
    assert!(frontier.lines().count() > 5, "{frontier}");
}
