//! The cleaning that `open_clip` gives captions: text that was decoded wrongly is repaired, HTML entities are
//! resolved, white space is collapsed.
//!
//! The repair follows ftfy 6.3.1's `fix_text` with its default settings (Robyn Speer, Apache-2.0,
//! <https://ftfy.readthedocs.io>), whose tables of suspicious characters are embedded. Python brings Unicode
//! tables of its own: code points that its version does not know can be normalised otherwise there.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use regex::Regex;
use regex::bytes::Regex as BytesRegex;
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

use super::embedded::unpack;
use super::entities::unescape;

static TABLES: &[u8] = include_bytes!("../../assets/mend.json.deflate");

/// Single-byte encodings that text may have been decoded with by mistake, in the order they are tried.
const ENCODINGS: [&str; 10] = [
    "latin-1",
    "sloppy-windows-1252",
    "sloppy-windows-1251",
    "sloppy-windows-1250",
    "sloppy-windows-1253",
    "sloppy-windows-1254",
    "sloppy-windows-1257",
    "iso-8859-2",
    "macroman",
    "cp437",
];
/// Bytes of Windows-1252 that stand for nothing.
const UNDEFINED_IN_1252: [u8; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];
/// UTF-8 in which byte A0 has become a space. The cases are those that make likely characters.
const ALTERED_UTF8: &str = r"(?-u)[\xc2\xc3\xc5\xce\xd0\xd9] |[\xe2\xe3] [\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf] |\xf0 [\x80-\xbf][\x80-\xbf]|\xf0[\x80-\xbf] [\x80-\xbf]|\xf0[\x80-\xbf][\x80-\xbf] ";
/// UTF-8 of which bytes were lost; 1A stands for a lost one.
const LOSSY_UTF8: &str = r"(?-u)[\xc2-\xdf]\x1a|[\xc2-\xc3][?]|\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]|\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]|[\xe0-\xef][\x1a?][\x1a\x80-\xbf]|[\xe0-\xef][\x1a\x80-\xbf][\x1a?]|[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]|\x1a";

#[derive(Deserialize)]
struct Tables {
    badness: String,
    detector: String,
    continuation_strict: String,
    charmaps: HashMap<String, String>,
    entities: HashMap<String, String>,
    upper_case_entities: HashMap<String, String>,
}

struct Mender {
    badness: Regex,
    detector: Regex,
    continuation_strict: Regex,
    altered: BytesRegex,
    lossy: BytesRegex,
    entity: Regex,
    escapes: Regex,
    encodings: Vec<Encoding>,
    entities: HashMap<String, String>,
    upper_case_entities: HashMap<String, String>,
}

struct Encoding {
    name: &'static str,
    bytes: HashMap<char, u8>,
    characters: Vec<char>,
}

/// Python's white space: Unicode's and the four separators of ASCII.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// A caption as `open_clip` cleans it before it is tokenized (its case is kept).
pub(super) fn clean(text: &str) -> String {
    let resolved = if is_plain(text) {
        Cow::Borrowed(text)
    } else {
        let mender = mender();
        let mended = mender.fix_text(text);
        Cow::Owned(unescape(&unescape(&mended, &mender.entities), &mender.entities))
    };
    let mut out = String::with_capacity(resolved.len());
    for word in resolved.split(is_space).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Printable ASCII and white space without an `&`: nothing to repair, which is most captions.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'%' | b'\''..=b'~' | b'\n' | b'\r' | b'\t' | b'\x0c'))
}

