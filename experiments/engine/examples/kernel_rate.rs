//! Products alone, one thread, by processor time.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use shoestring_engine::measure::kernel_rates;

/// The allocator that the command has: the system's does not give large blocks whole cache lines.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    for rate in kernel_rates(0.4) {
        println!(
            "{:<40} {:8.1} GFLOP/s {:8.1} GB/s",
            rate.name,
            rate.flops_per_second / 1e9,
            rate.bytes_per_second / 1e9
        );
    }
}
