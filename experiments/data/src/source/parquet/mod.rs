//! Lists of pictures and captions in Parquet files, read a few thousand rows at a time.

mod pages;

use std::fs::File;
use std::path::Path;

use parquet::basic::Type;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;

use self::pages::CheckedPages;
use super::MAX_CAPTION_BYTES;
use crate::error::DataError;
use crate::guard::guarded;

/// Rows that are decoded at a time.
const ROWS: usize = 4096;
/// What a list may become in memory for each byte of its file, and besides. Lists of different pictures stay far
/// below; one value repeated a billion times (a few bytes on disk) does not.
const MOST_BYTES_PER_BYTE: u64 = 256;
const MOST_BYTES_BESIDES: u64 = 64 << 20;
/// What a row takes in memory besides its texts.
const BYTES_PER_ROW: u64 = 64;

/// Hands the picture and the caption of every row to `row`, in the order of the file. What is null is empty.
pub(super) fn rows(
    path: &Path,
    columns: [&str; 2],
    mut row: impl FnMut(&[u8], &[u8]),
) -> Result<(), DataError> {
    let file = File::open(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    match guarded(|| read(file, columns, &mut row)) {
        Some(Ok(())) => Ok(()),
        Some(Err(problem)) => Err(problem.at(path)),
        None => Err(Problem::damaged("its contents contradict each other").at(path)),
    }
}

struct Problem {
    problem: String,
    hint: String,
}

impl Problem {
    fn damaged(problem: &str) -> Self {
        Self {
            problem: format!("not a Parquet file, or damaged: {problem}"),
            hint: "download or write the file again".to_owned(),
        }
    }

    fn at(self, path: &Path) -> DataError {
        DataError::Table { path: path.to_owned(), problem: self.problem, hint: self.hint }
    }
}

impl From<ParquetError> for Problem {
    fn from(error: ParquetError) -> Self {
        if let ParquetError::NYI(text) = error {
            return Self {
                problem: format!("is not read here: {text}"),
                hint:
                    "write the file again with plain texts or a dictionary, as most programs do by themselves"
                        .to_owned(),
            };
        }
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default();
        let text = text.trim_start_matches("Parquet error: ").trim_end_matches('.');
        // What a codec is missing for is said by its name.
        if text.contains("Disabled feature") || text.contains("feature flag") {
            return Self {
                problem: format!("its compression is not read here: {text}"),
                hint: "write the file again with snappy, zstd or lz4, which most programs use by themselves"
                    .to_owned(),
            };
        }
        Self::damaged(&text.chars().take(200).collect::<String>())
    }
}

fn read(file: File, columns: [&str; 2], row: &mut impl FnMut(&[u8], &[u8])) -> Result<(), Problem> {
    let file_bytes = file.metadata().map_err(|error| Problem::damaged(&error.to_string()))?.len();
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let [image, caption] = [column(schema, columns[0])?, column(schema, columns[1])?];
    let most = file_bytes.saturating_mul(MOST_BYTES_PER_BYTE).saturating_add(MOST_BYTES_BESIDES);
    let mut held = 0;
    for number in 0..reader.num_row_groups() {
        let group = reader.get_row_group(number)?;
        let texts = |number| Texts::of(&*group, number, most / BYTES_PER_ROW);
        let (mut images, mut captions) = (texts(image)?, texts(caption)?);
        loop {
            let (image, caption) = (images.next()?, captions.next()?);
            let (image, caption) = match (&image, &caption) {
                (Some(image), Some(caption)) => (image, caption),
                (None, None) => break,
                _ => return Err(Problem::damaged("the two columns have not as many rows")),
            };
            let (image, caption) = (bytes(image), bytes(caption));
            held += BYTES_PER_ROW + image.len() as u64 + (caption.len() as u64).min(MAX_CAPTION_BYTES);
            if held > most {
                return Err(Problem {
                    problem: format!("its {file_bytes} bytes unpack to more than {most}"),
                    hint: "no list of different pictures does that; write the file again".to_owned(),
                });
            }
            row(image, caption);
        }
    }
    Ok(())
}

/// Bytes of a value; none where it is null.
fn bytes(value: &Option<ByteArray>) -> &[u8] {
    value.as_ref().map_or(&[], ByteArray::data)
}

fn column(schema: &SchemaDescriptor, name: &str) -> Result<usize, Problem> {
    let names = || schema.columns().iter().map(|column| column.path().string()).take(50).collect::<Vec<_>>();
    let hint = || format!("the columns are {}", names().join(", "));
    let found = schema.columns().iter().position(|column| column.path().string() == name);
    let number = found.ok_or_else(|| Problem { problem: format!("no column `{name}`"), hint: hint() })?;
    let column = schema.column(number);
    if column.physical_type() != Type::BYTE_ARRAY || column.max_rep_level() > 0 {
        return Err(Problem { problem: format!("column `{name}` holds no texts"), hint: hint() });
    }
    Ok(number)
}

/// The values of a column of a row group, one after the other.
struct Texts {
    reader: ColumnReaderImpl<ByteArrayType>,
    /// The definition level of a value that is not null.
    defined: i16,
    levels: Vec<i16>,
    values: std::vec::IntoIter<ByteArray>,
    /// The next of `levels`.
    at: usize,
}

impl Texts {
    /// Of a column that holds byte arrays; `most_values` are what a page may have.
    fn of(group: &dyn RowGroupReader, number: usize, most_values: u64) -> Result<Self, Problem> {
        let description = group.metadata().schema_descr().column(number);
        let defined = description.max_def_level();
        let pages = group.get_column_page_reader(number)?;
        let pages = CheckedPages { pages, nullable: defined > 0, most_values };
        let reader = ColumnReaderImpl::new(description, Box::new(pages));
        Ok(Self { reader, defined, levels: Vec::new(), values: Vec::new().into_iter(), at: 0 })
    }

    /// `None` at the end, `Some(None)` for null.
    fn next(&mut self) -> Result<Option<Option<ByteArray>>, Problem> {
        if self.at == self.levels.len() {
            let mut values = Vec::new();
            self.levels.clear();
            self.at = 0;
            let (rows, ..) = self.reader.read_records(ROWS, Some(&mut self.levels), None, &mut values)?;
            if self.defined == 0 {
                self.levels = vec![0; rows];
            }
            self.values = values.into_iter();
            if rows == 0 || self.levels.is_empty() {
                return Ok(None);
            }
        }
        let level = self.levels[self.at];
        self.at += 1;
        if level < self.defined {
            return Ok(Some(None));
        }
        match self.values.next() {
            Some(value) => Ok(Some(Some(value))),
            None => Err(Problem::damaged("a column has fewer values than rows")),
        }
    }
}
