//! The rough look: every shape on every number of every machine, by a cost that is a line in the samples. Two table
//! look-ups and a dozen products a candidate; what is near the best is computed exactly afterwards.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::HashMap;

use super::schedule::{FEWEST_USEFUL_SAMPLES, SMALLEST_SEARCHED_BATCH};
use super::shape::{Shape, Work};
use super::space::Space;
use crate::memory::largest_microbatch;
use crate::money;
use crate::recipe::{Evaluation, Stage};
use crate::spread::Spread;
use crate::time::{Workload, stage_hours};
use crate::units::{Hours, Samples, Usd};

/// Overheads are reckoned anew when the money changes by more than this factor: they are lines only nearby.
const SAME_SCALE: f64 = 3.0;
/// Works in a shape at most: pretraining and two fine-tuning stages.
const MOST_STAGES: usize = 3;

/// A shape on so many of one machine, roughly.
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

impl Overhead {
    /// Not reckoned yet.
    const UNKNOWN: Self = Self { fixed_usd: 0.0, factor: f64::NAN, fixed_hours: 0.0 };
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

/// A shape's stages: which work each is, and its samples as a line in the pretraining samples.
#[derive(Clone, Copy, Debug)]
struct Parts {
    architecture: usize,
    count: usize,
    works: [usize; MOST_STAGES],
    amounts: [(f64, f64); MOST_STAGES],
}

/// So many of one machine.
struct Fleet {
    machine: usize,
    nodes: u32,
    usd_per_hour: f64,
}

/// The tables of the rough look.
pub(super) struct Grid {
    works: Vec<Work>,
    parts: Vec<Parts>,
    fleets: Vec<Fleet>,
    /// For each machine the range of its fleets, fewest first.
    of_machine: Vec<std::ops::Range<usize>>,
    /// Hours per sample at the confidence asked for, by work and fleet, so that a shape's candidates lie side by side;
    /// NaN before the first look at the fleet.
    hours: Vec<Cell<f64>>,
    /// The money that the overheads are reckoned at.
    scale: Cell<f64>,
    /// By architecture and fleet.
    overheads: Vec<Cell<Overhead>>,
    fits: RefCell<HashMap<(Work, u32, usize), bool>>,
    /// By work and fleet: whether the smallest batch fits.
    fits_at_all: Vec<Cell<Option<bool>>>,
    looked_at: Cell<u64>,
}

impl Grid {
    /// Empty tables for shapes and machines.
    pub(super) fn new(shapes: &[Shape], machines: &super::machine::Machines, architectures: usize) -> Self {
        let mut works: Vec<Work> = Vec::new();
        let mut position: HashMap<Work, usize> = HashMap::new();
        let parts = shapes
            .iter()
            .map(|shape| {
                let mut parts = Parts {
                    architecture: shape.index,
                    count: 0,
                    works: [0; MOST_STAGES],
                    amounts: [(0.0, 0.0); MOST_STAGES],
                };
                for (work, amount) in shape.works().into_iter().zip(shape.amounts()).take(MOST_STAGES) {
                    parts.works[parts.count] = *position.entry(work).or_insert_with(|| {
                        works.push(work);
                        works.len() - 1
                    });
                    parts.amounts[parts.count] = amount;
                    parts.count += 1;
                }
                parts
            })
            .collect();
        let (mut fleets, mut of_machine) = (Vec::new(), Vec::new());
        for (index, machine) in machines.list.iter().enumerate() {
            let first = fleets.len();
            fleets.extend(machines.node_counts(index).map(|nodes| Fleet {
                machine: index,
                nodes,
                usd_per_hour: machine.usd_per_hour.dollars() * f64::from(nodes),
            }));
            of_machine.push(first..fleets.len());
        }
        Self {
            parts,
            overheads: vec![Cell::new(Overhead::UNKNOWN); fleets.len() * architectures],
            hours: vec![Cell::new(f64::NAN); fleets.len() * works.len()],
            fits_at_all: vec![Cell::new(None); fleets.len() * works.len()],
            works,
            fleets,
            of_machine,
            scale: Cell::new(0.0),
            fits: RefCell::default(),
            looked_at: Cell::new(0),
        }
    }
}

impl Grid {
    /// Candidates looked at so far: shapes on numbers of machines.
    pub(super) fn looked_at(&self) -> u64 {
        self.looked_at.get()
    }
}

impl Space<'_> {
    /// Fills in the hours per sample of every work on a fleet.
    #[cold]
    fn fill(&self, index: usize) {
        let fleet = &self.grid.fleets[index];
        let machine = self.machine(fleet.machine, fleet.nodes);
        let speed = machine.speed(self.calibration());
        for (row, work) in self.grid.works.iter().enumerate() {
            let load = Workload {
                image_size_px: work.image_size_px,
                image_tokens: work.image_tokens,
                text_tokens: work.text_tokens,
                samples: Samples(1_000_000),
                batch: 1,
            };
            let time = stage_hours(self.architectures[work.architecture], &load, &speed);
            let hours = time.hours.quantile(self.request.confidence).0 / 1e6;
            self.grid.hours[row * self.grid.fleets.len() + index].set(hours);
        }
    }

