//! `plan --recipe` and `plan --compare`: existing recipes, reckoned with the planner's models.

use std::path::Path;

use shoestring_planner::plan::{assessments_json, assessments_text};
use shoestring_planner::recipe::read_recipe;
use shoestring_planner::search::{self, Assessment, Request};

use super::failure;
use crate::cli::PlanFormat;
use crate::commands::read_text;
use crate::failure::{Exit, Failure};
use crate::output::Printer;

fn assessed(path: &Path, request: &Request) -> Result<Assessment, Failure> {
    let recipe = read_recipe(&read_text(path)?, path).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Usage, error).hint(hint)
    })?;
    search::assess(&recipe, request).map_err(failure)
}

pub(super) fn one(
    path: &Path,
    request: &Request,
    format: PlanFormat,
    printer: Printer,
) -> Result<Exit, Failure> {
    show(&[assessed(path, request)?], format, printer)
}

pub(super) fn two(
    paths: [&std::path::PathBuf; 2],
    request: &Request,
    format: PlanFormat,
    printer: Printer,
) -> Result<Exit, Failure> {
    show(&[assessed(paths[0], request)?, assessed(paths[1], request)?], format, printer)
}

fn show(found: &[Assessment], format: PlanFormat, printer: Printer) -> Result<Exit, Failure> {
    match format {
        PlanFormat::Text => printer.data(&assessments_text(found))?,
        PlanFormat::Json => printer.json(&assessments_json(found))?,
        PlanFormat::Toml => {
            let hint = "use --format text or json; the recipe is there already".to_owned();
            return Err(
                Failure::usage("--format toml writes a recipe, and nothing is planned here").hint(hint)
            );
        }
    }
    Ok(Exit::Success)
}
