//! Reading whole files of bounded length, and writing a folder's files.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;
use shoestring_data::read_text_bounded;
use shoestring_durable::write_file;

use crate::error::{ExchangeError, Result};

/// No configuration is longer.
const MOST_CONFIG_BYTES: u64 = 4 << 20;

/// All of a file of weights.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| ExchangeError::file(path, "read", source))
}

/// A configuration.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let text = read_text_bounded(path, MOST_CONFIG_BYTES)
        .map_err(|source| ExchangeError::file(path, "read", source))?;
    serde_json::from_str(&text).map_err(|error| {
        ExchangeError::format(path, format!("is not JSON: {error}"), "is it the right file?")
    })
}

/// Makes `folder`, which may only hold files of the names given.
pub(crate) fn prepare(folder: &Path, names: &[&str]) -> Result<()> {
    fs::create_dir_all(folder).map_err(|source| ExchangeError::file(folder, "create", source))?;
    let failed = |source| ExchangeError::file(folder, "read", source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !names.contains(&name.as_str()) && !name.starts_with('.') {
            return Err(ExchangeError::Occupied { folder: folder.to_owned(), found: name });
        }
    }
    Ok(())
}

pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| ExchangeError::file(path, "write", io::Error::other(error)))?;
    Ok(write_file(path, format!("{text}\n").as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_many_megabytes_is_refused_as_that() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), format!("{{}}{}", " ".repeat(MOST_CONFIG_BYTES as usize))).expect("writes");
        let error = read_json(file.path()).expect_err("is too long").to_string();
        assert!(error.contains("4194306 bytes, more than the 4194304"), "{error}");
    }
}
