//! The model written with candle's plain operations, whose gradients candle finds: what the engine is compared with.

use candle_core::{D, DType, Device, Result, Tensor};
use shoestring_planner::architecture::{ImagePool, ImagePositions, TextPool};

use crate::clip::Clip;
use crate::input::{Images, StepInput, Texts};
use crate::positions::position_table;

/// Both towers as `open_clip` and CLIPA write them down, one operation after the other.
pub(super) struct Plain<'a> {
    pub(super) clip: &'a Clip,
    /// Whether the tensors are part of the graph, for a backward pass.
    pub(super) recorded: bool,
}

impl Plain<'_> {
    fn get(&self, name: &str) -> Tensor {
        let var = self.clip.parameters().get(name).expect(name);
        if self.recorded { var.as_tensor().clone() } else { var.as_detached_tensor() }
    }

    fn dtype(&self) -> DType {
        self.clip.parameters().dtype()
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
                let seen = Tensor::tril2(tokens, self.dtype(), &Device::Cpu)?;
                scores.broadcast_add(&((seen - 1.0)? * 1e9)?)?
            } else {
                scores
            };
            let weights = softmax(&scores)?;
            let mixed = weights.matmul(&heads_of(2)?)?.transpose(1, 2)?.reshape((batch, tokens, width))?;
            x = (x + self.linear(&mixed, &at("attn.out_proj.weight"), &at("attn.out_proj.bias"))?)?;
            let hidden =
                self.linear(&self.norm(&x, &at("ln_2"))?, &at("mlp.c_fc.weight"), &at("mlp.c_fc.bias"))?;
            // Not `gelu_erf`, whose gradient has a constant of six digits.
            let share = (((&hidden / std::f64::consts::SQRT_2)?.erf()? + 1.0)? * 0.5)?;
            let hidden = (hidden * share)?;
            x = (x + self.linear(&hidden, &at("mlp.c_proj.weight"), &at("mlp.c_proj.bias"))?)?;
        }
        Ok(x)
    }

    pub(super) fn images(&self, images: &Images<'_>) -> Result<Tensor> {
        let vision = &self.clip.architecture().vision_cfg;
        let (size, width) = (images.image_size_px, vision.width as usize);
        let side = size / vision.patch_size as usize;
        let pixels = Tensor::from_slice(images.pixels, (images.batch, 3, size, size), &Device::Cpu)?;
        let patches = pixels.to_dtype(self.dtype())?.conv2d(
            &self.get("visual.conv1.weight"),
            0,
            vision.patch_size as usize,
            1,
            1,
        )?;
        let patches = patches.reshape((images.batch, width, side * side))?.transpose(1, 2)?;
        let (first, positions) = match vision.pos_embed_type {
            ImagePositions::SinCos2d => {
                let table =
                    Tensor::from_vec(position_table(side, width), (side * side, width), &Device::Cpu)?;
                (Tensor::zeros((1, width), self.dtype(), &Device::Cpu)?, table.to_dtype(self.dtype())?)
            }
            ImagePositions::Learnable => {
                let table = self.get("visual.positional_embedding");
                (table.narrow(0, 0, 1)?, table.narrow(0, 1, side * side)?)
            }
        };
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
        let class = self.get("visual.class_embedding").broadcast_add(&first)?;
        let class = class.broadcast_as((images.batch, 1, width))?;
        let x = Tensor::cat(&[&class.contiguous()?, &x], 1)?;
        let x = if vision.no_ln_pre { x } else { self.norm(&x, "visual.ln_pre")? };
        let x = self.tower(x, "visual.transformer", vision.layers, vision.heads() as usize, false)?;
        let pooled = match vision.pool_type {
            ImagePool::Tok => x.narrow(1, 0, 1)?.squeeze(1)?,
            ImagePool::Avg => x.narrow(1, 1, x.dim(1)? - 1)?.mean(1)?,
            ImagePool::Attention(pool) => self.attention_pool(&x, pool.heads as usize)?,
        };
        self.norm(&pooled, "visual.ln_post")?.matmul(&self.get("visual.proj"))
    }

    pub(super) fn texts(&self, texts: &Texts<'_>) -> Result<Tensor> {
        let text = &self.clip.architecture().text_cfg;
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
                    TextPool::Last => texts.text_tokens - 1,
                    TextPool::First => 0,
                    TextPool::Class => unreachable!("not trained"),
                    TextPool::Argmax | TextPool::Eos => {
                        ids.iter().position(|&id| id == 39).expect("an end marker")
                    }
                };
                x.get(sample)?.get(place)
            })
            .collect();
        Tensor::stack(&rows?, 0)?.matmul(&self.get("text_projection"))
    }

    /// `open_clip`'s `AttentionalPooler`, its attention written as for many queries.
    fn attention_pool(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let at = |name: &str| format!("visual.attn_pool.{name}");
        let (batch, tokens, width) = x.dims3()?;
        let query = self.norm(&self.get(&at("query")), &at("ln_q"))?;
        let x = self.norm(x, &at("ln_k"))?.reshape((batch * tokens, width))?;
        let embed = query.dim(1)?;
        let bias = self.get(&at("attn.in_proj_bias"));
        let product = |x: &Tensor, part: usize, name: &str| -> Result<Tensor> {
            let weight = if width == embed {
                self.get(&at("attn.in_proj_weight")).narrow(0, part * embed, embed)?
            } else {
                self.get(&at(name))
            };
            x.matmul(&weight.t()?)?.broadcast_add(&bias.narrow(0, part * embed, embed)?)
        };
        let head = embed / heads;
        let of_heads = |x: Tensor| x.reshape((batch, tokens, heads, head))?.transpose(1, 2)?.contiguous();
        let query =
            product(&query, 0, "attn.q_proj_weight")?.reshape((1, 1, heads, head))?.transpose(1, 2)?;
        let query = query.broadcast_as((batch, heads, 1, head))?.contiguous()?;
        let keys = of_heads(product(&x, 1, "attn.k_proj_weight")?)?;
        let values = of_heads(product(&x, 2, "attn.v_proj_weight")?)?;
        let shares = softmax(&(query.matmul(&keys.t()?)? / (head as f64).sqrt())?)?;
        let mixed = shares.matmul(&values)?.transpose(1, 2)?.reshape((batch, embed))?;
        self.linear(&mixed, &at("attn.out_proj.weight"), &at("attn.out_proj.bias"))
    }

    /// Symmetric InfoNCE of a batch, with its graph.
    pub(super) fn loss(&self, input: &StepInput<'_>) -> Result<Tensor> {
        let unit = |x: Tensor| x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?);
        let (images, texts) = (unit(self.images(&input.images())?)?, unit(self.texts(&input.texts())?)?);
        let scale = self.get("logit_scale").exp()?;
        let logits = images.matmul(&texts.t()?)?.broadcast_mul(&scale)?;
        let eye = Tensor::eye(input.batch, self.dtype(), &Device::Cpu)?;
        let right = |logits: &Tensor| (softmax(logits)? * &eye)?.sum(1)?.log()?.mean_all()?.neg();
        (right(&logits)? + right(&logits.t()?.contiguous()?)?)? / 2.0
    }
}

/// Over the last dimension.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    let powers = scores.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}
