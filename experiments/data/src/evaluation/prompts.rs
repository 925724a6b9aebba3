//! Class names and templates from their files, and their prompts as tokens.

use std::collections::HashMap;
use std::path::Path;

use crate::bounded::{MAX_TEXT_BYTES, read_text_bounded};
use crate::error::DataError;
use crate::text::Tokenizer;

/// The prompt where no file of templates is named.
pub const DEFAULT_TEMPLATE: &str = "a photo of a {c}.";
const SLOT: &str = "{c}";

/// Lists that are built in (`named/SOURCES.md` says where they are from), by what stands in place of a file.
const NAMED: [(&str, &str); 2] = [
    ("imagenet", include_str!("named/imagenet_classes.txt")),
    ("openai", include_str!("named/openai_templates.txt")),
];

/// What happens to prompts that are longer than the text length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptCut {
    /// The template gives way to the class name.
    #[default]
    KeepName,
    /// The end is cut off, whatever stands there; the last id becomes the end marker. CLIPA's own evaluation
    /// does so (`tokenize` in its `open_clip/tokenizer.py`), and `open_clip`'s tokenizer.
    End,
}

fn lines(path: &Path) -> Result<Vec<String>, DataError> {
    let named = NAMED.iter().find(|(name, _)| path == Path::new(name));
    let text = match named {
        Some((_, text)) => (*text).to_owned(),
        None => read_text_bounded(path, MAX_TEXT_BYTES)
            .map_err(|source| DataError::Read { path: path.to_owned(), source })?,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim_end();
    if text.is_empty() {
        let problem = "the file is empty".to_owned();
        return Err(DataError::Line {
            path: path.to_owned(),
            line: 1,
            problem,
            hint: "one entry a line".into(),
        });
    }
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

/// Class names, line k (from 0) naming class k.
pub(super) fn class_names(path: &Path) -> Result<Vec<String>, DataError> {
    let names = lines(path)?;
    if let Some(number) = names.iter().position(String::is_empty) {
        return Err(DataError::Line {
            path: path.to_owned(),
            line: number + 1,
            problem: "no class name".to_owned(),
            hint: format!("line {} names class {number}: an empty line would shift the rest", number + 1),
        });
    }
    Ok(names)
}

/// Templates, each with a place for the class name.
pub(super) fn templates(path: &Path) -> Result<Vec<String>, DataError> {
    let templates = lines(path)?;
    if let Some(number) = templates.iter().position(|template| !template.contains(SLOT)) {
        return Err(DataError::Line {
            path: path.to_owned(),
            line: number + 1,
            problem: format!("`{}` has no {SLOT}", templates[number]),
            hint: format!("write {SLOT} where the class name goes: {DEFAULT_TEMPLATE}"),
        });
    }
    Ok(templates)
}

/// `out.len()` ids of one prompt. Where it does not fit, the template gives way to the class name: words
/// after it are dropped first, then words before it, from the outside; last, the end of the name.
/// Cut anywhere else, prompts would lose what tells the classes apart.
pub(super) fn prompt(tokenizer: &Tokenizer, template: &str, class: &str, cut: PromptCut, out: &mut [u32]) {
    let room = out.len().saturating_sub(2);
    let mut ids = tokenizer.encode(&template.replace(SLOT, class));
    if ids.len() > room && cut == PromptCut::End {
        ids.truncate(room);
    }
    if ids.len() > room {
        let (before, after) = template.split_once(SLOT).unwrap_or((template, ""));
        let (before, after) = (before, after.replace(SLOT, class));
        let (before, name) = (tokenizer.encode(before), tokenizer.encode(class));
        let after = tokenizer.encode(&after);
        let name = &name[..name.len().min(room)];
        let before = &before[before.len() - before.len().min(room - name.len())..];
        let after = &after[..after.len().min(room - name.len() - before.len())];
        ids = [before, name, after].concat();
    }
    out.fill(0);
    if let [first, rest @ ..] = out {
        let markers = tokenizer.markers();
        *first = markers.start;
        rest.iter_mut().zip(ids.into_iter().chain([markers.end])).for_each(|(slot, id)| *slot = id);
    }
}

/// Tells of classes that no prompt tells apart at this length.
pub(super) fn collisions(names: &[String], prompts: &[u32], each: usize) -> Option<String> {
    let mut first_with: HashMap<&[u32], usize> = HashMap::new();
    let mut alike = Vec::new();
    for (class, of_class) in prompts.chunks_exact(each.max(1)).enumerate() {
        let first = *first_with.entry(of_class).or_insert(class);
        if first != class {
            alike.push((first, class));
        }
    }
    let &(first, class) = alike.first()?;
    Some(format!(
        "{} of {} classes have the same prompts as another (`{}` and `{}`): they cannot be told apart",
        alike.len(),
        names.len(),
        names[first],
        names[class]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{END, START};

    fn ids(template: &str, class: &str, length: usize) -> Vec<u32> {
        let mut out = vec![7; length];
        prompt(Tokenizer::shared(), template, class, PromptCut::KeepName, &mut out);
        out
    }

    fn expected(text: &str, length: usize) -> Vec<u32> {
        let mut ids = vec![START];
        ids.extend(Tokenizer::shared().encode(text));
        ids.push(END);
        ids.resize(length, 0);
        ids
    }

    #[test]
    fn prompts_keep_the_class_name_when_they_are_cut() {
        let template = "a photo of a {c}.";
        assert_eq!(ids(template, "red fox", 16), expected("a photo of a red fox.", 16));
        assert_eq!(ids(template, "red fox", 9), expected("a photo of a red fox.", 9));
        assert_eq!(ids(template, "red fox", 8), expected("a photo of a red fox", 8));
        assert_eq!(ids(template, "red fox", 6), expected("of a red fox", 6));
        assert_eq!(ids(template, "red fox", 4), expected("red fox", 4));
        assert_eq!(ids(template, "red fox", 3), expected("red", 3));
        assert_eq!(ids(template, "red fox", 2), [START, END]);
    }

    #[test]
    fn or_lose_their_end_as_open_clips_do() {
        let mut out = [7; 6];
        prompt(Tokenizer::shared(), "a photo of a {c}.", "red fox", PromptCut::End, &mut out);
        assert_eq!(out.as_slice(), expected("a photo of a", 6));
        prompt(Tokenizer::shared(), "a {c}.", "fox", PromptCut::End, &mut out);
        assert_eq!(out.as_slice(), expected("a fox.", 6));
    }

    #[test]
    fn imagenets_names_and_openais_templates_are_built_in() {
        let names = class_names(Path::new("imagenet")).expect("are there");
        assert_eq!((names.len(), names[0].as_str(), names[999].as_str()), (1000, "tench", "toilet paper"));
        assert_eq!(templates(Path::new("openai")).expect("are there").len(), 80);
    }

    #[test]
    fn classes_that_cannot_be_told_apart_are_named() {
        let names: Vec<String> = ["red fox", "blue fox", "red hat"].map(str::to_owned).to_vec();
        let prompts =
            |length| -> Vec<u32> { names.iter().flat_map(|name| ids("{c}", name, length)).collect() };
        assert_eq!(collisions(&names, &prompts(4), 4), None);
        let warning = collisions(&names, &prompts(3), 3).expect("both are red");
        assert!(warning.contains("1 of 3") && warning.contains("`red fox` and `red hat`"), "{warning}");
    }
}
