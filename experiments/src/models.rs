//! Trained models by path: a run's checkpoint, or a folder of `open_clip`'s or Hugging Face's; and what a
//! model card says of them.

use std::path::{Path, PathBuf};

use shoestring_data::picture::mean_std;
use shoestring_exchange::{
    Card, Fact, Form, Interpolation, Model, Preprocess, read_model, read_safetensors, safetensors_bytes,
};
use shoestring_planner::architecture::Architecture;
use shoestring_planner::recipe::{self, EvaluatedWeights, Recipe, Stage, write_recipe};
use shoestring_planner::units::Hours;

use crate::records::{EvaluationLine, read_lines};
use crate::run::{RunDirectory, RunError, checkpoint};

/// A model and where it is from.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The model, at the image size and text length of the stage that it was trained in last.
    pub model: Model,
    /// Where it is from.
    pub origin: Origin,
}

/// Where a model is from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A checkpoint of a run.
    Run(Box<FromRun>),
    /// A folder of another program's, or an export.
    Folder {
        /// The folder.
        path: PathBuf,
        /// What it came as.
        form: Form,
    },
}

/// A checkpoint of a run.
#[derive(Clone, Debug)]
pub struct FromRun {
    /// The run directory.
    pub directory: RunDirectory,
    /// Its recipe.
    pub recipe: Recipe,
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// Place of its stage in the recipe.
    pub stage_index: usize,
    /// Steps since the run began.
    pub step: u64,
    /// Samples since the run began.
    pub samples_seen: u64,
    /// Newer checkpoints that were damaged.
    pub passed_over: Vec<String>,
}

impl FromRun {
    /// The stage that the checkpoint was written in.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.recipe.stages[self.stage_index]
    }
}

/// Opens a run directory (its newest whole checkpoint, or that of `step`), one checkpoint of it, or a folder
/// of `open_clip`'s or Hugging Face's.
pub fn open_model(path: &Path, step: Option<u64>) -> Result<Opened, RunError> {
    if path.join("recipe.toml").exists() {
        return of_run(path, step);
    }
    let of_checkpoint =
        path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("step-"));
    if let (Some(found), Some(run)) =
        (of_checkpoint.and_then(|number| number.parse().ok()), path.parent().and_then(Path::parent))
        && run.join("recipe.toml").exists()
    {
        return of_run(run, Some(found));
    }
    let found = read_model(path)?;
    Ok(Opened { model: found.model, origin: Origin::Folder { path: path.to_owned(), form: found.form } })
}

fn of_run(path: &Path, step: Option<u64>) -> Result<Opened, RunError> {
    let directory = RunDirectory::new(path);
    let recipe = directory.frozen_recipe()?.ok_or_else(|| RunError::NoRun { path: directory.recipe() })?;
    let folder = directory.checkpoints();
    let no_checkpoint = |damaged| RunError::NoCheckpoint { directory: path.to_owned(), step, damaged };
    let (checkpoint, state, saved, passed_over) = match step {
        None => {
            let (found, passed_over) = checkpoint::newest_intact(&folder)?;
            let (path, state, saved) = found.ok_or_else(|| no_checkpoint(passed_over.clone()))?;
            (path, state, saved, passed_over)
        }
        Some(step) => {
            let all = checkpoint::list(&folder)?;
            let found =
                all.into_iter().find(|one| one.step == step).ok_or_else(|| no_checkpoint(Vec::new()))?;
            let (state, saved) =
                checkpoint::read(&found.path).map_err(|problem| no_checkpoint(vec![problem]))?;
            (found.path, state, saved, Vec::new())
        }
    };
    let Some(stage) = recipe.stages.get(state.stage_index) else {
        return Err(no_checkpoint(vec![format!("stage {} is not in the recipe", state.stage)]));
    };
    let file = checkpoint.join(checkpoint::MODEL);
    // The weights that the run's evaluations measure.
    let bytes = match (recipe.evaluation.weights, &saved.ema) {
        (EvaluatedWeights::Ema, Some(mean)) => mean,
        _ => &saved.model,
    };
    let weights = read_safetensors(&file, bytes)?;
    let model = Model::of_checkpoint(
        &file,
        &recipe.architecture,
        stage.image_size_px,
        stage.text_tokens.0,
        preprocess(&recipe),
        weights,
    )?;
    let (stage_index, step, samples_seen) = (state.stage_index, state.step, state.samples_seen);
    let run = FromRun { directory, recipe, checkpoint, stage_index, step, samples_seen, passed_over };
    Ok(Opened { model, origin: Origin::Run(Box::new(run)) })
}

