//! What a plan can be put together from: pretraining shapes and fine-tuning menus of an architecture.

use crate::architecture::Architecture;
use crate::recipe::ImageReduction;
use crate::units::{Samples, Tokens};

/// Shortest image sequence that CLIPA pretrained with (56 or 64 px); a shorter one has no published run.
const SHORTEST_PUBLISHED_TOKENS: u32 = 16;
/// Text lengths of CLIPA's ablation that cost little accuracy, start and end markers included.
const TEXT_TOKENS: [u32; 4] = [32, 16, 8, 6];
/// CLIPA's two amounts of fine-tuning at 224 px, and its amount at 336 px.
const FINETUNE_224: [u64; 2] = [128_000_000, 512_000_000];
const FINETUNE_336: u64 = 128_000_000;
/// For schedules too short for [`FINETUNE_224`]: fine-tuning as a fraction of the pretraining samples.
const FRACTIONS: [f64; 3] = [0.05, 0.15, 0.3];
/// CLIPA-v2's fine-tuning masks.
const MASK_224: f64 = 0.3;
const MASK_336: f64 = 0.4;
/// Architectures with at least this many patches at full size are masked while fine-tuned, as CLIPA-v2's
/// were; smaller ones have no patches to spare.
const MASKABLE_TOKENS: u32 = 196;

/// How many samples a fine-tuning stage sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Amount {
    /// So many.
    Fixed(Samples),
    /// This fraction of the pretraining samples.
    Fraction(f64),
}

/// A fine-tuning stage before its samples are known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FineTuning {
    pub(super) image_size_px: u32,
    pub(super) mask_ratio: f64,
    pub(super) text_tokens: Tokens,
    pub(super) amount: Amount,
}

impl FineTuning {
    /// How its image is shortened.
    pub(super) fn reduction(&self) -> ImageReduction {
        masked_by(self.mask_ratio)
    }
}

/// Fine-tuning is masked at random, as CLIPA-v2's was.
pub(super) fn masked_by(mask_ratio: f64) -> ImageReduction {
    if mask_ratio > 0.0 { ImageReduction::Random } else { ImageReduction::Resize }
}

/// A pretraining stage before its samples are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pretraining {
    pub(super) image_size_px: u32,
    pub(super) text_tokens: Tokens,
}

/// What the user has pinned or allowed.
#[derive(Clone, Debug, Default)]
pub(super) struct MenuLimits {
    pub(super) image_size_px: Option<u32>,
    /// Images are shortened by a mask, never by resizing: a pinned size is then that of the masked image.
    pub(super) only_masks: bool,
    pub(super) text_tokens: Option<Tokens>,
    pub(super) finetune_samples: Option<Samples>,
    /// Allowed fine-tuning sizes; none given: every size.
    pub(super) finetune_sizes_px: Option<Vec<u32>>,
}

/// Text length of a full-length stage: CLIPA's 32, or all that a shorter text tower has.
pub(super) fn full_text_tokens(architecture: &Architecture) -> Tokens {
    Tokens(architecture.text_cfg.context_length.min(TEXT_TOKENS[0]))
}

/// Pretraining shapes: every patch grid from 16 patches (or a quarter of the full grid, if that is less) up to
/// the full one (each side up to 8, then every second), by every text length.
pub(super) fn pretrainings(architecture: &Architecture, limits: &MenuLimits) -> Vec<Pretraining> {
    let vision = &architecture.vision_cfg;
    let (patch, full_side) = (vision.patch_size, vision.image_size / vision.patch_size);
    let fewest = SHORTEST_PUBLISHED_TOKENS.min(full_side * full_side / 4).max(1);
    let sizes: Vec<u32> = match limits.image_size_px {
        Some(size) if !limits.only_masks => vec![size],
        // Masks are laid over the whole image.
        Some(size) if size != vision.image_size => Vec::new(),
        _ => (1..=full_side)
            .filter(|side| side * side >= fewest)
            .filter(|&side| side <= 8 || side == full_side || side % 2 == 0)
            .map(|side| side * patch)
            .collect(),
    };
    let full_text = full_text_tokens(architecture);
    let mut texts: Vec<Tokens> = match limits.text_tokens {
        Some(tokens) => vec![tokens],
        None => {
            TEXT_TOKENS.iter().map(|&tokens| Tokens(tokens)).filter(|&tokens| tokens < full_text).collect()
        }
    };
    if limits.text_tokens.is_none() {
        texts.insert(0, full_text);
    }
    sizes
        .iter()
        .flat_map(|&image_size_px| {
            texts.iter().map(move |&text_tokens| Pretraining { image_size_px, text_tokens })
        })
        .collect()
}

