//! Batches of a stage, by position.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use shoestring_planner::architecture::Architecture;
use shoestring_planner::recipe::{DataSource, ImageReduction, Reading, Stage};
use shoestring_planner::units::Samples;

use crate::bad::{BadSample, Counts, DEFAULT_TOLERANCE, SharedCounts};
use crate::error::DataError;
use crate::permutation::Permutation;
use crate::picture::{View, kept_patches, random_resized_crop};
use crate::source::{Fault, Parts, Source};
use crate::streams::{CROP, IMAGE_MASK, REPLACEMENT, SHUFFLE, Stream, TEXT, derive_seed};
use crate::text::{Tokenizer, reduce};

/// Bad samples in a row after which a data set is given up: with the tolerated tenth, this many in a row do
/// not happen.
const MOST_REPLACEMENTS: u64 = 64;

/// Training samples of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Samples.
    pub size: usize,
    /// Side of the square images in pixels.
    pub image_size_px: usize,
    /// `size x 3 x image_size_px x image_size_px`, normalised.
    pub pixels: Vec<f32>,
    /// `size x image_tokens`: indices of the kept patches of each image, row by row from the top left,
    /// ascending. `None`: all are kept.
    pub kept_patches: Option<Vec<u32>>,
    /// Patches of an image that reach the transformer, without the class token.
    pub image_tokens: usize,
    /// `size x text_tokens`: start marker, caption, end marker, zeros.
    pub token_ids: Vec<u32>,
    /// Length of a text sequence.
    pub text_tokens: usize,
}

/// Draws the samples of one stage. Sample number `s` of a stage is a function of (source, stage, seed, s):
/// epoch `s / epoch_samples` in that epoch's order; a sample that cannot be used is replaced by the next one
/// in the order. Stages of different names draw in different orders.
pub struct Loader {
    source: Source,
    stage: Stage,
    /// Patches along a side of the image.
    side: u32,
    image_tokens: usize,
    tokenizer: &'static Tokenizer,
    seed: u64,
    /// Random resized crops: for pictures from outside. The generator has variety of its own, and a crop
    /// would make its words for place and size untrue.
    crops: bool,
    reading: Reading,
    tolerance: f64,
    warnings: Vec<String>,
    counts: SharedCounts,
}

impl Loader {
    /// Opens a source for a stage. `seed` is the recipe's; `unique_samples` is how many pairs a generator has
    /// (shards are counted).
    pub fn open(
        source: &DataSource,
        stage: &Stage,
        architecture: &Architecture,
        seed: u64,
        unique_samples: Samples,
    ) -> Result<Self, DataError> {
        let tokenizer = Tokenizer::named(architecture.text_cfg.hf_tokenizer_name);
        tokenizer.check_vocabulary(architecture.text_cfg.vocab_size)?;
        let patch = architecture.vision_cfg.patch_size;
        if patch == 0 || stage.image_size_px < patch || !stage.image_size_px.is_multiple_of(patch) {
            return Err(DataError::Value {
                field: "stage.image_size_px",
                value: stage.image_size_px.to_string(),
                problem: format!("is not a multiple of the patch size, {patch}"),
                hint: format!("{} would do", (stage.image_size_px / patch.max(1)).max(1) * patch.max(1)),
            });
        }
        if stage.text_tokens.0 < 2 {
            return Err(DataError::Value {
                field: "stage.text_tokens",
                value: stage.text_tokens.0.to_string(),
                problem: "no room for the start and the end marker".to_owned(),
                hint: "use 2 or more".to_owned(),
            });
        }
        let crops = !matches!(source, DataSource::Synthetic { .. });
        let source = Source::open(source, unique_samples)?;
        source.check_complete(Parts::ImageAndCaption, DEFAULT_TOLERANCE)?;
        Ok(Self {
            warnings: source.warnings("data.unique_samples", unique_samples),
            source,
            stage: stage.clone(),
            side: stage.image_size_px / patch,
            image_tokens: stage.image_tokens(architecture).0 as usize,
            tokenizer,
            seed: derive_seed(seed, &stage.name),
            crops,
            reading: Reading::default(),
            tolerance: DEFAULT_TOLERANCE,
            counts: SharedCounts::default(),
        })
    }

    /// Reads as a recipe says.
    #[must_use]
    pub fn reading(mut self, reading: &Reading) -> Self {
        self.reading = reading.clone();
        self.with_tolerance(reading.tolerated_bad_percent / 100.0)
    }

    /// Tolerates this fraction of bad samples instead of [`DEFAULT_TOLERANCE`].
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The fraction of bad samples above which [`Loader::batch`] refuses.
    #[must_use]
    pub fn tolerance(&self) -> f64 {
        self.tolerance
    }

    /// Pairs in an epoch.
    #[must_use]
    pub fn epoch_samples(&self) -> Samples {
        Samples(self.source.epoch())
    }

