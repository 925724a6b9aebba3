//! Captions: cleaned and tokenized as the reference does it, and how a sequence is shortened.

mod embedded;
mod entities;
mod mend;
mod reduce;
mod syntax;
mod tokenizer;
mod wordpiece;

pub use self::reduce::reduce;
pub use self::syntax::{Rank, rank};
pub use self::tokenizer::{END, LONGEST_TEXT, Markers, START, Tokenizer, VOCABULARY};
pub use self::wordpiece::bert_vocabulary;
