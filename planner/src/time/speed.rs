//! The prior on training speed: a few physical costs, fitted on published runs.
//!
//! Seconds for one TFLOP of training on the reference accelerator =
//! matmul + attention·a + short·s + narrow·w, where
//! - `a` is the number of attention scores per 100 FLOPs (they are written to and read from memory, unless a fused
//!   kernel keeps them on chip),
//! - `s` = 1 / (1 + (n/128)³) for n image tokens with the class token: sequences far shorter than a tile of 128
//!   rows waste most of it (and bring more images, steps and synchronisation per FLOP),
//! - `w` = max(0, 1024/width - 1): narrow towers do little arithmetic for each number they move.
//!
//! The four coefficients are not negative and minimise the weighted squared relative error over the published rows
//! with a weight. The form was chosen on the same rows: CLIPA's three sizes cannot tell it from others nearby.

use std::sync::LazyLock;

use super::evidence::{PublishedSpeed, published_speeds};
use crate::accelerator::{Accelerator, Confidence, Runtime};
use crate::architecture::Architecture;
use crate::compute::training_flops;
use crate::source::Source;
use crate::spread::Spread;
use crate::units::{Hours, Tokens};

/// The accelerator that the fitted seconds are for.
pub const REFERENCE_ACCELERATOR: &str = "A100-80GB-SXM";
/// Its sustained rate, TFLOP/s ([`Accelerator::sustained_tflops`]); a test compares.
const REFERENCE_TFLOPS: f64 = 271.2;

/// Speed goes with the sustained rate of large products to this power: an H100 sustains 2.93 times an A100's
/// products and trains transformers 2.40 to 2.47 times as fast (mosaicml/llm-foundry, throughput table, 760M to
/// 2.7B): memory and launches do not keep up.
const RATE_EXPONENT: f64 = 0.82;

/// Below this link rate (GB/s, both directions), gradients travel over PCIe.
const FAST_LINK_GB_S: f64 = 300.0;
/// What eight devices without fast links keep of their speed, median and P10 (0.7 to 0.85 and better).
const PCIE_RETENTION: (f64, f64) = (0.85, 0.7);
/// What is kept at each doubling of the number of machines, median and P10: llm-foundry keeps 0.91 to 0.97 from 8
/// to 128 A100, LAION's bigG 0.925 from 512 to 760; small batches a device keep less.
const DOUBLING_RETENTION: (f64, f64) = (0.985, 0.93);
/// Accelerators in a machine.
const DEVICES_PER_MACHINE: f64 = 8.0;

/// The fitted prior.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeedModel {
    /// Seconds per TFLOP of large products.
    pub matmul: f64,
    /// Seconds per TFLOP for each attention score in 100 FLOPs.
    pub attention: f64,
    /// Seconds per TFLOP added to the shortest sequences.
    pub short: f64,
    /// Seconds per TFLOP added for each time the width goes into 1024, less one.
    pub narrow: f64,
    /// One published run in ten reached less than this fraction of the fitted speed.
    pub slow: f64,
    /// One published run in ten reached more than this multiple of the fitted speed.
    pub fast: f64,
}

/// What each coefficient is multiplied with, in the order matmul, attention, short, narrow.
type Terms = [f64; 4];

fn terms(architecture: &Architecture, image_tokens: Tokens, text_tokens: Tokens) -> Terms {
    /// Rows of a product's tile.
    const TILE: f64 = 128.0;
    /// Towers from here on are wide.
    const WIDE: f64 = 1024.0;
    let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
    let (image, words) = (f64::from(image_tokens.0) + 1.0, f64::from(text_tokens.0));
    let scores = f64::from(vision.layers) * f64::from(vision.heads()) * image * image
        + f64::from(text.layers) * f64::from(text.heads) * words * words;
    let flops = training_flops(architecture, image_tokens, text_tokens).0;
    [
        1.0,
        100.0 * scores / flops,
        1.0 / (1.0 + (image / TILE).powi(3)),
        (WIDE / f64::from(vision.width) - 1.0).max(0.0),
    ]
}

