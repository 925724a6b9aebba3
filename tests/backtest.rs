//! The law fitted, drawn and back-tested from outside.

use std::fs;

use crate::harness::Sandbox;

const STORED: &str = include_str!("../planner/data/law.toml");
const RUNS: &str = include_str!("../planner/data/runs.csv");
const REFERENCE: &str = include_str!("../planner/tests/fixtures/reference-runs.csv");

#[test]
fn the_fit_says_its_rule_and_its_errors_and_writes_the_same_bytes() {
    let sandbox = Sandbox::new();
    sandbox.write("runs.csv", RUNS);
    let said = sandbox.ok(&["law", "fit", "--out", "law.toml"]);
    for words in
        ["571 are comparable", "fixed before anything is fitted", "another name", "leave one paper out"]
    {
        assert!(said.stdout.contains(words), "{words}\n{}", said.snapshot());
    }
    let again = sandbox.ok(&["law", "fit", "--runs", "runs.csv", "--out", "again.toml", "--format", "json"]);
    let (first, second) = (sandbox.path("law.toml"), sandbox.path("again.toml"));
    assert_eq!(fs::read(&first).expect("written"), fs::read(second).expect("written"));
    // Other processors round the last digits differently: the first lines are equal, the numbers nearly.
    let written = fs::read_to_string(first).expect("text");
    assert_eq!(written.lines().take(5).collect::<Vec<_>>(), STORED.lines().take(5).collect::<Vec<_>>());
    let object = again.json();
    assert_eq!(object["schema"], "shoestring.law_fit");
    let (one, paper) = (&object["leave_one_out_mae_points"], &object["leave_paper_out_mae_points"]);
    assert!(one.as_f64() < paper.as_f64() && one.as_f64() > object["in_sample_mae_points"].as_f64());
    assert!(again.stdout.contains("\"reported_twice\""));
}

#[test]
fn the_table_stands_beside_the_fit_and_can_be_drawn() {
    let sandbox = Sandbox::new();
    let said = sandbox.ok(&["law", "--arch", "H/14", "--drop", "1", "--plot", "law.svg"]);
    assert!(said.stdout.contains("ViT-H-14-CLIPA") && said.stderr.contains("law-text.svg written"));
    for name in ["law.svg", "law-text.svg"] {
        let picture = fs::read_to_string(sandbox.path(name)).expect("written");
        assert!(picture.starts_with("<svg") && picture.contains("tokens in pretraining"), "{name}");
    }
    sandbox.ok(&["law", "--plot", "law.png", "--reduction", "block", "--text-reduction", "random"]);
    assert!(fs::read(sandbox.path("law-text.png")).expect("written").starts_with(b"\x89PNG"));
    let wrong = sandbox.run(&["law", "--plot", "law.pdf"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("hint:"), "{}", wrong.snapshot());
    assert_eq!(sandbox.run(&["law", "--drop", "1", "fit"]).code, 2);
    let unknown = sandbox.run(&["law", "--arch", "zzzz"]);
    assert!(
        unknown.code == 2 && unknown.stderr.contains("hint: `shoestring law` lists"),
        "{}",
        unknown.snapshot()
    );
}

#[test]
fn the_back_test_writes_a_line_for_every_prediction() {
    let sandbox = Sandbox::new();
    let said = sandbox.ok(&["backtest", "--out", "figures", "--format", "csv"]);
    assert_eq!(fs::read_to_string(sandbox.path("figures/backtest.csv")).expect("written"), said.stdout);
    for name in ["backtest.svg", "backtest.png", "backtest-hours.svg", "backtest-hours.png"] {
        assert!(sandbox.path("figures").join(name).is_file(), "{name}");
    }
    let header = said.stdout.lines().next().expect("a header");
    assert_eq!(header, "test,id,paper,quantity,reported,predicted,p10,p90,hit,counted");
    for start in [
        "leave_one_out,clipav2-H14-dc-70-224,",
        "leave_paper_out,clipav2-H14-dc-70-224,",
        "clipa_v2_left_out,clipav2-H14-dc-70-224,",
        "run_left_out,clipav2-H14-dc-70-224,CLIPA-v2 (2306.15658),device_hours,5920.0000,",
        "run_left_out,clipav2-H14-dc-70-224,CLIPA-v2 (2306.15658),cost_usd,9324.0000,",
        "point_left_out,image_resize_after_tuning 22 M",
        "leave_one_out,clipav2-H14-dc-70-224,CLIPA-v2 (2306.15658),coco_image_r1_percent,49.1000,",
        "leave_paper_out,clipav2-H14-dc-70-224,CLIPA-v2 (2306.15658),flickr_text_r1_percent,92.4000,",
    ] {
        assert!(said.stdout.lines().any(|line| line.starts_with(start)), "{start}");
    }
}

#[test]
fn runs_of_a_file_are_predicted_by_a_law_that_has_not_seen_them() {
    let sandbox = Sandbox::new();
    sandbox.write("mine.csv", REFERENCE);
    let object = sandbox.ok(&["backtest", "--runs", "mine.csv", "--format", "json"]).json();
    assert_eq!(object["schema"], "shoestring.backtest_file");
    let left_out = object["left_out_of_the_fit"].as_array().expect("a list");
    assert!(left_out.iter().any(|id| id == "clipav2-H14-dc-70-224"), "{object:#}");
    let lines = object["predictions"].as_array().expect("a list");
    let of = |quantity: &str| {
        lines
            .iter()
            .find(|line| line["id"] == "clipav2-H14-dc-70-224" && line["quantity"] == quantity)
            .unwrap_or_else(|| panic!("{quantity} in {object:#}"))
    };
    assert_eq!(of("accuracy_percent")["reported"], 81.1);
    assert_eq!(
        (&of("device_hours")["reported"], &of("cost_usd")["reported"]),
        (&5920.0.into(), &9324.0.into())
    );
    let runs = object["runs"].as_array().expect("a list");
    let incomplete = runs.iter().find(|run| run["id"] == "siglip-32tpuv4-2days").expect("listed");
    assert_eq!(
        (&incomplete["predicted"], &incomplete["not_counted_because"]),
        (&false.into(), &"incomplete".into())
    );
    sandbox.ok(&["backtest", "--runs", "mine.csv"]);
}

#[test]
fn a_bad_table_is_refused_with_file_line_column_and_value() {
    let sandbox = Sandbox::new();
    sandbox.write("mine.csv", REFERENCE.replacen(",25,0,resize,", ",36,0,resize,", 1));
    let said = sandbox.run(&["backtest", "--runs", "mine.csv"]);
    assert_eq!(said.code, 2, "{}", said.snapshot());
    assert!(said.stderr.contains("pretrain_image_tokens = `36`") && said.stderr.contains("hint:"));
    assert!(said.stderr.contains("error: mine.csv:") && said.stdout.is_empty(), "{}", said.snapshot());
    sandbox.write("short.csv", REFERENCE.replacen("imagenet_zero_shot_top1", "imagenet_top1", 1));
    let said = sandbox.run(&["law", "fit", "--runs", "short.csv", "--out", "law.toml"]);
    assert!(said.code == 2 && said.stderr.contains("short.csv:1: the column"), "{}", said.snapshot());
    assert!(!sandbox.path("law.toml").exists());
    assert_eq!(sandbox.run(&["backtest", "--runs", "nowhere.csv"]).code, 1);
    sandbox.write("few.csv", REFERENCE);
    let said = sandbox.run(&["law", "fit", "--runs", "few.csv"]);
    assert!(said.code == 1 && said.stderr.contains("at least"), "{}", said.snapshot());
}
