//! `plan --own-runs`: a user's runs move the law, and the plan says how far.

use crate::harness::Sandbox;

const COLUMNS: &str = "id,paper,model,family,patch_size,image_parameters,text_parameters,dataset,unique_samples,\
    image_size_px,image_tokens,image_reduction,image_mask_ratio,text_tokens,text_reduction,samples,batch,finetune,\
    accuracy_percent";

/// A row of B/16 on DataComp-1B.
fn row(id: &str, samples: &str, accuracy: &str) -> String {
    format!(
        "{id},mine,ViT-B/16,clipa-gap-cj,16,86000000,53000000,DataComp-1B,1400000000,112,49,resize,0,16,truncate,\
         {samples},16384,224px 32tok 128000000,{accuracy}"
    )
}

/// The same, too short in every stage to say anything.
fn short(id: &str, accuracy: &str) -> String {
    row(id, "1000000", accuracy).replacen("32tok 128000000", "32tok 1000000", 1)
}

fn table(rows: &[String]) -> String {
    format!("{COLUMNS}\n{}\n", rows.join("\n"))
}

/// A small search: nearly everything is pinned.
const PLAN: [&str; 13] = [
    "plan",
    "--budget",
    "10000",
    "--offer",
    "clipa-v2-paper",
    "--data",
    "DataComp-1B",
    "--samples",
    "12.8B",
    "--arch",
    "H/14",
    "--finetune-sizes",
    "224",
];

