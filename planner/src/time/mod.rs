//! How long training takes: achieved FLOP/s is a distribution, never a constant.

mod decode;
mod evidence;
mod speed;

use crate::accelerator::{Accelerator, Runtime};
use crate::architecture::Architecture;
use crate::calibration::{Calibration, StoredPictures};
use crate::compute::training_flops;
use crate::offer::Offer;
use crate::recipe::Stage;
use crate::source::Source;
use crate::spread::Spread;
use crate::units::{Hours, Samples, Tokens};

pub use self::decode::{ASSUMED_STORED_IMAGE_PX, decoded_per_second};
pub use self::evidence::{PublishedSpeed, PublishedStage, published_speeds};
pub use self::speed::{REFERENCE_ACCELERATOR, SpeedModel};

/// What a stage asks of a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    /// Side of the image in pixels.
    pub image_size_px: u32,
    /// Patches per image that reach the transformer.
    pub image_tokens: Tokens,
    /// Text tokens.
    pub text_tokens: Tokens,
    /// Samples seen.
    pub samples: Samples,
    /// Samples per step.
    pub batch: u32,
}

impl Workload {
    /// What `stage` asks when it trains `architecture`.
    #[must_use]
    pub fn of(stage: &Stage, architecture: &Architecture) -> Self {
        Self {
            image_size_px: stage.image_size_px,
            image_tokens: stage.image_tokens(architecture),
            text_tokens: stage.text_tokens,
            samples: stage.samples,
            batch: stage.batch,
        }
    }
}

/// What does the work.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// The device model.
    pub accelerator: &'a Accelerator,
    /// Devices in all.
    pub devices: u32,
    /// Virtual CPUs in all, which decode the images; unknown: decoding is not checked.
    pub vcpus: Option<u32>,
    /// Side of the images as they are stored, in pixels; decoding cost goes with its square.
    pub stored_image_px: u32,
    /// How pictures are stored, where that is known: with a calibration of this machine they are reckoned by it.
    pub stored: Option<StoredPictures>,
    /// Measured speed of this machine, which replaces the prior.
    pub calibration: Option<&'a Calibration>,
}

impl<'a> Machine<'a> {
    /// So many devices of a model, nothing else known.
    #[must_use]
    pub fn new(accelerator: &'a Accelerator, devices: u32) -> Self {
        let stored_image_px = ASSUMED_STORED_IMAGE_PX;
        Self { accelerator, devices, vcpus: None, stored_image_px, stored: None, calibration: None }
    }

    /// So many machines of an offer, without a calibration.
    #[must_use]
    pub fn of(offer: &'a Offer, machines: u32) -> Self {
        let vcpus = offer.vcpus.map(|vcpus| vcpus.saturating_mul(machines));
        Self { vcpus, ..Self::new(offer.accelerator, offer.count.saturating_mul(machines)) }
    }

    /// Pictures a second that all cores read when they do nothing else, where that was measured.
    #[must_use]
    pub fn measured_reading(&self, image_size_px: u32) -> Option<Spread> {
        self.calibration?.pictures_per_second(self.stored?, image_size_px)
    }
}

/// Model FLOP/s of one device with where the figure is from.
#[derive(Clone, Debug, PartialEq)]
pub struct Achieved {
    /// Model FLOP/s of one device, training (recomputation not counted as useful work).
    pub flops_per_second: Spread,
    /// Where it is from.
    pub source: Source,
}

/// Time that a stage takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageTime {
    /// Wall-clock hours.
    pub hours: Spread<Hours>,
    /// Samples a second, all devices together.
    pub samples_per_second: Spread,
    /// Model FLOP/s that one device would achieve with images always at hand.
    pub flops_per_second: Spread,
    /// The CPUs decode more slowly than the devices train, at the median: more vCPUs, or smaller stored images,
    /// would make it faster.
    pub decoding_binds: bool,
}

/// Model FLOP/s per device: the calibration's, if it has rows, else the prior fitted on published runs
/// ([`SpeedModel`]), which for a CPU is a guess. Fitted speeds contain what those runs lost to loading,
/// chunked contrastive steps, recomputation and gradients' travel between eight devices.
#[must_use]
pub fn achieved_flops(
    architecture: &Architecture,
    image_tokens: Tokens,
    text_tokens: Tokens,
    accelerator: &Accelerator,
    devices: u32,
    calibration: Option<&Calibration>,
) -> Achieved {
    let machine = Machine { calibration, ..Machine::new(accelerator, devices) };
    Achieved {
        flops_per_second: device_flops(architecture, image_tokens, text_tokens, &machine),
        source: speed_source(&machine),
    }
}

