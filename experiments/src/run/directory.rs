//! What lies where in a run directory, and the frozen recipe.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shoestring_durable::write_file;
use shoestring_planner::recipe::{Budget, Recipe, read_recipe, write_recipe};

use super::error::RunError;

/// The paths of a run directory (documented in `docs/formats.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDirectory {
    root: PathBuf,
}

/// What the process before may leave between making the directory and freezing the recipe.
const BEFORE_RECIPE: [&str; 2] = ["run.lock", "run.log"];

impl RunDirectory {
    /// The run directory at `root`, which need not exist.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The frozen recipe.
    #[must_use]
    pub fn recipe(&self) -> PathBuf {
        self.root.join("recipe.toml")
    }

    /// The money.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.jsonl")
    }

    /// How training went.
    #[must_use]
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// Evaluations.
    #[must_use]
    pub fn evaluations(&self) -> PathBuf {
        self.root.join("eval.jsonl")
    }

    /// Folder of TensorBoard's event files.
    #[must_use]
    pub fn tensorboard(&self) -> PathBuf {
        self.root.join("tensorboard")
    }

    /// Changes of the number of steps that came from money.
    #[must_use]
    pub fn replans(&self) -> PathBuf {
        self.root.join("replans.jsonl")
    }

    /// Folder of the checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Names the process that holds the directory.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("run.lock")
    }

    /// What was said to people.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("run.log")
    }

    /// The frozen recipe; `None` where there is none yet.
    pub fn frozen_recipe(&self) -> Result<Option<Recipe>, RunError> {
        let path = self.recipe();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(read_recipe(&text, &path)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RunError::file(&path, "read", source)),
        }
    }

    /// Refuses a folder that holds something else, or the run of another recipe. Returns whether the recipe
    /// is frozen in it already.
    pub(crate) fn check(&self, recipe: &Recipe) -> Result<bool, RunError> {
        if let Some(frozen) = self.frozen_recipe()? {
            // The cap may be changed; the ledger records it, and refuses one below what is spent.
            let frozen =
                Recipe { budget: Budget { cap_usd: recipe.budget.cap_usd, ..frozen.budget }, ..frozen };
            let differences = differences(&frozen, recipe);
            if differences.is_empty() {
                return Ok(true);
            }
            return Err(RunError::OtherRecipe { directory: self.root.clone(), differences });
        }
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(RunError::file(&self.root, "read", source)),
        };
        for entry in entries {
            let name = entry.map_err(|source| RunError::file(&self.root, "read", source))?.file_name();
            let name = name.to_string_lossy();
            if !BEFORE_RECIPE.contains(&name.as_ref()) && !name.starts_with(".recipe.toml") {
                return Err(RunError::NotARun { directory: self.root.clone(), found: name.into_owned() });
            }
        }
        Ok(false)
    }

    /// Writes a cap that the ledger has taken over into the frozen recipe.
    pub(crate) fn refreeze(&self, recipe: &Recipe) -> Result<(), RunError> {
        let path = self.recipe();
        let text = fs::read_to_string(&path).map_err(|source| RunError::file(&path, "read", source))?;
        if read_recipe(&text, &path)?.budget.cap_usd == recipe.budget.cap_usd {
            return Ok(());
        }
        self.freeze(recipe, &text)
    }

    /// Writes the recipe, with the comments at the top of the text that it was read from.
    pub(crate) fn freeze(&self, recipe: &Recipe, text: &str) -> Result<(), RunError> {
        let header: Vec<String> = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .map(|line| line.trim_start_matches('#').trim().to_owned())
            .collect();
        Ok(write_file(&self.recipe(), write_recipe(recipe, &header).as_bytes())?)
    }
}

/// Each field that differs: `stage[0].learning_rate is 0.001 there, 0.002 here`.
fn differences(there: &Recipe, here: &Recipe) -> Vec<String> {
    let mut out = Vec::new();
    let value = |recipe: &Recipe| toml::Value::try_from(recipe).ok();
    compare("", value(there).as_ref(), value(here).as_ref(), &mut out);
    out
}

fn compare(field: &str, there: Option<&toml::Value>, here: Option<&toml::Value>, out: &mut Vec<String>) {
    use toml::Value::{Array, Table};
    match (there, here) {
        (Some(Table(a)), Some(Table(b))) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            for key in keys {
                let path = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
                compare(&path, a.get(key), b.get(key), out);
            }
        }
        (Some(Array(a)), Some(Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                compare(&format!("{field}[{index}]"), a.get(index), b.get(index), out);
            }
        }
        _ if there == here => {}
        _ => {
            let show = |value: Option<&toml::Value>| match value {
                None => "absent".to_owned(),
                Some(Table(_) | Array(_)) => "present".to_owned(),
                Some(value) => value.to_string(),
            };
            out.push(format!("{field} is {} there, {} here", show(there), show(here)));
        }
    }
}
