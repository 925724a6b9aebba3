//! The inverse scaling law: the larger the encoder, the fewer tokens it can be trained with at the same loss.
//!
//! For every reduction, with N̂ = image-tower parameters / 86 M and u = tokens / full length,
//!
//! ```text
//! drop in points = k N̂^-a (u^-b - 1)
//! ```
//!
//! fitted on CLIPA's ablations (arXiv 2305.07017, tables 11 and 12: S/16, B/16, L/16, LAION-400M, 2.56 B samples),
//! and for masked fine-tuning on CLIPA-v2's figure 2 (arXiv 2306.15658).

use super::Law;
use super::fit::FitError;
use super::solver::{self, Gradient, Problem};
use crate::architecture::Architecture;
use crate::published::PublishedRun;
use crate::recipe::{ImageReduction, TextReduction};
use crate::units::Tokens;

/// Whether a model is evaluated as pretrained or after a short fine-tuning at full length (131 M samples).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// As pretrained: a resized model at its own length, a masked one unmasked.
    Before,
    /// After fine-tuning.
    After,
}

/// Every way to shorten an image, in the order of the stored law.
pub(super) const IMAGE_REDUCTIONS: [(ImageReduction, &str); 4] = [
    (ImageReduction::Resize, "resize"),
    (ImageReduction::Random, "random"),
    (ImageReduction::Grid, "grid"),
    (ImageReduction::Block, "block"),
];
/// Every way to shorten a caption, in the order of the stored law.
pub(super) const TEXT_REDUCTIONS: [(TextReduction, &str); 4] = [
    (TextReduction::Truncate, "truncate"),
    (TextReduction::Random, "random"),
    (TextReduction::Block, "block"),
    (TextReduction::Syntax, "syntax"),
];

/// Image-tower parameters of N̂ = 1.
const REFERENCE_SIZE: f64 = 86e6;
/// A caption of this many tokens is whole for this law: CLIPA's full length.
pub const FULL_TEXT_TOKENS: u32 = 32;
/// Shortest part of the image sequence that was tried: H/14 with 16 of 256 tokens.
const LEAST_IMAGE_PART: f64 = 1.0 / 16.0;
/// Shortest part of the caption that was tried: 4 of 32 tokens.
const LEAST_TEXT_PART: f64 = 1.0 / 8.0;

/// k, a and b of one reduction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DropLaw {
    pub(super) scale: f64,
    pub(super) size_exponent: f64,
    pub(super) length_exponent: f64,
}

impl DropLaw {
    fn points(self, image_parameters: f64, part: f64) -> f64 {
        let size = (image_parameters / REFERENCE_SIZE).max(f64::MIN_POSITIVE);
        let part = part.clamp(f64::MIN_POSITIVE, 1.0);
        self.scale * size.powf(-self.size_exponent) * (part.powf(-self.length_exponent) - 1.0)
    }

    fn fitted(drops: Vec<Drop>, length_exponent: f64) -> Result<Self, FitError> {
        let rows = drops.len();
        let problem = Drops { drops, length_exponent };
        let start = (0..3).map(|index| problem.prior(index).0).collect();
        let theta = solver::solve(&problem, start, 100).ok_or(FitError::NotConverged { rows })?.theta;
        Ok(Self { scale: theta[0].exp(), size_exponent: theta[1], length_exponent: theta[2].exp() })
    }
}

/// An observed drop.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Drop {
    image_parameters: f64,
    part: f64,
    points: f64,
}

struct Drops {
    drops: Vec<Drop>,
    /// Prior mean of b.
    length_exponent: f64,
}

/// Standard deviation in points of an observed drop: two runs' seeds.
const DROP_SD: f64 = 0.25;

impl Drops {
    fn residual(theta: &[f64], drop: &Drop) -> f64 {
        let law = DropLaw { scale: theta[0].exp(), size_exponent: theta[1], length_exponent: theta[2].exp() };
        (law.points(drop.image_parameters, drop.part) - drop.points) / DROP_SD
    }
}

impl Problem for Drops {
    fn parameters(&self) -> usize {
        3
    }

    fn prior(&self, index: usize) -> (f64, f64) {
        [(0.8f64.ln(), 1.5), (0.2, 0.3), (self.length_exponent.ln(), 0.7)][index]
    }

    fn residuals(&self, theta: &[f64]) -> Vec<f64> {
        self.drops.iter().map(|drop| Self::residual(theta, drop)).collect()
    }

