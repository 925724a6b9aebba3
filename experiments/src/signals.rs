//! Ctrl-C and its kin: the first stops after the step at hand, the second at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, TERM_SIGNALS};
use signal_hook::flag;

/// Exit code of a process stopped by a signal (`EX_TEMPFAIL`): the same command resumes.
pub const INTERRUPTED: i32 = 75;

/// Catches the signals that ask a process to end (interrupt, terminate, quit). The flag becomes true with the
/// first of them; with the second the process exits at once with [`INTERRUPTED`]. Ctrl-Z counts as one of them: a
/// run that is put to sleep would still be paid for.
///
/// # Errors
/// When the system refuses the handlers.
pub fn watch() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for &signal in TERM_SIGNALS.iter().chain(&[SIGTSTP]) {
        // In this order: the first signal finds the flag still down, so only the second one exits.
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// The number of a signal by its name, `TERM` or `SIGTERM`: those that a command can be warned with.
#[must_use]
pub fn number(name: &str) -> Option<i32> {
    let name = name.to_uppercase();
    [
        ("TERM", SIGTERM),
        ("INT", SIGINT),
        ("HUP", SIGHUP),
        ("QUIT", SIGQUIT),
        ("USR1", SIGUSR1),
        ("USR2", SIGUSR2),
    ]
    .into_iter()
    .find_map(|(known, number)| (name.strip_prefix("SIG").unwrap_or(&name) == known).then_some(number))
}
