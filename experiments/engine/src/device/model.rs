//! CLIP in candle's plain operations, one after the other, as `open_clip` and CLIPA write it down.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor};
use shoestring_planner::architecture::{Architecture, ImagePositions};

use super::patches::unfold;
use crate::input::{Images, Texts};
use crate::ops::Pooling;
use crate::params::{ATTENTION_POOL, IMAGE_POSITIONS, TOKEN_EMBEDDING};
use crate::positions::position_table;
use crate::tower::Tower;
use crate::{text, vision};

/// Both towers. Whether a pass is recorded depends on the tensors: variables are, detached ones are not.
pub(crate) struct Model<'a> {
    pub(crate) architecture: &'a Architecture,
    /// By `open_clip` name.
    pub(crate) tensors: &'a BTreeMap<String, Tensor>,
    pub(crate) device: &'a Device,
    /// Number type of the products' operands; everything else has the tensors' type.
    pub(crate) operands: DType,
}

impl Model<'_> {
    fn get(&self, name: &str) -> Result<&Tensor> {
        let missing = || candle_core::Error::Msg(format!("the model has no tensor `{name}`"));
        self.tensors.get(name).ok_or_else(missing)
    }

    fn dtype(&self) -> Result<DType> {
        Ok(self.get(TOKEN_EMBEDDING)?.dtype())
    }

    /// Of two matrices, or of as many pairs of them.
    fn product(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let whole = a.dtype();
        a.to_dtype(self.operands)?.matmul(&b.to_dtype(self.operands)?)?.to_dtype(whole)
    }

    /// x Wᵀ + b for rows x and a weight as PyTorch has it, (out, in).
    fn linear(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        self.product(x, &weight.t()?)?.broadcast_add(bias)
    }

    fn named_linear(&self, x: &Tensor, weight: &str, bias: &str) -> Result<Tensor> {
        self.linear(x, self.get(weight)?, self.get(bias)?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
        let scaled =
            centred.broadcast_div(&deviation)?.broadcast_mul(self.get(&format!("{name}.weight"))?)?;
        scaled.broadcast_add(self.get(&format!("{name}.bias"))?)
    }

    /// x Φ(x), or x / (1 + e^(-1.702 x)). Not `gelu_erf`, whose gradient has a constant of six digits.
    fn activation(&self, x: &Tensor) -> Result<Tensor> {
        if self.architecture.quick_gelu {
            return x / ((x * -1.702)?.exp()? + 1.0)?;
        }
        let below = (x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)?;
        x * below
    }

    /// The blocks of a tower: (samples * tokens, width) to the same.
    fn blocks(&self, mut x: Tensor, tower: &Tower, samples: usize) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let (tokens, heads) = (rows / samples, tower.heads);
        let unseen = if tower.causal { Some(self.unseen(tokens)?) } else { None };
        for layer in 0..tower.layers {
            let at = |name: &str| format!("{}.resblocks.{layer}.{name}", tower.prefix);
            let normed = self.norm(&x, &at("ln_1"))?;
            let qkv = self.named_linear(&normed, &at("attn.in_proj_weight"), &at("attn.in_proj_bias"))?;
            let part = |index: usize| {
                let part = qkv.narrow(1, index * width, width)?;
                part.reshape((samples, tokens, heads, width / heads))?.transpose(1, 2)?.contiguous()
            };
            let scores = self.product(&part(0)?, &part(1)?.t()?)?;
            let scores = (scores * ((width / heads) as f64).powf(-0.5))?;
            let scores = match &unseen {
                Some(unseen) => scores.broadcast_add(unseen)?,
                None => scores,
            };
            let mixed =
                self.product(&softmax(&scores)?, &part(2)?)?.transpose(1, 2)?.reshape((rows, width))?;
            x = (x + self.named_linear(&mixed, &at("attn.out_proj.weight"), &at("attn.out_proj.bias"))?)?;
            let normed = self.norm(&x, &at("ln_2"))?;
            let hidden = self.named_linear(&normed, &at("mlp.c_fc.weight"), &at("mlp.c_fc.bias"))?;
            let hidden = self.activation(&hidden)?;
            x = (x + self.named_linear(&hidden, &at("mlp.c_proj.weight"), &at("mlp.c_proj.bias"))?)?;
        }
        Ok(x)
    }

    /// What is added to the scores of a causal tower: nothing for a token and those before it.
    fn unseen(&self, tokens: usize) -> Result<Tensor> {
        let seen = Tensor::tril2(tokens, DType::F32, self.device)?;
        ((seen - 1.0)? * 1e9)?.to_dtype(self.dtype()?)
    }

    /// Features of length 1, (batch, `embed_dim`). The batch has been checked.
    pub(crate) fn images(&self, images: &Images<'_>) -> Result<Tensor> {
        let (vision, dtype) = (&self.architecture.vision_cfg, self.dtype()?);
        let (samples, width, patch) = (images.batch, vision.width as usize, vision.patch_size as usize);
        let side = images.image_size_px / patch;
        let kept = images.kept_patches.map_or(side * side, |kept| kept.len() / samples);
        let pixels =
            Tensor::from_vec(unfold(images, patch, kept), (samples * kept, 3 * patch * patch), self.device)?;
        let kernel = self.get("visual.conv1.weight")?.reshape((width, 3 * patch * patch))?;
        let patches =
            self.product(&pixels.to_dtype(dtype)?, &kernel.t()?)?.reshape((samples, kept, width))?;
        let class = self.get("visual.class_embedding")?.reshape((1, width))?;
        let (class, table) = match vision.pos_embed_type {
            // The class token's position is zero.
            ImagePositions::SinCos2d => {
                let table =
                    Tensor::from_vec(position_table(side, width), (side * side, width), &Device::Cpu)?;
                (class, table.to_dtype(dtype)?.to_device(self.device)?)
            }
            ImagePositions::Learnable => {
                let table = self.get(IMAGE_POSITIONS)?;
                ((class + table.narrow(0, 0, 1)?)?, table.narrow(0, 1, side * side)?)
            }
        };
        let positions = match images.kept_patches {
            None => table.unsqueeze(0)?,
            Some(places) => {
                let places = Tensor::from_slice(places, places.len(), self.device)?;
                table.contiguous()?.index_select(&places, 0)?.reshape((samples, kept, width))?
            }
        };
        let class = class.unsqueeze(0)?.broadcast_as((samples, 1, width))?.contiguous()?;
        let x = Tensor::cat(&[&class, &patches.broadcast_add(&positions)?], 1)?;
        let x = x.reshape((samples * (1 + kept), width))?;
        let x = if vision.no_ln_pre { x } else { self.norm(&x, "visual.ln_pre")? };
        let x = self.blocks(x, &vision::tower(self.architecture), samples)?;
        let pooled = match vision::pooling(self.architecture, samples, 1 + kept) {
            Pooling::Rows(rows) => self.rows(&x, &rows)?,
            Pooling::MeanOfPatches => x.reshape((samples, 1 + kept, width))?.narrow(1, 1, kept)?.mean(1)?,
            Pooling::Everything => self.attention_pool(&x, samples)?,
        };
        unit_rows(&self.product(&self.norm(&pooled, "visual.ln_post")?, self.get("visual.proj")?)?)
    }

    /// Features of length 1, (batch, `embed_dim`). The batch has been checked.
    pub(crate) fn texts(&self, texts: &Texts<'_>) -> Result<Tensor> {
        let ids = Tensor::from_slice(texts.token_ids, texts.token_ids.len(), self.device)?;
        let table = self.get(TOKEN_EMBEDDING)?;
        let width = table.dim(1)?;
        let x = table.index_select(&ids, 0)?.reshape((texts.batch, texts.text_tokens, width))?;
        let x = x.broadcast_add(&self.get("positional_embedding")?.narrow(0, 0, texts.text_tokens)?)?;
        let x = x.reshape((texts.token_ids.len(), width))?;
        let x = self.blocks(x, &text::tower(self.architecture), texts.batch)?;
        let pooled = self.rows(&x, &text::pooled_rows_of(self.architecture, texts))?;
        unit_rows(&self.product(&self.norm(&pooled, "ln_final")?, self.get("text_projection")?)?)
    }

    fn rows(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        x.index_select(&Tensor::from_slice(rows, rows.len(), self.device)?, 0)
    }

    /// [`crate::attention_pool::attend`], its attention written as for many queries.
    fn attention_pool(&self, x: &Tensor, samples: usize) -> Result<Tensor> {
        let at = |name: &str| format!("{ATTENTION_POOL}.{name}");
        let heads = self.architecture.vision_cfg.attention_pool().map_or(1, |pool| pool.heads as usize);
        let (rows, width) = x.dims2()?;
        let tokens = rows / samples;
        let query = self.norm(self.get(&at("query"))?, &at("ln_q"))?;
        let x = self.norm(x, &at("ln_k"))?;
        let embed = query.dim(1)?;
        let bias = self.get(&at("attn.in_proj_bias"))?;
        let product = |x: &Tensor, part: usize, name: &str| -> Result<Tensor> {
            let weight = if width == embed {
                self.get(&at("attn.in_proj_weight"))?.narrow(0, part * embed, embed)?
            } else {
                self.get(&at(name))?.clone()
            };
            self.linear(x, &weight, &bias.narrow(0, part * embed, embed)?)
        };
        let head = embed / heads;
        let of_heads = |x: Tensor| x.reshape((samples, tokens, heads, head))?.transpose(1, 2)?.contiguous();
        let query = product(&query, 0, "attn.q_proj_weight")?.reshape((1, heads, 1, head))?;
        let query = query.broadcast_as((samples, heads, 1, head))?.contiguous()?;
        let keys = of_heads(product(&x, 1, "attn.k_proj_weight")?)?;
        let values = of_heads(product(&x, 2, "attn.v_proj_weight")?)?;
        let shares = softmax(&(self.product(&query, &keys.t()?)? * (head as f64).powf(-0.5))?)?;
        let mixed = self.product(&shares, &values)?.reshape((samples, embed))?;
        self.named_linear(&mixed, &at("attn.out_proj.weight"), &at("attn.out_proj.bias"))
    }
}

/// Over the last dimension.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    let powers = scores.broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}

/// Each row divided by its length; a row of zeros stays one.
fn unit_rows(features: &Tensor) -> Result<Tensor> {
    features.broadcast_div(&(features.sqr()?.sum_keepdim(1)? + 1e-24)?.sqrt()?)
}
