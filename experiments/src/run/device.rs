//! What a run computes on.

use shoestring_engine::{DeviceTrainer, EngineError, first_gpu, knows_gpus};
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) on_gpu: bool,
    /// Why the recipe's accelerator is not used.
    pub(crate) note: Option<String>,
}

impl Compute {
    /// Looks for what was asked for.
    pub(crate) fn find(self, recipe: &Recipe) -> Result<Place, RunError> {
        let name = &recipe.hardware.accelerator;
        let planned = accelerator::find(name).is_ok_and(|found| found.runtime == Runtime::Cuda);
        if self == Self::Cpu || (self == Self::Auto && !planned) {
            return Ok(Place { on_gpu: false, note: None });
        }
        let lack = match (knows_gpus(), first_gpu()?.is_some()) {
            (_, true) => return Ok(Place { on_gpu: true, note: None }),
            (true, false) => "no NVIDIA GPU is to be found here",
            (false, false) => "this program was built without GPUs",
        };
        if self == Self::Gpu {
            return Err(RunError::NoGpu { lack, built: knows_gpus() });
        }
        let note =
            format!("hardware.accelerator = \"{name}\": {lack}, so that everything is computed on the CPU");
        Ok(Place { on_gpu: false, note: Some(note) })
    }
}

/// A trainer on the GPU that [`Compute::find`] found.
pub(crate) fn gpu_trainer(
    architecture: &shoestring_planner::architecture::Architecture,
    recipe: &Recipe,
) -> Result<DeviceTrainer, RunError> {
    let lack = "the NVIDIA GPU is gone";
    let gpu = first_gpu()?.ok_or(RunError::NoGpu { lack, built: knows_gpus() })?;
    let trainer: Result<_, EngineError> =
        DeviceTrainer::new(architecture, &recipe.optimizer, recipe.seed, &gpu);
    Ok(trainer?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::small_recipe;

    #[test]
    fn a_gpu_that_is_not_there_is_refused_where_it_is_asked_for_and_said_where_it_is_planned() {
        let mut recipe = small_recipe();
        for compute in [Compute::Auto, Compute::Cpu] {
            assert_eq!(compute.find(&recipe).expect("the CPU"), Place { on_gpu: false, note: None });
        }
        recipe.hardware.accelerator = "H100-SXM".to_owned();
        assert_eq!(Compute::Cpu.find(&recipe).expect("the CPU").note, None);
        if first_gpu().expect("an answer").is_some() {
            assert!(Compute::Auto.find(&recipe).expect("a GPU").on_gpu);
            return;
        }
        let place = Compute::Auto.find(&recipe).expect("the CPU");
        let note = place.note.expect("a note");
        assert!(!place.on_gpu && note.contains("\"H100-SXM\"") && note.contains("on the CPU"), "{note}");
        let refused = Compute::Gpu.find(&recipe).expect_err("no GPU");
        assert!(refused.is_usage() && refused.hint().is_some(), "{refused}");
    }
}