    fn linearise(&self, theta: &[f64]) -> Vec<(f64, Gradient)> {
        const STEP: f64 = 1e-6;
        let slope = |drop: &Drop, index: usize| {
            let (mut up, mut down) = (theta.to_vec(), theta.to_vec());
            up[index] += STEP;
            down[index] -= STEP;
            (index, (Self::residual(&up, drop) - Self::residual(&down, drop)) / (2.0 * STEP))
        };
        self.drops
            .iter()
            .map(|drop| (Self::residual(theta, drop), (0..3).map(|index| slope(drop, index)).collect()))
            .collect()
    }
}

/// Figure 2 of CLIPA-v2: image-tower parameters, part of the patches kept in fine-tuning, points lost.
const FIGURE_2: [(f64, f64, f64); 8] = [
    (22e6, 0.5, 1.81),
    (86e6, 0.5, 1.08),
    (303e6, 0.5, 0.83),
    (631e6, 0.5, 0.40),
    (22e6, 0.2, 7.25),
    (86e6, 0.2, 5.82),
    (303e6, 0.2, 3.84),
    (631e6, 0.2, 2.57),
];

fn figure_2() -> Vec<Drop> {
    FIGURE_2.map(|(image_parameters, part, points)| Drop { image_parameters, part, points }).to_vec()
}

/// The inverse scaling law for every reduction.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InverseLaw {
    /// In the order of [`IMAGE_REDUCTIONS`].
    pub(super) image_before: [DropLaw; 4],
    pub(super) image_after: [DropLaw; 4],
    /// In the order of [`TEXT_REDUCTIONS`], after fine-tuning.
    pub(super) text: [DropLaw; 4],
    /// Random mask in fine-tuning.
    pub(super) tuning_mask: DropLaw,
}

impl InverseLaw {
    pub(super) fn fitted(runs: &[PublishedRun]) -> Result<Self, FitError> {
        let law = |ablation: Ablation| DropLaw::fitted(ablation.drops(runs), ablation.length_exponent());
        let image = |tuning| each(|index| law(Ablation::Image(IMAGE_REDUCTIONS[index].0, tuning)));
        Ok(Self {
            image_before: image(Tuning::Before)?,
            image_after: image(Tuning::After)?,
            text: each(|index| law(Ablation::Text(TEXT_REDUCTIONS[index].0)))?,
            tuning_mask: law(Ablation::TuningMask)?,
        })
    }

    fn image(&self, reduction: ImageReduction, tuning: Tuning) -> DropLaw {
        let laws = match tuning {
            Tuning::Before => &self.image_before,
            Tuning::After => &self.image_after,
        };
        laws[reduction as usize]
    }
}

fn each<T: Copy, E>(make: impl Fn(usize) -> Result<T, E>) -> Result<[T; 4], E> {
    Ok([make(0)?, make(1)?, make(2)?, make(3)?])
}

/// Rows of table 11 shortened so, against the full-length row of the same encoder.
fn image_drops(runs: &[PublishedRun], reduction: ImageReduction, tuning: Tuning) -> Vec<Drop> {
    let table: Vec<&PublishedRun> = runs.iter().filter(|run| run.id.starts_with("clipa-t11-")).collect();
    table
        .iter()
        .filter_map(|run| {
            let image_parameters = run.image_parameters?;
            let stage = run.stages.first()?;
            let after = run.stages.len() > 1;
            let full = table.iter().find(|other| {
                other.image_parameters == run.image_parameters && other.id.contains("-none-")
            })?;
            let full_tokens = full.stages.first()?.image_tokens;
            (stage.image_reduction == reduction
                && stage.image_tokens < full_tokens
                && after == (tuning == Tuning::After))
                .then(|| Drop {
                    image_parameters,
                    part: f64::from(stage.image_tokens.0) / f64::from(full_tokens.0),
                    points: full.accuracy_percent - run.accuracy_percent,
                })
        })
        .collect()
}

