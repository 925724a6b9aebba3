//! How fast this machine trains.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use shoestring_planner::architecture::{
    Architecture, ImagePool, ImagePositions, TextConfig, TextPool, TextTokenizer, VisionConfig,
};
use shoestring_planner::compute::training_flops;
use shoestring_planner::recipe::{Optimizer, Precision};
use shoestring_planner::units::Tokens;

use crate::error::Result;
use crate::input::StepInput;
use crate::ops::level::Level;
use crate::ops::multiply::{Depth, Epilogue, Left, Right, multiply};
use crate::ops::pack::row_stride;
use crate::ops::stored::{Bf16, Stored};
use crate::params::uniform;
use crate::trainer::Trainer;

/// Untimed steps: allocations, the threads' start and the optimiser's first touch of its state.
const WARM_UP: usize = 2;

/// Timed steps at least, however long they take.
const AT_LEAST: usize = 3;

/// Different batches, so that successive steps use different words.
const BATCHES: usize = 4;

/// What the batches' pictures may take together, in bytes, unless it is one batch.
const BATCH_BYTES: usize = 64 << 20;

pub use crate::kernel_rates::{KernelRate, kernel_rates};

/// A model and the size of its batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// A letter, or what it is from.
    pub name: String,
    /// The model.
    pub architecture: Architecture,
    /// Side of the images in pixels.
    pub image_size_px: u32,
    /// Tokens of a caption.
    pub text_tokens: u32,
    /// Pairs of a step.
    pub batch: u32,
    /// Patches kept of each image; absent: all.
    pub kept_patches: Option<u32>,
}

impl Shape {
    /// The shapes that speed is stated for: `a`, a small model (width 384) pretraining on 64 px; `b`, a base
    /// model (768 and 512) on 96 px; `c`, the same at 224 px and 32 words; and `tiny`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (patch, image, text, image_size_px, text_tokens, batch) = match name {
            "tiny" => (8, (128, 4), (128, 3), 32, 16, 128),
            "a" => (16, (384, 12), (384, 12), 64, 8, 128),
            "b" => (16, (768, 12), (512, 12), 96, 16, 64),
            "c" => (16, (768, 12), (512, 12), 224, 32, 16),
            _ => return None,
        };
        let architecture = Architecture {
            name: name.to_owned(),
            embed_dim: text.0,
            quick_gelu: false,
            vision_cfg: VisionConfig {
                image_size: 224,
                layers: image.1,
                width: image.0,
                head_width: 64,
                patch_size: patch,
                mlp_ratio: 4.0,
                pool_type: ImagePool::Avg,
                no_ln_pre: true,
                pos_embed_type: ImagePositions::SinCos2d,
            },
            text_cfg: TextConfig {
                context_length: 32,
                vocab_size: 49_408,
                hf_tokenizer_name: TextTokenizer::Clip,
                width: text.0,
                heads: text.0 / 64,
                layers: text.1,
                mlp_ratio: 4.0,
                pool_type: TextPool::Argmax,
                no_causal_mask: false,
                eos_id: None,
            },
        };
        Some(Self {
            name: name.to_owned(),
            architecture,
            image_size_px,
            text_tokens,
            batch,
            kept_patches: None,
        })
    }

    /// The same with images of this many patches, a square; absent where it is not one.
    #[must_use]
    pub fn with_image_tokens(&self, tokens: u32) -> Option<Self> {
        let side = tokens.isqrt();
        let image_size_px = side * self.architecture.vision_cfg.patch_size;
        let name = format!("{}-{tokens}", self.name);
        (side > 0 && side * side == tokens).then(|| Self { name, image_size_px, ..self.clone() })
    }

    /// Model FLOPs of a training step: three times those of a forward pass.
    #[must_use]
    pub fn step_flops(&self) -> f64 {
        let all = self.architecture.vision_cfg.tokens_at(self.image_size_px);
        let image_tokens = self.kept_patches.map_or(all, Tokens);
        training_flops(&self.architecture, image_tokens, Tokens(self.text_tokens)).0 * f64::from(self.batch)
    }
}

/// How fast a shape trains.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Precision of the products' operands.
    pub precision: Precision,
    /// The kernels' instructions.
    pub kernels: &'static str,
    /// Threads.
    pub threads: usize,
    /// Timed steps.
    pub steps: usize,
    /// Samples per second of wall-clock time, and per second of processor time: where other programs run, only
    /// the second says something.
    pub samples_per_second: f64,
    /// Absent where the system does not tell the processor time.
    pub samples_per_cpu_second: Option<f64>,
    /// Model FLOPs per second.
    pub flops_per_second: f64,
    /// FLOPs per second of products alone, of a size that stays in the caches, measured between the steps.
    pub peak_flops_per_second: f64,
    /// The largest amount of memory that the process has had, in bytes; absent where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
}

impl Measurement {
    /// Achieved FLOPs over those of products alone.
    #[must_use]
    pub fn share_of_peak(&self) -> f64 {
        self.flops_per_second / self.peak_flops_per_second
    }
}

