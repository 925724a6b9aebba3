//! The keeper: starts the command, reaps everything that it leaves, and ends it all when the guard is gone.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, kill, killpg, signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{close_on_exec, tree};
use crate::lease::{KernelLease, Lease};

/// Orders and news are a byte that says what, and a number of four.
pub(super) const MESSAGE_BYTES: usize = 5;
pub(super) const SIGNAL: u8 = b's';
pub(super) const KILL: u8 = b'k';
pub(super) const LEASE: u8 = b'l';
pub(super) const EXITED: u8 = b'x';
pub(super) const GONE: u8 = b'g';
pub(super) const NOT_STARTED: u8 = b'n';

/// How often the keeper looks for children that have ended.
const TICK: Duration = Duration::from_millis(20);
/// After SIGKILL, how long everything may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps a command: what the guard starts this program as. Takes orders from one descriptor and writes news
/// to the other, both inherited from the guard.
///
/// # Errors
/// When the descriptors are none or the system refuses what a keeper needs.
pub fn keep(orders: RawFd, news: RawFd, command: &[OsString]) -> std::io::Result<()> {
    // SAFETY: the guard opened both for this process alone and named them on its command line; nothing else
    // in this process has taken them.
    let (orders, news) = unsafe { (OwnedFd::from_raw_fd(orders), OwnedFd::from_raw_fd(news)) };
    close_on_exec(&orders)?;
    close_on_exec(&news)?;
    prctl::set_child_subreaper(true)?;
    // Signals of the terminal are for the guard, which passes them on.
    for ignored in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP] {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    let mut keeper = Keeper { orders: File::from(orders), news: File::from(news), command: None };
    let lease = KernelLease::new(|_| {})?;
    match spawn(command) {
        Ok(pid) => keeper.command = Some(pid),
        Err(error) => {
            keeper.tell(NOT_STARTED, error.raw_os_error().unwrap_or(Errno::EINVAL as i32));
            return Ok(());
        }
    }
    keeper.watch(&lease);
    Ok(())
}

fn spawn(words: &[OsString]) -> std::io::Result<Pid> {
    let (program, arguments) = words.split_first().ok_or_else(|| std::io::Error::from(Errno::EINVAL))?;
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    // SAFETY: between fork and exec only system calls that are safe there: no allocation, no lock.
    unsafe {
        command.pre_exec(|| {
            for usual in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP] {
                signal(usual, SigHandler::SigDfl)?;
            }
            // The kernel ends the command when the keeper dies.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        });
    }
    let child = command.spawn()?;
    // Reaped with all others.
    Ok(Pid::from_raw(child.id().cast_signed()))
}

struct Keeper {
    orders: File,
    news: File,
    command: Option<Pid>,
}

impl Keeper {
    fn tell(&mut self, what: u8, number: i32) {
        let mut bytes = [what, 0, 0, 0, 0];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        // A guard that is gone cannot be told, and is noticed by its orders.
        let _ = self.news.write_all(&bytes);
    }

    fn watch(&mut self, lease: &KernelLease) {
        let mut half = Vec::new();
        loop {
            if !self.reap() {
                self.tell(GONE, 0);
                return;
            }
            let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
            let ready = poll(&mut [PollFd::new(self.orders.as_fd(), PollFlags::POLLIN)], timeout);
            if !ready.is_ok_and(|count| count > 0) {
                continue;
            }
            let mut buffer = [0; 256];
            let count = self.orders.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                // The guard is gone.
                self.end_everything();
                return;
            }
            half.extend_from_slice(&buffer[..count]);
            while half.len() >= MESSAGE_BYTES {
                let message: Vec<u8> = half.drain(..MESSAGE_BYTES).collect();
                let number = u32::from_le_bytes([message[1], message[2], message[3], message[4]]);
                match message[0] {
                    SIGNAL => self.signal(number.cast_signed()),
                    KILL => self.end_everything(),
                    LEASE => lease.renew(f64::from(number) / 1e3),
                    _ => {}
                }
            }
        }
    }

    /// Takes in every child that has ended; whether any is left.
    fn reap(&mut self) -> bool {
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) => return true,
                Err(Errno::EINTR) | Ok(_) => continue,
                Err(_) => return false,
            };
            if self.command == Some(pid) {
                self.command = None;
                self.tell(EXITED, code);
            }
        }
    }

    /// To the command's group, and to what has been left to the keeper: nobody else would pass it on.
    fn signal(&mut self, number: i32) {
        let Ok(signal) = Signal::try_from(number) else { return };
        if let Some(command) = self.command {
            let _ = killpg(command, signal);
        }
        for child in tree::children_of(Pid::this()) {
            if self.command != Some(child) {
                let _ = kill(child, signal);
            }
        }
    }

    /// Kills everything and reaps it.
    fn end_everything(&mut self) {
        let since = Instant::now();
        while self.reap() && since.elapsed() < PATIENCE {
            if let Some(command) = self.command {
                let _ = killpg(command, Signal::SIGKILL);
            }
            for descendant in tree::descendants_of(Pid::this()) {
                let _ = kill(descendant, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
