//! Today's prices. The one place of the planner that touches the network, behind [`PriceSource`].

mod http;
mod skypilot;

use std::collections::BTreeMap;

use chrono::NaiveDate;

pub use self::http::Http;
pub use self::skypilot::{CatalogueRow, Skipped, read_skypilot};

/// Where `SkyPilot` publishes its catalogue, one folder a cloud (schema version 8).
pub const SKYPILOT_CATALOGUE: &str =
    "https://raw.githubusercontent.com/skypilot-org/skypilot-catalog/master/catalogs/v8";

/// A text and the day it was last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The text.
    pub text: String,
    /// Day of the last change by the server's word; today's by its clock if it gives none.
    pub as_of: NaiveDate,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer, or one that is no success.
    #[error("{url}: {problem}")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// What happened.
        problem: String,
    },
    /// An answer that is not what was asked for.
    #[error("{url}: line {line}: {problem}")]
    NotACatalogue {
        /// What was asked.
        url: String,
        /// Line of the answer, counted from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
}

impl FetchError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoAnswer { .. } => {
                "the prices on disk are as they were; without a network the built-in catalogue serves".into()
            }
            Self::NotACatalogue { .. } => "the source may have changed its form; leave this cloud out".into(),
        })
    }
}

/// Something that answers a URL with a text.
pub trait PriceSource {
    /// Fetches one text.
    fn fetch(&self, url: &str) -> Result<Fetched, FetchError>;
}

/// What an update brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// Rows that can be planned with, by cloud, region, instance type.
    pub rows: Vec<CatalogueRow>,
    /// Rows that cannot, by reason.
    pub skipped: BTreeMap<Skipped, usize>,
}

impl Update {
    /// The rows as the catalogue's own CSV.
    ///
    /// # Panics
    /// Never: the rows hold only texts and numbers.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &self.rows {
            #[expect(clippy::expect_used, reason = "writing plain fields to memory")]
            writer.serialize(row).expect("a row of texts and numbers");
        }
        let bytes = writer.into_inner().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Fetches `{base}/{cloud}/vms.csv` of every cloud; all or nothing.
pub fn update(source: &dyn PriceSource, base: &str, clouds: &[String]) -> Result<Update, FetchError> {
    let mut update = Update::default();
    for cloud in clouds {
        let url = format!("{}/{cloud}/vms.csv", base.trim_end_matches('/'));
        let fetched = source.fetch(&url)?;
        let (rows, skipped) = read_skypilot(cloud, &url, &fetched)?;
        update.rows.extend(rows);
        for (reason, count) in skipped {
            *update.skipped.entry(reason).or_default() += count;
        }
    }
    update.rows.sort_by(|a, b| {
        (&a.provider, &a.region, &a.instance_type).cmp(&(&b.provider, &b.region, &b.instance_type))
    });
    Ok(update)
}
