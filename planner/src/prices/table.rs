//! The price table on disk: rows of several feeds, each replaced as a whole.

use super::batch::Batch;
use super::row::PriceRow;

/// Why a file is no price table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TableError {
    /// Line, counted from 1.
    pub line: u64,
    /// What is wrong.
    pub problem: String,
}

impl TableError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> String {
        "rows of an existing table are kept, so it must be readable: mend it, move it away, or write elsewhere \
         with --out"
            .to_owned()
    }
}

/// A price table, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Its rows.
    pub rows: Vec<PriceRow>,
}

impl Table {
    /// Reads the CSV of a price table; every row must be readable.
    pub fn read(text: &str) -> Result<Self, TableError> {
        let mut rows = Vec::new();
        for row in csv::Reader::from_reader(text.as_bytes()).deserialize() {
            rows.push(row.map_err(|error: csv::Error| TableError {
                line: error.position().map_or(0, csv::Position::line),
                problem: error.to_string(),
            })?);
        }
        Ok(Self { rows })
    }

    /// Rows that came by `feed`, in their order.
    pub fn of<'a>(&'a self, feed: &'a str) -> impl Iterator<Item = &'a PriceRow> {
        self.rows.iter().filter(move |row| row.feed == feed)
    }

    /// Puts `rows` in the place of all rows of `feed`.
    pub fn replace(&mut self, feed: &str, rows: Vec<PriceRow>) {
        self.rows.retain(|row| row.feed != feed);
        self.rows.extend(rows);
    }

    /// Puts what a feed brought in the place of its rows; those of machine types that did not answer stay.
    pub fn take(&mut self, feed: &str, batch: &Batch) {
        let stays = |row: &PriceRow| batch.not_answered.iter().any(|part| part.what == row.instance_type);
        self.rows.retain(|row| row.feed != feed || stays(row));
        self.rows.extend(batch.rows.iter().cloned());
    }

    /// Puts each of `rows` in the place of the row of the same feed and name, if there is one: how many there
    /// were.
    pub fn merge(&mut self, rows: Vec<PriceRow>) -> usize {
        let mut replaced = 0;
        for row in rows {
            match self.rows.iter_mut().find(|old| old.feed == row.feed && old.key() == row.key()) {
                Some(old) => {
                    *old = row;
                    replaced += 1;
                }
                None => self.rows.push(row),
            }
        }
        replaced
    }

    /// The table as CSV, by provider, region, instance type, feed.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut rows = self.rows.clone();
        rows.sort_by_key(|row| (row.key(), row.feed.clone()));
        Self { rows }.csv_as_it_stands()
    }

    /// The table as CSV, rows in their order.
    ///
    /// # Panics
    /// Never: the rows hold only texts and numbers.
    #[must_use]
    pub fn csv_as_it_stands(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &self.rows {
            #[expect(clippy::expect_used, reason = "writing plain fields to memory")]
            writer.serialize(row).expect("a row of texts and numbers");
        }
        let bytes = writer.into_inner().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::{PriceTable, built_in};
    use crate::prices::NotAnswered;

    fn of_feed(feed: &str, names: &[&str]) -> Vec<PriceRow> {
        let mut row = PriceRow::from(&built_in()[0]);
        row.feed = feed.to_owned();
        let named = |name: &&str| PriceRow { instance_type: (*name).to_owned(), ..row.clone() };
        names.iter().map(named).collect()
    }

    #[test]
    fn what_is_written_is_read_again_as_rows_and_as_offers() {
        let table = Table { rows: built_in().iter().map(PriceRow::from).collect() };
        assert_eq!(Table::read(&table.csv_as_it_stands()), Ok(table.clone()));
        let read = PriceTable::read(&table.csv_as_it_stands());
        assert_eq!(read.rejected, []);
        assert_eq!(read.today, built_in());
    }

    #[test]
    fn feeds_are_replaced_whole_and_others_stay() {
        let mut table = Table::default();
        table.merge(of_feed("skypilot/aws", &["a", "b"]));
        table.merge(of_feed("import", &["a"]));
        table.replace("skypilot/aws", of_feed("skypilot/aws", &["c"]));
        let part = NotAnswered { what: "c".to_owned(), why: "timed out".to_owned() };
        let batch =
            Batch { rows: of_feed("skypilot/aws", &["e"]), not_answered: vec![part], ..Batch::default() };
        let mut partly = table.clone();
        partly.take("skypilot/aws", &batch);
        let names: Vec<&str> = partly.rows.iter().map(|row| row.instance_type.as_str()).collect();
        assert_eq!(names, ["a", "c", "e"]);
        let left: Vec<(&str, &str)> =
            table.rows.iter().map(|row| (row.feed.as_str(), row.instance_type.as_str())).collect();
        assert_eq!(left, [("import", "a"), ("skypilot/aws", "c")]);
        assert_eq!(table.merge(of_feed("import", &["a", "d"])), 1);
        assert_eq!(table.of("import").count(), 2);
    }

    #[test]
    fn a_table_that_cannot_be_read_is_named_by_its_line() {
        let error = Table::read("provider,region\nx\n").expect_err("too few fields");
        assert_eq!(error.line, 2);
    }
}
