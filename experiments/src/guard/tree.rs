//! Processes and what they come from, as `/proc` tells it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::MARK;

/// How long it is tried to end what is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every process and its parent; those that have ended and wait to be reaped are left out.
fn parents() -> HashMap<i32, i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in brackets may hold anything.
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let state = fields.next()?;
            let parent = fields.next()?.parse().ok()?;
            (state != "Z" && state != "X").then_some((pid, parent))
        })
        .collect()
}

/// The children of a process.
pub(super) fn children_of(process: Pid) -> Vec<Pid> {
    parents()
        .into_iter()
        .filter(|&(_, parent)| parent == process.as_raw())
        .map(|(pid, _)| Pid::from_raw(pid))
        .collect()
}

/// Everything that comes from a process, itself left out.
pub(super) fn descendants_of(process: Pid) -> Vec<Pid> {
    let parents = parents();
    let comes_from = |mut pid: i32| {
        // A chain is no longer than there are processes; a number that is used again could close a circle.
        for _ in 0..parents.len() {
            let Some(&parent) = parents.get(&pid) else { return false };
            if parent == process.as_raw() {
                return true;
            }
            pid = parent;
        }
        false
    };
    parents.keys().copied().filter(|&pid| comes_from(pid)).map(Pid::from_raw).collect()
}

/// Processes with the mark of the guard in `root`, which every child inherits whatever else it leaves behind.
fn marked(root: &Path) -> Vec<Pid> {
    let mut mark = format!("{MARK}=").into_bytes();
    mark.extend_from_slice(root.as_os_str().as_bytes());
    let this = Pid::this().as_raw();
    parents()
        .into_keys()
        .filter(|&pid| pid != this)
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(|one| one == mark))
        })
        .map(Pid::from_raw)
        .collect()
}

/// Kills every process with the mark of the guard in `root`, this one left out, until there is none; says how
/// many there were.
pub(super) fn end_all(root: &Path) -> usize {
    let (since, mut ended) = (Instant::now(), std::collections::HashSet::new());
    loop {
        let left = marked(root);
        if left.is_empty() || since.elapsed() > PATIENCE {
            return ended.len();
        }
        for process in left {
            ended.insert(process.as_raw());
            let _ = kill(process, Signal::SIGKILL);
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
