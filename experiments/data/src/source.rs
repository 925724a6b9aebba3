//! Where pairs come from: shards or the generator, behind one door.

use std::borrow::Cow;

use shoestring_planner::recipe::DataSource;
use shoestring_planner::units::Samples;

use crate::bad::{BadCause, BadSample, Counts};
use crate::error::DataError;
use crate::picture::{DecodeError, MAX_BYTES, Rgb, decode};
use crate::synth::Synth;
use crate::webdataset::{CaptionKind, Sample, ShardIndex};

/// A caption file of more bytes is no caption.
const MAX_CAPTION_BYTES: u64 = 1 << 20;

/// What keeps a sample from being used: itself, or something that ends the run.
pub(crate) enum Fault {
    Bad(BadSample),
    Stop(DataError),
}

impl From<DataError> for Fault {
    fn from(error: DataError) -> Self {
        Self::Stop(error)
    }
}

/// Samples by index.
pub(crate) enum Source {
    Shards(ShardIndex),
    Drawn { synth: Synth, len: u64 },
}

impl Source {
    /// Opens a source; `drawn` is how many samples a generator has.
    pub(crate) fn open(source: &DataSource, drawn: Samples) -> Result<Self, DataError> {
        match source {
            DataSource::Webdataset { shards } => Ok(Self::Shards(ShardIndex::open(shards)?)),
            DataSource::Synthetic { seed, image_size_px } => {
                if drawn.0 == 0 {
                    let problem = "zero samples are to be drawn".to_owned();
                    return Err(DataError::NoSamples { place: "synthetic".to_owned(), problem });
                }
                Ok(Self::Drawn { synth: Synth::new(*seed, *image_size_px)?, len: drawn.0 })
            }
        }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Shards(index) => index.samples().len() as u64,
            Self::Drawn { len, .. } => *len,
        }
    }

    /// Things that are no error but that somebody should know.
    pub(crate) fn warnings(&self, field: &str, stated: Samples) -> Vec<String> {
        let Self::Shards(index) = self else { return Vec::new() };
        let mut warnings: Vec<String> = index
            .unterminated()
            .map(|path| format!("{}: has no end marker: perhaps cut off between two members", path.display()))
            .collect();
        let found = self.len();
        if found != stated.0 {
            warnings.push(format!("{field} says {}, but the shards hold {found} samples", stated.0));
        }
        warnings
    }

    /// Refuses at once when the names of the members already tell that too many samples lack a part.
    pub(crate) fn check_complete(&self, parts: Parts, tolerance: f64) -> Result<(), DataError> {
        let Self::Shards(index) = self else { return Ok(()) };
        let mut counts = Counts::default();
        for sample in index.samples() {
            match missing(sample, parts) {
                Some(cause) => counts.add(&bad(index, sample, cause, String::new())),
                None => counts.good += 1,
            }
        }
        counts.check(tolerance, self.len())
    }

    /// Picture and caption of training sample `index`.
    pub(crate) fn pair(&self, index: u64) -> Result<(Rgb, Cow<'static, str>), Fault> {
        match self {
            Self::Drawn { synth, .. } => {
                let pair = synth.pair(index);
                Ok((pair.picture, pair.caption.into()))
            }
            Self::Shards(shards) => {
                let sample = &shards.samples()[index as usize];
                if let Some(cause) = missing(sample, Parts::ImageAndCaption) {
                    return Err(Fault::Bad(bad(shards, sample, cause, String::new())));
                }
                // The caption first: it is cheap, and an empty one spares the decoding.
                let caption = caption(shards, sample)?;
                Ok((picture(shards, sample)?, caption.into()))
            }
        }
    }

    /// Picture and class of evaluation sample `index`; classes are numbered below `classes`.
    pub(crate) fn labelled(&self, index: u64, classes: usize) -> Result<(Rgb, u32), Fault> {
        match self {
            Self::Drawn { synth, .. } => {
                let labelled = synth.labelled(index);
                Ok((labelled.picture, labelled.label))
            }
            Self::Shards(shards) => {
                let sample = &shards.samples()[index as usize];
                if let Some(cause) = missing(sample, Parts::ImageAndLabel) {
                    return Err(Fault::Bad(bad(shards, sample, cause, String::new())));
                }
                let label = label(shards, sample, classes)?;
                Ok((picture(shards, sample)?, label))
            }
        }
    }
}

