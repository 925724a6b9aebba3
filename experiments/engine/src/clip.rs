//! The two-tower model: features, and the gradient of a batch's loss.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor, Var, WithDType};
use shoestring_planner::architecture::{Architecture, ImagePositions};
use shoestring_planner::recipe::Precision;

use crate::error::{EngineError, Result};
use crate::gradients::{Gradient, Gradients};
use crate::input::{Images, StepInput, Texts};
use crate::loss::contrast;
use crate::ops::Pooling;
use crate::ops::level::Level;
use crate::ops::stored::{Bf16, Stored};
use crate::params::{LOGIT_SCALE, Parameters, Weights, tensor_specs};
use crate::positions::Regrid;
use crate::real::{Real, with_numbers};
use crate::text::{self, embed, embed_backward, text_features};
use crate::tower::{self, AllBuffers, Buffers, Start, Tape, Tower, Work, is_matrix};
use crate::vision::{self, image_features, patches};

/// Tokens whose activations an evaluation holds at a time.
const EVALUATION_TOKENS: usize = 16 * 1024;

/// A two-tower CLIP in main memory.
#[derive(Debug)]
pub struct Clip {
    architecture: Architecture,
    parameters: Parameters,
    precision: Precision,
    recompute: bool,
    buffers: AllBuffers,
    /// The shape that the buffers were last used for.
    shape: Mutex<[usize; 4]>,
}

/// A part of the batch on its way through a tower.
pub(crate) struct Pass<S: Stored> {
    work: Work,
    /// Of images with a norm before the first block: what the norm starts from.
    before_norm: Option<Vec<S::Real>>,
    tape: Option<Tape<S>>,
    pooling: Pooling,
    /// What the blocks leave for the head, a leaf of the graph of the features: (samples, width), or with
    /// attention pooling (samples * tokens, width).
    pooled: Tensor,
    /// (samples, `embed_dim`), of length 1.
    pub(crate) features: Tensor,
}

/// A loss and the gradients of every tensor; without gradients where the loss is not finite.
pub(crate) struct Outcome<T> {
    pub(crate) loss: f64,
    pub(crate) gradients: Option<BTreeMap<String, Gradient<T>>>,
}

/// The precision that a model is computed in where a recipe does not say: bf16 where this processor multiplies
/// bf16 numbers (AVX512-BF16, ARM's BF16), `f32` elsewhere; and `f32` in either case for a model with an odd width or
/// head width, since bf16 is multiplied in pairs.
#[must_use]
pub fn resolved_precision(architecture: &Architecture, stated: Option<Precision>) -> Precision {
    let (image, text) = (vision::tower(architecture), text::tower(architecture));
    let even = |tower: &Tower| {
        tower.width.is_multiple_of(2)
            && tower.hidden.is_multiple_of(2)
            && (tower.width / tower.heads).is_multiple_of(2)
    };
    let own = if multiplies_bf16() { Precision::Bf16 } else { Precision::F32 };
    if even(&image) && even(&text) { stated.unwrap_or(own) } else { Precision::F32 }
}

