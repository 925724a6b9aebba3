//! The gradient of the whole loss.

use std::collections::BTreeMap;

use candle_core::DType;
use shoestring_planner::recipe::Precision;

use super::plain::Plain;
use super::{Pairs, double, masks, variants};
use crate::clip::Clip;
use crate::gradients::Gradient;
use crate::input::StepInput;
use crate::params::TOKEN_EMBEDDING;
use crate::real::change_numbers;

/// Every tensor's gradient, dense.
fn dense(clip: &Clip, input: &StepInput<'_>, microbatch: usize) -> (f64, BTreeMap<String, Vec<f64>>) {
    let outcome = clip.loss_and_gradients::<f64>(input, microbatch).expect("a loss");
    let mut named = BTreeMap::new();
    for (name, gradient) in outcome.gradients.expect("gradients") {
        let var = clip.parameters().get(&name).expect("a tensor of the model");
        let numbers = match gradient {
            Gradient::Dense(numbers) => numbers,
            Gradient::Half(_) => panic!("{name}: a rounded gradient in double precision"),
            Gradient::Rows(rows) => {
                let width = var.dims()[1];
                let mut numbers = vec![0.0; var.elem_count()];
                for (id, row) in rows.within(0, var.dims()[0]) {
                    numbers[id * width..(id + 1) * width].copy_from_slice(row);
                }
                numbers
            }
        };
        assert_eq!(numbers.len(), var.elem_count(), "{name}");
        named.insert(name, numbers);
    }
    (outcome.loss, named)
}

/// In double precision, at elements spread over every tensor, for every pooling, both masks, both kinds of
/// positions, with and without dropped patches.
#[test]
fn every_tensors_gradient_is_the_difference_of_the_loss() {
    for (architecture, kept) in variants().iter().zip(masks(3)) {
        let clip = double(architecture);
        let pairs = Pairs::new(3, kept);
        let input = pairs.input();
        let (_, gradients) = dense(&clip, &input, usize::MAX);
        assert_eq!(gradients.len(), clip.parameters().len(), "every tensor has a gradient");
        for (name, var) in clip.parameters().iter() {
            let gradient = &gradients[name];
            assert!(gradient.iter().any(|&g| g != 0.0), "{name} has a gradient of zeros");
            let count = var.elem_count();
            let mut elements: Vec<usize> = (0..count).step_by((count / 5).max(1)).collect();
            if name == TOKEN_EMBEDDING {
                // A used word, the end marker, and a word that does not occur.
                elements = vec![12 * 8 + 1, 39 * 12, 38 * 12 + 3];
            }
            for element in elements {
                let loss_at = |by: f64| {
                    change_numbers::<f64, _>(var, |numbers| numbers[element] += by).expect("changed");
                    clip.loss_and_gradients::<f64>(&input, usize::MAX).expect("a loss").loss
                };
                let step = 3e-6;
                let (above, below) = (loss_at(step), loss_at(-2.0 * step));
                change_numbers::<f64, _>(var, |numbers| numbers[element] += step).expect("changed");
                let difference = (above - below) / (2.0 * step);
                let error = (gradient[element] - difference).abs();
                let found = gradient[element];
                assert!(
                    error < 3e-7 * (1.0 + found.abs()),
                    "{name} {element}: {found}, differences {difference}"
                );
            }
        }
    }
}

/// What candle itself finds for the model written with its plain operations.
fn plain(clip: &Clip, input: &StepInput<'_>) -> (f64, BTreeMap<String, Vec<f64>>) {
    let loss = Plain { clip, recorded: true }.loss(input).expect("a loss");
    let mut store = loss.backward().expect("a backward pass");
    let double = |tensor: &candle_core::Tensor| {
        let numbers = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all()?.to_vec1::<f64>());
        numbers.expect("numbers")
    };
    let gradients = clip.parameters().iter().map(|(name, var)| {
        (name.to_owned(), double(&store.remove(var).unwrap_or_else(|| panic!("{name} has no gradient"))))
    });
    (double(&loss)[0], gradients.collect())
}

/// Every number of every tensor's gradient, in double precision, by two ways that share no line.
#[test]
fn gradients_are_those_that_candle_finds_for_the_plain_model() {
    for (architecture, kept) in variants().iter().zip(masks(5)) {
        let clip = double(architecture);
        let pairs = Pairs::new(5, kept);
        let (loss, gradients) = dense(&clip, &pairs.input(), usize::MAX);
        let (plain_loss, plain_gradients) = plain(&clip, &pairs.input());
        assert!((loss / plain_loss - 1.0).abs() < 1e-12, "{loss} and {plain_loss}");
        assert_eq!(gradients.len(), plain_gradients.len());
        for (name, gradient) in &gradients {
            for (a, b) in gradient.iter().zip(&plain_gradients[name]) {
                assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{name}: {a} and {b}");
            }
        }
    }
}

