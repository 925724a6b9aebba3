//! Faults injected for real: kill -9, signals, a second run in the same directory, a full disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Sandbox, json_lines};

pub(crate) const SMALL: &str = include_str!("recipes/small.toml");

/// Deterministic "random" numbers, so that a failure names the same moments again.
pub(crate) struct Lcg(pub(crate) u64);

impl Lcg {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

pub(crate) fn newest_checkpoint(run: &Path) -> PathBuf {
    let mut steps: Vec<_> = fs::read_dir(run.join("checkpoints"))
        .expect("checkpoints")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.join("DONE").exists())
        .collect();
    steps.sort();
    steps.pop().expect("a complete checkpoint")
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
}

/// Spent money by the ledger's own rule: settled, plus reserves neither settled nor released.
fn spent_micro_usd(rows: &[Value]) -> i64 {
    let mut open = std::collections::BTreeMap::new();
    let mut settled = 0;
    for row in rows {
        let (amount, quantum) = (row["amount_micro_usd"].as_i64().expect("amount"), row["quantum"].as_u64());
        match row["kind"].as_str().expect("kind") {
            "reserve" => {
                open.insert(quantum, amount);
            }
            "settle" => {
                open.remove(&quantum);
                settled += amount;
            }
            "release" => {
                open.remove(&quantum);
            }
            _ => {}
        }
    }
    settled + open.values().sum::<i64>()
}

#[test]
fn killed_at_twenty_moments_the_weights_come_out_the_same_and_the_ledger_never_rewinds() {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", SMALL);
    let started = Instant::now();
    sandbox.ok(&["run", "small.toml", "--dir", "whole", "--quiet"]);
    let whole_run = started.elapsed();
    let whole = newest_checkpoint(&sandbox.path("whole"));

    let mut random = Lcg(20);
    let ledger = sandbox.path("killed/ledger.jsonl");
    let mut spent_before = 0;
    let mut kills = 0;
    while kills < 20 {
        let mut child = sandbox
            .command(&["run", "small.toml", "--dir", "killed", "--quiet"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        // Long enough to start, short enough to fall into every part of the run in some round.
        let longest = u64::try_from(whole_run.as_millis()).expect("a short run");
        sleep(Duration::from_millis(random.below(longest / 2 + 50)));
        let finished = child.try_wait().expect("wait").is_some();
        if !finished {
            signal(&child, "-KILL");
            child.wait().expect("reap");
        }
        kills += 1;
        if ledger.exists() {
            let text = fs::read_to_string(&ledger).expect("ledger");
            // A torn last line is what a kill may leave; everything before it must be whole.
            let whole_lines = text.rfind('\n').map_or("", |end| &text[..end]);
            let rows: Vec<Value> =
                whole_lines.lines().map(|line| serde_json::from_str(line).expect("a whole row")).collect();
            let spent = spent_micro_usd(&rows);
            assert!(spent >= spent_before, "spent fell from {spent_before} to {spent} after kill {kills}");
            spent_before = spent;
        }
    }
    sandbox.ok(&["run", "small.toml", "--dir", "killed", "--quiet"]);

    let killed = newest_checkpoint(&sandbox.path("killed"));
    assert_eq!(whole.file_name(), killed.file_name(), "the same number of steps");
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let (a, b) = (fs::read(whole.join(file)).expect("file"), fs::read(killed.join(file)).expect("file"));
        assert!(a == b, "{file} differs after {kills} kills");
    }

    let rows = json_lines(&ledger);
    let cap = rows[0]["amount_micro_usd"].as_i64().expect("cap");
    let spent = spent_micro_usd(&rows);
    assert!(spent <= cap, "{spent} over the cap of {cap}");
    // What a kill cut off is charged besides the steps that repeat it.
    let cut_off = |row: &&Value| {
        row["kind"] == "settle" && row["note"].as_str().is_some_and(|note| note.starts_with("cut off"))
    };
    let repeated: i64 =
        rows.iter().filter(cut_off).map(|row| row["amount_micro_usd"].as_i64().expect("amount")).sum();
    assert!(repeated > 0, "no work was cut off by {kills} kills, or it was not charged");
    sandbox.ok(&["ledger", "verify", "killed"]);
}

#[test]
fn ctrl_c_checkpoints_and_the_same_command_resumes() {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", SMALL.replace("samples = 960", "samples = 96000"));
    let child = sandbox
        .command(&["run", "small.toml", "--dir", "run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut child = child;
    wait_for(&sandbox.path("run/metrics.jsonl"), &mut child);
    signal(&child, "-INT");
    let status = child.wait().expect("ends");
    assert_eq!(status.code(), Some(75), "interrupted, resumable");
    let state =
        fs::read_to_string(newest_checkpoint(&sandbox.path("run")).join("state.json")).expect("state");
    let step = serde_json::from_str::<Value>(&state).expect("JSON")["step"].as_u64().expect("step");
    assert!(step > 0, "the checkpoint holds work");
    let said = sandbox.run(&["status", "run", "--format", "json"]);
    assert_eq!(said.code, 0, "{}", said.snapshot());
    let status = &said.json()["runs"][0];
    assert_eq!((status["step"].as_u64(), status["state"].as_str()), (Some(step), Some("interrupted")));
}

#[test]
fn a_second_run_of_one_directory_is_refused_and_names_the_holder() {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", SMALL.replace("samples = 960", "samples = 96000"));
    let mut child = sandbox
        .command(&["run", "small.toml", "--dir", "run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    wait_for(&sandbox.path("run/metrics.jsonl"), &mut child);
    let said = sandbox.run(&["run", "small.toml", "--dir", "run"]);
    let holder = child.id().to_string();
    signal(&child, "-KILL");
    child.wait().expect("reap");
    assert_eq!(said.code, 1, "{}", said.snapshot());
    assert!(said.stderr.contains(&holder) && said.stderr.contains("hint:"), "{}", said.snapshot());
}

fn wait_for(path: &Path, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !fs::metadata(path).is_ok_and(|meta| meta.len() > 0) {
        assert!(child.try_wait().expect("wait").is_none(), "the run ended before {}", path.display());
        assert!(Instant::now() < deadline, "{} never came", path.display());
        sleep(Duration::from_millis(20));
    }
}