/// [`achieved_flops`] without its source, for searches.
fn device_flops(
    architecture: &Architecture,
    image_tokens: Tokens,
    text_tokens: Tokens,
    machine: &Machine<'_>,
) -> Spread {
    let devices = machine.devices.max(1);
    let width = architecture.vision_cfg.width;
    let measured =
        machine.calibration.and_then(|measured| measured.flops_per_second(width, image_tokens, text_tokens));
    if let Some(whole) = measured {
        return whole.map(|flops| flops / f64::from(devices));
    }
    if machine.accelerator.runtime == Runtime::Cpu {
        return speed::cpu_guess(width);
    }
    SpeedModel::built_in().device_flops(architecture, image_tokens, text_tokens, machine.accelerator, devices)
}

/// Where [`achieved_flops`] takes a machine's speed from.
#[must_use]
pub fn speed_source(machine: &Machine<'_>) -> Source {
    match machine.calibration {
        Some(calibration) if !calibration.rows.is_empty() => calibration.source(),
        _ if machine.accelerator.runtime == Runtime::Cpu => Source::assumed(
            "plain candle on two server cores, by width; `shoestring calibrate` measures this machine",
        ),
        _ => speed::prior_source(machine.accelerator),
    }
}

/// Training samples a second of all devices with pictures always at hand.
#[must_use]
pub fn trained_per_second(
    architecture: &Architecture,
    image_tokens: Tokens,
    text_tokens: Tokens,
    machine: &Machine<'_>,
) -> Spread {
    let per_sample = training_flops(architecture, image_tokens, text_tokens).0;
    let devices = f64::from(machine.devices.max(1));
    device_flops(architecture, image_tokens, text_tokens, machine).map(|flops| flops * devices / per_sample)
}

/// A rate of training with what reading pictures leaves of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fed {
    /// Samples a second.
    pub samples_per_second: Spread,
    /// The CPUs read more slowly than the devices train, at the median.
    pub decoding_binds: bool,
}

/// Samples a second of devices that train `trained` where the CPUs feed them pictures of `image_size_px`. A GPU's
/// pictures are read by other cores meanwhile: the slower of the two. A CPU's are read by the cores that train, so the
/// times add up, where it was measured how long reading takes; where it was not, it counts as part of the training's
/// spread.
#[must_use]
pub fn fed(trained: Spread, image_size_px: u32, machine: &Machine<'_>) -> Fed {
    if machine.accelerator.runtime == Runtime::Cpu {
        let read = machine.measured_reading(image_size_px);
        let both = |trained: f64, read: f64| 1.0 / (1.0 / trained + 1.0 / read);
        let samples_per_second = read.map_or(trained, |read| Spread {
            p10: both(trained.p10, read.p10),
            p50: both(trained.p50, read.p50),
            p90: both(trained.p90, read.p90),
        });
        return Fed { samples_per_second, decoding_binds: false };
    }
    let decoded = match machine.vcpus {
        Some(vcpus) if machine.calibration.is_none() => decoded_per_second(vcpus, machine.stored_image_px),
        _ => return Fed { samples_per_second: trained, decoding_binds: false },
    };
    Fed {
        samples_per_second: Spread {
            p10: trained.p10.min(decoded.p10),
            p50: trained.p50.min(decoded.p50),
            p90: trained.p90.min(decoded.p90),
        },
        decoding_binds: decoded.p50 < trained.p50,
    }
}

/// Time of a stage: samples over what training and reading pictures allow ([`fed`]).
#[must_use]
pub fn stage_hours(architecture: &Architecture, work: &Workload, machine: &Machine<'_>) -> StageTime {
    let flops_per_second = device_flops(architecture, work.image_tokens, work.text_tokens, machine);
    let per_sample = training_flops(architecture, work.image_tokens, work.text_tokens).0;
    let devices = f64::from(machine.devices.max(1));
    let trained = flops_per_second.map(|flops| flops * devices / per_sample);
    let Fed { samples_per_second, decoding_binds } = fed(trained, work.image_size_px, machine);
    StageTime {
        hours: samples_per_second.dividing(work.samples.0 as f64).map(Hours::from_seconds),
        samples_per_second,
        flops_per_second,
        decoding_binds,
    }
}

#[cfg(test)]
mod tests;
