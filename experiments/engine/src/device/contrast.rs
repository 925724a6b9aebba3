//! The contrastive loss over a whole batch, and its gradients, on devices that each have a share of it.

use candle_core::{DType, Device, Tensor};

use super::collective::Collective;
use crate::error::Result;

/// The loss of the whole batch, and its derivatives by everything that a rank computed it from; as
/// [`crate::loss::Contrast`].
pub(super) struct Contrast {
    /// The same on every rank.
    pub(super) loss: f64,
    /// By the rank's own images: (share, width).
    pub(super) d_images: Tensor,
    /// By the rank's own texts: (share, width).
    pub(super) d_texts: Tensor,
    /// What the rank's own images give of it: the derivative is the sum over the ranks.
    pub(super) d_log_scale: f64,
}

/// What [`crate::loss::contrast`] computes, each rank the rows of its own images, with `block` of them held at a time.
///
/// `images` and `texts` are (share, width), rows of length 1, without a graph; the batch is all ranks' in their
/// order. A rank sends its texts, two numbers for each text of the batch, and (batch, width) gradients of texts.
pub(super) fn contrast(
    ranks: &dyn Collective,
    images: &Tensor,
    texts: &Tensor,
    log_scale: f64,
    block: usize,
) -> Result<Contrast> {
    let share = images.dim(0)?;
    let batch = share * ranks.ranks();
    let scale = log_scale.exp();
    let blocks = crate::clip::chunks(share, block);
    let all_texts = ranks.gather(texts)?;
    let columns = all_texts.t()?.contiguous()?;
    let logits = |rows: &std::ops::Range<usize>| -> Result<Tensor> {
        Ok((images.narrow(0, rows.start, rows.len())?.matmul(&columns)? * scale)?)
    };

    let mut row_log_sums = Vec::with_capacity(blocks.len());
    // Of each column: the highest logit so far, and the sum of e^(logit - highest).
    let mut columns_so_far: Option<(Tensor, Tensor)> = None;
    for rows in &blocks {
        let logits = logits(rows)?;
        let highest = logits.max_keepdim(1)?;
        let sums = logits.broadcast_sub(&highest)?.exp()?.sum_keepdim(1)?;
        row_log_sums.push((sums.log()? + highest)?);
        let highest = logits.max_keepdim(0)?;
        columns_so_far = Some(match columns_so_far {
            None => {
                let sums = logits.broadcast_sub(&highest)?.exp()?.sum_keepdim(0)?;
                (highest, sums)
            }
            Some((before, sums)) => {
                let highest = before.maximum(&highest)?;
                let sums = (sums * (before - &highest)?.exp()?)?;
                let more = logits.broadcast_sub(&highest)?.exp()?.sum_keepdim(0)?;
                (highest, (sums + more)?)
            }
        });
    }
    let (highest, sums) = columns_so_far.ok_or_else(|| empty(images.device()))?;
    let column_log_sums = {
        let (of_ranks, sums) = (ranks.gather(&highest)?, ranks.gather(&sums)?);
        let highest = of_ranks.max_keepdim(0)?;
        let sums = (sums * of_ranks.broadcast_sub(&highest)?.exp()?)?.sum_keepdim(0)?;
        (sums.log()? + highest)?
    };
    let diagonal = ((images * texts)?.sum_all()? * scale)?;
    let of_rows = Tensor::cat(&row_log_sums, 0)?.sum_all()?;
    let of_batch = sum(ranks, Tensor::stack(&[&of_rows, &diagonal], 0)?)?;
    let of_rows = number(&of_batch.get(0)?)? - 2.0 * number(&of_batch.get(1)?)?;
    let loss = (of_rows + number(&column_log_sums.sum_all()?)?) / (2.0 * batch as f64);

    // G = P / 2 batch - identity / batch, with P the sum of both softmaxes.
    let half = 0.5 / batch as f64;
    let mut d_images = Vec::with_capacity(blocks.len());
    let mut d_texts: Option<Tensor> = None;
    let mut weighted = 0.0;
    for (rows, row_log_sums) in blocks.iter().zip(&row_log_sums) {
        let logits = logits(rows)?;
        let shares =
            (logits.broadcast_sub(row_log_sums)?.exp()? + logits.broadcast_sub(&column_log_sums)?.exp()?)?;
        weighted += number(&(&shares * &logits)?.sum_all()?)?;
        let own_texts = texts.narrow(0, rows.start, rows.len())?;
        d_images.push(((shares.matmul(&all_texts)? * half)? - (own_texts * (2.0 * half))?)?);
        let own_images = images.narrow(0, rows.start, rows.len())?;
        let of_block = shares.t()?.contiguous()?.matmul(&own_images.contiguous()?)?;
        d_texts = Some(match d_texts {
            None => of_block,
            Some(before) => (before + of_block)?,
        });
    }
    let d_texts = sum(ranks, d_texts.ok_or_else(|| empty(images.device()))?)?;
    let d_texts = d_texts.narrow(0, ranks.rank() * share, share)?;
    Ok(Contrast {
        loss,
        d_images: (Tensor::cat(&d_images, 0)? * scale)?,
        d_texts: (((d_texts * half)? - (images * (2.0 * half))?)? * scale)?,
        d_log_scale: weighted * half - number(&diagonal)? / batch as f64,
    })
}

/// [`Collective::sum`] of one tensor.
pub(super) fn sum(ranks: &dyn Collective, own: Tensor) -> Result<Tensor> {
    let device = own.device().clone();
    Ok(ranks.sum(vec![own])?.pop().ok_or_else(|| empty(&device))?)
}

fn empty(device: &Device) -> candle_core::Error {
    candle_core::Error::Msg(format!("a batch of nothing on {device:?}"))
}

/// The one number of a tensor.
pub(super) fn number(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}
