//! Who holds reserves: a file that is locked as long as its process lives.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};

/// The name of one opening of a budget by one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder(String);

impl Holder {
    pub(super) fn new(now: DateTime<Utc>) -> Self {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}-{}-{}-{number}", host_name(), std::process::id(), now.timestamp_millis()))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

/// The locked file of a holder, removed when it is dropped.
#[derive(Debug)]
pub(super) struct HolderFile {
    path: PathBuf,
    /// Open for its lock alone, which the operating system ends with the process.
    _file: File,
}

impl HolderFile {
    pub(super) fn create(folder: &Path, holder: &Holder) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(holder.name());
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.lock()?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for HolderFile {
    fn drop(&mut self) {
        // Its name in a row is enough for those who come later: no file means no holder.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the process behind a name is gone; what it left is removed.
pub(super) fn is_dead(folder: &Path, holder: &str) -> bool {
    // A name is a file name; anything else was not written by this program and has no living holder.
    let path = folder.join(Path::new(holder).file_name().unwrap_or_default());
    match OpenOptions::new().write(true).open(&path) {
        Ok(file) => {
            let dead = file.try_lock().is_ok();
            if dead {
                let _ = fs::remove_file(&path);
            }
            dead
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Names of all who have the budget open, for people.
pub(super) fn living(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| File::open(entry.path()).is_ok_and(|file| file.try_lock_shared().is_err()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .ok()
        .or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok())
        .unwrap_or_default();
    let name: String =
        name.trim().chars().map(|letter| if letter.is_alphanumeric() { letter } else { '_' }).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}