impl SpeedModel {
    /// Fitted on [`published_speeds`].
    #[must_use]
    pub fn built_in() -> &'static Self {
        static MODEL: LazyLock<SpeedModel> = LazyLock::new(|| SpeedModel::fit(published_speeds()));
        &MODEL
    }

    /// Fits the coefficients on the rows with a weight and the spread on all rows.
    #[must_use]
    pub fn fit(rows: &[PublishedSpeed]) -> Self {
        let mut equations = Vec::new();
        for row in rows.iter().filter(|row| row.weight > 0.0) {
            let mut equation = [0.0; 4];
            let retained = retention(row.accelerator, row.devices).0 * relative_rate(row.accelerator);
            for stage in &row.stages {
                let flops = training_flops(row.architecture, stage.image_tokens, stage.text_tokens).0;
                let tera = flops * stage.samples.0 as f64 / 1e12;
                let terms = terms(row.architecture, stage.image_tokens, stage.text_tokens);
                for (sum, term) in equation.iter_mut().zip(terms) {
                    *sum += row.weight * tera * term / retained / row.device_seconds;
                }
            }
            // Relative error: predicted seconds over published seconds should be one.
            equations.push((equation, row.weight));
        }
        let [matmul, attention, short, narrow] = non_negative_least_squares(&equations);
        let mut model = Self { matmul, attention, short, narrow, slow: 1.0, fast: 1.0 };
        let mut ratios: Vec<f64> =
            rows.iter().map(|row| model.predicted_seconds(row) / row.device_seconds).collect();
        ratios.sort_by(f64::total_cmp);
        if !ratios.is_empty() {
            model.slow = quantile(&ratios, 0.1).min(1.0);
            model.fast = quantile(&ratios, 0.9).max(1.0);
        }
        model
    }

    /// Device seconds that a published run should have taken.
    #[must_use]
    pub fn predicted_seconds(&self, row: &PublishedSpeed) -> f64 {
        let seconds = row.stages.iter().map(|stage| {
            let flops = training_flops(row.architecture, stage.image_tokens, stage.text_tokens).0;
            let speed = self.median(row.architecture, stage.image_tokens, stage.text_tokens);
            flops * stage.samples.0 as f64 / speed
        });
        seconds.sum::<f64>() / (retention(row.accelerator, row.devices).0 * relative_rate(row.accelerator))
    }

    /// Device hours that a published run should have taken, with their spread.
    #[must_use]
    pub fn predicted_hours(&self, row: &PublishedSpeed) -> Spread<Hours> {
        row.stages
            .iter()
            .map(|stage| {
                let flops = training_flops(row.architecture, stage.image_tokens, stage.text_tokens).0;
                self.device_flops(
                    row.architecture,
                    stage.image_tokens,
                    stage.text_tokens,
                    row.accelerator,
                    row.devices,
                )
                .dividing(flops * stage.samples.0 as f64)
                .map(Hours::from_seconds)
            })
            .fold(Spread::exact(Hours(0.0)), Spread::plus)
    }

    /// Model FLOP/s of one reference accelerator among eight.
    fn median(&self, architecture: &Architecture, image_tokens: Tokens, text_tokens: Tokens) -> f64 {
        let [one, attention, short, narrow] = terms(architecture, image_tokens, text_tokens);
        1e12 / (self.matmul * one + self.attention * attention + self.short * short + self.narrow * narrow)
    }

    /// Model FLOP/s of one of `devices` accelerators, with its spread: below the median, what one published run in
    /// ten fell short by; above it, what one in ten gained, with attention scores kept on chip. Wider on other
    /// accelerators than the fitted one.
    #[must_use]
    pub fn device_flops(
        &self,
        architecture: &Architecture,
        image_tokens: Tokens,
        text_tokens: Tokens,
        accelerator: &Accelerator,
        devices: u32,
    ) -> Spread {
        let rate = relative_rate(accelerator);
        let widened = widening(accelerator);
        let (typical, poor) = retention(accelerator, devices);
        let median = self.median(architecture, image_tokens, text_tokens) * rate;
        let fused = Self { attention: 0.0, ..*self }.median(architecture, image_tokens, text_tokens) * rate;
        let ceiling = accelerator.sustained_tflops() * 1e12;
        Spread {
            p10: median * self.slow * poor / widened,
            p50: (median * typical).min(ceiling),
            p90: (fused * self.fast * typical * widened).min(ceiling),
        }
    }
}

/// Speed of an accelerator over the reference's.
fn relative_rate(accelerator: &Accelerator) -> f64 {
    (accelerator.sustained_tflops() / REFERENCE_TFLOPS).powf(RATE_EXPONENT)
}

