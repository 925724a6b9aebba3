//! Evaluations of any model: zero-shot classification, linear probe, image-text retrieval.
//!
//! Embeddings come first, batch by batch, and are kept in a file as they come where one is named, so that the
//! same command goes on where it was stopped; the metrics are arithmetic on them.

mod encoder;
mod journal;
mod tasks;

pub use self::encoder::Encoder;
pub use self::journal::{Embeddings, Key};
pub use self::tasks::{Measured, Metric, Proceed, Progress, Stopped, linear_probe, retrieval, zero_shot};
