//! The time that is paid for, kept by the kernel: a process that outlives it is ended by it.
//!
//! No code of a process can stop it while one training step hangs, or while it is stopped itself (SIGSTOP).
//! So the process asks the kernel beforehand: a POSIX timer that sends SIGKILL when the lease is over, which
//! reaches a stopped process too. Each reserve puts the timer off; what is set aside for a quantum is
//! therefore all that a process can cost that neither goes on nor ends.

use std::fmt::Debug;

/// Ends this process when it is not renewed in time.
pub trait Lease: Debug + Send + Sync {
    /// From now on the process has so many seconds; endless when infinite.
    fn renew(&self, seconds: f64);
    /// The lease cannot be prolonged and is nearly over; work is going on that does not end. May end the
    /// process in its own way; what returns is ended by the kernel.
    fn lapse(&self, why: &str);
}

/// The kernel ends the process so many seconds before what is paid for is used up: time to come to an end.
pub const END_SECONDS: f64 = 0.05;

/// Seconds since this process was started by the system, where that is known.
#[must_use]
pub fn process_age_seconds() -> f64 {
    #[cfg(target_os = "linux")]
    if let Some(age) = linux::process_age() {
        return age;
    }
    0.0
}

#[cfg(target_os = "linux")]
pub use linux::KernelLease;

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use nix::sys::signal::{SigEvent, SigevNotify, Signal};
    use nix::sys::time::TimeSpec;
    use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
    use nix::time::{ClockId, clock_gettime};

    use super::{END_SECONDS, Lease};

    /// Longer leases are as good as endless.
    const ENDLESS_SECONDS: f64 = 1e8;

    struct SharedTimer(Timer);

    // SAFETY: a POSIX timer belongs to the process; any of its threads may set it.
    unsafe impl Send for SharedTimer {}

    /// A lease kept by a timer of the kernel.
    pub struct KernelLease {
        timer: Mutex<SharedTimer>,
        on_lapse: fn(&str),
    }

    impl std::fmt::Debug for KernelLease {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("KernelLease")
        }
    }

    impl KernelLease {
        /// An endless lease; `on_lapse` is called when one is nearly over and cannot be prolonged.
        ///
        /// # Errors
        /// When the system refuses the timer.
        pub fn new(on_lapse: fn(&str)) -> std::io::Result<Self> {
            let event = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 });
            let timer = Timer::new(ClockId::CLOCK_MONOTONIC, event)?;
            Ok(Self { timer: Mutex::new(SharedTimer(timer)), on_lapse })
        }
    }

    impl Lease for KernelLease {
        fn renew(&self, seconds: f64) {
            let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
            let rest = if seconds < ENDLESS_SECONDS {
                // Zero would disarm the timer.
                Duration::from_secs_f64((seconds - END_SECONDS).max(1e-6))
            } else {
                Duration::ZERO
            };
            let rest = Expiration::OneShot(TimeSpec::from(rest));
            // A timer that exists and a time that is in range cannot be refused.
            let _ = timer.0.set(rest, TimerSetTimeFlags::empty());
        }

        fn lapse(&self, why: &str) {
            (self.on_lapse)(why);
        }
    }

    pub(super) fn process_age() -> Option<f64> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name in brackets may hold anything; 20 fields after it is the start, in ticks since boot.
        let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
        let now = now.tv_sec() as f64 + now.tv_nsec() as f64 / 1e9;
        let age = now - ticks / per_second as f64;
        (age >= 0.0).then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_age_of_a_process_grows() {
        let before = process_age_seconds();
        assert!(before > 0.0);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(process_age_seconds() > before);
    }
}
