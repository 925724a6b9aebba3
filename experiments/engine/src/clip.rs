//! The two-tower model: features, and the gradient of a batch's loss.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor, Var};
use shoestring_planner::architecture::Architecture;

use crate::error::{EngineError, Result};
use crate::gradients::{Gradient, Gradients};
use crate::input::{Images, StepInput, Texts};
use crate::loss::contrast;
use crate::params::{LOGIT_SCALE, Parameters, TOKEN_EMBEDDING, Weights, tensor_specs};
use crate::real::{Real, with_numbers};
use crate::text::{embed_as, embed_backward, text_features};
use crate::vision::image_features;

/// Tokens whose activations an evaluation holds at a time.
const EVALUATION_TOKENS: usize = 16 * 1024;

/// A two-tower CLIP in main memory.
#[derive(Debug)]
pub struct Clip {
    architecture: Architecture,
    parameters: Parameters,
}

/// A loss and the gradients of every tensor; without gradients where the loss is not finite.
pub(crate) struct Outcome<T> {
    pub(crate) loss: f64,
    pub(crate) gradients: Option<BTreeMap<String, Gradient<T>>>,
}

impl Clip {
    /// A model with the initial values of `seed`.
    pub fn new(architecture: &Architecture, logit_scale_init: f64, seed: u64) -> Result<Self> {
        Self::of_type(architecture, logit_scale_init, seed, DType::F32)
    }

    /// As [`Clip::new`], in `f32` or `f64`.
    pub(crate) fn of_type(
        architecture: &Architecture,
        logit_scale_init: f64,
        seed: u64,
        dtype: DType,
    ) -> Result<Self> {
        architecture.check()?;
        let parameters = Parameters::initial(&tensor_specs(architecture, logit_scale_init), seed, dtype)?;
        Ok(Self { architecture: architecture.clone(), parameters })
    }

    /// The architecture.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The trainable tensors.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Width of the shared embedding.
    #[must_use]
    pub fn embedding_width(&self) -> usize {
        self.architecture.embed_dim as usize
    }

    /// What the logits are multiplied with: exp of the trained log-scale.
    pub fn logit_scale(&self) -> Result<f64> {
        Ok(self.log_scale()?.exp())
    }

    pub(crate) fn log_scale(&self) -> Result<f64> {
        let scale = self.parameters.get(LOGIT_SCALE)?.as_detached_tensor();
        Ok(scale.to_dtype(DType::F64)?.to_scalar::<f64>()?)
    }

    /// Embeddings of length 1, (batch, `embed_dim`), without a graph. Memory does not grow with the batch beyond
    /// the result.
    pub fn encode_images(&self, images: &Images<'_>) -> Result<Vec<f32>> {
        let (_, kept) = images.check(&self.architecture)?;
        self.encoded(images.batch, kept + 1, |start, count| self.image_part(images, start, count, false))
    }

    /// Embeddings of length 1, (batch, `embed_dim`), without a graph.
    pub fn encode_texts(&self, texts: &Texts<'_>) -> Result<Vec<f32>> {
        texts.check(&self.architecture)?;
        self.encoded(texts.batch, texts.text_tokens, |start, count| {
            Ok(self.text_part(texts, start, count, false)?.0)
        })
    }

    fn encoded(
        &self,
        batch: usize,
        tokens: usize,
        part: impl Fn(usize, usize) -> Result<Tensor>,
    ) -> Result<Vec<f32>> {
        let mut rows = Vec::with_capacity(batch * self.embedding_width());
        for chunk in chunks(batch, (EVALUATION_TOKENS / tokens).max(1)) {
            let features = part(chunk.start, chunk.len())?.to_dtype(DType::F32)?;
            with_numbers::<f32, _>(&features, |numbers| rows.extend_from_slice(numbers))?;
        }
        Ok(rows)
    }

