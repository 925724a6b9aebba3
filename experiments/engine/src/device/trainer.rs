//! One optimiser step after the other, on one device or on several.

use std::thread;

use candle_core::{DType, Device};
use shoestring_planner::architecture::Architecture;
use shoestring_planner::recipe::Precision;

use super::collective::connect;
use super::replica::{Order, Replica, Stepped};
use crate::error::{EngineError, Result};
use crate::input::{Images, StepInput, Texts};
use crate::trainer::{MOVES_AT, StepReport, Trainer};
use crate::training::{Saved, Training};

/// As [`Trainer`], on devices.
///
/// Several devices train data-parallel: each has the whole model and a contiguous share of the batch, in the
/// devices' order. The loss is that of the whole batch, gradients are summed over the devices, and each takes the
/// same optimiser step, so that results differ from one device's in rounding only.
///
/// Everything outside a step (initial values, positions for another grid, the form of checkpoints) is the
/// trainer's in main memory, which takes the weights from the first device and gives them to all.
#[derive(Debug)]
pub struct DeviceTrainer {
    host: Trainer,
    /// By rank; at least one.
    pub(super) replicas: Vec<Replica>,
}

/// A rank's part in common work. The others are told when it ends without being done, be it by an error, by a panic,
/// or because its thread never began.
struct Part<'a> {
    replica: &'a mut Replica,
    done: bool,
}

impl Part<'_> {
    fn step(mut self, order: &Order<'_>, share: &StepInput<'_>) -> Result<Stepped> {
        let outcome = self.replica.step(order, share);
        self.done = outcome.is_ok();
        outcome
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.replica.ranks.leave();
        }
    }
}

impl DeviceTrainer {
    /// Goes on with a trainer on these devices, all of one kind. An error where there is none.
    ///
    /// Operands of products are bf16 unless the trainer's settings say otherwise; on candle's CPU device, which
    /// multiplies no bf16 numbers, they are `f32`. Several CPU devices are as many threads.
    pub fn new(host: Trainer, devices: &[Device]) -> Result<Self> {
        if devices.is_empty() {
            let (expected, found) = ("at least 1".to_owned(), "0".to_owned());
            return Err(EngineError::Input { what: "the number of devices", expected, found });
        }
        let mut replicas = Vec::with_capacity(devices.len());
        for (device, ranks) in devices.iter().zip(connect(devices)?) {
            let operands = match host.settings.precision {
                Some(Precision::F32) => DType::F32,
                _ if device.is_cpu() => DType::F32,
                _ => DType::BF16,
            };
            replicas.push(Replica::of(&host, device, operands, ranks)?);
        }
        Ok(Self { host, replicas })
    }

    /// Does something with the trainer in main memory, which has everything that the devices have.
    fn on_host(&mut self, work: impl FnOnce(&mut Trainer) -> Result<()>) -> Result<()> {
        self.replicas[0].download(&mut self.host)?;
        work(&mut self.host)?;
        self.upload()
    }

    fn upload(&mut self) -> Result<()> {
        self.replicas.iter_mut().try_for_each(|replica| replica.upload(&self.host))
    }

    fn architecture(&self) -> &Architecture {
        self.host.clip().architecture()
    }

    /// As [`Trainer::step`], but that steps are not checked block by block for what is not finite: the report names
    /// the loss. `set_microbatch` is what each device holds at a time.
    ///
    /// An error where the devices cannot share the batch evenly. Where a device fails, the error names its rank, and
    /// every later step is an error too.
    pub fn step(&mut self, input: &StepInput<'_>, learning_rate: f64) -> Result<StepReport> {
        if !(learning_rate.is_finite() && learning_rate >= 0.0) {
            return Err(EngineError::LearningRate(learning_rate));
        }
        input.images().check(self.architecture())?;
        input.texts().check(self.architecture())?;
        if !input.batch.is_multiple_of(self.replicas.len()) {
            return Err(EngineError::UnevenBatch { batch: input.batch, devices: self.replicas.len() });
        }
        let host = &mut self.host;
        let check_movement =
            host.movement_unchecked && learning_rate * host.optimizer.smallest_rate_factor() >= MOVES_AT;
        let order = Order {
            architecture: host.clip().architecture(),
            optimizer: &host.optimizer,
            microbatch: host.microbatch,
            learning_rate,
            check_movement,
            mean_share: host.ema.as_ref().map(|ema| ema.next_share()),
        };
        let Stepped { loss, grad_norm, logit_scale, non_finite, unmoved } =
            on_every_rank(&mut self.replicas, &order, input)?;
        if let Some(what) = non_finite {
            return host.skip_with(loss, grad_norm, what, logit_scale);
        }
        host.optimizer.steps += 1;
        host.optimizer.skipped_in_a_row = 0;
        if let Some(tensor) = unmoved {
            return Err(EngineError::DidNotMove { tensor, step: host.optimizer.steps, learning_rate });
        }
        host.movement_unchecked &= !check_movement;
        if let Some(ema) = &mut host.ema {
            ema.steps += 1;
        }
        Ok(StepReport { loss, grad_norm, logit_scale, skipped: false, non_finite: None })
    }
}

