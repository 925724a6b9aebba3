//! CLIPA's ablations as back-tests of the inverse law.

use super::super::Law;
use super::super::fit::FitError;
use super::drop::Group;
use super::published::{Drop, figure_2, image_drops, text_drops};
use super::{IMAGE_REDUCTIONS, LEAST_IMAGE_PART, LEAST_TEXT_PART, TEXT_REDUCTIONS, Tuning};
use crate::published::PublishedRun;
use crate::recipe::{ImageReduction, TextReduction};

/// What is shortened in one of CLIPA's ablations, and when the model is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ablation {
    /// Image tokens in pretraining (table 11).
    Image(ImageReduction, Tuning),
    /// Text tokens in pretraining, after fine-tuning (table 12).
    Text(TextReduction),
    /// Image tokens in fine-tuning, random mask (CLIPA-v2, figure 2).
    TuningMask,
}

impl Ablation {
    /// Every ablation that the law is fitted on.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let image = |tuning| IMAGE_REDUCTIONS.map(|(reduction, _)| Self::Image(reduction, tuning));
        let mut all = image(Tuning::After).to_vec();
        all.extend(TEXT_REDUCTIONS.map(|(reduction, _)| Self::Text(reduction)));
        all.push(Self::TuningMask);
        all.extend(image(Tuning::Before));
        all
    }

    /// `image_resize_after_tuning`, `text_syntax`, `tuning_mask`.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Image(reduction, tuning) => {
                let when = if tuning == Tuning::After { "after_tuning" } else { "before_tuning" };
                format!("image_{}_{when}", IMAGE_REDUCTIONS[reduction as usize].1)
            }
            Self::Text(reduction) => format!("text_{}", TEXT_REDUCTIONS[reduction as usize].1),
            Self::TuningMask => "tuning_mask".to_owned(),
        }
    }

    /// Where the points were published.
    #[must_use]
    pub const fn paper(self) -> &'static str {
        match self {
            Self::TuningMask => "CLIPA-v2 (2306.15658)",
            _ => "CLIPA (2305.07017)",
        }
    }

    /// Where in that paper.
    #[must_use]
    pub const fn place(self) -> &'static str {
        match self {
            Self::Image(..) => "table 11",
            Self::Text(_) => "table 12",
            Self::TuningMask => "figure 2",
        }
    }

    /// Points of accuracy lost by the built-in law when `part` (0 to 1) of the sequence is kept.
    #[must_use]
    pub fn drop_points(self, image_parameters: f64, part: f64) -> f64 {
        let law = &Law::built_in().inverse;
        match self {
            Self::Image(reduction, tuning) => law.image(reduction, tuning),
            Self::Text(reduction) => law.text[reduction as usize],
            Self::TuningMask => law.tuning_mask,
        }
        .points(image_parameters, part)
    }

    /// Shortest part of the sequence that was tried.
    #[must_use]
    pub const fn least_part(self) -> f64 {
        match self {
            Self::Text(_) => LEAST_TEXT_PART,
            _ => LEAST_IMAGE_PART,
        }
    }

    fn drops(self, runs: &[PublishedRun]) -> Vec<Drop> {
        match self {
            Self::Image(reduction, tuning) => image_drops(runs, reduction, tuning),
            Self::Text(reduction) => text_drops(runs, reduction),
            Self::TuningMask => figure_2(),
        }
    }

    /// The group of ablations that this one is fitted with, and its place there.
    fn group(self, runs: &[PublishedRun]) -> (Group, usize) {
        match self {
            Self::Image(reduction, tuning) => (image_group(runs, tuning), reduction as usize),
            Self::Text(reduction) => (text_group(runs), reduction as usize),
            Self::TuningMask => (tuning_mask_group(), 0),
        }
    }

    /// The published points with what the law says of each, in the order of the tables; empty where the table is
    /// not among `runs`.
    pub fn back_test(self, runs: &[PublishedRun]) -> Result<Vec<AblationPoint>, FitError> {
        let drops = self.drops(runs);
        let (group, own) = self.group(runs);
        let all = group.fitted()?;
        drops
            .iter()
            .enumerate()
            .map(|(at, drop)| {
                let point_out = group.without(|index, position, _| index == own && position == at);
                let size_out = group.without(|_, _, other| other.image_parameters == drop.image_parameters);
                Ok(AblationPoint {
                    image_parameters: drop.image_parameters,
                    part: drop.part,
                    reported: drop.points,
                    law_alone: all.laws[own].points(drop.image_parameters, drop.part),
                    fitted: all.points(own, drop),
                    left_out: point_out.fitted()?.points(own, drop),
                    size_left_out: size_out.fitted()?.points(own, drop),
                })
            })
            .collect()
    }
}

/// Every way to shorten an image, evaluated at one time.
pub(super) fn image_group(runs: &[PublishedRun], tuning: Tuning) -> Group {
    Group::new(IMAGE_REDUCTIONS.map(|(reduction, _)| image_drops(runs, reduction, tuning)).into(), 0.9)
}

/// Every way to shorten a caption.
pub(super) fn text_group(runs: &[PublishedRun]) -> Group {
    Group::new(TEXT_REDUCTIONS.map(|(reduction, _)| text_drops(runs, reduction)).into(), 2.5)
}

/// Masks in fine-tuning.
pub(super) fn tuning_mask_group() -> Group {
    Group::new(vec![figure_2()], 1.2)
}

/// One published drop against the inverse law. All in points of accuracy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AblationPoint {
    /// Parameters of the image tower.
    pub image_parameters: f64,
    /// Part (0 to 1) of the full sequence that was kept.
    pub part: f64,
    /// Points lost as published.
    pub reported: f64,
    /// By the law alone, which is what is planned with: without the encoder's own deviation.
    pub law_alone: f64,
    /// By the law that was fitted on the point, with the encoder's deviation.
    pub fitted: f64,
    /// By a law fitted on every other point, with the deviation that the encoder's other points show.
    pub left_out: f64,
    /// By a law fitted on the other encoder sizes alone: no deviation is known.
    pub size_left_out: f64,
}
