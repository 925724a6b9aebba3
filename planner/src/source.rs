//! Where a number is from: every number of a plan says so.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a number is from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// The user said so.
    Stated,
    /// Measured on this machine.
    Measured {
        /// On what, by what.
        machine: String,
    },
    /// From the price or hardware catalogue.
    Catalogue {
        /// Day, month or year of the entry.
        as_of: String,
    },
    /// From a publication, or fitted on published rows.
    Published {
        /// Where to look it up.
        citation: String,
    },
    /// Follows from other numbers.
    Computed {
        /// From which, how.
        from: String,
    },
    /// Nobody measured or published it.
    Assumed {
        /// What speaks for it.
        why: String,
    },
}

impl Source {
    /// [`Source::Computed`].
    #[must_use]
    pub fn computed(from: impl Into<String>) -> Self {
        Self::Computed { from: from.into() }
    }

    /// [`Source::Assumed`].
    #[must_use]
    pub fn assumed(why: impl Into<String>) -> Self {
        Self::Assumed { why: why.into() }
    }

    /// [`Source::Published`].
    #[must_use]
    pub fn published(citation: impl Into<String>) -> Self {
        Self::Published { citation: citation.into() }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stated => f.write_str("stated"),
            Self::Measured { machine } => write!(f, "measured: {machine}"),
            Self::Catalogue { as_of } => write!(f, "catalogue, {as_of}"),
            Self::Published { citation } => write!(f, "published: {citation}"),
            Self::Computed { from } => write!(f, "computed: {from}"),
            Self::Assumed { why } => write!(f, "assumed: {why}"),
        }
    }
}