/// How pictures are prepared in a run's evaluations.
fn preprocess(recipe: &Recipe) -> Preprocess {
    let how = recipe.data.reading.images();
    let (mean, std) = mean_std(how.normalisation);
    let interpolation = match how.interpolation {
        recipe::Interpolation::Bicubic => Interpolation::Bicubic,
        recipe::Interpolation::Bilinear => Interpolation::Bilinear,
    };
    Preprocess::of_training(mean, std, interpolation)
}

/// What a card says of a model. `usage` says how to load it, in Python.
pub fn card_of(opened: &Opened, name: &str, library: &'static str, usage: String) -> Result<Card, RunError> {
    let architecture = &opened.model.architecture;
    let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
    let elements: usize = opened.model.weights.values().map(|weight| weight.numbers.len()).sum();
    let mut card = Card { name: name.to_owned(), library, usage, ..Card::default() };
    card.model = vec![
        Fact::new("architecture", &architecture.name),
        Fact::new("parameters", format!("{:.1} M", elements as f64 / 1e6)),
        Fact::new(
            "image tower",
            format!("{} blocks, width {}, patches of {} px", vision.layers, vision.width, vision.patch_size),
        ),
        Fact::new("text tower", format!("{} blocks, width {}", text.layers, text.width)),
        Fact::new("image", format!("{} px", vision.image_size)),
        Fact::new("text", format!("{} tokens", text.context_length)),
    ];
    let Origin::Run(run) = &opened.origin else { return Ok(card) };
    let recipe = &run.recipe;
    card.data = vec![
        Fact::new("name", &recipe.data.name),
        Fact::new("different pairs", recipe.data.unique_samples.0.to_string()),
        Fact::new("samples seen", run.samples_seen.to_string()),
    ];
    card.stages = recipe
        .stages
        .iter()
        .take(run.stage_index + 1)
        .map(|stage| {
            format!(
                "{}: {} px ({} image tokens), {} text tokens, {} samples, batch {}, peak learning rate {:e}",
                stage.name,
                stage.image_size_px,
                stage.image_tokens(architecture).0,
                stage.text_tokens.0,
                stage.samples.0,
                stage.batch,
                stage.learning_rate
            )
        })
        .collect();
    let ledger = shoestring_ledger::read(&run.directory.ledger())?;
    let seconds: f64 = ledger.account.spending().iter().map(|one| one.seconds).sum();
    card.spend = vec![
        Fact::new(
            "spent",
            format!("{} USD of a cap of {} USD", ledger.account.spent(), ledger.account.cap()),
        ),
        Fact::new("time", Hours::from_seconds(seconds).to_string()),
        Fact::new(
            "machine",
            format!(
                "{} at {} USD/h ({})",
                recipe.hardware.offer, recipe.hardware.usd_per_hour, recipe.hardware.price_source
            ),
        ),
    ];
    let path = run.directory.evaluations();
    let lines: Vec<EvaluationLine> =
        read_lines(&path).map_err(|source| RunError::file(&path, "read", source))?;
    if let Some(line) = lines.iter().rev().find(|line| line.step == run.step) {
        let percent = |fraction: f64| format!("{:.2} %", 100.0 * fraction);
        card.accuracy = vec![
            Fact::new(
                "evaluated on",
                format!("{}, {} images of {} classes", line.dataset, line.samples, line.classes),
            ),
            Fact::new("zero-shot top-1", percent(line.metrics.acc1)),
            Fact::new("zero-shot top-5", line.metrics.acc5.map_or_else(|| "-".to_owned(), percent)),
            Fact::new("mean per-class recall", percent(line.metrics.mean_per_class_recall)),
        ];
    }
    card.recipe = write_recipe(recipe, &[]);
    Ok(card)
}

