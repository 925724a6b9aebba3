//! The image tower.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use shoestring_planner::architecture::{Architecture, ImagePool, ImagePositions};

use crate::attention_pool::attend;
use crate::error::Result;
use crate::input::Images;
use crate::ops::{Pooling, first_token_and_patches, layer_norm, linear};
use crate::params::{IMAGE_POSITIONS, Weights};
use crate::positions::position_table;
use crate::tower::Tower;

/// What the tower's blocks start from: patches embedded, with their positions, after the class token:
/// (batch * tokens, width). Only kept patches are embedded.
pub(crate) fn image_tokens(
    architecture: &Architecture,
    weights: Weights<'_>,
    dtype: DType,
    images: &Images<'_>,
) -> Result<Tensor> {
    let (side, kept) = images.check(architecture)?;
    let vision = &architecture.vision_cfg;
    let (width, patch) = (vision.width as usize, vision.patch_size as usize);
    let rows = images.batch * kept;
    let patches = Tensor::from_vec(unfold(images, patch, kept), (rows, 3 * patch * patch), &Device::Cpu)?;
    // The convolution with stride = kernel size is a product with its flattened kernel.
    let embedded = linear(&patches.to_dtype(dtype)?, &weights.get("visual.conv1.weight")?, None)?;
    let positions = match vision.pos_embed_type {
        ImagePositions::SinCos2d => {
            // The class token's position is zero.
            let table = [vec![0.0; width], position_table(side, width)].concat();
            Tensor::from_vec(table, (1 + side * side, width), &Device::Cpu)?.to_dtype(dtype)?
        }
        ImagePositions::Learnable => weights.get(IMAGE_POSITIONS)?,
    };
    let class = weights.get("visual.class_embedding")?;
    let kept = images.kept_patches.map(|kept| Arc::new(kept.to_vec()));
    let x = first_token_and_patches(&embedded, &class, &positions, kept, images.batch)?;
    Ok(if vision.no_ln_pre {
        x
    } else {
        layer_norm(&x, &weights.get("visual.ln_pre.weight")?, &weights.get("visual.ln_pre.bias")?)?
    })
}

/// The shape of the image tower.
pub(crate) fn tower(architecture: &Architecture) -> Tower {
    let vision = &architecture.vision_cfg;
    let width = vision.width as usize;
    Tower {
        prefix: "visual.transformer",
        layers: vision.layers as usize,
        heads: vision.heads() as usize,
        causal: false,
        width,
        hidden: vision.mlp_width() as usize,
        quick_gelu: architecture.quick_gelu,
    }
}

/// What stands for each of `samples` images.
pub(crate) fn pooling(architecture: &Architecture, samples: usize, tokens: usize) -> Pooling {
    match architecture.vision_cfg.pool_type {
        ImagePool::Tok => Pooling::Rows((0..samples).map(|sample| (sample * tokens) as u32).collect()),
        ImagePool::Avg => Pooling::MeanOfPatches,
        ImagePool::Attention(_) => Pooling::Everything,
    }
}

/// Features, not normalised, of `samples` images: from the pooled tokens, (samples, width), or with attention
/// pooling from every token, (samples * tokens, width), to (samples, `embed_dim`).
pub(crate) fn image_features(
    architecture: &Architecture,
    weights: Weights<'_>,
    pooled: &Tensor,
    samples: usize,
) -> Result<Tensor> {
    let pooled = match architecture.vision_cfg.attention_pool() {
        Some(pool) => &attend(weights, pooled, samples, pool.heads as usize)?,
        None => pooled,
    };
    let (weight, bias) = (weights.get("visual.ln_post.weight")?, weights.get("visual.ln_post.bias")?);
    Ok(layer_norm(pooled, &weight, &bias)?.matmul(&weights.get("visual.proj")?)?)
}

/// The kept patches' pixels, one patch a row, in the order of a convolution kernel: channel, row, column.
pub(crate) fn unfold(images: &Images<'_>, patch: usize, kept: usize) -> Vec<f32> {
    let size = images.image_size_px;
    let side = size / patch;
    let row = 3 * patch * patch;
    let mut patches = vec![0f32; images.batch * kept * row];
    let samples = patches.par_chunks_mut(kept * row).zip(images.pixels.par_chunks(3 * size * size));
    samples.enumerate().for_each(|(sample, (patches, pixels))| {
        for (index, patch_pixels) in patches.chunks_exact_mut(row).enumerate() {
            let place = images
                .kept_patches
                .map_or(index, |kept_patches| kept_patches[sample * kept + index] as usize);
            let (top, left) = (place / side * patch, place % side * patch);
            for (line, target) in patch_pixels.chunks_exact_mut(patch).enumerate() {
                let (channel, y) = (line / patch, line % patch);
                let start = (channel * size + top + y) * size + left;
                target.copy_from_slice(&pixels[start..start + patch]);
            }
        }
    });
    patches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_cut_out_as_a_convolution_kernel_lies() {
        // Two images of 4 x 4, patches of 2 x 2; every pixel says where it is.
        let pixels: Vec<f32> = (0..2 * 3 * 16).map(|index| index as f32).collect();
        let all = Images { batch: 2, image_size_px: 4, pixels: &pixels, kept_patches: None };
        let patches = unfold(&all, 2, 4);
        assert_eq!(patches[..12], [0., 1., 4., 5., 16., 17., 20., 21., 32., 33., 36., 37.]);
        assert_eq!(patches[12..16], [2., 3., 6., 7.], "the second patch is the one to the right");
        assert_eq!(patches[24..28], [8., 9., 12., 13.], "the third begins the second row");
        let kept = [0, 3, 1, 2];
        let some = unfold(&Images { kept_patches: Some(&kept), ..all }, 2, 2);
        assert_eq!(some[..12], patches[..12]);
        assert_eq!(some[12..24], patches[36..48]);
        assert_eq!(some[24..36], patches[5 * 12..6 * 12]);
        assert_eq!(some[36..], patches[6 * 12..7 * 12]);
    }
}
