//! CLIP's byte-pair encoding, with the vocabulary built in.

use std::sync::OnceLock;

use crate::error::DataError;

/// Start-of-text marker.
pub const START: u32 = 49_406;
/// End-of-text marker, the largest id: its position is the sentence feature of `argmax` pooling.
pub const END: u32 = 49_407;
/// Ids are below this.
pub const VOCABULARY: u32 = 49_408;
/// Bytes of a caption that are looked at: far more than any context holds, and a bound for text that is no
/// caption at all.
pub const LONGEST_TEXT: usize = 8_192;

/// CLIP's tokenizer: HTML entities resolved, white space collapsed, lower case, byte-pair encoding.
/// As `open_clip`, but for its repair of wrongly decoded text (ftfy), and a marker written out in a caption
/// (`<end_of_text>`) is dropped instead of obeyed.
pub struct Tokenizer {
    inner: instant_clip_tokenizer::Tokenizer,
}

impl Tokenizer {
    /// The one tokenizer of this process: its vocabulary is read on first use.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Tokenizer> = OnceLock::new();
        SHARED.get_or_init(|| Self { inner: instant_clip_tokenizer::Tokenizer::new() })
    }

    /// Ids of a text, without markers.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let text = &text[..text.floor_char_boundary(LONGEST_TEXT)];
        let text = unescape(&unescape(text));
        let mut tokens = Vec::new();
        self.inner.encode(&text, &mut tokens);
        tokens.into_iter().map(|token| u32::from(token.to_u16())).filter(|&id| id < START).collect()
    }

    /// Refuses an embedding table with fewer rows than there are ids.
    pub(crate) fn check_vocabulary(rows: u32) -> Result<(), DataError> {
        if rows < VOCABULARY {
            return Err(DataError::Value {
                field: "architecture.text_cfg.vocab_size",
                value: rows.to_string(),
                problem: format!("the tokenizer (CLIP's byte pairs) has {VOCABULARY} ids"),
                hint: format!("set vocab_size = {VOCABULARY}"),
            });
        }
        Ok(())
    }
}

/// Resolves the HTML entities that captions from the web carry; unknown ones stay as they are.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // The longest entity here, `&#x10ffff;`, is 10 bytes.
        let entity = rest.bytes().take(10).position(|byte| byte == b';').map(|end| &rest[1..end]);
        match entity.and_then(resolve) {
            Some(character) => {
                out.push(character);
                rest = &rest[entity.map_or(0, str::len) + 2..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn resolve(entity: &str) -> Option<char> {
    if let Some(number) = entity.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    Some(match entity {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "hellip" => '…',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "eacute" => 'é',
        _ => return None,
    })
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
    fn entities_are_resolved_and_markers_dropped() {
        assert_eq!(ids("salt &amp; pepper"), ids("salt & pepper"));
        assert_eq!(ids("salt &amp;amp; pepper"), ids("salt & pepper"));
        assert_eq!(ids("&#233;t&#xe9;"), ids("été"));
        assert_eq!(ids("a & b &unknown; c&"), ids("a & b &unknown ; c&").as_slice());
        assert_eq!(unescape("&ü; &#99999999; &"), "&ü; &#99999999; &");
        assert_eq!(ids("a <end_of_text> cat <start_of_text>"), ids("a cat"));
    }

    #[test]
    fn text_that_is_no_caption_is_bounded() {
        assert!(ids(&"ü".repeat(100_000)).len() <= LONGEST_TEXT);
        assert!(ids(&"a photo ".repeat(100_000)).len() <= LONGEST_TEXT);
    }
}
