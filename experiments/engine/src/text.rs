//! The text tower.

use candle_core::Tensor;
use shoestring_planner::architecture::{Architecture, TextPool};

use crate::error::Result;
use crate::gradients::Gradients;
use crate::input::Texts;
use crate::ops::{Pooling, add_to, layer_norm};
use crate::params::{Parameters, TOKEN_EMBEDDING, Weights};
use crate::real::{Real, with_numbers};
use crate::tower::Tower;

/// Token embeddings plus positions, written to `x` (batch * tokens, width), outside the graph: the table has far more rows
/// than a batch has tokens, and candle's gradient of it would be as large as the table.
pub(crate) fn embed<T: Real>(parameters: &Parameters, texts: &Texts<'_>, x: &mut [T]) -> Result<()> {
    let table = parameters.get(TOKEN_EMBEDDING)?;
    let (_, width) = table.dims2()?;
    with_numbers::<T, _>(table, |table| {
        for (x, &id) in x.chunks_exact_mut(width).zip(texts.token_ids) {
            x.copy_from_slice(&table[id as usize * width..][..width]);
        }
    })?;
    with_numbers::<T, _>(parameters.get("positional_embedding")?, |positions| {
        for sample in x.chunks_exact_mut(texts.text_tokens * width) {
            add_to(sample, &positions[..texts.text_tokens * width]);
        }
    })?;
    Ok(())
}

/// Adds the gradients of the token embedding and the positions, given that of [`embed`]'s result, (batch *
/// tokens, width).
pub(crate) fn embed_backward<T: Real>(
    parameters: &Parameters,
    texts: &Texts<'_>,
    dx: &[T],
    gradients: &mut Gradients<T>,
) -> Result<()> {
    let width = dx.len() / texts.token_ids.len();
    let positions = parameters.get("positional_embedding")?;
    let mut d_positions = vec![T::zero(); positions.elem_count()];
    let rows = gradients.token_rows();
    for sample in dx.chunks_exact(texts.text_tokens * width) {
        add_to(&mut d_positions[..texts.text_tokens * width], sample);
    }
    for (&id, dx) in texts.token_ids.iter().zip(dx.chunks_exact(width)) {
        rows.add(id, dx);
    }
    gradients.add("positional_embedding", d_positions);
    Ok(())
}

/// The shape of the text tower.
pub(crate) fn tower(architecture: &Architecture) -> Tower {
    let text = &architecture.text_cfg;
    let width = text.width as usize;
    Tower {
        prefix: "transformer",
        layers: text.layers as usize,
        heads: text.heads as usize,
        causal: !text.no_causal_mask,
        width,
        hidden: text.mlp_width() as usize,
        quick_gelu: architecture.quick_gelu,
    }
}

/// The token of each caption that stands for it.
pub(crate) fn pooling(architecture: &Architecture, texts: &Texts<'_>) -> Pooling {
    Pooling::Rows(pooled_rows_of(architecture, texts))
}

/// The row of each caption's token that stands for it, of (batch * tokens) rows.
pub(crate) fn pooled_rows_of(architecture: &Architecture, texts: &Texts<'_>) -> Vec<u32> {
    let text = &architecture.text_cfg;
    pooled_rows(texts, text.pool_type, text.eos_id)
}

/// Features, not normalised, from the pooled tokens: (batch, width) to (batch, `embed_dim`). The norm works token
/// by token, so it may come after the choice of the one token that counts.
pub(crate) fn text_features(weights: Weights<'_>, pooled: &Tensor) -> Result<Tensor> {
    let (weight, bias) = (weights.get("ln_final.weight")?, weights.get("ln_final.bias")?);
    Ok(layer_norm(pooled, &weight, &bias)?.matmul(&weights.get("text_projection")?)?)
}

/// The row of each sample that is its feature.
fn pooled_rows(texts: &Texts<'_>, pool: TextPool, eos: Option<u32>) -> Vec<u32> {
    let tokens = texts.text_tokens;
    let place = |ids: &[u32]| match pool {
        TextPool::First => 0,
        TextPool::Last => tokens - 1,
        // Does not get here: `Clip::new` refuses it.
        TextPool::Class => tokens - 1,
        // The first token where there is none, as in `open_clip`.
        TextPool::Eos => ids.iter().position(|&id| Some(id) == eos).unwrap_or(0),
        // The first of equals, as `torch.argmax` of CLIP's ids, where the end marker is the largest.
        TextPool::Argmax => {
            ids.iter().enumerate().fold(0, |best, (place, &id)| if id > ids[best] { place } else { best })
        }
    };
    texts
        .token_ids
        .chunks_exact(tokens)
        .enumerate()
        .map(|(sample, ids)| (sample * tokens + place(ids)) as u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pooled_token_is_the_end_marker_or_the_last() {
        let token_ids = [5, 2, 9, 0, 1, 9, 9, 3];
        let texts = Texts { batch: 2, text_tokens: 4, token_ids: &token_ids };
        assert_eq!(pooled_rows(&texts, TextPool::Argmax, None), [2, 5]);
        assert_eq!(pooled_rows(&texts, TextPool::Last, None), [3, 7]);
        assert_eq!(pooled_rows(&texts, TextPool::First, None), [0, 4]);
        assert_eq!(pooled_rows(&texts, TextPool::Eos, Some(9)), [2, 5]);
        assert_eq!(pooled_rows(&texts, TextPool::Eos, Some(3)), [0, 7], "the first where there is none");
    }
}
