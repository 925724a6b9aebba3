//! What training keeps in a device's memory, and the largest microbatch that fits.

use crate::accelerator::{Accelerator, Runtime};
use crate::architecture::{Architecture, AttentionPool, ImagePool};
use crate::compute::parameters;
use crate::units::{Tokens, grouped};

/// Bytes per parameter: f32 weight, gradient and two moments of Adam.
const STATE_BYTES: f64 = 16.0;
/// Bytes per parameter of the bf16 copy that the products read, on devices with mixed precision.
const COPY_BYTES: f64 = 2.0;
/// Part of the memory that can be used before fragmentation ends a run.
const USABLE: f64 = 0.92;
/// What the driver, library handles and workspaces take on an accelerator, bytes.
const CONTEXT_BYTES: f64 = 1.5e9;
/// Below this many samples at a time a device is not kept busy, so activations are recomputed instead of kept.
const SMALLEST_GOOD_MICROBATCH: u32 = 32;

/// Whether activations are kept for the backward pass or computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activations {
    /// All are kept.
    Kept,
    /// Each block keeps its input only and is computed again in the backward pass: 4/3 of the FLOPs.
    Recomputed,
}

/// Whether each device holds all of the training state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Each device holds all weights, gradients and moments.
    Replicated,
    /// f32 weights, gradients and moments are divided among the devices; each holds bf16 weights and gradients.
    Sharded,
}

/// How a training step fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryFit {
    /// Samples that a device trains at a time.
    pub microbatch: u32,
    /// Microbatches a step: more than one means that a contrastive step takes a second forward pass.
    pub chunks: u32,
    /// Activations kept or recomputed.
    pub activations: Activations,
    /// State replicated or sharded.
    pub state: State,
    /// Bytes used at this microbatch.
    pub bytes: MemoryBytes,
}

/// What lies in a device's memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryBytes {
    /// Weights, gradients, moments.
    pub state: f64,
    /// Embeddings of the whole batch with their gradients.
    pub embeddings: f64,
    /// Activations of one microbatch.
    pub activations: f64,
    /// Logits of one microbatch against the whole batch, with their gradients.
    pub logits: f64,
}

impl MemoryBytes {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.state + self.embeddings + self.activations + self.logits
    }
}

/// Not even one sample at a time fits.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "{architecture} does not fit on {devices} x {accelerator}: one sample at a time needs {needed_gb:.1} GB a device \
     ({state_gb:.1} GB of them weights, gradients and moments), {usable_gb:.1} of {memory_gb:.0} GB can be used"
)]
pub struct DoesNotFit {
    /// Architecture.
    pub architecture: String,
    /// Accelerator.
    pub accelerator: String,
    /// Devices.
    pub devices: u32,
    /// GB needed by each.
    pub needed_gb: f64,
    /// Of these, weights, gradients and moments.
    pub state_gb: f64,
    /// GB that can be used of each.
    pub usable_gb: f64,
    /// GB of each.
    pub memory_gb: f64,
    /// Samples a step.
    pub batch: u32,
}

impl DoesNotFit {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let beyond_state = self.needed_gb - self.state_gb;
        Some(if beyond_state > self.state_gb {
            format!("a batch below {} needs less", grouped(u64::from(self.batch)))
        } else if self.devices == 1 {
            "several devices can share the training state; or take one with more memory".to_owned()
        } else {
            "take more devices, or ones with more memory".to_owned()
        })
    }
}

/// Bytes of a number in an accelerator's activations: bf16.
const ACTIVATION_BYTES: f64 = 2.0;
/// Bytes of a number in a CPU's activations: f32, which every CPU can do; where one has bf16, less is needed.
const HOST_NUMBER_BYTES: f64 = 4.0;

/// Numbers that one block keeps for its backward pass: of each token two norms' and three products' inputs, query, key,
/// value (8w in all), the MLP's hidden layer before and after its activation (2m); and the attention scores before
/// and after the softmax. After Korthikanti et al. (arXiv 2205.05198, section 4.1) without dropout.
fn block_numbers(width: f64, mlp: f64, heads: f64, tokens: f64) -> f64 {
    tokens * (8.0 * width + 2.0 * mlp) + 2.0 * heads * tokens * tokens
}

