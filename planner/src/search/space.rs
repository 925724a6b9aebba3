//! The space that a request leaves open: machines, architectures, shapes, and what holds for all of them.

use super::data::Training;
use super::error::RequestError;
use super::grid::Grid;
use super::hardware::resolve;
use super::machine::{Machine, Machines};
use super::request::Request;
use super::shape::{self, Shape};
use crate::architecture::Architecture;
use crate::architectures;
use crate::calibration::{Calibration, PictureFormat, StoredPictures};
use crate::compute;
use crate::law::{Case, DataShape, Law, StageShape};
use crate::money::{CostOptions, EvaluationLoad, Fallback};
use crate::recipe::{DataSource, Evaluation};
use crate::time;
use crate::units::{Hours, Samples, Usd};

/// CLIP's byte-pair vocabulary, which `run` tokenises with; a smaller embedding cannot be trained here.
const RUNS_VOCABULARY: u32 = 49_408;
/// On one's own machine a plan's median cost leaves this part of the cap, since nothing else than the cap pays for
/// starting up, for slower moments, and for reading pictures on the cores that train: the demo's run was measured at
/// 0.83 of the speed that `calibrate` finds without any data.
const OWN_MACHINE_MARGIN: f64 = 0.2;
/// Longest run where neither deadline nor number of accelerators is stated. Assumed.
pub(super) const ASSUMED_DEADLINE: Hours = Hours(90.0 * 24.0);

/// What a request leaves open.
pub(super) struct Space<'a> {
    pub(super) request: &'a Request,
    pub(super) law: &'static Law,
    pub(super) training: Training,
    pub(super) machines: Machines,
    pub(super) architectures: Vec<&'static Architecture>,
    pub(super) shapes: Vec<Shape>,
    /// Latest end.
    pub(super) deadline: Option<Hours>,
    /// Nobody stated it.
    pub(super) deadline_assumed: bool,
    /// Part of the budget that plans may use.
    pub(super) usable: f64,
    pub(super) grid: Grid,
}

impl<'a> Space<'a> {
    /// Resolves names and lists what is open.
    pub(super) fn new(request: &'a Request, law: &'static Law) -> Result<Self, RequestError> {
        request.check()?;
        let machines = resolve(&request.hardware)?;
        let own = machines.is_this_machine();
        let training = Training::resolve(request)?;
        let architectures = architectures_of(request, &training, own)?;
        let shapes = shape::all(&architectures, &request.limits(), &request.text_reductions);
        if shapes.is_empty() {
            let value = request.fixed.image_size_px.map_or_else(|| "-".to_owned(), |size| size.to_string());
            let hint = "image sizes are multiples of the patch (14, 16, 32 or 8 px), text tokens 2 to 32";
            let problem = "no architecture can be trained so";
            return Err(RequestError::new("--fixed", value, problem, hint));
        }
        let grid = Grid::new(&shapes, &machines, architectures.len());
        let deadline_assumed = request.deadline.is_none() && request.hardware.gpus.is_none() && !own;
        Ok(Self {
            law,
            training,
            deadline: request.deadline.or(deadline_assumed.then_some(ASSUMED_DEADLINE)),
            deadline_assumed,
            usable: if own { 1.0 - OWN_MACHINE_MARGIN } else { 1.0 },
            machines,
            architectures,
            shapes,
            grid,
            request,
        })
    }

    /// Money that a plan may be expected to cost.
    pub(super) fn available(&self, budget: Usd) -> Usd {
        Usd::from_micros((budget.micros() as f64 * self.usable) as i64)
    }

    pub(super) fn calibration(&self) -> Option<&Calibration> {
        self.request.calibration.as_ref().filter(|_| self.machines.is_this_machine())
    }

    /// How the pictures are stored: as the user's are, or drawn whenever they are read.
    fn stored(&self) -> Option<StoredPictures> {
        match self.training.data.train {
            DataSource::Synthetic { image_size_px, .. } => {
                Some(StoredPictures { format: PictureFormat::Drawn, side_px: image_size_px })
            }
            DataSource::Webdataset { .. }
            | DataSource::Folder { .. }
            | DataSource::List { .. }
            | DataSource::Mixed { .. } => self.request.stored,
        }
    }

