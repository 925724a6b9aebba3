//! What a run computes on.

use std::num::NonZeroUsize;

use shoestring_engine::{Device, count_gpus, knows_gpus, open_gpus};
use shoestring_planner::accelerator::{self, Runtime};
use shoestring_planner::recipe::Recipe;

use super::error::RunError;

/// What a run computes on, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// All NVIDIA GPUs where the recipe is planned for such, this build can use them and there are any; else the
    /// CPU.
    #[default]
    Auto,
    /// The CPU, by this program's own kernels.
    Cpu,
    /// So many NVIDIA GPUs of this machine, or all of them.
    Gpus(Option<NonZeroUsize>),
}

/// What a run computes on, as it turned out.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Devices that share each batch; none: the CPU.
    pub(crate) gpus: Vec<Device>,
    /// Why the recipe's accelerator is not used.
    pub(crate) note: Option<String>,
}

impl Compute {
    /// Looks for what was asked for.
    pub(crate) fn find(self, recipe: &Recipe) -> Result<Place, RunError> {
        let name = &recipe.hardware.accelerator;
        let planned = accelerator::find(name).is_ok_and(|found| found.runtime == Runtime::Cuda);
        let asked = match self {
            Self::Gpus(asked) => asked.map(NonZeroUsize::get),
            Self::Auto if planned => None,
            Self::Auto | Self::Cpu => return Ok(Place { gpus: Vec::new(), note: None }),
        };
        let lack = match count_gpus() {
            Ok(0) if knows_gpus() => "no NVIDIA GPU is to be found here".to_owned(),
            Ok(0) => "this program was built without GPUs".to_owned(),
            Ok(there) => {
                return Ok(Place { gpus: open_gpus(devices(recipe, there, asked)?)?, note: None });
            }
            Err(error) => error.to_string(),
        };
        if self != Self::Auto {
            return Err(RunError::NoGpu { lack, built: knows_gpus() });
        }
        let note =
            format!("hardware.accelerator = \"{name}\": {lack}, so that everything is computed on the CPU");
        Ok(Place { gpus: Vec::new(), note: Some(note) })
    }
}

/// How many of the GPUs that are there share the batches: as many as asked for, or all.
fn devices(recipe: &Recipe, there: usize, asked: Option<usize>) -> Result<usize, RunError> {
    let count = asked.unwrap_or(there);
    if count > there {
        return Err(RunError::TooFewGpus { asked: count, there });
    }
    let shares = |count: usize, batch: u32| (batch as usize).is_multiple_of(count);
    match recipe.stages.iter().position(|stage| !shares(count, stage.batch)) {
        Some(stage) => {
            let all_share = |count: &usize| recipe.stages.iter().all(|stage| shares(*count, stage.batch));
            let fits = (1..count).rev().find(all_share).unwrap_or(1);
            Err(RunError::UnevenBatch { stage, batch: recipe.stages[stage].batch, gpus: count, fits })
        }
        None => Ok(count),
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
            assert!(place.gpus.is_empty() && place.note.is_none(), "{place:?}");
        }
        recipe.hardware.accelerator = "H100-SXM".to_owned();
        assert_eq!(Compute::Cpu.find(&recipe).expect("the CPU").note, None);
        if count_gpus().is_ok_and(|count| count > 0) {
            assert!(!Compute::Auto.find(&recipe).expect("GPUs").gpus.is_empty());
            return;
        }
        let place = Compute::Auto.find(&recipe).expect("the CPU");
        let note = place.note.expect("a note");
        assert!(
            place.gpus.is_empty() && note.contains("\"H100-SXM\"") && note.contains("on the CPU"),
            "{note}"
        );
        for asked in [None, NonZeroUsize::new(2)] {
            let refused = Compute::Gpus(asked).find(&recipe).expect_err("no GPU");
            assert!(refused.is_usage() && refused.hint().is_some(), "{refused}");
        }
    }

    #[test]
    fn all_gpus_share_the_batches_or_as_many_as_asked_for() {
        let mut recipe = small_recipe();
        for stage in &mut recipe.stages {
            stage.batch = 24;
        }
        assert_eq!(devices(&recipe, 8, None).expect("8 share 24"), 8);
        assert_eq!(devices(&recipe, 8, Some(3)).expect("3 share 24"), 3);
        let refused = devices(&recipe, 2, Some(4)).expect_err("2 are there");
        assert_eq!(refused.to_string(), "--devices 4: this machine has 2 NVIDIA GPUs");
        assert!(refused.is_usage() && refused.hint().is_some());
        recipe.stages[1].batch = 20;
        let refused = devices(&recipe, 8, None).expect_err("8 do not share 20");
        assert_eq!(refused.to_string(), "stage[1].batch = 20: 8 GPUs cannot share it evenly");
        let hint = refused.hint().expect("a hint");
        assert!(
            refused.is_usage() && hint.contains("--devices 4") && hint.contains("multiple of 8"),
            "{hint}"
        );
        assert_eq!(devices(&recipe, 8, Some(4)).expect("4 share both"), 4);
    }
}
