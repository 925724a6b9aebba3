//! Features against the model written with candle's plain operations, and what they must not depend on.

use candle_core::{D, DType, Device, Result, Tensor};
use shoestring_planner::architecture::{Architecture, ImagePool, TextPool};
use shoestring_planner::recipe::Precision;

use super::{Pairs, double, variants};
use crate::clip::Clip;
use crate::error::EngineError;
use crate::input::{Images, Texts};
use crate::positions::position_table;

/// Both towers as `open_clip` and CLIPA write them down, one operation after the other.
struct Plain<'a> {
    clip: &'a Clip,
    architecture: &'a Architecture,
}

impl Plain<'_> {
    fn get(&self, name: &str) -> Tensor {
        self.clip.parameters().get(name).expect(name).as_detached_tensor()
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
        let scaled =
            centred.broadcast_div(&deviation)?.broadcast_mul(&self.get(&format!("{name}.weight")))?;
        scaled.broadcast_add(&self.get(&format!("{name}.bias")))
    }

    fn linear(&self, x: &Tensor, weight: &str, bias: &str) -> Result<Tensor> {
        x.broadcast_matmul(&self.get(weight).t()?)?.broadcast_add(&self.get(bias))
    }

    fn tower(&self, mut x: Tensor, prefix: &str, layers: u32, heads: usize, causal: bool) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        for layer in 0..layers {
            let at = |name: &str| format!("{prefix}.resblocks.{layer}.{name}");
            let qkv = self.linear(
                &self.norm(&x, &at("ln_1"))?,
                &at("attn.in_proj_weight"),
                &at("attn.in_proj_bias"),
            )?;
            let heads_of = |part: usize| {
                let part = qkv.narrow(2, part * width, width)?;
                part.reshape((batch, tokens, heads, width / heads))?.transpose(1, 2)?.contiguous()
            };
            let scores = (heads_of(0)?.matmul(&heads_of(1)?.t()?)? / ((width / heads) as f64).sqrt())?;
            let scores = if causal {
                let seen = Tensor::tril2(tokens, DType::F64, &Device::Cpu)?;
                scores.broadcast_add(&((seen - 1.0)? * 1e9)?)?
            } else {
                scores
            };
            let weights = scores.exp()?;
            let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
            let mixed = weights.matmul(&heads_of(2)?)?.transpose(1, 2)?.reshape((batch, tokens, width))?;
            x = (x + self.linear(&mixed, &at("attn.out_proj.weight"), &at("attn.out_proj.bias"))?)?;
            let hidden = self
                .linear(&self.norm(&x, &at("ln_2"))?, &at("mlp.c_fc.weight"), &at("mlp.c_fc.bias"))?
                .gelu_erf()?;
            x = (x + self.linear(&hidden, &at("mlp.c_proj.weight"), &at("mlp.c_proj.bias"))?)?;
        }
        Ok(x)
    }

    fn images(&self, images: &Images<'_>) -> Result<Tensor> {
        let vision = &self.architecture.vision_cfg;
        let (size, width) = (images.image_size_px, vision.width as usize);
        let side = size / vision.patch_size as usize;
        let pixels = Tensor::from_slice(images.pixels, (images.batch, 3, size, size), &Device::Cpu)?;
        let patches = pixels.to_dtype(DType::F64)?.conv2d(
            &self.get("visual.conv1.weight"),
            0,
            vision.patch_size as usize,
            1,
            1,
        )?;
        let patches = patches.reshape((images.batch, width, side * side))?.transpose(1, 2)?;
        let positions = Tensor::from_vec(position_table(side, width), (side * side, width), &Device::Cpu)?;
        let mut x = patches.broadcast_add(&positions)?.contiguous()?;
        if let Some(kept) = images.kept_patches {
            let count = kept.len() / images.batch;
            let samples: Result<Vec<Tensor>> = (0..images.batch)
                .map(|sample| {
                    let places = Tensor::from_slice(&kept[sample * count..][..count], count, &Device::Cpu)?;
                    x.get(sample)?.index_select(&places, 0)
                })
                .collect();
            x = Tensor::stack(&samples?, 0)?;
        }
        let class = self.get("visual.class_embedding").broadcast_as((images.batch, 1, width))?;
        let x = Tensor::cat(&[&class.contiguous()?, &x], 1)?;
        let x = if vision.no_ln_pre { x } else { self.norm(&x, "visual.ln_pre")? };
        let x = self.tower(x, "visual.transformer", vision.layers, vision.heads() as usize, false)?;
        let pooled = match vision.pool_type {
            ImagePool::Tok => x.narrow(1, 0, 1)?.squeeze(1)?,
            ImagePool::Attention(_) => unreachable!("not trained here"),
            ImagePool::Avg => x.narrow(1, 1, x.dim(1)? - 1)?.mean(1)?,
        };
        self.norm(&pooled, "visual.ln_post")?.matmul(&self.get("visual.proj"))
    }

    fn texts(&self, texts: &Texts<'_>) -> Result<Tensor> {
        let text = &self.architecture.text_cfg;
        let ids = Tensor::from_slice(texts.token_ids, texts.token_ids.len(), &Device::Cpu)?;
        let x = self.get("token_embedding.weight").index_select(&ids, 0)?;
        let x = x.reshape((texts.batch, texts.text_tokens, text.width as usize))?;
        let x = x.broadcast_add(&self.get("positional_embedding").narrow(0, 0, texts.text_tokens)?)?;
        let x = self.tower(x, "transformer", text.layers, text.heads as usize, !text.no_causal_mask)?;
        let x = self.norm(&x, "ln_final")?;
        let rows: Result<Vec<Tensor>> = (0..texts.batch)
            .map(|sample| {
                let ids = &texts.token_ids[sample * texts.text_tokens..][..texts.text_tokens];
                let place = match text.pool_type {
                    TextPool::First | TextPool::Eos | TextPool::Class => unreachable!("not trained here"),
                    TextPool::Last => texts.text_tokens - 1,
                    TextPool::Argmax => ids.iter().position(|&id| id == 39).expect("an end marker"),
                };
                x.get(sample)?.get(place)
            })
            .collect();
        Tensor::stack(&rows?, 0)?.matmul(&self.get("text_projection"))
    }
}

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
    for (architecture, kept) in variants().iter().zip([None, Some(vec![0, 4, 8, 1, 2, 3, 2, 5, 6, 0, 1, 7])])
    {
        let clip = double(architecture);
        let plain = Plain { clip: &clip, architecture };
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