    fn weights(&self, recorded: bool) -> Weights<'_> {
        if recorded { self.parameters.recorded() } else { self.parameters.unrecorded() }
    }

    /// Normalised features of some of the images.
    fn image_part(&self, images: &Images<'_>, start: usize, count: usize, recorded: bool) -> Result<Tensor> {
        let (weights, dtype) = (self.weights(recorded), self.parameters.dtype());
        unit_rows(&image_features(&self.architecture, weights, dtype, &images.part(start, count))?)
    }

    /// Normalised features of some of the texts, and the embedded tokens that they were computed from.
    fn text_part(
        &self,
        texts: &Texts<'_>,
        start: usize,
        count: usize,
        recorded: bool,
    ) -> Result<(Tensor, Tensor)> {
        let part = texts.part(start, count);
        let embedded = embed_as(&self.parameters, &part)?;
        // A variable is a leaf of the graph, so the backward pass leaves its gradient behind.
        let embedded = if recorded { Var::from_tensor(&embedded)?.into_inner() } else { embedded };
        let features = text_features(&self.architecture, self.weights(recorded), embedded.clone(), &part)?;
        Ok((unit_rows(&features)?, embedded))
    }

    /// The loss of a batch and its gradients, with the activations of at most `microbatch` samples of one
    /// tower held at a time (of the whole batch in both towers where the batch is no larger).
    ///
    /// In several chunks: all embeddings without a graph, the loss and its gradient by each embedding, and
    /// then chunk by chunk the embeddings once more, with a graph, and back through the towers. The gradient
    /// is that of the whole batch; only the order of additions differs.
    pub(crate) fn loss_and_gradients<T: Real>(
        &self,
        input: &StepInput<'_>,
        microbatch: usize,
    ) -> Result<Outcome<T>> {
        let (images, texts) = (input.images(), input.texts());
        images.check(&self.architecture)?;
        texts.check(&self.architecture)?;
        let width = self.embedding_width();
        let chunks = chunks(input.batch, microbatch.max(1));
        let whole = chunks.len() == 1;

        let (mut image_rows, mut text_rows) = (Vec::<T>::new(), Vec::<T>::new());
        let mut graphs = None;
        for chunk in &chunks {
            let image_part = self.image_part(&images, chunk.start, chunk.len(), whole)?;
            let text_part = self.text_part(&texts, chunk.start, chunk.len(), whole)?;
            with_numbers(&image_part, |numbers| image_rows.extend_from_slice(numbers))?;
            with_numbers(&text_part.0, |numbers| text_rows.extend_from_slice(numbers))?;
            if whole {
                graphs = Some((image_part, text_part));
            }
        }
        let log_scale = T::from_f64(self.log_scale()?);
        let contrast = contrast(&image_rows, &text_rows, width, log_scale);
        if !contrast.loss.is_finite() {
            return Ok(Outcome { loss: contrast.loss, gradients: None });
        }

        let text_width = self.architecture.text_cfg.width as usize;
        let mut gradients = Gradients::<T>::new(input.token_ids, text_width);
        gradients.add(LOGIT_SCALE, Tensor::from_vec(vec![contrast.d_log_scale], (), &Device::Cpu)?)?;
        for chunk in &chunks {
            let part = chunk.start * width..chunk.end * width;
            let (image_graph, text_graph) = match graphs.take() {
                Some((image, text)) => (Some(image), Some(text)),
                None => (None, None),
            };
            let features = match image_graph {
                Some(features) => features,
                None => self.image_part(&images, chunk.start, chunk.len(), true)?,
            };
            let mut store = backward(&features, &contrast.d_images[part.clone()])?;
            drop(features);
            gradients.collect(&self.parameters, &mut store)?;

            let (features, embedded) = match text_graph {
                Some(graph) => graph,
                None => self.text_part(&texts, chunk.start, chunk.len(), true)?,
            };
            let mut store = backward(&features, &contrast.d_texts[part])?;
            let gradient = store
                .remove(&embedded)
                .ok_or_else(|| EngineError::NoGradient { tensor: TOKEN_EMBEDDING.to_owned() })?;
            embed_backward(
                &self.parameters,
                &texts.part(chunk.start, chunk.len()),
                &gradient,
                &mut gradients,
            )?;
            gradients.collect(&self.parameters, &mut store)?;
        }
        Ok(Outcome { loss: contrast.loss, gradients: Some(gradients.into_named()) })
    }
}

/// Back through a tower, given the loss's gradient by its features.
fn backward<T: Real>(features: &Tensor, gradient: &[T]) -> Result<candle_core::backprop::GradStore> {
    let gradient = Tensor::from_slice(gradient, features.shape(), &Device::Cpu)?;
    // The gradient of this sum by the features is `gradient`.
    Ok((features * gradient)?.sum_all()?.backward()?)
}

/// Each row divided by its length.
fn unit_rows(features: &Tensor) -> Result<Tensor> {
    // A row of zeros stays one, as in `torch.nn.functional.normalize`.
    let length = (features.sqr()?.sum_keepdim(1)? + 1e-24)?.sqrt()?;
    Ok(features.broadcast_div(&length)?)
}

/// 0..batch in parts of `size`, the last one shorter.
fn chunks(batch: usize, size: usize) -> Vec<Range<usize>> {
    (0..batch).step_by(size).map(|start| start..batch.min(start + size)).collect()
}
