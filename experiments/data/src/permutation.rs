//! The order of an epoch, computed for one position at a time: no list of all samples is ever shuffled.

use rand::Rng;

use crate::streams::Stream;

const ROUNDS: usize = 6;

/// A pseudo-random permutation of `0..len`: a Feistel network over the next larger power of four, walked
/// until it lands inside. The same (seed, stream, index) gives the same permutation.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` that stream `name` of `index` decides.
    #[must_use]
    pub fn new(len: u64, seed: u64, name: &str, index: u64) -> Self {
        let mut stream = Stream::new(seed, name, index);
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        // At least 64 places: fewer leave a Feistel network too few permutations to choose from.
        let half_bits = bits.div_ceil(2).max(3);
        Self { len, half_bits, keys: std::array::from_fn(|_| stream.next_u64()) }
    }

    /// Where `position` goes. Positions from `len` on are taken modulo `len`; an empty permutation gives 0.
    #[must_use]
    pub fn at(&self, position: u64) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let mut value = position % self.len;
        // A permutation of the larger range, so the walk from inside comes back inside: at most `range`
        // steps, four on average once there are more than 64 places.
        loop {
            value = self.step(value);
            if value < self.len {
                return value;
            }
        }
    }

    fn step(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// The finaliser of `SplitMix64`.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_hit_once() {
        for len in [1, 2, 3, 5, 16, 63, 64, 65, 100, 257, 1000, 4096, 5000] {
            for epoch in 0..3 {
                let permutation = Permutation::new(len, 9, "shuffle", epoch);
                let mut seen: Vec<u64> = (0..len).map(|position| permutation.at(position)).collect();
                seen.sort_unstable();
                assert!(seen.iter().copied().eq(0..len), "len {len}, epoch {epoch}");
            }
        }
        let huge = Permutation::new(12_800_000_000, 9, "shuffle", 0);
        assert!((0..1000).all(|position| huge.at(position) < 12_800_000_000));
        let whole = Permutation::new(u64::MAX, 9, "shuffle", 0);
        assert_ne!(whole.at(0), whole.at(u64::MAX - 1));
        assert_eq!(Permutation::new(0, 9, "shuffle", 0).at(3), 0);
    }

    #[test]
    fn epochs_and_seeds_differ_and_places_are_uniform() {
        let order = |seed, epoch| -> Vec<u64> {
            let permutation = Permutation::new(50, seed, "shuffle", epoch);
            (0..50).map(|position| permutation.at(position)).collect()
        };
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        for len in [7u64, 20] {
            let mut counts = vec![vec![0u32; len as usize]; len as usize];
            let epochs = 4_000;
            for epoch in 0..epochs {
                let permutation = Permutation::new(len, 4, "shuffle", epoch);
                for position in 0..len {
                    counts[position as usize][permutation.at(position) as usize] += 1;
                }
            }
            let expected = epochs as f64 / len as f64;
            let chi_square: f64 =
                counts.iter().flatten().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
            // (len - 1)^2 degrees of freedom; five standard deviations above the mean.
            let freedom = ((len - 1) * (len - 1)) as f64;
            assert!(chi_square < freedom + 5.0 * (2.0 * freedom).sqrt(), "{len}: {chi_square}");
        }
    }
}
