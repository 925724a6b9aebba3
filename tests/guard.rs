//! `guard` around commands that behave and commands that do not. What was spent is reckoned by the test's own
//! clock.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Sandbox, json_lines};

/// One dollar a second.
const PRICE: &str = "3600";

fn guarded(sandbox: &Sandbox, cap: &str, grace: &str, script: &str) -> Child {
    sandbox
        .command(&[
            "guard",
            "--cap",
            cap,
            "--price",
            PRICE,
            "--grace",
            grace,
            "--dir",
            "guarded",
            "--format",
            "json",
            "--summary",
            "summary.json",
            "--quiet",
            "--",
            "sh",
            "-c",
            script,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

/// Dollars that a machine at [`PRICE`] costs from one moment to another, in micro-dollars.
fn audited_micro_usd(since: Instant, until: Instant) -> i64 {
    i64::try_from((until - since).as_micros()).expect("a short time")
}

fn summary(sandbox: &Sandbox) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(sandbox.path("summary.json")).expect("a summary")).expect("JSON")
}

fn wait_for(path: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => assert!(Instant::now() < deadline, "{} never came", path.display()),
        }
        sleep(Duration::from_millis(10));
    }
}

/// Whether a process is there and no zombie.
fn lives(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

fn signal(child: &Child, name: &str) {
    let status =
        std::process::Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
}

#[test]
fn a_command_that_ends_well_passes_its_exit_code_and_its_output_through() {
    let sandbox = Sandbox::new();
    let output = guarded(&sandbox, "100", "1s", "echo heard; exit 7").wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "heard\n");
    let summary = summary(&sandbox);
    assert_eq!((summary["outcome"].as_str(), summary["exit_code"].as_i64()), (Some("finished"), Some(7)));
    assert!(summary["spent_usd"].as_f64().is_some_and(|spent| spent > 0.0 && spent < 100.0), "{summary}");
    sandbox.ok(&["ledger", "verify", "guarded"]);
    let status = sandbox.ok(&["status", "guarded", "--format", "json"]).json();
    assert_eq!(
        (status["runs"][0]["kind"].as_str(), status["runs"][0]["state"].as_str()),
        (Some("guard"), Some("finished"))
    );
}

#[test]
fn a_command_that_ignores_its_warning_is_killed_within_the_cap() {
    let sandbox = Sandbox::new();
    let since = Instant::now();
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    let output = guarded(&sandbox, "9", "1s", script).wait_with_output().expect("ends");
    let audited = audited_micro_usd(since, Instant::now());
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(audited <= 9_000_000, "{} micro-dollars over the cap", audited - 9_000_000);
    assert!(!lives(&wait_for(&sandbox.path("pid"))));
    let summary = summary(&sandbox);
    assert_eq!((summary["warned"].as_bool(), summary["killed"].as_bool()), (Some(true), Some(true)));
    sandbox.ok(&["ledger", "verify", "guarded"]);
}

#[test]
fn a_warned_command_may_save_its_work() {
    let sandbox = Sandbox::new();
    let script = "trap 'echo saved > checkpoint; exit 0' TERM; while :; do sleep 0.05; done";
    let output = guarded(&sandbox, "9", "3s", script).wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(4), "the cap was the reason, whatever the command says");
    assert_eq!(wait_for(&sandbox.path("checkpoint")), "saved");
    assert_eq!(summary(&sandbox)["killed"].as_bool(), Some(false));
}

#[test]
fn a_daemon_is_counted_and_ended_like_its_parent() {
    let sandbox = Sandbox::new();
    let since = Instant::now();
    let script = "setsid sh -c 'trap \"\" TERM HUP; (echo $$; cat /proc/self/stat | cut -d\" \" -f4) > all; \
                  echo $$ > pid; while :; do sleep 0.05; done' < /dev/null > /dev/null 2>&1 & exit 0";
    let output = guarded(&sandbox, "9", "1s", script).wait_with_output().expect("ends");
    let audited = audited_micro_usd(since, Instant::now());
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(audited <= 9_000_000, "{} micro-dollars over the cap", audited - 9_000_000);
    assert!(!lives(&wait_for(&sandbox.path("pid"))));
    assert_eq!(summary(&sandbox)["exit_code"].as_i64(), Some(0), "its parent ended well long before");
}