/// Numbers that a pooler keeps: its normed tokens, keys and values; its queries before and after their projection and
/// what comes out; scores before and after the softmax.
fn pooler_numbers(pool: AttentionPool, width: f64, embed: f64, tokens: u32) -> f64 {
    let heads = f64::from(pool.heads);
    let one = |queries: f64, tokens: f64| {
        tokens * (width + 2.0 * embed) + 3.0 * queries * embed + 2.0 * heads * queries * tokens
    };
    pool.poolers(tokens).map(|(queries, tokens)| one(queries.into(), tokens.into())).sum()
}

/// Bytes of one sample's activations in both towers.
fn sample_bytes(
    architecture: &Architecture,
    image_tokens: Tokens,
    text_tokens: Tokens,
    activations: Activations,
    number: f64,
) -> f64 {
    let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
    let tower = |width: u32, mlp: u32, heads: u32, layers: u32, tokens: f64| {
        let width = f64::from(width);
        let block = block_numbers(width, f64::from(mlp), f64::from(heads), tokens);
        match activations {
            Activations::Kept => f64::from(layers) * block,
            Activations::Recomputed => f64::from(layers) * width * tokens + block,
        }
    };
    let image = image_tokens.0 + 1;
    let pooler = match vision.pool_type {
        ImagePool::Attention(pool) => {
            pooler_numbers(pool, f64::from(vision.width), f64::from(architecture.embed_dim), image)
        }
        ImagePool::Tok | ImagePool::Avg => 0.0,
    };
    let text_tokens = text_tokens.0 + text.extra_tokens();
    let numbers = pooler
        + tower(vision.width, vision.mlp_width(), vision.heads(), vision.layers, f64::from(image))
        + tower(text.width, text.mlp_width(), text.heads, text.layers, f64::from(text_tokens));
    numbers * number
}

/// How a step is taken in main memory by this project's own engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostStep {
    /// Patches that the image tower sees.
    pub image_tokens: Tokens,
    /// Tokens that the text tower sees.
    pub text_tokens: Tokens,
    /// Samples of a step.
    pub batch: u32,
    /// Samples whose activations are held at a time.
    pub microbatch: u32,
    /// Whether activations are kept.
    pub activations: Activations,
    /// Bytes of a number in activations: 2 (bf16) or 4.
    pub number_bytes: f64,
    /// Words of the vocabulary that have occurred: the moments of the others are zeros that no memory stands
    /// behind.
    pub words: f64,
    /// Whether a running mean of the weights is kept beside them.
    pub ema: bool,
}

/// Code, stacks and the allocator's own, bytes.
const HOST_PROCESS_BYTES: f64 = 20e6;
/// Rows of the logit matrix that are held at a time.
const HOST_LOGIT_ROWS: f64 = 512.0;