/// What devices keep of their speed when they train together, median and P10, as against eight with fast links.
fn retention(accelerator: &Accelerator, devices: u32) -> (f64, f64) {
    let devices = f64::from(devices.max(1));
    let doublings = (devices / DEVICES_PER_MACHINE).ceil().log2();
    let (mut typical, mut poor) =
        (DOUBLING_RETENTION.0.powf(doublings), DOUBLING_RETENTION.1.powf(doublings));
    if accelerator.link_gb_s.is_none_or(|link| link < FAST_LINK_GB_S) {
        let share = devices.min(DEVICES_PER_MACHINE).log2() / DEVICES_PER_MACHINE.log2();
        typical *= PCIE_RETENTION.0.powf(share);
        poor *= PCIE_RETENTION.1.powf(share);
    }
    (typical, poor)
}

/// How much wider the spread is, each way, than on the accelerators that the published rows used.
fn widening(accelerator: &Accelerator) -> f64 {
    match (accelerator.runtime, accelerator.confidence) {
        (Runtime::Cuda, _) if accelerator.name.starts_with("A100") => 1.0,
        (Runtime::Cuda, Confidence::Read) => 1.15,
        (Runtime::Cuda, _) => 1.25,
        _ => 1.4,
    }
}

/// Where the prior's speed of an accelerator is from.
pub(super) fn prior_source(accelerator: &Accelerator) -> Source {
    const FITTED: &str =
        "fitted on CLIPA's and CLIPA-v2's hours (arXiv 2305.07017, 2306.15658), spread of LAION's runs";
    if accelerator.name.starts_with("A100") {
        return Source::published(FITTED);
    }
    let rate = relative_rate(accelerator);
    Source::published(format!(
        "{FITTED}; {rate:.2} x an A100, from sustained product rates (llm-foundry: to the 0.82)"
    ))
}

/// Training speed of a CPU that nobody measured, FLOP/s of the whole machine: plain candle in f32 on two server cores
/// reached 90 GFLOP/s at width 384 and 130 to 200 at 768; narrower is slower. Three times either way.
pub(super) fn cpu_guess(width: u32) -> Spread {
    let p50 = (90e9 * (f64::from(width.max(1)) / 384.0).powf(0.7)).clamp(5e9, 200e9);
    Spread::around(p50, 1.0 / 3.0, 3.0)
}

/// Linear interpolation between order statistics; `sorted` is not empty.
fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

/// Coefficients, none negative, that minimise the squared distance of `row · coefficients` from `target`. Exact: tries
/// every subset of the four as the ones that are not zero.
fn non_negative_least_squares(rows: &[(Terms, f64)]) -> Terms {
    let mut best = (f64::INFINITY, [0.0; 4]);
    for subset in 1u32..16 {
        let used: Vec<usize> = (0..4).filter(|index| subset >> index & 1 == 1).collect();
        let mut matrix = vec![vec![0.0; used.len() + 1]; used.len()];
        for (row, target) in rows {
            for (i, &a) in used.iter().enumerate() {
                for (j, &b) in used.iter().enumerate() {
                    matrix[i][j] += row[a] * row[b];
                }
                matrix[i][used.len()] += row[a] * target;
            }
        }
        let Some(solution) = solved(matrix) else { continue };
        if solution.iter().any(|value| *value < 0.0) {
            continue;
        }
        let mut coefficients = [0.0; 4];
        for (&index, &value) in used.iter().zip(&solution) {
            coefficients[index] = value;
        }
        let error: f64 = rows
            .iter()
            .map(|(row, target)| {
                let fitted: f64 =
                    row.iter().zip(coefficients).map(|(term, coefficient)| term * coefficient).sum();
                (fitted - target).powi(2)
            })
            .sum();
        if error < best.0 {
            best = (error, coefficients);
        }
    }
    best.1
}

/// Gauss-Jordan elimination with row pivots of a matrix with its right-hand side as last column; `None` if singular.
fn solved(mut matrix: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let size = matrix.len();
    for column in 0..size {
        let pivot =
            (column..size).max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))?;
        if matrix[pivot][column].abs() < 1e-300 {
            return None;
        }
        matrix.swap(column, pivot);
        let pivot_row = matrix[column].clone();
        for (index, row) in matrix.iter_mut().enumerate() {
            if index != column {
                let factor = row[column] / pivot_row[column];
                for (value, pivot) in row.iter_mut().zip(&pivot_row).skip(column) {
                    *value -= factor * pivot;
                }
            }
        }
    }
    Some((0..size).map(|index| matrix[index][size] / matrix[index][index]).collect())
}
