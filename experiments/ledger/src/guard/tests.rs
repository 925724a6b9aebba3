use std::fs;

use proptest::prelude::*;

use super::*;
use crate::clock::FakeClock;
use crate::journal::{read, verify};

fn terms(cap_micros: i64) -> Terms {
    // 3,600 micro-dollars an hour: one micro-dollar a second.
    Terms {
        run: "test".into(),
        cap: Usd::from_micros(cap_micros),
        usd_per_hour: Usd::from_micros(3600),
        price_source: "stated".into(),
        price_as_of: None,
    }
}

fn usd(micros: i64) -> Usd {
    Usd::from_micros(micros)
}

#[test]
fn all_time_is_charged_also_between_quanta() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(FakeClock::new());
    let path = folder.path().join("ledger.jsonl");
    clock.advance(Duration::from_secs(2));
    let (mut guard, told) =
        BudgetGuard::open(&path, clock.clone(), terms(100), Duration::ZERO).expect("opens");
    assert!(told.is_empty());
    let quantum = guard.reserve("a", 0, Purpose::Train, usd(20), usd(80)).expect("fits");
    clock.advance(Duration::from_millis(4500));
    assert_eq!(guard.spent_by_the_clock(), usd(6));
    clock.advance(Duration::from_millis(500));
    assert!((guard.seconds_left(&quantum) - 13.0).abs() < 1e-9);
    assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(7));
    clock.advance(Duration::from_secs(1));
    let quantum = guard.reserve("a", 1, Purpose::Train, usd(20), usd(0)).expect("fits");
    clock.advance(Duration::from_millis(500));
    let settlement = guard.settle(quantum, 2).expect("settles");
    assert_eq!(settlement, Settlement { charged: usd(2), uncharged: usd(0) }, "1.5 s are rounded up");
    let quantum = guard.reserve("a", 2, Purpose::Evaluate, usd(20), usd(0)).expect("fits");
    guard.release(quantum, 2).expect("is given back");
    assert_eq!(guard.account().spent(), usd(9));
}

#[test]
fn what_does_not_fit_is_refused_with_both_numbers_and_leaves_no_row() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(FakeClock::new());
    let path = folder.path().join("ledger.jsonl");
    let (mut guard, _) = BudgetGuard::open(&path, clock, terms(100), Duration::ZERO).expect("opens");
    let refused = guard.reserve("a", 0, Purpose::Train, usd(60), usd(41)).expect_err("does not fit");
    assert!(matches!(refused, ReserveError::Refused(Refused { need, left, level: None })
        if need == usd(101) && left == usd(100)));
    assert_eq!(read(&path).expect("is sound").rows.len(), 1);
}

#[test]
fn an_overrun_is_charged_up_to_the_cap_and_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(FakeClock::new());
    let path = folder.path().join("ledger.jsonl");
    let (mut guard, _) = BudgetGuard::open(&path, clock.clone(), terms(100), Duration::ZERO).expect("opens");
    let quantum = guard.reserve("a", 0, Purpose::Train, usd(10), usd(0)).expect("fits");
    clock.advance(Duration::from_secs(130));
    let settlement = guard.settle(quantum, 1).expect("settles");
    assert_eq!((settlement.charged, settlement.overrun()), (usd(100), Some(usd(30))));
    let last = guard.rows().last().expect("has rows");
    assert!(last.note.contains("0.00003 USD stay uncharged"), "{}", last.note);
    assert!(guard.reserve("a", 1, Purpose::Train, usd(1), usd(0)).is_err());
}

fn opened(cap_micros: i64) -> (tempfile::TempDir, Arc<FakeClock>, BudgetGuard) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(FakeClock::new());
    let path = folder.path().join("ledger.jsonl");
    let (guard, _) =
        BudgetGuard::open(&path, clock.clone(), terms(cap_micros), Duration::ZERO).expect("opens");
    (folder, clock, guard)
}

