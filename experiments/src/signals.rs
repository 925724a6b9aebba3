//! Ctrl-C and its kin: the first stops after the step at hand, the second at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::TERM_SIGNALS;
use signal_hook::flag;

/// Exit code of a process stopped by a signal (`EX_TEMPFAIL`): the same command resumes.
pub const INTERRUPTED: i32 = 75;

/// Catches the signals that ask a process to end (interrupt, terminate, quit). The flag becomes true with the
/// first of them; with the second the process exits at once with [`INTERRUPTED`].
///
/// # Errors
/// When the system refuses the handlers.
pub fn watch() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for &signal in TERM_SIGNALS {
        // In this order: the first signal finds the flag still down, so only the second one exits.
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
