//! Tables of pictures and captions: text with commas or tabs, or Parquet.

use std::fs::File;
use std::path::Path;

use super::parquet;
use crate::bounded::Metered;
use crate::error::DataError;

/// A line of a table is no longer than this: the longest caption, and room for other columns.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// What a table is written in, by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    Commas,
    Tabs,
    Parquet,
}

impl TableKind {
    /// `None`: not the name of a table.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_string_lossy().to_ascii_lowercase();
        match ending.as_str() {
            "csv" => Some(Self::Commas),
            "tsv" => Some(Self::Tabs),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Hands the picture and the caption of every row to `row`, in order.
pub(super) fn rows(path: &Path, columns: [&str; 2], row: impl FnMut(&[u8], &[u8])) -> Result<(), DataError> {
    match TableKind::of(path) {
        Some(TableKind::Parquet) => parquet::rows(path, columns, row),
        Some(TableKind::Tabs) => text_rows(path, b'\t', columns, row),
        Some(TableKind::Commas) | None => text_rows(path, b',', columns, row),
    }
}

fn text_rows(
    path: &Path,
    delimiter: u8,
    columns: [&str; 2],
    mut row: impl FnMut(&[u8], &[u8]),
) -> Result<(), DataError> {
    let refuse = |line: u64, problem: String, hint: String| DataError::Line {
        path: path.to_owned(),
        line: usize::try_from(line).unwrap_or(usize::MAX),
        problem,
        hint,
    };
    let file = File::open(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let what = "a line of more than 16 MiB (a quotation mark without an end?)";
    let (metered, meter) = Metered::new(file, MAX_LINE_BYTES, what);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(metered);
    let not_a_table = |line, error: &csv::Error| {
        refuse(line, error.to_string(), "the file is UTF-8 text with columns".into())
    };
    let header = reader.headers().map_err(|error| not_a_table(1, &error))?.clone();
    let column = |name: &str| {
        header.iter().position(|found| found.trim_start_matches('\u{feff}') == name).ok_or_else(|| {
            let found = header.iter().collect::<Vec<_>>().join(", ");
            refuse(1, format!("no column `{name}`"), format!("the columns are {found}"))
        })
    };
    let [image, caption] = [column(columns[0])?, column(columns[1])?];
    let mut record = csv::ByteRecord::new();
    for number in 2u64.. {
        meter.restart();
        let more = reader.read_byte_record(&mut record);
        if !more.map_err(|error| not_a_table(error.position().map_or(number, csv::Position::line), &error))? {
            break;
        }
        row(record.get(image).unwrap_or_default(), record.get(caption).unwrap_or_default());
    }
    Ok(())
}
