//! Checkpoints: folders that count only once they are whole.
//!
//! A checkpoint is written under a temporary name, each file synced, its marker last, and then renamed. The
//! marker seals `state.json`, which seals the other files, so that a damaged one is told from a whole one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use shoestring_durable::sync_folder;

use super::error::RunError;
use super::executor::Saved;
use super::state::{FileSeal, STATE_VERSION, State};

/// The weights.
pub(crate) const MODEL: &str = "model.safetensors";
/// The optimiser's state.
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";
/// The running mean of the weights, where the recipe asks for one: tensors like the weights'.
pub(crate) const EMA: &str = "ema.safetensors";
/// Where training stands.
const STATE: &str = "state.json";
/// The marker: without it a checkpoint does not count. Holds the SHA-256 of `state.json`.
const DONE: &str = "DONE";
const PREFIX: &str = "step-";

/// A checkpoint with its marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Steps since the run began.
    pub step: u64,
    /// When it was completed.
    pub completed: SystemTime,
}

/// The checkpoints in `folder` that have their marker, oldest first; none where there is no such folder.
pub fn list(folder: &Path) -> Result<Vec<Checkpoint>, RunError> {
    let failed = |source| RunError::file(folder, "read", source);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut checkpoints = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(step) = name.strip_prefix(PREFIX).and_then(|number| number.parse().ok()) else { continue };
        if let Ok(completed) = fs::metadata(path.join(DONE)).and_then(|done| done.modified()) {
            checkpoints.push(Checkpoint { path, step, completed });
        }
    }
    checkpoints.sort_by_key(|checkpoint| checkpoint.step);
    Ok(checkpoints)
}

/// Writes a checkpoint and then removes all but the newest `keep` and that of step `best`. On an error no
/// half of one is left, and the older ones are as they were. Returns its folder.
pub(crate) fn write(
    folder: &Path,
    mut state: State,
    saved: &Saved,
    keep: u32,
    best: Option<u64>,
) -> Result<PathBuf, RunError> {
    let name = format!("{PREFIX}{:08}", state.step);
    let (temporary, path) = (folder.join(format!(".{name}.tmp")), folder.join(&name));
    fs::create_dir_all(folder).map_err(|source| RunError::file(folder, "create", source))?;
    remove_folder(&temporary)?;
    let written = write_files(&temporary, &mut state, saved).and_then(|()| {
        // Only a damaged one of the same step can stand there.
        remove_folder(&path)?;
        fs::rename(&temporary, &path).map_err(|source| RunError::file(&path, "rename", source))?;
        Ok(sync_folder(folder)?)
    });
    if let Err(error) = written {
        // The error that is reported is the first one.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    prune(folder, keep, best)?;
    Ok(path)
}

fn write_files(folder: &Path, state: &mut State, saved: &Saved) -> Result<(), RunError> {
    fs::create_dir(folder).map_err(|source| RunError::file(folder, "create", source))?;
    state.files.clear();
    let files = [(MODEL, Some(&saved.model)), (OPTIMIZER, Some(&saved.optimizer)), (EMA, saved.ema.as_ref())];
    for (name, bytes) in files {
        let Some(bytes) = bytes else { continue };
        write_synced(&folder.join(name), bytes)?;
        state.files.insert(name.to_owned(), seal(bytes));
    }
    let path = folder.join(STATE);
    let mut text = serde_json::to_string_pretty(&state)
        .map_err(|error| RunError::file(&path, "write", io::Error::other(error)))?;
    text.push('\n');
    write_synced(&path, text.as_bytes())?;
    write_synced(&folder.join(DONE), format!("{}\n", seal(text.as_bytes()).sha256).as_bytes())?;
    Ok(sync_folder(folder)?)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| RunError::file(path, "write", source))
}

fn remove_folder(path: &Path) -> Result<(), RunError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RunError::file(path, "remove", error)),
        _ => Ok(()),
    }
}

/// Removes all but the newest `keep` checkpoints and that of step `best`.
fn prune(folder: &Path, keep: u32, best: Option<u64>) -> Result<(), RunError> {
    let mut checkpoints = list(folder)?;
    let surplus = checkpoints.len().saturating_sub(keep.max(1) as usize);
    for old in checkpoints.drain(..surplus).filter(|old| Some(old.step) != best) {
        // The marker first: half a checkpoint must not look like a whole one.
        let done = old.path.join(DONE);
        fs::remove_file(&done).map_err(|source| RunError::file(&done, "remove", source))?;
        remove_folder(&old.path)?;
    }
    Ok(())
}

/// Removes folders of checkpoints that were never completed.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<(), RunError> {
    let failed = |source| RunError::file(folder, "read", source);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(&format!(".{PREFIX}")) || (name.starts_with(PREFIX) && !path.join(DONE).exists())
        {
            remove_folder(&path)?;
        }
    }
    Ok(())
}

/// The newest whole checkpoint, and why each newer one was passed over.
pub(crate) type Found = (Option<(PathBuf, State, Saved)>, Vec<String>);

/// Reads the newest checkpoint that is whole.
pub(crate) fn newest_intact(folder: &Path) -> Result<Found, RunError> {
    let mut passed_over = Vec::new();
    for checkpoint in list(folder)?.into_iter().rev() {
        match read(&checkpoint.path) {
            Ok((state, saved)) => return Ok((Some((checkpoint.path, state, saved)), passed_over)),
            Err(problem) => passed_over.push(format!("{}: {problem}", checkpoint.path.display())),
        }
    }
    Ok((None, passed_over))
}

/// Where a checkpoint stands, without reading its tensors.
pub(crate) fn read_state(path: &Path) -> Result<State, String> {
    let text = read_file(&path.join(STATE))?;
    let done = read_file(&path.join(DONE))?;
    if seal(&text).sha256.as_bytes() != done.trim_ascii() {
        return Err(format!("{STATE} is not what {DONE} seals"));
    }
    let version: serde_json::Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if let Some(found) = version.get("version").and_then(serde_json::Value::as_u64)
        && found > u64::from(STATE_VERSION)
    {
        return Err(format!("{STATE} has version {found}, this program reads up to {STATE_VERSION}"));
    }
    serde_json::from_slice(&text).map_err(|error| format!("{STATE}: {error}"))
}

/// A whole checkpoint, or what is wrong with it.
pub(crate) fn read(path: &Path) -> Result<(State, Saved), String> {
    let state = read_state(path)?;
    let sealed = |name: &str| {
        let bytes = read_file(&path.join(name))?;
        match state.files.get(name) {
            Some(expected) if *expected == seal(&bytes) => Ok(bytes),
            Some(expected) if expected.bytes != bytes.len() as u64 => {
                Err(format!("{name} has {} of {} bytes", bytes.len(), expected.bytes))
            }
            Some(_) => Err(format!("{name} is damaged")),
            None => Err(format!("{STATE} does not name {name}")),
        }
    };
    let ema = state.files.contains_key(EMA).then(|| sealed(EMA)).transpose()?;
    let saved = Saved { model: sealed(MODEL)?, optimizer: sealed(OPTIMIZER)?, ema };
    Ok((state, saved))
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path)
        .map_err(|error| format!("{}: {error}", path.file_name().unwrap_or_default().to_string_lossy()))
}

fn seal(bytes: &[u8]) -> FileSeal {
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    FileSeal { bytes: bytes.len() as u64, sha256 }
}
