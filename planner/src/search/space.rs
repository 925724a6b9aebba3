//! The space that a request leaves open, and the rough look at all of it: for every shape the machine that brings
//! most for the money, by a cost that is a line in the samples. What is near the best is then computed exactly.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;

use super::data::Training;
use super::error::RequestError;
use super::machine::{Machine, Machines, resolve};
use super::request::Request;
use super::schedule::FEWEST_USEFUL_SAMPLES;
use super::shape::{self, Shape, Work};
use crate::architecture::Architecture;
use crate::architectures;
use crate::calibration::Calibration;
use crate::compute;
use crate::law::{Case, DataShape, Law, StageShape};
use crate::memory::largest_microbatch;
use crate::money::{self, CostOptions, EvaluationLoad};
use crate::recipe::{Evaluation, Stage, TextReduction};
use crate::spread::Spread;
use crate::time::{Workload, stage_hours};
use crate::units::{Hours, Samples, Usd};

/// CLIP's byte-pair vocabulary, which `run` tokenises with; a smaller embedding cannot be trained here.
const RUNS_VOCABULARY: u32 = 49_408;
/// On one's own machine a plan's median cost leaves this part of the cap, since nothing else than the cap pays for
/// starting up and for a slower moment.
const OWN_MACHINE_MARGIN: f64 = 0.1;
/// Longest run where neither deadline nor number of accelerators is stated. Assumed.
pub(super) const ASSUMED_DEADLINE: Hours = Hours(90.0 * 24.0);

/// A shape on its best machine, roughly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rough {
    pub(super) shape: usize,
    pub(super) machine: usize,
    pub(super) nodes: u32,
    pub(super) samples: u64,
    /// The law's error; infinite where nothing is affordable.
    pub(super) error: f64,
    /// Roughly, at the confidence asked for.
    pub(super) usd: f64,
    /// Within budget and deadline, roughly.
    pub(super) feasible: bool,
}

/// Overheads as a line in the training hours: dollars = fixed + factor x training dollars.
#[derive(Clone, Copy, Debug)]
struct Overhead {
    fixed_usd: f64,
    factor: f64,
    fixed_hours: f64,
}

/// Cost and time as lines in the pretraining samples.
#[derive(Clone, Copy, Debug)]
struct Line {
    overhead: Overhead,
    /// Of everything, per hour.
    price: f64,
    /// Training hours that do not depend on the samples.
    fixed: f64,
    /// Training hours per sample.
    slope: f64,
}

impl Line {
    fn dollars(&self, samples: f64) -> f64 {
        self.overhead.fixed_usd + self.overhead.factor * self.price * (self.fixed + self.slope * samples)
    }

    fn hours(&self, samples: f64) -> f64 {
        self.overhead.fixed_hours + self.overhead.factor * (self.fixed + self.slope * samples)
    }

    fn samples_for_dollars(&self, dollars: f64) -> f64 {
        let each = self.overhead.factor * self.price * self.slope;
        (dollars - self.dollars(0.0)) / each.max(f64::MIN_POSITIVE)
    }

    fn samples_in_hours(&self, hours: f64) -> f64 {
        (hours - self.hours(0.0)) / (self.overhead.factor * self.slope).max(f64::MIN_POSITIVE)
    }
}

/// Hours per sample of every kind of work on so many of one machine: at the confidence asked for.
type Column = Vec<f64>;

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
    works: Vec<Work>,
    /// For each shape the indices of its stages' works.
    shape_works: Vec<Vec<usize>>,
    columns: RefCell<HashMap<(usize, u32), Column>>,
    overheads: RefCell<HashMap<(usize, usize, u32), Overhead>>,
    fits: RefCell<HashMap<(Work, u32, usize, u32), bool>>,
}

