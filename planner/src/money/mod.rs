//! What a recipe costs, line by line, each with its source and spread.

mod bill;
mod overhead;
mod total;

use serde::{Deserialize, Serialize};

pub use self::bill::{Cost, CostLine, StageCost};
use self::overhead::is_a_rate;
pub use self::overhead::{
    EvaluationLoad, best_checkpoint_interval, checkpoint_bytes, checkpoint_write, interruption_factor,
    interruptions_beyond, lost_share, mean_time_to_interruption,
};
use self::total::{Hours2, sum_of_independent};
use crate::accelerator::Runtime;
use crate::architecture::Architecture;
use crate::offer::Offer;
use crate::recipe::Stage;
pub use crate::source::Source;
use crate::spread::Spread;
use crate::time::{Machine, StageTime, Workload, speed_source, stage_hours};
use crate::units::{Hours, Usd};

/// A price for everything that works together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rental {
    /// All machines together, per wall-clock hour.
    pub usd_per_hour: Usd,
    /// Machines.
    pub machines: u32,
    /// Interruptible: the provider may take the machine back.
    pub spot: bool,
    /// At most this share of such spot machines is interrupted in a month, where the provider says so.
    #[serde(default)]
    pub interrupted_percent_per_month: Option<u32>,
    /// The user's own machine: nothing to set up, nobody takes it back.
    pub own: bool,
    /// Where the price is from.
    pub source: Source,
}

impl Rental {
    /// So many machines of an offer, on demand or spot; `None` if it is not sold that way.
    #[must_use]
    pub fn of(offer: &Offer, machines: u32, spot: bool) -> Option<Self> {
        let each = offer.price(spot)?;
        Some(Self {
            usd_per_hour: Usd::from_micros(each.micros().saturating_mul(i64::from(machines))),
            machines,
            spot,
            interrupted_percent_per_month: offer.interrupted_percent_per_month,
            own: offer.is_this_machine(),
            source: offer.price_source(),
        })
    }
}

/// What is kept or sent at a price apart from the machine's.
#[derive(Clone, Debug, PartialEq)]
pub struct Extra {
    /// What it is.
    pub what: String,
    /// How many GB.
    pub gb: f64,
    /// Its price.
    pub price: ExtraPrice,
    /// Where the price is from.
    pub source: Source,
}

/// How storage and traffic are charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraPrice {
    /// Storage: per GB and month of 730 hours, while the run lasts.
    PerGbMonth(Usd),
    /// Traffic: per GB, once.
    PerGb(Usd),
}

/// What to count besides training.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CostOptions {
    /// What each evaluation takes.
    pub evaluation: EvaluationLoad,
    /// Time between checkpoints; left out, the one that costs least ([`best_checkpoint_interval`]), at most a tenth
    /// of the run.
    pub checkpoint_interval: Option<Hours>,
    /// Hours until the first step; left out, assumed.
    pub set_up: Option<Spread<Hours>>,
    /// Hours that the machine is paid for and does nothing: waiting for data or people.
    pub idle: Option<Hours>,
    /// Spot machines are left for on-demand ones after so many interruptions.
    pub fallback: Option<Fallback>,
    /// Storage and traffic; counted only when asked for.
    pub extras: Vec<Extra>,
}

/// What happens when spot machines are taken back too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// So many interruptions are borne.
    pub after: u32,
    /// All machines together, on demand, per hour.
    pub usd_per_hour: Usd,
}

/// Hours until the first step of a rented machine: boot, environment, first shards; 5 to 30 minutes.
const SET_UP: Spread<Hours> = Spread { p10: Hours(5.0 / 60.0), p50: Hours(0.25), p90: Hours(0.5) };
const HOURS_PER_MONTH: f64 = 730.0;