/// What a step keeps in main memory, as this project's own engine lays it out: f32 weights and moments;
/// gradients of the blocks' matrices in the room of activations already used, where one microbatch is the batch,
/// else f32 sums of their own; of each row of a block two normalised rows, queries, keys, values and the MLP's
/// input (5w + m); of one block both operands of its weights' gradients (8w + 2m a row).
#[must_use]
pub fn host_step_bytes(architecture: &Architecture, step: &HostStep) -> MemoryBytes {
    let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
    let number = step.number_bytes;
    let (batch, microbatch) = (f64::from(step.batch), f64::from(step.microbatch.min(step.batch)));
    let whole = step.microbatch >= step.batch;
    let patch_numbers = 3.0 * f64::from(vision.patch_size).powi(2);
    let image_tokens = f64::from(step.image_tokens.0);
    let text_tokens = f64::from(step.text_tokens.0);

    struct Tower {
        kept: f64,
        operands: f64,
        /// Numbers of its blocks' matrices, and of one block's.
        matrices: f64,
        of_block: f64,
        /// f32 rows of the residual stream, whose gradient takes its place.
        stream: f64,
    }
    let tower = |width: u32, mlp: u32, layers: u32, rows: f64| {
        let (width, mlp, layers) = (f64::from(width), f64::from(mlp), f64::from(layers));
        let block = rows * ((5.0 * width + mlp) * number + 8.0);
        let of_block = 4.0 * width * width + 2.0 * width * mlp;
        Tower {
            kept: match step.activations {
                Activations::Kept => layers * block,
                Activations::Recomputed => layers * rows * width * 4.0 + block,
            },
            operands: rows * (8.0 * width + 2.0 * mlp) * number,
            matrices: layers * of_block,
            of_block,
            stream: rows * width * 4.0,
        }
    };
    let mut image = tower(vision.width, vision.mlp_width(), vision.layers, microbatch * (image_tokens + 1.0));
    if !vision.no_ln_pre {
        // The norm before the first block keeps what it starts from.
        image.stream *= 2.0;
    }
    let words = tower(text.width, text.mlp_width(), text.layers, microbatch * text_tokens);
    let matrices = image.matrices + words.matrices;
    let (kept, stream) = if whole {
        (image.kept + words.kept, image.stream + words.stream)
    } else {
        (image.kept.max(words.kept), image.stream.max(words.stream))
    };
    let text_width = f64::from(text.width);
    let table = f64::from(text.vocab_size) * text_width;
    let counted = parameters(architecture);
    let count = (counted.total - counted.fixed) as f64;
    let moments = 8.0 * (count - table + step.words * text_width);
    let rest = 4.0 * (count - table - matrices);
    let rows = 4.0 * text_width * step.words.min(batch * text_tokens);
    let packed = number * (image.of_block + words.of_block);
    let gradients = if whole {
        // What does not fit into the room of the activations, and the block whose own are still in use.
        (number * matrices - kept).max(0.0) + number * image.of_block.max(words.of_block)
    } else {
        4.0 * matrices
    };
    let width = f64::from(architecture.embed_dim);
    MemoryBytes {
        state: 4.0 * count * (if step.ema { 2.0 } else { 1.0 })
            + moments
            + gradients
            + rest
            + rows
            + packed
            + HOST_PROCESS_BYTES,
        embeddings: 2.0 * 2.0 * 4.0 * batch * width,
        activations: kept
            + stream
            + image.operands.max(words.operands)
            // The pictures.
            + 4.0 * image_tokens * patch_numbers * batch,
        logits: 4.0 * batch * batch.min(HOST_LOGIT_ROWS),
    }
}

/// What a step at `microbatch` samples a device keeps in each device's memory.
#[must_use]
#[expect(clippy::too_many_arguments, reason = "each is one of the things that decide it")]
pub fn step_bytes(
    architecture: &Architecture,
    image_tokens: Tokens,
    text_tokens: Tokens,
    accelerator: &Accelerator,
    devices: u32,
    batch: u32,
    microbatch: u32,
    (activations, state): (Activations, State),
) -> MemoryBytes {
    if accelerator.runtime == Runtime::Cpu {
        return host_step_bytes(
            architecture,
            &HostStep {
                image_tokens,
                text_tokens,
                batch,
                microbatch,
                activations,
                number_bytes: HOST_NUMBER_BYTES,
                words: f64::from(architecture.text_cfg.vocab_size),
                ema: false,
            },
        );
    }
    let number = ACTIVATION_BYTES;
    let count = parameters(architecture).total as f64;
    let state = match state {
        State::Replicated => count * (STATE_BYTES + COPY_BYTES),
        State::Sharded => count * (STATE_BYTES / f64::from(devices.max(1)) + 2.0 * number),
    };
    let (batch, microbatch) = (f64::from(batch), f64::from(microbatch));
    MemoryBytes {
        state,
        // Both towers, f32, value and gradient.
        embeddings: 2.0 * 2.0 * 4.0 * batch * f64::from(architecture.embed_dim),
        activations: microbatch * sample_bytes(architecture, image_tokens, text_tokens, activations, number),
        // f32, value and gradient.
        logits: 2.0 * 4.0 * microbatch * batch,
    }
}

/// Bytes that can be used of a device.
fn usable_bytes(accelerator: &Accelerator) -> f64 {
    let context = if accelerator.runtime == Runtime::Cpu { 0.0 } else { CONTEXT_BYTES };
    // Memory is sold in units of 2^30 bytes, whatever the label says.
    accelerator.memory_gb * f64::from(1u32 << 30) * USABLE - context
}

