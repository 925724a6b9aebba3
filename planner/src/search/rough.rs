//! The rough look: every shape on every number of every machine, by a cost that is a line in the samples. Two table
//! look-ups and a dozen products a candidate; what is near the best is computed exactly afterwards.

use std::cmp::Ordering;

use super::grid::Fleet;
use super::schedule::FEWEST_USEFUL_SAMPLES;
use super::space::Space;
use crate::units::{Hours, Usd};

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

impl Space<'_> {
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

    /// Whether a rough candidate can be made and fits into memory; then its error is filled in.
    fn completed(&self, rough: Rough) -> Option<Rough> {
        let shape = &self.shapes[rough.shape];
        let way = self.fitted_way(shape, rough.samples, rough.machine, rough.nodes)?;
        Some(Rough { error: way.error, ..rough })
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
                    let fits = || {
                        self.shapes[index].applies_to(rough.samples)
                            && self.fits_at_all(index, self.grid.fleet(rough.machine, rough.nodes))
                    };
                    if best.is_none_or(|best| better(&rough, &best)) && fits() {
                        best = Some(rough);
                    }
                });
                // Sorting all is only worth it where a pinned batch does not fit into the most promising one.
                self.completed(best?).or_else(|| {
                    let roughs = self.roughs_of(index, budget, self.wanted());
                    roughs.into_iter().skip(1).find_map(|rough| self.completed(rough))
                })
            })
            .collect();
        self.grid.count(looked_at);
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
