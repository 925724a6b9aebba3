//! Answers of price sources kept in a folder, one file each: a line of JSON about the answer, then its body.
//! A file that is not whole is passed over.

use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use shoestring_planner::prices::{Cache, Cached, Validators};

/// Bumped when what is kept of an answer changes: older files are then passed over.
const VERSION: u32 = 1;

/// A folder of answers.
pub(super) struct Folder {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
    as_of: NaiveDate,
    bytes: usize,
    checksum: u64,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn file(&self, url: &str) -> PathBuf {
        self.path.join(format!("{:016x}.answer", checksum(url.as_bytes())))
    }
}

/// FNV-1a, 64 bits: names files, and notices a body that is not the one that was written.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Cache for Folder {
    fn get(&self, url: &str) -> Option<Cached> {
        let bytes = std::fs::read(self.file(url)).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
        let body = &bytes[end + 1..];
        let whole = head.version == VERSION
            && head.url == url
            && head.bytes == body.len()
            && head.checksum == checksum(body);
        whole.then(|| Cached {
            validators: Validators { etag: head.etag, last_modified: head.last_modified },
            as_of: head.as_of,
            body: body.to_vec(),
        })
    }

    fn put(&self, url: &str, cached: &Cached) {
        let head = Head {
            version: VERSION,
            url: url.to_owned(),
            etag: cached.validators.etag.clone(),
            last_modified: cached.validators.last_modified.clone(),
            as_of: cached.as_of,
            bytes: cached.body.len(),
            checksum: checksum(&cached.body),
        };
        let Ok(mut bytes) = serde_json::to_vec(&head) else { return };
        bytes.push(b'\n');
        bytes.extend_from_slice(&cached.body);
        // Without a cache everything is asked for again: slower, not wrong.
        let _ = shoestring_durable::write_file(&self.file(url), &bytes);
    }
}

/// `$XDG_CACHE_HOME/shoestring/prices`, else `~/.cache/shoestring/prices`; none where neither variable is
/// set.
pub(super) fn default_folder() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?;
    Some(base.join("shoestring").join("prices"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Folder::new(folder.path());
        let cached = Cached {
            validators: Validators { etag: Some("\"one\"".into()), last_modified: None },
            as_of: NaiveDate::from_ymd_opt(2026, 8, 4).expect("a day"),
            body: b"two\nlines\n".to_vec(),
        };
        assert_eq!(cache.get("http://x"), None);
        cache.put("http://x", &cached);
        assert_eq!(cache.get("http://x"), Some(cached));
        assert_eq!(cache.get("http://y"), None);
        let file = cache.file("http://x");
        let mut bytes = std::fs::read(&file).expect("written");
        *bytes.last_mut().expect("a byte") ^= 1;
        std::fs::write(&file, &bytes).expect("damaged");
        assert_eq!(cache.get("http://x"), None);
        bytes.truncate(bytes.len() - 3);
        std::fs::write(&file, &bytes).expect("cut");
        assert_eq!(cache.get("http://x"), None);
    }
}