fn planned<'a>(more: &[&'a str]) -> Vec<&'a str> {
    PLAN.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn own_runs_move_the_plan_and_the_plan_says_how_far() {
    let sandbox = Sandbox::new();
    // Far better than the law expects of B/16 (about 70 %), and one that is too short to count.
    let rows = [row("good-1", "2560000000", "74.0"), row("good-2", "1280000000", "72.5"), short("toy", "3")];
    sandbox.write("mine.csv", table(&rows));
    let object = sandbox.ok(&planned(&["--own-runs", "mine.csv", "--format", "json"])).json();
    let own = &object["own_runs"];
    assert_eq!(own["runs_counted"], 2, "{own:#}");
    assert_eq!(own["passed_over"][0]["id"], "toy");
    let number = |key: &str| own[key].as_f64().unwrap_or_else(|| panic!("{key} in {own:#}"));
    assert!(0.0 < number("shrinkage_weight") && number("shrinkage_weight") < 1.0);
    let (multiplier, ratio) = (number("error_multiplier"), number("mean_error_ratio"));
    assert!(ratio < multiplier && multiplier < 1.0, "shrunk towards none: {own:#}");
    assert!((number("shrinkage_weight") * ratio.ln() - multiplier.ln()).abs() < 1e-9);
    let without = sandbox.ok(&planned(&["--format", "json"])).json();
    assert!(without["own_runs"].is_null());
    let accuracy =
        |plan: &serde_json::Value| plan["chosen"]["accuracy_percent"]["p50"].as_f64().expect("claimed");
    let width = |plan: &serde_json::Value| {
        let accuracy = &plan["chosen"]["accuracy_percent"];
        accuracy["p90"].as_f64().expect("claimed") - accuracy["p10"].as_f64().expect("claimed")
    };
    assert!(accuracy(&object) > accuracy(&without));
    if object["chosen"]["label"] == without["chosen"]["label"] {
        assert!((accuracy(&object) - accuracy(&without) - number("moved_points")).abs() < 1e-6);
        assert!((width(&object) - width(&without)).abs() < 1e-6, "not narrowed");
    }
    let text = sandbox.ok(&planned(&["--own-runs", "mine.csv"])).stdout;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["Your own runs: 2 of 3 runs count", "Passed over: toy", "COCO image R@1"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    // The back-test of the same file is by a law that has not seen it.
    let lines = sandbox.ok(&["backtest", "--runs", "mine.csv", "--format", "json"]).json();
    let held = lines["predictions"].as_array().expect("a list").iter().find(|line| line["id"] == "good-1");
    let unmoved = own["counted"][0]["predicted_percent"].as_f64().expect("a number");
    let predicted = held.expect("predicted")["predicted"].as_f64().expect("a number");
    assert!((predicted - unmoved).abs() < 1e-6, "{predicted} {unmoved}");
}

/// A run directory with a recipe that `plan` wrote and these lines of `eval.jsonl`.
fn directory(sandbox: &Sandbox, name: &str, evaluations: &str) {
    let recipe = std::fs::read_to_string(sandbox.path("recipe.toml")).expect("written");
    sandbox.write(&format!("{name}/recipe.toml"), recipe);
    sandbox.write(&format!("{name}/ledger.jsonl"), "");
    sandbox.write(&format!("{name}/eval.jsonl"), evaluations);
}

fn evaluation(samples_seen: u64, classes: u32, acc1: f64, is_final: bool) -> String {
    format!(
        "{{\"version\":1,\"time\":\"2026-01-01T00:00:00.000Z\",\"stage\":\"pretrain\",\"step\":120,\
         \"samples_seen\":{samples_seen},\"dataset\":\"DataComp-1B\",\"task\":\"zeroshot_classification\",\
         \"classes\":{classes},\"samples\":50000,\"image_size_px\":224,\"metrics\":{{\"acc1\":{acc1},\"acc5\":0.9,\
         \"mean_per_class_recall\":{acc1}}},\"spend_usd\":9000.0,\"final\":{is_final}}}\n"
    )
}

#[test]
fn run_directories_are_read_with_their_recipe_and_last_evaluation() {
    let sandbox = Sandbox::new();
    sandbox.ok(&planned(&["--out", "recipe.toml"]));
    let whole = evaluation(12_800_000_000, 1000, 0.74, false) + &evaluation(13_000_000_000, 1000, 0.79, true);
    directory(&sandbox, "runs/first", &whole);
    // A cap ended it early; a crash cut its last line off.
    directory(&sandbox, "runs/early", &(evaluation(3_000_000_000, 1000, 0.71, true) + "{\"version\":1,\"ti"));
    directory(&sandbox, "runs/toy", &evaluation(1_000_000, 24, 0.9, true));
    directory(&sandbox, "runs/none", "");
    let own = sandbox.ok(&planned(&["--own-runs", "runs", "--format", "json"])).json()["own_runs"].clone();
    let counted = own["counted"].as_array().expect("a list");
    let of = |name: &str| {
        counted.iter().find(|run| run["id"].as_str().is_some_and(|id| id.ends_with(name))).expect("counted")
    };
    assert_eq!(counted.len(), 2, "{own:#}");
    assert_eq!(of("first")["accuracy_percent"], 79.0);
    assert_eq!(of("early")["accuracy_percent"], 71.0);
    let predicted = |name: &str| of(name)["predicted_percent"].as_f64().expect("a number");
    assert!(predicted("early") < predicted("first"), "fewer samples are expected to bring less: {own:#}");
    let passed = own["passed_over"].to_string();
    assert!(passed.contains("1,000 classes") && passed.contains("nothing was evaluated"), "{passed}");
    // One directory by itself, and an existing recipe.
    let recipe = std::fs::read_to_string(sandbox.path("recipe.toml")).expect("written");
    sandbox.write("other.toml", recipe);
    let said = sandbox.ok(&["plan", "--recipe", "other.toml", "--own-runs", "runs/first"]);
    assert!(said.stdout.contains("your own runs: 1 of 1 runs count"), "{}", said.snapshot());
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place_and_advice() {
    let sandbox = Sandbox::new();
    sandbox.write("bad.csv", table(&[row("one", "2560000000", "74.0"), row("two", "many", "74.0")]));
    sandbox.write("percent.csv", table(&[row("one", "2560000000", "740")]));
    sandbox
        .write("column.csv", table(&[row("one", "2560000000", "74.0")]).replacen(",samples,", ",sample,", 1));
    sandbox.write("toys.csv", table(&[short("toy-1", "3"), short("toy-2", "4")]));
    sandbox.write("empty/readme.txt", "nothing");
    sandbox.ok(&planned(&["--out", "recipe.toml"]));
    directory(&sandbox, "broken", &("no line\n".to_owned() + &evaluation(13_000_000_000, 1000, 0.79, true)));
    directory(&sandbox, "percent", &evaluation(13_000_000_000, 1000, 79.0, true));
    for (path, words) in [
        ("bad.csv", "bad.csv:3: samples = `many`"),
        ("percent.csv", "percent.csv:2: accuracy_percent = `740`"),
        ("column.csv", "the column `samples` is missing"),
        ("toys.csv", "no run in it counts: toy-1: fewer than 2.5 M samples"),
        ("empty", "no run in here"),
        ("broken", "eval.jsonl:1: no evaluation"),
        ("percent", "metrics.acc1 = `79`"),
    ] {
        let said = sandbox.run(&planned(&["--own-runs", path]));
        assert_eq!(said.code, 2, "{path}\n{}", said.snapshot());
        assert!(said.stderr.contains(words) && said.stderr.contains("hint:"), "{path}\n{}", said.snapshot());
        assert!(said.stdout.is_empty(), "{path}");
    }
    assert_eq!(sandbox.run(&planned(&["--own-runs", "nowhere.csv"])).code, 1);
}
