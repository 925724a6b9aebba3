//! Every bad input gets a message with file, field and value, a hint, its exit code, and no panic.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::{Said, Sandbox};

const SMALL: &str = include_str!("recipes/small.toml");

fn refused(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, code, "{}", said.snapshot());
    for word in words {
        assert!(said.stderr.contains(word), "no `{word}` in\n{}", said.snapshot());
    }
    assert!(!said.stderr.contains("panicked"), "{}", said.snapshot());
}

#[test]
fn budgets_that_buy_nothing() {
    let sandbox = Sandbox::new();
    for (budget, words) in [
        ("0", &["zero buys nothing"][..]),
        ("-5", &["cannot be negative"]),
        ("NaN", &["not a finite amount"]),
        ("inf", &["not a finite amount"]),
        ("1e300", &["more than this program can count"]),
        ("ten", &["not an amount of dollars", "10k"]),
        ("", &["not an amount of dollars"]),
    ] {
        let said = sandbox.run(&["plan", "--budget", budget]);
        refused(&said, 2, words);
        refused(&said, 2, &["--budget", "hint:"]);
    }
    refused(&sandbox.run(&["plan", "--budget", "0.000001"]), 3, &["smallest", "hint:"]);
    assert_eq!(sandbox.run(&["plan", "--budget", "10k"]).code, 0);
    assert!(fs::read_dir(sandbox.path("")).expect("folder").next().is_none(), "nothing is written");
}

#[test]
fn unknown_names_give_the_nearest() {
    let sandbox = Sandbox::new();
    refused(&sandbox.run(&["plan", "--budget", "100", "--gpu", "H1000"]), 2, &["H1000", "hint:", "H100"]);
    refused(
        &sandbox.run(&["plan", "--budget", "100", "--arch", "ViT-H-15"]),
        2,
        &["ViT-H-15", "hint:", "ViT-H-14"],
    );
    refused(
        &sandbox.run(&["plan", "--budget", "100", "--data", "DataComp-2B"]),
        2,
        &["DataComp-2B", "hint:", "DataComp-1B"],
    );
    refused(
        &sandbox.run(&["plan", "--budget", "100", "--offer", "aws/p5.48xlargee"]),
        2,
        &["p5.48xlargee", "hint:", "p5.48xlarge"],
    );
}

#[test]
fn recipes_that_cannot_be_read() {
    let sandbox = Sandbox::new();
    refused(&sandbox.run(&["run", "none.toml"]), 1, &["none.toml", "hint:"]);
    for (name, from, to, words) in [
        (
            "field",
            "text_tokens = 8",
            "text_token = 8",
            &["field.toml:", "unknown field `text_token`", "`text_tokens`"][..],
        ),
        ("newer", "version = 1", "version = 2", &["version = 2", "hint: update"]),
        ("zero", "cap_usd = 1.0", "cap_usd = 0.0", &["budget.cap_usd", "more than zero"]),
        ("odd", "image_size_px = 16", "image_size_px = 17", &["stage[0].image_size_px = 17", "16 or 24"]),
        ("toml", "[budget]", "[budget", &["toml.toml:6", "hint:"]),
    ] {
        let file = format!("{name}.toml");
        assert!(SMALL.contains(from));
        sandbox.write(&file, SMALL.replacen(from, to, 1));
        refused(&sandbox.run(&["run", &file]), 2, words);
        assert!(!sandbox.path("runs").exists(), "{name}: nothing is written");
    }
}

#[test]
fn gpus_that_are_not_there() {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", SMALL);
    let run = |flags: &[&str]| sandbox.run(&[&["run", "small.toml"], flags].concat());
    refused(&run(&["--device", "cpu", "--devices", "2"]), 2, &["--devices counts GPUs", "hint:"]);
    refused(&run(&["--devices", "0"]), 2, &["--devices"]);
    // More than any machine has, whatever this program was built for.
    refused(&run(&["--devices", "1000"]), 2, &["--device", "hint:"]);
    assert!(!sandbox.path("runs").exists(), "nothing is written");
}

/// The small recipe on webdataset shards that `data synth` wrote into `set`.
fn on_shards(sandbox: &Sandbox) -> String {
    sandbox.ok(&[
        "data",
        "synth",
        "--out",
        "set",
        "--samples",
        "256",
        "--eval-samples",
        "48",
        "--image-size",
        "32",
        "--shards",
        "2",
        "--quiet",
    ]);
    let manifest = fs::read_to_string(sandbox.path("set/dataset.toml")).expect("manifest");
    let shard = manifest.lines().find(|line| line.contains(".tar")).expect("shards").to_owned();
    let (head, rest) = SMALL.split_once("[data.train]").expect("data");
    let (_, tail) = rest.split_once("[architecture]").expect("architecture");
    let prefix = shard.replace('"', "").replace("shards = [", "").replace(']', "").trim().to_owned();
    format!("{head}[data.train]\nkind = \"webdataset\"\nshards = [\"set/{prefix}\"]\n\n[architecture]{tail}")
        .replace("unique_samples = 4096", "unique_samples = 256")
}

