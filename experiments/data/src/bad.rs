//! Samples that cannot be used: counted by cause and skipped, up to a tolerance.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use crate::error::DataError;

/// Fraction of the samples drawn that may be bad before the data set is refused.
pub const DEFAULT_TOLERANCE: f64 = 0.1;

/// Fewer draws than this say nothing about a data set (one bad sample in the first eight is no 12 %).
const FEWEST_DRAWS: u64 = 256;
const EXAMPLES: usize = 5;

/// Why a sample cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BadCause {
    /// No `.jpg`, `.jpeg`, `.png` or `.webp` member.
    MissingImage,
    /// The decoder refused it, or it is cut off.
    BrokenImage,
    /// More pixels or bytes than the limit.
    ImageTooLarge,
    /// No `.txt` member and no `.json` member with a `caption`.
    MissingCaption,
    /// Nothing but white space.
    EmptyCaption,
    /// Not UTF-8, not JSON, or far too long.
    UnreadableCaption,
    /// No `.cls` member (evaluation only).
    MissingLabel,
    /// The `.cls` member is not a whole number (evaluation only).
    UnreadableLabel,
}

impl fmt::Display for BadCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MissingImage => "missing image",
            Self::BrokenImage => "broken image",
            Self::ImageTooLarge => "image too large",
            Self::MissingCaption => "missing caption",
            Self::EmptyCaption => "empty caption",
            Self::UnreadableCaption => "unreadable caption",
            Self::MissingLabel => "missing label",
            Self::UnreadableLabel => "unreadable label",
        })
    }
}

/// One sample that cannot be used.
#[derive(Clone, Debug)]
pub(crate) struct BadSample {
    pub(crate) cause: BadCause,
    /// Shard and key.
    pub(crate) place: String,
    pub(crate) detail: String,
}

impl fmt::Display for BadSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.cause)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

/// Samples drawn since the source was opened, good ones and bad ones by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples that could be used.
    pub good: u64,
    /// Samples that could not, by cause. A sample drawn again in a later epoch counts again.
    pub bad: BTreeMap<BadCause, u64>,
    /// The first few bad ones: shard, key, cause.
    pub examples: Vec<String>,
}

impl Counts {
    /// Samples that could not be used, whatever the cause.
    #[must_use]
    pub fn bad_total(&self) -> u64 {
        self.bad.values().sum()
    }

    /// All samples drawn.
    #[must_use]
    pub fn drawn(&self) -> u64 {
        self.good + self.bad_total()
    }

    pub(crate) fn add(&mut self, sample: &BadSample) {
        *self.bad.entry(sample.cause).or_default() += 1;
        let example = sample.to_string();
        if self.examples.len() < EXAMPLES && !self.examples.contains(&example) {
            self.examples.push(example);
        }
    }

    /// `3 broken image, 1 empty caption`.
    #[must_use]
    pub fn causes(&self) -> String {
        let parts: Vec<String> = self.bad.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        parts.join(", ")
    }

    /// Refuses when more than `tolerance` of what was drawn is bad, once enough (of `all`) was drawn to tell.
    pub(crate) fn check(&self, tolerance: f64, all: u64) -> Result<(), DataError> {
        let (bad, drawn) = (self.bad_total(), self.drawn());
        if drawn >= FEWEST_DRAWS.min(all) && bad as f64 > tolerance * drawn as f64 {
            return Err(DataError::TooManyBad { counts: Box::new(self.clone()), tolerance });
        }
        Ok(())
    }
}

/// [`Counts`] that batches drawn at the same time may share.
#[derive(Debug, Default)]
pub(crate) struct SharedCounts(Mutex<Counts>);

impl SharedCounts {
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        // Counts stay meaningful whatever a panicking thread was doing.
        change(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
