//! Tables as bytes. Neither form holds a time of writing, so equal tables give equal bytes.

use polars::prelude::{CsvWriter, ParquetWriter, SerWriter};

use super::Table;
use crate::ReportError;

/// Comma-separated values with a header line, UTF-8; empty fields are unknown values.
pub(crate) fn csv(table: &Table) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes)
        .include_header(true)
        .with_datetime_format(Some("%Y-%m-%dT%H:%M:%S%.3fZ".into()))
        .finish(&mut table.frame.clone())
        .map_err(|error| failed(table, &error))?;
    Ok(bytes)
}

/// Parquet, compressed with zstd.
pub(crate) fn parquet(table: &Table) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .set_parallel(false)
        .finish(&mut table.frame.clone())
        .map_err(|error| failed(table, &error))?;
    Ok(bytes)
}

fn failed(table: &Table, error: &polars::prelude::PolarsError) -> ReportError {
    ReportError::Table { table: table.name.to_owned(), message: error.to_string() }
}
