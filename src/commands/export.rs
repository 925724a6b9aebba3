//! `export`: a trained model in the format of `open_clip` or Hugging Face.

use std::path::Path;

use serde_json::json;
use shoestring_exchange::{ExchangeError, card_text, write_hugging_face, write_open_clip};
use shoestring_experiments::models::{Opened, Origin, card_of, open_model};

use super::run::failure;
use crate::cli::{ExportArgs, Format, Target};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(crate) fn export(args: &ExportArgs, printer: Printer) -> Result<Exit, Failure> {
    let opened = open_model(&args.model, args.step).map_err(failure)?;
    if let Origin::Run(run) = &opened.origin {
        for why in &run.passed_over {
            printer.note(&format!("warning: a damaged checkpoint is passed over: {why}"));
        }
    }
    let name =
        args.out.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
    let (library, usage) = usage(args.to, &args.out);
    let card = card_text(&card_of(&opened, &name, library, usage.clone()).map_err(failure)?);
    let written = match args.to {
        Target::OpenClip => write_open_clip(&opened.model, &args.out, &card),
        Target::Hf => write_hugging_face(&opened.model, &args.out, &card),
    };
    written.map_err(exchange_failure)?;
    match args.format {
        Format::Text => printer.data(&text(&opened, &args.out, &usage))?,
        Format::Json => printer.json(&json!({
            "schema": "shoestring.export", "version": 1,
            "folder": args.out, "library": library, "usage": usage,
            "architecture": opened.model.architecture,
            "step": match &opened.origin {
                Origin::Run(run) => Some(run.step),
                Origin::Folder { .. } => None,
            },
        }))?,
    }
    Ok(Exit::Success)
}

pub(super) fn exchange_failure(error: ExchangeError) -> Failure {
    let hint = error.hint();
    Failure::new(if error.is_usage() { Exit::Usage } else { Exit::Failure }, error).hint(hint)
}

fn usage(target: Target, folder: &Path) -> (&'static str, String) {
    let folder = folder.display();
    match target {
        Target::OpenClip => (
            "open_clip",
            format!(
                "import open_clip\n\
                 model, _, preprocess = open_clip.create_model_and_transforms(\"local-dir:{folder}\")\n\
                 tokenizer = open_clip.get_tokenizer(\"local-dir:{folder}\")"
            ),
        ),
        Target::Hf => (
            "transformers",
            format!(
                "from transformers import CLIPModel, CLIPProcessor\n\
                 model = CLIPModel.from_pretrained(\"{folder}\")\n\
                 processor = CLIPProcessor.from_pretrained(\"{folder}\")"
            ),
        ),
    }
}

fn text(opened: &Opened, folder: &Path, usage: &str) -> String {
    let architecture = &opened.model.architecture;
    let from = match &opened.origin {
        Origin::Run(run) => format!("{} after step {}", run.directory.root().display(), run.step),
        Origin::Folder { path, form } => format!("{} ({})", path.display(), form.name()),
    };
    format!(
        "{}: {} at {} px and {} text tokens, from {from}\n\n{usage}",
        folder.display(),
        architecture.name,
        architecture.vision_cfg.image_size,
        architecture.text_cfg.context_length
    )
}