/// Whether this processor has products of bf16 numbers. Where it has not, bf16 is computed all the same: operands
/// are rounded to bf16 and multiplied as `f32`.
#[must_use]
pub fn multiplies_bf16() -> bool {
    Level::current().multiplies_bf16()
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
        Level::check()?;
        architecture.check_trainable()?;
        let parameters = Parameters::initial(&tensor_specs(architecture, logit_scale_init), seed, dtype)?;
        Ok(Self {
            architecture: architecture.clone(),
            parameters,
            precision: resolved_precision(architecture, None),
            recompute: false,
            buffers: AllBuffers::default(),
            shape: Mutex::default(),
        })
    }

    /// The precision of the operands of the towers' products, at the start [`resolved_precision`]. Sums, norms,
    /// the residual stream and the optimiser are `f32` in either.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// See [`resolved_precision`].
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = resolved_precision(&self.architecture, Some(precision));
    }

    /// Takes learned positions to the grid of images of this size, by interpolation, and says how, for what goes
    /// with them. Nothing is done where positions are computed, or of this grid already.
    pub(crate) fn set_image_size(&mut self, image_size_px: u32) -> Result<Option<Regrid>> {
        let vision = &mut self.architecture.vision_cfg;
        if vision.pos_embed_type != ImagePositions::Learnable || vision.image_size == image_size_px {
            return Ok(None);
        }
        if image_size_px == 0 || !image_size_px.is_multiple_of(vision.patch_size) {
            return Err(EngineError::Input {
                what: "the image size",
                expected: format!("a multiple of {}", vision.patch_size),
                found: image_size_px.to_string(),
            });
        }
        let side = |size: u32| (size / vision.patch_size) as usize;
        let (from, to) = (side(vision.image_size), side(image_size_px));
        let regrid = Regrid { from, to, width: vision.width as usize };
        vision.image_size = image_size_px;
        regrid.parameters(&mut self.parameters)?;
        Ok(Some(regrid))
    }

    /// Exchanges the trainable tensors for others of the same names and shapes.
    pub(crate) fn exchange(&mut self, parameters: &mut Parameters) {
        std::mem::swap(&mut self.parameters, parameters);
    }

    pub(crate) fn buffers_of<S: Stored>(&self) -> &Buffers<S> {
        S::buffers(&self.buffers)
    }

    pub(crate) fn set_recompute(&mut self, recompute: bool) {
        self.recompute = recompute;
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
        let part = |start, count| -> Result<Tensor> {
            Ok(match (self.parameters.dtype(), self.precision()) {
                (DType::F64, _) => self.image_pass::<f64>(&images.part(start, count), false)?.features,
                (_, Precision::F32) => self.image_pass::<f32>(&images.part(start, count), false)?.features,
                (_, Precision::Bf16) => self.image_pass::<Bf16>(&images.part(start, count), false)?.features,
            })
        };
        self.encoded(images.batch, kept + 1, part)
    }

    /// Embeddings of length 1, (batch, `embed_dim`), without a graph.
    pub fn encode_texts(&self, texts: &Texts<'_>) -> Result<Vec<f32>> {
        texts.check(&self.architecture)?;
        let part = |start, count| -> Result<Tensor> {
            Ok(match (self.parameters.dtype(), self.precision()) {
                (DType::F64, _) => self.text_pass::<f64>(&texts.part(start, count), false)?.features,
                (_, Precision::F32) => self.text_pass::<f32>(&texts.part(start, count), false)?.features,
                (_, Precision::Bf16) => self.text_pass::<Bf16>(&texts.part(start, count), false)?.features,
            })
        };
        self.encoded(texts.batch, texts.text_tokens, part)
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

    /// Takes `x` through the blocks of a tower, and pools what comes out.
    fn through_blocks<S: Stored>(
        &self,
        work: &Work,
        mut x: Vec<S::Real>,
        pooling: &Pooling,
        recorded: bool,
    ) -> Result<(Option<Tape<S>>, Tensor)> {
        let buffers = S::buffers(&self.buffers);
        let width = work.tower.width;
        let tape = work.forward(&self.parameters, buffers, &mut x, recorded)?;
        let pooled = pooling.forward(&x, work.sequences(), width);
        buffers.give_real(x);
        let rows = pooled.len() / width;
        let pooled = Tensor::from_vec(pooled, (rows, width), &Device::Cpu)?;
        // A variable is a leaf of the graph, so the backward pass leaves its gradient behind.
        Ok((tape, if recorded { Var::from_tensor(&pooled)?.into_inner() } else { pooled }))
    }

    fn work<S: Stored>(&self, tower: Tower, samples: usize, tokens: usize) -> Work {
        Work { tower, samples, tokens, level: S::level(Level::current()), recompute: self.recompute }
    }

    /// What the image tower's blocks start from, and their work.
    pub(crate) fn image_start<S: Stored>(&self, images: &Images<'_>) -> Result<(Start<S::Real>, Work)> {
        let (_, kept) = images.check(&self.architecture)?;
        let work = self.work::<S>(vision::tower(&self.architecture), images.batch, kept + 1);
        let patches = patches(&self.architecture, work, *images);
        Ok((patches.embed::<S>(&self.parameters, S::buffers(&self.buffers))?, work))
    }

    /// What the text tower's blocks start from, and their work.
    pub(crate) fn text_start<S: Stored>(&self, texts: &Texts<'_>) -> Result<(Vec<S::Real>, Work)> {
        let work = self.work::<S>(text::tower(&self.architecture), texts.batch, texts.text_tokens);
        let mut x = S::buffers(&self.buffers).take_real(work.rows() * work.tower.width);
        embed(&self.parameters, texts, &mut x)?;
        Ok((x, work))
    }

    pub(crate) fn image_pass<S: Stored>(&self, images: &Images<'_>, recorded: bool) -> Result<Pass<S>> {
        let (Start { x, before_norm }, work) = self.image_start::<S>(images)?;
        let before_norm = if recorded {
            before_norm
        } else {
            before_norm.into_iter().for_each(|x| S::buffers(&self.buffers).give_real(x));
            None
        };
        let pooling = vision::pooling(&self.architecture, images.batch, work.tokens);
        let (tape, pooled) = self.through_blocks(&work, x, &pooling, recorded)?;
        let features = image_features(&self.architecture, self.weights(recorded), &pooled, images.batch)?;
        Ok(Pass { work, before_norm, tape, pooling, pooled, features: unit_rows(&features)? })
    }

    pub(crate) fn text_pass<S: Stored>(&self, texts: &Texts<'_>, recorded: bool) -> Result<Pass<S>> {
        let (x, work) = self.text_start::<S>(texts)?;
        let pooling = text::pooling(&self.architecture, texts);
        let (tape, pooled) = self.through_blocks(&work, x, &pooling, recorded)?;
        let features = unit_rows(&text_features(self.weights(recorded), &pooled)?)?;
        Ok(Pass { work, before_norm: None, tape, pooling, pooled, features })
    }

    /// Back from the loss's gradient by a pass's features to that by its blocks' input.
    fn back_through_blocks<S: Stored>(
        &self,
        pass: &mut Pass<S>,
        d_features: &[S::Real],
        gradients: &mut Gradients<S::Real>,
        blocks: &mut BTreeMap<String, tower::Gradients<S>>,
        accumulate: bool,
    ) -> Result<Vec<S::Real>> {
        let no_gradient = || EngineError::NoGradient { tensor: pass.work.tower.prefix.to_owned() };
        let mut store = backward(&pass.features, d_features)?;
        let d_pooled = store.remove(&pass.pooled).ok_or_else(no_gradient)?;
        gradients.collect(&self.parameters, &mut store)?;
        let tape = pass.tape.take().ok_or_else(no_gradient)?;
        let buffers = S::buffers(&self.buffers);
        let width = pass.work.tower.width;
        let mut dx = buffers.take_real(pass.work.rows() * width);
        with_numbers::<S::Real, _>(&d_pooled, |d_pooled| {
            pass.pooling.backward(d_pooled, pass.work.sequences(), width, &mut dx);
        })?;
        pass.work.backward(&self.parameters, buffers, tape, &mut dx, blocks, accumulate)?;
        Ok(dx)
    }

    /// The loss of a batch and its gradients, with the activations of at most `microbatch` samples of one
    /// tower held at a time (of the whole batch in both towers where the batch is no larger).
    ///
    /// In several chunks: all embeddings without a graph, the loss and its gradient by each embedding, and
    /// then chunk by chunk the embeddings once more, with a graph, and back through the towers. The gradient
    /// is that of the whole batch; only the order of additions differs.
    pub(crate) fn loss_and_gradients<S: Stored>(
        &self,
        input: &StepInput<'_>,
        microbatch: usize,
    ) -> Result<Outcome<S::Real>> {
        let (images, texts) = (input.images(), input.texts());
        let (_, kept) = images.check(&self.architecture)?;
        texts.check(&self.architecture)?;
        let width = self.embedding_width();
        let chunks = chunks(input.batch, microbatch.max(1));
        let whole = chunks.len() == 1;
        self.forget_buffers_of_another_shape::<S>([input.batch, kept, input.text_tokens, microbatch]);

        let (mut image_rows, mut text_rows) = (Vec::<S::Real>::new(), Vec::<S::Real>::new());
        let mut recorded = None;
        for chunk in &chunks {
            let image_pass = self.image_pass::<S>(&images.part(chunk.start, chunk.len()), whole)?;
            with_numbers(&image_pass.features, |numbers| image_rows.extend_from_slice(numbers))?;
            let text_pass = self.text_pass::<S>(&texts.part(chunk.start, chunk.len()), whole)?;
            with_numbers(&text_pass.features, |numbers| text_rows.extend_from_slice(numbers))?;
            if whole {
                recorded = Some((image_pass, text_pass));
            }
        }
        let log_scale = S::Real::from_f64(self.log_scale()?);
        let contrast = contrast(&image_rows, &text_rows, width, log_scale);
        if !contrast.loss.is_finite() {
            return Ok(Outcome { loss: contrast.loss, gradients: None });
        }

        let text_width = self.architecture.text_cfg.width as usize;
        let mut gradients = Gradients::<S::Real>::new(input.token_ids, text_width);
        gradients.add(LOGIT_SCALE, vec![contrast.d_log_scale]);
        let mut blocks = BTreeMap::new();
        for chunk in &chunks {
            let part = chunk.start * width..chunk.end * width;
            let (image_pass, text_pass) = match recorded.take() {
                Some((image, text)) => (Some(image), Some(text)),
                None => (None, None),
            };
            let mut pass = match image_pass {
                Some(pass) => pass,
                None => self.image_pass::<S>(&images.part(chunk.start, chunk.len()), true)?,
            };
            let d_images = &contrast.d_images[part.clone()];
            let dx = self.back_through_blocks(&mut pass, d_images, &mut gradients, &mut blocks, !whole)?;
            let before_norm = pass.before_norm.take();
            let patches = patches(&self.architecture, pass.work, images.part(chunk.start, chunk.len()));
            let buffers = S::buffers(&self.buffers);
            patches.backward(&self.parameters, buffers, dx, before_norm, &mut gradients)?;
            drop(pass);

            let texts = texts.part(chunk.start, chunk.len());
            let mut pass = match text_pass {
                Some(pass) => pass,
                None => self.text_pass::<S>(&texts, true)?,
            };
            let d_texts = &contrast.d_texts[part];
            let dx = self.back_through_blocks(&mut pass, d_texts, &mut gradients, &mut blocks, !whole)?;
            embed_backward(&self.parameters, &texts, &dx, &mut gradients)?;
            S::buffers(&self.buffers).give_real(dx);
        }
        let mut named = gradients.into_named();
        for (block, gradients) in blocks {
            named.extend(gradients.named(&block));
        }
        Ok(Outcome { loss: contrast.loss, gradients: Some(named) })
    }

    /// The loss of a batch, and its gradient by every number of every tensor: for comparison with other programs.
    pub fn gradients(&self, input: &StepInput<'_>) -> Result<(f64, BTreeMap<String, Vec<f32>>)> {
        let outcome = match self.precision() {
            Precision::Bf16 => self.loss_and_gradients::<Bf16>(input, usize::MAX)?,
            Precision::F32 => self.loss_and_gradients::<f32>(input, usize::MAX)?,
        };
        let mut dense = BTreeMap::new();
        for (name, gradient) in outcome.gradients.into_iter().flatten() {
            let shape = self.parameters.get(&name)?.dims();
            dense.insert(name, gradient.into_dense(shape));
        }
        Ok((outcome.loss, dense))
    }

    /// Numbers in the buffers that are not in use.
    #[cfg(test)]
    pub(crate) fn numbers_at_rest(&self) -> usize {
        self.buffers.half.at_rest() + self.buffers.single.at_rest()
    }

    fn forget_buffers_of_another_shape<S: Stored>(&self, shape: [usize; 4]) {
        let mut last = self.shape.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != shape {
            S::buffers(&self.buffers).clear();
            *last = shape;
        }
    }

    /// Takes back the memory of a step's gradients, for the next step.
    pub(crate) fn give_back(&self, gradients: BTreeMap<String, Gradient<f32>>) {
        let [batch, .., microbatch] = *self.shape.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = batch <= microbatch;
        for (name, gradient) in gradients {
            match gradient {
                Gradient::Half(numbers) => self.buffers.half.give(numbers),
                Gradient::Dense(numbers) if is_matrix(&name) => match self.precision() {
                    Precision::Bf16 => self.buffers.half.give_real(numbers),
                    // One type, but a sum over microbatches is not taken from where a whole gradient is.
                    Precision::F32 if whole => self.buffers.single.give(numbers),
                    Precision::F32 => self.buffers.single.give_real(numbers),
                },
                _ => {}
            }
        }
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
pub(crate) fn chunks(batch: usize, size: usize) -> Vec<Range<usize>> {
    (0..batch).step_by(size).map(|start| start..batch.min(start + size)).collect()
}