/// Samples per second of real training steps on random data: at least three steps after two untimed ones, for
/// at least `seconds`. Every patch is kept.
pub fn step_rate(
    architecture: &Architecture,
    image_size_px: u32,
    text_tokens: u32,
    batch: u32,
    seconds: f64,
) -> Result<f64> {
    let name = architecture.name.clone();
    let architecture = architecture.clone();
    let shape = Shape { name, architecture, image_size_px, text_tokens, batch, kept_patches: None };
    Ok(measure_step(&shape, &StepOptions::default(), seconds, &mut |_| {})?.samples_per_second)
}

/// How steps are taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepOptions {
    /// Precision of the products' operands; absent: the processor's default.
    pub precision: Option<Precision>,
    /// Samples whose activations are held at a time; absent: all.
    pub microbatch: Option<usize>,
    /// Whether activations are computed again rather than kept.
    pub recompute: bool,
}

/// Times training steps as [`step_rate`] does. `progress` is called with the share of the time that has passed.
pub fn measure_step(
    shape: &Shape,
    options: &StepOptions,
    seconds: f64,
    progress: &mut dyn FnMut(f64),
) -> Result<Measurement> {
    let settings = Optimizer { precision: options.precision, ..Optimizer::default() };
    let mut trainer = Trainer::new(&shape.architecture, &settings, 0)?;
    trainer.set_recompute(options.recompute);
    if let Some(samples) = options.microbatch {
        trainer.set_microbatch(samples);
    }
    let precision = trainer.clip().precision();
    // Fewer of large batches: the measurement's own pictures should not be most of the memory.
    let side = shape.image_size_px as usize;
    let bytes = shape.batch as usize * 3 * side * side * size_of::<f32>();
    let batches = (BATCH_BYTES / bytes.max(1)).clamp(1, BATCHES);
    let data: Vec<RandomPairs> = (0..batches as u64).map(|seed| RandomPairs::of(shape, seed)).collect();
    for pairs in data.iter().cycle().take(WARM_UP) {
        trainer.step(&pairs.input(), 1e-4)?;
    }
    let wanted = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let mut steps = 0;
    let (mut elapsed, mut cpu_seconds) = (Duration::ZERO, Some(0.0));
    let mut peaks = Vec::new();
    for pairs in data.iter().cycle() {
        let (start, cpu_start) = (Instant::now(), cpu_time_seconds());
        trainer.step(&pairs.input(), 1e-4)?;
        elapsed += start.elapsed();
        cpu_seconds = cpu_seconds.zip(cpu_start.zip(cpu_time_seconds())).map(|(sum, (a, b))| sum + b - a);
        steps += 1;
        // About a twentieth of the time, spread over it.
        if elapsed.as_secs_f64() >= peaks.len() as f64 * wanted.as_secs_f64() / 10.0 {
            peaks.push(product_rate(precision, Duration::from_millis(5)));
        }
        progress(elapsed.as_secs_f64() / wanted.as_secs_f64().max(1e-9));
        if steps >= AT_LEAST && elapsed >= wanted {
            break;
        }
    }
    let samples = (steps * shape.batch as usize) as f64;
    peaks.sort_by(f64::total_cmp);
    Ok(Measurement {
        precision,
        kernels: Level::current().name(),
        threads: rayon::current_num_threads(),
        steps,
        samples_per_second: samples / elapsed.as_secs_f64(),
        samples_per_cpu_second: cpu_seconds.filter(|&cpu| cpu > 0.0).map(|cpu| samples / cpu),
        flops_per_second: shape.step_flops() * steps as f64 / elapsed.as_secs_f64(),
        peak_flops_per_second: peaks[peaks.len() / 2],
        peak_memory_bytes: peak_memory_bytes(),
    })
}

/// FLOPs per second of products in all threads at once, each with operands that stay in its caches: what this machine
/// can do, to hold steps against.
#[must_use]
pub fn product_rate(precision: Precision, at_least: Duration) -> f64 {
    match precision {
        Precision::Bf16 => product_rate_of::<Bf16>(at_least),
        Precision::F32 => product_rate_of::<f32>(at_least),
    }
}

fn product_rate_of<S: Stored<Real = f32>>(at_least: Duration) -> f64 {
    let (rows, columns, depth) = (96, 256, 512);
    let stride = row_stride::<S>(depth);
    let left = vec![S::narrow(0.5); rows * stride];
    let right = vec![S::narrow(0.25); columns * depth];
    let whole = Depth::whole::<S>(depth);
    let start = Instant::now();
    let counts = rayon::broadcast(|_| {
        let mut count = 0usize;
        while start.elapsed() < at_least {
            let (left, right) =
                (Left::rows(&left, rows, depth, stride), Right::packed(&right, columns, whole));
            let mut last = Discard(0.0);
            multiply(Level::current(), left, 0..rows, right, &mut last);
            std::hint::black_box(last.0);
            count += 1;
        }
        count
    });
    (counts.iter().sum::<usize>() * 2 * rows * columns * depth) as f64 / start.elapsed().as_secs_f64()
}

