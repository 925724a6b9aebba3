//! Where a number that is not finite comes from.

use candle_core::Tensor;

use crate::clip::{Clip, chunks};
use crate::error::Result;
use crate::input::StepInput;
use crate::ops::stored::Stored;
use crate::params::Parameters;
use crate::real::with_numbers;
use crate::tower::{Tape, Work};

/// Samples looked at together.
const SAMPLES: usize = 64;

fn all_finite<S: Stored>(numbers: &[S::Real]) -> bool {
    numbers.iter().all(|x| candle_core::WithDType::to_f64(*x).is_finite())
}

fn tensor_is_finite<S: Stored>(tensor: &Tensor) -> Result<bool> {
    Ok(with_numbers::<S::Real, _>(tensor, all_finite::<S>)?)
}

/// The first tensor, by name, that holds a number that is not finite.
pub(crate) fn bad_tensor<S: Stored>(parameters: &Parameters) -> Result<Option<String>> {
    for (name, var) in parameters.iter() {
        if !tensor_is_finite::<S>(var.as_tensor())? {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

impl Clip {
    /// The first thing on the way to the loss that is not finite: `pixels`, a tensor of the model, what a tower
    /// starts from (`visual.conv1`, `token_embedding`), one of its blocks (`visual.transformer.resblocks.3`), what
    /// follows them (`visual.proj`, `text_projection`), or at last `loss`. Costs a forward pass.
    pub(crate) fn first_non_finite<S: Stored>(&self, input: &StepInput<'_>) -> Result<String> {
        if !input.pixels.iter().all(|x| x.is_finite()) {
            return Ok("pixels".to_owned());
        }
        if let Some(name) = bad_tensor::<S>(self.parameters())? {
            return Ok(name);
        }
        let (images, texts) = (input.images(), input.texts());
        for chunk in chunks(input.batch, SAMPLES) {
            let images = images.part(chunk.start, chunk.len());
            let (start, work) = self.image_start::<S>(&images)?;
            if let Some(name) = self.bad_block::<S>(work, "visual.conv1", start.x)? {
                return Ok(name);
            }
            if !tensor_is_finite::<S>(&self.image_pass::<S>(&images, false)?.features)? {
                return Ok("visual.proj".to_owned());
            }
            let texts = texts.part(chunk.start, chunk.len());
            let (start, work) = self.text_start::<S>(&texts)?;
            if let Some(name) = self.bad_block::<S>(work, "token_embedding", start)? {
                return Ok(name);
            }
            if !tensor_is_finite::<S>(&self.text_pass::<S>(&texts, false)?.features)? {
                return Ok("text_projection".to_owned());
            }
        }
        Ok("loss".to_owned())
    }

    /// The first block of a tower whose result is not finite, or what comes before the blocks.
    fn bad_block<S: Stored>(&self, work: Work, before: &str, mut x: Vec<S::Real>) -> Result<Option<String>> {
        // Every block's input is then left on the tape.
        let work = Work { recompute: true, ..work };
        let tape = work.forward(self.parameters(), self.buffers_of::<S>(), &mut x, true)?;
        let Some(Tape::Inputs(inputs)) = tape else { return Ok(None) };
        let bad = inputs.iter().chain([&x]).position(|numbers| !all_finite::<S>(numbers));
        Ok(bad.map(|place| match place.checked_sub(1) {
            None => before.to_owned(),
            Some(layer) => format!("{}.resblocks.{layer}", work.tower.prefix),
        }))
    }
}