    /// Overheads of an architecture on a fleet, from the bills of two trainings that cost about what is available.
    #[cold]
    fn overhead(&self, shape: &Shape, index: usize, pretraining_hours: f64) -> Overhead {
        let fleet = &self.grid.fleets[index];
        let machine = self.machine(fleet.machine, fleet.nodes);
        let speed = machine.speed(self.calibration());
        let options = self.options_on(&Evaluation::default(), &machine);
        let rental = machine.rental();
        let confidence = self.request.confidence;
        let bill = |samples: u64| {
            let first = Shape { tuning: Vec::new(), ..shape.clone() };
            let stages = first.stages(samples)?;
            let cost = money::cost(shape.architecture, &stages, &speed, &rental, &options);
            let training =
                cost.stages.iter().fold(Spread::exact(Usd::ZERO), |sum, stage| sum.plus(stage.usd));
            Some((
                training.quantile(confidence).dollars(),
                cost.at_confidence(confidence).dollars(),
                cost.hours_at_confidence(confidence).0,
            ))
        };
        let affordable = self.grid.scale.get() / (pretraining_hours * fleet.usd_per_hour).max(1e-12);
        let fewest = FEWEST_USEFUL_SAMPLES as f64;
        let long = affordable.clamp(4.0 * fewest, 1e15);
        match (bill((long / 4.0) as u64), bill(long as u64)) {
            (Some(short), Some(long)) if long.0 > short.0 => {
                let factor = ((long.1 - short.1) / (long.0 - short.0)).max(1.0);
                let fixed_usd = (short.1 - factor * short.0).max(0.0);
                Overhead { fixed_usd, factor, fixed_hours: fixed_usd / fleet.usd_per_hour.max(1e-9) }
            }
            _ => Overhead { fixed_usd: 0.0, factor: 1.0, fixed_hours: 0.0 },
        }
    }

    /// Overheads are kept while the money is about the same.
    fn set_scale(&self, budget: Usd) {
        let now = self.available(budget).dollars().max(1e-6);
        let before = self.grid.scale.get();
        if before == 0.0 || (now / before).ln().abs() > SAME_SCALE.ln() {
            self.grid.scale.set(now);
            self.grid.overheads.iter().for_each(|overhead| overhead.set(Overhead::UNKNOWN));
        }
    }

    /// Cost and time of a shape on a fleet, as lines in its samples.
    fn line(&self, index: usize, fleet: usize) -> Line {
        let parts = &self.grid.parts[index];
        let rented = &self.grid.fleets[fleet];
        let fleets = self.grid.fleets.len();
        let hours_of = |work: usize| self.grid.hours[work * fleets + fleet].get();
        if hours_of(parts.works[0]).is_nan() {
            self.fill(fleet);
        }
        let (mut fixed, mut slope) = (0.0, 0.0);
        for stage in 0..parts.count {
            let hours = hours_of(parts.works[stage]);
            fixed += hours * parts.amounts[stage].0;
            slope += hours * parts.amounts[stage].1;
        }
        let kept = &self.grid.overheads[parts.architecture * fleets + fleet];
        if kept.get().factor.is_nan() {
            kept.set(self.overhead(&self.shapes[index], fleet, hours_of(parts.works[0])));
        }
        let overhead = kept.get();
        Line { overhead, price: rented.usd_per_hour, fixed, slope }
    }

    /// A shape on one fleet: as many samples as money and time allow, or those that are wanted.
    fn rough_on(&self, index: usize, fleet: usize, available: f64, wanted: Option<f64>) -> Rough {
        let line = self.line(index, fleet);
        let fewest = FEWEST_USEFUL_SAMPLES as f64;
        let (mut samples, mut feasible) = match wanted {
            Some(wanted) => (wanted, line.dollars(wanted) <= available),
            None => {
                let affordable = line.samples_for_dollars(available);
                (affordable, affordable >= fewest)
            }
        };
        if let Some(deadline) = self.deadline
            && line.hours(samples.max(0.0)) > deadline.0
        {
            let in_time = line.samples_in_hours(deadline.0);
            feasible &= wanted.is_none() && in_time >= fewest;
            if wanted.is_none() {
                samples = samples.min(in_time);
            }
        }
        let samples = samples.max(fewest);
        let Fleet { machine, nodes, .. } = self.grid.fleets[fleet];
        let usd = line.dollars(samples);
        Rough { shape: index, machine, nodes, samples: samples as u64, error: f64::INFINITY, usd, feasible }
    }