fn mender() -> &'static Mender {
    static MENDER: OnceLock<Mender> = OnceLock::new();
    MENDER.get_or_init(|| {
        let tables: Tables = serde_json::from_str(&unpack(TABLES))
            .unwrap_or_else(|error| unreachable!("the embedded tables are whole: {error}"));
        let text = |pattern: &str| {
            Regex::new(pattern).unwrap_or_else(|error| unreachable!("an embedded pattern: {error}"))
        };
        let bytes = |pattern: &str| {
            BytesRegex::new(pattern).unwrap_or_else(|error| unreachable!("a pattern: {error}"))
        };
        Mender {
            badness: text(&tables.badness),
            detector: text(&tables.detector),
            continuation_strict: text(&tables.continuation_strict),
            altered: bytes(ALTERED_UTF8),
            lossy: bytes(LOSSY_UTF8),
            entity: text("&#?[0-9A-Za-z]{1,24};"),
            escapes: text("\x1b\\[(?:\\p{Nd}|;)*[a-zA-Z]"),
            encodings: ENCODINGS.iter().map(|name| Encoding::new(name, &tables.charmaps[*name])).collect(),
            entities: tables.entities,
            upper_case_entities: tables.upper_case_entities,
        }
    })
}

impl Encoding {
    fn new(name: &'static str, upper_half: &str) -> Self {
        let characters: Vec<char> = upper_half.chars().collect();
        let mut bytes: HashMap<char, u8> =
            characters.iter().zip(0x80u8..=0xff).map(|(&character, byte)| (character, byte)).collect();
        let lost = if name.starts_with("sloppy") { '\u{fffd}' } else { '\x1a' };
        bytes.insert(lost, 0x1a);
        Self { name, bytes, characters }
    }

    fn is_sloppy(&self) -> bool {
        self.name.starts_with("sloppy")
    }

    /// The bytes that this encoding would have turned into `text`; `None`: it could not have.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let byte = |character: char| match character {
            '\x1a' => self.bytes.get(&character).copied(),
            _ if character.is_ascii() => Some(character as u8),
            _ => self.bytes.get(&character).copied(),
        };
        text.chars().map(byte).collect()
    }
}