/// Fine-tuned rows of table 12 shortened so, against the whole-caption row of the same reduction and encoder.
fn text_drops(runs: &[PublishedRun], reduction: TextReduction) -> Vec<Drop> {
    let table: Vec<&PublishedRun> = runs
        .iter()
        .filter(|run| run.id.starts_with("clipa-t12-") && run.stages.len() > 1)
        .filter(|run| run.stages[0].text_reduction == reduction)
        .collect();
    table
        .iter()
        .filter_map(|run| {
            let tokens = run.stages[0].text_tokens.0;
            let full = table.iter().find(|other| {
                other.image_parameters == run.image_parameters
                    && other.stages[0].text_tokens.0 == FULL_TEXT_TOKENS
            })?;
            (tokens < FULL_TEXT_TOKENS).then_some(Drop {
                image_parameters: run.image_parameters?,
                part: f64::from(tokens) / f64::from(FULL_TEXT_TOKENS),
                points: full.accuracy_percent - run.accuracy_percent,
            })
        })
        .collect()
}

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

    /// Prior mean of the length exponent.
    fn length_exponent(self) -> f64 {
        match self {
            Self::Image(..) => 0.9,
            Self::Text(_) => 2.5,
            Self::TuningMask => 1.2,
        }
    }

    /// The published points with what the law says of each, in the order of the tables; empty where the table is
    /// not among `runs`.
    pub fn back_test(self, runs: &[PublishedRun]) -> Result<Vec<AblationPoint>, FitError> {
        let drops = self.drops(runs);
        let exponent = self.length_exponent();
        let all = DropLaw::fitted(drops.clone(), exponent)?;
        let without = |hidden: &dyn Fn(&Drop) -> bool| {
            DropLaw::fitted(drops.iter().filter(|drop| !hidden(drop)).copied().collect(), exponent)
        };
        drops
            .iter()
            .map(|drop| {
                let predicted = |law: DropLaw| law.points(drop.image_parameters, drop.part);
                Ok(AblationPoint {
                    image_parameters: drop.image_parameters,
                    part: drop.part,
                    reported: drop.points,
                    fitted: predicted(all),
                    left_out: predicted(without(&|other| other == drop)?),
                    size_left_out: predicted(without(&|other| {
                        other.image_parameters == drop.image_parameters
                    })?),
                })
            })
            .collect()
    }
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
    /// By the law that was fitted on the point.
    pub fitted: f64,
    /// By a law fitted on every other point of the ablation.
    pub left_out: f64,
    /// By a law fitted on the other encoder sizes alone.
    pub size_left_out: f64,
}

fn part(tokens: Tokens, full: Tokens) -> f64 {
    f64::from(tokens.0.max(1)) / f64::from(full.0.max(1))
}

/// Points of accuracy lost by pretraining an image tower of `image_parameters` with `tokens` of `full_tokens`
/// patches, after a short fine-tuning at full length. 0 from full length on.
#[must_use]
pub fn drop_points(
    image_parameters: f64,
    tokens: Tokens,
    full_tokens: Tokens,
    reduction: ImageReduction,
) -> f64 {
    drop_points_when(image_parameters, tokens, full_tokens, reduction, Tuning::After)
}

/// [`drop_points`], before or after fine-tuning.
#[must_use]
pub fn drop_points_when(
    image_parameters: f64,
    tokens: Tokens,
    full_tokens: Tokens,
    reduction: ImageReduction,
    tuning: Tuning,
) -> f64 {
    Law::built_in().inverse.image(reduction, tuning).points(image_parameters, part(tokens, full_tokens))
}

/// Points of accuracy lost by pretraining with captions of `tokens` of `full_tokens` tokens, after a short
/// fine-tuning with whole captions. Without that fine-tuning prompts are cut as well, which costs far more below
/// 8 tokens and follows no power law; the accuracy law knows it.
#[must_use]
pub fn text_drop_points(
    image_parameters: f64,
    tokens: Tokens,
    full_tokens: Tokens,
    reduction: TextReduction,
) -> f64 {
    let full = Tokens(full_tokens.0.min(FULL_TEXT_TOKENS));
    Law::built_in().inverse.text[reduction as usize].points(image_parameters, part(tokens, full))
}

/// Points of accuracy lost when fine-tuning (128 M samples) keeps only a part (0 to 1) of the patches, drawn at
/// random. Up to 30 % masked, larger encoders were seen to gain 0.1 to 0.3 instead.
#[must_use]
pub fn tuning_mask_drop_points(image_parameters: f64, kept_part: f64) -> f64 {
    Law::built_in().inverse.tuning_mask.points(image_parameters, kept_part)
}

/// Patches of the whole image.
#[must_use]
pub fn full_image_tokens(architecture: &Architecture) -> Tokens {
    architecture.vision_cfg.tokens_at(architecture.vision_cfg.image_size)
}

