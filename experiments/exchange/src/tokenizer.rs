//! The files of CLIP's tokenizer as Hugging Face's `CLIPTokenizer` reads them.

use std::path::Path;

use serde_json::{Map, Value, json};
use shoestring_durable::write_file;

use crate::error::{ExchangeError, Result};
use crate::files::write_json;

static MERGES: &[u8] = include_bytes!("../assets/clip_merges.txt.deflate");

pub(crate) const TOKENIZER_NAMES: [&str; 4] =
    ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"];
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// Writes vocabulary, merges and settings.
pub(crate) fn write_tokenizer(folder: &Path, context_length: u32) -> Result<()> {
    let merges = miniz_oxide::inflate::decompress_to_vec(MERGES)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            ExchangeError::format(folder, "the built-in merges are damaged", "build the program again")
        })?;
    let mut vocabulary = Map::new();
    for (id, token) in tokens(&merges).enumerate() {
        vocabulary.insert(token, Value::from(id));
    }
    write_json(&folder.join("vocab.json"), &Value::Object(vocabulary))?;
    write_file(&folder.join("merges.txt"), format!("#version: 0.2\n{merges}\n").as_bytes())?;
    let special = json!({"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END});
    write_json(&folder.join("special_tokens_map.json"), &special)?;
    let settings = json!({
        "tokenizer_class": "CLIPTokenizer",
        "do_lower_case": true,
        "model_max_length": context_length,
        "bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END,
    });
    write_json(&folder.join("tokenizer_config.json"), &settings)
}

/// Every token in the order of its id: bytes, bytes at the end of a word, merges, markers.
fn tokens(merges: &str) -> impl Iterator<Item = String> + '_ {
    let bytes = byte_characters();
    let ends: Vec<String> = bytes.iter().map(|character| format!("{character}</w>")).collect();
    let merged = merges.lines().map(|line| line.replacen(' ', "", 1));
    let bytes = bytes.into_iter().map(String::from);
    bytes.chain(ends).chain(merged).chain([START.to_owned(), END.to_owned()])
}

/// The character that stands for each byte, in the order of the vocabulary: printable bytes stand for
/// themselves, the others, which come after them, for the characters from U+0100 on.
fn byte_characters() -> Vec<char> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut characters: Vec<char> = (0..=255u8).filter(printable).map(char::from).collect();
    let others = (0..=255u8).filter(|byte| !printable(byte)).count() as u32;
    characters.extend((0..others).filter_map(|place| char::from_u32(0x100 + place)));
    characters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_is_clips() {
        let merges = miniz_oxide::inflate::decompress_to_vec(MERGES).expect("is whole");
        let merges = String::from_utf8(merges).expect("is text");
        let tokens: Vec<String> = tokens(&merges).collect();
        assert_eq!(tokens.len(), 49_408);
        // Ids that `open_clip`'s tokenizer gives to "a photo of a cat".
        for (id, token) in
            [(320, "a</w>"), (1125, "photo</w>"), (539, "of</w>"), (2368, "cat</w>"), (49_406, START)]
        {
            assert_eq!(tokens[id], token);
        }
    }
}