/// Weights that a run starts from, checked against its recipe.
pub(crate) struct Starting {
    model: Model,
    folder: PathBuf,
    /// What is worth telling about it.
    pub(crate) note: String,
}

impl Starting {
    /// What `recipe.start` names; `None` where it names nothing.
    pub(crate) fn of(recipe: &Recipe) -> Result<Option<Self>, RunError> {
        let Some(start) = &recipe.start else { return Ok(None) };
        let folder = PathBuf::from(&start.from);
        let opened = open_model(&folder, None)?;
        let model = opened.model;
        let differences = differences(&model.architecture, &recipe.architecture);
        if !differences.is_empty() {
            return Err(RunError::OtherArchitecture { folder, differences });
        }
        let origin = match &opened.origin {
            Origin::Run(run) => format!("a run's checkpoint after step {}", run.step),
            Origin::Folder { form, .. } => form.name().to_owned(),
        };
        let mut note = format!("starts from {} ({origin})", folder.display());
        let (there, here) =
            (model.architecture.text_cfg.context_length, recipe.architecture.text_cfg.context_length);
        if there < here {
            note.push_str(&format!("; it has {there} of the {here} text positions, the others start anew"));
        }
        Ok(Some(Self { model, folder, note }))
    }

    /// Side of the images that the weights are for: learned positions are on its grid.
    pub(crate) fn image_size_px(&self) -> u32 {
        self.model.architecture.vision_cfg.image_size
    }

    /// The bytes that the engine loads: these weights, and `initial` where the recipe's text is longer than
    /// theirs.
    pub(crate) fn model_bytes(&self, initial: &[u8]) -> Result<Vec<u8>, RunError> {
        const POSITIONS: &str = "positional_embedding";
        let mut weights = read_safetensors(&self.folder, initial)?;
        for (name, weight) in &self.model.weights {
            match weights.get_mut(name) {
                Some(positions) if name == POSITIONS => {
                    let numbers = positions.numbers.iter_mut();
                    numbers.zip(&weight.numbers).for_each(|(number, &from)| *number = from);
                }
                _ => {
                    weights.insert(name.clone(), weight.clone());
                }
            }
        }
        Ok(safetensors_bytes(&self.folder, &weights)?)
    }
}

/// Each size of a tensor that differs. Image size and text length do not make another model of it.
fn differences(there: &Architecture, here: &Architecture) -> Vec<String> {
    let comparable = |architecture: &Architecture| {
        let mut architecture = architecture.clone();
        architecture.name.clear();
        architecture.vision_cfg.image_size = 0;
        architecture.text_cfg.context_length = 0;
        serde_json::to_value(architecture).unwrap_or_default()
    };
    let (there, here) = (comparable(there), comparable(here));
    let mut out = Vec::new();
    for tower in ["", "/vision_cfg", "/text_cfg"] {
        let fields =
            |value: &serde_json::Value| value.pointer(tower).and_then(|tower| tower.as_object().cloned());
        let (Some(there), Some(here)) = (fields(&there), fields(&here)) else { continue };
        let absent = serde_json::Value::Null;
        let names = there.keys().chain(here.keys().filter(|name| !there.contains_key(*name)));
        for name in names {
            let (a, b) = (there.get(name).unwrap_or(&absent), here.get(name).unwrap_or(&absent));
            if a != b && !(tower.is_empty() && a.is_object()) {
                let path = format!(
                    "{}{}{name}",
                    tower.trim_start_matches('/'),
                    if tower.is_empty() { "" } else { "." }
                );
                out.push(format!("{path} is {a} there, {b} here"));
            }
        }
    }
    out
}