/// The same in single precision, for a model of several blocks and slabs.
#[test]
fn gradients_in_single_precision_are_those_of_the_plain_model() {
    let mut clip = Clip::new(&larger(), 2.5, 3).expect("a model");
    clip.set_precision(Precision::F32);
    let pairs = Pairs::new(45, None);
    let (loss, gradients) = clip.gradients(&pairs.input()).expect("gradients");
    let (plain_loss, plain_gradients) = plain(&clip, &pairs.input());
    assert!((loss / plain_loss - 1.0).abs() < 1e-5, "{loss} and {plain_loss}");
    for (name, gradient) in &gradients {
        let mut other: Vec<f32> = plain_gradients[name].iter().map(|&x| x as f32).collect();
        let mut own = gradient.clone();
        if name.ends_with("attn.in_proj_bias") {
            // The gradient of the keys' bias is zero but for rounding.
            let third = own.len() / 3;
            own[third..2 * third].fill(0.0);
            other[third..2 * third].fill(0.0);
        }
        let cosine = cosine(&own, &other);
        assert!(cosine > 0.99999, "{name}: {cosine}");
    }
}

#[test]
fn chunks_give_the_gradient_of_the_whole_batch() {
    for (architecture, kept) in variants().iter().zip(masks(5)) {
        let clip = double(architecture);
        let pairs = Pairs::new(5, kept);
        let (loss, whole) = dense(&clip, &pairs.input(), usize::MAX);
        for microbatch in [1, 2, 4, 5, 9] {
            let (chunked_loss, chunked) = dense(&clip, &pairs.input(), microbatch);
            assert!((loss - chunked_loss).abs() < 1e-13);
            for (name, gradient) in &whole {
                for (a, b) in gradient.iter().zip(&chunked[name]) {
                    assert!((a - b).abs() < 1e-12, "{name}, {microbatch} at a time: {a} and {b}");
                }
            }
        }
    }
}

/// Both towers wide and deep enough that rounding adds up, and batches of several slabs with a shorter last one.
fn larger() -> shoestring_planner::architecture::Architecture {
    let mut architecture = variants()[0].clone();
    (architecture.vision_cfg.width, architecture.vision_cfg.head_width) = (64, 32);
    (architecture.text_cfg.width, architecture.text_cfg.heads) = (96, 3);
    (architecture.vision_cfg.layers, architecture.text_cfg.layers) = (4, 4);
    architecture
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// In bf16 every tensor's gradient points where that in `f32` does.
#[test]
fn gradients_in_bf16_are_those_in_single_precision_to_its_precision() {
    let mut clip = Clip::new(&larger(), 2.5, 3).expect("a model");
    let pairs = Pairs::new(45, None);
    clip.set_precision(Precision::F32);
    let (single_loss, single) = clip.gradients(&pairs.input()).expect("gradients");
    clip.set_precision(Precision::Bf16);
    let (half_loss, half) = clip.gradients(&pairs.input()).expect("gradients");
    assert!((half_loss / single_loss - 1.0).abs() < 1e-2, "{half_loss} {single_loss}");
    assert_ne!(half_loss, single_loss, "both are the same precision");
    let mut all = [Vec::new(), Vec::new()];
    for (name, gradient) in &single {
        all[0].extend_from_slice(gradient);
        all[1].extend_from_slice(&half[name]);
        // The gradient of the keys' bias is zero but for rounding.
        if !name.ends_with("attn.in_proj_bias") {
            let cosine = cosine(gradient, &half[name]);
            assert!(cosine > 0.995, "{name}: {cosine}");
        }
    }
    let cosine = cosine(&all[0], &all[1]);
    assert!(cosine > 0.999, "{cosine}");
}

/// Activations computed again are the same activations.
#[test]
fn recomputing_changes_no_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        let gradients = |recompute: bool| {
            let mut clip = Clip::new(&larger(), 2.5, 3).expect("a model");
            clip.set_precision(precision);
            clip.set_recompute(recompute);
            clip.gradients(&Pairs::new(45, None).input()).expect("gradients")
        };
        assert!(gradients(false) == gradients(true), "{precision:?}");
    }
}

/// A model whose widths are odd cannot be multiplied in pairs: it is computed in `f32`, not refused.
#[test]
fn odd_widths_are_computed_in_single_precision() {
    let mut architecture = variants()[0].clone();
    (architecture.text_cfg.width, architecture.text_cfg.heads) = (15, 3);
    let mut clip = Clip::new(&architecture, 2.5, 3).expect("a model");
    clip.set_precision(Precision::Bf16);
    assert_eq!(clip.precision(), Precision::F32);
    assert!(clip.gradients(&Pairs::new(3, None).input()).expect("gradients").0.is_finite());
}
