//! Webdataset: tar shards whose members are grouped into samples by name.

mod braces;
mod index;

pub use self::braces::expand;
pub use self::index::{CaptionKind, Member, Sample, ShardIndex};
