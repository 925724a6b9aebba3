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

/// A zip member as its headers describe it, which need not be the truth.
struct Member<'a> {
    name: &'a str,
    bytes: &'a [u8],
    /// 0: stored; 8: deflated.
    method: u16,
    /// Bytes once they are unpacked.
    size: u32,
}

fn stored<'a>(name: &'a str, bytes: &'a [u8]) -> Member<'a> {
    Member { name, bytes, method: 0, size: bytes.len() as u32 }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn zipped(members: &[Member<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let offset = out.len() as u32;
        let mut common = vec![20, 0, 0, 0];
        common.extend(member.method.to_le_bytes());
        common.extend([0; 4]);
        common.extend(crc32(member.bytes).to_le_bytes());
        common.extend((member.bytes.len() as u32).to_le_bytes());
        common.extend(member.size.to_le_bytes());
        common.extend((member.name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(member.name.as_bytes());
        out.extend(member.bytes);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(member.name.as_bytes());
    }
    let (at, length, count) = (out.len() as u32, directory.len() as u32, members.len() as u16);
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend([length.to_le_bytes(), at.to_le_bytes()].concat());
    out.extend([0; 2]);
    out
}

#[test]
fn weights_that_lie_or_hold_more_than_weights_are_refused() {
    let sandbox = Sandbox::new();
    let config = r#"{"embed_dim": 8,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 8, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}}"#;
    sandbox.write("config.json", config);
    let refused = |name: &str, bytes: &[u8], words: &str| {
        sandbox.write(name, bytes);
        let said = sandbox.run(&["import", name, "--config", "config.json", "--out", "imported"]);
        let fine = said.code == 1 && said.stderr.contains(words) && said.stderr.contains("hint:");
        assert!(fine, "{name}, `{words}`:\n{}", said.snapshot());
        assert!(!sandbox.path("imported").exists());
    };

    let tensor = |storage: &str, shape: &str| {
        format!(
            "\u{0}}}X\u{1}\0\0\0actorch._utils\n_rebuild_tensor_v2\n((X\u{7}\0\0\0storagectorch\nFloatStorage\n\
             X\u{1}\0\0\0{storage}X\u{3}\0\0\0cpuK\u{4}tQK\0{shape}K\u{1}"
        )
    };
    // {"a": the tensor of storage 0 with four numbers}, in the instructions of `torch.save`.
    let mut pickle = vec![0x80, 2];
    pickle.extend(&tensor("0", "K\u{4}").as_bytes()[1..]);
    let place = pickle.len() - 2;
    pickle.insert(place, 0x85);
    pickle.extend(b"\x85\x89}tRs.");
    let numbers = [0u8; 16];
    let whole = zipped(&[stored("x/data.pkl", &pickle), stored("x/data/0", &numbers)]);
    refused("whole.pt", &whole, "tensor `visual.positional_embedding` of [5, 8] is missing");

    let code = b"\x80\x02cposix\nsystem\nX\x08\0\0\0touch it\x85R.";
    let armed = zipped(&[stored("x/data.pkl", code), stored("x/data/0", &numbers)]);
    refused("armed.pt", &armed, "names `posix.system`, which is no part of weights; it is not called");
    assert!(!sandbox.path("it").exists());

    let packed = Member { name: "x/data/0", bytes: &numbers, method: 8, size: u32::MAX - 1 };
    refused("bomb.pt", &zipped(&[stored("x/data.pkl", &pickle), packed]), "x/data/0 is compressed");
    let long = vec![b'N'; (4 << 20) + 1];
    refused("long.pt", &zipped(&[stored("x/data.pkl", &long)]), "longer than 4194304 bytes");
    let short = zipped(&[stored("x/data.pkl", &pickle), stored("x/data/0", &numbers[..12])]);
    refused("short.pt", &short, "tensor `a`: [4] with strides [1] does not fit into 3 numbers");
    refused("cut.pt", &whole[..whole.len() - 30], "is no archive of PyTorch 1.6 or later");
    refused("none.pt", b"\x80\x02}.", "is no archive of PyTorch 1.6 or later");

    let header = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &[0; 8]].concat();
    let says = |shape: &str, end: u64| {
        header(&format!(r#"{{"visual.proj":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#))
    };
    refused(
        "fits.safetensors",
        &says("[1,2]", 8),
        "tensor `visual.positional_embedding` of [5, 8] is missing",
    );
    for lie in [
        says("[1,2]", 1 << 40),
        says("[4294967296,4294967296]", 8),
        header("{\"a\""),
        u64::MAX.to_le_bytes().to_vec(),
        Vec::new(),
    ] {
        refused("lie.safetensors", &lie, "the header does not fit the file");
    }

    let with = |from: &str, to: &str, words: &str| {
        let changed = config.replacen(from, to, 1);
        assert_ne!(changed, config);
        sandbox.write("config.json", changed);
        refused("fits.safetensors", &says("[1,2]", 8), words);
    };
    with(
        "\"layers\": 1",
        "\"layers\": 4000000000",
        "vision_cfg.layers = 4000000000: is more than any model has",
    );
    with("\"image_size\": 16", "\"image_size\": 4294967288", "vision_cfg.image_size = 4294967288: is more");
    with("\"image_size\": 16", "\"image_size\": 20", "vision_cfg.image_size = 20: is not a multiple");
    with(
        "\"heads\": 1",
        "\"heads\": 1, \"hf_tokenizer_name\": \"xlm-roberta-base\"",
        "text_cfg.hf_tokenizer_name = \"xlm-roberta-base\": texts cannot be read like this here",
    );
    with("\"embed_dim\": 8", "\"embed_dim\": -8", "embed_dim = -8");
    with("\"vision_cfg\"", "\"vision\"", "is no CLIP's configuration");
    sandbox.write("config.json", "{");
    refused("fits.safetensors", &says("[1,2]", 8), "is not JSON");
}

#[test]
fn an_evaluation_fits_into_a_shared_budget_and_follows_a_price() {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", small());
    sandbox.ok(&["run", "small.toml"]);
    sandbox.ok(&["ledger", "budget", "create", "spent.toml", "--cap", "0.000001"]);
    let refused = sandbox.run(&["eval", "runs/small", "--budget", "spent.toml"]);
    assert_eq!(refused.code, 4, "{}", refused.snapshot());
    assert!(refused.stderr.contains("no money for an evaluation"), "{}", refused.snapshot());
    sandbox.ok(&["ledger", "verify", "runs/small"]);

    sandbox.ok(&["ledger", "budget", "create", "shared.toml", "--cap", "10"]);
    sandbox.write("price.toml", "usd_per_hour = 60.0\nsource = \"spot\"\n");
    let eval = ["eval", "runs/small", "--budget", "shared.toml", "--price-file", "price.toml"];
    let said = sandbox.run(&[&eval[..], &["--format", "json"]].concat());
    assert_eq!(said.code, 0, "{}", said.snapshot());
    let (cost, seconds) =
        (said.json()["cost_usd"].as_f64().expect("a cost"), said.json()["seconds"].as_f64());
    let rows = fs::read_to_string(sandbox.path("runs/small/ledger.jsonl")).expect("ledger");
    assert!(rows.contains("\"spot\""), "the price is recorded");
    // What was before the price was read costs 0.60 USD an hour.
    let at_first = 0.6 / 3600.0 * seconds.expect("seconds");
    assert!(cost > at_first && said.stderr.contains("the price is 60"), "{cost} USD\n{}", said.snapshot());
    let shared = sandbox.ok(&["ledger", "budget", "show", "shared.toml", "--format", "json"]).json();
    assert!((shared["levels"][0]["settled_usd"].as_f64().expect("settled") - cost).abs() < 1e-6, "{shared}");
}