#[test]
fn a_guard_that_is_killed_takes_everything_with_it_and_is_charged_by_the_next() {
    let sandbox = Sandbox::new();
    let since = Instant::now();
    let script = "setsid sh -c 'echo $$ > daemon; exec sleep 600' & echo $$ > pid; exec sleep 600";
    let mut guard = guarded(&sandbox, "500", "1s", script);
    let processes = [wait_for(&sandbox.path("pid")), wait_for(&sandbox.path("daemon"))];
    signal(&guard, "-KILL");
    guard.wait().expect("reap");
    let deadline = Instant::now() + Duration::from_secs(30);
    while processes.iter().any(|pid| lives(pid)) {
        assert!(Instant::now() < deadline, "something outlived its guard");
        sleep(Duration::from_millis(5));
    }
    let audited = audited_micro_usd(since, Instant::now());
    let said = sandbox
        .run(&["guard", "--cap", "500", "--price", PRICE, "--grace", "1s", "--dir", "guarded", "--", "true"]);
    assert_eq!(said.code, 0, "{}", said.snapshot());
    assert!(said.stderr.contains("charged in full"), "{}", said.snapshot());
    let cut_off: i64 = json_lines(&sandbox.path("guarded/ledger.jsonl"))
        .iter()
        .take_while(|row| row["note"].as_str().is_none_or(|note| note != "command: true"))
        .filter(|row| row["kind"] == "settle")
        .map(|row| row["amount_micro_usd"].as_i64().expect("an amount"))
        .sum();
    assert!(cut_off >= audited, "{cut_off} charged for {audited}");
    sandbox.ok(&["ledger", "verify", "guarded"]);
}

#[test]
fn a_guard_that_is_stopped_is_ended_with_its_command_when_its_lease_is_over() {
    let sandbox = Sandbox::new();
    let mut guard = guarded(&sandbox, "100", "1s", "echo $$ > pid; exec sleep 600");
    let pid = wait_for(&sandbox.path("pid"));
    signal(&guard, "-STOP");
    // Nobody continues it: the kernel ends it.
    let status = guard.wait().expect("ends");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    let deadline = Instant::now() + Duration::from_secs(30);
    while lives(&pid) {
        assert!(Instant::now() < deadline, "the command outlived its guard");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_guards_share_one_budget() {
    let sandbox = Sandbox::new();
    sandbox.write("budget.toml", "version = 1\nname = \"project\"\ncap_usd = 32.0\n");
    let since = Instant::now();
    let guards = ["one", "two"].map(|name| {
        sandbox
            .command(&[
                "guard",
                "--cap",
                "100",
                "--price",
                PRICE,
                "--grace",
                "1s",
                "--dir",
                name,
                "--budget",
                "budget.toml",
                "--quiet",
                "--",
                "sh",
                "-c",
                "while :; do sleep 0.05; done",
            ])
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts")
    });
    let mut audited = 0;
    for guard in guards {
        let output = guard.wait_with_output().expect("ends");
        audited += audited_micro_usd(since, Instant::now());
        assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(audited <= 32_000_000, "{} micro-dollars over the cap", audited - 32_000_000);
    sandbox.ok(&["ledger", "verify", "one"]);
    sandbox.ok(&["ledger", "verify", "two"]);
    assert!(audited > 20_000_000, "stopped by their budget, not before: {audited}");
}

#[test]
fn a_signal_is_passed_on_and_the_command_s_answer_comes_back() {
    let sandbox = Sandbox::new();
    let script = "trap 'exit 9' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    let guard = guarded(&sandbox, "500", "20s", script);
    wait_for(&sandbox.path("pid"));
    signal(&guard, "-TERM");
    let output = guard.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(summary(&sandbox)["outcome"].as_str(), Some("interrupted"));
}

#[test]
fn what_cannot_be_is_said_before_anything_starts() {
    let sandbox = Sandbox::new();
    let guard = |arguments: &[&str]| {
        let said = sandbox.run(&[&["guard", "--dir", "guarded"], arguments].concat());
        (said.code, said.stderr)
    };
    let (code, said) = guard(&["--cap", "1", "--price", "3600", "--", "true"]);
    assert!(code == 2 && said.contains("no more than the grace"), "{said}");
    let (code, said) = guard(&["--cap", "500", "--price", "1", "--signal", "FLY", "--", "true"]);
    assert!(code == 2 && said.contains("no such signal"), "{said}");
    let (code, said) = guard(&["--cap", "500", "--price", "1", "--", "/no/such/command"]);
    assert!(code == 1 && said.contains("cannot start"), "{said}");
}