/// The most samples that a device can train at a time in a given way, up to its share of the batch; `None` if not even
/// one fits.
#[must_use]
pub fn microbatch_capacity(
    architecture: &Architecture,
    image_tokens: Tokens,
    text_tokens: Tokens,
    accelerator: &Accelerator,
    devices: u32,
    batch: u32,
    way: (Activations, State),
) -> Option<u32> {
    let bytes = |microbatch| {
        step_bytes(architecture, image_tokens, text_tokens, accelerator, devices, batch, microbatch, way)
            .total()
    };
    let share = batch.div_ceil(devices.max(1)).max(1);
    // In main memory the last sample costs more than those before: then both towers' activations are held.
    if bytes(share) <= usable_bytes(accelerator) {
        return Some(share);
    }
    let (fixed, one) = (bytes(0), bytes(1));
    let samples = ((usable_bytes(accelerator) - fixed) / (one - fixed)).floor();
    (samples >= 1.0)
        .then(|| samples.min(f64::from(share - 1).max(1.0)) as u32)
        .filter(|&samples| samples < share)
}

/// The largest microbatch. Tried in this order, until a good number of samples fits (the device's share of the batch, at
/// most 32): everything kept, blocks recomputed, state sharded, both; then whatever holds most.
pub fn largest_microbatch(
    architecture: &Architecture,
    image_tokens: Tokens,
    text_tokens: Tokens,
    accelerator: &Accelerator,
    devices: u32,
    batch: u32,
) -> Result<MemoryFit, DoesNotFit> {
    let share = batch.div_ceil(devices.max(1)).max(1);
    let mut best: Option<MemoryFit> = None;
    for way in [
        (Activations::Kept, State::Replicated),
        (Activations::Recomputed, State::Replicated),
        (Activations::Kept, State::Sharded),
        (Activations::Recomputed, State::Sharded),
    ] {
        if way.1 == State::Sharded && devices < 2 {
            continue;
        }
        let capacity =
            microbatch_capacity(architecture, image_tokens, text_tokens, accelerator, devices, batch, way);
        let Some(microbatch) = capacity else { continue };
        if best.is_some_and(|best| best.microbatch >= microbatch) {
            continue;
        }
        let bytes =
            step_bytes(architecture, image_tokens, text_tokens, accelerator, devices, batch, microbatch, way);
        let (activations, state) = way;
        best = Some(MemoryFit { microbatch, chunks: share.div_ceil(microbatch), activations, state, bytes });
        if microbatch >= share.min(SMALLEST_GOOD_MICROBATCH) {
            break;
        }
    }
    best.ok_or_else(|| {
        let state = if devices > 1 { State::Sharded } else { State::Replicated };
        let way = (Activations::Recomputed, state);
        let bytes = step_bytes(architecture, image_tokens, text_tokens, accelerator, devices, batch, 1, way);
        DoesNotFit {
            architecture: architecture.name.clone(),
            accelerator: accelerator.name.clone(),
            devices,
            needed_gb: bytes.total() / 1e9,
            state_gb: bytes.state / 1e9,
            usable_gb: usable_bytes(accelerator) / 1e9,
            memory_gb: accelerator.memory_gb,
            batch,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{accelerator, architectures};

    fn found(name: &str) -> (&'static Architecture, Tokens) {
        let architecture = architectures::find(name).expect(name);
        (architecture, architecture.vision_cfg.tokens_at(architecture.vision_cfg.image_size))
    }

    #[test]
    fn published_local_batches_fit_where_they_were_used() {
        // LAION-AI/scaling-laws-openclip, trained_models_info.csv: the global batch decided these, so they must
        // fit; with recomputation there was room for up to 15 times as many. (L/14 and larger recomputed, the
        // blog says; by this count B/16 at 512 must have, too.)
        let a100 = accelerator::find("A100-40GB").expect("A100-40GB");
        for (name, devices, local, activations) in [
            ("ViT-B-32", 128, 672, Activations::Kept),
            ("ViT-B-16", 176, 192, Activations::Kept),
            ("ViT-B-16", 176, 512, Activations::Recomputed),
            ("ViT-L-14", 200, 448, Activations::Recomputed),
            ("ViT-H-14", 824, 96, Activations::Recomputed),
            ("ViT-g-14", 800, 80, Activations::Recomputed),
        ] {
            let (architecture, full) = found(name);
            // Room for more than the run used: as if its batch were 16 times as large, logits as they were.
            let way = (activations, State::Replicated);
            let fixed =
                step_bytes(architecture, full, Tokens(77), a100, devices, local * devices, 0, way).total();
            let used = step_bytes(architecture, full, Tokens(77), a100, devices, local * devices, local, way)
                .total();
            let room = (usable_bytes(a100) - fixed) / (used - fixed);
            assert!((1.0..15.0).contains(&room), "{name} at {local}: room for {room:.2} times as many");
        }
    }

    #[test]
    fn largest_batches_of_a_24_gb_card_are_found_within_a_factor_of_two() {
        // timm's training benchmark on an RTX 3090, image towers alone, nothing recomputed: batch 48, 16 and 8
        // were the largest of its steps (each two thirds of the one before) that did not run out of memory.
        let card = accelerator::find("RTX3090").expect("RTX3090");
        for (name, largest) in [("ViT-L-14", 48.0), ("ViT-H-14", 16.0), ("ViT-g-14", 8.0)] {
            let (architecture, full) = found(name);
            let mut image_only = architecture.clone();
            image_only.text_cfg.layers = 1;
            image_only.text_cfg.width = 64;
            image_only.text_cfg.heads = 1;
            image_only.text_cfg.vocab_size = 1;
            let way = (Activations::Kept, State::Replicated);
            let ours =
                microbatch_capacity(&image_only, full, Tokens(1), card, 1, 1024, way).expect("some fit");
            let ratio = f64::from(ours) / largest;
            assert!((0.5..2.0).contains(&ratio), "{name}: {ours} for {largest}");
        }
    }

    #[test]
    fn clipa_v2s_steps_need_chunks_on_eight_devices() {
        // This is why the fitted speeds already contain a second forward pass or recomputation.
        let a100 = accelerator::find("A100").expect("A100");
        for (name, tokens, batch) in
            [("L/14", 36, 65_536), ("H/14", 25, 65_536), ("G/14", 36, 65_536), ("H/14", 346, 16_384)]
        {
            let (architecture, _) = found(name);
            let fit =
                largest_microbatch(architecture, Tokens(tokens), Tokens(8), a100, 8, batch).expect("fits");
            assert!(fit.chunks > 1, "{name}: {fit:?}");
            assert!(fit.bytes.total() <= usable_bytes(a100));
        }
    }

    #[test]
    fn what_does_not_fit_says_by_how_much() {
        let (architecture, full) = found("G/14");
        let t4 = accelerator::find("T4").expect("T4");
        let error = largest_microbatch(architecture, full, Tokens(32), t4, 1, 1024).expect_err("too large");
        assert!(error.needed_gb > error.usable_gb && error.state_gb > 40.0, "{error}");
        assert!(error.to_string().starts_with("ViT-bigG-14-CLIPA does not fit on 1 x T4"), "{error}");
        assert_eq!(
            error.hint().as_deref(),
            Some("several devices can share the training state; or take one with more memory")
        );
        let a10 = accelerator::find("A10").expect("A10");
        assert!(largest_microbatch(architecture, full, Tokens(32), a10, 1, 1024).is_err());
        let sharded =
            largest_microbatch(architecture, full, Tokens(32), a10, 8, 1024).expect("eight share it");
        assert_eq!(sharded.state, State::Sharded);
    }

    #[test]
    fn small_models_train_their_whole_batch_on_a_cpu() {
        let cpu = accelerator::find("cpu").expect("cpu");
        let (architecture, full) = found("ViT-Tiny-8");
        let fit = largest_microbatch(architecture, full, Tokens(16), cpu, 1, 256).expect("fits");
        assert_eq!((fit.microbatch, fit.chunks, fit.activations), (256, 1, Activations::Kept));
    }
}