impl Mender {
    fn fix_text(&self, text: &str) -> String {
        let mut resolve_entities = true;
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            // A tag means that entities are meant as entities, there and from there on.
            resolve_entities &= !line.contains('<');
            out.push_str(&self.fix_line(line, resolve_entities));
        }
        out
    }

    fn fix_line(&self, line: &str, resolve_entities: bool) -> String {
        let mut text = line.to_owned();
        loop {
            let before = text.clone();
            if resolve_entities {
                text = self.unescape(&text);
            }
            text = self.fix_encoding(&text);
            text = self.replace_characters(&text);
            text = self.escapes.replace_all(&text, "").into_owned();
            text.retain(|character| !is_unwanted(character));
            text = text.nfc().collect();
            if text == before {
                return text;
            }
        }
    }

    /// Entities that end in a semicolon, also those that were made upper case.
    fn unescape(&self, text: &str) -> String {
        let replace = |found: &regex::Captures<'_>| {
            let entity = &found[0];
            let named =
                self.entities.get(&entity[1..]).or_else(|| self.upper_case_entities.get(&entity[1..]));
            match named {
                Some(character) => character.clone(),
                None if entity.starts_with("&#") => {
                    let resolved = unescape(entity, &self.entities);
                    if resolved.contains(';') { entity.to_owned() } else { resolved }
                }
                None => entity.to_owned(),
            }
        };
        self.entity.replace_all(text, replace).into_owned()
    }

    fn is_bad(&self, text: &str) -> bool {
        !text.is_ascii() && self.badness.is_match(text)
    }

    fn fix_encoding(&self, text: &str) -> String {
        let mut text = text.to_owned();
        loop {
            let step = self.fix_encoding_once(&text);
            if step == text {
                return text;
            }
            text = step;
        }
    }

    fn fix_encoding_once(&self, text: &str) -> String {
        if !self.is_bad(text) {
            return text.to_owned();
        }
        for encoding in &self.encodings {
            let Some(mut bytes) = encoding.encode(text) else { continue };
            if encoding.name != "macroman" && self.altered.is_match(&bytes) {
                bytes = self.restore_byte_a0(&bytes);
            }
            if encoding.is_sloppy() {
                bytes = self.lossy.replace_all(&bytes, "\u{fffd}".as_bytes()).into_owned();
            }
            let decoded = if bytes.contains(&0xed) || bytes.contains(&0xc0) {
                decode_variants(&bytes)
            } else {
                String::from_utf8(bytes).ok()
            };
            if let Some(decoded) = decoded {
                return decoded;
            }
        }
        let fixed = self.decode_inconsistent(text);
        if fixed != text {
            return fixed;
        }
        if let Some(bytes) = self.encodings[0].encode(text)
            && !bytes.iter().any(|byte| UNDEFINED_IN_1252.contains(byte))
        {
            let fixed: String = bytes.iter().map(|&byte| self.of_1252(byte)).collect();
            if fixed != text {
                return fixed;
            }
        }
        text.chars().map(|character| self.without_c1(character)).collect()
    }

    /// The character of a byte in Windows-1252, undefined ones as they are.
    fn of_1252(&self, byte: u8) -> char {
        match byte {
            0x80.. => self.encodings[1].characters[usize::from(byte) - 0x80],
            _ => char::from(byte),
        }
    }

    fn without_c1(&self, character: char) -> char {
        match u8::try_from(character) {
            Ok(byte @ 0x80..=0x9f) => self.of_1252(byte),
            _ => character,
        }
    }

    /// Puts back bytes A0 that have become spaces.
    fn restore_byte_a0(&self, bytes: &[u8]) -> Vec<u8> {
        let mut with_words = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let follows: &[&[u8]] = &[b" ", b"quele", b"quela", b"quilo", b"s "];
            // "à" as a word of its own keeps its space; the Portuguese words with it have none.
            if let Some(after) = rest.strip_prefix(b"\xc3 ")
                && !follows.iter().any(|word| after.starts_with(word))
            {
                with_words.extend(b"\xc3\xa0 ");
                at += 2;
                continue;
            }
            with_words.push(bytes[at]);
            at += 1;
        }
        let restore = |found: &regex::bytes::Captures<'_>| -> Vec<u8> {
            found[0].iter().map(|&byte| if byte == b' ' { 0xa0 } else { byte }).collect()
        };
        self.altered.replace_all(&with_words, restore).into_owned()
    }

    /// Repairs stretches that look like UTF-8 within text that as a whole does not.
    fn decode_inconsistent(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let (mut copied, mut from) = (0, 0);
        while let Some(found) = self.detector.find_at(text, from) {
            let before = text[..found.start()].chars().next_back();
            let garbled = before.is_some_and(|character| {
                self.continuation_strict.is_match(character.encode_utf8(&mut [0; 4]))
            });
            if garbled {
                let first = text[found.start()..].chars().next().map_or(1, char::len_utf8);
                from = found.start() + first;
                continue;
            }
            out.push_str(&text[copied..found.start()]);
            let part = found.as_str();
            if part.len() < text.len() && self.is_bad(part) {
                out.push_str(&self.fix_encoding(part));
            } else {
                out.push_str(part);
            }
            (copied, from) = (found.end(), found.end());
        }
        out.push_str(&text[copied..]);
        out
    }

    /// C1 controls as Windows-1252, ligatures and full-width forms taken apart, straight quotes, one line end.
    fn replace_characters(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut characters = text.chars().map(|character| self.without_c1(character)).peekable();
        while let Some(character) = characters.next() {
            match character {
                '\u{132}' => out.push_str("IJ"),
                '\u{133}' => out.push_str("ij"),
                '\u{149}' => out.push_str("'n"),
                '\u{1f1}' => out.push_str("DZ"),
                '\u{1f2}' => out.push_str("Dz"),
                '\u{1f3}' => out.push_str("dz"),
                '\u{1c4}' => out.push_str("D\u{17d}"),
                '\u{1c5}' => out.push_str("D\u{17e}"),
                '\u{1c6}' => out.push_str("d\u{17e}"),
                '\u{1c7}' => out.push_str("LJ"),
                '\u{1c8}' => out.push_str("Lj"),
                '\u{1c9}' => out.push_str("lj"),
                '\u{1ca}' => out.push_str("NJ"),
                '\u{1cb}' => out.push_str("Nj"),
                '\u{1cc}' => out.push_str("nj"),
                '\u{fb00}' => out.push_str("ff"),
                '\u{fb01}' => out.push_str("fi"),
                '\u{fb02}' => out.push_str("fl"),
                '\u{fb03}' => out.push_str("ffi"),
                '\u{fb04}' => out.push_str("ffl"),
                '\u{fb05}' => out.push_str("\u{17f}t"),
                '\u{fb06}' => out.push_str("st"),
                '\u{3000}' => out.push(' '),
                '\u{ff01}'..='\u{ffef}' => out.extend(std::iter::once(character).nfkc()),
                '\u{2bc}' | '\u{2018}'..='\u{201b}' => out.push('\''),
                '\u{201c}'..='\u{201f}' => out.push('"'),
                '\r' => {
                    characters.next_if_eq(&'\n');
                    out.push('\n');
                }
                '\u{2028}' | '\u{2029}' | '\u{85}' => out.push('\n'),
                other => out.push(other),
            }
        }
        out
    }
}

