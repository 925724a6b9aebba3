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
fn without_fine_tuning_there_is_one_stage() {
    let sandbox = Sandbox::new();
    let asked = ["plan", "--budget", "300", "--arch", "B/16", "--finetune-sizes", "none", "--format", "json"];
    let plan = sandbox.ok(&asked).json();
    let stages = plan["chosen"]["stages"].as_array().expect("stages");
    assert_eq!(stages.len(), 1, "{stages:#?}");
    let wrong = sandbox.run(&["plan", "--budget", "300", "--finetune-sizes", "224,big"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("`big` is no image size in pixels"), "{}", wrong.stderr);
}

#[test]
fn the_recipe_is_the_same_by_out_and_by_format_and_reads_back() {
    let sandbox = Sandbox::new();
    let asked = ["plan", "--budget", "10000"];
    let with = |more: &[&'static str]| [&asked[..], more].concat();
    let shown = sandbox.ok(&with(&["--format", "toml"]));
    assert!(shown.stdout.starts_with("# "), "a recipe begins with what it costs");
    sandbox.ok(&with(&["--out", "recipe.toml"]));
    let written = fs::read_to_string(sandbox.path("recipe.toml")).expect("recipe");
    let recipe = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with("# ") && !line.starts_with("command"))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(recipe(&shown.stdout), recipe(&written));
    // Where the pictures lie is for the user to say: `run` asks for it by field and value.
    let run = sandbox.run(&["run", "recipe.toml"]);
    assert_eq!(run.code, 2, "{}", run.snapshot());
    let named = run.stderr.contains("shards = []");
    assert!(named && run.stderr.contains("hint:"), "{}", run.snapshot());
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

#[test]
fn the_other_doors_lead_to_the_same_rooms() {
    let sandbox = Sandbox::new();
    // The cheapest plan for an accuracy.
    let aimed = sandbox.ok(&["plan", "--target-accuracy", "80", "--gpu", "H100", "--format", "json"]).json();
    let chosen = aimed["chosen"]["accuracy_percent"]["p50"].as_f64().expect("claimed");
    assert!((80.0..80.5).contains(&chosen), "{chosen}");
    let probability = aimed["target"]["probability"].as_f64().expect("a probability");
    assert!((0.49..0.8).contains(&probability), "{probability}");
    let cost = aimed["budget_usd"].as_f64().expect("a cost");
    let budget = format!("{:.2}", 0.9 * cost);
    let less = sandbox.ok(&["plan", "--budget", &budget, "--gpu", "H100", "--format", "json"]).json();
    let best = less["tie"]["most_accurate"]["accuracy_percent"]["p50"].as_f64().expect("claimed");
    assert!(best < 80.0, "a tenth less money reaches {best}");

    // Decisions by the names that a recipe uses.
    let mut pinned = vec!["plan", "--budget", "10000", "--fixed", "pretrain.image_size_px=84"];
    pinned.extend(["--fixed", "pretrain.batch=32768", "--gpu", "H100", "--format", "json"]);
    let stage = sandbox.ok(&pinned).json()["chosen"]["stages"][0].clone();
    assert_eq!((stage["image_size_px"].as_u64(), stage["batch"].as_u64()), (Some(84), Some(32_768)));
    let refused = sandbox.run(&["plan", "--budget", "1000", "--fixed", "pretrain.image_size=84"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("did you mean `image_size_px`"), "{}", refused.snapshot());

    // Existing recipes.
    let mut arguments = vec!["plan", "--budget", "10000", "--out", "a.toml"];
    arguments.extend(PAPER);
    sandbox.ok(&arguments);
    let recipe = fs::read_to_string(sandbox.path("a.toml")).expect("recipe");
    fs::write(sandbox.path("b.toml"), recipe.replacen("image_size_px = 70", "image_size_px = 84", 1))
        .expect("b");
    let one = sandbox.ok(&["plan", "--recipe", "a.toml", "--format", "json"]).json();
    assert_eq!(one["schema"], "shoestring.assessment");
    let cost = one["recipes"][0]["cost_usd"]["p50"].as_f64().expect("cost");
    assert!((cost / 9324.0 - 1.0).abs() < 0.05, "{cost}");
    let two = sandbox.ok(&["plan", "--compare", "a.toml", "b.toml", "--format", "json"]).json();
    let accuracy = |index: usize| two["recipes"][index]["accuracy_percent"]["p50"].as_f64().expect("claimed");
    let cost = |index: usize| two["recipes"][index]["cost_usd"]["p50"].as_f64().expect("cost");
    assert!(accuracy(1) > accuracy(0) && cost(1) > 1.2 * cost(0));
    let shown = sandbox.ok(&["plan", "--compare", "a.toml", "b.toml"]);
    assert!(
        shown.stdout.contains("b - a") && shown.stdout.contains("within the cap"),
        "{}",
        shown.snapshot()
    );
}

#[test]
fn open_clip_configs_are_read_and_others_refused() {
    let sandbox = Sandbox::new();
    let config = r#"{"embed_dim": 512, "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}}"#;
    fs::write(sandbox.path("mine.json"), config).expect("config");
    let plan = sandbox.ok(&["plan", "--budget", "300", "--arch", "mine.json", "--format", "json"]).json();
    assert_eq!(plan["chosen"]["architecture"], "mine");
    let resnet = config.replace("\"layers\": 12, \"width\": 768", "\"layers\": [3, 4, 6, 3], \"width\": 64");
    fs::write(sandbox.path("resnet.json"), resnet).expect("config");
    let refused = sandbox.run(&["plan", "--budget", "300", "--arch", "resnet.json"]);
    assert_eq!(refused.code, 2, "{}", refused.snapshot());
    assert!(refused.stderr.contains("vision_cfg.layers = [3,4,6,3]"), "{}", refused.snapshot());
}

#[test]
fn no_offer_left_names_the_filter_that_took_the_last() {
    let sandbox = Sandbox::new();
    let refused = sandbox.run(&["plan", "--budget", "1000", "--provider", "lambda", "--gpu", "T4"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--gpu = T4: no offer is left"), "{}", refused.snapshot());
    assert!(refused.stderr.contains("A10"), "{}", refused.snapshot());
    let refused = sandbox.run(&["plan", "--budget", "1000", "--provider", "lamda"]);
    assert!(refused.stderr.contains("`lambda`"), "{}", refused.snapshot());
}

#[test]
fn the_reasoning_is_told_and_drawn() {
    let sandbox = Sandbox::new();
    let mut arguments = vec!["plan", "--budget", "10000", "--explain", "--plot", "why.svg"];
    arguments.extend(PAPER);
    let said = sandbox.ok(&arguments);
    for words in
        ["How it was chosen", "candidates were looked at", "price +20 %", "speed P10", "one more GPU"]
    {
        assert!(said.stdout.contains(words), "no `{words}` in\n{}", said.snapshot());
    }
    let drawn = fs::read_to_string(sandbox.path("why.svg")).expect("drawn");
    assert!(drawn.starts_with("<svg") && drawn.contains("other token lengths"));
    let refused = sandbox.run(&["plan", "--budget", "10000", "--explain", "--plot", "why.gif"]);
    assert_eq!(refused.code, 2, "{}", refused.snapshot());
}

#[test]
fn storage_traffic_idle_time_and_fallback_are_lines_of_the_bill() {
    let sandbox = Sandbox::new();
    let mut arguments = vec!["plan", "--budget", "2000", "--spot", "--gpu", "H100", "--fallback-after", "5"];
    arguments.extend([
        "--storage-price",
        "0.023",
        "--egress-price",
        "0.01",
        "--idle",
        "3h",
        "--data-gb",
        "10000",
    ]);
    arguments.extend(["--format", "json"]);
    let plan = sandbox.ok(&arguments).json();
    let bill = plan["chosen"]["bill"].as_array().expect("a bill");
    let line = |what: &str| {
        let found = bill.iter().find(|line| line["what"] == what);
        found.and_then(|line| line["cost_usd"]["p50"].as_f64()).unwrap_or(f64::NAN)
    };
    assert!((line("egress") - 100.0).abs() < 1e-6);
    let hours = plan["chosen"]["hours"]["p50"].as_f64().expect("hours");
    assert!((line("storage") / (230.0 * hours / 730.0) - 1.0).abs() < 0.01, "{}", line("storage"));
    assert!(line("idle") > 0.0 && line("interruptions") > 0.0 && line("on-demand fallback") > 0.0);
    let total: f64 = bill.iter().filter_map(|line| line["cost_usd"]["p50"].as_f64()).sum();
    assert!((total / plan["chosen"]["cost_usd"]["p50"].as_f64().expect("total") - 1.0).abs() < 1e-6);
    assert_eq!(plan["recipe"]["hardware"]["spot"], true);
    let often = plan["recipe"]["checkpoint"]["every_cap_fraction"].as_f64().expect("a fraction");
    assert!(often < 0.1, "spot machines need checkpoints more often than {often}");
}
