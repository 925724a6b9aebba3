//! Putting a frame together column by column.

use chrono::{DateTime, Utc};
use polars::prelude::{Column, DataFrame, DataType, NamedFrom, Series, TimeUnit};
use shoestring_planner::units::Usd;

use super::Table;
use crate::ReportError;

/// A table in the making. The first error stops it and is told at the end.
pub(super) struct Builder {
    name: &'static str,
    row: &'static str,
    columns: Vec<Column>,
    problem: Option<String>,
}

impl Builder {
    pub(super) fn new(name: &'static str, row: &'static str) -> Self {
        Self { name, row, columns: Vec::new(), problem: None }
    }

    pub(super) fn text<S: Into<String>>(mut self, name: &str, values: impl IntoIterator<Item = S>) -> Self {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        self.columns.push(Series::new(name.into(), values).into());
        self
    }

    /// Text, `None` where not known.
    pub(super) fn known(mut self, name: &str, values: impl IntoIterator<Item = Option<String>>) -> Self {
        let values: Vec<Option<String>> = values.into_iter().collect();
        self.columns.push(Series::new(name.into(), values).into());
        self
    }

    /// Whole numbers, `None` where not known.
    pub(super) fn whole(mut self, name: &str, values: impl IntoIterator<Item = Option<u64>>) -> Self {
        let values: Vec<Option<i64>> =
            values.into_iter().map(|value| value.and_then(|value| i64::try_from(value).ok())).collect();
        self.columns.push(Series::new(name.into(), values).into());
        self
    }

    /// Numbers, `None` where not known or not finite.
    pub(super) fn number(mut self, name: &str, values: impl IntoIterator<Item = Option<f64>>) -> Self {
        let values: Vec<Option<f64>> =
            values.into_iter().map(|value| value.filter(|value| value.is_finite())).collect();
        self.columns.push(Series::new(name.into(), values).into());
        self
    }

    pub(super) fn flag(mut self, name: &str, values: impl IntoIterator<Item = bool>) -> Self {
        let values: Vec<bool> = values.into_iter().collect();
        self.columns.push(Series::new(name.into(), values).into());
        self
    }

    /// Two columns: `{name}_micro_usd` as integers and `{name}_usd` as dollars.
    pub(super) fn money(mut self, name: &str, values: impl IntoIterator<Item = Option<Usd>>) -> Self {
        let values: Vec<Option<Usd>> = values.into_iter().collect();
        let micros: Vec<Option<i64>> = values.iter().map(|value| value.map(Usd::micros)).collect();
        let dollars: Vec<Option<f64>> = values.iter().map(|value| value.map(Usd::dollars)).collect();
        self.columns.push(Series::new(format!("{name}_micro_usd").into(), micros).into());
        self.columns.push(Series::new(format!("{name}_usd").into(), dollars).into());
        self
    }

    /// Times, UTC, to the millisecond.
    pub(super) fn time(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = Option<DateTime<Utc>>>,
    ) -> Self {
        let values: Vec<Option<i64>> =
            values.into_iter().map(|value| value.map(|time| time.timestamp_millis())).collect();
        let series = Series::new(name.into(), values);
        match series.cast(&DataType::Datetime(TimeUnit::Milliseconds, None)) {
            Ok(series) => self.columns.push(series.into()),
            Err(error) => self.problem = self.problem.or_else(|| Some(format!("{name}: {error}"))),
        }
        self
    }

    pub(super) fn finish(self) -> Result<Table, ReportError> {
        let failed = |message: String| ReportError::Table { table: self.name.to_owned(), message };
        if let Some(problem) = self.problem {
            return Err(failed(problem));
        }
        let frame = DataFrame::new_infer_height(self.columns).map_err(|error| failed(error.to_string()))?;
        Ok(Table { name: self.name, row: self.row, frame })
    }
}
