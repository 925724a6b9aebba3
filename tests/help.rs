//! What the program says of itself.

use crate::harness::Sandbox;

#[test]
fn every_verb_has_help_and_completions_are_made_for_every_shell() {
    let sandbox = Sandbox::new();
    for verb in [
        &["--help"][..],
        &["plan", "--help"],
        &["run", "--help"],
        &["status", "--help"],
        &["ledger", "show", "--help"],
        &["ledger", "verify", "--help"],
        &["ledger", "export", "--help"],
        &["ledger", "import", "--help"],
        &["ledger", "adjust", "--help"],
        &["ledger", "reconcile", "--help"],
        &["ledger", "budget", "create", "--help"],
        &["ledger", "budget", "set-cap", "--help"],
        &["report", "--help"],
        &["data", "synth", "--help"],
        &["data", "inspect", "--help"],
        &["data", "repack", "--help"],
        &["data", "tokenize", "--help"],
        &["calibrate", "--help"],
        &["bench", "--help"],
        &["prices", "list", "--help"],
        &["prices", "update", "--help"],
        &["prices", "import", "--help"],
        &["prices", "diff", "--help"],
        &["law", "--help"],
        &["law", "fit", "--help"],
        &["backtest", "--help"],
        &["demo", "--help"],
        &["eval", "--help"],
        &["export", "--help"],
        &["import", "--help"],
    ] {
        let said = sandbox.ok(verb);
        assert!(said.stdout.contains("Usage: shoestring"), "{verb:?}\n{}", said.snapshot());
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(sandbox.ok(&["completions", shell]).stdout.contains("shoestring"), "{shell}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let sandbox = Sandbox::new();
    for wrong in [&["plam"][..], &["plan"], &["plan", "--budget"], &["run"], &["bench", "--shape", "z"]] {
        assert_eq!(sandbox.run(wrong).code, 2, "{wrong:?}");
    }
    assert_eq!(sandbox.run(&[]).code, 2, "no verb shows help and is wrong usage");
}
