//! The crate from outside: files in, batches out.
#![allow(clippy::unwrap_used)]

mod common;
mod evaluation;
mod lists;
mod loader;
mod pictures;
mod repack;
mod shards;
mod sources;
mod speed;
mod synth;
