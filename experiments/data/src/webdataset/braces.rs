//! Brace expansion of shard patterns, as webdataset's `braceexpand` does it.

use crate::error::DataError;

/// More names than any data set has shards (`DataComp-1B` has 140,000): a slip of the keyboard.
const MOST_NAMES: usize = 1_000_000;

/// The names that a pattern stands for, in order: `{000..007}` (digits of leading zeros are kept),
/// `{a..e}`, a third number as the step, `{train,val}`, nested and several to a name. Braces that hold
/// neither range nor list stand for themselves.
pub fn expand(pattern: &str) -> Result<Vec<String>, DataError> {
    let refuse = |problem: String| DataError::Braces { pattern: pattern.to_owned(), problem };
    let mut depth = 0usize;
    for character in pattern.chars() {
        match character {
            '{' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1).ok_or_else(|| refuse("a `}` closes nothing".to_owned()))?;
            }
            _ => {}
        }
        if depth > 16 {
            return Err(refuse("braces are nested more than 16 deep".to_owned()));
        }
    }
    if depth > 0 {
        return Err(refuse("a `{` is never closed".to_owned()));
    }
    expand_balanced(pattern).ok_or_else(|| refuse(format!("stands for more than {MOST_NAMES} names")))
}

/// Expands a pattern whose braces are balanced; `None` when there are too many names.
fn expand_balanced(pattern: &str) -> Option<Vec<String>> {
    let Some(open) = pattern.find('{') else { return Some(vec![pattern.to_owned()]) };
    let close = open + closing(&pattern[open..]);
    let (before, inside, after) = (&pattern[..open], &pattern[open + 1..close], &pattern[close + 1..]);
    let alternatives = if let Some(range) = range(inside) {
        range?
    } else {
        let parts = split_list(inside);
        let mut names = Vec::new();
        for part in &parts {
            names.extend(expand_balanced(part)?);
        }
        if parts.len() == 1 {
            names.iter_mut().for_each(|name| *name = format!("{{{name}}}"));
        }
        names
    };
    let tails = expand_balanced(after)?;
    if alternatives.len().checked_mul(tails.len())? > MOST_NAMES {
        return None;
    }
    let combined = alternatives
        .iter()
        .flat_map(|middle| tails.iter().map(move |tail| format!("{before}{middle}{tail}")));
    Some(combined.collect())
}

/// Offset of the brace that closes the one at offset 0.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (offset, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => return offset,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len() - 1
}

/// Parts between commas that stand outside inner braces.
fn split_list(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (offset, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..offset]);
                start = offset + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// `first..last` or `first..last..step` over integers or single letters. `None`: not a range;
/// `Some(None)`: a range of too many.
fn range(text: &str) -> Option<Option<Vec<String>>> {
    let parts: Vec<&str> = text.split("..").collect();
    let (&[first, last], step) = match parts.as_slice() {
        [first, last] => (&[*first, *last], 1),
        [first, last, step] => (&[*first, *last], step.parse::<i64>().ok()?.unsigned_abs().max(1)),
        _ => return None,
    };
    let is_number = |part: &str| {
        let digits = part.strip_prefix('-').unwrap_or(part);
        !digits.is_empty() && digits.len() < 18 && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if is_number(first) && is_number(last) {
        let (from, to): (i64, i64) = (first.parse().ok()?, last.parse().ok()?);
        let padded = |part: &str| {
            part.trim_start_matches('-').len() > 1 && part.trim_start_matches('-').starts_with('0')
        };
        let width = if padded(first) || padded(last) { first.len().max(last.len()) } else { 0 };
        let count = from.abs_diff(to) / step + 1;
        if count > MOST_NAMES as u64 {
            return Some(None);
        }
        let numbers = (0..count as i64).map(|index| {
            let offset = index * step as i64;
            let value = if from <= to { from + offset } else { from - offset };
            format!("{value:0width$}")
        });
        return Some(Some(numbers.collect()));
    }
    let letter = |part: &str| match part.as_bytes() {
        [byte] if byte.is_ascii_alphabetic() => Some(*byte),
        _ => None,
    };
    let (from, to) = (letter(first)?, letter(last)?);
    let letters: Vec<String> =
        (from.min(to)..=from.max(to)).map(|byte| char::from(byte).to_string()).collect();
    let ordered: Vec<String> = if from <= to { letters } else { letters.into_iter().rev().collect() };
    Some(Some(ordered.into_iter().step_by(usize::try_from(step).unwrap_or(usize::MAX)).collect()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_expand_as_braceexpand_does() {
        for (pattern, expected) in [
            ("train.tar", "train.tar"),
            ("t-{8..11}.tar", "t-8.tar t-9.tar t-10.tar t-11.tar"),
            ("t-{008..011}.tar", "t-008.tar t-009.tar t-010.tar t-011.tar"),
            ("{3..1}", "3 2 1"),
            ("{0..6..3}", "0 3 6"),
            ("{-1..1}", "-1 0 1"),
            ("{a..c}{1,2}", "a1 a2 b1 b2 c1 c2"),
            ("{c..a}", "c b a"),
            ("x{a,b{1..2},}y", "xay xb1y xb2y xy"),
            ("{train,val}/{0..1}.tar", "train/0.tar train/1.tar val/0.tar val/1.tar"),
            ("{one}", "{one}"),
            ("{a{1,2}}", "{a1} {a2}"),
            ("{}", "{}"),
            ("{1..a}", "{1..a}"),
            ("ü{1,2}", "ü1 ü2"),
        ] {
            assert_eq!(expand(pattern).unwrap().join(" "), expected, "{pattern}");
        }
    }

    #[test]
    fn unbalanced_and_endless_patterns_are_refused() {
        for (pattern, problem) in [
            ("t-{0..1.tar", "a `{` is never closed"),
            ("t-0}.tar", "a `}` closes nothing"),
            ("{0..99999999}", "more than 1000000 names"),
            ("{0..9999}{0..9999}", "more than 1000000 names"),
        ] {
            let error = expand(pattern).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
            assert!(error.hint().unwrap().contains("{000..007}"));
        }
        assert!(expand(&"{".repeat(100)).is_err());
    }
}
