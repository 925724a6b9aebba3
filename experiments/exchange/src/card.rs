//! The model card: what was trained, on what, for how much, and how good it is.

use std::fmt::Write;

/// A line of a card's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What.
    pub what: String,
    /// How much, with its unit.
    pub value: String,
}

impl Fact {
    /// A line.
    pub fn new(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self { what: what.into(), value: value.into() }
    }
}

/// What a card says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// Name of the model.
    pub name: String,
    /// `open_clip` or `transformers`.
    pub library: &'static str,
    /// How to load it, as Python.
    pub usage: String,
    /// Architecture.
    pub model: Vec<Fact>,
    /// Data.
    pub data: Vec<Fact>,
    /// One line a stage.
    pub stages: Vec<String>,
    /// Spend.
    pub spend: Vec<Fact>,
    /// Evaluations.
    pub accuracy: Vec<Fact>,
    /// The recipe's text; empty where there is none.
    pub recipe: String,
}

/// The text of a card: Markdown with the front matter that the hub reads.
#[must_use]
pub fn card_text(card: &Card) -> String {
    let mut out = format!(
        "---\nlibrary_name: {}\npipeline_tag: zero-shot-image-classification\ntags:\n- clip\n---\n\n# {}\n\n",
        card.library, card.name
    );
    let _ = writeln!(
        out,
        "A CLIP model, trained and exported with shoestring.\n\n```python\n{}\n```",
        card.usage
    );
    for (title, facts) in
        [("Model", &card.model), ("Data", &card.data), ("Spend", &card.spend), ("Accuracy", &card.accuracy)]
    {
        if !facts.is_empty() {
            let _ = writeln!(out, "\n## {title}\n\n| | |\n|---|---|");
            for Fact { what, value } in facts {
                let _ = writeln!(out, "| {what} | {value} |");
            }
        }
        if title == "Data" && !card.stages.is_empty() {
            let _ = writeln!(out, "\n## Training\n");
            for stage in &card.stages {
                let _ = writeln!(out, "- {stage}");
            }
        }
    }
    if !card.recipe.is_empty() {
        let _ = writeln!(out, "\n## Recipe\n\n```toml\n{}\n```", card.recipe.trim_end());
    }
    out
}
