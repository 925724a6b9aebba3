//! The tokenizers of CLIP and of CLIPA-v2, with their vocabularies built in.

use std::sync::OnceLock;

use regex::Regex;
use shoestring_planner::architecture::TextTokenizer;

use super::mend::clean;
use super::syntax::{self, Rank};
use super::wordpiece::WordPiece;
use crate::error::DataError;

/// CLIP's start-of-text marker.
pub const START: u32 = 49_406;
/// CLIP's end-of-text marker, the largest id: its position is the sentence feature of `argmax` pooling.
pub const END: u32 = 49_407;
/// CLIP's ids are below this.
pub const VOCABULARY: u32 = 49_408;
/// BERT's ids are below this.
const BERT_VOCABULARY: u32 = 30_522;
/// BERT's start marker, `[CLS]`.
const BERT_START: u32 = 101;
/// The one character that is neither letter, number nor mark to the reference, whose pattern ignores case: its
/// other case is a letter.
const NO_MARK: char = '\u{345}';
/// A letter that is another case of `s`, so that the reference takes `'ſ` for one word, as it does `'s`.
const LONG_S: &str = "ſ";
/// The id of an apostrophe that does not end its word.
const APOSTROPHE: u32 = 6;
/// Bytes of a caption that are looked at: far more than any context holds, and a bound for text that is no
/// caption at all.
pub const LONGEST_TEXT: usize = 8_192;

/// What stands before and after the ids of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Markers {
    /// Before the first.
    pub start: u32,
    /// After the last. CLIPA-v2 replaces BERT's `[SEP]` by padding, so there it is 0.
    pub end: u32,
}

/// One of the tokenizers. Ids equal those of `open_clip`'s tokenizer of the same name, its cleaning of captions
/// included, but for a marker written with a `ſ` for its s, which it takes for one word.
pub struct Tokenizer {
    inner: Inner,
}

enum Inner {
    Clip { pairs: instant_clip_tokenizer::Tokenizer, words: Regex },
    Bert { pieces: WordPiece, words: Regex },
}