    fn wanted(&self) -> Option<f64> {
        self.request.samples.map(|samples| samples.0 as f64)
    }

    /// Whether every stage's step fits into the devices' memory.
    fn fits(&self, shape: &Shape, stages: &[Stage], machine: usize, nodes: u32) -> bool {
        let fleet = self.grid.of_machine[machine].start + nodes.ilog2() as usize;
        let devices = self.machines.list[machine].devices() * nodes;
        let accelerator = self.machines.list[machine].offer.accelerator;
        shape.works().into_iter().zip(stages).all(|(work, stage)| {
            *self.grid.fits.borrow_mut().entry((work, stage.batch, fleet)).or_insert_with(|| {
                let (image, text) = (work.image_tokens, work.text_tokens);
                largest_microbatch(shape.architecture, image, text, accelerator, devices, stage.batch).is_ok()
            })
        })
    }

    /// Whether every stage of a shape fits into a fleet's memory in the smallest batch.
    fn fits_at_all(&self, index: usize, fleet: usize) -> bool {
        let parts = &self.grid.parts[index];
        let Fleet { machine, nodes, .. } = self.grid.fleets[fleet];
        let machine = &self.machines.list[machine];
        parts.works[..parts.count].iter().all(|&work| {
            let kept = &self.grid.fits_at_all[work * self.grid.fleets.len() + fleet];
            kept.get().unwrap_or_else(|| {
                let asked = &self.grid.works[work];
                let (image, text) = (asked.image_tokens, asked.text_tokens);
                let (accelerator, devices) = (machine.offer.accelerator, machine.devices() * nodes);
                let batch = SMALLEST_SEARCHED_BATCH;
                let architecture = self.architectures[asked.architecture];
                let fits = largest_microbatch(architecture, image, text, accelerator, devices, batch).is_ok();
                kept.set(Some(fits));
                fits
            })
        })
    }

    /// The stages of a shape in the batch that the law expects most of, or, where that does not fit into memory, in the
    /// largest smaller one that does. `None` where none fits or the menu does not apply.
    pub(super) fn fitted_stages(
        &self,
        shape: &Shape,
        samples: u64,
        machine: usize,
        nodes: u32,
    ) -> Option<Vec<Stage>> {
        let mut stages = self.stages(shape, samples)?;
        while !self.fits(shape, &stages, machine, nodes) {
            let batch = stages.first()?.batch / 2;
            if batch < SMALLEST_SEARCHED_BATCH || self.request.fixed.batch().is_some() {
                return None;
            }
            stages = shape.stages_with(samples, batch)?;
            self.request.fixed.apply(&mut stages);
        }
        Some(stages)
    }

    /// Whether a rough candidate can be made and fits into memory; then its error is filled in.
    fn completed(&self, rough: Rough) -> Option<Rough> {
        let shape = &self.shapes[rough.shape];
        let stages = self.fitted_stages(shape, rough.samples, rough.machine, rough.nodes)?;
        Some(Rough { error: self.error(shape.architecture, &stages), ..rough })
    }

    /// A shape on every machine, and on several of it while that brings more or the step does not fit into fewer.
    fn each_rough(&self, index: usize, budget: Usd, wanted: Option<f64>, mut take: impl FnMut(Rough)) {
        let available = self.available(budget).dollars();
        for fleets in &self.grid.of_machine {
            let mut best: Option<Rough> = None;
            for fleet in fleets.clone() {
                let rough = self.rough_on(index, fleet, available, wanted);
                if let Some(before) = &best
                    && !better(&rough, before)
                    && before.feasible
                {
                    let fit = self.fits_at_all(index, fleet - 1);
                    // More machines only cost more once time no longer binds and the step fits.
                    if fit {
                        break;
                    }
                }
                if best.is_none_or(|before| better(&rough, &before)) {
                    best = Some(rough);
                }
                take(rough);
            }
        }
    }

    /// The same, best first.
    fn roughs_of(&self, index: usize, budget: Usd, wanted: Option<f64>) -> Vec<Rough> {
        let mut found = Vec::with_capacity(self.machines.list.len());
        self.each_rough(index, budget, wanted, |rough| found.push(rough));
        found.sort_by(by_promise);
        found
    }

