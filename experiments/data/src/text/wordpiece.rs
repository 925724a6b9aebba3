//! BERT's WordPiece tokens (bert-base-uncased), with the vocabulary built in. CLIPA-v2's models read these.
//!
//! As the `tokenizers` library does it: control characters dropped, Chinese characters set apart, accents
//! stripped, lower case; then words and single punctuation marks, each cut greedily into the longest pieces
//! that are known.

use std::collections::HashMap;

use unicode_categories::UnicodeCategories;
use unicode_normalization::UnicodeNormalization;

use super::embedded::unpack;

static VOCABULARY: &[u8] = include_bytes!("../../assets/bert_base_uncased.txt.deflate");

/// Marks that a caption may hold written out; the reference obeys them.
const SPECIAL: [(&str, u32); 5] =
    [("[PAD]", 0), ("[UNK]", UNKNOWN), ("[CLS]", 101), ("[SEP]", 102), ("[MASK]", 103)];
const UNKNOWN: u32 = 100;
/// Longer words are unknown as a whole.
const LONGEST_WORD: usize = 100;

/// The vocabulary of `bert-base-uncased`, one piece a line in the order of their ids.
#[must_use]
pub fn bert_vocabulary() -> String {
    unpack(VOCABULARY)
}

pub(super) struct WordPiece {
    /// Pieces that begin a word.
    first: HashMap<Box<str>, u32>,
    /// Pieces that go on within a word, without their `##`.
    inner: HashMap<Box<str>, u32>,
    longest_piece: usize,
}

impl WordPiece {
    pub(super) fn new() -> Self {
        let (mut first, mut inner, mut longest_piece) = (HashMap::new(), HashMap::new(), 0);
        for (piece, id) in bert_vocabulary().lines().zip(0..) {
            longest_piece = longest_piece.max(piece.len());
            match piece.strip_prefix("##") {
                // `##` is also a word made of two marks, but then it is no piece of its own.
                Some(rest) if !rest.is_empty() => inner.insert(rest.into(), id),
                _ => first.insert(piece.into(), id),
            };
        }
        Self { first, inner, longest_piece }
    }

    /// Ids of cleaned text, without markers.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut rest = text;
        while let Some((at, mark, id)) = first_special(rest) {
            self.encode_plain(&rest[..at], out);
            out.push(id);
            rest = &rest[at + mark.len()..];
        }
        self.encode_plain(rest, out);
    }

    fn encode_plain(&self, text: &str, out: &mut Vec<u32>) {
        let normal = normalise(text);
        for word in normal.split(char::is_whitespace) {
            let mut start = 0;
            for (at, mark) in word.match_indices(is_punctuation) {
                self.encode_word(&word[start..at], out);
                self.encode_word(mark, out);
                start = at + mark.len();
            }
            self.encode_word(&word[start..], out);
        }
    }

    fn encode_word(&self, word: &str, out: &mut Vec<u32>) {
        if word.is_empty() {
            return;
        }
        if word.chars().count() > LONGEST_WORD {
            out.push(UNKNOWN);
            return;
        }
        let begin = out.len();
        let mut start = 0;
        while start < word.len() {
            let pieces = if start == 0 { &self.first } else { &self.inner };
            let mut end = word.floor_char_boundary(start + self.longest_piece);
            let found = loop {
                if end <= start {
                    break None;
                }
                if let Some(&id) = pieces.get(&word[start..end]) {
                    break Some(id);
                }
                end = word.floor_char_boundary(end - 1);
            };
            let Some(id) = found else {
                out.truncate(begin);
                out.push(UNKNOWN);
                return;
            };
            out.push(id);
            start = end;
        }
    }
}

fn first_special(text: &str) -> Option<(usize, &'static str, u32)> {
    let mut from = 0;
    while let Some(bracket) = text[from..].find('[') {
        let at = from + bracket;
        if let Some((mark, id)) = SPECIAL.into_iter().find(|(mark, _)| text[at..].starts_with(mark)) {
            return Some((at, mark, id));
        }
        from = at + 1;
    }
    None
}

fn normalise(text: &str) -> String {
    if text.is_ascii() {
        let kept = text.chars().filter(|&character| !is_control(character));
        return kept.map(|character| character.to_ascii_lowercase()).collect();
    }
    let mut spaced = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' | '\u{fffd}' => {}
            _ if is_control(character) => {}
            _ if is_chinese(character) => spaced.extend([' ', character, ' ']),
            _ => spaced.push(character),
        }
    }
    spaced.nfd().filter(|character| !character.is_mark_nonspacing()).flat_map(char::to_lowercase).collect()
}

fn is_control(character: char) -> bool {
    !matches!(character, '\t' | '\n' | '\r') && character.is_other()
}

fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation() || character.is_punctuation()
}

/// The ideographs that the reference sets apart, its gap between the extensions included.
fn is_chinese(character: char) -> bool {
    matches!(
        character as u32,
        0x4e00..=0x9fff | 0x3400..=0x4dbf | 0x2_0000..=0x2_a6df | 0x2_a700..=0x2_b73f | 0x2_b740..=0x2_b81f
            | 0x2_b920..=0x2_ceaf | 0xf900..=0xfaff | 0x2_f800..=0x2_fa1f
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        WordPiece::new().encode(text, &mut out);
        out
    }

    #[test]
    fn golden_ids() {
        // From the `tokenizers` library with bert-base-uncased's vocabulary.
        assert_eq!(ids("a photo of a cat"), [1037, 6302, 1997, 1037, 4937]);
        assert_eq!(ids("Hello, World!"), [7592, 1010, 2088, 999]);
        assert_eq!(ids("unaffable"), [14477, 20961, 3468]);
        assert_eq!(ids("été 猫[MASK]"), [3802, 2063, 100, 103]);
        assert_eq!(ids(&"x".repeat(101)), [UNKNOWN]);
        assert_eq!(ids(""), [0u32; 0]);
    }
}