/// What a sample must have.
#[derive(Clone, Copy)]
pub(crate) enum Parts {
    ImageAndCaption,
    ImageAndLabel,
}

fn missing(sample: &Sample, parts: Parts) -> Option<BadCause> {
    match parts {
        _ if sample.image.is_none() => Some(BadCause::MissingImage),
        Parts::ImageAndCaption if sample.caption.is_none() => Some(BadCause::MissingCaption),
        Parts::ImageAndLabel if sample.label.is_none() => Some(BadCause::MissingLabel),
        _ => None,
    }
}

fn bad(shards: &ShardIndex, sample: &Sample, cause: BadCause, detail: String) -> BadSample {
    BadSample { cause, place: shards.place(sample), detail }
}

fn picture(shards: &ShardIndex, sample: &Sample) -> Result<Rgb, Fault> {
    let refuse = |cause, detail| Fault::Bad(bad(shards, sample, cause, detail));
    let member = sample.image.ok_or_else(|| refuse(BadCause::MissingImage, String::new()))?;
    if member.bytes > MAX_BYTES {
        return Err(refuse(BadCause::ImageTooLarge, format!("{} bytes", member.bytes)));
    }
    decode(&shards.read(sample.shard, member)?).map_err(|error| {
        let cause = match error {
            DecodeError::TooLarge { .. } => BadCause::ImageTooLarge,
            DecodeError::Broken(_) => BadCause::BrokenImage,
        };
        refuse(cause, error.to_string())
    })
}

fn caption(shards: &ShardIndex, sample: &Sample) -> Result<String, Fault> {
    let refuse = |cause, detail: &str| Fault::Bad(bad(shards, sample, cause, detail.to_owned()));
    let (kind, member) = sample.caption.ok_or_else(|| refuse(BadCause::MissingCaption, ""))?;
    if member.bytes > MAX_CAPTION_BYTES {
        return Err(refuse(BadCause::UnreadableCaption, &format!("{} bytes", member.bytes)));
    }
    let text = String::from_utf8(shards.read(sample.shard, member)?)
        .map_err(|_| refuse(BadCause::UnreadableCaption, "not UTF-8"))?;
    let text = match kind {
        CaptionKind::Text => text,
        CaptionKind::Json => {
            let value: serde_json::Value = serde_json::from_str(&text)
                .map_err(|error| refuse(BadCause::UnreadableCaption, &format!("not JSON: {error}")))?;
            match value.get("caption") {
                Some(serde_json::Value::String(caption)) => caption.clone(),
                None | Some(serde_json::Value::Null) => {
                    return Err(refuse(BadCause::MissingCaption, "no \"caption\" in the JSON"));
                }
                Some(_) => return Err(refuse(BadCause::UnreadableCaption, "\"caption\" is not a string")),
            }
        }
    };
    if text.trim().is_empty() { Err(refuse(BadCause::EmptyCaption, "")) } else { Ok(text) }
}

fn label(shards: &ShardIndex, sample: &Sample, classes: usize) -> Result<u32, Fault> {
    let refuse = |cause, detail| Fault::Bad(bad(shards, sample, cause, detail));
    let member = sample.label.ok_or_else(|| refuse(BadCause::MissingLabel, String::new()))?;
    if member.bytes > 64 {
        return Err(refuse(BadCause::UnreadableLabel, format!("{} bytes", member.bytes)));
    }
    let bytes = shards.read(sample.shard, member)?;
    let text = String::from_utf8_lossy(&bytes);
    let label: u64 = text
        .trim()
        .parse()
        .map_err(|_| refuse(BadCause::UnreadableLabel, format!("`{}` is not a whole number", text.trim())))?;
    // A label beyond the names is no damage but the wrong file of names: every figure would be wrong.
    match u32::try_from(label) {
        Ok(small) if (small as usize) < classes => Ok(small),
        _ => Err(Fault::Stop(DataError::Label { place: shards.place(sample), label, classes })),
    }
}
