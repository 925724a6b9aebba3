//! Features against the model written with candle's plain operations, and what they must not depend on.

use candle_core::Tensor;
use shoestring_planner::recipe::Precision;

use super::plain::Plain;
use super::{Pairs, double, masks, variants};
use crate::clip::Clip;
use crate::error::EngineError;
use crate::input::{Images, Texts};

fn unit_rows(features: &Tensor) -> Vec<f32> {
    let rows: Vec<Vec<f64>> = features.to_vec2().expect("rows");
    let unit = |row: &Vec<f64>| {
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter().map(|x| (x / length) as f32).collect::<Vec<_>>()
    };
    rows.iter().flat_map(unit).collect()
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}

#[test]
fn features_are_those_of_the_plain_model() {
    for (architecture, kept) in variants().iter().zip(masks(4)) {
        let clip = double(architecture);
        let plain = Plain { clip: &clip, recorded: false };
        let pairs = Pairs::new(4, kept);
        let input = pairs.input();
        let images = plain.images(&input.images()).expect("features");
        assert_near(&clip.encode_images(&input.images()).expect("features"), &unit_rows(&images));
        let texts = plain.texts(&input.texts()).expect("features");
        assert_near(&clip.encode_texts(&input.texts()).expect("features"), &unit_rows(&texts));
        // Single precision and bf16 say the same, each to its own precision.
        for (precision, bound) in [(Precision::F32, 1e-5), (Precision::Bf16, 1e-2)] {
            let mut single = Clip::new(architecture, 2.5, 11).expect("a model");
            single.set_precision(precision);
            let found = single.encode_images(&input.images()).expect("features");
            for (found, expected) in found.iter().zip(unit_rows(&images)) {
                assert!((found - expected).abs() < bound, "{precision:?}: {found} is not {expected}");
            }
        }
    }
}

#[test]
fn naming_every_patch_is_naming_none() {
    let clip = double(&variants()[0]);
    let all = Pairs::new(2, None);
    let named = Pairs::new(2, Some((0..9).chain(0..9).collect()));
    let features = |pairs: &Pairs| clip.encode_images(&pairs.input().images()).expect("features");
    assert_eq!(features(&all), features(&named));
    // The order of the patches does not matter, which ones they are does.
    let shuffled = Pairs::new(2, Some([3, 1, 7, 0].repeat(2)));
    let sorted = Pairs::new(2, Some([0, 1, 3, 7].repeat(2)));
    let other = Pairs::new(2, Some([0, 1, 3, 8].repeat(2)));
    assert_near(&features(&shuffled), &features(&sorted));
    assert_ne!(features(&sorted), features(&other));
}

#[test]
fn a_causal_tower_does_not_see_what_comes_after_the_end_marker() {
    for (architecture, sees) in variants().iter().zip([false, true]) {
        let clip = double(architecture);
        let features = |last: u32| {
            let token_ids = [3, 5, 39, last, 0, 1];
            clip.encode_texts(&Texts { batch: 1, text_tokens: 6, token_ids: &token_ids }).expect("features")
        };
        assert_eq!(features(7) != features(8), sees);
    }
}

#[test]
fn many_samples_are_encoded_as_one_at_a_time_is() {
    let clip = Clip::new(&variants()[0], 2.5, 0).expect("a model");
    let batch = 3000;
    let token_ids: Vec<u32> = (0..batch * 6).map(|index| (index * index / 7 % 40) as u32).collect();
    let rows = clip.encode_texts(&Texts { batch, text_tokens: 6, token_ids: &token_ids }).expect("features");
    assert_eq!(rows.len(), batch * 10);
    for sample in [0, 1, 2729, 2730, 2731, 2999] {
        let one = Texts { batch: 1, text_tokens: 6, token_ids: &token_ids[sample * 6..][..6] };
        let row = &rows[sample * 10..][..10];
        assert_near(row, &clip.encode_texts(&one).expect("features"));
        assert!((row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}

#[test]
fn batches_that_do_not_fit_are_refused_with_the_reason() {
    let clip = double(&variants()[0]);
    let pairs = Pairs::new(2, None);
    let (images, texts) = (pairs.input().images(), pairs.input().texts());
    let message = |result: crate::Result<Vec<f32>>| result.expect_err("refused").to_string();
    assert_eq!(
        message(clip.encode_images(&Images { image_size_px: 10, ..images })),
        "the image size is 10, expected a multiple of 4"
    );
    assert_eq!(
        message(clip.encode_images(&Images { pixels: &pairs.pixels[1..], ..images })),
        "the number of pixels is 863, expected 864"
    );
    assert_eq!(
        message(clip.encode_images(&Images { kept_patches: Some(&[0, 9]), ..images })),
        "a kept patch is 9, expected below 9"
    );
    assert_eq!(
        message(clip.encode_images(&Images { kept_patches: Some(&[0, 1, 2]), ..images })),
        "the number of kept patches is 3, expected 1 to 9 for each of 2 images"
    );
    assert_eq!(
        message(clip.encode_texts(&Texts { text_tokens: 9, ..texts })),
        "the number of text tokens is 9, expected 1 to 8"
    );
    assert!(matches!(
        clip.encode_texts(&Texts { batch: 1, text_tokens: 2, token_ids: &[1, 40] }),
        Err(EngineError::TokenId { position: 1, id: 40, vocabulary: 40 })
    ));
    assert!(clip.encode_texts(&Texts { batch: 0, text_tokens: 2, token_ids: &[] }).is_err());
}

#[test]
fn sizes_that_do_not_divide_are_refused() {
    let mut architecture = variants()[0].clone();
    architecture.vision_cfg.head_width = 7;
    let error = Clip::new(&architecture, 2.5, 0).expect_err("refused");
    assert!(error.to_string().contains("head_width") && error.hint().is_some(), "{error}");
}
