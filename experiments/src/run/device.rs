//! What a run computes on.

use shoestring_engine::{Device, first_gpu, knows_gpus};
use shoestring_planner::accelerator::{self, Runtime};
use shoestring_planner::recipe::Recipe;

use super::error::RunError;

/// What a run computes on, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// The first NVIDIA GPU where the recipe is planned for one, this build can use it and it is there; else the
    /// CPU.
    #[default]
    Auto,
    /// The CPU, by this program's own kernels.
    Cpu,
    /// The first NVIDIA GPU.
    Gpu,
}

/// What a run computes on, as it turned out.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `None`: the CPU.
    pub(crate) gpu: Option<Device>,
    /// Why the recipe's accelerator is not used.
    pub(crate) note: Option<String>,
}

impl Compute {
    /// Looks for what was asked for.
    pub(crate) fn find(self, recipe: &Recipe) -> Result<Place, RunError> {
        let name = &recipe.hardware.accelerator;
        let planned = accelerator::find(name).is_ok_and(|found| found.runtime == Runtime::Cuda);
        if self == Self::Cpu || (self == Self::Auto && !planned) {
            return Ok(Place { gpu: None, note: None });
        }
        let gpu = first_gpu()?;
        if gpu.is_some() {
            return Ok(Place { gpu, note: None });
        }
        let lack = if knows_gpus() {
            "no NVIDIA GPU is to be found here"
        } else {
            "this program was built without GPUs"
        };
        if self == Self::Gpu {
            return Err(RunError::NoGpu { lack, built: knows_gpus() });
        }
        let note =
            format!("hardware.accelerator = \"{name}\": {lack}, so that everything is computed on the CPU");
        Ok(Place { gpu: None, note: Some(note) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::small_recipe;

    #[test]
    fn a_gpu_that_is_not_there_is_refused_where_it_is_asked_for_and_said_where_it_is_planned() {
        let mut recipe = small_recipe();
        for compute in [Compute::Auto, Compute::Cpu] {
            let place = compute.find(&recipe).expect("the CPU");
            assert!(place.gpu.is_none() && place.note.is_none(), "{place:?}");
        }
        recipe.hardware.accelerator = "H100-SXM".to_owned();
        assert_eq!(Compute::Cpu.find(&recipe).expect("the CPU").note, None);
        if first_gpu().expect("an answer").is_some() {
            assert!(Compute::Auto.find(&recipe).expect("a GPU").gpu.is_some());
            return;
        }
        let place = Compute::Auto.find(&recipe).expect("the CPU");
        let note = place.note.expect("a note");
        assert!(
            place.gpu.is_none() && note.contains("\"H100-SXM\"") && note.contains("on the CPU"),
            "{note}"
        );
        let refused = Compute::Gpu.find(&recipe).expect_err("no GPU");
        assert!(refused.is_usage() && refused.hint().is_some(), "{refused}");
    }
}
