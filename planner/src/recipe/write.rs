//! Writing recipes: comments at the top say what it costs, how long it takes and what to expect.

use super::Recipe;

/// The recipe as TOML, `header` (without `# `) as comment lines at its top.
///
/// # Panics
/// Never: every field of a recipe has a TOML form.
#[must_use]
pub fn write_recipe(recipe: &Recipe, header: &[String]) -> String {
    let mut out = String::new();
    for line in header {
        out.push_str(format!("# {line}").trim_end());
        out.push('\n');
    }
    if !header.is_empty() {
        out.push('\n');
    }
    #[expect(clippy::expect_used, reason = "a recipe holds only tables, numbers, strings and lists")]
    out.push_str(&toml::to_string_pretty(recipe).expect("a recipe has a TOML form"));
    out
}