#[test]
fn shards_that_are_missing_or_broken() {
    let sandbox = Sandbox::new();
    let recipe = on_shards(&sandbox);
    sandbox.write("good.toml", &recipe);
    sandbox.ok(&["run", "good.toml", "--dry-run"]);

    let shards: Vec<_> = fs::read_dir(sandbox.path("set"))
        .expect("set")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "tar"))
        .filter(|path| path.to_string_lossy().contains("train"))
        .collect();
    let bytes = fs::read(&shards[0]).expect("shard");

    fs::write(&shards[0], &bytes[..bytes.len() / 3 + 100]).expect("truncate");
    let name = shards[0].file_name().expect("name").to_string_lossy().into_owned();
    refused(&sandbox.run(&["run", "good.toml"]), 1, &[&name, "truncated", "hint:"]);

    fs::remove_file(&shards[0]).expect("remove");
    refused(&sandbox.run(&["run", "good.toml"]), 1, &[&name, "hint:"]);
    assert!(!sandbox.path("runs/small/checkpoints").exists(), "nothing was trained");
}

#[test]
fn broken_pictures_and_empty_captions_are_skipped_counted_and_named() {
    let sandbox = Sandbox::new();
    let recipe = on_shards(&sandbox);
    sandbox.write("good.toml", &recipe);
    let shard = sandbox.path("set/train-000.tar");
    let mut bytes = fs::read(&shard).expect("shard");
    // The first picture loses its end mark and more; the first caption becomes white space. Sizes stay.
    let member = |bytes: &[u8], kind: &str| {
        (0..bytes.len() / 512)
            .map(|block| block * 512)
            .find(|&at| {
                bytes[at..at + 100]
                    .split(|&byte| byte == 0)
                    .next()
                    .is_some_and(|name| name.ends_with(kind.as_bytes()))
            })
            .map(|at| {
                let size = std::str::from_utf8(&bytes[at + 124..at + 135]).expect("octal");
                (at + 512, usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).expect("octal"))
            })
            .expect("a member")
    };
    let (picture, length) = member(&bytes, ".png");
    bytes[picture + length / 4..picture + length].fill(0);
    let (caption, length) = member(&bytes, ".txt");
    bytes[caption..caption + length].fill(b' ');
    fs::write(&shard, bytes).expect("writes");

    let said = sandbox.run(&["run", "good.toml", "--dir", "run"]);
    assert_eq!(said.code, 0, "{}", said.snapshot());
    assert!(said.stderr.contains("could not be used"), "{}", said.snapshot());
    assert!(said.stderr.contains("train-000.tar"), "{}", said.snapshot());
    let log = fs::read_to_string(sandbox.path("run/run.log")).expect("log");
    assert!(log.contains("broken image") || log.contains("empty caption"), "{log}");
}

#[test]
fn a_directory_of_another_recipe_is_refused_with_the_difference() {
    let sandbox = Sandbox::new();
    sandbox.write("a.toml", SMALL);
    sandbox.write("b.toml", SMALL.replace("learning_rate = 0.001", "learning_rate = 0.002"));
    sandbox.ok(&["run", "a.toml", "--dir", "run", "--quiet"]);
    let before = fs::read(sandbox.path("run/ledger.jsonl")).expect("ledger");
    refused(
        &sandbox.run(&["run", "b.toml", "--dir", "run"]),
        2,
        &["stage[0].learning_rate", "0.002", "hint:"],
    );
    assert_eq!(before, fs::read(sandbox.path("run/ledger.jsonl")).expect("ledger"), "nothing is lost");
}

#[test]
fn another_recipe_at_out_is_not_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.write("recipe.toml", "mine");
    refused(
        &sandbox.run(&["plan", "--budget", "10000", "--out", "recipe.toml"]),
        1,
        &["recipe.toml", "--force"],
    );
    assert_eq!(fs::read_to_string(sandbox.path("recipe.toml")).expect("file"), "mine");
    sandbox.ok(&["plan", "--budget", "10000", "--out", "recipe.toml", "--force"]);
    sandbox.ok(&["plan", "--budget", "10000", "--out", "recipe.toml"]);
}

#[test]
fn folders_that_are_no_runs() {
    let sandbox = Sandbox::new();
    sandbox.write("plain/file", "");
    refused(&sandbox.run(&["ledger", "show", "plain"]), 1, &["plain", "hint:"]);
    refused(&sandbox.run(&["report", "plain"]), 1, &["plain", "hint:"]);
    refused(&sandbox.run(&["status", "nowhere"]), 1, &["nowhere", "hint:"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_stops_the_run_cleanly_and_room_lets_it_go_on() {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", SMALL);
    fs::create_dir(sandbox.path("disk")).expect("folder");
    // A tiny file system of its own, in a mount namespace of its own.
    let script = "mount -t tmpfs -o size=3m tmpfs disk && { \"$0\" run small.toml --dir disk/run; \
        code=$?; mount -o remount,size=200m disk && \"$0\" run small.toml --dir disk/run --quiet; \
        again=$?; \"$0\" ledger verify disk/run >/dev/null; echo codes $code $again $?; }";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_shoestring")])
        .current_dir(sandbox.path(""))
        .stdin(Stdio::null())
        .output()
        .expect("unshare (util-linux) starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!stderr.contains("unshare:"), "this machine allows no mount namespace: {stderr}");
    assert!(stderr.contains("disk is full"), "{stdout}\n{stderr}");
    assert!(stdout.contains("codes 1 0 0"), "{stdout}\n{stderr}");
}
