//! The tables of the rough look: cost and time of every shape on every number of every machine, as lines in the samples.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::schedule::{FEWEST_USEFUL_SAMPLES, SMALLEST_SEARCHED_BATCH};
use super::shape::{MOST_STAGES, Shape, Work};
use super::sketch::Sketch;
use super::space::Space;
use crate::memory::largest_microbatch;
use crate::money;
use crate::recipe::{Evaluation, ImageReduction};
use crate::spread::Spread;
use crate::time::{fed, trained_per_second};
use crate::units::Usd;

/// Overheads are reckoned anew when the money changes by more than this factor: they are lines only nearby.
const SAME_SCALE: f64 = 3.0;

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
pub(super) struct Line {
    overhead: Overhead,
    /// Of everything, per hour.
    price: f64,
    /// Training hours that do not depend on the samples.
    fixed: f64,
    /// Training hours per sample.
    slope: f64,
}

impl Line {
    pub(super) fn dollars(&self, samples: f64) -> f64 {
        self.overhead.fixed_usd + self.overhead.factor * self.price * (self.fixed + self.slope * samples)
    }

    pub(super) fn hours(&self, samples: f64) -> f64 {
        self.overhead.fixed_hours + self.overhead.factor * (self.fixed + self.slope * samples)
    }

    pub(super) fn samples_for_dollars(&self, dollars: f64) -> f64 {
        let each = self.overhead.factor * self.price * self.slope;
        (dollars - self.dollars(0.0)) / each.max(f64::MIN_POSITIVE)
    }

    pub(super) fn samples_in_hours(&self, hours: f64) -> f64 {
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
pub(super) struct Fleet {
    pub(super) machine: usize,
    pub(super) nodes: u32,
    usd_per_hour: f64,
}

/// Training samples a second of each work.
type Rates = Vec<Spread>;

/// The tables of the rough look.
pub(super) struct Grid {
    works: Vec<Work>,
    parts: Vec<Parts>,
    pub(super) fleets: Vec<Fleet>,
    /// For each machine the range of its fleets, fewest first.
    pub(super) of_machine: Vec<std::ops::Range<usize>>,
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
    /// By accelerator and number of devices.
    trained: RefCell<HashMap<(&'static str, u32), Rates>>,
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
                for (work, amount) in shape.works().iter().copied().zip(shape.amounts()).take(MOST_STAGES) {
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
            trained: RefCell::default(),
        }
    }
}

impl Grid {
    /// Candidates looked at so far: shapes on numbers of machines.
    pub(super) fn looked_at(&self) -> u64 {
        self.looked_at.get()
    }

    /// So many candidates more were looked at.
    pub(super) fn count(&self, candidates: u64) {
        self.looked_at.set(self.looked_at.get() + candidates);
    }

    /// So many of one machine; numbers are powers of two.
    pub(super) fn fleet(&self, machine: usize, nodes: u32) -> usize {
        self.of_machine[machine].start + nodes.ilog2() as usize
    }
}

impl Space<'_> {
    /// Fills in the hours per sample of every work on a fleet. How fast as many of the same devices train is reckoned
    /// once, whoever rents them out.
    #[cold]
    fn fill(&self, index: usize) {
        let fleet = &self.grid.fleets[index];
        let machine = self.machine(fleet.machine, fleet.nodes);
        let speed = self.speed_of(&machine);
        let accelerator = self.machines.list[fleet.machine].offer.accelerator.name.as_str();
        let mut trained = self.grid.trained.borrow_mut();
        let rates = trained.entry((accelerator, speed.devices)).or_insert_with(|| {
            let rate = |work: &Work| {
                let architecture = self.architectures[work.architecture];
                trained_per_second(architecture, work.image_tokens, work.text_tokens, &speed)
            };
            self.grid.works.iter().map(rate).collect()
        });
        for (row, (work, rate)) in self.grid.works.iter().zip(rates.iter()).enumerate() {
            let seconds = fed(*rate, work.image_size_px, &speed).samples_per_second.dividing(1.0);
            let hours = seconds.quantile(self.request.confidence) / 3_600.0;
            self.grid.hours[row * self.grid.fleets.len() + index].set(hours);
        }
    }

    /// Overheads of an architecture on a fleet, from the bills of two trainings that cost about what is available.
    #[cold]
    fn overhead(&self, shape: &Shape, index: usize, pretraining_hours: f64) -> Overhead {
        let fleet = &self.grid.fleets[index];
        let machine = self.machine(fleet.machine, fleet.nodes);
        let speed = self.speed_of(&machine);
        let options = self.options_on(&Evaluation::default(), &machine);
        let rental = machine.rental();
        let confidence = self.request.confidence;
        let first = shape.without_tuning();
        let bill = |samples: u64| {
            let stages = first.stages(samples, ImageReduction::Resize)?;
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
    pub(super) fn set_scale(&self, budget: Usd) {
        let now = self.available(budget).dollars().max(1e-6);
        let before = self.grid.scale.get();
        if before == 0.0 || (now / before).ln().abs() > SAME_SCALE.ln() {
            self.grid.scale.set(now);
            self.grid.overheads.iter().for_each(|overhead| overhead.set(Overhead::UNKNOWN));
        }
    }

    /// Cost and time of a shape on a fleet, as lines in its samples.
    pub(super) fn line(&self, index: usize, fleet: usize) -> Line {
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

    /// Whether every stage's step fits into the devices' memory.
    pub(super) fn fits(&self, shape: &Shape, stages: &Sketch, machine: usize, nodes: u32) -> bool {
        let fleet = self.grid.fleet(machine, nodes);
        let devices = self.machines.list[machine].devices() * nodes;
        let accelerator = self.machines.list[machine].offer.accelerator;
        shape.works().iter().zip(stages.iter()).all(|(work, stage)| {
            *self.grid.fits.borrow_mut().entry((*work, stage.batch, fleet)).or_insert_with(|| {
                let (image, text) = (work.image_tokens, work.text_tokens);
                largest_microbatch(shape.architecture, image, text, accelerator, devices, stage.batch).is_ok()
            })
        })
    }

    /// Whether every stage of a shape fits into a fleet's memory in the smallest batch.
    pub(super) fn fits_at_all(&self, index: usize, fleet: usize) -> bool {
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
}
