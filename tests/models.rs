//! Models out and in: a run evaluated, exported, imported, and fine-tuned from.

use std::fs;

use crate::harness::{Sandbox, json_lines};

/// In `f32`, as `eval` measures.
fn small() -> String {
    format!("{}\n[optimizer]\nprecision = \"f32\"\n", include_str!("recipes/small.toml"))
}

#[test]
fn a_run_is_evaluated_exported_imported_and_started_from() {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", small());
    sandbox.ok(&["run", "small.toml"]);
    let ledger = || sandbox.ok(&["ledger", "show", "runs/small", "--format", "json"]).json();
    let before = ledger()["settled_usd"].as_f64().expect("settled");

    // The same numbers as the run's own last evaluation, charged to its ledger.
    let eval = ["eval", "runs/small", "--long-prompts", "keep-name", "--features", "features.safetensors"];
    let found = sandbox.ok(&[&eval[..], &["--out", "result.json", "--format", "json"]].concat()).json();
    let last = json_lines(&sandbox.path("runs/small/eval.jsonl")).pop().expect("evaluations");
    for metric in ["acc1", "acc5", "mean_per_class_recall"] {
        assert_eq!(found["metrics"][metric], last["metrics"][metric], "{metric}");
    }
    assert_eq!((&found["task"], &found["samples"]), (&last["task"], &last["samples"]));
    let low = found["intervals"]["acc1"]["p2_5"].as_f64().expect("an interval");
    assert!(low < found["metrics"]["acc1"].as_f64().expect("a number"));
    let after = ledger();
    let cost = found["cost_usd"].as_f64().expect("a cost");
    assert!(cost > 0.0 && (after["settled_usd"].as_f64().expect("settled") - before - cost).abs() < 1e-9);
    assert_eq!(after["reserved_usd"], 0.0);
    sandbox.ok(&["ledger", "verify", "runs/small"]);
    let rows = fs::read(sandbox.path("runs/small/ledger.jsonl")).expect("ledger");
    sandbox.ok(&["run", "small.toml"]);
    assert_eq!(fs::read(sandbox.path("runs/small/ledger.jsonl")).expect("ledger"), rows, "still finished");
    assert!(sandbox.ok(&["eval", "runs/small", "--out", "result.json", "--skip-existing"]).stdout.is_empty());
    assert!(fs::read_dir(sandbox.path("runs/small/tensorboard")).expect("events").count() > 0);

    sandbox.ok(&["export", "runs/small", "--to", "open_clip", "--out", "exported"]);
    let card = fs::read_to_string(sandbox.path("exported/README.md")).expect("a card");
    for words in ["USD of a cap of 1.0", "zero-shot top-1", "finetune: 32 px", "```toml\nversion = 1"] {
        assert!(card.contains(words), "no `{words}` in\n{card}");
    }
    let refused = sandbox.run(&["export", "runs/small", "--to", "hf", "--out", "hf"]);
    assert_eq!(refused.code, 2, "{}", refused.snapshot());
    assert!(refused.stderr.contains("vision_cfg.pool_type = avg"), "{}", refused.snapshot());
    assert!(!sandbox.path("hf").exists());

    let said = sandbox.ok(&["import", "exported", "--out", "imported"]).stdout;
    let weights =
        |folder: &str| fs::read(sandbox.path(folder).join("open_clip_model.safetensors")).expect("weights");
    assert!(weights("exported") == weights("imported"), "the same bytes");
    assert!(said.contains("[start]") && said.contains("[architecture.vision_cfg]"), "{said}");

    let tuned = small().replace("name = \"small\"", "name = \"tuned\"") + "\n[start]\nfrom = \"imported\"\n";
    sandbox.write("tuned.toml", &tuned);
    let run = sandbox.ok(&["run", "tuned.toml", "--log-format", "json"]);
    assert!(
        run.stderr.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("starts from"), "{}", run.stderr);
    let first_loss = |run: &str| {
        json_lines(&sandbox.path(&format!("runs/{run}/metrics.jsonl")))[0]["loss"].as_f64().expect("a loss")
    };
    assert!(first_loss("tuned") < first_loss("small"), "what was learned is still known");

    sandbox.write("other.toml", tuned.replace("layers = 1\nwidth = 16", "layers = 2\nwidth = 16"));
    let refused = sandbox.run(&["run", "other.toml"]);
    assert_eq!(refused.code, 2, "{}", refused.snapshot());
    assert!(refused.stderr.contains("vision_cfg.layers is 1 there, 2 here"), "{}", refused.snapshot());
}

#[test]
fn models_that_do_not_fit_say_which_tensor_and_both_shapes() {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", small());
    sandbox.ok(&["run", "small.toml"]);
    sandbox.ok(&["export", "runs/small", "--to", "open_clip", "--out", "exported"]);
    let config = fs::read_to_string(sandbox.path("exported/open_clip_config.json")).expect("config");
    let with = |from: &str, to: &str| {
        let changed = config.replacen(from, to, 1);
        assert_ne!(changed, config, "{from} is in {config}");
        sandbox.write("exported/open_clip_config.json", changed);
        let said = sandbox.run(&["import", "exported", "--out", "imported"]);
        assert!(said.code != 0 && said.stderr.contains("hint:"), "{}", said.snapshot());
        said.stderr
    };
    let said = with("\"embed_dim\": 16", "\"embed_dim\": 24");
    assert!(said.contains("tensor `text_projection` is [16, 16]") && said.contains("[16, 24]"), "{said}");
    let said = with("\"layers\": 1", "\"layers\": 2");
    assert!(said.contains("resblocks.1.") && said.contains("is missing"), "{said}");
    let said = with("\"pool_type\": \"avg\"", "\"qk_norm\": true");
    assert!(said.contains("vision_cfg.qk_norm = true"), "{said}");
    sandbox.write("exported/open_clip_config.json", &config);
    let mut bytes = fs::read(sandbox.path("exported/open_clip_model.safetensors")).expect("weights");
    bytes.truncate(bytes.len() - 4);
    sandbox.write("exported/open_clip_model.safetensors", &bytes);
    let said = sandbox.run(&["import", "exported", "--out", "imported"]);
    assert_eq!(said.code, 1, "{}", said.snapshot());
    assert!(said.stderr.contains("header does not fit the file"), "{}", said.snapshot());
    let said = sandbox.run(&["import", "exported/open_clip_model.safetensors", "--out", "imported"]);
    assert!(said.code == 2 && said.stderr.contains("--config FILE"), "{}", said.snapshot());
}
