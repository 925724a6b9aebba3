//! Frames as HTML tables, so that the page and the files cannot say different things.

use maud::{Markup, html};
use polars::prelude::{AnyValue, DataFrame};
use shoestring_planner::units::{Hours, Samples, Usd};

use crate::ReportError;
use crate::tables::Table;
use crate::words::{decimal, dollars, percent, significant};

/// How the values of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text on one line.
    Text,
    /// Text that may be broken into lines.
    Long,
    /// A whole number.
    Whole,
    /// A number of samples.
    Samples,
    /// Micro-dollars.
    Money,
    /// Hours.
    Hours,
    /// A percentage.
    Percent,
    /// A difference in percent, with its sign.
    Difference,
    /// A number with three digits.
    Number,
}

/// A column of a frame as a column of the page.
pub(super) struct Shown {
    pub(super) column: &'static str,
    pub(super) header: &'static str,
    pub(super) format: Format,
}

/// Rows shown at most; the files have them all.
const ROWS: usize = 60;

/// The newest rows of a table, the first column as row headers.
pub(super) fn table(table: &Table, title: &str, shown: &[Shown]) -> Result<Markup, ReportError> {
    let height = table.frame.height();
    let first = height.saturating_sub(ROWS);
    let mut rows = Vec::with_capacity(height - first);
    for index in first..height {
        let cells: Result<Vec<String>, ReportError> =
            shown.iter().map(|shown| cell(table, shown, index)).collect();
        rows.push((cells?, is_total(&table.frame, index)));
    }
    Ok(html! {
        h3 id=(table.name) { (title) }
        div.scroll tabindex="0" role="region" aria-labelledby=(table.name) {
            table {
                thead { tr {
                    @for shown in shown {
                        th scope="col" class=(class(shown.format)) { (shown.header) }
                    }
                } }
                tbody {
                    @for (cells, total) in &rows {
                        tr.total[*total] {
                            @for (index, (text, shown)) in cells.iter().zip(shown).enumerate() {
                                @if index == 0 {
                                    th scope="row" class=(class(shown.format)) { (text) }
                                } @else {
                                    td class=(class(shown.format)) { (text) }
                                }
                            }
                        }
                    }
                }
            }
        }
        p.files {
            @if first > 0 { "The last " (ROWS) " of " (height) " rows. " }
            "One row is " (table.row) ". In full: " (files(table.name))
        }
    })
}

/// Links to the files of a table, which lie beside the page.
pub(super) fn files(name: &str) -> Markup {
    html! {
        a href=(format!("tables/{name}.csv")) { "tables/" (name) ".csv" } ", "
        a href=(format!("tables/{name}.parquet")) { "tables/" (name) ".parquet" }
    }
}

fn class(format: Format) -> &'static str {
    match format {
        Format::Text => "text",
        Format::Long => "long",
        _ => "number",
    }
}

fn is_total(frame: &DataFrame, index: usize) -> bool {
    let value = frame.column("is_total").ok().and_then(|column| column.get(index).ok());
    matches!(value, Some(AnyValue::Boolean(true)))
}

fn cell(table: &Table, shown: &Shown, index: usize) -> Result<String, ReportError> {
    let failed = |error: polars::prelude::PolarsError| ReportError::Table {
        table: table.name.to_owned(),
        message: error.to_string(),
    };
    let column = table.frame.column(shown.column).map_err(failed)?;
    Ok(match column.get(index).map_err(failed)? {
        AnyValue::String(text) => text.to_owned(),
        AnyValue::StringOwned(text) => text.to_string(),
        AnyValue::Int64(value) => whole(value, shown.format),
        AnyValue::Float64(value) => number(value, shown.format),
        AnyValue::Boolean(value) => if value { "yes" } else { "no" }.to_owned(),
        AnyValue::Null => "–".to_owned(),
        other => other.to_string(),
    })
}

fn whole(value: i64, format: Format) -> String {
    match format {
        Format::Money => dollars(Usd::from_micros(value)),
        Format::Samples => Samples(value.unsigned_abs()).to_string(),
        _ => decimal(value as f64, 0),
    }
}

fn number(value: f64, format: Format) -> String {
    match format {
        Format::Hours => Hours(value).to_string(),
        Format::Percent => percent(value),
        Format::Difference => crate::charts::signed_percent(value),
        _ => significant(value),
    }
}
