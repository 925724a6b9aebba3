//! A disk in memory, and crashes in the middle of what is asked of a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use shoestring_durable::WriteError;

use crate::disk::{Disk, DiskFile, Hold};

/// What of a write has reached the disk when its process dies in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reached {
    /// So many of 256 parts of the bytes.
    Beginning(u8),
    /// The same, and zeros instead of some of the rest.
    Zeros(u8),
    /// Everything but the last byte.
    AllButLast,
    /// Everything; only nobody was told.
    Everything,
}

impl Reached {
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        let part = |share: u8| bytes.len() * usize::from(share) / 256;
        match self {
            Self::Beginning(share) => bytes[..part(share)].to_vec(),
            Self::Zeros(share) => {
                let mut some = bytes[..part(share)].to_vec();
                some.resize(some.len() + (bytes.len() - some.len()) / 2, 0);
                some
            }
            Self::AllButLast => bytes[..bytes.len().saturating_sub(1)].to_vec(),
            Self::Everything => bytes.to_vec(),
        }
    }

    /// What is done whole or not at all.
    fn is_done(self) -> bool {
        matches!(self, Self::AllButLast | Self::Everything)
    }
}

/// When a process dies.
#[derive(Debug)]
struct Fuse {
    /// In the how many-th write from now on; 0 is never.
    writes: u32,
    reached: Reached,
    blown: bool,
}

/// Ends the process that uses a disk in the middle of a write.
#[derive(Clone, Debug)]
pub(super) struct Crashes(Arc<Mutex<Fuse>>);

impl Crashes {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Fuse { writes: 0, reached: Reached::Everything, blown: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Fuse> {
        self.0.lock().expect("no thread panicked")
    }

    /// The process dies in its `writes`-th write from now on.
    pub(super) fn light(&self, writes: u32, reached: Reached) {
        let mut fuse = self.lock();
        (fuse.writes, fuse.reached) = (writes, reached);
    }

    /// Whether it died.
    pub(super) fn blown(&self) -> bool {
        self.lock().blown
    }

    /// Nobody dies any more.
    pub(super) fn put_out(&self) {
        let mut fuse = self.lock();
        (fuse.writes, fuse.blown) = (0, false);
    }

    /// Before a write: what of it is done if the process dies in it. The dead write nothing more.
    fn burn(&self) -> io::Result<Option<Reached>> {
        let mut fuse = self.lock();
        if fuse.blown {
            return Err(dead());
        }
        if fuse.writes == 0 {
            return Ok(None);
        }
        fuse.writes -= 1;
        fuse.blown = fuse.writes == 0;
        Ok(fuse.blown.then_some(fuse.reached))
    }

    /// A write that is done whole or not at all.
    fn whole<T>(&self, write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.burn()? {
            None => write(),
            Some(reached) => {
                if reached.is_done() {
                    write()?;
                }
                Err(dead())
            }
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

/// Any disk, with crashes.
#[derive(Debug)]
pub(super) struct Crashing {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) crashes: Crashes,
}

impl Disk for Crashing {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn write_whole(&self, path: &Path, contents: &[u8]) -> Result<(), WriteError> {
        self.crashes
            .whole(|| self.disk.write_whole(path, contents).map_err(|error| error.source))
            .map_err(|source| WriteError { path: path.to_owned(), action: "write", source })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let open = || self.disk.open(path);
        let file = if self.disk.read(path).is_ok() { open()? } else { self.crashes.whole(open)? };
        Ok(Box::new(CrashingFile { file, crashes: self.crashes.clone() }))
    }

    fn hold(&self, path: &Path) -> io::Result<Box<dyn Hold>> {
        self.crashes.whole(|| self.disk.hold(path))
    }

    fn is_gone(&self, path: &Path) -> bool {
        self.disk.is_gone(path)
    }

    fn living(&self, folder: &Path) -> Vec<String> {
        self.disk.living(folder)
    }

    fn network(&self, folder: &Path) -> Option<String> {
        self.disk.network(folder)
    }
}

#[derive(Debug)]
struct CrashingFile {
    file: Box<dyn DiskFile>,
    crashes: Crashes,
}

impl DiskFile for CrashingFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_from(&mut self, at: u64) -> io::Result<Vec<u8>> {
        self.file.read_from(at)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.crashes.burn()? {
            None => self.file.append(bytes),
            Some(reached) => {
                self.file.append(&reached.of(bytes))?;
                Err(dead())
            }
        }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.crashes.whole(|| self.file.cut(length))
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        self.file.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    bytes: BTreeMap<PathBuf, Vec<u8>>,
    /// Locked files, with the number of the opening that holds the lock.
    locks: BTreeMap<PathBuf, u64>,
    opened: u64,
    held: BTreeSet<PathBuf>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().expect("no thread panicked")
    }
}

impl Disk for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.lock().bytes.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write_whole(&self, path: &Path, contents: &[u8]) -> Result<(), WriteError> {
        self.lock().bytes.insert(path.to_owned(), contents.to_vec());
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.lock();
        files.bytes.entry(path.to_owned()).or_default();
        files.opened += 1;
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_owned(), opening: files.opened }))
    }

    fn hold(&self, path: &Path) -> io::Result<Box<dyn Hold>> {
        if !self.lock().held.insert(path.to_owned()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Box::new(MemoryHold { disk: self.clone(), path: path.to_owned() }))
    }

    fn is_gone(&self, path: &Path) -> bool {
        !self.lock().held.contains(path)
    }

    fn living(&self, folder: &Path) -> Vec<String> {
        let name = |path: &PathBuf| Some(path.strip_prefix(folder).ok()?.display().to_string());
        self.lock().held.iter().filter_map(name).collect()
    }

    fn network(&self, _folder: &Path) -> Option<String> {
        None
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: Memory,
    path: PathBuf,
    opening: u64,
}

impl MemoryFile {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        self.disk.lock().bytes.get_mut(&self.path).map(work).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        self.with(|bytes| bytes.len() as u64)
    }

    fn read_from(&mut self, at: u64) -> io::Result<Vec<u8>> {
        self.with(|bytes| bytes.get(at as usize..).unwrap_or_default().to_vec())
    }

    fn append(&mut self, more: &[u8]) -> io::Result<()> {
        self.with(|bytes| bytes.extend_from_slice(more))
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.with(|bytes| bytes.truncate(length as usize))
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        let mut files = self.disk.lock();
        if *files.locks.entry(self.path.clone()).or_insert(self.opening) == self.opening {
            Ok(())
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    fn unlock(&self) -> io::Result<()> {
        let mut files = self.disk.lock();
        if files.locks.get(&self.path) == Some(&self.opening) {
            files.locks.remove(&self.path);
        }
        Ok(())
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let _ = self.unlock();
    }
}

#[derive(Debug)]
struct MemoryHold {
    disk: Memory,
    path: PathBuf,
}

impl Hold for MemoryHold {}

impl Drop for MemoryHold {
    fn drop(&mut self) {
        self.disk.lock().held.remove(&self.path);
    }
}
