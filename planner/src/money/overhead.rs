//! What a run pays for besides training: evaluation, checkpoints, interruptions.

use crate::accelerator::Runtime;
use crate::architecture::Architecture;
use crate::compute::{forward_flops, parameters};
use crate::recipe::Stage;
use crate::spread::Spread;
use crate::time::{Machine, StageTime, decoded_per_second};
use crate::units::{Hours, Tokens};

/// Pictures and prompts of one evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvaluationLoad {
    /// Evaluations during each stage, the one at its end included.
    pub per_stage: u32,
    /// Labelled images.
    pub images: u64,
    /// Texts: classes x templates.
    pub prompts: u64,
}

impl Default for EvaluationLoad {
    /// ImageNet-1k zero-shot with 80 prompts a class, as often as [`crate::recipe::Evaluation`] asks by default.
    fn default() -> Self {
        Self { per_stage: 4, images: 50_000, prompts: 80_000 }
    }
}

impl EvaluationLoad {
    /// Nothing is evaluated.
    pub const NONE: Self = Self { per_stage: 0, images: 0, prompts: 0 };

    /// Wall-clock hours of a stage's evaluations: forward passes over whole images at the stage's size and whole texts, at
    /// the FLOP/s of training, images no faster than they are decoded.
    pub(super) fn hours(
        &self,
        architecture: &Architecture,
        stage: &Stage,
        time: &StageTime,
        machine: &Machine<'_>,
    ) -> Spread<Hours> {
        if self.per_stage == 0 || self.images == 0 {
            return Spread::exact(Hours(0.0));
        }
        let full = architecture.vision_cfg.tokens_at(stage.image_size_px);
        let forward = forward_flops(architecture, full, Tokens(architecture.text_cfg.context_length));
        let flops = forward.image.0 * self.images as f64 + forward.text.0 * self.prompts as f64;
        let devices = f64::from(machine.devices.max(1));
        let own = machine.accelerator.runtime == Runtime::Cpu;
        let decoding = match machine.vcpus {
            _ if own => machine.measured_reading(stage.image_size_px),
            vcpus => vcpus.map(|vcpus| decoded_per_second(vcpus, machine.stored_image_px)),
        };
        let decoding = decoding.map_or(Spread::exact(0.0), |rate| rate.dividing(self.images as f64));
        let computing = time.flops_per_second.map(|rate| rate * devices).dividing(flops);
        let seconds = |computing: f64, decoding: f64| {
            // The same cores do both, or others decode meanwhile.
            let each = if own { computing + decoding } else { computing.max(decoding) };
            Hours::from_seconds(f64::from(self.per_stage) * each)
        };
        Spread {
            p10: seconds(computing.p10, decoding.p10),
            p50: seconds(computing.p50, decoding.p50),
            p90: seconds(computing.p90, decoding.p90),
        }
    }
}

/// Bytes of a checkpoint: weights and both moments of Adam, f32.
#[must_use]
pub fn checkpoint_bytes(architecture: &Architecture) -> f64 {
    12.0 * parameters(architecture).total as f64
}

/// Hours to write a checkpoint, during which training waits: half a second and 1 GB/s (80 %: 0.3 to 2) for rented
/// disks; a fifth of a second on one's own machine, where nothing crosses a network. `measured` bytes a second of this
/// machine replace the rate (80 %: half to twice of it, as disks go).
#[must_use]
pub fn checkpoint_write(architecture: &Architecture, own: bool, measured: Option<f64>) -> Spread<Hours> {
    let start = if own { 0.2 } else { 0.5 };
    let rate = Spread { p10: 0.3e9, p50: 1e9, p90: 2e9 };
    let rate = measured.map_or(rate, |rate| Spread::around(rate, 0.5, 2.0));
    rate.dividing(checkpoint_bytes(architecture)).map(|seconds| Hours::from_seconds(start + seconds))
}

/// Accelerator-hours between hardware failures: 7,500 to 40,000 in published large runs.
const DEVICE_HOURS_TO_FAILURE: Spread = Spread { p10: 7_500.0, p50: 17_000.0, p90: 40_000.0 };
/// Hours until a spot machine is taken back: 1 in traces of scarce eight-GPU machines, much longer by providers' averages
/// over everything they rent.
const SPOT_HOURS: Spread = Spread { p10: 1.0, p50: 4.0, p90: 20.0 };
/// From the loss of a machine to the next step: a new one boots, loads the checkpoint, fills its buffers.
const RESTART: Hours = Hours(10.0 / 60.0);
/// An estimate that would lose more than this part of the time means that the run does not progress; it is cut here.
const LARGEST_LOSS: f64 = 0.9;

