//! Time as a seam: the money tests bring their own.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

/// Where time comes from.
pub trait Clock: Debug + Send + Sync {
    /// Time since an arbitrary start that never goes backwards: what money is counted with.
    fn elapsed(&self) -> Duration;
    /// The time of day, for people.
    fn now(&self) -> DateTime<Utc>;
    /// Stands still for at least so long.
    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The machine's clocks. Starts counting when it is made.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts at zero now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// A clock that has been running for so long already.
    #[must_use]
    pub fn running_for(age: Duration) -> Self {
        let now = Instant::now();
        Self { start: now.checked_sub(age).unwrap_or(now) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// A clock that only moves when it is told to. Begins at 2026-01-01T00:00:00Z.
#[derive(Debug, Default)]
pub struct FakeClock {
    elapsed: Mutex<Duration>,
    set_by: Mutex<TimeDelta>,
}

impl FakeClock {
    /// A clock at its beginning.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        *self.lock() += by;
    }

    /// Somebody sets the time of day forward, or back; the other reading does not move.
    pub fn set(&self, by: TimeDelta) {
        let mut set_by = self.set_by.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *set_by += by;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Duration> {
        self.elapsed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for FakeClock {
    fn elapsed(&self) -> Duration {
        *self.lock()
    }

    fn now(&self) -> DateTime<Utc> {
        const START: i64 = 1_767_225_600;
        let start = DateTime::from_timestamp(START, 0).unwrap_or_default();
        let set_by = *self.set_by.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        start + TimeDelta::from_std(*self.lock()).unwrap_or_default() + set_by
    }
}