    /// Those of the best numbers of each machine that the rough look cannot tell from `best`, in what they bring or,
    /// where samples are pinned, in what they cost.
    pub(super) fn nearby(&self, best: &Rough, budget: Usd, nearly: f64, most: usize) -> Vec<Rough> {
        self.set_scale(budget);
        let pinned = self.request.samples.is_some();
        let mut found = Vec::new();
        self.each_rough(best.shape, budget, self.wanted(), |other| {
            let near = other.feasible
                && other.samples as f64 >= nearly * best.samples as f64
                && (!pinned || nearly * other.usd <= best.usd);
            if near {
                found.push(other);
            }
        });
        found.sort_by(by_promise);
        found.into_iter().filter_map(|rough| self.completed(rough)).take(most).collect()
    }

    /// A shape on the best number of each machine, best first.
    pub(super) fn rough_by_machine(&self, index: usize, budget: Usd) -> Vec<Rough> {
        self.set_scale(budget);
        let mut seen = vec![false; self.machines.list.len()];
        let fitting = self
            .roughs_of(index, budget, self.wanted())
            .into_iter()
            .filter_map(|rough| self.completed(rough));
        fitting.filter(|rough| !std::mem::replace(&mut seen[rough.machine], true)).collect()
    }

    /// A shape at these samples on each machine whatever it costs, cheapest first.
    pub(super) fn rough_at(&self, index: usize, samples: u64, scale: Usd) -> Vec<Rough> {
        self.set_scale(scale);
        let mut found = self.roughs_of(index, Usd::MAX, Some(samples as f64));
        found.retain(|rough| rough.feasible);
        found.sort_by(|a, b| a.usd.total_cmp(&b.usd));
        found.into_iter().filter_map(|rough| self.completed(rough)).collect()
    }

    /// Every shape on its best machine, the feasible ones first, then by error.
    pub(super) fn look(&self, budget: Usd) -> Vec<Rough> {
        self.set_scale(budget);
        let mut looked_at = 0;
        let mut all: Vec<Rough> = (0..self.shapes.len())
            .filter_map(|index| {
                let mut best: Option<Rough> = None;
                self.each_rough(index, budget, self.wanted(), |rough| {
                    looked_at += 1;
                    if best.is_none_or(|best| better(&rough, &best)) {
                        best = Some(rough);
                    }
                });
                // Sorting all is only worth it where the most promising one does not fit.
                self.completed(best?).or_else(|| {
                    let roughs = self.roughs_of(index, budget, self.wanted());
                    roughs.into_iter().skip(1).find_map(|rough| self.completed(rough))
                })
            })
            .collect();
        self.grid.looked_at.set(self.grid.looked_at.get() + looked_at);
        all.sort_by(|a, b| b.feasible.cmp(&a.feasible).then(a.error.total_cmp(&b.error)));
        all
    }

    /// The quickest training, at the fewest useful samples (or the pinned ones), of those that the budget pays,
    /// roughly; with the index of its shape.
    pub(super) fn quickest(&self, budget: Usd) -> Option<(Hours, usize)> {
        self.set_scale(budget);
        let samples = self.request.samples.map_or(FEWEST_USEFUL_SAMPLES, |samples| samples.0) as f64;
        let available = self.available(budget).dollars();
        let mut best: Option<(Hours, usize)> = None;
        for index in 0..self.shapes.len() {
            for fleet in 0..self.grid.fleets.len() {
                let line = self.line(index, fleet);
                let hours = line.hours(samples);
                let paid = line.dollars(samples) <= available;
                if paid && best.is_none_or(|(least, _)| hours < least.0) {
                    best = Some((Hours(hours), index));
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

fn by_promise(a: &Rough, b: &Rough) -> Ordering {
    match (better(a, b), better(b, a)) {
        (true, _) => Ordering::Less,
        (_, true) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}

const REPEATED_LOOKS: usize = 5;

/// How long the rough look takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LookTime {
    /// Shapes on numbers of machines that were looked at.
    pub candidates: u64,
    /// Seconds of the first look, which fills the tables.
    pub first_seconds: f64,
    /// Seconds of the shortest of five more looks.
    pub again_seconds: f64,
}

/// Looks roughly at everything that a request leaves open, six times; `clock` gives seconds. For benchmarks.
pub fn time_rough_look(
    request: &super::Request,
    clock: &mut dyn FnMut() -> f64,
) -> Result<LookTime, super::SearchError> {
    let space = Space::new(request, crate::law::Law::built_in())?;
    let budget = request.budgets.first().copied().unwrap_or_default();
    let start = clock();
    space.look(budget);
    let first_seconds = clock() - start;
    let (mut candidates, mut again_seconds) = (0, f64::INFINITY);
    for _ in 0..REPEATED_LOOKS {
        let before = space.grid.looked_at.get();
        let start = clock();
        space.look(budget);
        again_seconds = again_seconds.min(clock() - start);
        candidates = space.grid.looked_at.get() - before;
    }
    Ok(LookTime { candidates, first_seconds, again_seconds })
}
