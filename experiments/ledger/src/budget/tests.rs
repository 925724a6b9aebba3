use std::fs;

use super::*;
use crate::clock::FakeClock;
use crate::journal::{read, verify};

fn usd(micros: i64) -> Usd {
    Usd::from_micros(micros)
}

fn clock() -> Arc<FakeClock> {
    Arc::new(FakeClock::new())
}

fn claim(amount: i64) -> Claim {
    Claim {
        run: "run".into(),
        stage: "pretrain".into(),
        step: 0,
        purpose: Purpose::Train,
        amount: usd(amount),
        seconds: Some(1.0),
        usd_per_hour: Some(usd(3600)),
        price_source: "stated".into(),
        price_as_of: None,
    }
}

/// A project of 100 and a sweep of 60 in it.
fn nested(folder: &Path) -> PathBuf {
    let (project, sweep) = (folder.join("project.toml"), folder.join("sweep.toml"));
    SharedBudget::create(&project, &BudgetTerms::new("project", usd(100)), clock()).expect("is made");
    let terms = BudgetTerms { parent: Some("project.toml".into()), ..BudgetTerms::new("sweep", usd(60)) };
    SharedBudget::create(&sweep, &terms, clock()).expect("is made");
    sweep
}

fn spent(folder: &Path, name: &str) -> i64 {
    verify(&folder.join(name)).expect("is sound").account.spent().micros()
}

#[test]
fn a_reserve_fits_at_every_level_or_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = nested(folder.path());
    let (mut sweep, told) = SharedBudget::open(&path, clock()).expect("opens");
    assert!(told.is_empty(), "{told:?}");
    let (mut project, _) = SharedBudget::open(&folder.path().join("project.toml"), clock()).expect("opens");
    let share = sweep.reserve(claim(50), usd(10)).expect("fits");
    let refused = sweep.reserve(claim(11), Usd::ZERO).expect_err("does not fit");
    assert!(
        matches!(&refused, ReserveError::Refused(refused)
            if refused.level.as_deref() == Some("sweep") && refused.left == usd(10)),
        "{refused}"
    );
    let other = project.reserve(claim(45), Usd::ZERO).expect("fits into what the sweep left");
    let refused = sweep.reserve(claim(6), Usd::ZERO).expect_err("does not fit");
    assert!(refused.to_string().ends_with("under the cap of project"), "{refused}");
    assert_eq!((spent(folder.path(), "sweep.jsonl"), spent(folder.path(), "project.jsonl")), (50, 95));
    // More than was set aside: as far as every level has room.
    let mut recorded = None;
    let record = |charged| {
        recorded = Some(charged);
        Ok(())
    };
    assert_eq!(sweep.settle(share, 1, usd(80), 1.0, record).expect("settles"), usd(55));
    assert_eq!(recorded, Some(usd(55)));
    project.release(other).expect("is given back");
    assert_eq!((spent(folder.path(), "sweep.jsonl"), spent(folder.path(), "project.jsonl")), (55, 55));
}

#[test]
fn what_a_dead_holder_had_reserved_is_charged_in_full_and_a_living_ones_is_not() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = nested(folder.path());
    let (mut one, _) = SharedBudget::open(&path, clock()).expect("opens");
    let (mut living, _) = SharedBudget::open(&path, clock()).expect("opens");
    let _lost = one.reserve(claim(20), Usd::ZERO).expect("fits");
    let held = living.reserve(claim(5), Usd::ZERO).expect("fits");
    // Its locks end as they do when a process is killed; only the file of its name stays behind.
    let name = one.holder().to_owned();
    drop(one);
    fs::write(folder.path().join("sweep.holders").join(&name), "").expect("writes");
    let (_next, told) = SharedBudget::open(&path, clock()).expect("opens");
    assert_eq!(told.len(), 2, "once a level: {told:?}");
    for journal in ["sweep.jsonl", "project.jsonl"] {
        let account = verify(&folder.path().join(journal)).expect("is sound").account;
        assert_eq!((account.settled(), account.reserved()), (usd(20), usd(5)));
    }
    living.release(held).expect("is given back");
}

