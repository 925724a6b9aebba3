//! Labelled images with the prompts of their classes.

use std::path::Path;

use rayon::prelude::*;
use shoestring_planner::architecture::Architecture;
use shoestring_planner::recipe::{DataSource, EvaluationData, ImagePreparation};
use shoestring_planner::units::{Samples, Tokens};

use super::prompts::{self, DEFAULT_TEMPLATE, PromptCut};
use crate::bad::{BadSample, Counts, DEFAULT_TOLERANCE, SharedCounts};
use crate::error::DataError;
use crate::permutation::Permutation;
use crate::picture::{View, resize_view};
use crate::source::{Fault, Parts, Source};
use crate::synth;
use crate::text::Tokenizer;

/// Labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledBatch {
    /// Images; less than was asked for where some could not be used.
    pub size: usize,
    /// Side of the square images in pixels.
    pub image_size_px: usize,
    /// `size x 3 x image_size_px x image_size_px`, normalised.
    pub pixels: Vec<f32>,
    /// Class of each image.
    pub labels: Vec<u32>,
}

/// What zero-shot accuracy is measured on, at a stage's image size and text length.
pub struct EvaluationSet {
    source: Source,
    /// Which images, when only some are asked for: spread over the whole, the same every time.
    chosen: Option<Permutation>,
    len: u64,
    class_names: Vec<String>,
    templates: Vec<String>,
    prompts: Vec<u32>,
    text_tokens: usize,
    image_size_px: u32,
    view: View,
    preparation: ImagePreparation,
    warnings: Vec<String>,
    counts: SharedCounts,
}

impl EvaluationSet {
    /// Opens the images and makes the prompts. `max_samples`: at most this many images, 0 for all.
    ///
    /// Where no files are named, shards have the template [`DEFAULT_TEMPLATE`] and the generator its own
    /// class names and templates.
    pub fn open(
        evaluation: &EvaluationData,
        architecture: &Architecture,
        image_size_px: u32,
        text_tokens: Tokens,
        max_samples: Samples,
    ) -> Result<Self, DataError> {
        let cut = PromptCut::KeepName;
        Self::open_with(evaluation, architecture, image_size_px, text_tokens, max_samples, cut)
    }

    /// As [`EvaluationSet::open`], saying what happens to prompts that are too long.
    pub fn open_with(
        evaluation: &EvaluationData,
        architecture: &Architecture,
        image_size_px: u32,
        text_tokens: Tokens,
        max_samples: Samples,
        cut: PromptCut,
    ) -> Result<Self, DataError> {
        let tokenizer = Tokenizer::named(architecture.text_cfg.hf_tokenizer_name);
        tokenizer.check_vocabulary(architecture.text_cfg.vocab_size)?;
        if image_size_px == 0 || text_tokens.0 < 3 {
            let (field, value, hint) = if image_size_px == 0 {
                ("image_size_px", 0, "use 1 or more")
            } else {
                ("text_tokens", text_tokens.0, "use 3 or more")
            };
            return Err(DataError::Value {
                field,
                value: value.to_string(),
                problem: "too small for an evaluation: nothing is left to tell classes by".to_owned(),
                hint: hint.to_owned(),
            });
        }
        let drawn = matches!(evaluation.source, DataSource::Synthetic { .. });
        let class_names = match evaluation.class_names.as_str() {
            "" if drawn => synth::class_names(),
            "" => {
                return Err(DataError::Value {
                    field: "data.evaluation.class_names",
                    value: "\"\"".to_owned(),
                    problem: "shards carry class numbers only".to_owned(),
                    hint: "name a file with one class name a line".to_owned(),
                });
            }
            path => prompts::class_names(Path::new(path))?,
        };
        if drawn && class_names.len() != synth::HELD_OUT.len() {
            return Err(DataError::Value {
                field: "data.evaluation.class_names",
                value: evaluation.class_names.clone(),
                problem: format!("{} names for the generator's {}", class_names.len(), synth::HELD_OUT.len()),
                hint: "leave class_names empty for kind = \"synthetic\"".to_owned(),
            });
        }
        let templates = match evaluation.templates.as_str() {
            "" if drawn => synth::TEMPLATES.map(str::to_owned).to_vec(),
            "" => vec![DEFAULT_TEMPLATE.to_owned()],
            path => prompts::templates(Path::new(path))?,
        };
        let source = Source::open(&evaluation.source, evaluation.samples)?;
        source.check_complete(Parts::ImageAndLabel, DEFAULT_TOLERANCE)?;

        let length = text_tokens.0 as usize;
        let mut ids = vec![0; class_names.len() * templates.len() * length];
        let all =
            class_names.iter().flat_map(|class| templates.iter().map(move |template| (class, template)));
        ids.chunks_exact_mut(length).zip(all).for_each(|(out, (class, template))| {
            prompts::prompt(tokenizer, template, class, cut, out);
        });
        let mut warnings = source.warnings("data.evaluation.samples", evaluation.samples);
        warnings.extend(prompts::collisions(&class_names, &ids, templates.len() * length));
        let all = source.len();
        let len = if max_samples.0 == 0 { all } else { all.min(max_samples.0) };
        // Shards are often sorted by class, so the first few would be of few classes. The generator's images
        // cycle through the classes: its first ones are balanced.
        let chosen = (len < all && !drawn).then(|| Permutation::new(all, 0, "evaluation", 0));
        let counts = SharedCounts::default();
        Ok(Self {
            source,
            chosen,
            len,
            class_names,
            templates,
            prompts: ids,
            text_tokens: length,
            image_size_px,
            view: View::Squash,
            preparation: ImagePreparation::default(),
            warnings,
            counts,
        })
    }