impl<'a> Space<'a> {
    /// Resolves names and lists what is open.
    pub(super) fn new(request: &'a Request, law: &'static Law) -> Result<Self, RequestError> {
        request.check()?;
        let machines = resolve(&request.hardware)?;
        let own = machines.is_this_machine();
        let training = Training::resolve(request)?;
        let architectures = architectures_of(request, &training, own)?;
        let mut reductions = request.text_reductions.clone();
        if own {
            // `run` has no part-of-speech tagger.
            reductions.retain(|&reduction| reduction != TextReduction::Syntax);
            if reductions.is_empty() {
                reductions.push(TextReduction::Truncate);
            }
        }
        let shapes = shape::all(&architectures, &request.limits(), &reductions);
        if shapes.is_empty() {
            let value = request.fixed.image_size_px.map_or_else(|| "-".to_owned(), |size| size.to_string());
            let hint = "image sizes are multiples of the patch (14, 16, 32 or 8 px), text tokens 2 to 32";
            let problem = "no architecture can be trained so";
            return Err(RequestError::new("--fixed", value, problem, hint));
        }
        let mut works: Vec<Work> = Vec::new();
        let mut position: HashMap<Work, usize> = HashMap::new();
        let shape_works = shapes
            .iter()
            .map(|shape| {
                let index = |work: Work| {
                    *position.entry(work).or_insert_with(|| {
                        works.push(work);
                        works.len() - 1
                    })
                };
                shape.works().into_iter().map(index).collect()
            })
            .collect();
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
            works,
            shape_works,
            columns: RefCell::default(),
            overheads: RefCell::default(),
            fits: RefCell::default(),
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

    /// The law's error of stages.
    fn error(&self, architecture: &Architecture, stages: &[Stage]) -> f64 {
        let shapes: Vec<StageShape> =
            stages.iter().map(|stage| StageShape::of(stage, architecture)).collect();
        self.law.error_percent(&self.case(architecture, &shapes))
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

    pub(super) fn options(&self, evaluation: &Evaluation) -> CostOptions {
        CostOptions { evaluation: self.evaluation_load(evaluation), ..CostOptions::default() }
    }

    /// Hours per sample of a work on so many machines.
    fn hours_per_sample(&self, work: usize, machine: usize, nodes: u32) -> f64 {
        let mut columns = self.columns.borrow_mut();
        let column = columns.entry((machine, nodes)).or_insert_with(|| {
            let machine = self.machine(machine, nodes);
            let speed = machine.speed(self.calibration());
            let million = Samples(1_000_000);
            self.works
                .iter()
                .map(|work| {
                    let load = Workload {
                        image_size_px: work.image_size_px,
                        image_tokens: work.image_tokens,
                        text_tokens: work.text_tokens,
                        samples: million,
                        batch: 1,
                    };
                    let time = stage_hours(self.architectures[work.architecture], &load, &speed);
                    time.hours.quantile(self.request.confidence).0 / 1e6
                })
                .collect()
        });
        column[work]
    }

    /// Overheads of an architecture on a machine, from two bills: a short and a long training.
    fn overhead(&self, shape: &Shape, machine: usize, nodes: u32) -> Overhead {
        *self.overheads.borrow_mut().entry((shape.index, machine, nodes)).or_insert_with(|| {
            let machine = self.machine(machine, nodes);
            let speed = machine.speed(self.calibration());
            let options = self.options(&Evaluation::default());
            let rental = machine.rental();
            let plain = Shape { tuning: Vec::new(), ..shape.clone() };
            let bill = |samples| {
                let stages = plain.stages(samples)?;
                let cost = money::cost(plain.architecture, &stages, &speed, &rental, &options);
                let training =
                    cost.stages.iter().fold(Spread::exact(Usd::ZERO), |sum, stage| sum.plus(stage.usd));
                Some((training.p50.dollars(), cost.total.p50.dollars(), cost.hours.p50.0))
            };
            let price = rental.usd_per_hour.dollars().max(1e-9);
            let scale = FEWEST_USEFUL_SAMPLES * 4;
            match (bill(scale), bill(scale * 1_000)) {
                (Some(short), Some(long)) if long.0 > short.0 => {
                    let factor = (long.1 - short.1) / (long.0 - short.0);
                    let fixed_usd = (short.1 - factor * short.0).max(0.0);
                    Overhead { fixed_usd, factor, fixed_hours: fixed_usd / price }
                }
                _ => Overhead { fixed_usd: 0.0, factor: 1.0, fixed_hours: 0.0 },
            }
        })
    }

    /// Whether every stage's step fits into the devices' memory.
    fn fits(&self, shape: &Shape, stages: &[Stage], machine: usize, nodes: u32) -> bool {
        let devices = self.machines.list[machine].devices() * nodes;
        let accelerator = self.machines.list[machine].offer.accelerator;
        shape.works().into_iter().zip(stages).all(|(work, stage)| {
            let key = (work, stage.batch, machine, nodes);
            *self.fits.borrow_mut().entry(key).or_insert_with(|| {
                let (image, text) = (work.image_tokens, work.text_tokens);
                largest_microbatch(shape.architecture, image, text, accelerator, devices, stage.batch).is_ok()
            })
        })
    }

    /// Cost and time of a shape on so many of one machine, as lines in its samples.
    fn line(&self, index: usize, machine: usize, nodes: u32) -> Line {
        let shape = &self.shapes[index];
        let price = self.machines.list[machine].usd_per_hour.dollars() * f64::from(nodes);
        let (mut fixed, mut slope) = (0.0, 0.0);
        for (&work, (constant, factor)) in self.shape_works[index].iter().zip(shape.amounts()) {
            let hours = self.hours_per_sample(work, machine, nodes);
            fixed += hours * constant;
            slope += hours * factor;
        }
        Line { overhead: self.overhead(shape, machine, nodes), price, fixed, slope }
    }

    /// A shape on one machine: as many samples as money and time allow, or those the user pinned.
    fn rough_on(&self, index: usize, machine: usize, nodes: u32, budget: Usd) -> Rough {
        let line = self.line(index, machine, nodes);
        let available = self.available(budget).dollars();
        let fewest = FEWEST_USEFUL_SAMPLES as f64;
        let (mut samples, mut feasible) = match self.request.samples {
            Some(Samples(pinned)) => (pinned as f64, line.dollars(pinned as f64) <= available),
            None => {
                let affordable = line.samples_for_dollars(available);
                (affordable, affordable >= fewest)
            }
        };
        if let Some(deadline) = self.deadline
            && line.hours(samples.max(0.0)) > deadline.0
        {
            let in_time = line.samples_in_hours(deadline.0);
            feasible &= self.request.samples.is_none() && in_time >= fewest;
            if self.request.samples.is_none() {
                samples = samples.min(in_time);
            }
        }
        let samples = samples.max(fewest) as u64;
        Rough {
            shape: index,
            machine,
            nodes,
            samples,
            error: f64::INFINITY,
            usd: line.dollars(samples as f64),
            feasible,
        }
    }

    /// Whether a rough candidate can be made and fits into memory; then its error is filled in.
    fn completed(&self, rough: Rough) -> Option<Rough> {
        let shape = &self.shapes[rough.shape];
        let stages = shape.stages(rough.samples)?;
        self.fits(shape, &stages, rough.machine, rough.nodes)
            .then(|| Rough { error: self.error(shape.architecture, &stages), ..rough })
    }

    /// A shape on every machine, and on several of it while that brings more; best first, memory not looked at.
    fn roughs_of(&self, index: usize, budget: Usd) -> Vec<Rough> {
        let mut found: Vec<Rough> = Vec::with_capacity(self.machines.list.len());
        for machine in 0..self.machines.list.len() {
            let mut best: Option<Rough> = None;
            for nodes in self.machines.node_counts(machine) {
                let rough = self.rough_on(index, machine, nodes, budget);
                let improves = best.as_ref().is_none_or(|best| better(&rough, best));
                if !improves && best.is_some_and(|best| best.feasible) {
                    // More machines only cost more once time no longer binds.
                    break;
                }
                if improves {
                    best = Some(rough);
                }
                found.push(rough);
            }
        }
        found.sort_by(|a, b| match (better(a, b), better(b, a)) {
            (true, _) => Ordering::Less,
            (_, true) => Ordering::Greater,
            _ => Ordering::Equal,
        });
        found
    }

    /// A shape on the best number of each machine, best first.
    pub(super) fn rough_by_machine(&self, index: usize, budget: Usd) -> Vec<Rough> {
        let mut seen = vec![false; self.machines.list.len()];
        let fitting = self.roughs_of(index, budget).into_iter().filter_map(|rough| self.completed(rough));
        fitting.filter(|rough| !std::mem::replace(&mut seen[rough.machine], true)).collect()
    }

    /// Every shape on its best machine, the feasible ones first, then by error.
    pub(super) fn look(&self, budget: Usd) -> Vec<Rough> {
        let mut all: Vec<Rough> = (0..self.shapes.len())
            .filter_map(|index| {
                self.roughs_of(index, budget).into_iter().find_map(|rough| self.completed(rough))
            })
            .collect();
        all.sort_by(|a, b| b.feasible.cmp(&a.feasible).then(a.error.total_cmp(&b.error)));
        all
    }

    /// The quickest training, at the fewest useful samples (or the pinned ones), of those that the budget pays,
    /// roughly; with the index of its shape.
    pub(super) fn quickest(&self, budget: Usd) -> Option<(Hours, usize)> {
        let samples = self.request.samples.map_or(FEWEST_USEFUL_SAMPLES, |samples| samples.0) as f64;
        let available = self.available(budget).dollars();
        let mut best: Option<(Hours, usize)> = None;
        for index in 0..self.shapes.len() {
            for machine in 0..self.machines.list.len() {
                for nodes in self.machines.node_counts(machine) {
                    let line = self.line(index, machine, nodes);
                    let hours = line.hours(samples);
                    let paid = line.dollars(samples) <= available;
                    if paid && best.is_none_or(|(least, _)| hours < least.0) {
                        best = Some((Hours(hours), index));
                    }
                }
            }
        }
        best
    }
}

/// Feasible before not; then more samples, then less money.
fn better(a: &Rough, b: &Rough) -> bool {
    if a.feasible != b.feasible {
        return a.feasible;
    }
    // Pinned samples, and the fewest useful ones of what is too dear, are equal everywhere.
    if a.samples != b.samples { a.samples > b.samples } else { a.usd < b.usd }
}

fn architectures_of(
    request: &Request,
    training: &Training,
    own: bool,
) -> Result<Vec<&'static Architecture>, RequestError> {
    let trainable = |architecture: &Architecture| architecture.text_cfg.vocab_size >= RUNS_VOCABULARY;
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
