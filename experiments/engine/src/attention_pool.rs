//! Attention pooling: a trained query attends to a sample's tokens.

use candle_core::Tensor;

use crate::error::Result;
use crate::ops::{layer_norm, linear};
use crate::params::{ATTENTION_POOL, Weights};

/// What stands for each sample: (samples * tokens, width) to (samples, `embed_dim`).
///
/// `open_clip`'s `AttentionalPooler` with one query: with q = W_q norm(query) + b_q, and for each token
/// k = W_k norm(x) + b_k and v = W_v norm(x) + b_v, in each head softmax over the tokens of q·k / √(head width),
/// the values' mean with these weights, and a product with its bias.
pub(crate) fn attend(weights: Weights<'_>, tokens: &Tensor, samples: usize, heads: usize) -> Result<Tensor> {
    let get = |name: &str| weights.get(&format!("{ATTENTION_POOL}.{name}"));
    let (rows, width) = tokens.dims2()?;
    let query = layer_norm(&get("query")?, &get("ln_q.weight")?, &get("ln_q.bias")?)?;
    let normed = layer_norm(tokens, &get("ln_k.weight")?, &get("ln_k.bias")?)?;
    let embed = query.dims()[1];
    let biases = get("attn.in_proj_bias")?;
    let product = |x: &Tensor, part: usize| -> Result<Tensor> {
        // PyTorch's attention packs the three matrices where they have one shape.
        let weight = if width == embed {
            get("attn.in_proj_weight")?.narrow(0, part * embed, embed)?
        } else {
            get(["attn.q_proj_weight", "attn.k_proj_weight", "attn.v_proj_weight"][part])?
        };
        Ok(linear(x, &weight, Some(&biases.narrow(0, part * embed, embed)?))?)
    };
    let shape = (samples, rows / samples, heads, embed / heads);
    let query = product(&query, 0)?.reshape((1, 1, heads, embed / heads))?;
    let (keys, values) = (product(&normed, 1)?.reshape(shape)?, product(&normed, 2)?.reshape(shape)?);
    // (samples, tokens, heads).
    let scores = (keys.broadcast_mul(&query)?.sum(3)? / ((embed / heads) as f64).sqrt())?;
    let exponentials = scores.broadcast_sub(&scores.detach().max_keepdim(1)?)?.exp()?;
    let shares = exponentials.broadcast_div(&exponentials.sum_keepdim(1)?)?;
    let mixed = values.broadcast_mul(&shares.unsqueeze(3)?)?.sum(1)?.reshape((samples, embed))?;
    Ok(linear(&mixed, &get("attn.out_proj.weight")?, Some(&get("attn.out_proj.bias")?))?)
}
