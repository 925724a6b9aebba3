//! The steps of a block against their formulas and finite differences, in double precision; bf16 against
//! single precision.

use super::attention::HeadRoom;
use super::epilogues::{gelu, gelu_and_slope, rough_gelu, rough_gelu_and_slope};
use super::norm::{Normalised, Renormalised, normalise, normalise_backward};
use super::{Tower, Work};
use crate::ops::level::Level;
use crate::ops::pack::row_stride;
use crate::ops::stored::{Bf16, Stored};

fn wave(count: usize, step: f64) -> Vec<f64> {
    (0..count).map(|index| (index as f64 * step + 0.3).sin()).collect()
}

fn work(samples: usize, tokens: usize, width: usize, heads: usize, causal: bool, level: Level) -> Work {
    let tower =
        Tower { prefix: "test", layers: 1, heads, causal, width, hidden: 4 * width, quick_gelu: false };
    Work { tower, samples, tokens, level, recompute: false }
}

/// Attention with loops over everything.
fn formula(qkv: &[f64], work: &Work) -> Vec<f64> {
    let (tokens, width, head_width) = (work.tokens, work.tower.width, work.tower.width / work.tower.heads);
    let mut out = vec![0.0; work.rows() * width];
    for sample in 0..work.samples {
        let at = |token: usize, part: usize, column: usize| {
            qkv[(sample * tokens + token) * 3 * width + part * width + column]
        };
        for head in 0..work.tower.heads {
            let columns = head * head_width..(head + 1) * head_width;
            for i in 0..tokens {
                let seen = if work.tower.causal { i + 1 } else { tokens };
                let weights: Vec<f64> = (0..seen)
                    .map(|j| {
                        let score: f64 = columns.clone().map(|c| at(i, 0, c) * at(j, 1, c)).sum();
                        (score / (head_width as f64).sqrt()).exp()
                    })
                    .collect();
                let sum: f64 = weights.iter().sum();
                for c in columns.clone() {
                    out[(sample * tokens + i) * width + c] =
                        weights.iter().enumerate().map(|(j, weight)| weight / sum * at(j, 2, c)).sum();
                }
            }
        }
    }
    out
}

#[test]
fn attention_is_its_formula_and_its_gradient_the_difference() {
    let level = Level::current();
    for (samples, tokens, width, heads, causal) in [
        (2, 5, 6, 2, false),
        (2, 5, 6, 2, true),
        (1, 1, 4, 1, true),
        (3, 4, 4, 4, false),
        (1, 19, 6, 1, true),
        (1, 35, 6, 2, false),
    ] {
        let work = work(samples, tokens, width, heads, causal, level);
        let qkv = wave(work.rows() * 3 * width, 0.83);
        let mut room = HeadRoom::<f64>::new(&work);
        let mut mixed = vec![0.0; work.rows() * width];
        work.attend(&qkv, (&mut mixed, width), &mut room);
        for (found, expected) in mixed.iter().zip(formula(&qkv, &work)) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
        let dy = wave(mixed.len(), 1.7);
        let mut found = vec![0.0; qkv.len()];
        let mut again = vec![0.0; mixed.len()];
        work.attend_backward(&qkv, (&dy, &mut again, width), (&mut found, 3 * width), &mut room);
        assert_eq!(mixed, again);
        let value = |qkv: &[f64]| -> f64 { formula(qkv, &work).iter().zip(&dy).map(|(a, b)| a * b).sum() };
        for element in 0..qkv.len() {
            let shifted = |by: f64| {
                let mut qkv = qkv.clone();
                qkv[element] += by;
                value(&qkv)
            };
            let difference = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!((found[element] - difference).abs() < 1e-8, "{element}: {} {difference}", found[element]);
        }
    }
}

/// In bf16 a number is wrong by at most 2^-9 of itself when it is rounded; a mean of values by about that, a gradient,
/// which is a sum of products of rounded numbers, by some times that of the largest ones.
#[test]
fn attention_in_bf16_is_that_in_double_precision_to_its_precision() {
    // Heads of whole matrix registers, and of part of one; few tokens and many.
    let shapes = [(37, 128, 2), (37, 16, 2), (17, 160, 2), (8, 128, 2)];
    for (level, (tokens, width, heads)) in
        Level::possible().flat_map(|level| shapes.map(|shape| (level, shape)))
    {
        let work = work(2, tokens, width, heads, true, level);
        let qkv = wave(work.rows() * 3 * width, 0.83);
        let rounded: Vec<Bf16> = qkv.iter().map(|&x| Bf16::narrow(x as f32)).collect();
        let mut mixed = vec![Bf16::default(); work.rows() * width];
        work.attend(&rounded, (&mut mixed, width), &mut HeadRoom::new(&work));
        for (found, expected) in mixed.iter().zip(formula(&qkv, &work)) {
            assert!((f64::from(found.widen()) - expected).abs() < 0.02, "{found:?} is not {expected}");
        }
        let dy = wave(mixed.len(), 1.7);
        let mut expected = vec![0.0; qkv.len()];
        let mut again = vec![0.0; dy.len()];
        let room = &mut HeadRoom::new(&work);
        work.attend_backward(&qkv, (&dy, &mut again, width), (&mut expected, 3 * width), room);
        let rounded_dy: Vec<Bf16> = dy.iter().map(|&x| Bf16::narrow(x as f32)).collect();
        let (mut found, mut again) = (vec![Bf16::default(); qkv.len()], mixed.clone());
        let room = &mut HeadRoom::new(&work);
        work.attend_backward(&rounded, (&rounded_dy, &mut again, width), (&mut found, 3 * width), room);
        assert_eq!(again, mixed);
        for (found, expected) in found.iter().zip(expected) {
            let error = (f64::from(found.widen()) - expected).abs();
            assert!(error < 0.03, "{level:?}: {found:?} is not {expected}");
        }
    }
}

