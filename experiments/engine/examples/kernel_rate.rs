//! Kernels alone, one thread, by processor time, and how near each comes to what it runs against.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use shoestring_engine::measure::kernel_rates;

/// The allocator that the command has: the system's does not give large blocks whole cache lines.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    println!("{:<44} {:>9} {:>8}  {:<17} {:>6}", "kernel", "G(FL)OP/s", "GB/s", "bound", "share");
    for rate in kernel_rates(0.3) {
        println!(
            "{:<44} {:>9.1} {:>8.1}  {:<17} {:>5.0}%",
            rate.name,
            rate.flops_per_second / 1e9,
            rate.bytes_per_second / 1e9,
            rate.bound,
            100.0 * rate.share_of_bound
        );
    }
}
