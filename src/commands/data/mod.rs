//! `data`: data sets.

mod inspect;
mod repack;
mod synth;
mod tokenize;

use shoestring_data::{Counts, DataError};

pub(super) use self::inspect::inspect;
pub(super) use self::repack::repack;
pub(super) use self::synth::synth;
pub(super) use self::tokenize::tokenize;
use crate::failure::{Exit, Failure};

pub(super) fn failure(error: DataError) -> Failure {
    let hint = error.hint();
    Failure::new(Exit::Failure, error).hint(hint)
}

/// Bad samples by cause, with keys as in JSON.
fn causes(counts: &Counts) -> serde_json::Map<String, serde_json::Value> {
    counts.bad.iter().map(|(cause, count)| (cause.to_string().replace(' ', "_"), (*count).into())).collect()
}

/// A number of bytes for people.
fn bytes(count: f64) -> String {
    match count {
        _ if count >= 1e9 => format!("{:.2} GB", count / 1e9),
        _ if count >= 1e6 => format!("{:.1} MB", count / 1e6),
        _ if count >= 1e3 => format!("{:.1} kB", count / 1e3),
        _ => format!("{count:.0} bytes"),
    }
}
