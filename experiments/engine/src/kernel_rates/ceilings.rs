//! What the machine can do at most, measured in the same run.

use super::products::product_calls;
use super::{Bound, KernelRate, calls_per_second};
use crate::ops::simd::widest;
use crate::ops::stored::{Bf16, Stored};
use crate::optimizer::decay;
use crate::real::Real;

/// Operations on a number each time that it is read: two each.
const HALVINGS: usize = 16;

/// Bytes that no cache of a core's own holds.
const MEMORY: usize = 32 << 20;

/// Times that each is measured; the highest counts, since other programs can only make it lower.
const ROUNDS: u32 = 5;

fn highest(seconds: f64, mut work: impl FnMut()) -> f64 {
    (0..ROUNDS).map(|_| calls_per_second(seconds / f64::from(ROUNDS), &mut work)).fold(0.0, f64::max)
}

/// Rates on one thread, FLOPs, operations or bytes per second.
pub(super) struct Ceilings {
    products_bf16: f64,
    products_f32: f64,
    vectors: f64,
    first_level: f64,
    second_level: f64,
    memory: f64,
    /// Bytes of a core's caches.
    first_level_bytes: usize,
    second_level_bytes: usize,
}

widest! {
    /// x ← x / 2 + 1 / 2, 16 times for each number while it is in a register. The numbers do not depend on one another,
    /// which hides how long an operation takes.
    pub(crate) fn halve<T: Real>(numbers: &mut [T]) {
        let half = T::from_f64(0.5);
        for x in numbers {
            let mut y = *x;
            for _ in 0..HALVINGS {
                y = y * half + half;
            }
            *x = y;
        }
    }
}

/// The highest of the rates of three products whose operands lie in the nearer caches.
fn products<S: Stored<Real = f32>>(seconds: f64) -> f64 {
    let sizes = [(32, 32, 256), (96, 32, 256), (96, 256, 512)];
    let rates = sizes.map(|(rows, columns, depth)| {
        product_calls::<S>((rows, columns, depth), |work| highest(seconds, work))
            * (2 * rows * columns * depth) as f64
    });
    rates.into_iter().fold(0.0, f64::max)
}

/// Bytes per second, read and written, within `bytes`: the higher rate of a copy from one half to the other and of a
/// change in place.
fn traffic(bytes: usize, seconds: f64) -> f64 {
    let mut numbers = vec![1f32; bytes / size_of::<f32>()];
    let (from, to) = numbers.split_at_mut(bytes / 2 / size_of::<f32>());
    let copies = highest(seconds, || {
        to.copy_from_slice(std::hint::black_box(from));
        std::hint::black_box(&mut *to);
    });
    let changes = highest(seconds, || decay(std::hint::black_box(&mut numbers), 0.999_999));
    bytes as f64 * copies.max(2.0 * changes)
}

/// Bytes of a core's cache as Linux numbers them: 0 is the first-level one for data, 2 the second-level one. Where the
/// system does not tell, what most processors have.
fn cache_bytes(index: usize, usual: usize) -> usize {
    let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().strip_suffix('K').and_then(|text| text.parse::<usize>().ok()).map_or(usual, |kib| kib << 10)
}

impl Ceilings {
    pub(super) fn measured(seconds: f64) -> Self {
        let (first_level_bytes, second_level_bytes) = (cache_bytes(0, 32 << 10), cache_bytes(2, 1 << 20));
        let mut numbers = vec![0.3f32; 4096];
        let halvings = highest(seconds, || halve(std::hint::black_box(&mut numbers)));
        Self {
            products_bf16: products::<Bf16>(seconds),
            products_f32: products::<f32>(seconds),
            vectors: halvings * (2 * HALVINGS * numbers.len()) as f64,
            first_level: traffic(first_level_bytes / 2, seconds),
            second_level: traffic(second_level_bytes / 2, seconds),
            memory: traffic(MEMORY, seconds),
            first_level_bytes,
            second_level_bytes,
        }
    }

    /// Where operands of so many bytes lie.
    pub(super) fn home(&self, bytes: f64) -> Bound {
        if bytes <= self.first_level_bytes as f64 {
            Bound::FirstLevel
        } else if bytes <= self.second_level_bytes as f64 {
            Bound::SecondLevel
        } else {
            Bound::Memory
        }
    }

    pub(super) fn rate(&self, bound: Bound) -> f64 {
        match bound {
            Bound::ProductsBf16 => self.products_bf16,
            Bound::ProductsF32 => self.products_f32,
            Bound::Vectors => self.vectors,
            Bound::FirstLevel => self.first_level,
            Bound::SecondLevel => self.second_level,
            Bound::Memory => self.memory,
        }
    }

    pub(super) fn lines(&self) -> Vec<KernelRate> {
        let line = |(bound, name): (Bound, &str)| {
            let rate = self.rate(bound);
            let (flops_per_second, bytes_per_second) =
                if bound.is_bytes() { (0.0, rate) } else { (rate, 0.0) };
            let name = format!("machine: {name}");
            KernelRate { name, flops_per_second, bytes_per_second, bound, share_of_bound: 1.0 }
        };
        [
            (Bound::ProductsBf16, "products bf16"),
            (Bound::ProductsF32, "products f32"),
            (Bound::Vectors, "vector operations f32"),
            (Bound::FirstLevel, "bytes in L1"),
            (Bound::SecondLevel, "bytes in L2"),
            (Bound::Memory, "bytes beyond L2"),
        ]
        .map(line)
        .into()
    }
}
