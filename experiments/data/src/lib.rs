//! Image-caption pairs: webdataset shards, the procedural generator, tokenising, reductions, batches.
//!
//! Everything random here is a pure function of (seed, stream name, sample number): see [`streams`]. The
//! position in a stage is therefore one number, a resumed run draws what the uninterrupted one would have
//! drawn, and batches do not depend on the number of threads that decode them.

mod bad;
mod bounded;
mod error;
pub mod evaluation;
mod guard;
mod inspect;
mod loader;
mod manifest;
mod permutation;
pub mod picture;
mod prefetch;
mod repack;
mod source;
pub mod streams;
pub mod synth;
pub mod text;
pub mod webdataset;
pub mod write;

pub use self::bad::{BadCause, Counts, DEFAULT_TOLERANCE};
pub use self::bounded::{read_bounded, read_line_bounded, read_text_bounded};
pub use self::error::DataError;
pub use self::evaluation::EvaluationSet;
pub use self::inspect::{InspectRequest, Inspection, Spread, find_source, inspect};
pub use self::loader::{Batch, Loader};
pub use self::manifest::{MANIFEST_NAME, read_dataset_folder};
pub use self::permutation::Permutation;
pub use self::prefetch::Prefetcher;
pub use self::repack::{RepackRequest, Repacked, repack};
pub use self::streams::Stream;
pub use self::text::Tokenizer;
pub use self::write::{Progress, SynthRequest, write_synth};
