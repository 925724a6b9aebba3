//! The model in candle's plain operations, whose gradients candle finds: what the kernels are compared with.

use std::collections::BTreeMap;

use candle_core::{D, Device, Result, Tensor};

use crate::clip::Clip;
use crate::device::Model;
use crate::input::{Images, StepInput, Texts};

/// A model's tensors in [`Model`].
pub(super) struct Plain<'a> {
    pub(super) clip: &'a Clip,
    /// Whether the tensors are part of the graph, for a backward pass.
    pub(super) recorded: bool,
}

impl Plain<'_> {
    fn tensors(&self) -> BTreeMap<String, Tensor> {
        let all = self.clip.parameters().iter();
        let tensor = |var: &candle_core::Var| {
            if self.recorded { var.as_tensor().clone() } else { var.as_detached_tensor() }
        };
        all.map(|(name, var)| (name.to_owned(), tensor(var))).collect()
    }

    fn model<'a>(&'a self, tensors: &'a BTreeMap<String, Tensor>) -> Model<'a> {
        let operands = self.clip.parameters().dtype();
        Model { architecture: self.clip.architecture(), tensors, device: &Device::Cpu, operands }
    }

    pub(super) fn images(&self, images: &Images<'_>) -> Result<Tensor> {
        self.model(&self.tensors()).images(images)
    }

    pub(super) fn texts(&self, texts: &Texts<'_>) -> Result<Tensor> {
        self.model(&self.tensors()).texts(texts)
    }

    /// Symmetric InfoNCE of a batch, with its graph.
    pub(super) fn loss(&self, input: &StepInput<'_>) -> Result<Tensor> {
        let tensors = self.tensors();
        let model = self.model(&tensors);
        let (images, texts) = (model.images(&input.images())?, model.texts(&input.texts())?);
        let logits = images.matmul(&texts.t()?)?.broadcast_mul(&tensors["logit_scale"].exp()?)?;
        let eye = Tensor::eye(input.batch, logits.dtype(), &Device::Cpu)?;
        let softmax = |logits: &Tensor| {
            let powers = logits.exp()?;
            powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
        };
        let right = |logits: &Tensor| (softmax(logits)? * &eye)?.sum(1)?.log()?.mean_all()?.neg();
        (right(&logits)? + right(&logits.t()?.contiguous()?)?)? / 2.0
    }
}
