//! Rates of the kernels that a step consists of, one by one.

use std::time::Instant;

use crate::measure::cpu_time_seconds;
use crate::ops::level::Level;
use crate::ops::multiply::{Depth, Epilogue, Left, Right, multiply};
use crate::ops::pack::{self, Source, groups_of, interleave, left_len, packed_len, transpose};
use crate::ops::stored::{Bf16, Stored};
use crate::ops::tile::COLUMNS;
use crate::optimizer::{Factors, update};

/// The rate of one kernel on one thread, by processor time.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelRate {
    /// What is computed, and its size.
    pub name: String,
    /// FLOPs per second; zero for what only moves numbers.
    pub flops_per_second: f64,
    /// Bytes read and written per second, each operand counted once.
    pub bytes_per_second: f64,
}

/// Keeps one number, so that nothing is optimised away.
struct Last(f32);

impl Epilogue<f32> for Last {
    #[inline(always)]
    fn row<const FUSED: bool>(&mut self, _: usize, _: usize, values: &[f32]) {
        self.0 = values[0];
    }
}

fn rate(name: String, seconds: f64, flops: f64, bytes: f64, mut work: impl FnMut()) -> KernelRate {
    work();
    let (start, cpu_start) = (Instant::now(), cpu_time_seconds());
    let mut count = 0.0;
    while start.elapsed().as_secs_f64() < seconds {
        work();
        count += 1.0;
    }
    let wall = start.elapsed().as_secs_f64();
    let took = cpu_start.zip(cpu_time_seconds()).map_or(wall, |(a, b)| b - a);
    KernelRate { name, flops_per_second: count * flops / took, bytes_per_second: count * bytes / took }
}

fn product<S: Stored<Real = f32>>(label: &str, sizes: (usize, usize, usize), seconds: f64) -> KernelRate {
    let (rows, columns, depth) = sizes;
    let left = vec![S::narrow(0.5); rows * depth];
    let right = vec![S::narrow(0.25); packed_len(columns, COLUMNS, depth / S::GROUP, S::GROUP)];
    let flops = 2.0 * (rows * columns * depth) as f64;
    let bytes = (size_of::<S>() * (rows + columns) * depth) as f64;
    rate(format!("{label} {rows} x {columns} x {depth}"), seconds, flops, bytes, || {
        let left = Left::rows(&left, rows, depth, depth);
        let right = Right::packed(&right, columns, Depth::whole::<S>(depth));
        let mut last = Last(0.0);
        multiply(Level::current(), left, 0..rows, right, &mut last);
        std::hint::black_box(last.0);
    })
}

/// A weight's gradient as a block computes it: some rows of the left operand, both packed, a segment a slab.
fn gradient_product((rows, columns): (usize, usize), slabs: usize, seconds: f64) -> KernelRate {
    let of_slab = 111usize;
    let level = Level::current();
    let groups = groups_of::<Bf16>(level, of_slab);
    let depth = Depth { segments: slabs, groups, last_groups: groups };
    let left = vec![Bf16::narrow(0.5); slabs * left_len::<Bf16>(level, rows, groups)];
    let right = vec![Bf16::narrow(0.25); slabs * packed_len(columns, COLUMNS, groups, 2)];
    let all = slabs * of_slab;
    let flops = 2.0 * (rows * columns * all) as f64;
    let bytes = (2 * (rows + columns) * all) as f64;
    rate(format!("weight gradient {rows} x {columns} x {all}"), seconds, flops, bytes, || {
        let left = Left::packed(level, &left, rows, depth);
        let mut last = Last(0.0);
        multiply(Level::current(), left, 0..rows, Right::packed(&right, columns, depth), &mut last);
        std::hint::black_box(last.0);
    })
}

/// Each kernel for about `seconds`.
#[must_use]
pub fn kernel_rates(seconds: f64) -> Vec<KernelRate> {
    let mut rates = Vec::new();
    for sizes in [
        (32, 32, 256),
        (128, 32, 256),
        (32, 512, 256),
        (32, 64, 768),
        (256, 768, 768),
        (256, 3072, 768),
        (96, 256, 512),
        (119, 1152, 384),
        (119, 384, 1536),
        (111, 768, 3072),
        (197, 3072, 768),
        (16, 64, 18),
    ] {
        rates.push(product::<Bf16>("product bf16", sizes, seconds));
    }
    for sizes in [(96, 256, 512), (119, 384, 1536)] {
        rates.push(product::<f32>("product f32", sizes, seconds));
    }
    for sizes in [(48, 768), (48, 3072)] {
        rates.push(gradient_product(sizes, 22, seconds));
    }
    let level = Level::current();
    let (rows, columns) = (1536, 384);
    let weight = vec![0.5f32; rows * columns];
    let mut packed = vec![Bf16(0); packed_len(rows, COLUMNS, columns / 2, 2)];
    let bytes = (6 * rows * columns) as f64;
    rates.push(rate(format!("pack weight forward {rows} x {columns}"), seconds, 0.0, bytes, || {
        transpose(level, Source::new(&weight, rows, columns, columns), columns / 2, &mut packed);
    }));
    rates.push(rate(format!("pack weight backward {rows} x {columns}"), seconds, 0.0, bytes, || {
        interleave::<_, _, COLUMNS>(
            level,
            Source::new(&weight, rows, columns, columns),
            rows / 2,
            &mut packed,
        );
    }));
    let slab = vec![Bf16(0); 120 * columns];
    let mut left = vec![Bf16(0); left_len::<Bf16>(level, columns, 64)];
    let bytes = (4 * 120 * columns) as f64;
    rates.push(rate(format!("pack activations 120 x {columns}"), seconds, 0.0, bytes, || {
        pack::left(level, Source::new(&slab, 120, columns, columns), 64, &mut left);
    }));
    let count = 8 << 20;
    let mut numbers = [(); 3].map(|()| vec![0.1f32; count]);
    let gradient = vec![Bf16::narrow(0.1); count];
    let [p, m, v] = &mut numbers;
    let by =
        Factors { gradient: 1.0, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, keep: 1.0, rate: 1e-4, second: 1.0 };
    rates.push(rate(format!("optimiser {count}"), seconds, 0.0, 26.0 * count as f64, || {
        update::<Bf16>(p, m, v, &gradient, by);
    }));
    rates
}