    /// Prepares images like this; without it they are squashed to the square, bicubic, normalised as
    /// `ImageNet`.
    #[must_use]
    pub fn prepared(mut self, view: View, preparation: ImagePreparation) -> Self {
        (self.view, self.preparation) = (view, preparation);
        self
    }

    /// Images, bad ones included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never: a set without images is not opened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Names of the classes, by label.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Prompt templates.
    #[must_use]
    pub fn templates(&self) -> &[String] {
        &self.templates
    }

    /// `classes x templates x text_tokens` ids.
    #[must_use]
    pub fn prompts(&self) -> &[u32] {
        &self.prompts
    }

    /// Length of a prompt.
    #[must_use]
    pub fn text_tokens(&self) -> usize {
        self.text_tokens
    }

    /// Things about the set that are no error but that somebody should know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What was drawn since the set was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.update(|counts| counts.clone())
    }

    /// Images `start..start + size`, as far as there are that many, squashed to the square. Images that
    /// cannot be used are left out and counted.
    pub fn batch(&self, start: u64, size: u32) -> Result<LabelledBatch, DataError> {
        let end = start.saturating_add(u64::from(size)).min(self.len);
        let pixels_each = 3 * (self.image_size_px as usize).pow(2);
        let mut pixels = vec![0f32; end.saturating_sub(start) as usize * pixels_each];
        let drawn: Vec<Result<Result<u32, BadSample>, DataError>> = pixels
            .par_chunks_mut(pixels_each)
            .enumerate()
            .map(|(offset, out)| {
                let place = start + offset as u64;
                let index = self.chosen.as_ref().map_or(place, |chosen| chosen.at(place));
                match self.source.labelled(index, self.class_names.len()) {
                    Ok((picture, label)) => {
                        resize_view(&picture, self.view, self.image_size_px, self.preparation, out);
                        Ok(Ok(label))
                    }
                    Err(Fault::Bad(bad)) => Ok(Err(bad)),
                    Err(Fault::Stop(error)) => Err(error),
                }
            })
            .collect();
        let (mut labels, mut bad) = (Vec::with_capacity(drawn.len()), Vec::new());
        for (offset, result) in drawn.into_iter().enumerate() {
            match result? {
                Ok(label) => {
                    // Closes the gaps that bad ones leave.
                    let from = offset * pixels_each;
                    pixels.copy_within(from..from + pixels_each, labels.len() * pixels_each);
                    labels.push(label);
                }
                Err(sample) => bad.push(sample),
            }
        }
        pixels.truncate(labels.len() * pixels_each);
        self.counts.update(|counts| {
            counts.good += labels.len() as u64;
            bad.iter().for_each(|sample| counts.add(sample));
            counts.check(DEFAULT_TOLERANCE, self.len)
        })?;
        Ok(LabelledBatch { size: labels.len(), image_size_px: self.image_size_px as usize, pixels, labels })
    }
}
