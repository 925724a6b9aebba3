//! The one till that a process pays from: the budget guard, the quantum that is open, and the lease that both
//! give. A thread of its own prolongs the lease when a piece of work takes longer than was set aside for it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use shoestring_ledger::{BudgetGuard, LedgerError, Purpose, Quantum, ReserveError, Settlement};
use shoestring_planner::units::Usd;

use crate::lease::Lease;
use crate::run::ending::INTERRUPTED;

/// Each settlement pays so much ahead: for what is done between two quanta, and for the end of the process.
pub const AHEAD: Duration = Duration::from_secs(2);
/// A lease is prolonged when so much of it is left, or half of it if that is less.
const PROLONG_BEFORE_SECONDS: f64 = 1.5;
/// With less than this left a process ends in its own way while it can.
const LAPSE_BEFORE_SECONDS: f64 = 0.3;

/// Money by one open quantum at a time, from any thread.
#[derive(Debug)]
pub struct Till {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    lease: Option<Arc<dyn Lease>>,
}

#[derive(Debug)]
struct State {
    guard: BudgetGuard,
    open: Option<Open>,
    closed: bool,
}

/// The quantum at hand.
#[derive(Debug)]
struct Open {
    quantum: Quantum,
    step: u64,
    /// What must stay free even if this takes longer than was thought.
    untouchable: Usd,
    /// Seconds that it was set aside for.
    seconds: f64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the kernel and the watcher how long the lease is now.
    fn renew(&self, state: &State) {
        if let Some(lease) = &self.lease {
            lease.renew(state.lease_seconds());
            self.changed.notify_all();
        }
    }
}

impl State {
    fn lease_seconds(&self) -> f64 {
        self.guard.lease_seconds(self.open.as_ref().map(|open| &open.quantum))
    }

    /// Sets more aside for the quantum at hand, as much as before or all that may be had.
    fn prolong(&mut self) -> Result<(), ReserveError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let wanted = self.guard.cost_of_seconds(open.seconds.max(PROLONG_BEFORE_SECONDS));
        let free = self.guard.left().minus_or_zero(open.untouchable);
        let amount = wanted.min(free).max(Usd::from_micros(1));
        self.guard.extend(&mut open.quantum, open.step, amount, open.untouchable)
    }
}

