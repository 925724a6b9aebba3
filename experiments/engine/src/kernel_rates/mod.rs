//! Rates of the kernels that a step consists of, one by one, and what each runs against.

mod ceilings;
mod passes;
mod products;

use std::fmt;
use std::time::{Duration, Instant};

use self::ceilings::Ceilings;
use crate::measure::cpu_time_seconds;
use crate::tower;

/// What a kernel runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Products of bf16 with operands in the first-level cache.
    ProductsBf16,
    /// The same of `f32`.
    ProductsF32,
    /// Vector operations on `f32` in registers, products not fused with additions.
    Vectors,
    /// Bytes read and written within the first-level cache.
    FirstLevel,
    /// The same within the second-level cache.
    SecondLevel,
    /// The same where the second-level cache does not hold them all.
    Memory,
}

impl Bound {
    /// Whether it is counted in bytes rather than in operations.
    #[must_use]
    pub fn is_bytes(self) -> bool {
        matches!(self, Self::FirstLevel | Self::SecondLevel | Self::Memory)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ProductsBf16 => "FLOPs, bf16",
            Self::ProductsF32 => "FLOPs, f32",
            Self::Vectors => "vector operations",
            Self::FirstLevel => "bytes, L1",
            Self::SecondLevel => "bytes, L2",
            Self::Memory => "bytes beyond L2",
        })
    }
}

/// The rate of one kernel on one thread, by processor time.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelRate {
    /// What is computed, and its size.
    pub name: String,
    /// FLOPs per second of products; of what is none, operations on one number per second, rounding and comparisons
    /// included. Zero for what only moves numbers.
    pub flops_per_second: f64,
    /// Bytes read and written per second, each operand counted once.
    pub bytes_per_second: f64,
    /// Of its arithmetic and its traffic, the one that comes nearer to what this machine can do.
    pub bound: Bound,
    /// How near: the rate over the machine's, measured before the kernels. Small where a kernel's loops are too short
    /// for either. Traffic is measured by a copy and by a change in place, so what only reads can be above 1.
    pub share_of_bound: f64,
}

/// Vector operations that rounding a number to bf16 takes: two additions, two shifts, a mask, and NaN told apart.
pub(crate) const ROUND: usize = 6;

/// Vector operations of `Real::exponential` in `f32`.
pub(crate) const EXPONENTIAL: usize = 27;

/// What a kernel does each time it is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    arithmetic: Bound,
    operations: f64,
    /// Vector operations besides those of a product.
    besides: f64,
    bytes: f64,
    /// Bytes of all operands: where they lie follows from it.
    held: f64,
}

impl Cost {
    /// A product's FLOPs, operands of bf16.
    pub(crate) fn bf16(flops: usize, bytes: usize) -> Self {
        Self::of(Bound::ProductsBf16, flops, bytes)
    }

    /// A product's FLOPs, operands of `f32`.
    pub(crate) fn single(flops: usize, bytes: usize) -> Self {
        Self::of(Bound::ProductsF32, flops, bytes)
    }

    /// `numbers`, for each of which so many operations are done and so many bytes read or written.
    pub(crate) fn pass(numbers: usize, operations: usize, bytes: usize) -> Self {
        Self::of(Bound::Vectors, numbers * operations, numbers * bytes)
    }

    fn of(arithmetic: Bound, operations: usize, bytes: usize) -> Self {
        let bytes = bytes as f64;
        Self { arithmetic, operations: operations as f64, besides: 0.0, bytes, held: bytes }
    }

    /// The same with vector operations besides the product's FLOPs.
    pub(crate) fn besides(self, operations: usize) -> Self {
        Self { besides: operations as f64, ..self }
    }

    /// The same where what is changed in place is both read and written: `bytes` of each number are held.
    pub(crate) fn held(self, bytes: usize) -> Self {
        Self { held: bytes as f64, ..self }
    }
}

/// Rates found so far.
pub(crate) struct Rates {
    seconds: f64,
    ceilings: Ceilings,
    found: Vec<KernelRate>,
}

impl Rates {
    /// Measures one kernel.
    pub(crate) fn add(&mut self, name: impl Into<String>, cost: Cost, work: impl FnMut()) {
        let calls = calls_per_second(self.seconds, work);
        let (flops, bytes) = (calls * cost.operations, calls * cost.bytes);
        let home = self.ceilings.home(cost.held);
        let shares = [(Bound::Vectors, calls * cost.besides), (home, bytes)];
        let mut nearest = (cost.arithmetic, flops / self.ceilings.rate(cost.arithmetic));
        for (bound, rate) in shares {
            let share = rate / self.ceilings.rate(bound);
            if share > nearest.1 {
                nearest = (bound, share);
            }
        }
        let (bound, share_of_bound) = nearest;
        self.found.push(KernelRate {
            name: name.into(),
            flops_per_second: flops,
            bytes_per_second: bytes,
            bound,
            share_of_bound,
        });
    }
}

/// Calls of `work` per second of processor time, over about `seconds`, at least one after an untimed one. The clock is
/// read about a hundred times, so that short kernels are not timed with it.
fn calls_per_second(seconds: f64, mut work: impl FnMut()) -> f64 {
    work();
    let wanted = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let (start, cpu_start) = (Instant::now(), cpu_time_seconds());
    let (mut count, mut batch) = (0u64, 1u64);
    loop {
        for _ in 0..batch {
            work();
        }
        count += batch;
        let elapsed = start.elapsed();
        if elapsed >= wanted {
            break;
        }
        if elapsed < wanted / 100 {
            batch *= 2;
        }
    }
    let wall = start.elapsed().as_secs_f64();
    let cpu = cpu_start.zip(cpu_time_seconds()).map(|(a, b)| b - a).filter(|&cpu| cpu > 0.0);
    count as f64 / cpu.unwrap_or(wall)
}

/// Each kernel for about `seconds`; first what the machine can do, which the others are compared with.
#[must_use]
pub fn kernel_rates(seconds: f64) -> Vec<KernelRate> {
    let all = || {
        let ceilings = Ceilings::measured(seconds);
        let found = ceilings.lines();
        let mut rates = Rates { seconds, ceilings, found };
        products::rates(&mut rates);
        tower::rates(&mut rates);
        passes::rates(&mut rates);
        rates.found
    };
    // Without a pool of its own the threads are those of the process; their processor time is what counts.
    match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
        Ok(pool) => pool.install(all),
        Err(_) => all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel runs, has a name of its own that fits its column, a rate, and something that it runs against.
    #[test]
    fn every_kernel_has_a_rate_and_a_bound() {
        let rates = kernel_rates(0.0);
        let names: std::collections::BTreeSet<&str> = rates.iter().map(|rate| rate.name.as_str()).collect();
        assert_eq!(names.len(), rates.len(), "a name comes twice");
        for rate in &rates {
            assert!(rate.name.chars().count() <= 44, "{}", rate.name);
            let of_bound = if rate.bound.is_bytes() { rate.bytes_per_second } else { rate.flops_per_second };
            assert!(of_bound > 0.0 && of_bound.is_finite(), "{rate:?}");
            assert!(rate.share_of_bound > 0.0 && rate.share_of_bound.is_finite(), "{rate:?}");
        }
    }
}