#[test]
fn an_extended_quantum_is_settled_part_by_part() {
    let (_folder, clock, mut guard) = opened(100);
    let mut quantum = guard.reserve("a", 0, Purpose::Train, usd(20), usd(0)).expect("fits");
    guard.extend(&mut quantum, 0, usd(10), usd(0)).expect("fits");
    guard.extend(&mut quantum, 0, usd(30), usd(0)).expect("fits");
    assert!(guard.extend(&mut quantum, 0, usd(30), usd(11)).is_err(), "what is held stays free");
    assert_eq!((quantum.reserve(), guard.account().left()), (usd(60), usd(40)));
    assert!((guard.lease_seconds(Some(&quantum)) - 60.0).abs() < 1e-9);
    clock.advance(Duration::from_secs(25));
    assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(25));
    let settled: Vec<(Kind, i64, f64)> = guard.rows()[4..]
        .iter()
        .map(|row| (row.kind, row.amount.unwrap_or_default().micros(), row.seconds.unwrap_or_default()))
        .collect();
    assert_eq!(settled, [(Kind::Settle, 20, 20.0), (Kind::Settle, 5, 5.0), (Kind::Release, 0, 0.0)]);
    assert_eq!(guard.account().spent(), usd(25));
}

#[test]
fn what_is_paid_ahead_is_paid_once_and_covers_the_time_between_quanta() {
    let (_folder, clock, mut guard) = opened(100);
    guard.pay_ahead(Duration::from_secs(2));
    assert_eq!(guard.cost_of_next(5.0), usd(7));
    let quantum = guard.reserve("a", 0, Purpose::Train, usd(20), usd(0)).expect("fits");
    clock.advance(Duration::from_secs(10));
    assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(12));
    clock.advance(Duration::from_secs(1));
    assert!((guard.lease_seconds(None) - 1.0).abs() < 1e-9);
    let quantum = guard.reserve("a", 1, Purpose::Train, usd(20), usd(0)).expect("fits");
    clock.advance(Duration::from_secs(4));
    assert_eq!(guard.settle(quantum, 2).expect("settles").charged, usd(5));
    // At the cap the time to come is paid for as far as there is money.
    let quantum = guard.reserve("a", 2, Purpose::Train, usd(83), usd(0)).expect("fits");
    clock.advance(Duration::from_secs(84));
    let settlement = guard.settle(quantum, 3).expect("settles");
    assert_eq!(settlement, Settlement { charged: usd(83), uncharged: usd(0) });
    assert!((guard.lease_seconds(None) - 1.0).abs() < 1e-9);
}

#[test]
fn hours_begun_are_paid_whole() {
    let (_folder, clock, mut guard) = opened(10_000);
    guard.set_billing(Billing { increment_seconds: 3600.0, minimum_seconds: 0.0 });
    // 3,600 micro-dollars an hour: the cap pays for two whole hours, 2,800 are of no use.
    assert!((guard.seconds_of_work_for(usd(10_000)) - 7200.0).abs() < 1e-6);
    assert_eq!(guard.cost_of_next(1.0), usd(3600));
    let quantum = guard.reserve("a", 0, Purpose::Train, usd(3600), usd(0)).expect("fits");
    clock.advance(Duration::from_secs(60));
    assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(3600));
    assert_eq!(guard.cost_of_next(3000.0), usd(0), "the hour is paid for");
    assert!((guard.lease_seconds(None) - 3540.0).abs() < 1e-6);
    assert_eq!(guard.cost_of_next(3541.0), usd(3600));
    assert!((guard.seconds_of_work_for(usd(6400)) - 7140.0).abs() < 1e-6);
}

#[test]
fn reserves_are_at_the_worst_price_and_settlements_at_the_present_one() {
    let (_folder, clock, mut guard) = opened(1000);
    guard.reckon_with(Usd::from_micros(36_000));
    assert_eq!((guard.cost_of_next(10.0), guard.cost_of_seconds(10.0)), (usd(100), usd(10)));
    let quantum = guard.reserve("a", 0, Purpose::Train, usd(100), usd(0)).expect("fits");
    clock.advance(Duration::from_secs(5));
    guard.change_price(0, Usd::from_micros(18_000), "the spot market", None).expect("is written");
    clock.advance(Duration::from_secs(5));
    assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(50), "all of it at the new price");
    let last = guard.rows().last().expect("has rows");
    assert_eq!(last.usd_per_hour, Some(Usd::from_micros(18_000)));
}

#[test]
fn another_cap_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("ledger.jsonl");
    let clock = Arc::new(FakeClock::new());
    drop(BudgetGuard::open(&path, clock.clone(), terms(100), Duration::ZERO).expect("opens"));
    let error = BudgetGuard::open(&path, clock, terms(200), Duration::ZERO).expect_err("is refused");
    assert!(matches!(error, LedgerError::OtherCap { .. }));
}

