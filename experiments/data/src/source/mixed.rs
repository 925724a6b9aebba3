//! Several sources with weights.

use shoestring_planner::recipe::{DataSource, WeightedSource};
use shoestring_planner::units::Samples;

use super::Source;
use crate::error::DataError;
use crate::permutation::Permutation;
use crate::streams::{SHUFFLE, Stream, derive_seed};

/// Samples of all sources, one source after the other.
pub(crate) struct Mixed {
    parts: Vec<Part>,
    len: u64,
    epoch: u64,
}

struct Part {
    source: Source,
    /// Index of its first sample among all.
    first: u64,
    /// Share of what is drawn.
    share: f64,
    /// First of its places in an epoch that is not shuffled yet, and how many it has.
    place: u64,
    places: u64,
}

impl Mixed {
    pub(super) fn open(parts: &[WeightedSource], drawn: Samples) -> Result<Self, DataError> {
        let refuse = |value: String, problem: &str, hint: &str| DataError::Value {
            field: "data.train.parts",
            value,
            problem: problem.to_owned(),
            hint: hint.to_owned(),
        };
        if parts.is_empty() {
            return Err(refuse("[]".to_owned(), "there is no source to draw from", "name at least one"));
        }
        let weights: f64 = parts.iter().map(|part| part.weight).sum();
        let mut opened = Vec::with_capacity(parts.len());
        let mut len = 0;
        for part in parts {
            if !(part.weight > 0.0 && weights.is_finite()) {
                return Err(refuse(
                    part.weight.to_string(),
                    "a weight is more than 0",
                    "leave the source out",
                ));
            }
            if matches!(part.source, DataSource::Mixed { .. }) {
                return Err(refuse("mixed".to_owned(), "a mixture in a mixture", "name its sources here"));
            }
            let source = Source::open(&part.source, drawn)?;
            let first = len;
            len += source.len();
            opened.push(Part { source, first, share: part.weight / weights, place: 0, places: 0 });
        }
        let mut epoch = 0;
        for part in &mut opened {
            part.place = epoch;
            part.places = ((len as f64 * part.share).round() as u64).max(1);
            epoch += part.places;
        }
        Ok(Self { parts: opened, len, epoch })
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.parts.iter().map(|part| &part.source)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The places of a source go through all its samples, in a new order each time round, whatever the epochs
    /// of the mixture are.
    pub(super) fn in_epoch(&self, seed: u64, epoch: u64, place: u64) -> u64 {
        let number = self.parts.partition_point(|part| part.place <= place).saturating_sub(1);
        let part = &self.parts[number];
        let drawn = epoch * part.places + (place - part.place);
        let len = part.source.len();
        let order = Permutation::new(len, derive_seed(seed, &format!("part {number}")), SHUFFLE, drawn / len);
        part.first + order.at(drawn % len)
    }

    pub(super) fn draw(&self, stream: &mut Stream) -> u64 {
        let mut left = stream.unit();
        let number = self.parts.iter().position(|part| {
            left -= part.share;
            left < 0.0
        });
        let part = &self.parts[number.unwrap_or(self.parts.len() - 1)];
        part.first + part.source.draw(stream, 0)
    }

    /// The source of a sample, and its index there.
    pub(super) fn part_of(&self, index: u64) -> (&Source, u64) {
        let number = self.parts.partition_point(|part| part.first <= index).saturating_sub(1);
        (&self.parts[number].source, index - self.parts[number].first)
    }
}