/// A step of every rank, each in a thread of its own; what the first rank says of it.
fn on_every_rank(replicas: &mut [Replica], order: &Order<'_>, input: &StepInput<'_>) -> Result<Stepped> {
    if let [only] = replicas {
        return only.step(order, input);
    }
    let ranks = replicas.len();
    let share = input.batch / ranks;
    let outcomes: Vec<Result<Stepped>> = thread::scope(|scope| {
        let begin = |(rank, replica)| {
            let part = Part { replica, done: false };
            let input = input.part(rank * share, share);
            let name = format!("rank {rank}");
            thread::Builder::new().name(name).spawn_scoped(scope, move || part.step(order, &input))
        };
        // All begin before the first is waited for.
        let threads: Vec<_> = replicas.iter_mut().enumerate().map(begin).collect();
        let end = |thread: std::io::Result<thread::ScopedJoinHandle<'_, _>>| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(EngineError::Thread(error)),
        };
        threads.into_iter().map(end).collect()
    });
    // The rank that failed by itself says more than those that waited for it.
    let waited = |error: &EngineError| matches!(error, EngineError::OtherRank { .. });
    let told = outcomes.iter().position(|outcome| outcome.as_ref().is_err_and(|error| !waited(error)));
    let mut outcomes = outcomes.into_iter();
    match told.and_then(|rank| Some((rank, outcomes.nth(rank)?.err()?))) {
        Some((rank, error)) => Err(EngineError::Rank { rank, ranks, source: Box::new(error) }),
        None => outcomes.collect::<Result<Vec<_>>>().map(|mut all| all.swap_remove(0)),
    }
}

impl Training for DeviceTrainer {
    fn set_microbatch(&mut self, samples: usize) {
        self.host.set_microbatch(samples);
    }

    fn embedding_width(&self) -> usize {
        self.host.clip().embedding_width()
    }

    fn enter_stage(&mut self, image_size_px: u32, carry_optimizer: bool) -> Result<()> {
        self.on_host(|host| host.enter_stage(image_size_px, carry_optimizer))
    }

    fn set_image_size(&mut self, image_size_px: u32) -> Result<()> {
        self.on_host(|host| host.set_image_size(image_size_px))
    }

    fn step(&mut self, input: &StepInput<'_>, learning_rate: f64) -> Result<StepReport> {
        self.step(input, learning_rate)
    }

    fn exchange_ema(&mut self) {
        self.replicas.iter_mut().for_each(Replica::exchange_mean);
    }

    fn encode_images(&self, images: &Images<'_>) -> Result<Vec<f32>> {
        images.check(self.architecture())?;
        self.replicas[0].encode_images(self.architecture(), images)
    }

    fn encode_texts(&self, texts: &Texts<'_>) -> Result<Vec<f32>> {
        texts.check(self.architecture())?;
        self.replicas[0].encode_texts(self.architecture(), texts)
    }

    fn check_finite(&self) -> Result<()> {
        self.replicas[0].check_finite()
    }

    fn save(&mut self) -> Result<Saved> {
        self.replicas[0].download(&mut self.host)?;
        Training::save(&mut self.host)
    }

    fn load(&mut self, saved: &Saved) -> Result<()> {
        Training::load(&mut self.host, saved)?;
        self.upload()
    }
}
