//! `run.lock`: names the process that holds a run directory.
//!
//! The truth is the operating system's lock on the open file, which ends with the process however that ends;
//! the text in it is for people, and for directories that several hosts share.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::error::RunError;

/// A process on another host that has not touched its lock for so long is gone.
const ELSEWHERE_GONE_AFTER: Duration = Duration::from_secs(600);
/// How often, and how long between, a lock is asked for: `status` holds it for a moment to see who has it.
const ATTEMPTS: u32 = 5;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(40);

/// Who holds a run directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process number.
    pub pid: u32,
    /// Name of the machine.
    pub host: String,
}

impl Holder {
    fn this_process() -> Self {
        Self { pid: std::process::id(), host: host_name() }
    }
}

/// Holds a run directory until dropped.
#[derive(Debug)]
pub(crate) struct RunLock {
    file: File,
}

impl RunLock {
    /// Takes the lock at `path` for the run in `directory`. Also returns whom it was taken over from, if a
    /// process died with it.
    pub(crate) fn take(directory: &Path, path: &Path) -> Result<(Self, Option<Holder>), RunError> {
        let failed = |source| RunError::file(path, "lock", source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let locked = lock(&file).map_err(failed)?;
        let written = read_holder(&mut file);
        if let Some(holder) = &written {
            let elsewhere = holder.host != host_name();
            if !locked || (elsewhere && touched_recently(&file)) {
                return Err(RunError::Held {
                    directory: directory.to_owned(),
                    holder: holder.clone(),
                    elsewhere,
                });
            }
        } else if !locked {
            // Between another process' lock and its writing of its name.
            let holder = Holder { pid: 0, host: "this machine".to_owned() };
            return Err(RunError::Held { directory: directory.to_owned(), holder, elsewhere: false });
        }
        let mut lock = Self { file };
        let text = serde_json::to_string(&Holder::this_process())
            .map_err(|error| failed(io::Error::other(error)))?;
        lock.write(&format!("{text}\n")).map_err(failed)?;
        Ok((lock, written))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }

    /// A sign of life for other hosts. Best effort: the lock holds without it.
    pub(crate) fn touch(&self) {
        let _ = self.file.set_modified(SystemTime::now());
    }
}

impl Drop for RunLock {
    /// Leaves an empty file: removing it could take the name away from a process that is just locking it.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

/// The process that holds the run in `directory` now, if one does.
#[must_use]
pub fn holder(directory: &Path) -> Option<Holder> {
    let path: PathBuf = super::RunDirectory::new(directory).lock();
    let mut file = File::open(path).ok()?;
    let holder = read_holder(&mut file)?;
    let held = match file.try_lock_shared() {
        Ok(()) => holder.host != host_name() && touched_recently(&file),
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => process_lives(&holder),
    };
    held.then_some(holder)
}

/// Whether the system's lock was free and is ours now. On file systems without locks: whether the process
/// named in the file is gone.
fn lock(file: &File) -> io::Result<bool> {
    for attempt in 0..ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if attempt + 1 < ATTEMPTS => std::thread::sleep(BETWEEN_ATTEMPTS),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                let mut file = file.try_clone()?;
                return Ok(!read_holder(&mut file).is_some_and(|holder| process_lives(&holder)));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn touched_recently(file: &File) -> bool {
    let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
    // A time in the future (another host's clock) is recent.
    modified.is_some_and(|time| time.elapsed().unwrap_or_default() < ELSEWHERE_GONE_AFTER)
}

fn process_lives(holder: &Holder) -> bool {
    holder.host == host_name() && Path::new("/proc").join(holder.pid.to_string()).exists()
}

/// Name of this machine.
pub(crate) fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .map(|name| name.trim().to_owned())
        .ok()
        .or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(folder: &Path) -> Result<(RunLock, Option<Holder>), RunError> {
        RunLock::take(folder, &folder.join("run.lock"))
    }

    #[test]
    fn one_process_at_a_time_and_its_name_is_told() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (lock, stale) = take(folder.path()).expect("is free");
        assert_eq!(stale, None);
        assert_eq!(holder(folder.path()), Some(Holder::this_process()));
        let error = take(folder.path()).expect_err("is held");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        assert_eq!(holder(folder.path()), None);
        take(folder.path()).expect("is free again");
    }

    #[test]
    fn what_a_dead_process_left_is_taken_over() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let dead = Holder { pid: 4_000_000_000, host: host_name() };
        fs::write(folder.path().join("run.lock"), serde_json::to_string(&dead).expect("JSON"))
            .expect("writes");
        assert_eq!(holder(folder.path()), None);
        let (_lock, stale) = take(folder.path()).expect("is taken over");
        assert_eq!(stale, Some(dead));
    }

    #[test]
    fn another_host_is_believed_while_it_shows_signs_of_life() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("run.lock");
        let other = Holder { pid: 7, host: "elsewhere".into() };
        fs::write(&path, serde_json::to_string(&other).expect("JSON")).expect("writes");
        let error = take(folder.path()).expect_err("is held");
        assert!(error.hint().is_some_and(|hint| hint.contains("run.lock")), "{error}");
        let long_ago = SystemTime::now() - ELSEWHERE_GONE_AFTER - Duration::from_secs(1);
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(long_ago))
            .expect("is aged");
        let (_lock, stale) = take(folder.path()).expect("is taken over");
        assert_eq!(stale, Some(other));
    }
}
