//! From inputs to files.

use std::path::{Path, PathBuf};

use crate::charts::Chart;
use crate::page::Contents;
use crate::tables::{self, Table};
use crate::{Inputs, ReportError, charts, page, read};

/// Something that a reader of the report should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The run that it is about; `None`: the report as a whole.
    pub run: Option<String>,
    /// What it is.
    pub text: String,
    /// Whether something that should be there could not be read or shown.
    pub partial: bool,
}

/// One file of a report.
#[derive(Clone, PartialEq, Eq)]
pub struct ReportFile {
    /// Where, relative to the report's folder, with `/` between parts.
    pub path: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for ReportFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReportFile({}, {} bytes)", self.path, self.bytes.len())
    }
}

/// A finished report, not yet on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFiles {
    /// `charts/*.svg`, `charts/*.png`, `tables/*.csv`, `tables/*.parquet`, and last `index.html`.
    pub files: Vec<ReportFile>,
    /// What is missing or was left out.
    pub notes: Vec<Note>,
}

/// Makes reports.
#[derive(Clone, Copy, Debug)]
pub struct Report;

impl Report {
    /// Reads the runs and makes every file of the report. The same inputs give the same bytes.
    pub fn build(inputs: &Inputs) -> Result<ReportFiles, ReportError> {
        let (runs, notes) = read::read_runs(&inputs.runs)?;
        let tables = tables::all(inputs, &runs)?;
        let charts = charts::all(inputs, &runs)?;
        let contents = Contents { inputs, runs: &runs, tables: &tables, charts: &charts, notes: &notes };
        let html = page::html(&contents)?;
        let mut files = Vec::new();
        for chart in charts {
            let Chart { id, svg, png, .. } = chart;
            files.push(ReportFile { path: format!("charts/{id}.svg"), bytes: svg.into_bytes() });
            files.push(ReportFile { path: format!("charts/{id}.png"), bytes: png });
        }
        for table in &tables {
            let Table { name, .. } = table;
            files.push(ReportFile { path: format!("tables/{name}.csv"), bytes: tables::csv(table)? });
            files.push(ReportFile { path: format!("tables/{name}.parquet"), bytes: tables::parquet(table)? });
        }
        files.push(ReportFile { path: "index.html".to_owned(), bytes: html.into_bytes() });
        Ok(ReportFiles { files, notes })
    }
}

impl ReportFiles {
    /// Whether something that should be there could not be read or shown.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.notes.iter().any(|note| note.partial)
    }

    /// Writes the files into `folder`, each under a temporary name first; the page comes last, so that a page
    /// that is there has its files. Returns the page's path.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, ReportError> {
        for file in &self.files {
            shoestring_durable::write_file(&folder.join(&file.path), &file.bytes)?;
        }
        Ok(folder.join("index.html"))
    }
}

#[cfg(test)]
mod tests;
