//! The contrastive loss over a whole batch, and its gradients, on a device.

use candle_core::{Device, Tensor};

use crate::error::Result;

/// The loss and its derivatives by everything it is computed from; as [`crate::loss::Contrast`].
pub(super) struct Contrast {
    pub(super) loss: f64,
    /// (batch, width).
    pub(super) d_images: Tensor,
    /// (batch, width).
    pub(super) d_texts: Tensor,
    pub(super) d_log_scale: f64,
}

/// What [`crate::loss::contrast`] computes, with `block` rows of the logits held at a time. `images` and `texts`
/// are (batch, width), rows of length 1, without a graph.
pub(super) fn contrast(images: &Tensor, texts: &Tensor, log_scale: f64, block: usize) -> Result<Contrast> {
    let batch = images.dim(0)?;
    let scale = log_scale.exp();
    let blocks = crate::clip::chunks(batch, block);
    let columns = texts.t()?.contiguous()?;
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
    let column_log_sums = (sums.log()? + highest)?;
    let diagonal = number(&((images * texts)?.sum_all()? * scale)?)?;
    let row_log_sums_together = number(&Tensor::cat(&row_log_sums, 0)?.sum_all()?)?;
    let sums = row_log_sums_together + number(&column_log_sums.sum_all()?)?;
    let loss = (sums - 2.0 * diagonal) / (2.0 * batch as f64);

    // G = P / 2 batch - identity / batch, with P the sum of both softmaxes.
    let half = 0.5 / batch as f64;
    let mut d_images = Vec::with_capacity(blocks.len());
    let mut d_texts = (images * (-2.0 * half))?;
    let mut weighted = 0.0;
    for (rows, row_log_sums) in blocks.iter().zip(&row_log_sums) {
        let logits = logits(rows)?;
        let shares =
            (logits.broadcast_sub(row_log_sums)?.exp()? + logits.broadcast_sub(&column_log_sums)?.exp()?)?;
        weighted += number(&(&shares * &logits)?.sum_all()?)?;
        let own_texts = texts.narrow(0, rows.start, rows.len())?;
        d_images.push(((shares.matmul(texts)? * half)? - (own_texts * (2.0 * half))?)?);
        let own_images = images.narrow(0, rows.start, rows.len())?;
        d_texts = (d_texts + (shares.t()?.contiguous()?.matmul(&own_images.contiguous()?)? * half)?)?;
    }
    Ok(Contrast {
        loss,
        d_images: (Tensor::cat(&d_images, 0)? * scale)?,
        d_texts: (d_texts * scale)?,
        d_log_scale: weighted * half - diagonal / batch as f64,
    })
}

fn empty(device: &Device) -> candle_core::Error {
    candle_core::Error::Msg(format!("a batch of nothing on {device:?}"))
}

/// The one number of a tensor.
pub(super) fn number(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?)
}
