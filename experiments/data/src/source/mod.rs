//! Where pairs come from: shards, files, the generator, or several of these, behind one door.

mod files;
mod list;
mod mixed;
mod parquet;

use std::borrow::Cow;
use std::path::Path;

use shoestring_planner::recipe::{DataSource, ImagePreparation};
use shoestring_planner::units::Samples;

use self::files::Files;
pub(crate) use self::list::TableKind;
use self::mixed::Mixed;
use crate::bad::{BadCause, BadSample, Counts};
use crate::error::DataError;
use crate::picture::{DecodeError, MAX_BYTES, Rgb, View, decode_view, resize_view};
use crate::streams::Stream;
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

/// A picture as its source has it.
pub(crate) enum Picture {
    /// The bytes of its file, and which it is, for messages.
    File { bytes: Vec<u8>, place: String },
    /// Drawn by the generator.
    Drawn(Rgb),
}

impl Picture {
    /// Decodes and resizes what `choose` wants of it, as [`decode_view`].
    pub(crate) fn prepare(
        &self,
        choose: impl FnOnce(u32, u32) -> View,
        size_px: u32,
        how: ImagePreparation,
        out: &mut [f32],
    ) -> Result<(), Fault> {
        match self {
            Self::Drawn(picture) => {
                resize_view(picture, choose(picture.width, picture.height), size_px, how, out);
                Ok(())
            }
            Self::File { bytes, place } => {
                decode_view(bytes, choose, size_px, how, out).map_err(|error| refused(place.clone(), &error))
            }
        }
    }
}

fn refused(place: String, error: &DecodeError) -> Fault {
    let cause = match error {
        DecodeError::TooLarge { .. } => BadCause::ImageTooLarge,
        DecodeError::Broken(_) => BadCause::BrokenImage,
    };
    Fault::Bad(BadSample { cause, place, detail: error.to_string() })
}

/// Samples by index.
pub(crate) enum Source {
    Shards(ShardIndex),
    Files(Files),
    Drawn { synth: Synth, len: u64 },
    Mixed(Mixed),
}

impl Source {
    /// Opens a source; `drawn` is how many samples a generator has.
    pub(crate) fn open(source: &DataSource, drawn: Samples) -> Result<Self, DataError> {
        match source {
            DataSource::Webdataset { shards } => Ok(Self::Shards(ShardIndex::open(shards)?)),
            DataSource::Folder { path } => Ok(Self::Files(Files::of_folder(Path::new(path))?)),
            DataSource::List { path, image_column, caption_column } => {
                Ok(Self::Files(Files::of_list(Path::new(path), image_column, caption_column)?))
            }
            DataSource::Mixed { parts } => Ok(Self::Mixed(Mixed::open(parts, drawn)?)),
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
            Self::Files(files) => files.len(),
            Self::Drawn { len, .. } => *len,
            Self::Mixed(mixed) => mixed.len(),
        }
    }