impl Till {
    /// A till that pays from `guard`. With a lease the process is ended when it outlives what is paid for.
    pub fn new(mut guard: BudgetGuard, lease: Option<Arc<dyn Lease>>) -> Self {
        guard.pay_ahead(AHEAD);
        let watched = lease.is_some();
        let state = State { guard, open: None, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), lease });
        let watcher = watched.then(|| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || watch(&shared))
        });
        Self { shared, watcher }
    }

    /// Looks at the guard.
    pub fn with<T>(&self, look: impl FnOnce(&mut BudgetGuard) -> T) -> T {
        look(&mut self.shared.lock().guard)
    }

    /// Opens a quantum: `amount` is set aside if it fits beside `hold`. Should the work take longer, it may
    /// be prolonged from what is left beside `untouchable`.
    pub fn reserve(
        &self,
        stage: &str,
        step: u64,
        purpose: Purpose,
        amount: Usd,
        hold: Usd,
        untouchable: Usd,
    ) -> Result<(), ReserveError> {
        let mut state = self.shared.lock();
        debug_assert!(state.open.is_none(), "one quantum at a time");
        let quantum = state.guard.reserve(stage, step, purpose, amount, hold)?;
        let seconds = state.guard.lease_seconds(Some(&quantum));
        state.open = Some(Open { quantum, step, untouchable, seconds });
        self.shared.renew(&state);
        Ok(())
    }

    /// Sets so many seconds more aside for the open quantum, if they fit beside `hold`.
    pub fn extend(&self, step: u64, seconds: f64, hold: Usd) -> Result<(), ReserveError> {
        let mut state = self.shared.lock();
        let amount = state.guard.cost_of_next(seconds);
        let State { guard, open, .. } = &mut *state;
        if let Some(open) = open {
            let more = amount.minus_or_zero(open.quantum.reserve());
            guard.extend(&mut open.quantum, step, more, hold)?;
        }
        self.shared.renew(&state);
        Ok(())
    }

    /// Sets more aside for the open quantum, so that it lasts `seconds` from now or as much of them as there is money
    /// for. Returns by how many seconds it lasts longer.
    pub fn stretch(&self, step: u64, seconds: f64) -> Result<f64, ReserveError> {
        let mut state = self.shared.lock();
        let before = state.lease_seconds();
        let State { guard, open, .. } = &mut *state;
        let Some(open) = open else { return Ok(0.0) };
        let had = open.quantum.reserve();
        let seconds = seconds.min(guard.seconds_of_work_for(had + guard.left()));
        let more = guard.cost_of_next(seconds).minus_or_zero(had).min(guard.left());
        if more > Usd::ZERO {
            guard.extend(&mut open.quantum, step, more, Usd::ZERO)?;
        }
        self.shared.renew(&state);
        Ok(state.lease_seconds() - before)
    }

    /// Opens the next quantum before the open one is settled, so that no other process can take the money in
    /// between; refused, the open one stays.
    pub fn roll(&self, stage: &str, purpose: Purpose, seconds: f64) -> Result<(), ReserveError> {
        let mut state = self.shared.lock();
        let State { guard, open, .. } = &mut *state;
        // What is pending is paid from the open one.
        let pending = if open.is_some() { guard.cost_of_next(0.0) } else { Usd::ZERO };
        let amount = guard.cost_of_next(seconds) - pending;
        let quantum = guard.reserve(stage, 0, purpose, amount, Usd::ZERO)?;
        let next = Open { quantum, step: 0, untouchable: Usd::ZERO, seconds };
        let settled = open.replace(next).map(|before| guard.settle(before.quantum, 0));
        self.shared.renew(&state);
        settled.transpose()?;
        Ok(())
    }

    /// Charges the open quantum by the clock and closes it; nothing where none is open.
    pub fn settle(&self, step: u64) -> Result<Settlement, LedgerError> {
        let mut state = self.shared.lock();
        let Some(open) = state.open.take() else {
            return Ok(Settlement { charged: Usd::ZERO, uncharged: Usd::ZERO });
        };
        let settlement = state.guard.settle(open.quantum, step);
        self.shared.renew(&state);
        settlement
    }

    /// What may still be spent under every cap.
    #[must_use]
    pub fn left(&self) -> Usd {
        self.with(|guard| guard.left())
    }

    /// Charged so far.
    #[must_use]
    pub fn settled(&self) -> Usd {
        self.with(|guard| guard.account().settled())
    }

    /// What is used so far by the clock.
    #[must_use]
    pub fn spent_by_the_clock(&self) -> Usd {
        self.with(|guard| guard.spent_by_the_clock())
    }

    /// What must be set aside for work that takes `seconds`, and what must stay free beside it for `later`.
    #[must_use]
    pub fn cost_of_next(&self, seconds: f64, later: f64) -> (Usd, Usd) {
        self.with(|guard| (guard.cost_of_next(seconds), guard.hold_after(seconds, later)))
    }

    /// Seconds until what is paid and set aside is used up; negative beyond.
    #[must_use]
    pub fn seconds_left(&self) -> f64 {
        self.shared.lock().lease_seconds()
    }
}

impl Drop for Till {
    /// Ends the watching. The lease stays as it is: what is paid ahead is for the end of the process.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(watcher) = self.watcher.take() {
            // A watcher that panicked has nothing more to say.
            let _ = watcher.join();
        }
    }
}

/// Prolongs the lease in time, until the till is closed.
fn watch(shared: &Shared) {
    let mut state = shared.lock();
    while !state.closed {
        let left = state.lease_seconds();
        let before = state.open.as_ref().map_or(0.0, |open| (open.seconds / 2.0).min(PROLONG_BEFORE_SECONDS));
        let rest = if state.open.is_none() || left.is_infinite() { 3600.0 } else { left - before };
        if rest > 0.0 {
            let (after, _) = shared
                .changed
                .wait_timeout(state, Duration::from_secs_f64(rest))
                .unwrap_or_else(PoisonError::into_inner);
            state = after;
            continue;
        }
        match state.prolong() {
            Ok(()) => shared.renew(&state),
            Err(_) if left > LAPSE_BEFORE_SECONDS => {
                // The work may yet be done in time.
                let rest = Duration::from_secs_f64((left - LAPSE_BEFORE_SECONDS).max(0.01));
                let (after, _) =
                    shared.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner);
                state = after;
            }
            Err(error) => {
                let why = format!("the work at hand takes longer than the money for it: {error}");
                let step = state.open.as_ref().map_or(0, |open| open.step);
                let told = state.guard.note("", step, why.as_str());
                let State { guard, open, .. } = &mut *state;
                let settled = open.take().map(|open| guard.settle(open.quantum, step));
                // What cannot be written stays reserved, and is charged in full by the next process.
                if told.is_ok() && matches!(settled, Some(Ok(_)) | None) {
                    let _ = guard.end("", step, INTERRUPTED);
                }
                if let Some(lease) = &shared.lease {
                    lease.lapse(&why);
                }
                return;
            }
        }
    }
}
