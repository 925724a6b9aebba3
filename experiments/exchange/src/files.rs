//! Reading whole files of bounded length, and writing a folder's files.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;
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
    let failed = |source| ExchangeError::file(path, "read", source);
    let file = fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(MOST_CONFIG_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MOST_CONFIG_BYTES {
        let problem = format!("is longer than {MOST_CONFIG_BYTES} bytes: no configuration is");
        return Err(ExchangeError::format(path, problem, "is it the right file?"));
    }
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
        assert!(error.contains("is longer than 4194304 bytes"), "{error}");
    }
}
