//! A CSV table of runs by column names, and what is wrong with it in words that find the place.

use std::collections::HashMap;

use csv::StringRecord;

use crate::names::UnknownName;

/// Why a table of runs could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunsError {
    /// Not CSV at all, or a row with another number of fields.
    #[error("{file}:{line}: {problem}")]
    Csv {
        /// The file.
        file: String,
        /// Line, counted from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A column that is needed is not in the header.
    #[error("{file}:1: the column `{column}` is missing")]
    Column {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// Columns of the file that sound like it.
        nearest: Vec<String>,
    },
    /// A field is empty, no number, or contradicts another.
    #[error("{file}:{line}: {column} = `{value}`: {problem}")]
    Value {
        /// The file.
        file: Box<str>,
        /// Line, counted from 1.
        line: u64,
        /// The column.
        column: Box<str>,
        /// What stands there.
        value: Box<str>,
        /// What is wrong with it.
        problem: Box<str>,
        /// What to write instead.
        hint: Box<str>,
    },
    /// A header and nothing below it.
    #[error("{file}: no run below the header")]
    Empty {
        /// The file.
        file: String,
    },
}

impl RunsError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Csv { .. } => {
                "quote fields that contain commas; every line has as many as the header".into()
            }
            Self::Column { nearest, .. } if !nearest.is_empty() => {
                format!("is it what the file calls `{}`? Columns go by their names", nearest.join("` or `"))
            }
            Self::Column { .. } | Self::Empty { .. } => {
                "docs/formats.md lists the columns of a table of runs (runs.csv)".into()
            }
            Self::Value { hint, .. } => hint.to_string(),
        })
    }
}

/// A table of runs, every row of it with its line.
pub(super) struct Table {
    file: String,
    columns: HashMap<String, usize>,
    records: Vec<(u64, StringRecord)>,
}

impl Table {
    pub(super) fn read(file: &str, text: &str) -> Result<Self, RunsError> {
        // Spreadsheets put a byte-order mark before the first column's name.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let failed = |error: &csv::Error| RunsError::Csv {
            file: file.to_owned(),
            line: error.position().map_or(1, csv::Position::line),
            problem: error.to_string(),
        };
        let header = reader.headers().map_err(|error| failed(&error))?.clone();
        let mut columns = HashMap::new();
        for (index, name) in header.iter().enumerate() {
            if columns.insert(name.to_owned(), index).is_some() {
                let problem = format!("the column `{name}` stands twice in the header");
                return Err(RunsError::Csv { file: file.to_owned(), line: 1, problem });
            }
        }
        let mut records = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| failed(&error))?;
            records.push((record.position().map_or(0, csv::Position::line), record));
        }
        Ok(Self { file: file.to_owned(), columns, records })
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    /// Refuses a table that lacks one of these columns.
    pub(super) fn need(&self, needed: &[&str]) -> Result<(), RunsError> {
        match needed.iter().find(|column| !self.has(column)) {
            None => Ok(()),
            Some(column) => {
                let mut known: Vec<&str> =
                    self.columns.keys().map(String::as_str).filter(|name| !needed.contains(name)).collect();
                known.sort_unstable();
                let nearest = UnknownName::new("column", column, known).nearest;
                Err(RunsError::Column { file: self.file.clone(), column: (*column).to_owned(), nearest })
            }
        }
    }

    pub(super) fn empty(&self) -> RunsError {
        RunsError::Empty { file: self.file.clone() }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.records.iter().map(|(line, record)| Row { table: self, line: *line, record })
    }
}

/// One row.
pub(super) struct Row<'a> {
    table: &'a Table,
    line: u64,
    record: &'a StringRecord,
}

impl Row<'_> {
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The field; empty where the table has no such column.
    pub(super) fn text(&self, column: &str) -> &str {
        self.table.columns.get(column).and_then(|&index| self.record.get(index)).unwrap_or_default()
    }

    /// The field, or `None` if it is empty.
    pub(super) fn some(&self, column: &str) -> Option<String> {
        Some(self.text(column)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The field, which must not be empty.
    pub(super) fn needed(&self, column: &str) -> Result<String, RunsError> {
        self.some(column).ok_or_else(|| {
            self.wrong(
                column,
                "is empty",
                &format!("every run needs `{column}`; remove the row if it is unknown"),
            )
        })
    }

    pub(super) fn wrong(&self, column: &str, problem: &str, hint: &str) -> RunsError {
        RunsError::Value {
            file: self.table.file.as_str().into(),
            line: self.line,
            column: column.into(),
            value: self.text(column).into(),
            problem: problem.into(),
            hint: hint.into(),
        }
    }

    /// A field that another one contradicts.
    pub(super) fn contradiction(&self, column: &str, problem: &str) -> RunsError {
        self.wrong(column, problem, "correct whichever of the two is wrong, or leave one of them empty")
    }

    /// A number of at least `least`, without a remark in brackets behind it; `None` if the field is empty.
    pub(super) fn number(&self, column: &str, least: f64) -> Result<Option<f64>, RunsError> {
        let text = self.text(column).split('(').next().unwrap_or_default().trim();
        if text.is_empty() && self.text(column).is_empty() {
            return Ok(None);
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && value >= least => Ok(Some(value)),
            Ok(value) if value.is_finite() => {
                Err(self.wrong(column, &format!("must be at least {least}"), "check sign and unit"))
            }
            _ => Err(self.wrong(
                column,
                "is no number",
                "write digits with a point and no unit (2560 or 0.3); leave it empty where it is not known",
            )),
        }
    }

    /// A whole number from `least` to four thousand million; `None` if the field is empty.
    pub(super) fn count(&self, column: &str, least: u32) -> Result<Option<u32>, RunsError> {
        match self.number(column, f64::from(least))? {
            None => Ok(None),
            Some(value) if value.fract() == 0.0 && value <= f64::from(u32::MAX) => Ok(Some(value as u32)),
            Some(_) => Err(self.wrong(column, "is no whole number", "write a whole number")),
        }
    }

    /// A percentage; `None` if the field is empty.
    pub(super) fn percent(&self, column: &str) -> Result<Option<f64>, RunsError> {
        let value = self.number(column, 0.0)?;
        match value {
            Some(value) if value > 100.0 => {
                Err(self.wrong(column, "is no percentage", "write a number from 0 to 100"))
            }
            _ => Ok(value),
        }
    }

    /// Several percentages.
    pub(super) fn percents<const N: usize>(&self, columns: [&str; N]) -> Result<[Option<f64>; N], RunsError> {
        let mut out = [None; N];
        for (value, column) in out.iter_mut().zip(columns) {
            *value = self.percent(column)?;
        }
        Ok(out)
    }

    /// A number that must be there.
    pub(super) fn needed_number(&self, column: &str, least: f64) -> Result<f64, RunsError> {
        self.needed(column)?;
        self.number(column, least)?.ok_or_else(|| self.wrong(column, "is empty", "write a number"))
    }

    /// Accuracy in percent, which must be there.
    pub(super) fn accuracy(&self, column: &str) -> Result<f64, RunsError> {
        self.needed(column)?;
        self.percent(column)?.ok_or_else(|| self.wrong(column, "is empty", "write a number from 0 to 100"))
    }
}