/// Fine-tuning menus that can follow `pretraining`: each a list of stages in order, the empty one first.
pub(super) fn finetunings(
    architecture: &Architecture,
    pretraining: Pretraining,
    limits: &MenuLimits,
) -> Vec<Vec<FineTuning>> {
    let vision = &architecture.vision_cfg;
    let full_px = vision.image_size;
    let text_tokens = full_text_tokens(architecture);
    let allowed = |size| limits.finetune_sizes_px.as_ref().is_none_or(|sizes| sizes.contains(&size));
    let at_full = |amount| {
        let masked = vision.tokens_at(full_px).0 >= MASKABLE_TOKENS;
        let mask_ratio = if masked { MASK_224 } else { 0.0 };
        FineTuning { image_size_px: full_px, mask_ratio, text_tokens, amount }
    };
    // CLIPA's second size: half as large again, where the patches divide it.
    let large_px = full_px + full_px / 2;
    let has_large = vision.tokens_at(full_px).0 >= MASKABLE_TOKENS
        && large_px.is_multiple_of(vision.patch_size)
        && allowed(large_px);
    let large = FineTuning {
        image_size_px: large_px,
        mask_ratio: MASK_336,
        text_tokens,
        amount: Amount::Fixed(Samples(FINETUNE_336)),
    };
    let already_full = pretraining.image_size_px >= full_px && pretraining.text_tokens >= text_tokens;

    // A pinned amount of fine-tuning says that there is to be fine-tuning.
    let mut menus = if limits.finetune_samples.is_some() { Vec::new() } else { vec![Vec::new()] };
    if allowed(full_px) && !already_full {
        let amounts: Vec<Amount> = match limits.finetune_samples {
            Some(samples) => vec![Amount::Fixed(samples)],
            None => {
                let fixed = FINETUNE_224.iter().map(|&samples| Amount::Fixed(Samples(samples)));
                fixed.chain(FRACTIONS.iter().map(|&fraction| Amount::Fraction(fraction))).collect()
            }
        };
        for amount in amounts {
            menus.push(vec![at_full(amount)]);
            if has_large && matches!(amount, Amount::Fixed(_)) {
                menus.push(vec![at_full(amount), large]);
            }
        }
    } else if has_large {
        let amount = limits.finetune_samples.map_or(large.amount, Amount::Fixed);
        menus.push(vec![FineTuning { amount, ..large }]);
    }
    if menus.is_empty() {
        menus.push(Vec::new());
    }
    menus
}

/// Stages that can be added to a finished plan whose last stage was at `last_px`: the larger size, for one to
/// eight times CLIPA's amount, masked as it did; after another pass at full size or not.
pub(super) fn extensions(
    architecture: &Architecture,
    last_px: u32,
    limits: &MenuLimits,
) -> Vec<Vec<FineTuning>> {
    let vision = &architecture.vision_cfg;
    let text_tokens = full_text_tokens(architecture);
    let allowed = |size| limits.finetune_sizes_px.as_ref().is_none_or(|sizes| sizes.contains(&size));
    let full_px = vision.image_size;
    let large_px = full_px + full_px / 2;
    let masked = vision.tokens_at(full_px).0 >= MASKABLE_TOKENS;
    let mut menus = Vec::new();
    for factor in [1u64, 2, 4, 8] {
        let full = FineTuning {
            image_size_px: full_px,
            mask_ratio: if masked { MASK_224 } else { 0.0 },
            text_tokens,
            amount: Amount::Fixed(Samples(FINETUNE_224[0] * factor)),
        };
        if last_px < full_px && allowed(full_px) {
            menus.push(vec![full]);
        }
        if masked && last_px < large_px && large_px.is_multiple_of(vision.patch_size) && allowed(large_px) {
            let large = FineTuning {
                image_size_px: large_px,
                mask_ratio: MASK_336,
                text_tokens,
                amount: Amount::Fixed(Samples(FINETUNE_336 * factor)),
            };
            menus.push(vec![large]);
            if last_px < full_px && allowed(full_px) {
                menus.push(vec![full, FineTuning { amount: Amount::Fixed(Samples(FINETUNE_336)), ..large }]);
            }
        }
    }
    menus
}
