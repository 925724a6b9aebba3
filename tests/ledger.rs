//! Money that was spent elsewhere, corrections, invoices and shared budgets, from outside.

use std::fs;

use crate::harness::Sandbox;

/// Written by the program at version 1: a run of 97 micro-dollars.
const FIRST_VERSION: &str = include_str!("../experiments/ledger/tests/files/ledger-v1.jsonl");

#[test]
fn imports_and_corrections_are_rows_of_their_own_and_unknown_is_not_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("old/ledger.jsonl", FIRST_VERSION);
    let verify = |rows: u64| {
        let said = sandbox.ok(&["ledger", "verify", "old", "--format", "json"]).json();
        assert_eq!((said["sound"].as_bool(), said["rows"].as_u64()), (Some(true), Some(rows)));
    };
    verify(18);
    let import = |arguments: &[&str]| {
        let arguments = [&["ledger", "import", "old", "--format", "json"], arguments].concat();
        sandbox.run(&arguments)
    };
    let said = import(&["--amount", "0.5", "--purpose", "storage", "--provider", "box"]);
    assert_eq!(said.json()["spent_usd"], 0.500_097);
    let refused = import(&["--amount", "0.1", "--currency", "EUR"]);
    assert!(refused.code == 2 && refused.stderr.contains("EUR"), "{}", refused.snapshot());
    let said = import(&["--amount", "0.1", "--currency", "EUR", "--rate", "EUR=1.25@2026-11=stated"]);
    assert_eq!(said.json()["imported_usd"], 0.125);
    let said = import(&["--amount", "unknown", "--provider", "late"]);
    assert_eq!(said.json()["unknown_rows"], 1);
    let shown = sandbox.ok(&["ledger", "show", "old", "--format", "json"]).json();
    assert_eq!(shown["unknown_rows"], serde_json::json!([20]));
    assert_eq!(shown["imported_usd"], 0.625);
    let adjust = |arguments: &[&str]| sandbox.run(&[&["ledger", "adjust", "old"], arguments].concat());
    assert_eq!(adjust(&["--amount", "0.2", "--row", "20"]).code, 2, "a reason is needed");
    assert_eq!(adjust(&["--amount", "0.2", "--row", "20", "--reason", "the bill came"]).code, 0);
    let below = adjust(&["--amount", "-5", "--reason", "credit"]);
    assert!(below.code == 1 && below.stderr.contains("less than nothing"), "{}", below.snapshot());
    assert_eq!(adjust(&["--amount", "-0.1", "--reason", "credit"]).code, 0);
    verify(23);
    let shown = sandbox.ok(&["ledger", "show", "old", "--format", "json"]).json();
    assert_eq!((&shown["unknown_rows"], &shown["adjusted_usd"]), (&serde_json::json!([]), &0.1.into()));
    let groups = sandbox.ok(&["ledger", "show", "old", "--by", "kind", "--format", "json"]).json();
    let kinds: Vec<_> =
        groups["groups"].as_array().expect("groups").iter().filter_map(|one| one["kind"].as_str()).collect();
    assert_eq!(kinds, ["adjust", "end", "import", "open", "reserve", "settle"]);
    assert!(fs::read_to_string(sandbox.path("old/ledger.jsonl")).expect("reads").starts_with(FIRST_VERSION));
}

#[test]
fn a_row_changed_by_hand_is_named_with_what_was_expected_and_found() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "old/ledger.jsonl",
        FIRST_VERSION.replacen("\"amount_micro_usd\":7,", "\"amount_micro_usd\":6,", 1),
    );
    let said = sandbox.run(&["ledger", "verify", "old"]);
    assert_eq!(said.code, 1);
    for part in ["ledger.jsonl:3:", "expected", "found", "hint:"] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
}

