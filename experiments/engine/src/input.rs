//! A batch as plain slices, and its checks.

use shoestring_planner::architecture::{Architecture, ImagePositions};

use crate::error::{EngineError, Result};

/// Images as plain slices.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// Images.
    pub batch: usize,
    /// Side in pixels, a multiple of the patch size.
    pub image_size_px: usize,
    /// (batch, 3, side, side), normalised.
    pub pixels: &'a [f32],
    /// (batch, kept) positions on the row-major grid of patches, the same number for every image; absent:
    /// every patch is kept.
    pub kept_patches: Option<&'a [u32]>,
}

/// Captions as plain slices.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// Captions.
    pub batch: usize,
    /// Tokens in each, start and end markers and padding included.
    pub text_tokens: usize,
    /// (batch, `text_tokens`).
    pub token_ids: &'a [u32],
}

/// The image-caption pairs of a step, as plain slices.
#[derive(Clone, Copy, Debug)]
pub struct StepInput<'a> {
    /// Pairs.
    pub batch: usize,
    /// Side of an image in pixels, a multiple of the patch size.
    pub image_size_px: usize,
    /// (batch, 3, side, side), normalised.
    pub pixels: &'a [f32],
    /// (batch, kept) positions on the row-major grid of patches; absent: every patch is kept.
    pub kept_patches: Option<&'a [u32]>,
    /// Tokens in each caption, start and end markers and padding included.
    pub text_tokens: usize,
    /// (batch, `text_tokens`).
    pub token_ids: &'a [u32],
}

impl<'a> StepInput<'a> {
    /// The pictures of the pairs.
    #[must_use]
    pub fn images(&self) -> Images<'a> {
        let Self { batch, image_size_px, pixels, kept_patches, .. } = *self;
        Images { batch, image_size_px, pixels, kept_patches }
    }

    /// The captions of the pairs.
    #[must_use]
    pub fn texts(&self) -> Texts<'a> {
        Texts { batch: self.batch, text_tokens: self.text_tokens, token_ids: self.token_ids }
    }

    /// The pairs `start..start + count` of a batch that has been checked.
    pub(crate) fn part(&self, start: usize, count: usize) -> Self {
        let (images, texts) = (self.images().part(start, count), self.texts().part(start, count));
        let Images { batch, image_size_px, pixels, kept_patches } = images;
        let Texts { text_tokens, token_ids, .. } = texts;
        Self { batch, image_size_px, pixels, kept_patches, text_tokens, token_ids }
    }
}

fn refuse(what: &'static str, found: impl ToString, expected: impl ToString) -> EngineError {
    EngineError::Input { what, expected: expected.to_string(), found: found.to_string() }
}

impl<'a> Images<'a> {
    /// Side of the grid of patches and patches kept of it, after checking every length and index.
    pub(crate) fn check(&self, architecture: &Architecture) -> Result<(usize, usize)> {
        let patch = architecture.vision_cfg.patch_size as usize;
        if self.batch == 0 {
            return Err(refuse("the number of images", 0, "at least 1"));
        }
        if self.image_size_px == 0 || !self.image_size_px.is_multiple_of(patch) {
            return Err(refuse("the image size", self.image_size_px, format!("a multiple of {patch}")));
        }
        let of_positions = architecture.vision_cfg.image_size as usize;
        if architecture.vision_cfg.pos_embed_type == ImagePositions::Learnable
            && self.image_size_px != of_positions
        {
            let expected = format!("{of_positions}, which the learned positions are for");
            return Err(refuse("the image size", self.image_size_px, expected));
        }
        let pixels = self.batch * 3 * self.image_size_px * self.image_size_px;
        if self.pixels.len() != pixels {
            return Err(refuse("the number of pixels", self.pixels.len(), pixels));
        }
        let side = self.image_size_px / patch;
        let grid = side * side;
        let Some(kept) = self.kept_patches else { return Ok((side, grid)) };
        if kept.is_empty() || !kept.len().is_multiple_of(self.batch) || kept.len() > self.batch * grid {
            let expected = format!("1 to {grid} for each of {} images", self.batch);
            return Err(refuse("the number of kept patches", kept.len(), expected));
        }
        if let Some(&beyond) = kept.iter().find(|&&place| place as usize >= grid) {
            return Err(refuse("a kept patch", beyond, format!("below {grid}")));
        }
        Ok((side, kept.len() / self.batch))
    }

    /// The images `start..start + count`.
    pub(crate) fn part(&self, start: usize, count: usize) -> Self {
        let size = self.pixels.len() / self.batch;
        Self {
            batch: count,
            pixels: &self.pixels[start * size..(start + count) * size],
            kept_patches: self.kept_patches.map(|kept| {
                let size = kept.len() / self.batch;
                &kept[start * size..(start + count) * size]
            }),
            ..*self
        }
    }
}

impl<'a> Texts<'a> {
    /// Checks lengths and ids.
    pub(crate) fn check(&self, architecture: &Architecture) -> Result<()> {
        let (context, vocabulary) =
            (architecture.text_cfg.context_length as usize, architecture.text_cfg.vocab_size as usize);
        if self.batch == 0 {
            return Err(refuse("the number of captions", 0, "at least 1"));
        }
        if self.text_tokens == 0 || self.text_tokens > context {
            return Err(refuse("the number of text tokens", self.text_tokens, format!("1 to {context}")));
        }
        if self.token_ids.len() != self.batch * self.text_tokens {
            let expected = self.batch * self.text_tokens;
            return Err(refuse("the number of token ids", self.token_ids.len(), expected));
        }
        match self.token_ids.iter().position(|&id| id as usize >= vocabulary) {
            Some(position) => {
                Err(EngineError::TokenId { position, id: self.token_ids[position], vocabulary })
            }
            None => Ok(()),
        }
    }

    /// The captions `start..start + count`.
    pub(crate) fn part(&self, start: usize, count: usize) -> Self {
        let token_ids = &self.token_ids[start * self.text_tokens..(start + count) * self.text_tokens];
        Self { batch: count, token_ids, ..*self }
    }
}
