//! Reading a data set's folder.

use std::io;
use std::path::Path;

use shoestring_planner::recipe::{Data, read_manifest};

use crate::bounded::{MAX_TEXT_BYTES, read_text_bounded};
use crate::error::DataError;

/// Name of a data set's manifest.
pub const MANIFEST_NAME: &str = "dataset.toml";

/// Reads `dataset.toml` of a folder (or the file itself, where `path` is a file). Paths in it come back
/// absolute.
pub fn read_dataset_folder(path: &Path) -> Result<Data, DataError> {
    let read = |source| DataError::Read { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(read)?;
    let is_folder = std::fs::metadata(&absolute).map_err(read)?.is_dir();
    let (folder, file) = if is_folder {
        (absolute.as_path(), absolute.join(MANIFEST_NAME))
    } else {
        (absolute.parent().unwrap_or(Path::new("/")), absolute.clone())
    };
    let text = read_text_bounded(&file, MAX_TEXT_BYTES).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DataError::NoManifest { folder: folder.to_owned() },
        _ => DataError::Read { path: file.clone(), source },
    })?;
    Ok(read_manifest(&text, &file)?.resolved(folder))
}
