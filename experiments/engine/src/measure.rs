//! How fast this machine trains.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use shoestring_planner::architecture::Architecture;
use shoestring_planner::recipe::Optimizer;

use crate::error::Result;
use crate::input::StepInput;
use crate::params::uniform;
use crate::trainer::Trainer;

/// Untimed steps: allocations, the threads' start and the optimiser's first touch of its state.
const WARM_UP: usize = 2;

/// Timed steps at least, however long they take.
const AT_LEAST: usize = 3;

/// Different batches, so that successive steps use different words.
const BATCHES: usize = 4;

/// Samples per second of real training steps on random data: at least three steps after two untimed ones, for
/// at least `seconds`. Every patch is kept.
pub fn step_rate(
    architecture: &Architecture,
    image_size_px: u32,
    text_tokens: u32,
    batch: u32,
    seconds: f64,
) -> Result<f64> {
    let mut trainer = Trainer::new(architecture, &Optimizer::default(), 0)?;
    let data: Vec<RandomPairs> = (0..BATCHES as u64)
        .map(|seed| {
            RandomPairs::new(architecture, image_size_px as usize, text_tokens as usize, batch as usize, seed)
        })
        .collect();
    for pairs in data.iter().cycle().take(WARM_UP) {
        trainer.step(&pairs.input(), 1e-4)?;
    }
    let wanted = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let start = Instant::now();
    let mut steps = 0;
    for pairs in data.iter().cycle() {
        trainer.step(&pairs.input(), 1e-4)?;
        steps += 1;
        if steps >= AT_LEAST && start.elapsed() >= wanted {
            break;
        }
    }
    Ok((steps * batch as usize) as f64 / start.elapsed().as_secs_f64())
}

/// Random pixels and random words.
pub(crate) struct RandomPairs {
    batch: usize,
    image_size_px: usize,
    pixels: Vec<f32>,
    text_tokens: usize,
    token_ids: Vec<u32>,
}

impl RandomPairs {
    /// Word k of the vocabulary comes with probability about 1 / k, as in written language, so that a step
    /// touches as many rows of the embedding as it would in earnest. The last token is the end marker.
    pub(crate) fn new(
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
        Self { batch, image_size_px, pixels, text_tokens, token_ids }
    }

    pub(crate) fn input(&self) -> StepInput<'_> {
        StepInput {
            batch: self.batch,
            image_size_px: self.image_size_px,
            pixels: &self.pixels,
            kept_patches: None,
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
    fn random_words_are_words_and_end_with_the_marker() {
        let architecture = tiny();
        let pairs = RandomPairs::new(&architecture, 8, 6, 50, 1);
        assert!(pairs.token_ids.iter().all(|&id| id < architecture.text_cfg.vocab_size));
        assert!(pairs.token_ids.chunks_exact(6).all(|ids| ids[5] == architecture.text_cfg.vocab_size - 1));
        let common = pairs.token_ids.iter().filter(|&&id| id < 3).count();
        assert!(common > 50, "{common} of 300 are among the three most common");
    }
}
