//! What a feed brought: rows, and why something that looked like one is not.

use std::collections::BTreeMap;
use std::fmt;

use super::row::PriceRow;
use crate::accelerator::Accelerator;
use crate::offer::{self, Unbelievable};
use crate::units::Usd;

/// Why a row is no offer although it should be one.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// A fraction of an accelerator.
    Fraction(f64),
    /// An accelerator that the hardware table does not have.
    UnknownAccelerator(String),
    /// A machine of which it is not known what accelerators it has.
    UnknownMachine(String),
    /// The price is for the accelerator alone, and no host for it is sold in the same place.
    WithoutHost,
    /// No price at all.
    NoPrice,
    /// A price that cannot be believed.
    Price {
        /// Column.
        column: &'static str,
        /// The price found.
        usd_per_hour: f64,
        /// Why not.
        why: Unbelievable,
    },
    /// A spot price with nothing to reckon it from.
    NoOnDemandPrice,
    /// Something that cannot be read.
    Unreadable(String),
}

impl Reason {
    /// The reason without the values, to count by.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Fraction(_) => "a fraction of an accelerator".into(),
            Self::UnknownAccelerator(name) => format!("unknown accelerator {name}"),
            Self::UnknownMachine(_) => "a machine whose accelerators are not known".into(),
            Self::WithoutHost => "an accelerator priced without a host".into(),
            Self::NoPrice => "no price".into(),
            Self::Price { column, why: Unbelievable::Nothing, .. } => {
                format!("{column} of at most a cent")
            }
            Self::Price { column, why: Unbelievable::Unusual { .. }, .. } => {
                format!("{column} far outside what the accelerator usually costs")
            }
            Self::NoOnDemandPrice => "no on-demand price to reckon the spot price from".into(),
            Self::Unreadable(_) => "cannot be read".into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(count) => write!(f, "{count} of an accelerator"),
            Self::UnknownAccelerator(name) => write!(f, "no accelerator is called `{name}`"),
            Self::UnknownMachine(name) => write!(f, "it is not known what accelerators `{name}` has"),
            Self::Price { column, usd_per_hour, why } => write!(f, "{column} = {usd_per_hour}: {why}"),
            Self::Unreadable(problem) => f.write_str(problem),
            _ => f.write_str(&self.kind()),
        }
    }
}

/// A row that is no offer, or a price of one that was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Line of the document, counted from 1, where lines count.
    pub line: Option<u64>,
    /// Which machine, where.
    pub what: String,
    /// Why.
    pub reason: Reason,
}

/// A part of a feed that did not answer, where others did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnswered {
    /// The machine type that was asked for.
    pub what: String,
    /// What happened.
    pub why: String,
}

/// What one feed brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Rows that can be planned with, by provider, region, instance type.
    pub rows: Vec<PriceRow>,
    /// What was refused.
    pub refused: Vec<Refused>,
    /// Rows about other things (machines without accelerators, other terms), by what they are about.
    pub passed_over: BTreeMap<String, usize>,
    /// The source said that nothing changed since it was asked last.
    pub unchanged: bool,
    /// Machine types of which nothing came; their last good rows stay.
    pub not_answered: Vec<NotAnswered>,
}

impl Batch {
    /// Refusals by reason.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<String, usize> {
        let mut reasons = BTreeMap::new();
        for refused in &self.refused {
            *reasons.entry(refused.reason.kind()).or_default() += 1;
        }
        reasons
    }

    /// Adds what another part of the feed brought.
    pub(super) fn add(&mut self, part: Self) {
        self.rows.extend(part.rows);
        self.refused.extend(part.refused);
        for (about, count) in part.passed_over {
            *self.passed_over.entry(about).or_default() += count;
        }
    }

    pub(super) fn refuse(&mut self, line: Option<u64>, what: impl Into<String>, reason: Reason) {
        self.refused.push(Refused { line, what: what.into(), reason });
    }

    pub(super) fn pass_over(&mut self, about: impl Into<String>) {
        *self.passed_over.entry(about.into()).or_default() += 1;
    }

    /// Adds a row whose prices can be believed; a row of which no price is left is none.
    pub(super) fn offer(&mut self, found: Found) {
        let Found { line, accelerator, on_demand, spot, mut row } = found;
        let what = format!("{}/{}/{}", row.provider, row.instance_type, row.region);
        let mut was_none = true;
        for (column, price, place) in [
            ("on_demand_usd_per_hour", on_demand, &mut row.on_demand_usd_per_hour),
            ("spot_usd_per_hour", spot, &mut row.spot_usd_per_hour),
        ] {
            let Some(usd_per_hour) = price else { continue };
            was_none = false;
            match offer::believable(usd_per_hour, accelerator, row.count) {
                Ok(usd) => *place = Some(usd),
                Err(why) => {
                    self.refuse(line, what.clone(), Reason::Price { column, usd_per_hour, why });
                }
            }
        }
        // No provider sells interruptible machines at the price of safe ones.
        if row.spot_usd_per_hour.is_some()
            && row.spot_usd_per_hour >= row.on_demand_usd_per_hour
            && row.on_demand_usd_per_hour.is_some()
        {
            row.spot_usd_per_hour = None;
        }
        if was_none {
            self.refuse(line, what, Reason::NoPrice);
        } else if row.on_demand_usd_per_hour.is_some() || row.spot_usd_per_hour.is_some() {
            self.rows.push(row);
        }
    }

    /// One row for each machine and region: zones of a region, or rows for each way it is sold, become one,
    /// with the lowest price of each kind.
    pub(super) fn one_row_each(&mut self) {
        let mut merged: BTreeMap<(String, String, String), (PriceRow, Option<Usd>)> = BTreeMap::new();
        for row in std::mem::take(&mut self.rows) {
            let spot = row.spot_usd_per_hour;
            merged
                .entry(row.key())
                .and_modify(|(kept, dearest)| {
                    kept.vcpus = kept.vcpus.or(row.vcpus);
                    kept.on_demand_usd_per_hour =
                        lower(kept.on_demand_usd_per_hour, row.on_demand_usd_per_hour);
                    kept.spot_usd_per_hour = lower(kept.spot_usd_per_hour, spot);
                    *dearest = (*dearest).max(spot);
                })
                .or_insert((row, spot));
        }
        self.rows = merged
            .into_values()
            .map(|(mut row, dearest)| {
                if let (Some(low), Some(high)) = (row.spot_usd_per_hour, dearest)
                    && low < high
                {
                    let between = if row.note.is_empty() { "" } else { "; " };
                    row.note = format!("{}{between}spot by zone {low} to {high}", row.note);
                }
                row
            })
            .collect();
    }
}

fn lower(a: Option<Usd>, b: Option<Usd>) -> Option<Usd> {
    [a, b].into_iter().flatten().min()
}

/// A row before its prices are judged.
pub(super) struct Found {
    pub(super) line: Option<u64>,
    pub(super) accelerator: &'static Accelerator,
    /// USD per hour of the machine, as read.
    pub(super) on_demand: Option<f64>,
    pub(super) spot: Option<f64>,
    pub(super) row: PriceRow,
}
