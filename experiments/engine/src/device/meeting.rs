//! Where the ranks of one process wait for each other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{EngineError, Result};

/// A barrier that hands everybody what everybody brought, and that a rank which fails opens with an error.
#[derive(Debug)]
pub(super) struct Meeting<T> {
    state: Mutex<State<T>>,
    change: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// Meetings that everybody came to.
    round: u64,
    /// By rank: what was brought to the meeting at hand.
    brought: Vec<Option<T>>,
    /// By rank: what was brought to the last one. The next cannot end before everybody has taken it away.
    last: Arc<[T]>,
    /// The first rank that has failed.
    failed: Option<usize>,
}

impl<T> Meeting<T> {
    pub(super) fn new(ranks: usize) -> Self {
        let brought = (0..ranks).map(|_| None).collect();
        let state = State { round: 0, brought, last: Arc::new([]), failed: None };
        Self { state: Mutex::new(state), change: Condvar::new() }
    }

    /// Nothing that panics is done under the lock.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every rank has come; what they brought, in order of rank.
    ///
    /// An error where a rank has failed instead, now or at any time before.
    pub(super) fn exchange(&self, rank: usize, own: T) -> Result<Arc<[T]>> {
        let mut state = self.lock();
        if let Some(rank) = state.failed {
            return Err(EngineError::OtherRank { rank });
        }
        state.brought[rank] = Some(own);
        if state.brought.iter().all(Option::is_some) {
            state.last = state.brought.iter_mut().filter_map(Option::take).collect();
            state.round += 1;
            self.change.notify_all();
            return Ok(Arc::clone(&state.last));
        }
        let round = state.round;
        loop {
            state = self.change.wait(state).unwrap_or_else(PoisonError::into_inner);
            if state.round != round {
                return Ok(Arc::clone(&state.last));
            }
            if let Some(rank) = state.failed {
                return Err(EngineError::OtherRank { rank });
            }
        }
    }

    /// Says that a rank will not come any more.
    pub(super) fn leave(&self, rank: usize) {
        self.lock().failed.get_or_insert(rank);
        self.change.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn everybody_gets_what_everybody_brought_meeting_after_meeting() {
        let meeting = Meeting::new(3);
        thread::scope(|scope| {
            for rank in 0..3 {
                let meeting = &meeting;
                scope.spawn(move || {
                    for round in 0..1000 {
                        let all = meeting.exchange(rank, 10 * round + rank).expect("a meeting");
                        assert_eq!(*all, [10 * round, 10 * round + 1, 10 * round + 2]);
                    }
                });
            }
        });
    }

    #[test]
    fn nobody_waits_for_a_rank_that_has_failed() {
        let meeting = Meeting::new(3);
        thread::scope(|scope| {
            for rank in [0, 2] {
                let meeting = &meeting;
                scope.spawn(move || {
                    meeting.exchange(rank, ()).expect("everybody is there");
                    // Whether it waits already or comes later.
                    let refused = meeting.exchange(rank, ()).expect_err("one is missing");
                    assert!(matches!(refused, EngineError::OtherRank { rank: 1 }), "{refused}");
                });
            }
            meeting.exchange(1, ()).expect("everybody is there");
            meeting.leave(1);
        });
        assert!(meeting.exchange(1, ()).is_err(), "and it stays so");
    }
}