/// Text tokens of the whole caption, at most [`FULL_TEXT_TOKENS`].
#[must_use]
pub fn full_text_tokens(architecture: &Architecture) -> Tokens {
    Tokens(architecture.text_cfg.context_length.min(FULL_TEXT_TOKENS))
}

/// Image lengths that the patch size allows, shortest first: squares for `resize`, grid and block masks, any
/// number for a random mask; none shorter than was ever tried (a sixteenth).
#[must_use]
pub fn image_lengths(architecture: &Architecture, reduction: ImageReduction) -> Vec<Tokens> {
    let full = full_image_tokens(architecture);
    let side = architecture.vision_cfg.image_size / architecture.vision_cfg.patch_size.max(1);
    let all: Vec<Tokens> = match reduction {
        ImageReduction::Random => (1..=full.0).map(Tokens).collect(),
        _ => (1..=side).map(|side| Tokens(side * side)).collect(),
    };
    all.into_iter().filter(|tokens| part(*tokens, full) >= LEAST_IMAGE_PART).collect()
}

/// The shortest image sequence for pretraining that costs at most `tolerated_drop` points.
#[must_use]
pub fn shortest_image_tokens(
    architecture: &Architecture,
    tolerated_drop: f64,
    reduction: ImageReduction,
) -> Tokens {
    let full = full_image_tokens(architecture);
    let size = crate::compute::parameters(architecture).image as f64;
    image_lengths(architecture, reduction)
        .into_iter()
        .find(|tokens| drop_points(size, *tokens, full, reduction) <= tolerated_drop)
        .unwrap_or(full)
}

/// The shortest captions for pretraining that cost at most `tolerated_drop` points; at least 4 of 32 tokens, and
/// never fewer than the 2 markers.
#[must_use]
pub fn shortest_text_tokens(
    architecture: &Architecture,
    tolerated_drop: f64,
    reduction: TextReduction,
) -> Tokens {
    let full = full_text_tokens(architecture);
    let size = crate::compute::parameters(architecture).image as f64;
    (2..=full.0)
        .map(Tokens)
        .filter(|tokens| part(*tokens, full) >= LEAST_TEXT_PART)
        .find(|tokens| text_drop_points(size, *tokens, full, reduction) <= tolerated_drop)
        .unwrap_or(full)
}

/// One architecture's line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow<'a> {
    /// The architecture.
    pub architecture: &'a Architecture,
    /// Points lost for each column; `None` where the length is longer than the architecture's own.
    pub drops: Vec<Option<f64>>,
}

/// Points lost by image length: a row for every architecture, a column for every number of tokens.
#[must_use]
pub fn image_table<'a>(
    architectures: impl IntoIterator<Item = &'a Architecture>,
    columns: &[Tokens],
    reduction: ImageReduction,
    tuning: Tuning,
) -> Vec<TableRow<'a>> {
    table(architectures, columns, full_image_tokens, |size, tokens, full| {
        drop_points_when(size, tokens, full, reduction, tuning)
    })
}

/// Points lost by caption length, after fine-tuning: a row for every architecture, a column for every number of
/// tokens.
#[must_use]
pub fn text_table<'a>(
    architectures: impl IntoIterator<Item = &'a Architecture>,
    columns: &[Tokens],
    reduction: TextReduction,
) -> Vec<TableRow<'a>> {
    table(architectures, columns, full_text_tokens, |size, tokens, full| {
        text_drop_points(size, tokens, full, reduction)
    })
}