    /// Samples that are drawn in an epoch: of several sources, as many as all have together, in the shares of
    /// their weights.
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Self::Mixed(mixed) => mixed.epoch(),
            _ => self.len(),
        }
    }

    /// Which sample stands at a place of an epoch before the epoch is shuffled.
    pub(crate) fn in_epoch(&self, seed: u64, epoch: u64, place: u64) -> u64 {
        match self {
            Self::Mixed(mixed) => mixed.in_epoch(seed, epoch, place),
            _ => place,
        }
    }

    /// A sample drawn from all of them; `attempt`: the how-manieth draw of this stream.
    pub(crate) fn draw(&self, stream: &mut Stream, attempt: u64) -> u64 {
        let mut draw = || match self {
            Self::Mixed(mixed) => mixed.draw(stream),
            _ => ((stream.unit() * self.len() as f64) as u64).min(self.len().saturating_sub(1)),
        };
        (0..attempt).for_each(|_| {
            draw();
        });
        draw()
    }

    /// Things that are no error but that somebody should know.
    pub(crate) fn warnings(&self, field: &str, stated: Samples) -> Vec<String> {
        let mut warnings = Vec::new();
        self.unterminated(&mut warnings);
        let found = self.len();
        if found != stated.0 && !matches!(self, Self::Drawn { .. }) {
            warnings.push(format!("{field} says {}, but {found} samples were found", stated.0));
        }
        warnings
    }

    fn unterminated(&self, warnings: &mut Vec<String>) {
        match self {
            Self::Shards(index) => warnings.extend(index.unterminated().map(|path| {
                format!("{}: has no end marker: perhaps cut off between two members", path.display())
            })),
            Self::Mixed(mixed) => mixed.sources().for_each(|source| source.unterminated(warnings)),
            Self::Files(_) | Self::Drawn { .. } => {}
        }
    }

    /// How many shards there are, and their bytes.
    pub(crate) fn shard_bytes(&self) -> (u64, u64) {
        match self {
            Self::Shards(index) => index.shard_bytes(),
            Self::Mixed(mixed) => {
                mixed.sources().map(Self::shard_bytes).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
            }
            Self::Files(_) | Self::Drawn { .. } => (0, 0),
        }
    }

    /// Refuses at once when the names of the members already tell that too many samples lack a part.
    pub(crate) fn check_complete(&self, parts: Parts, tolerance: f64) -> Result<(), DataError> {
        match self {
            Self::Mixed(mixed) => {
                mixed.sources().try_for_each(|source| source.check_complete(parts, tolerance))
            }
            Self::Shards(index) => {
                let mut counts = Counts::default();
                for sample in index.samples() {
                    match missing(sample, parts) {
                        Some(cause) => counts.add(&bad(index, sample, cause, String::new())),
                        None => counts.good += 1,
                    }
                }
                counts.check(tolerance, self.len())
            }
            Self::Files(files) => {
                let mut counts = Counts::default();
                for missing in files.missing() {
                    match missing {
                        Some(sample) => counts.add(&sample),
                        None => counts.good += 1,
                    }
                }
                counts.check(tolerance, self.len())
            }
            Self::Drawn { .. } => Ok(()),
        }
    }

    /// Picture and caption of training sample `index`.
    pub(crate) fn pair(&self, index: u64) -> Result<(Picture, Cow<'static, str>), Fault> {
        match self {
            Self::Drawn { synth, .. } => {
                let pair = synth.pair(index);
                Ok((Picture::Drawn(pair.picture), pair.caption.into()))
            }
            Self::Files(files) => files.pair(index),
            Self::Mixed(mixed) => {
                let (source, index) = mixed.part_of(index);
                source.pair(index)
            }
            Self::Shards(shards) => {
                let sample = &shards.samples()[index as usize];
                if let Some(cause) = missing(sample, Parts::ImageAndCaption) {
                    return Err(Fault::Bad(bad(shards, sample, cause, String::new())));
                }
                // The caption first: it is cheap, and an empty one spares the decoding.
                let caption = caption(shards, sample)?;
                let bytes = picture_bytes(shards, sample)?;
                Ok((Picture::File { bytes, place: shards.place(sample) }, caption.into()))
            }
        }
    }

    /// Picture and class of evaluation sample `index`; classes are numbered below `classes`.
    pub(crate) fn labelled(&self, index: u64, classes: usize) -> Result<(Picture, u32), Fault> {
        match self {
            Self::Drawn { synth, .. } => {
                let labelled = synth.labelled(index);
                Ok((Picture::Drawn(labelled.picture), labelled.label))
            }
            Self::Mixed(mixed) => {
                let (source, index) = mixed.part_of(index);
                source.labelled(index, classes)
            }
            Self::Files(files) => Err(Fault::Bad(BadSample {
                cause: BadCause::MissingLabel,
                place: files.place(index),
                detail: "only shards carry labels".to_owned(),
            })),
            Self::Shards(shards) => {
                let sample = &shards.samples()[index as usize];
                if let Some(cause) = missing(sample, Parts::ImageAndLabel) {
                    return Err(Fault::Bad(bad(shards, sample, cause, String::new())));
                }
                let label = label(shards, sample, classes)?;
                let bytes = picture_bytes(shards, sample)?;
                Ok((Picture::File { bytes, place: shards.place(sample) }, label))
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

fn picture_bytes(shards: &ShardIndex, sample: &Sample) -> Result<Vec<u8>, Fault> {
    let refuse = |cause, detail| Fault::Bad(bad(shards, sample, cause, detail));
    let member = sample.image.ok_or_else(|| refuse(BadCause::MissingImage, String::new()))?;
    if member.bytes > MAX_BYTES {
        return Err(refuse(BadCause::ImageTooLarge, format!("{} bytes", member.bytes)));
    }
    Ok(shards.read(sample.shard, member)?)
}

fn caption(shards: &ShardIndex, sample: &Sample) -> Result<String, Fault> {
    let refuse = |(cause, detail)| Fault::Bad(bad(shards, sample, cause, detail));
    let (kind, member) = sample.caption.ok_or_else(|| refuse((BadCause::MissingCaption, String::new())))?;
    check_caption_length(member.bytes).map_err(refuse)?;
    read_caption(shards.read(sample.shard, member)?, kind).map_err(refuse)
}

fn check_caption_length(bytes: u64) -> Result<(), (BadCause, String)> {
    if bytes > MAX_CAPTION_BYTES {
        return Err((BadCause::UnreadableCaption, format!("{bytes} bytes, more than 1 MiB")));
    }
    Ok(())
}

/// The caption in a file's bytes.
fn read_caption(bytes: Vec<u8>, kind: CaptionKind) -> Result<String, (BadCause, String)> {
    let unreadable = |detail: String| (BadCause::UnreadableCaption, detail);
    let text = String::from_utf8(bytes).map_err(|_| unreadable("not UTF-8".to_owned()))?;
    let text = match kind {
        CaptionKind::Text => text,
        CaptionKind::Json => {
            let value: serde_json::Value =
                serde_json::from_str(&text).map_err(|error| unreadable(format!("not JSON: {error}")))?;
            match value.get("caption") {
                Some(serde_json::Value::String(caption)) => caption.clone(),
                None | Some(serde_json::Value::Null) => {
                    return Err((BadCause::MissingCaption, "no \"caption\" in the JSON".to_owned()));
                }
                Some(_) => return Err(unreadable("\"caption\" is not a string".to_owned())),
            }
        }
    };
    if text.trim().is_empty() { Err((BadCause::EmptyCaption, String::new())) } else { Ok(text) }
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
