//! Why a source gave no prices.

/// Why nothing was fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No answer, or one that broke off.
    #[error("{url}: {problem} ({})", asked(*.tries))]
    NoAnswer {
        /// What was asked.
        url: String,
        /// What happened the last time.
        problem: String,
        /// How often it was asked.
        tries: u32,
    },
    /// An answer that says no.
    #[error("{url}: answered {status} ({})", asked(*.tries))]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How often it was asked.
        tries: u32,
    },
    /// An answer that is not what was asked for.
    #[error("{url}: line {line}: {problem}")]
    NotACatalogue {
        /// What was asked.
        url: String,
        /// Line of the answer, counted from 1; 0 where lines do not count.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// An answer of the right form that holds no offer.
    #[error("{url}: no offer in it: {why}")]
    NoOffer {
        /// What was asked.
        url: String,
        /// Why its rows are no offers.
        why: String,
    },
}

fn asked(count: u32) -> String {
    if count == 1 { "1 try".to_owned() } else { format!("{count} tries") }
}

impl FetchError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NoAnswer { .. } => {
                    "the prices on disk are as they were; without a network the built-in catalogue serves"
                }
                Self::Status { status: 404, .. } => {
                    "the source does not have this page: leave the cloud or region out, or give --url SOURCE=URL"
                }
                Self::Status { .. } => "the source refuses for now; the same command later may succeed",
                Self::NotACatalogue { .. } => {
                    "the source may have changed its form; the prices on disk are as they were"
                }
                Self::NoOffer { .. } => "--refused lists every row with its reason",
            }
            .to_owned(),
        )
    }
}