/// A norm's result as its formula reads.
fn norm(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let width = weight.len();
    let mut out = Vec::new();
    for row in x.chunks_exact(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        out.extend((0..width).map(|i| (row[i] - mean) / (variance + 1e-5).sqrt() * weight[i] + bias[i]));
    }
    out
}

#[test]
fn a_norm_is_its_formula_and_its_gradient_the_difference() {
    for (rows, width) in [(7, 5), (2, 35)] {
        let stride = width + 3;
        let (x, weight, bias) = (wave(rows * width, 0.9), wave(width, 1.3), wave(width, 0.4));
        let (mut hat, mut scale) = (vec![0.0; rows * width], vec![0.0; rows]);
        let mut out = vec![0.0; rows * stride];
        let to = Normalised { hat: &mut hat, scale: &mut scale, out: &mut out, stride };
        normalise::<f64>(&x, &weight, &bias, to);
        for (row, expected) in norm(&x, &weight, &bias).chunks_exact(width).enumerate() {
            for (found, expected) in out[row * stride..].iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12);
            }
        }
        let dy = wave(rows * width, 1.7);
        let mut dx = vec![0.5; rows * width];
        let (mut sums, mut again) = (vec![0.25; 2 * width], vec![0.0; rows * stride]);
        let by = Renormalised {
            hat: &hat,
            scale: &scale,
            dy: &dy,
            dx: &mut dx,
            sums: &mut sums,
            out: &mut again,
            stride,
        };
        normalise_backward::<f64>(&weight, &bias, by);
        for (a, b) in out.chunks(stride).zip(again.chunks(stride)) {
            assert_eq!(a[..width], b[..width]);
        }
        let value = |x: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
            norm(x, weight, bias).iter().zip(&dy).map(|(a, b)| a * b).sum()
        };
        let shift = |numbers: &[f64], element: usize, by: f64| {
            let mut numbers = numbers.to_vec();
            numbers[element] += by;
            numbers
        };
        let check = |found: f64, at: &dyn Fn(f64) -> f64| {
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((found - difference).abs() < 1e-8, "{found} {difference}");
        };
        for (element, found) in dx.iter().enumerate().take(rows * width) {
            check(found - 0.5, &|by| value(&shift(&x, element, by), &weight, &bias));
        }
        for element in 0..width {
            check(sums[element] - 0.25, &|by| value(&x, &shift(&weight, element, by), &bias));
            check(sums[width + element] - 0.25, &|by| value(&x, &weight, &shift(&bias, element, by)));
        }
    }
}

#[test]
fn gelu_is_its_formula_and_its_slope_the_difference() {
    for step in -60..60 {
        let x = f64::from(step) / 10.0;
        let expected = 0.5 * x * (1.0 + candle_core::cpu::erf::erf_f64(x / 2f64.sqrt()));
        let (value, slope) = gelu_and_slope(x);
        assert!((gelu(x) - expected).abs() < 1e-12 && (value - expected).abs() < 1e-12);
        let difference = (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5;
        assert!((slope - difference).abs() < 1e-9, "{x}: {slope} {difference}");
        let single = gelu_and_slope(x as f32);
        assert!((f64::from(single.0) - value).abs() < 3e-6 && (f64::from(single.1) - slope).abs() < 1e-6);
    }
}

/// Far below what rounding to bf16 changes: 2^-9 of a number of about 1. The largest errors are at the ends of the
/// polynomials, where Φ(-4) = 3.17e-5 is taken for 0.
#[test]
fn gelu_for_bf16_is_gelu_to_its_precision() {
    for step in -8_000..8_000 {
        let x = step as f32 / 1000.0;
        let (value, slope) = gelu_and_slope(f64::from(x));
        for found in [rough_gelu_and_slope::<f32, false>(x), rough_gelu_and_slope::<f32, true>(x)] {
            assert!((f64::from(found.0) - value).abs() < 3.2e-5 * f64::from(x).abs().max(1.0), "{x}");
            assert!((f64::from(found.1) - slope).abs() < 6e-4, "{x}: {} {slope}", found.1);
        }
        assert_eq!(rough_gelu::<f32, false>(x), rough_gelu_and_slope::<f32, false>(x).0);
    }
    for far in [f32::MIN, -1e9, 1e9, f32::MAX] {
        assert_eq!(rough_gelu_and_slope::<f32, true>(far), (far.max(0.0), f32::from(far > 0.0)));
    }
    assert!(rough_gelu::<f32, true>(f32::NAN).is_nan());
}

#[test]
fn slabs_are_whole_samples_and_all_of_them() {
    for (samples, tokens) in [(128, 17), (64, 37), (16, 197), (128, 8), (3, 500), (1, 1), (130, 1)] {
        let work = work(samples, tokens, 8, 2, false, Level::Portable);
        let rows: usize = (0..work.slabs()).map(|slab| work.slab_range(slab).len()).sum();
        assert_eq!(rows, samples * tokens);
        assert!((0..work.slabs()).all(|slab| !work.slab_range(slab).is_empty()));
        assert!(work.slab_rows().is_multiple_of(tokens) && work.slab_rows() <= 128.max(tokens));
    }
}

#[test]
fn rows_are_an_odd_number_of_lines_apart() {
    assert_eq!(row_stride::<Bf16>(224), 224);
    assert_eq!(row_stride::<Bf16>(768), 768 + 32);
    assert_eq!(row_stride::<Bf16>(2048), 2048 + 32);
    assert_eq!(row_stride::<Bf16>(800), 800);
    assert_eq!(row_stride::<f32>(1020), 1020 + 20);
}
