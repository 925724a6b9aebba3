//! `prices`: the offers that plans choose from, where newer ones come from, and one's own.

mod cache;
mod compare;
mod import;
mod list;
mod update;

use std::path::Path;

use shoestring_planner::offer::{self, Offer};
use shoestring_planner::prices::Table;

pub(super) use self::compare::diff;
pub(super) use self::import::import;
pub(super) use self::list::list;
pub(super) use self::update::update;
use crate::failure::{Exit, Failure};

/// What stands for the catalogue that comes with the program.
const BUILT_IN: &str = "built-in";

/// The offers of a price table on disk, or the built-in ones.
fn offers_of(path: Option<&Path>) -> Result<Vec<Offer>, Failure> {
    match path {
        Some(path) if path != Path::new(BUILT_IN) => super::plan::read_prices(path),
        _ => Ok(offer::built_in().to_vec()),
    }
}

/// The table at `path`; an empty one where there is no file yet.
fn table_of(path: &Path) -> Result<Table, Failure> {
    if !path.exists() {
        return Ok(Table::default());
    }
    Table::read(&super::read_text(path)?).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Usage, anyhow::anyhow!("{}: {error}", path.display())).hint(hint)
    })
}