impl Tokenizer {
    /// CLIP's tokenizer. There is one of each in a process; its vocabulary is read on first use.
    pub fn shared() -> &'static Self {
        Self::named(TextTokenizer::Clip)
    }

    /// The tokenizer of this name.
    pub fn named(name: TextTokenizer) -> &'static Self {
        static CLIP: OnceLock<Tokenizer> = OnceLock::new();
        static BERT: OnceLock<Tokenizer> = OnceLock::new();
        let pattern = |pattern| {
            Regex::new(pattern).unwrap_or_else(|error| unreachable!("a pattern of the program: {error}"))
        };
        match name {
            TextTokenizer::Clip => CLIP.get_or_init(|| Self {
                inner: Inner::Clip {
                    pairs: instant_clip_tokenizer::Tokenizer::new(),
                    words: pattern(
                        r"(?i)<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
                    ),
                },
            }),
            TextTokenizer::Bert => BERT.get_or_init(|| Self {
                inner: Inner::Bert {
                    pieces: WordPiece::new(),
                    words: pattern(r"\[(?:PAD|UNK|CLS|SEP|MASK)\]|[^\s\p{P}\p{S}]+|\S"),
                },
            }),
        }
    }

    /// Ids of a text, without markers. Markers that are written out in the text are obeyed, as the references
    /// do.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encode_cleaned(&clean(bounded(text)), &mut ids);
        ids
    }

    /// Ids of a text as [`Tokenizer::encode`] gives them, each with what its word is to the sentence.
    #[must_use]
    pub fn encode_ranked(&self, text: &str) -> (Vec<u32>, Vec<Rank>) {
        let text = clean(bounded(text));
        let (Inner::Clip { words, .. } | Inner::Bert { words, .. }) = &self.inner;
        let words: Vec<&str> = words.find_iter(&text).map(|found| found.as_str()).collect();
        let (mut ids, mut ranks) = (Vec::new(), Vec::new());
        for (word, rank) in words.iter().zip(syntax::rank(&words)) {
            self.encode_cleaned(word, &mut ids);
            ranks.resize(ids.len(), rank);
        }
        (ids, ranks)
    }

    fn encode_cleaned(&self, text: &str, out: &mut Vec<u32>) {
        match &self.inner {
            Inner::Clip { pairs, words } => {
                let encode = |text: &str, out: &mut Vec<u32>| {
                    let mut tokens = Vec::new();
                    if text.contains(NO_MARK) {
                        pairs.encode(&text.replace(NO_MARK, " "), &mut tokens);
                    } else {
                        pairs.encode(text, &mut tokens);
                    }
                    out.extend(tokens.into_iter().map(|token| u32::from(token.to_u16())));
                };
                if !text.contains(LONG_S) {
                    return encode(text, out);
                }
                // The reference looks for words in lower case, where a letter may have become two characters.
                for word in words.find_iter(&text.to_lowercase()) {
                    match word.as_str().strip_prefix('\'') {
                        Some(LONG_S) => {
                            out.push(APOSTROPHE);
                            encode(LONG_S, out);
                        }
                        _ => encode(word.as_str(), out),
                    }
                }
            }
            Inner::Bert { pieces, .. } => pieces.encode(text, out),
        }
    }

    /// What stands around the ids of a text.
    #[must_use]
    pub fn markers(&self) -> Markers {
        match self.inner {
            Inner::Clip { .. } => Markers { start: START, end: END },
            Inner::Bert { .. } => Markers { start: BERT_START, end: 0 },
        }
    }

    /// Ids are below this.
    #[must_use]
    pub fn vocabulary(&self) -> u32 {
        match self.inner {
            Inner::Clip { .. } => VOCABULARY,
            Inner::Bert { .. } => BERT_VOCABULARY,
        }
    }

    /// Refuses an embedding table with fewer rows than there are ids.
    pub fn check_vocabulary(&self, rows: u32) -> Result<(), DataError> {
        let (ids, name) = match self.inner {
            Inner::Clip { .. } => (VOCABULARY, "CLIP's byte pairs"),
            Inner::Bert { .. } => (BERT_VOCABULARY, "BERT's word pieces"),
        };
        if rows < ids {
            return Err(DataError::Value {
                field: "architecture.text_cfg.vocab_size",
                value: rows.to_string(),
                problem: format!("the tokenizer ({name}) has {ids} ids"),
                hint: format!("set vocab_size = {ids}, or choose the tokenizer with hf_tokenizer_name"),
            });
        }
        Ok(())
    }
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<u32> {
        Tokenizer::shared().encode(text)
    }

    #[test]
    fn golden_ids() {
        assert_eq!(ids("a photo of a cat"), [320, 1125, 539, 320, 2368]);
        assert_eq!(ids("a diagram"), [320, 22697]);
        assert_eq!(ids("Hello World!"), [3306, 1002, 256]);
        assert_eq!(ids("  A   photo\tof\n a CAT "), ids("a photo of a cat"));
        assert_eq!(ids(""), [0u32; 0]);
        assert_eq!(ids(" \n"), [0u32; 0]);
    }

    #[test]
    fn captions_are_cleaned_and_markers_obeyed() {
        assert_eq!(ids("salt &amp; pepper"), ids("salt & pepper"));
        assert_eq!(ids("a caf\u{c3}\u{a9}"), ids("a café"));
        assert_eq!(ids("a <end_of_text> cat"), [320, END, 2368]);
    }

    #[test]
    fn an_apostrophe_and_a_long_s_are_one_word() {
        assert_eq!(ids("'ſ"), [6, 129, 379]);
        assert_eq!(ids("it'ſ ſ"), [585, 6, 129, 379, 129, 379]);
        assert_eq!(ids("x'ſĻÚ"), [343, 6, 129, 379, 128, 120, 36019]);
        assert_eq!(ids("ſİ,"), [129, 123, 328, 136, 229, 267]);
    }

    #[test]
    fn words_one_by_one_give_the_ids_of_the_whole() {
        for text in [
            "a photo\u{345} of the dog's 2 balls, running!",
            "It's 10 o'clock & 50% off (été) 猫 [MASK] x2",
            "\u{1f600}!?",
        ] {
            for name in [TextTokenizer::Clip, TextTokenizer::Bert] {
                let tokenizer = Tokenizer::named(name);
                let (ids, ranks) = tokenizer.encode_ranked(text);
                assert_eq!(ids, tokenizer.encode(text), "{text}");
                assert_eq!(ids.len(), ranks.len());
            }
        }
    }

    #[test]
    fn text_that_is_no_caption_is_bounded() {
        assert!(ids(&"ü".repeat(100_000)).len() <= LONGEST_TEXT);
        assert!(ids(&"a photo ".repeat(100_000)).len() <= LONGEST_TEXT);
    }
}
