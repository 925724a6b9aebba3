//! HTML entities in captions, resolved as Python's `html.unescape` does it.

use std::collections::HashMap;

/// Code points 0x80 to 0x9f of a numeric reference mean Windows-1252's characters.
const WINDOWS_1252: [u32; 32] = [
    0x20ac, 0x81, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0x8d,
    0x17d, 0x8f, 0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a,
    0x153, 0x9d, 0x17e, 0x178,
];
/// The longest name that is looked for.
const LONGEST_NAME: usize = 32;

/// Resolves every reference, with or without its semicolon; what is none stays as it is.
pub(super) fn unescape(text: &str, names: &HashMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let length = reference(rest);
        if length == 0 {
            out.push('&');
            continue;
        }
        let (found, after) = rest.split_at(length);
        rest = after;
        match found.strip_prefix('#') {
            Some(number) => out.extend(numbered(number)),
            None => match longest_name(found, names) {
                Some((character, left)) => {
                    out.push_str(character);
                    out.push_str(left);
                }
                None => {
                    out.push('&');
                    out.push_str(found);
                }
            },
        }
    }
    out.push_str(rest);
    out
}

/// Length of the reference at the beginning of `text`, which follows `&`; 0: there is none.
fn reference(text: &str) -> usize {
    let semicolon = |end: usize| end + usize::from(text[end..].starts_with(';'));
    let run = |from: usize, of: fn(&u8) -> bool| from + text.bytes().skip(from).take_while(of).count();
    if let Some(digits) = text.strip_prefix('#') {
        let decimal = run(1, u8::is_ascii_digit);
        if decimal > 1 {
            return semicolon(decimal);
        }
        if digits.starts_with(['x', 'X']) {
            let hexadecimal = run(2, u8::is_ascii_hexdigit);
            if hexadecimal > 2 {
                return semicolon(hexadecimal);
            }
        }
        return 0;
    }
    let ends = |character: char| "\t\n\x0c <&#;".contains(character);
    let name = text.char_indices().take(LONGEST_NAME).take_while(|(_, character)| !ends(*character));
    match name.last() {
        Some((at, character)) => semicolon(at + character.len_utf8()),
        None => 0,
    }
}

fn numbered(number: &str) -> Option<char> {
    let digits = number.trim_end_matches(';');
    let code = match digits.strip_prefix(['x', 'X']) {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    };
    match code {
        Ok(0) => Some('\u{fffd}'),
        Ok(0xd) => Some('\r'),
        Ok(code @ 0x80..=0x9f) => char::from_u32(WINDOWS_1252[code as usize - 0x80]),
        Ok(0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef) => None,
        Ok(code) if code & 0xfffe == 0xfffe && code <= 0x10_ffff => None,
        Ok(code) => Some(char::from_u32(code).unwrap_or('\u{fffd}')),
        // More digits than any code point has.
        Err(_) => Some('\u{fffd}'),
    }
}

/// The character of the longest name that `found` begins with, and what is left of it.
fn longest_name<'a>(found: &'a str, names: &'a HashMap<String, String>) -> Option<(&'a str, &'a str)> {
    if let Some(character) = names.get(found) {
        return Some((character, ""));
    }
    let ends = found.char_indices().map(|(at, _)| at).skip(2);
    let ends: Vec<usize> = ends.collect();
    ends.into_iter().rev().find_map(|end| Some((names.get(&found[..end])?.as_str(), &found[end..])))
}
