//! A shape's stages as the law sees them: what a search asks by the million, without names and learning rates.

use std::ops::Deref;

use super::schedule;
use super::shape::{MOST_STAGES, Shape, amount};
use crate::architecture::Architecture;
use crate::law::StageShape;
use crate::recipe::{ImageReduction, Stage, TextReduction};
use crate::units::Samples;

/// Stages as the law sees them, pretraining first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sketch {
    stages: [StageShape; MOST_STAGES],
    count: usize,
}

impl Deref for Sketch {
    type Target = [StageShape];

    fn deref(&self) -> &[StageShape] {
        &self.stages[..self.count]
    }
}

impl Sketch {
    /// Of stages that are written out already; those beyond [`MOST_STAGES`] are left out.
    pub(super) fn of(stages: &[Stage], architecture: &Architecture) -> Option<Self> {
        let shapes = stages.iter().map(|stage| StageShape::of(stage, architecture));
        let mut sketch = Self { stages: [shapes.clone().next()?; MOST_STAGES], count: 0 };
        for shape in shapes.take(MOST_STAGES) {
            sketch.push(shape);
        }
        Some(sketch)
    }

    /// The same in batches that cost nothing, as the law counts those that are not known.
    pub(super) fn without_batches(mut self) -> Self {
        self.stages.iter_mut().for_each(|stage| stage.batch = 0);
        self
    }

    fn push(&mut self, shape: StageShape) {
        self.stages[self.count] = shape;
        self.count += 1;
    }
}

impl Shape {
    /// What [`Shape::stages_with`] writes out, as the law sees it; `None` where the menu does not apply.
    pub(super) fn sketch(&self, samples: u64, batch: u32, reduction: ImageReduction) -> Option<Sketch> {
        let vision = &self.architecture.vision_cfg;
        let (image_size_px, mask_ratio) = self.image(reduction);
        let works = self.works();
        let first = StageShape {
            image_size_px,
            image_tokens: works[0].image_tokens,
            full_image_tokens: vision.tokens_at(image_size_px),
            image_reduction: reduction,
            mask_ratio,
            text_tokens: self.pretraining.text_tokens,
            text_reduction: self.text_reduction,
            samples: Samples(samples),
            batch,
        };
        let mut sketch = Sketch { stages: [first; MOST_STAGES], count: 1 };
        let mut before = batch;
        for (tuning, work) in self.tuning.iter().zip(&works[1..]) {
            let samples = Samples(amount(tuning, samples)?);
            let batch = schedule::finetuning_batch(samples, tuning.image_size_px, before);
            sketch.push(StageShape {
                image_size_px: tuning.image_size_px,
                image_tokens: work.image_tokens,
                full_image_tokens: vision.tokens_at(tuning.image_size_px),
                image_reduction: tuning.reduction(),
                mask_ratio: tuning.mask_ratio,
                text_tokens: tuning.text_tokens,
                text_reduction: TextReduction::Truncate,
                samples,
                batch,
            });
            before = batch;
        }
        Some(sketch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architectures;
    use crate::search::menu::MenuLimits;

    #[test]
    fn a_sketch_is_what_the_stages_look_like_to_the_law() {
        let reductions = [ImageReduction::Resize, ImageReduction::Random, ImageReduction::Block];
        let mut compared = 0;
        for architecture in architectures::built_in() {
            for shape in super::super::shape::all(&[architecture], &MenuLimits::default(), &[]) {
                for reduction in reductions {
                    if reduction != ImageReduction::Resize && !shape.is_shortened() {
                        continue;
                    }
                    for (samples, batch) in [(100_000_000, 4_096), (12_800_000_000, 65_536)] {
                        let written = shape.stages_with(samples, batch, reduction);
                        let sketch = shape.sketch(samples, batch, reduction);
                        assert_eq!(written.is_some(), sketch.is_some());
                        let (Some(written), Some(sketch)) = (written, sketch) else { continue };
                        let expected: Vec<StageShape> =
                            written.iter().map(|stage| StageShape::of(stage, architecture)).collect();
                        assert_eq!(&*sketch, expected, "{shape:?}");
                        assert_eq!(&*Sketch::of(&written, architecture).expect("stages"), expected);
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 1_000);
    }
}
