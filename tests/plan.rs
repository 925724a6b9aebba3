//! `plan` as a user meets it.

use std::fs;

use crate::harness::Sandbox;

const PAPER: [&str; 9] = [
    "--offer",
    "clipa-v2-paper",
    "--data",
    "DataComp-1B",
    "--samples",
    "12.8B",
    "--finetune-samples",
    "512M",
    "--finetune-sizes=224",
];

#[test]
fn the_papers_situation_gives_the_papers_recipe() {
    let sandbox = Sandbox::new();
    let mut arguments = vec!["plan", "--budget", "10000", "--format", "json"];
    arguments.extend(PAPER);
    let plan = sandbox.ok(&arguments).json();
    assert_eq!(plan["schema"], "shoestring.plan");
    assert_eq!(plan["version"], 1);
    let chosen = &plan["chosen"];
    assert_eq!(chosen["architecture"], "ViT-H-14-CLIPA", "{chosen:#}");
    assert_eq!(chosen["stages"][0]["image_size_px"], 70);
    assert_eq!(chosen["stages"][0]["text_tokens"], 8);
    let cost = chosen["cost_usd"]["p50"].as_f64().expect("cost");
    assert!((cost / 9324.0 - 1.0).abs() < 0.05, "{cost}");
    let accuracy = chosen["accuracy_percent"]["p50"].as_f64().expect("accuracy");
    assert!((accuracy - 81.1).abs() < 1.0, "{accuracy}");
}

#[test]
fn the_recipe_is_the_same_by_out_and_by_format_and_reads_back() {
    let sandbox = Sandbox::new();
    let shown = sandbox.ok(&["plan", "--budget", "10000", "--format", "toml"]);
    assert!(shown.stdout.starts_with("# "), "a recipe begins with what it costs");
    sandbox.ok(&["plan", "--budget", "10000", "--out", "recipe.toml"]);
    let written = fs::read_to_string(sandbox.path("recipe.toml")).expect("recipe");
    let recipe = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with("# ") && !line.starts_with("command"))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(recipe(&shown.stdout), recipe(&written));
    let run = sandbox.run(&["run", "recipe.toml"]);
    assert_eq!(run.code, 2, "{}", run.snapshot());
    assert!(
        run.stderr.contains("stage.text_reduction") && run.stderr.contains("hint:"),
        "{}",
        run.snapshot()
    );
}

#[test]
fn text_is_for_people_and_says_where_numbers_are_from() {
    let sandbox = Sandbox::new();
    let said = sandbox.ok(&["plan", "--budget", "10000", "--budget", "14000"]);
    for word in ["USD", "80 %", "catalogue", "tied", "binds", "runner"] {
        assert!(
            said.stdout.to_lowercase().contains(&word.to_lowercase()),
            "no `{word}` in\n{}",
            said.snapshot()
        );
    }
    let longest = said.stdout.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(longest <= 120, "{longest} columns");
}