    /// A machine as the time model sees it.
    pub(super) fn speed_of<'b>(&'b self, machine: &'b Machine) -> time::Machine<'b> {
        machine.speed(self.calibration(), self.stored())
    }

    /// The machine of an index, so many of it.
    pub(super) fn machine(&self, index: usize, nodes: u32) -> Machine {
        let machine = &self.machines.list[index];
        if nodes == 1 { machine.clone() } else { machine.times(nodes * machine.nodes) }
    }

    /// The law's view of a training on this data.
    pub(super) fn case<'b>(&'b self, architecture: &'b Architecture, stages: &'b [StageShape]) -> Case<'b> {
        let data = &self.training.data;
        let data = DataShape { name: &data.name, unique_samples: data.unique_samples };
        Case { architecture, stages, data }
    }

    /// What evaluating costs: the user's labelled images, or ImageNet where the data are published ones.
    pub(super) fn evaluation_load(&self, evaluation: &Evaluation) -> EvaluationLoad {
        let per_stage = evaluation.per_stage + 1;
        match &self.training.data.evaluation {
            Some(data) => {
                let images = match evaluation.max_samples {
                    Samples(0) => data.samples.0,
                    Samples(most) => most.min(data.samples.0),
                };
                // Class names are in a file that is not read here: at most one a picture.
                EvaluationLoad { per_stage, images, prompts: images.min(1_000) }
            }
            None if self.machines.is_this_machine() => EvaluationLoad::NONE,
            None => EvaluationLoad { per_stage, ..EvaluationLoad::default() },
        }
    }

    /// What is counted besides training on this machine.
    pub(super) fn options_on(&self, evaluation: &Evaluation, machine: &Machine) -> CostOptions {
        let fallback = self.request.hardware.fallback_after.and_then(|after| {
            let each = machine.offer.price(false).filter(|_| machine.spot)?;
            let all = each.micros().saturating_mul(i64::from(machine.nodes));
            Some(Fallback { after, usd_per_hour: Usd::from_micros(all) })
        });
        CostOptions {
            evaluation: self.evaluation_load(evaluation),
            idle: self.request.keeping.idle,
            fallback,
            extras: self.request.keeping.extras(self.training.data.unique_samples),
            ..CostOptions::default()
        }
    }
}

fn architectures_of(
    request: &Request,
    training: &Training,
    own: bool,
) -> Result<Vec<&'static Architecture>, RequestError> {
    let trainable = |architecture: &Architecture| architecture.text_cfg.vocab_size >= RUNS_VOCABULARY;
    if let Some(own) = request.own_architecture {
        request.check_fixed(own)?;
        return Ok(vec![own]);
    }
    if let Some(name) = &request.architecture {
        let known = "`shoestring law` names them";
        let found = architectures::find(name).map_err(|error| {
            let hint = error.hint().unwrap_or_else(|| known.to_owned());
            RequestError::new("--arch", name, "no architecture is called so", hint)
        })?;
        request.check_fixed(found)?;
        if own && !trainable(found) {
            let problem = format!(
                "its vocabulary of {} is smaller than CLIP's {RUNS_VOCABULARY}, which `run` tokenises with",
                found.text_cfg.vocab_size
            );
            let hint = "on this machine use ViT-Micro-8, ViT-Tiny-8, ViT-B-32, ... or plan for a rented one";
            return Err(RequestError::new("--arch", name, problem, hint));
        }
        return Ok(vec![found]);
    }
    let small_enough = |architecture: &Architecture| {
        training.largest_image_px.is_none_or(|most| architecture.vision_cfg.image_size <= most)
    };
    let mut list: Vec<&'static Architecture> =
        architectures::built_in().iter().filter(|architecture| !own || trainable(architecture)).collect();
    if list.iter().any(|architecture| small_enough(architecture)) {
        list.retain(|architecture| small_enough(architecture));
    }
    list.sort_by_key(|architecture| compute::parameters(architecture).image);
    Ok(list)
}