    /// Things about the source that are no error but that somebody should know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What was drawn since the loader was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.update(|counts| counts.clone())
    }

    /// Which samples of the source stand at `position..position + size` of the stage, bad ones not replaced.
    #[must_use]
    pub fn indices(&self, position: u64, size: u32) -> Vec<u64> {
        (position..position + u64::from(size)).map(|number| self.index(number, 0)).collect()
    }

    /// The batch of samples `position..position + size` of the stage. Decodes on the current rayon pool.
    pub fn batch(&self, position: u64, size: u32) -> Result<Batch, DataError> {
        self.batch_unless(position, size, &AtomicBool::new(false))
    }

    /// As [`Loader::batch`], giving up with [`DataError::Stopped`] soon after `stop` is set.
    pub(crate) fn batch_unless(
        &self,
        position: u64,
        size: u32,
        stop: &AtomicBool,
    ) -> Result<Batch, DataError> {
        let size = size as usize;
        let image_size_px = self.stage.image_size_px as usize;
        let (text_tokens, masked) =
            (self.stage.text_tokens.0 as usize, self.stage.image_reduction != ImageReduction::Resize);
        let pixels_each = 3 * image_size_px * image_size_px;
        // An unmasked sample writes no indices; one slot each keeps the zip below in step.
        let kept_each = if masked { self.image_tokens } else { 1 };
        let mut pixels = vec![0f32; size * pixels_each];
        let mut kept = vec![0u32; size * kept_each];
        let mut token_ids = vec![0u32; size * text_tokens];

        let drawn: Vec<Result<Vec<BadSample>, DataError>> = pixels
            .par_chunks_mut(pixels_each)
            .zip(kept.par_chunks_mut(kept_each))
            .zip(token_ids.par_chunks_mut(text_tokens))
            .enumerate()
            .map(|(offset, ((pixels, kept), ids))| {
                if stop.load(Ordering::Relaxed) {
                    return Err(DataError::Stopped);
                }
                self.sample(position + offset as u64, pixels, kept, ids)
            })
            .collect();
        // In order, so that counts, examples and errors do not depend on the threads either.
        let mut replaced = Vec::new();
        for result in drawn {
            replaced.extend(result?);
        }
        self.counts.update(|counts| {
            replaced.iter().for_each(|bad| counts.add(bad));
            counts.good += size as u64;
            counts.check(self.tolerance, self.source.len())
        })?;
        Ok(Batch {
            size,
            image_size_px,
            pixels,
            kept_patches: masked.then_some(kept),
            image_tokens: self.image_tokens,
            token_ids,
            text_tokens,
        })
    }

    /// Which sample of the source sample number `number` of the stage is, after `attempt` that could not be used.
    fn index(&self, number: u64, attempt: u64) -> u64 {
        if self.reading.replacement {
            return self.source.draw(&mut Stream::new(self.seed, REPLACEMENT, number), attempt);
        }
        let epoch = self.source.epoch();
        let order = Permutation::new(epoch, self.seed, SHUFFLE, number / epoch);
        self.source.in_epoch(self.seed, number / epoch, order.at((number % epoch + attempt) % epoch))
    }

    /// Writes sample number `number`; returns the bad ones it replaces.
    fn sample(
        &self,
        number: u64,
        pixels: &mut [f32],
        kept: &mut [u32],
        ids: &mut [u32],
    ) -> Result<Vec<BadSample>, DataError> {
        let mut bad = Vec::new();
        for attempt in 0..MOST_REPLACEMENTS.min(self.source.len()) {
            let found = self.source.pair(self.index(number, attempt)).and_then(|(picture, caption)| {
                let choose = |width, height| {
                    if self.crops {
                        let mut stream = Stream::new(self.seed, CROP, number);
                        let least = self.reading.least_crop_percent / 100.0;
                        View::Region(random_resized_crop(width, height, least, &mut stream))
                    } else {
                        View::Squash
                    }
                };
                picture.prepare(choose, self.stage.image_size_px, self.reading.images(), pixels)?;
                Ok(caption)
            });
            match found {
                Err(Fault::Stop(error)) => return Err(error),
                Err(Fault::Bad(sample)) => bad.push(sample),
                Ok(caption) => {
                    let (reduction, ratio) = (self.stage.image_reduction, self.stage.image_mask_ratio);
                    let mut stream = Stream::new(self.seed, IMAGE_MASK, number);
                    if let Some(patches) = kept_patches(reduction, ratio, self.side, &mut stream) {
                        kept.copy_from_slice(&patches);
                    }
                    let mut stream = Stream::new(self.seed, TEXT, number);
                    reduce(self.tokenizer, &caption, self.stage.text_reduction, &mut stream, ids)?;
                    return Ok(bad);
                }
            }
        }
        let mut counts = self.counts();
        bad.iter().for_each(|sample| counts.add(sample));
        Err(DataError::TooManyBad { counts: Box::new(counts), tolerance: self.tolerance })
    }
}