/// What can happen to a run's money.
#[derive(Clone, Debug)]
enum Event {
    Reserve {
        amount: i64,
        hold: i64,
    },
    Pass {
        millis: u64,
    },
    Settle,
    Release,
    /// The process dies; of the last row, this fraction (of 256) of its bytes reached the disk.
    Crash {
        torn: u8,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0i64..400, 0i64..200).prop_map(|(amount, hold)| Event::Reserve { amount, hold }),
        4 => (0u64..300_000).prop_map(|millis| Event::Pass { millis }),
        4 => Just(Event::Settle),
        1 => Just(Event::Release),
        1 => any::<u8>().prop_map(|torn| Event::Crash { torn }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_cap_holds_and_nothing_is_taken_back(
        events in prop::collection::vec(event(), 1..40),
        cap in 1i64..1000,
    ) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("ledger.jsonl");
        let clock = Arc::new(FakeClock::new());
        let (mut guard, _) =
            BudgetGuard::open(&path, clock.clone(), terms(cap), Duration::ZERO).expect("opens");
        let mut open: Option<Quantum> = None;
        let mut settled = Usd::ZERO;
        for event in events {
            match event {
                Event::Reserve { amount, hold } => {
                    let left = guard.account().left();
                    match guard.reserve("a", 0, Purpose::Train, usd(amount), usd(hold)) {
                        Ok(quantum) => {
                            prop_assert!(usd(amount + hold) <= left);
                            // A quantum that is dropped stays reserved.
                            open = Some(quantum);
                        }
                        Err(ReserveError::Refused(_)) => prop_assert!(usd(amount + hold) > left),
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                }
                Event::Pass { millis } => clock.advance(Duration::from_millis(millis)),
                Event::Settle => {
                    if let Some(quantum) = open.take() {
                        guard.settle(quantum, 0).expect("settles");
                    }
                }
                Event::Release => {
                    if let Some(quantum) = open.take() {
                        guard.release(quantum, 0).expect("is given back");
                    }
                }
                Event::Crash { torn } => {
                    open = None;
                    let before = guard.account().clone();
                    drop(guard);
                    // A row of which the caller never heard, half on disk.
                    let mut bytes = fs::read(&path).expect("reads");
                    let first = bytes.iter().position(|&byte| byte == b'\n').expect("has a row");
                    let half = bytes[..first * usize::from(torn) / 256].to_vec();
                    bytes.extend(half);
                    fs::write(&path, bytes).expect("writes");
                    let since = clock.elapsed();
                    guard = BudgetGuard::open(&path, clock.clone(), terms(cap), since).expect("heals").0;
                    prop_assert_eq!(guard.account().spent(), before.spent());
                    prop_assert_eq!(guard.account().reserved(), Usd::ZERO);
                }
            }
            let account = guard.account();
            prop_assert!(account.spent() <= account.cap());
            prop_assert!(account.settled() >= settled);
            prop_assert!(account.reserved() >= Usd::ZERO);
            settled = account.settled();
            let contents = verify(&path).expect("is sound at every moment");
            prop_assert_eq!(&contents.account, account);
        }
    }
}

#[test]
fn a_clock_that_is_set_moves_no_money_and_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(FakeClock::new());
    let path = folder.path().join("ledger.jsonl");
    let (mut guard, _) = BudgetGuard::open(&path, clock.clone(), terms(100), Duration::ZERO).expect("opens");
    for days in [1, -2, 1] {
        let quantum = guard.reserve("a", 0, Purpose::Train, usd(20), usd(0)).expect("fits");
        clock.advance(Duration::from_secs(10));
        clock.set(TimeDelta::days(days));
        assert_eq!(guard.settle(quantum, 1).expect("settles").charged, usd(10));
    }
    assert_eq!(guard.account().settled(), usd(30));
    let rows = verify(&path).expect("is sound").rows;
    let notes: Vec<&str> =
        rows.iter().filter(|row| row.kind == Kind::Note).map(|row| row.note.as_str()).collect();
    let set = |direction: &str, seconds: u64| format!("the time of day was set {direction} by {seconds} s");
    assert_eq!(notes, [set("forward", 86400), set("back", 172_800), set("forward", 86400)]);
    assert_eq!(crate::summary::clock_set_back(&rows).len(), 1);

