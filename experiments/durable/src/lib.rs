//! Files that are whole or not there: written under a temporary name in the same folder, synced, renamed,
//! and the folder synced, so that neither a crash nor a full disk leaves half a file under its real name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot {action}: {source}", path = .path.display())]
pub struct WriteError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was being done: `create`, `write`, `sync`, `rename`.
    pub action: &'static str,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl WriteError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let advice = match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "the disk is full; make room and give the same command again"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "choose a folder you can write to"
            }
            io::ErrorKind::NotADirectory => "a part of the path is a file; choose another path",
            _ => return None,
        };
        Some(advice.to_owned())
    }
}

fn failed<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> WriteError + 'a {
    move |source| WriteError { path: path.to_owned(), action, source }
}

/// A file that appears under its name only when [`WholeFile::commit`] succeeds; dropped before that, its
/// temporary is removed.
#[derive(Debug)]
pub struct WholeFile {
    writer: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
}

impl WholeFile {
    /// Starts a file; its folder is made when missing.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let folder = folder_of(path);
        fs::create_dir_all(folder).map_err(failed(folder, "create"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
        let file = File::create(&temporary).map_err(failed(&temporary, "create"))?;
        Ok(Self { writer: Some(BufWriter::new(file)), temporary, path: path.to_owned() })
    }

    /// Syncs the contents and gives the file its name.
    pub fn commit(mut self) -> Result<(), WriteError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let finish = || -> Result<(), WriteError> {
            let file =
                writer.into_inner().map_err(|error| failed(&self.path, "write")(error.into_error()))?;
            file.sync_all().map_err(failed(&self.path, "sync"))?;
            drop(file);
            fs::rename(&self.temporary, &self.path).map_err(failed(&self.path, "rename"))?;
            sync_folder(folder_of(&self.path))
        };
        let result = finish();
        if result.is_err() {
            // The error that is reported is the first one; a leftover temporary has no reader.
            let _ = fs::remove_file(&self.temporary);
        }
        result
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().map_or(Ok(0), |writer| writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if self.writer.is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a whole file or none.
pub fn write_file(path: &Path, contents: &[u8]) -> Result<(), WriteError> {
    let mut file = WholeFile::create(path)?;
    file.write_all(contents).map_err(failed(path, "write"))?;
    file.commit()
}

/// Makes renames and new files in `folder` survive a crash of the machine.
pub fn sync_folder(folder: &Path) -> Result<(), WriteError> {
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder, "sync"))?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn replaces_whole_files_and_leaves_no_temporary() -> TestResult {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("deep/er/file.txt");
        write_file(&path, b"one")?;
        write_file(&path, b"two")?;
        assert_eq!(fs::read(&path)?, b"two");
        assert_eq!(fs::read_dir(folder.path().join("deep/er"))?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_dropped_file_never_appears_and_keeps_the_old_one() -> TestResult {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file.txt");
        write_file(&path, b"old")?;
        let mut file = WholeFile::create(&path)?;
        file.write_all(b"half")?;
        drop(file);
        assert_eq!(fs::read(&path)?, b"old");
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
        Ok(())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_named_with_a_hint() {
        let error = File::options()
            .write(true)
            .open("/dev/full")
            .and_then(|mut full| full.write_all(b"x"))
            .map_err(failed(Path::new("/dev/full"), "write"))
            .expect_err("/dev/full is always full");
        assert!(error.hint().is_some_and(|hint| hint.contains("disk is full")), "{error}");
    }
}
