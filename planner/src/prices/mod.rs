//! Today's prices. The one place of the planner that touches the network, behind [`Transport`]; where prices
//! come from is behind [`PriceSource`], and what they are written into is a [`Table`].

mod aws;
mod azure;
mod batch;
mod diff;
mod error;
mod google;
mod gpuhunt;
mod import;
mod row;
mod skypilot;
mod spot_advisor;
mod table;
mod web;

use std::collections::BTreeMap;

pub use self::aws::{AWS_REGIONS, AwsBulk};
pub use self::azure::AzureRetail;
pub use self::batch::{Batch, NotAnswered, Reason, Refused};
pub use self::diff::{Change, Diff, diff};
pub use self::error::FetchError;
pub use self::gpuhunt::{GPUHUNT_CLOUDS, Gpuhunt};
pub use self::import::{IMPORT_COLUMNS, IMPORT_FEED, ImportError, ImportForm, import};
pub use self::row::PriceRow;
pub use self::skypilot::{SKYPILOT_CLOUDS, SkyPilot};
pub use self::spot_advisor::SpotAdvisor;
pub use self::table::{Table, TableError};
pub use self::web::{
    Answer, BodyError, Browser, Cache, Cached, Clock, Fetched, Http, NoCache, Patience, Reduce, Transport,
    Validators, Web, whole,
};

/// Where prices come from. Each of its feeds is fetched, fails and is kept by itself.
pub trait PriceSource {
    /// Its feeds, by the name their rows carry: `skypilot/aws`.
    fn feeds(&self) -> Vec<String>;

    /// Fetches one feed. `known` are rows at hand, for sources that only say how prices relate to others.
    fn fetch(&self, feed: &str, web: &dyn Web, known: &[PriceRow]) -> Result<Batch, FetchError>;
}

/// What came of one feed.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedResult {
    /// The feed.
    pub feed: String,
    /// Its rows, or why there are none.
    pub outcome: Result<Batch, FetchError>,
}

/// Fetches every feed of every source, in order: what earlier ones brought is known to later ones.
/// `progress` is told before each.
pub fn update(
    sources: &[Box<dyn PriceSource>],
    web: &dyn Web,
    old: &Table,
    mut progress: impl FnMut(&str),
) -> Vec<FeedResult> {
    let mut known = old.clone();
    let mut results = Vec::new();
    for source in sources {
        for feed in source.feeds() {
            progress(&feed);
            let outcome = source.fetch(&feed, web, &known.rows);
            if let Ok(batch) = &outcome {
                known.take(&feed, batch);
            }
            results.push(FeedResult { feed, outcome });
        }
    }
    results
}

/// The batch, unless it is empty: a price list without an offer is a fault of it, whatever its form.
fn not_empty(mut batch: Batch, url: &str) -> Result<Batch, FetchError> {
    if !batch.rows.is_empty() {
        batch.one_row_each();
        batch.refused.sort_by_key(|refused| refused.line);
        return Ok(batch);
    }
    // Rows that should have been offers say more than rows about other things.
    let counted = |counts: BTreeMap<String, usize>| {
        let mut counts: Vec<_> = counts.into_iter().map(|(what, count)| (count, what)).collect();
        counts.sort_by(|a, b| b.cmp(a));
        counts.into_iter().map(|(count, what)| format!("{count} x {what}"))
    };
    let reasons = counted(batch.reasons());
    let why: Vec<String> = reasons.chain(counted(batch.passed_over)).take(3).collect();
    let why = if why.is_empty() { "it has no rows".to_owned() } else { why.join(", ") };
    Err(FetchError::NoOffer { url: url.to_owned(), why })
}

/// The part of a feed's name after its source: `aws` of `skypilot/aws`.
fn part(feed: &str) -> &str {
    feed.split_once('/').map_or(feed, |(_, part)| part)
}

/// `base` and `path` with one slash between.
fn join(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}

/// A column by its name, or the refusal of the document.
fn column(header: &csv::StringRecord, name: &str, url: &str, line: u64) -> Result<usize, FetchError> {
    header.iter().position(|known| known.trim() == name).ok_or_else(|| FetchError::NotACatalogue {
        url: url.to_owned(),
        line,
        problem: format!("the column `{name}` is missing"),
    })
}

/// A number in a column that may be empty.
fn number(record: &csv::StringRecord, index: Option<usize>) -> Result<Option<f64>, Reason> {
    let text = index.and_then(|index| record.get(index)).unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Reason::Unreadable(format!("`{text}` is not a number")))
}

fn broken_csv(error: &csv::Error, url: &str) -> FetchError {
    let line = error.position().map_or(0, csv::Position::line);
    FetchError::NotACatalogue { url: url.to_owned(), line, problem: error.to_string() }
}

/// What a cut-off CSV looks like where its length is not told: the last line has no end.
fn whole_lines(text: &str, url: &str) -> Result<(), FetchError> {
    if text.ends_with('\n') {
        return Ok(());
    }
    let line = text.lines().count() as u64;
    let problem = "the last line has no end: the answer was cut off".to_owned();
    Err(FetchError::NotACatalogue { url: url.to_owned(), line, problem })
}

fn text(body: &[u8], url: &str) -> Result<String, FetchError> {
    String::from_utf8(body.to_vec()).map_err(|error| FetchError::NotACatalogue {
        url: url.to_owned(),
        line: 0,
        problem: format!("not UTF-8 after {} bytes", error.utf8_error().valid_up_to()),
    })
}
