//! Reading recipes and manifests: every refusal names file, line, field and value, and gives a hint.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::check::CheckError;
use super::{Data, RECIPE_VERSION, Recipe};

/// Why a recipe or manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Not TOML, a field of the wrong type, an unknown or a missing field.
    #[error("{file}:{line}: {message}", file = .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Written by a newer version of the program.
    #[error(
        "{file}: version = {found}, but this program reads recipes up to version {RECIPE_VERSION}",
        file = .file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// The version found.
        found: i64,
    },
    /// A value that cannot be carried out.
    #[error("{file}: {error}", file = .file.display())]
    Check {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        error: CheckError,
    },
}

impl RecipeError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax { hint, .. } => hint.clone(),
            Self::Newer { .. } => {
                Some("update shoestring, or plan the recipe again with this version".into())
            }
            Self::Check { error, .. } => Some(error.hint.clone()),
        }
    }
}

/// Reads and checks the text of a recipe; `file` only names it in messages.
pub fn read_recipe(text: &str, file: &Path) -> Result<Recipe, RecipeError> {
    let recipe: Recipe = parse(text, file)?;
    recipe.check().map_err(|error| RecipeError::Check { file: file.to_owned(), error })?;
    Ok(recipe)
}

/// A data set's manifest: `version = 1` and the fields of a recipe's `[data]`.
#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(flatten)]
    data: toml::Table,
}

/// Reads the text of a data set's manifest (`dataset.toml`); `file` only names it in messages.
pub fn read_manifest(text: &str, file: &Path) -> Result<Data, RecipeError> {
    let manifest: Manifest = parse(text, file)?;
    Data::deserialize(toml::Value::Table(manifest.data)).map_err(|error| RecipeError::Syntax {
        file: file.to_owned(),
        line: 1,
        hint: nearest_field(error.message()),
        message: error.message().to_owned(),
    })
}

/// Parses TOML after looking at its `version`, so that a newer file is not blamed for its new fields.
fn parse<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, RecipeError> {
    let syntax = |error: &toml::de::Error| RecipeError::Syntax {
        file: file.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: with_field(text, error),
        hint: nearest_field(error.message())
            .or_else(|| Some("docs/formats.md has the fields; examples/ has files that run".to_owned())),
    };
    let table: toml::Table = toml::from_str(text).map_err(|error| syntax(&error))?;
    if let Some(found) = table.get("version").and_then(toml::Value::as_integer)
        && found > i64::from(RECIPE_VERSION)
    {
        return Err(RecipeError::Newer { file: file.to_owned(), found });
    }
    toml::from_str(text).map_err(|error| syntax(&error))
}

/// What is wrong; a choice that is not there is told with the field that makes it.
fn with_field(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', ", ");
    let line = error.span().and_then(|span| text.lines().nth(line_of(text, span.start) - 1));
    match line {
        Some(line) if message.starts_with("unknown variant") => format!("{}: {message}", line.trim()),
        _ => message,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}

/// From serde's "unknown field `x`, expected one of `a`, `b`": the field that is spelled most like `x`.
fn nearest_field(message: &str) -> Option<String> {
    if let Some(rest) = message.strip_prefix("missing field ") {
        return Some(format!("add the field {rest}"));
    }
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let nearest = quoted
        .max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)))?;
    Some(format!("did you mean `{nearest}`?"))
}