/// The bill of training `architecture` by `stages` on `machine` at `rental`'s price. Training is charged for the
/// wall-clock time of the whole machine; so is everything else but the extras.
#[must_use]
pub fn cost(
    architecture: &Architecture,
    stages: &[Stage],
    machine: &Machine<'_>,
    rental: &Rental,
    options: &CostOptions,
) -> Cost {
    let charge = |hours: Spread<Hours>| hours.map(|hours| rental.usd_per_hour.per_hour_for(hours));
    let mut lines = Vec::with_capacity(stages.len() + 4);
    let mut costed = Vec::with_capacity(stages.len());
    let mut notes = Vec::new();
    let speed = speed_source(machine);
    let mut training = Spread::exact(Hours(0.0));
    let mut evaluating = Spread::exact(Hours(0.0));
    for stage in stages {
        let time = stage_hours(architecture, &Workload::of(stage, architecture), machine);
        let usd = charge(time.hours);
        if time.decoding_binds {
            notes.push(decoding_note(stage, &time, machine));
        }
        lines.push(CostLine {
            what: format!("{}: device time", stage.name),
            hours: time.hours,
            usd,
            source: speed.clone(),
        });
        training = training.plus(time.hours);
        evaluating = evaluating.plus(options.evaluation.hours(architecture, stage, &time, machine));
        costed.push(StageCost { name: stage.name.clone(), time, usd });
    }
    let mut add = |what: &str, hours: Spread<Hours>, source: Source| {
        if hours.p90.0 > 0.0 {
            lines.push(CostLine { what: what.to_owned(), hours, usd: charge(hours), source });
        }
    };

    let set_up = options.set_up.unwrap_or(if rental.own { Spread::exact(Hours(0.0)) } else { SET_UP });
    let set_up_source = if options.set_up.is_some() {
        Source::Stated
    } else {
        Source::assumed("boot, environment, first shards: 5 to 30 minutes")
    };
    add("set-up", set_up, set_up_source);

    let measured = machine.calibration.filter(|measured| measured.checkpoint_bytes_per_second.is_some());
    let rate = measured.and_then(|measured| measured.checkpoint_bytes_per_second);
    let write = checkpoint_write(architecture, machine.accelerator.runtime == Runtime::Cpu, rate);
    let taken = rental.spot.then_some(rental.interrupted_percent_per_month);
    let between = (!rental.own).then(|| mean_time_to_interruption(machine.devices, rental.machines, taken));
    let interval = options.checkpoint_interval.unwrap_or_else(|| {
        let tenth = Hours(training.p50.0 / 10.0);
        let best = between.map(|between| best_checkpoint_interval(write.p50, between.p50));
        best.map_or(tenth, |best| if best.0 < tenth.0 { best } else { tenth })
    });
    let interval = Hours(interval.0.max(write.p50.0).max(1e-6));
    // One at each interval and one at the end of each stage, of the median training: how long it takes besides is the
    // training's own line.
    let written = training.p50.0 / interval.0 + stages.len() as f64;
    let writing = write.map(|write| Hours(written * write.0));
    let every = match (rate, measured) {
        (Some(rate), Some(measured)) => {
            format!("12 bytes a parameter every {interval}, at {:.0} MB/s, {}", rate / 1e6, measured.source())
        }
        _ => format!("12 bytes a parameter every {interval}, at an assumed 1 GB/s"),
    };
    add("checkpoints", writing, Source::computed(every));
    add("evaluation", evaluating, Source::computed("forward passes at the speed of training"));
    let idle = options.idle.unwrap_or_default();
    add("idle", Spread::exact(idle), Source::Stated);

    let mut again = Spread::exact(Hours(0.0));
    if let Some(between) = between {
        again = between
            .map(|between| Hours(training.p50.0 * (interruption_factor(interval, write.p50, between) - 1.0)));
        let why = format!(
            "{} lost every {} (80 %: {} to {}), 10 minutes to restart and what was done since the last checkpoint, one \
             every {interval}, again",
            if rental.spot { "spot machines are" } else { "a machine is" },
            between.p50,
            between.p90,
            between.p10,
        );
        let source = match taken.flatten().filter(|&percent| is_a_rate(percent)) {
            Some(percent) => Source::published(format!(
                "AWS's spot advisor, at most {percent} % of these machines in a month (a third to three times): {why}"
            )),
            None => Source::assumed(why),
        };
        add("interruptions", again, source);
    }
    let hours_of = |spread: Spread<Hours>| spread.map(|hours| hours.0);
    let distribution = Hours2 {
        shared: hours_of(training.plus(evaluating)),
        own: sum_of_independent(&[
            hours_of(set_up),
            hours_of(writing),
            Spread::exact(idle.0),
            hours_of(again),
        ]),
    };
    let mut hours = Spread {
        p10: Hours(distribution.quantile(0.1)),
        p50: Hours(distribution.quantile(0.5)),
        p90: Hours(distribution.quantile(0.9)),
    };
    let medians = Hours(lines.iter().map(|line| line.hours.p50.0).sum());
    let uneven = Hours((hours.p50.0 - medians.0).max(0.0));
    if uneven.0 > 0.0 {
        let why =
            "the median of a sum lies above the sum of the medians where one can cost much more than usual";
        lines.push(CostLine {
            what: "contingency".to_owned(),
            hours: Spread::exact(uneven),
            usd: charge(Spread::exact(uneven)),
            source: Source::computed(why),
        });
    }
    // The bill adds up, and is never below the median of the sum.
    hours.p50 = Hours(medians.0 + uneven.0);
    hours.p10 = Hours(hours.p10.0.min(hours.p50.0));
    hours.p90 = Hours(hours.p90.0.max(hours.p50.0));

    let mut extras = Spread::exact(Usd::ZERO);
    if let (Some(fallback), Some(between), true) = (options.fallback, between, rental.spot) {
        let dearer = fallback.usd_per_hour.minus_or_zero(rental.usd_per_hour);
        let usd = |training: Hours, between: Hours| {
            let left = between.0 * interruptions_beyond(training, between, fallback.after);
            dearer.per_hour_for(Hours(left.min(training.0)))
        };
        let usd = Spread {
            p10: usd(training.p10, between.p10),
            p50: usd(training.p50, between.p50),
            p90: usd(training.p90, between.p90),
        };
        extras = extras.plus(usd);
        let why = format!(
            "on demand after {} interruptions, for what is expected to be left then, at {} USD per hour more",
            fallback.after, dearer
        );
        lines.push(CostLine {
            what: "on-demand fallback".to_owned(),
            hours: Spread::exact(Hours(0.0)),
            usd,
            source: Source::computed(why),
        });
    }
    for extra in &options.extras {
        let line = extra.line(hours);
        extras = extras.plus(line.usd);
        lines.push(line);
    }
    if machine.vcpus.is_none() && machine.accelerator.runtime != Runtime::Cpu && machine.calibration.is_none()
    {
        notes.push(
            "the machine's vCPUs are not known: whether they decode fast enough was not checked".to_owned(),
        );
    }
    let p50: Usd = lines.iter().map(|line| line.usd.p50).sum();
    let total = Spread {
        p10: (rental.usd_per_hour.per_hour_for(hours.p10) + extras.p10).min(p50),
        p50,
        p90: (rental.usd_per_hour.per_hour_for(hours.p90) + extras.p90).max(p50),
    };
    Cost {
        lines,
        stages: costed,
        total,
        hours,
        devices: machine.devices,
        checkpoint_interval: interval,
        price_source: rental.source.clone(),
        notes,
        distribution,
        rate: rental.usd_per_hour,
        extras,
    }
}

fn decoding_note(stage: &Stage, time: &StageTime, machine: &Machine<'_>) -> String {
    format!(
        "{}: {} vCPUs decode about {:.0} stored images of {} px a second, which is slower than the accelerators train; \
         smaller stored images would cost less",
        stage.name,
        machine.vcpus.unwrap_or(0),
        time.samples_per_second.p50,
        machine.stored_image_px,
    )
}

impl Extra {
    fn line(&self, hours: Spread<Hours>) -> CostLine {
        let gb = self.gb.max(0.0);
        let usd = match self.price {
            ExtraPrice::PerGbMonth(price) => {
                hours.map(|hours| Usd::from_dollars(price.dollars() * gb * hours.0 / HOURS_PER_MONTH))
            }
            ExtraPrice::PerGb(price) => Spread::exact(Usd::from_dollars(price.dollars() * gb)),
        };
        CostLine {
            what: self.what.clone(),
            hours: Spread::exact(Hours(0.0)),
            usd,
            source: self.source.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
