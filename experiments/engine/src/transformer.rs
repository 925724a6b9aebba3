//! Pre-norm residual attention blocks, shared by both towers.

use candle_core::Tensor;

use crate::error::Result;
use crate::ops::{Sequences, attention, gelu, layer_norm, linear};
use crate::params::Weights;

/// The shape of a tower.
#[derive(Clone, Copy)]
pub(crate) struct Tower {
    pub(crate) prefix: &'static str,
    pub(crate) layers: u32,
    pub(crate) heads: u32,
    pub(crate) causal: bool,
}

impl Tower {
    /// x + attention(norm(x)), then x + MLP(norm(x)), `layers` times; x is (samples * tokens, width).
    pub(crate) fn forward(self, weights: Weights<'_>, x: Tensor, sequences: Sequences) -> Result<Tensor> {
        let mut x = x;
        for layer in 0..self.layers {
            x = self.block(weights, &format!("{}.resblocks.{layer}", self.prefix), &x, sequences)?;
        }
        Ok(x)
    }

    fn block(self, weights: Weights<'_>, prefix: &str, x: &Tensor, sequences: Sequences) -> Result<Tensor> {
        let at = |name: &str| weights.at(prefix, name);
        let normal = layer_norm(x, &at("ln_1.weight")?, &at("ln_1.bias")?)?;
        let qkv = linear(&normal, &at("attn.in_proj_weight")?, Some(&at("attn.in_proj_bias")?))?;
        let mixed = attention(&qkv, sequences, self.heads as usize, self.causal)?;
        let x = (x + linear(&mixed, &at("attn.out_proj.weight")?, Some(&at("attn.out_proj.bias")?))?)?;
        let normal = layer_norm(&x, &at("ln_2.weight")?, &at("ln_2.bias")?)?;
        let hidden = gelu(&linear(&normal, &at("mlp.c_fc.weight")?, Some(&at("mlp.c_fc.bias")?))?)?;
        Ok((&x + linear(&hidden, &at("mlp.c_proj.weight")?, Some(&at("mlp.c_proj.bias")?))?)?)
    }
}
