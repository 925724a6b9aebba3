//! How a shape is trained at so many samples: by which reduction of its images and in which batch. Both leave the cost
//! of training as it is, so the one of which the law expects most is taken.

use super::schedule::{self, SMALLEST_SEARCHED_BATCH};
use super::shape::Shape;
use super::sketch::Sketch;
use super::space::Space;
use crate::recipe::{ImageReduction, Stage};
use crate::units::Samples;

/// A reduction and a batch, with what the law expects of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Way {
    pub(super) reduction: ImageReduction,
    pub(super) batch: u32,
    /// The law's error in percent.
    pub(super) error: f64,
}

impl Space<'_> {
    /// The ways to shorten a shape's images in pretraining. On data that the law does not know masks are used only where
    /// they are asked for: resizing is what CLIPA found best.
    pub(super) fn image_reductions(&self, shape: &Shape) -> impl Iterator<Item = ImageReduction> {
        let allowed = &self.request.image_reductions;
        let whole = !shape.is_shortened();
        let resizes = whole || allowed.contains(&ImageReduction::Resize);
        let masks = !whole && (self.training.known || !resizes) && self.can_mask(shape);
        let masks =
            allowed.iter().copied().filter(move |&reduction| masks && reduction != ImageReduction::Resize);
        resizes.then_some(ImageReduction::Resize).into_iter().chain(masks)
    }

    /// Whether the masked image's side is left open or is what the user pinned.
    fn can_mask(&self, shape: &Shape) -> bool {
        let (full, pinned) = (shape.architecture.vision_cfg.image_size, self.request.fixed.image_size_px);
        pinned.is_none_or(|pinned| pinned == full)
    }

    fn sketch(&self, shape: &Shape, samples: u64, batch: u32, reduction: ImageReduction) -> Option<Sketch> {
        if !self.request.fixed.sets_a_batch() {
            return shape.sketch(samples, batch, reduction);
        }
        let mut stages = shape.stages_with(samples, batch, reduction)?;
        self.request.fixed.apply(&mut stages);
        Sketch::of(&stages, shape.architecture)
    }

    /// The law's error of a shape trained so; `None` where the menu does not apply.
    pub(super) fn error_by(
        &self,
        shape: &Shape,
        samples: u64,
        batch: u32,
        reduction: ImageReduction,
    ) -> Option<f64> {
        let sketch = self.sketch(shape, samples, batch, reduction)?;
        Some(self.law.error_percent(&self.case(shape.architecture, &sketch)))
    }

    /// The batches to choose from, largest first: the rule's ([`schedule::pretraining_batch`]) and, where the law knows
    /// the data, smaller powers of two; none above `most`.
    fn batches(&self, samples: u64, most: u32) -> impl Iterator<Item = u32> + use<> {
        let pinned = self.request.fixed.batch();
        let first = pinned.unwrap_or_else(|| schedule::pretraining_batch(Samples(samples)).min(most));
        let searched = pinned.is_none() && self.training.known;
        std::iter::successors(Some(first), move |batch| {
            (searched && batch / 2 >= SMALLEST_SEARCHED_BATCH).then_some(batch / 2)
        })
    }

    /// The best batch of one reduction. Larger batches lose steps, smaller ones lose comparisons: between the two the
    /// error has one valley.
    pub(super) fn way_by(
        &self,
        shape: &Shape,
        samples: u64,
        reduction: ImageReduction,
        most: u32,
    ) -> Option<Way> {
        let mut best: Option<Way> = None;
        for batch in self.batches(samples, most) {
            let error = self.error_by(shape, samples, batch, reduction)?;
            if best.is_some_and(|best| error >= best.error) {
                break;
            }
            best = Some(Way { reduction, batch, error });
        }
        best
    }

    /// The best reduction and batch of at most `most`; `None` where the menu does not apply.
    pub(super) fn way(&self, shape: &Shape, samples: u64, most: u32) -> Option<Way> {
        let mut best: Option<Way> = None;
        for reduction in self.image_reductions(shape) {
            if let Some(best) = best
                && self.is_beaten(shape, samples, reduction, most, best)?
            {
                continue;
            }
            let way = self.way_by(shape, samples, reduction, most)?;
            if best.is_none_or(|best| way.error < best.error) {
                best = Some(way);
            }
        }
        best
    }

    /// Whether a reduction is worse than `best` in every batch, which spares the search for its best one. It is if it is
    /// worse even in a batch that costs nothing; or if it is worse in both the largest and the smallest batch: the
    /// batch enters the law's raw value by a term that is the same for both and by a factor of the samples' term, so
    /// what lies between two reductions goes one way only from one end of the batches to the other.
    fn is_beaten(
        &self,
        shape: &Shape,
        samples: u64,
        reduction: ImageReduction,
        most: u32,
        best: Way,
    ) -> Option<bool> {
        if self.request.fixed.sets_a_batch() {
            return Some(false);
        }
        let at = |batch: u32, reduction| self.error_by(shape, samples, batch, reduction);
        let sketch = shape.sketch(samples, best.batch, reduction)?.without_batches();
        let costs_nothing = self.law.error_percent(&self.case(shape.architecture, &sketch));
        if costs_nothing >= best.error {
            return Some(true);
        }
        let mut ends = self.batches(samples, most);
        let first = ends.next()?;
        let last = ends.last().unwrap_or(first);
        Some(
            at(first, reduction)? >= at(first, best.reduction)?
                && at(last, reduction)? >= at(last, best.reduction)?,
        )
    }

    /// The best way whose steps fit into a machine's memory: in a smaller batch where the best one does not. `None` where
    /// none fits or the menu does not apply.
    pub(super) fn fitted_way(&self, shape: &Shape, samples: u64, machine: usize, nodes: u32) -> Option<Way> {
        let mut way = self.way(shape, samples, u32::MAX)?;
        while !self.way_fits(shape, samples, way, machine, nodes) {
            way = self.way(shape, samples, self.smaller(way)?)?;
        }
        Some(way)
    }

    /// The same for one reduction.
    pub(super) fn fitted_way_by(
        &self,
        shape: &Shape,
        samples: u64,
        reduction: ImageReduction,
        (machine, nodes): (usize, u32),
    ) -> Option<Way> {
        let mut way = self.way_by(shape, samples, reduction, u32::MAX)?;
        while !self.way_fits(shape, samples, way, machine, nodes) {
            way = self.way_by(shape, samples, reduction, self.smaller(way)?)?;
        }
        Some(way)
    }

    fn smaller(&self, way: Way) -> Option<u32> {
        let half = way.batch / 2;
        (half >= SMALLEST_SEARCHED_BATCH && self.request.fixed.batch().is_none()).then_some(half)
    }

    fn way_fits(&self, shape: &Shape, samples: u64, way: Way, machine: usize, nodes: u32) -> bool {
        let sketch = self.sketch(shape, samples, way.batch, way.reduction);
        sketch.is_some_and(|sketch| self.fits(shape, &sketch, machine, nodes))
    }

    /// The stages of a shape trained so, with what the user has decided.
    pub(super) fn stages_by(&self, shape: &Shape, samples: u64, way: Way) -> Option<Vec<Stage>> {
        let mut stages = shape.stages_with(samples, way.batch, way.reduction)?;
        self.request.fixed.apply(&mut stages);
        Some(stages)
    }

    /// The stages of a shape trained the best way that fits into a machine's memory.
    pub(super) fn fitted_stages(
        &self,
        shape: &Shape,
        samples: u64,
        machine: usize,
        nodes: u32,
    ) -> Option<Vec<Stage>> {
        let way = self.fitted_way(shape, samples, machine, nodes)?;
        self.stages_by(shape, samples, way)
    }
}
