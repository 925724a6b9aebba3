//! Webdataset: tar shards whose members are grouped into samples by name.

mod braces;
mod index;
mod remote;

pub use self::braces::expand;
pub use self::index::{CaptionKind, Member, Sample, ShardIndex};
pub(crate) use self::index::{Grouping, split_name};
pub(crate) use self::remote::{is_remote, local};
