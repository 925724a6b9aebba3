//! The door: parse, call a room, print. No arithmetic here.

mod cli;
mod commands;
mod failure;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::output::{Printer, complain};

// Training allocates and frees large blocks every step; glibc hands them back to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // candle's worker threads spin while they wait; where cores are few they take time from each other.
    // SAFETY: no other thread runs yet, so nothing reads the environment at the same time.
    unsafe { std::env::set_var("CANDLE_BARRIER_POOL_SPIN_LIMIT", "1") };
    let cli = Cli::parse();
    let printer = Printer { quiet: cli.quiet };
    match commands::dispatch(cli, printer) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            complain(&failure.render());
            failure.exit.into()
        }
    }
}