/// Control characters that nobody means.
fn is_unwanted(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x08' | '\x0b' | '\x0e'..='\x1f' | '\x7f' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffc}'
    )
}

/// UTF-8 with CESU-8's surrogate pairs and Java's zero.
fn decode_variants(bytes: &[u8]) -> Option<String> {
    let mut out = String::new();
    let (mut at, mut plain) = (0, 0);
    while at < bytes.len() {
        let (character, length) = match &bytes[at..] {
            [0xc0, 0x80, ..] => ('\0', 2),
            &[0xed, b @ 0xa0..=0xaf, c @ 0x80..=0xbf, 0xed, e @ 0xb0..=0xbf, f @ 0x80..=0xbf, ..] => {
                let bits = |byte: u8, mask: u8| u32::from(byte & mask);
                let code = (bits(b, 0xf) << 16) + (bits(c, 0x3f) << 10) + (bits(e, 0xf) << 6) + bits(f, 0x3f);
                (char::from_u32(code + 0x1_0000)?, 6)
            }
            _ => {
                at += 1;
                continue;
            }
        };
        out.push_str(std::str::from_utf8(&bytes[plain..at]).ok()?);
        out.push(character);
        at += length;
        plain = at;
    }
    out.push_str(std::str::from_utf8(&bytes[plain..]).ok()?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrongly_decoded_text_is_repaired() {
        for (broken, whole) in [
            ("âœ” No problems", "✔ No problems"),
            ("sÃ³", "só"),
            ("Ã§Å“â€œ", "眓"),
            ("voilÃ le travail", "voilà le travail"),
            ("Broken text&hellip; it&#x2019;s ﬂubberiﬁc!", "Broken text... it's flubberific!"),
            ("ＬＯＵＤ　ＮＯＩＳＥＳ", "LOUD NOISES"),
            ("P&EACUTE;REZ", "PÉREZ"),
            ("\u{1b}[36;44mblue\u{1b}[0m", "blue"),
            ("a \u{201c}quoted\u{201d} word\u{2019}s", "a \"quoted\" word's"),
            ("e\u{301}te\u{301}", "été"),
            ("plain & simple", "plain & simple"),
        ] {
            let found = clean(broken);
            // ftfy leaves the ellipsis of an entity as one character.
            assert_eq!(found.replace('…', "..."), whole, "{broken}");
        }
    }

    #[test]
    fn entities_are_resolved_as_in_html() {
        for (text, resolved) in [
            ("salt &amp;amp; pepper", "salt & pepper"),
            ("&#233;t&#xe9;", "été"),
            ("a &unknown; c&", "a &unknown; c&"),
            ("&notit;", "¬it;"),
            ("&#99999999999999; &#0; &#x80;", "\u{fffd} \u{fffd} €"),
            ("<b>&eacute;</b>", "<b>é</b>"),
            ("&;&#;&#x;&", "&;&#;&#x;&"),
        ] {
            assert_eq!(clean(text), resolved, "{text}");
        }
    }

    #[test]
    fn white_space_is_collapsed() {
        assert_eq!(clean(" \n a\u{a0}\u{3000}photo\tof\r\na\x1fcat \u{2003}"), "a photo of acat");
        assert_eq!(clean(" \u{200b} "), "\u{200b}");
        assert_eq!(clean(""), "");
    }
}
