//! Named random streams. A stream is derived by hashing (seed, name, index), so the randomness of sample
//! `index` needs no state: nothing about it goes into a checkpoint but the position itself.
//!
//! | name | index | decides |
//! |---|---|---|
//! | [`SHUFFLE`] | epoch | order of an epoch |
//! | [`REPLACEMENT`] | sample number in the stage | which sample, where epochs draw with replacement |
//! | [`CROP`] | sample number in the stage | random resized crop |
//! | [`IMAGE_MASK`] | sample number in the stage | which patches are kept |
//! | [`TEXT`] | sample number in the stage | which tokens are kept |
//! | [`SYNTH`] | index of the pair | a generated training pair |
//! | [`SYNTH_EVALUATION`] | index of the image | a generated evaluation image |
//!
//! The draws below are written out here instead of taken from `rand`, whose algorithms may change between
//! releases: a data set or a resumed run must not.

use std::convert::Infallible;

use rand::{Rng, SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Order of an epoch.
pub const SHUFFLE: &str = "shuffle";
/// Which sample, where epochs draw with replacement.
pub const REPLACEMENT: &str = "replacement";
/// Random resized crop.
pub const CROP: &str = "crop";
/// Which patches are kept.
pub const IMAGE_MASK: &str = "image_mask";
/// Which tokens are kept.
pub const TEXT: &str = "text";
/// A generated training pair.
pub const SYNTH: &str = "synth";
/// A generated evaluation image.
pub const SYNTH_EVALUATION: &str = "synth_evaluation";

fn digest(seed: u64, name: &str, index: u64) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"shoestring stream 1");
    hasher.update(seed.to_le_bytes());
    // The length keeps ("ab", ...) and ("a", ...) apart whatever follows.
    hasher.update((name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    hasher.update(index.to_le_bytes());
    hasher.finalize().into()
}

/// A seed of its own for the part of a run called `name` (a stage, say), so that two parts with the same
/// stream names and sample numbers draw different things.
#[must_use]
pub fn derive_seed(seed: u64, name: &str) -> u64 {
    let bytes = digest(seed, name, u64::MAX);
    u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}

/// One random stream. Also a [`rand::Rng`], for whoever needs more than the draws here.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream `name` of sample (or epoch) `index` under `seed`.
    #[must_use]
    pub fn new(seed: u64, name: &str, index: u64) -> Self {
        Self(ChaCha8Rng::from_seed(digest(seed, name, index)))
    }

    /// A whole number from 0 to below `bound`, each equally likely; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        // Lemire's multiply-shift, with rejection of the few draws that would favour small numbers.
        let threshold = if bound == 0 { 0 } else { bound.wrapping_neg() % bound };
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// From 0 to below 1, in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// From `low` to below `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit() as f32
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// `count` different numbers below `all`, ascending; every subset equally likely. All of them where
    /// `count` is more than `all`.
    pub fn subset(&mut self, all: u32, count: u32) -> Vec<u32> {
        let count = count.min(all);
        let mut numbers: Vec<u32> = (0..all).collect();
        for taken in 0..count {
            let other = taken + self.below(all - taken);
            numbers.swap(taken as usize, other as usize);
        }
        numbers.truncate(count as usize);
        numbers.sort_unstable();
        numbers
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_each_of_seed_name_and_index() {
        let first = |seed, name, index| Stream::new(seed, name, index).next_u64();
        let base = first(1, CROP, 2);
        assert_eq!(base, first(1, CROP, 2));
        for other in [first(2, CROP, 2), first(1, TEXT, 2), first(1, CROP, 3)] {
            assert_ne!(base, other);
        }
        assert_ne!(derive_seed(1, "pretrain"), derive_seed(1, "finetune"));
    }

    #[test]
    fn the_first_draws_are_pinned() {
        // Runs and data sets made by an earlier version depend on these numbers: they never change.
        let mut stream = Stream::new(0, SYNTH, 0);
        let drawn: Vec<u32> = (0..6).map(|_| stream.below(1000)).collect();
        assert_eq!(drawn, PINNED);
    }
    /// From an independent SHA-256 and ChaCha8.
    const PINNED: [u32; 6] = [176, 316, 304, 708, 489, 829];

    #[test]
    fn below_is_uniform() {
        let mut stream = Stream::new(7, "test", 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        // Standard deviation of a count: sqrt(70000 * 1/7 * 6/7) = 93.
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 450), "{counts:?}");
        assert_eq!(stream.below(1), 0);
        assert_eq!(stream.below(0), 0);
    }

    #[test]
    fn subsets_are_sorted_distinct_and_uniform() {
        let mut counts = [0u32; 10];
        for index in 0..10_000 {
            let subset = Stream::new(3, "test", index).subset(10, 3);
            assert_eq!(subset.len(), 3);
            assert!(subset.windows(2).all(|pair| pair[0] < pair[1]));
            for number in subset {
                counts[number as usize] += 1;
            }
        }
        assert!(counts.iter().all(|&count| count.abs_diff(3_000) < 230), "{counts:?}");
        assert_eq!(Stream::new(3, "test", 0).subset(2, 5), [0, 1]);
    }
}
