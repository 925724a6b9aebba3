//! Which file system a path lies on, as far as that can be known.

use std::fs;
use std::path::{Path, PathBuf};

/// File systems that other machines share. Their locks may be missing, local to one machine, or outlive the
/// process that holds them.
const NETWORK: [&str; 16] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "beegfs",
    "gpfs",
    "gfs2",
    "ocfs2",
    "orangefs",
    "virtiofs",
];

/// The network file system that `folder` lies on; `None` for a local one, and where it cannot be known.
pub(crate) fn network_file_system(folder: &Path) -> Option<String> {
    let folder = fs::canonicalize(folder).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    file_system(&folder, &mounts).filter(|kind| is_network(kind))
}

fn is_network(kind: &str) -> bool {
    NETWORK.contains(&kind) || (kind.starts_with("fuse.") && kind != "fuse.fuse-overlayfs")
}

/// The type of the file system under `path`, after the text of `/proc/self/mountinfo` (proc(5)): the last mount
/// whose mount point is the longest beginning of the path.
fn file_system(path: &Path, mounts: &str) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4) else { continue };
        let Some(kind) = file_system.split(' ').next() else { continue };
        let point = PathBuf::from(unescaped(point));
        let length = point.components().count();
        if path.starts_with(&point) && best.is_none_or(|(longest, _)| length >= longest) {
            best = Some((length, kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

/// Spaces, tabs, line breaks and backslashes stand there as `\040`, `\011`, `\012`, `\134`.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_decides() {
        let mounts = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                      30 22 0:40 / /home rw - nfs4 server:/home rw\n\
                      31 30 0:41 / /home/my\\040disk rw - ext4 /dev/sdb1 rw\n\
                      32 22 0:42 / /mnt/drive rw - fuse.sshfs far: rw\n";
        let of = |path: &str| file_system(Path::new(path), mounts).expect("is mounted");
        assert_eq!(of("/etc/x"), "ext4");
        assert_eq!(of("/home/you"), "nfs4");
        assert_eq!(of("/homework"), "ext4");
        assert_eq!(of("/home/my disk/x"), "ext4");
        assert!(is_network(&of("/home/you")) && is_network(&of("/mnt/drive")) && !is_network(&of("/")));
    }

    #[test]
    fn a_temporary_folder_of_this_machine_is_looked_up() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let canonical = fs::canonicalize(folder.path()).expect("exists");
        if let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") {
            assert!(file_system(&canonical, &mounts).is_some());
        }
    }
}
