//! Which machines a request can be carried out on, and what they cost per hour.

use crate::calibration::{Calibration, StoredPictures};
use crate::money::Rental;
use crate::offer::{Offer, PriceBasis, THIS_MACHINE};
use crate::source::Source;
use crate::time;
use crate::units::Usd;

/// Machines per plan that are tried where the user leaves their number open.
const MOST_NODES: u32 = 64;
/// Only machines with so many accelerators and such links (GB/s, both directions) are put together unasked: they are
/// sold with a network for it, single cards and market places are not.
const JOINABLE_DEVICES: u32 = 8;
const JOINABLE_LINK_GB_S: f64 = 300.0;

/// One or several equal machines at a price.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// The offer.
    pub offer: Offer,
    /// Machines rented together.
    pub nodes: u32,
    /// Whether they are interruptible.
    pub spot: bool,
    /// Price of everything together per wall-clock hour.
    pub usd_per_hour: Usd,
}

impl Machine {
    /// One machine as the catalogue sells it, if it is sold that way.
    pub(super) fn listed(offer: &Offer, spot: bool) -> Option<Self> {
        Some(Self { usd_per_hour: offer.price(spot)?, offer: offer.clone(), nodes: 1, spot })
    }

    /// One machine at the price that the user states for it.
    pub(super) fn stated(offer: Offer, usd_per_hour: Usd, spot: bool) -> Self {
        Self { offer: offer.at_price(usd_per_hour), nodes: 1, spot, usd_per_hour }
    }

    /// Accelerators in all.
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.offer.count * self.nodes
    }

    /// The same machine, `nodes` of it.
    pub(super) fn times(&self, nodes: u32) -> Self {
        let one = self.usd_per_hour.micros() / i64::from(self.nodes.max(1));
        Self { nodes, usd_per_hour: Usd::from_micros(one.saturating_mul(i64::from(nodes))), ..self.clone() }
    }

    /// Whether several of it can work together.
    pub(super) fn is_joinable(&self) -> bool {
        self.offer.count >= JOINABLE_DEVICES
            && self.offer.basis != PriceBasis::Market
            && self.offer.accelerator.link_gb_s.is_some_and(|link| link >= JOINABLE_LINK_GB_S)
    }

    /// As the time model sees it.
    pub(super) fn speed<'a>(
        &'a self,
        calibration: Option<&'a Calibration>,
        stored: Option<StoredPictures>,
    ) -> time::Machine<'a> {
        time::Machine { calibration, stored, ..time::Machine::of(&self.offer, self.nodes) }
    }

    /// As the cost model sees it.
    pub(super) fn rental(&self) -> Rental {
        Rental {
            usd_per_hour: self.usd_per_hour,
            machines: self.nodes,
            spot: self.spot,
            interrupted_percent_per_month: self.offer.interrupted_percent_per_month,
            own: self.offer.is_this_machine(),
            source: self.price_source(),
        }
    }

    /// Where the price is from.
    #[must_use]
    pub fn price_source(&self) -> Source {
        self.offer.price_source()
    }

    /// `8 x A100-80GB-SXM (lambda/gpu_8x_a100), 2 machines`: for a sentence.
    #[must_use]
    pub fn label(&self) -> String {
        if self.offer.is_this_machine() {
            return THIS_MACHINE.to_owned();
        }
        let name = format!("{} x {} ({}", self.devices(), self.offer.accelerator.name, self.offer.name());
        let nodes = if self.nodes > 1 { format!(", {} machines", self.nodes) } else { String::new() };
        let spot = if self.spot { ", spot" } else { "" };
        format!("{name}{nodes}{spot})")
    }
}

/// The machines that a request allows, and whether their number is open.
#[derive(Clone, Debug)]
pub(super) struct Machines {
    /// Single machines, or the exact number that the user pinned.
    pub(super) list: Vec<Machine>,
    /// The number of machines may be raised to meet a deadline, up to [`MOST_NODES`].
    pub(super) nodes_open: bool,
}

impl Machines {
    /// Numbers of a machine to try, fewest first.
    pub(super) fn node_counts(&self, machine: usize) -> impl Iterator<Item = u32> + use<> {
        let last = if self.nodes_open && self.list[machine].is_joinable() { MOST_NODES } else { 1 };
        std::iter::successors(Some(1u32), |nodes| Some(nodes * 2)).take_while(move |&nodes| nodes <= last)
    }

    pub(super) fn is_this_machine(&self) -> bool {
        self.list.iter().all(|machine| machine.offer.is_this_machine())
    }
}
