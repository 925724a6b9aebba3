//! Captions: CLIP's byte-pair tokens, and how a sequence is shortened.

mod reduce;
mod tokenizer;

pub use self::reduce::{check_reduction, reduce};
pub use self::tokenizer::{END, LONGEST_TEXT, START, Tokenizer, VOCABULARY};