#[test]
fn a_cap_is_raised_and_lowered_on_record_but_not_below_what_is_spent() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = nested(folder.path());
    let (mut budget, _) = SharedBudget::open(&path, clock()).expect("opens");
    let _share = budget.reserve(claim(50), Usd::ZERO).expect("fits");
    let error = budget.set_cap(usd(49)).expect_err("is refused");
    assert!(error.to_string().contains("0.000049") && error.to_string().contains("0.00005 "), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(BudgetTerms::read(&path).expect("reads").cap_usd, usd(60), "the file is as it was");
    assert_eq!(budget.set_cap(usd(90)).expect("is raised"), usd(60));
    let rows = read(&folder.path().join("sweep.jsonl")).expect("is sound").rows;
    let last = rows.last().expect("has rows");
    assert_eq!((last.kind, last.amount), (Kind::Cap, Some(usd(90))));
    assert!(last.note.contains("raised"), "{}", last.note);

    // By hand, in the file: taken in by the next who opens it, under the same rule.
    let by_hand = |cap: &str| {
        let text = fs::read_to_string(&path).expect("reads");
        fs::write(&path, text.replace("0.00009", cap)).expect("writes");
        let opened = SharedBudget::open(&path, clock()).map(|(_, told)| told);
        fs::write(&path, text).expect("writes");
        opened
    };
    assert!(matches!(by_hand("0.00001"), Err(LedgerError::CapBelowSpent { .. })));
    assert_eq!(by_hand("0.00007").expect("is lowered").len(), 1);
}

#[test]
fn a_threshold_is_told_once_among_all_and_again_after_the_cap_was_raised() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("grant.toml");
    let hook = Some("true".to_owned());
    let warn =
        vec![Threshold { at_percent: 50, hook: hook.clone() }, Threshold { at_percent: 90, hook: None }];
    let terms = BudgetTerms { warn, ..BudgetTerms::new("grant", usd(100)) };
    let mut one = SharedBudget::create(&path, &terms, clock()).expect("is made");
    let (mut other, _) = SharedBudget::open(&path, clock()).expect("opens");
    let _first = one.reserve(claim(49), Usd::ZERO).expect("fits");
    assert!(one.warnings().expect("asks").is_empty());
    let _second = other.reserve(claim(1), Usd::ZERO).expect("fits");
    let told = other.warnings().expect("asks");
    let expected = Warning { budget: "grant".into(), at_percent: 50, spent: usd(50), cap: usd(100), hook };
    assert_eq!(told, [expected]);
    one.refresh().expect("reads on");
    assert!(one.warnings().expect("asks").is_empty() && other.warnings().expect("asks").is_empty());
    one.set_cap(usd(200)).expect("is raised");
    let _third = one.reserve(claim(50), Usd::ZERO).expect("fits");
    assert_eq!(one.warnings().expect("asks").len(), 1);
}

#[test]
fn a_circle_of_budgets_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (name, parent) in [("a", "b.toml"), ("b", "a.toml")] {
        let text = format!("version = 1\nname = \"{name}\"\ncap_usd = 1\nparent = \"{parent}\"\n");
        fs::write(folder.path().join(format!("{name}.toml")), text).expect("writes");
    }
    let error = SharedBudget::open(&folder.path().join("a.toml"), clock()).expect_err("is refused");
    assert!(matches!(&error, LedgerError::Budget { field, .. } if field == "parent"), "{error}");
}

#[test]
fn a_lock_that_is_not_let_go_of_is_an_error_that_names_who_has_the_budget_open() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = nested(folder.path());
    let (mut budget, _) = SharedBudget::open(&path, clock()).expect("opens");
    let (other, _) = SharedBudget::open(&path, clock()).expect("opens");
    let journal = fs::File::open(folder.path().join("project.jsonl")).expect("opens");
    journal.lock().expect("locks");
    budget.set_patience(Duration::ZERO);
    let error = budget.refresh().expect_err("gives up").to_string();
    assert!(error.contains("project.jsonl") && error.contains(other.holder()), "{error}");
    journal.unlock().expect("lets go");
    budget.refresh().expect("goes on");
}

#[test]
fn an_unknown_amount_stops_reserves_until_it_is_stated() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = nested(folder.path());
    let (mut budget, _) = SharedBudget::open(&path, clock()).expect("opens");
    let now = budget.clock.now();
    let import = Draft { run: "elsewhere".into(), amount: None, ..Draft::new(Kind::Import, now) };
    budget.state(&import).expect("is taken in");
    let error = budget.reserve(claim(1), Usd::ZERO).expect_err("is refused");
    assert!(matches!(&error, ReserveError::Ledger(LedgerError::SpendUnknown { line: 2, .. })), "{error}");
    let adjust = |of| Draft { amount: Some(usd(30)), of: Some(of), ..Draft::new(Kind::Adjust, now) };
    assert!(budget.adjust(&adjust(0)).is_err());
    budget.adjust(&adjust(1)).expect("is taken in");
    let _share = budget.reserve(claim(30), Usd::ZERO).expect("fits");
    assert_eq!((spent(folder.path(), "sweep.jsonl"), spent(folder.path(), "project.jsonl")), (60, 60));
}