    // Set back between two processes: the next one tells it too.
    drop(guard);
    clock.set(TimeDelta::days(-1));
    let since = clock.elapsed();
    let (guard, told) = BudgetGuard::open(&path, clock, terms(100), since).expect("opens");
    assert!(told.iter().any(|text| text.contains("86400 s before")), "{told:?}");
    assert_eq!(guard.account().settled(), usd(30));
}

#[test]
fn time_before_a_change_of_price_is_charged_at_the_higher_of_both() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(FakeClock::new());
    let path = folder.path().join("ledger.jsonl");
    let (mut guard, _) = BudgetGuard::open(&path, clock.clone(), terms(100), Duration::ZERO).expect("opens");
    let quantum = guard.reserve("a", 0, Purpose::Train, usd(60), usd(0)).expect("fits");
    clock.advance(Duration::from_secs(10));
    guard.change_price(1, usd(2 * 3600), "spot", Some("2026-01-01".into())).expect("is written down");
    clock.advance(Duration::from_secs(5));
    assert_eq!(guard.spent_by_the_clock(), usd(30));
    assert!((guard.seconds_left(&quantum) - 15.0).abs() < 1e-9, "30 micro-dollars at 2 a second");
    assert_eq!(guard.settle(quantum, 2).expect("settles").charged, usd(30));
    let rows = verify(&path).expect("is sound").rows;
    assert_eq!(rows[2].kind, Kind::PriceChange);
    assert_eq!(rows[3].price_as_of.as_deref(), Some("2026-01-01"));
    assert_eq!(rows[3].seconds, Some(15.0));
}

#[test]
fn money_without_a_reserve_is_charged_up_to_the_cap_and_the_rest_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(FakeClock::new());
    let path = folder.path().join("ledger.jsonl");
    let (mut guard, _) = BudgetGuard::open(&path, clock, terms(100), Duration::ZERO).expect("opens");
    let settlement = guard.spend("", 0, Purpose::Idle, usd(130), 130.0, "a gap").expect("is written down");
    assert_eq!(settlement, Settlement { charged: usd(100), uncharged: usd(30) });
    assert_eq!(guard.left(), usd(0));
}

#[test]
fn a_ledger_that_somebody_writes_to_is_not_opened_twice() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(FakeClock::new());
    let path = folder.path().join("ledger.jsonl");
    let first = BudgetGuard::open(&path, clock.clone(), terms(100), Duration::ZERO).expect("opens");
    let error = BudgetGuard::open(&path, clock.clone(), terms(100), Duration::ZERO).expect_err("is refused");
    assert!(matches!(error, LedgerError::InUse { .. }), "{error}");
    drop(first);
    BudgetGuard::open(&path, clock, terms(100), Duration::ZERO).expect("opens");
}

#[test]
fn a_run_may_not_take_from_a_shared_budget_what_others_hold() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(FakeClock::new());
    let budget = folder.path().join("grant.toml");
    let terms_of = crate::budget::BudgetTerms::new("grant", usd(100));
    drop(SharedBudget::create(&budget, &terms_of, clock.clone()).expect("is made"));
    let open = |name: &str| {
        let path = folder.path().join(format!("{name}.jsonl"));
        let (mut guard, _) =
            BudgetGuard::open(&path, clock.clone(), terms(90), clock.elapsed()).expect("opens");
        guard.join(SharedBudget::open(&budget, clock.clone()).expect("opens").0);
        guard
    };
    let (mut one, mut two) = (open("one"), open("two"));
    let first = one.reserve("a", 0, Purpose::Train, usd(70), usd(0)).expect("fits");
    let refused = two.reserve("a", 0, Purpose::Train, usd(31), usd(0)).expect_err("does not fit");
    assert_eq!(refused.to_string(), "0.000031 USD are needed, 0.00003 USD are left under the cap of grant");
    assert_eq!(two.left(), usd(30));
    let second = two.reserve("a", 0, Purpose::Train, usd(30), usd(0)).expect("fits");
    clock.advance(Duration::from_secs(80));
    // 80 are used; 70 were set aside and nothing is left in the grant.
    let settlement = one.settle(first, 1).expect("settles");
    assert_eq!(settlement, Settlement { charged: usd(70), uncharged: usd(10) });
    two.release(second, 1).expect("is given back");
    assert_eq!(verify(&folder.path().join("grant.jsonl")).expect("is sound").account.spent(), usd(70));
}