#[test]
fn an_invoice_with_three_planted_errors_has_all_three_named() {
    let sandbox = Sandbox::new();
    for name in ["one", "two", "three"] {
        sandbox.ok(&["ledger", "budget", "create", &format!("{name}.toml"), "--cap", "100"]);
        let import = [
            "ledger",
            "import",
            &format!("{name}.toml"),
            "--run",
            name,
            "--provider",
            "aws",
            "--csv",
            "own.csv",
        ];
        let text = format!(
            "run,amount,provider,start,end,quantity,unit,unit_price\n\
            {name},20,aws,2026-01-01T00:00:00Z,2026-01-01T10:00:00Z,10,h,2\n"
        );
        sandbox.write("own.csv", text);
        sandbox.ok(&import);
    }
    let bill = |lines: &str| format!("provider,run,quantity,unit,unit_price,amount\n{lines}");
    sandbox.write("right.csv", bill("aws,one,10,h,2,20\naws,two,10,h,2,20\naws,three,10,h,2,20\n"));
    let compare = |file: &str| {
        sandbox.run(&["ledger", "reconcile", file, "one.toml", "two.toml", "three.toml", "--format", "json"])
    };
    let right = compare("right.csv");
    assert_eq!((right.code, right.json()["findings"].as_array().map(Vec::len)), (0, Some(0)));
    // A wrong price, hours rounded up, a line twice.
    let lines = "aws,one,10,h,2.3,23\naws,two,11,h,2,22\naws,three,10,h,2,20\naws,three,10,h,2,20\n";
    sandbox.write("wrong.csv", bill(lines));
    let wrong = compare("wrong.csv");
    assert_eq!(wrong.code, 6);
    let wrong = wrong.json();
    let found: Vec<_> = wrong["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|one| (one["line"].as_u64(), one["kind"].as_str(), one["difference_usd"].as_f64()))
        .collect();
    let expected = [
        (Some(2), Some("price"), Some(3.0)),
        (Some(3), Some("quantity"), Some(2.0)),
        (Some(5), Some("billed_twice"), Some(20.0)),
    ];
    assert_eq!(found, expected);
    assert_eq!(wrong["providers"][0]["recorded_usd"], 60.0);
    assert_eq!(wrong["providers"][0]["billed_usd"], 85.0);
    let text = sandbox.run(&["ledger", "reconcile", "wrong.csv", "one.toml", "two.toml", "three.toml"]);
    assert!(text.stdout.contains("+41.7 %"), "{}", text.stdout);
}

#[test]
fn a_budget_is_made_nested_raised_and_not_lowered_below_what_is_spent() {
    let sandbox = Sandbox::new();
    let budget = |arguments: &[&str]| sandbox.run(&[&["ledger", "budget"], arguments].concat());
    assert_eq!(budget(&["create", "project.toml", "--cap", "100", "--warn", "50"]).code, 0);
    assert_eq!(budget(&["create", "project.toml", "--cap", "100"]).code, 2, "is there already");
    assert_eq!(budget(&["create", "sweep.toml", "--cap", "60", "--parent", "nowhere.toml"]).code, 1);
    assert!(!sandbox.path("sweep.toml").exists(), "nothing is left of what was refused");
    assert_eq!(budget(&["create", "sweep.toml", "--cap", "60", "--parent", "project.toml"]).code, 0);
    sandbox.ok(&["ledger", "import", "sweep.toml", "--amount", "40", "--run", "elsewhere"]);
    let shown = budget(&["show", "sweep.toml", "--format", "json", "--fail-at", "60"]);
    assert_eq!(shown.code, 6, "two thirds of the sweep are spent");
    let shown = shown.json();
    assert_eq!(shown["levels"][0]["spent_usd"], 40.0);
    assert_eq!(
        (&shown["levels"][1]["name"], &shown["levels"][1]["left_usd"]),
        (&"sweep".into(), &20.0.into())
    );
    let low = budget(&["set-cap", "sweep.toml", "39"]);
    assert!(low.code == 1 && low.stderr.contains("39.00") && low.stderr.contains("40.00"), "{}", low.stderr);
    assert_eq!(budget(&["set-cap", "sweep.toml", "80"]).code, 0);
    let rows = sandbox.ok(&["ledger", "show", "sweep.toml", "--rows"]).stdout;
    assert!(rows.contains("the cap is raised from 60.00 to 80.00 USD"), "{rows}");
    sandbox.ok(&["ledger", "verify", "project.toml", "sweep.toml"]);
}

#[test]
fn exports_are_the_same_bytes_every_time() {
    let sandbox = Sandbox::new();
    sandbox.write("old/ledger.jsonl", FIRST_VERSION);
    for (file, focus) in [("a.csv", false), ("b.csv", true), ("c.parquet", false), ("d.parquet", true)] {
        let mut arguments = vec!["ledger", "export", "old", "--out", file];
        arguments.extend(focus.then_some("--focus"));
        sandbox.ok(&arguments);
        let first = fs::read(sandbox.path(file)).expect("reads");
        sandbox.ok(&arguments);
        assert_eq!(first, fs::read(sandbox.path(file)).expect("reads"), "{file}");
    }
    let text = fs::read_to_string(sandbox.path("b.csv")).expect("reads");
    let settlements = FIRST_VERSION.matches("\"kind\":\"settle\"").count();
    assert_eq!(text.lines().count(), 1 + settlements);
    assert_eq!(sandbox.ok(&["ledger", "export", "old"]).stdout.lines().count(), 19);
}