struct Discard(f32);

impl Epilogue<f32> for Discard {
    #[inline(always)]
    fn row<const FUSED: bool>(&mut self, _: usize, _: usize, values: &[f32]) {
        self.0 = values[0];
    }
}

/// Seconds that the process has had of all cores, user and system together; absent where the system is not asked.
#[must_use]
pub fn cpu_time_seconds() -> Option<f64> {
    #[cfg(target_os = "linux")]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes to the one place that it is given.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        (result == 0).then_some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The largest resident size that the process has had.
#[must_use]
pub fn peak_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Pairs of random pixels and random words.
#[derive(Clone, Debug)]
pub struct RandomPairs {
    batch: usize,
    image_size_px: usize,
    pixels: Vec<f32>,
    text_tokens: usize,
    token_ids: Vec<u32>,
    kept_patches: Option<Vec<u32>>,
}

impl RandomPairs {
    /// A batch of a shape. Where not every patch is kept, the first ones are: which ones makes no difference to
    /// how long a step takes.
    #[must_use]
    pub fn of(shape: &Shape, seed: u64) -> Self {
        let (side, tokens) = (shape.image_size_px as usize, shape.text_tokens as usize);
        let pairs = Self::new(&shape.architecture, side, tokens, shape.batch as usize, seed);
        let kept_patches = shape.kept_patches.map(|count| (0..shape.batch).flat_map(|_| 0..count).collect());
        Self { kept_patches, ..pairs }
    }

    /// Word k of the vocabulary comes with probability about 1 / k, as in written language, so that a step
    /// touches as many rows of the embedding as it would in earnest. The last token is the end marker.
    #[must_use]
    pub fn new(
        architecture: &Architecture,
        image_size_px: usize,
        text_tokens: usize,
        batch: usize,
        seed: u64,
    ) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let pixels = (0..batch * 3 * image_size_px * image_size_px)
            .map(|_| (uniform(&mut generator) * 4.0 - 2.0) as f32)
            .collect();
        let vocabulary = architecture.text_cfg.vocab_size;
        let mut token_ids: Vec<u32> = (0..batch * text_tokens)
            .map(|_| (f64::from(vocabulary).powf(uniform(&mut generator)) as u32).min(vocabulary) - 1)
            .collect();
        for ids in token_ids.chunks_exact_mut(text_tokens.max(1)) {
            ids[text_tokens - 1] = vocabulary - 1;
        }
        Self { batch, image_size_px, pixels, text_tokens, token_ids, kept_patches: None }
    }

    /// The pairs, as a step takes them.
    #[must_use]
    pub fn input(&self) -> StepInput<'_> {
        StepInput {
            batch: self.batch,
            image_size_px: self.image_size_px,
            pixels: &self.pixels,
            kept_patches: self.kept_patches.as_deref(),
            text_tokens: self.text_tokens,
            token_ids: &self.token_ids,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_models::tiny;

    #[test]
    fn a_rate_is_measured() {
        let rate = step_rate(&tiny(), 8, 5, 4, 0.0).expect("a rate");
        assert!(rate.is_finite() && rate > 0.0, "{rate}");
    }

    #[test]
    fn a_shape_is_measured_in_either_precision_and_its_share_of_the_peak_known() {
        let mut shape = Shape::named("tiny").expect("a shape");
        (shape.batch, shape.image_size_px, shape.text_tokens, shape.kept_patches) = (2, 16, 4, Some(3));
        shape.architecture = tiny();
        let options = |precision, recompute| StepOptions { precision, recompute, microbatch: Some(1) };
        for options in [options(Some(Precision::F32), true), options(Some(Precision::Bf16), false)] {
            let mut last = -1.0;
            let found = measure_step(&shape, &options, 0.0, &mut |share| last = share).expect("measured");
            assert_eq!(Some(found.precision), options.precision);
            assert!(found.steps >= AT_LEAST && last > 0.0);
            assert!(found.share_of_peak() > 0.0 && found.share_of_peak() < 1.5, "{found:?}");
        }
        let all = Shape { kept_patches: None, ..shape.clone() };
        assert!(shape.step_flops() < all.step_flops());
        assert!(Shape::named("d").is_none());
        let longer = shape.with_image_tokens(9).expect("a square");
        assert_eq!(longer.image_size_px, 3 * shape.architecture.vision_cfg.patch_size);
        assert_eq!((shape.with_image_tokens(10), shape.with_image_tokens(0)), (None, None));
    }

    #[test]
    fn random_words_are_words_and_end_with_the_marker() {
        let architecture = tiny();
        let pairs = RandomPairs::new(&architecture, 8, 6, 50, 1);
        assert!(pairs.token_ids.iter().all(|&id| id < architecture.text_cfg.vocab_size));
        assert!(pairs.token_ids.chunks_exact(6).all(|ids| ids[5] == architecture.text_cfg.vocab_size - 1));
        let common = pairs.token_ids.iter().filter(|&&id| id < 3).count();
        assert!(common > 50, "{common} of 300 are among the three most common");
    }
}
