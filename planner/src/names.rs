//! Looking things up by the names people type, and the nearest names when there is no such thing.

/// A name that is not in a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {kind} is called `{name}`")]
pub struct UnknownName {
    /// What was looked for: `accelerator`, `architecture`, `offer`, ...
    pub kind: &'static str,
    /// The name as typed.
    pub name: String,
    /// The most similar known names, best first, at most three; empty when nothing is similar.
    pub nearest: Vec<String>,
}

impl UnknownName {
    /// For `name`, which is none of `known`.
    #[must_use]
    pub fn new<'a>(kind: &'static str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Self { kind, name: name.to_owned(), nearest: nearest(name, known) }
    }

    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let quoted: Vec<String> = self.nearest.iter().map(|name| format!("`{name}`")).collect();
        let (last, rest) = quoted.split_last()?;
        if rest.is_empty() {
            return Some(format!("did you mean {last}?"));
        }
        Some(format!("did you mean {} or {last}?", rest.join(", ")))
    }
}

/// Letters and digits of a name in lower case: `ViT-H/14` and `vit_h14` are the same name.
#[must_use]
pub fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// The most similar of `known`, best first, at most three, by Jaro-Winkler similarity of the folded names
/// (a prefix counts as similar, however short).
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    /// Below this two names have nothing to do with each other.
    const SIMILAR: f64 = 0.7;
    let wanted = folded(name);
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|candidate| {
            let other = folded(candidate);
            let mut score = strsim::jaro_winkler(&wanted, &other);
            if !wanted.is_empty() && (other.contains(&wanted) || wanted.contains(&other)) {
                score = score.max(0.9);
            }
            (score, candidate)
        })
        .filter(|(score, _)| *score >= SIMILAR)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_named_best_first() {
        let known = ["H100-SXM", "H100-PCIe", "A100-80GB-SXM", "T4", "RTX4090"];
        assert_eq!(nearest("H100-SMX", known)[0], "H100-SXM");
        assert_eq!(nearest("rtx 4080", known)[0], "RTX4090");
        assert!(nearest("abacus", known).is_empty());
        let error = UnknownName::new("accelerator", "H10", known);
        assert_eq!(error.to_string(), "no accelerator is called `H10`");
        assert_eq!(error.hint().as_deref(), Some("did you mean `H100-PCIe` or `H100-SXM`?"));
    }
}