fn table<'a>(
    architectures: impl IntoIterator<Item = &'a Architecture>,
    columns: &[Tokens],
    full: impl Fn(&Architecture) -> Tokens,
    drop: impl Fn(f64, Tokens, Tokens) -> f64,
) -> Vec<TableRow<'a>> {
    architectures
        .into_iter()
        .map(|architecture| {
            let full = full(architecture);
            let size = crate::compute::parameters(architecture).image as f64;
            let drops =
                columns.iter().map(|tokens| (*tokens <= full).then(|| drop(size, *tokens, full))).collect();
            TableRow { architecture, drops }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architectures;
    use crate::law::fit::mean_absolute;
    use crate::published;

    fn law_error(drops: &[Drop], predicted: impl Fn(&Drop) -> f64) -> f64 {
        mean_absolute(drops.iter().map(|drop| predicted(drop) - drop.points))
    }

    #[test]
    fn the_printed_tables_are_reproduced() {
        // Mean absolute error in points that scaling forms fitted elsewhere reach, with a margin for grid masks.
        for (reduction, rows, limit) in [
            (ImageReduction::Resize, 12, 0.25),
            (ImageReduction::Random, 12, 0.60),
            (ImageReduction::Grid, 6, 0.60),
            (ImageReduction::Block, 12, 0.65),
        ] {
            let drops = image_drops(published::runs(), reduction, Tuning::After);
            assert_eq!(drops.len(), rows, "{reduction:?}");
            let full = 196.0;
            let error = law_error(&drops, |drop| {
                drop_points(
                    drop.image_parameters,
                    Tokens((drop.part * full).round() as u32),
                    Tokens(196),
                    reduction,
                )
            });
            assert!(error < limit, "{reduction:?}: {error}");
            let before = image_drops(published::runs(), reduction, Tuning::Before);
            let error = law_error(&before, |drop| {
                let tokens = Tokens((drop.part * full).round() as u32);
                drop_points_when(drop.image_parameters, tokens, Tokens(196), reduction, Tuning::Before)
            });
            assert!(error < 1.6, "{reduction:?} before fine-tuning: {error}");
        }
        for (reduction, limit) in [
            (TextReduction::Syntax, 0.45),
            (TextReduction::Block, 0.35),
            (TextReduction::Truncate, 0.30),
            (TextReduction::Random, 0.30),
        ] {
            let drops = text_drops(published::runs(), reduction);
            assert_eq!(drops.len(), 12, "{reduction:?}");
            let error = law_error(&drops, |drop| {
                let tokens = Tokens((drop.part * 32.0).round() as u32);
                text_drop_points(drop.image_parameters, tokens, Tokens(32), reduction)
            });
            assert!(error < limit, "{reduction:?}: {error}");
        }
        let error =
            mean_absolute(FIGURE_2.map(|(size, kept, points)| tuning_mask_drop_points(size, kept) - points));
        assert!(error < 0.3, "figure 2: {error}");
    }

    #[test]
    fn drops_are_read_from_the_tables_as_printed() {
        let drops = image_drops(published::runs(), ImageReduction::Resize, Tuning::After);
        let small: Vec<f64> = drops
            .iter()
            .filter(|drop| drop.image_parameters < 30e6)
            .map(|drop| (drop.points * 10.0).round())
            .collect();
        assert_eq!(small, [7.0, 20.0, 28.0, 62.0]);
    }

    #[test]
    fn larger_encoders_tolerate_shorter_sequences() {
        let names = ["S/16", "B/16", "L/16"];
        let shortest: Vec<u32> = names
            .iter()
            .map(|name| {
                let architecture = architectures::find(name).expect("known");
                shortest_image_tokens(architecture, 1.5, ImageReduction::Resize).0
            })
            .collect();
        assert!(shortest.is_sorted_by(|a, b| a >= b) && shortest[0] > shortest[2], "{shortest:?}");
        let large = architectures::find("H/14").expect("known");
        let tokens = shortest_image_tokens(large, 2.0, ImageReduction::Resize);
        assert!(tokens.0 <= 36, "{tokens:?}");
        assert_eq!(shortest_image_tokens(large, 0.0, ImageReduction::Resize), Tokens(256));
        assert!(shortest_text_tokens(large, 0.5, TextReduction::Syntax) <= Tokens(8));
    }

    #[test]
    fn a_resized_length_is_a_square_that_the_patch_size_allows() {
        let architecture = architectures::find("B/16").expect("known");
        for drop in [0.1, 0.5, 1.0, 3.0, 100.0] {
            let tokens = shortest_image_tokens(architecture, drop, ImageReduction::Resize).0;
            assert_eq!(tokens, tokens.isqrt().pow(2));
            assert!(tokens >= 196 / 16);
        }
    }

    #[test]
    fn a_table_has_a_row_for_every_architecture_and_gaps_beyond_full_length() {
        let known: Vec<&Architecture> =
            ["B/16", "H/14"].map(|name| architectures::find(name).expect("known")).into();
        let columns = [Tokens(16), Tokens(49), Tokens(196), Tokens(256)];
        let table = image_table(known, &columns, ImageReduction::Resize, Tuning::After);
        assert_eq!(table.len(), 2);
        assert_eq!(table[0].drops[2], Some(0.0));
        assert_eq!(table[0].drops[3], None);
        assert!(table[1].drops[0] < table[0].drops[0]);
        assert!(table[0].drops[0] > table[0].drops[1]);
    }
}
