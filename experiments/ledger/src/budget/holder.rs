//! Who holds reserves: the name of a file that is locked as long as its process lives.

use std::fs;
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

/// The file of a holder.
pub(super) fn file(folder: &Path, holder: &str) -> PathBuf {
    // A name is a file name; anything else was not written by this program and has no living holder.
    folder.join(Path::new(holder).file_name().unwrap_or_default())
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
