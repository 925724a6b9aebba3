//! `import`: a published model as a folder that a recipe can start from.

use std::path::Path;

use serde_json::json;
use shoestring_exchange::{Found, card_text, read_model, read_weights_with_config, write_open_clip};
use shoestring_experiments::models::{Opened, Origin, card_of};

use super::export::exchange_failure;
use super::run::failure;
use crate::cli::{Format, ImportArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(crate) fn import(args: &ImportArgs, printer: Printer) -> Result<Exit, Failure> {
    let found = match &args.config {
        Some(config) => read_weights_with_config(&args.model, config),
        None if args.model.is_file() => {
            return Err(Failure::usage(format!(
                "{}: is a file of weights without a configuration",
                args.model.display()
            ))
            .hint(
                "name open_clip's model config, or a CLIPModel's config.json, with --config FILE".to_owned(),
            ));
        }
        None => read_model(&args.model),
    }
    .map_err(exchange_failure)?;
    let Found { model, form, weights, config } = found;
    let name =
        args.out.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
    let usage = format!(
        "import open_clip\nmodel, _, preprocess = open_clip.create_model_and_transforms(\"local-dir:{}\")",
        args.out.display()
    );
    let opened = Opened { model, origin: Origin::Folder { path: args.model.clone(), form } };
    let card = card_text(&card_of(&opened, &name, "open_clip", usage).map_err(failure)?);
    write_open_clip(&opened.model, &args.out, &card).map_err(exchange_failure)?;
    let architecture = &opened.model.architecture;
    match args.format {
        Format::Text => {
            let table = architecture_table(&args.out, architecture)?;
            printer.data(&format!(
                "{}: {} from {} and {}\n\nA recipe fine-tunes it with\n\n{table}",
                args.out.display(),
                form.name(),
                weights.display(),
                config.display()
            ))?;
        }
        Format::Json => printer.json(&json!({
            "schema": "shoestring.import", "version": 1,
            "folder": args.out, "form": form.name(), "weights": weights, "config": config,
            "architecture": architecture, "preprocess": opened.model.preprocess,
        }))?,
    }
    Ok(Exit::Success)
}

/// The lines of a recipe that start from the folder.
fn architecture_table(
    folder: &Path,
    architecture: &shoestring_planner::architecture::Architecture,
) -> Result<String, Failure> {
    let mut start = toml::Table::new();
    let from = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    start.insert("from".to_owned(), toml::Value::String(from.to_string_lossy().into_owned()));
    let mut table = toml::Table::new();
    table.insert("start".to_owned(), toml::Value::Table(start));
    table.insert("architecture".to_owned(), toml::Value::try_from(architecture)?);
    Ok(toml::to_string_pretty(&table)?)
}