/// Hours of a month.
const MONTH: f64 = 730.0;
/// How far the machines of one run may be from the average of all that a provider rents out, either way.
const UNLIKE_AVERAGE: f64 = 3.0;

/// Whether a share of machines interrupted in a month says how often that is: the highest class has no upper end.
pub(super) fn is_a_rate(percent_per_month: u32) -> bool {
    (1..100).contains(&percent_per_month)
}

/// Hours until a spot machine is taken back: by the share that is interrupted in a month, if interruptions come at
/// random, or assumed.
fn spot_hours(percent_per_month: Option<u32>) -> Spread {
    match percent_per_month.filter(|&percent| is_a_rate(percent)) {
        Some(percent) => {
            let hours = -MONTH / (-f64::from(percent) / 100.0).ln_1p();
            Spread::around(hours, 1.0 / UNLIKE_AVERAGE, UNLIKE_AVERAGE)
        }
        None => SPOT_HOURS,
    }
}

/// Hours between interruptions of the whole run; `spot` is absent for machines that nobody takes back, and holds the
/// share of spot machines that is interrupted in a month, where the provider says so. `p10` is the *long* time, which makes a cheap run, and `p90` the short
/// one, so that it lines up with costs.
#[must_use]
pub fn mean_time_to_interruption(devices: u32, machines: u32, spot: Option<Option<u32>>) -> Spread<Hours> {
    let failure = DEVICE_HOURS_TO_FAILURE.map(|hours| hours / f64::from(devices.max(1)));
    let times = if let Some(percent) = spot {
        let taken = spot_hours(percent).map(|hours| hours / f64::from(machines.max(1)));
        let both = |a: f64, b: f64| 1.0 / (1.0 / a + 1.0 / b);
        Spread {
            p10: both(taken.p10, failure.p10),
            p50: both(taken.p50, failure.p50),
            p90: both(taken.p90, failure.p90),
        }
    } else {
        failure
    };
    Spread { p10: Hours(times.p90), p50: Hours(times.p50), p90: Hours(times.p10) }
}

/// The time between checkpoints that loses least: the least of [`lost_share`], which starts from Young's
/// sqrt(2 · write · time between interruptions) (1974) and solves Daly's condition for it,
/// (1 - interval/between) · exp((interval + write)/between) = 1 (2006, equation 18's derivative), by Newton.
#[must_use]
pub fn best_checkpoint_interval(write: Hours, between_interruptions: Hours) -> Hours {
    let between = between_interruptions.0;
    let ratio = (write.0 / between).max(0.0);
    // Beyond this a checkpoint takes as long as the machine lasts; the condition's root nears 1.
    let mut interval = (2.0 * ratio).sqrt().min(0.999);
    for _ in 0..20 {
        let power = (interval + ratio).exp();
        let value = (1.0 - interval) * power - 1.0;
        let slope = -interval * power;
        let next = (interval - value / slope).clamp(1e-9, 1.0);
        let close = (next - interval).abs() < 1e-12;
        interval = next;
        if close {
            break;
        }
    }
    Hours(interval * between)
}

/// Expected time over useful time, for checkpoints every `interval` and interruptions at random: what is written and what
/// is lost, restarts and repeated work, interruptions during those included (Daly 2006):
/// between · exp(restart/between) · (exp((interval + write)/between) - 1) / interval.
#[must_use]
pub fn lost_share(interval: Hours, write: Hours, between_interruptions: Hours) -> f64 {
    let between = between_interruptions.0;
    let all =
        between * (RESTART.0 / between).exp() * ((interval.0 + write.0) / between).exp_m1() / interval.0;
    all.min(1.0 / (1.0 - LARGEST_LOSS)) - 1.0
}

/// How much longer a run takes for interruptions alone: [`lost_share`]'s time over the time with its checkpoints written.
#[must_use]
pub fn interruption_factor(interval: Hours, write: Hours, between_interruptions: Hours) -> f64 {
    let written = 1.0 + write.0 / interval.0;
    ((1.0 + lost_share(interval, write, between_interruptions)) / written).max(1.0)
}

/// Interruptions beyond the first `after` of a run of `hours`, expected: E[max(0, N - after)] with N the Poisson number
/// of them. Times the hours between them, it is the expected time that is left when the last allowed one has come.
#[must_use]
pub fn interruptions_beyond(hours: Hours, between_interruptions: Hours, after: u32) -> f64 {
    let mean = hours.0 / between_interruptions.0;
    // E[(N - n)+] = mean - n + sum over k below n of (n - k) P(N = k).
    let n = f64::from(after);
    let mut probability = (-mean).exp();
    let mut beyond = mean - n;
    for k in 0..after {
        let k = f64::from(k);
        beyond += (n - k) * probability;
        probability *= mean / (k + 1.0);
    }
    beyond.max(0.0)
}
