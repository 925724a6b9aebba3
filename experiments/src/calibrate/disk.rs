//! How fast a checkpoint gets safely onto a disk.

use std::path::Path;
use std::time::Instant;

use shoestring_durable::{WriteError, write_file};

/// Size of the file that is written: a small model's checkpoint.
const BYTES: usize = 64 << 20;
const TRIES: usize = 2;

/// Bytes a second of a file written to `folder` as checkpoints are: by a temporary name, synced, renamed. The faster of
/// two tries, since the first may wait for what others wrote. The file is removed again.
pub(super) fn bytes_per_second(folder: &Path) -> Result<f64, WriteError> {
    let path = folder.join(".shoestring-calibration");
    // Not zeros, which some disks do not write.
    let contents: Vec<u8> =
        (0..BYTES as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut least = f64::INFINITY;
    for _ in 0..TRIES {
        let start = Instant::now();
        write_file(&path, &contents)?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    // What is left behind would only take space.
    let _ = std::fs::remove_file(&path);
    Ok(BYTES as f64 / least.max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_measured_and_nothing_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(bytes_per_second(folder.path()).expect("writes") > 0.0);
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
    }
}
