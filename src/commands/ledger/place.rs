//! Which ledger a path means.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoestring_ledger::{BudgetTerms, Contents, Draft, Journal, SharedBudget, SystemClock};
use shoestring_planner::recipe::{Recipe, read_recipe};
use shoestring_reports::LedgerRows;

use super::failure;
use crate::failure::Failure;
use crate::output::Printer;

/// What a path names.
pub(super) enum Place {
    /// A run directory.
    Run(PathBuf),
    /// A budget file.
    Budget(PathBuf),
    /// A ledger by itself.
    Ledger(PathBuf),
}

impl Place {
    pub(super) fn of(path: &Path) -> Self {
        let is = |ending: &str| path.extension().is_some_and(|one| one == ending);
        match () {
            () if is("toml") && !path.is_dir() => Self::Budget(path.to_owned()),
            () if is("jsonl") && !path.is_dir() => Self::Ledger(path.to_owned()),
            () => Self::Run(path.to_owned()),
        }
    }

    pub(super) fn ledger(&self) -> PathBuf {
        match self {
            Self::Run(path) => path.join("ledger.jsonl"),
            Self::Budget(path) => BudgetTerms::journal(path),
            Self::Ledger(path) => path.clone(),
        }
    }

    pub(super) fn read(&self) -> Result<Contents, Failure> {
        if let Self::Budget(path) = self {
            BudgetTerms::read(path).map_err(failure)?;
        }
        shoestring_ledger::read(&self.ledger()).map_err(failure)
    }

    /// The recipe of a run directory, where there is one.
    pub(super) fn recipe(&self) -> Result<Option<Recipe>, Failure> {
        let Self::Run(path) = self else { return Ok(None) };
        let path = path.join("recipe.toml");
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(read_recipe(&crate::commands::read_text(&path)?, &path)?))
    }

    /// Adds a row of a fact; a budget takes it at every level. `adjusts` where it speaks of another row.
    pub(super) fn add(&self, drafts: Vec<Draft>, printer: Printer) -> Result<(), Failure> {
        match self {
            Self::Budget(path) => {
                let (mut budget, told) =
                    SharedBudget::open(path, Arc::new(SystemClock::new())).map_err(failure)?;
                told.iter().for_each(|text| printer.note(text));
                for draft in drafts {
                    let added = if draft.of.is_some() { budget.adjust(&draft) } else { budget.state(&draft) };
                    added.map_err(failure)?;
                }
            }
            Self::Run(_) | Self::Ledger(_) => {
                let path = self.ledger();
                // Nothing is made where no ledger is.
                shoestring_ledger::read(&path).map_err(failure)?;
                let (mut journal, torn) = Journal::open_alone(&path).map_err(failure)?;
                if torn > 0 {
                    printer.note(&format!("dropped {torn} bytes of a row that was cut off"));
                }
                for draft in drafts {
                    journal.append(draft).map_err(failure)?;
                }
            }
        }
        Ok(())
    }
}

/// The ledgers at `places` with what their recipes say of the machine.
pub(super) fn ledgers(places: &[PathBuf]) -> Result<Vec<LedgerRows>, Failure> {
    places
        .iter()
        .map(|path| {
            let place = Place::of(path);
            let (contents, recipe) = (place.read()?, place.recipe()?);
            let offer = recipe.map(|recipe| recipe.hardware.offer).unwrap_or_default();
            let mut parts = offer.split('/');
            let (provider, region) = match (parts.next(), parts.next(), parts.next()) {
                (Some(provider), Some(_), region) => (provider, region.unwrap_or_default()),
                (Some("this-machine"), None, None) => ("this-machine", ""),
                _ => ("", ""),
            };
            Ok(LedgerRows {
                label: contents.rows.first().map(|row| row.run.clone()).unwrap_or_default(),
                provider: provider.to_owned(),
                region: region.trim_matches('-').to_owned(),
                resource: offer.clone(),
                rows: contents.rows,
            })
        })
        .collect()
}
