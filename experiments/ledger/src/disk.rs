//! The disk as a seam: what the ledger asks of it, and the machine's own. Tests bring others, which fail where a
//! crash would.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use shoestring_durable::{WriteError, sync_folder, write_file};

use crate::budget::network_file_system;

/// Where journals, budget files and the files of holders lie.
pub(crate) trait Disk: Debug + Send + Sync {
    /// All bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Writes a whole file or none; it is safe when this returns.
    fn write_whole(&self, path: &Path, contents: &[u8]) -> Result<(), WriteError>;
    /// Opens a file to read and to add to; makes it where it is missing, and then its name is safe too.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes the file of a holder, locked as long as its process lives and the value is kept.
    fn hold(&self, path: &Path) -> io::Result<Box<dyn Hold>>;
    /// Whether the process behind the file of a holder is gone; what it left is removed.
    fn is_gone(&self, path: &Path) -> bool;
    /// Names of the files in a folder whose holders live.
    fn living(&self, folder: &Path) -> Vec<String>;
    /// The network file system that a folder lies on, if it does.
    fn network(&self, folder: &Path) -> Option<String>;
}

/// An open file that is read and added to.
pub(crate) trait DiskFile: Debug + Send + Sync {
    fn length(&self) -> io::Result<u64>;
    /// All bytes from `at` on.
    fn read_from(&mut self, at: u64) -> io::Result<Vec<u8>>;
    /// Adds at the end; it is safe when this returns. After a failure, or a crash on the way, any beginning of
    /// `bytes` may have been added.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Takes away everything from `length` on; that is safe when this returns.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// Takes the lock on the file, which ends with the process however that ends.
    fn try_lock(&self) -> Result<(), TryLockError>;
    fn unlock(&self) -> io::Result<()>;
}

/// The file of a holder; removed when it is dropped.
pub(crate) trait Hold: Debug + Send + Sync {}

/// The machine's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalDisk;

impl Disk for LocalDisk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn write_whole(&self, path: &Path, contents: &[u8]) -> Result<(), WriteError> {
        write_file(path, contents)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let new = !path.exists();
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        if new {
            // A new file's name is only safe once its folder is on disk too.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            sync_folder(folder.unwrap_or(Path::new("."))).map_err(|error| error.source)?;
        }
        Ok(Box::new(file))
    }

    fn hold(&self, path: &Path) -> io::Result<Box<dyn Hold>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.lock()?;
        Ok(Box::new(LocalHold { path: path.to_owned(), _file: file }))
    }

    fn is_gone(&self, path: &Path) -> bool {
        match OpenOptions::new().write(true).open(path) {
            Ok(file) => {
                let gone = file.try_lock().is_ok();
                if gone {
                    let _ = fs::remove_file(path);
                }
                gone
            }
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn living(&self, folder: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| File::open(entry.path()).is_ok_and(|file| file.try_lock_shared().is_err()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn network(&self, folder: &Path) -> Option<String> {
        network_file_system(folder)
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_from(&mut self, at: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.seek(SeekFrom::Start(at))?;
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)?;
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.sync_all()
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        File::try_lock(self)
    }

    fn unlock(&self) -> io::Result<()> {
        File::unlock(self)
    }
}

#[derive(Debug)]
struct LocalHold {
    path: PathBuf,
    /// Open for its lock alone, which the operating system ends with the process.
    _file: File,
}

impl Hold for LocalHold {}

impl Drop for LocalHold {
    fn drop(&mut self) {
        // Its name in a row is enough for those who come later: no file means no holder.
        let _ = fs::remove_file(&self.path);
    }
}
