//! `eval`: how good a model is, in the numbers and the JSON of `CLIP_benchmark`.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};
use shoestring_data::evaluation::{ProbeSettings, PromptCut, read_karpathy};
use shoestring_data::{EvaluationSet, read_dataset_folder};
use shoestring_experiments::evaluate::{
    Embeddings, Encoder, Key, Measured, Progress, Stopped, linear_probe, retrieval, zero_shot,
};
use shoestring_experiments::models::{Opened, Origin, open_model};
use shoestring_experiments::run::{Charge, RunError};
use shoestring_experiments::signals;
use shoestring_ledger::{Clock, SystemClock};
use shoestring_planner::recipe::EvaluationData;
use shoestring_planner::units::{Samples, Tokens, Usd};

use super::data::failure as data_failure;
use super::run::failure;
use crate::cli::{EvalArgs, Format, LongPrompts, Task};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, write_file};
use crate::progress::bar;

/// A labelled set and what it is called.
struct Named {
    name: String,
    data: EvaluationData,
}

pub(crate) fn eval(args: &EvalArgs, printer: Printer) -> Result<Exit, Failure> {
    let stop = signals::watch()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    if let Some(out) = args.out.as_ref().filter(|out| args.skip_existing && out.exists()) {
        printer.note(&format!("{} is there already", out.display()));
        return Ok(Exit::Success);
    }
    let opened = open_model(&args.model, args.step).map_err(failure)?;
    let encoder = Encoder::new(&opened.model, args.precision.into()).map_err(failure)?;
    let mut charge = match &opened.origin {
        Origin::Run(run) if !args.no_charge => {
            let stage = &run.stage().name;
            match Charge::open(&run.directory, &run.recipe, stage, run.step, Arc::clone(&clock))
                .map_err(failure)?
            {
                Ok(charge) => Some(charge),
                Err(refused) => {
                    let error =
                        anyhow::anyhow!("{}: no money for an evaluation: {refused}", args.model.display());
                    let hint = "--no-charge evaluates outside of the run's budget".to_owned();
                    return Err(Failure::new(Exit::CapReached, error).hint(hint));
                }
            }
        }
        _ => None,
    };
    let bar = bar(printer, 1, "evaluating");
    let mut proceed = |progress: Progress| -> Result<Option<Stopped>, RunError> {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        if stop.load(Ordering::Relaxed) {
            return Ok(Some(Stopped::Asked));
        }
        match &mut charge {
            Some(charge) => Ok(charge.go_on(progress.done, progress.total)?.map(Stopped::Refused)),
            None => Ok(None),
        }
    };
    let outcome = measure(args, printer, &opened, &encoder, &mut proceed);
    bar.finish_and_clear();
    let (cost, seconds) = (close(charge, args), clock.elapsed().as_secs_f64());
    let (name, measured) = match outcome? {
        Ok(found) => found,
        Err(stopped) => {
            cost?;
            let (exit, why) = match stopped {
                Stopped::Asked => (Exit::Interrupted, "stopped".to_owned()),
                Stopped::Refused(refused) => (Exit::CapReached, format!("the cap is reached: {refused}")),
            };
            let hint = match &args.features {
                Some(path) => format!("the same command goes on from {}.part", path.display()),
                None => "--features FILE keeps what is done, so that the same command goes on".to_owned(),
            };
            return Err(Failure::new(exit, anyhow::anyhow!("{why}")).hint(hint));
        }
    };
    let cost = cost?;
    let object = object(args, &opened, &name, &measured, cost, seconds);
    if let Some(out) = &args.out {
        write_file(out, format!("{object:#}\n").as_bytes())?;
    }
    match args.format {
        Format::Text => printer.data(&text(&name, &measured, cost))?,
        Format::Json => printer.json(&object)?,
    }
    Ok(Exit::Success)
}

fn close(charge: Option<Charge>, args: &EvalArgs) -> Result<Option<Usd>, Failure> {
    let task = format!("{:?}", args.task).to_lowercase();
    charge.map(|charge| charge.close(&format!("evaluation ({task})"))).transpose().map_err(failure)
}

type Outcome = Result<(String, Measured), Stopped>;

fn measure(
    args: &EvalArgs,
    printer: Printer,
    opened: &Opened,
    encoder: &Encoder,
    proceed: &mut dyn FnMut(Progress) -> Result<Option<Stopped>, RunError>,
) -> Result<Outcome, Failure> {
    let batch = args.batch as usize;
    let named = if args.task == Task::Retrieval { None } else { Some(labelled(args, opened)?) };
    let mut embeddings = match &args.features {
        None => Embeddings::in_memory(encoder.width()),
        Some(path) => {
            let of = json!([
                format!("{:?}", args.task),
                named.as_ref().map(|named| &named.data),
                args.probe_train,
                args.captions,
                args.images,
                args.split,
                format!("{:?}", args.long_prompts),
                args.max_samples,
                format!("{:?}", args.precision),
                encoder.image_size_px(),
                encoder.text_tokens(),
                opened.model.preprocess,
            ]);
            Embeddings::open(path, &Key::new(&encoder.sha256, of.to_string(), encoder.width()))
                .map_err(failure)?
        }
    };
    let (name, measured) = match (args.task, named) {
        (Task::Zeroshot, Some(named)) => {
            let set = open_set(args, printer, opened, encoder, &named.data)?;
            (named.name, zero_shot(encoder, &set, &mut embeddings, batch, proceed).map_err(failure)?)
        }
        (Task::LinearProbe, Some(named)) => {
            let Some(folder) = &args.probe_train else {
                return Err(Failure::usage("--probe-train is missing"));
            };
            let test = open_set(args, printer, opened, encoder, &named.data)?;
            let mut train = in_folder(folder)?;
            train.data.class_names.clone_from(&named.data.class_names);
            let train = open_set(args, printer, opened, encoder, &train.data)?;
            let settings = ProbeSettings { c: args.probe_c, ..ProbeSettings::default() };
            let found = linear_probe(encoder, &train, &test, settings, &mut embeddings, batch, proceed);
            (named.name, found.map_err(failure)?)
        }
        _ => {
            let Some(captions) = &args.captions else { return Err(Failure::usage("--captions is missing")) };
            let own = captions.parent().unwrap_or(Path::new("."));
            let folder = args.images.as_deref().unwrap_or(own);
            let mut pairs = read_karpathy(captions, folder, &args.split).map_err(data_failure)?;
            if args.max_samples > 0 {
                pairs.truncate(usize::try_from(args.max_samples).unwrap_or(usize::MAX));
            }
            let name =
                captions.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            (name, retrieval(encoder, &pairs, &mut embeddings, batch, proceed).map_err(failure)?)
        }
    };
    Ok(match measured {
        Err(stopped) => Err(stopped),
        Ok(measured) => {
            if let Some(path) = &args.features {
                let classes: &[(&str, Vec<f32>)] = &[("class_embeddings", measured.class_embeddings.clone())];
                let more = if measured.class_embeddings.is_empty() { &classes[..0] } else { classes };
                embeddings.finish(path, more).map_err(failure)?;
            }
            Ok((name, measured))
        }
    })
}

fn in_folder(folder: &Path) -> Result<Named, Failure> {
    let data = read_dataset_folder(folder).map_err(data_failure)?;
    let Some(evaluation) = data.evaluation else {
        return Err(Failure::usage(format!(
            "{}: its dataset.toml names no labelled images",
            folder.display()
        ))
        .hint("it needs a table [evaluation] (docs/formats.md)".to_owned()));
    };
    Ok(Named { name: data.name, data: evaluation })
}

fn labelled(args: &EvalArgs, opened: &Opened) -> Result<Named, Failure> {
    let mut named = match (&args.data, &opened.origin) {
        (Some(folder), _) => in_folder(folder)?,
        (None, Origin::Run(run)) => match &run.recipe.data.evaluation {
            Some(evaluation) => Named { name: run.recipe.data.name.clone(), data: evaluation.clone() },
            None => {
                return Err(Failure::usage("the run's recipe names no labelled images")
                    .hint("name some with --data DIR".to_owned()));
            }
        },
        (None, Origin::Folder { .. }) => {
            return Err(Failure::usage("no data are named")
                .hint("name a folder with a dataset.toml with --data DIR".to_owned()));
        }
    };
    if let Some(names) = &args.class_names {
        named.data.class_names.clone_from(names);
    }
    if let Some(templates) = &args.templates {
        named.data.templates.clone_from(templates);
    }
    Ok(named)
}

fn open_set(
    args: &EvalArgs,
    printer: Printer,
    opened: &Opened,
    encoder: &Encoder,
    data: &EvaluationData,
) -> Result<EvaluationSet, Failure> {
    let cut = match args.long_prompts {
        LongPrompts::CutEnd => PromptCut::End,
        LongPrompts::KeepName => PromptCut::KeepName,
    };
    let (size, length) = (encoder.image_size_px(), Tokens(encoder.text_tokens() as u32));
    let most = Samples(args.max_samples);
    let set = EvaluationSet::open_with(data, &opened.model.architecture, size, length, most, cut)
        .map_err(data_failure)?
        .prepared(encoder.view, encoder.preparation);
    for warning in set.warnings() {
        printer.note(&format!("warning: {warning}"));
    }
    Ok(set)
}

/// `CLIP_benchmark`'s object, with more keys beside its own.
fn object(
    args: &EvalArgs,
    opened: &Opened,
    name: &str,
    measured: &Measured,
    cost: Option<Usd>,
    seconds: f64,
) -> Value {
    let mut metrics = Map::new();
    let mut intervals = Map::new();
    for metric in &measured.metrics {
        metrics.insert(metric.name.clone(), json!(metric.value));
        if let Some(interval) = metric.interval {
            intervals.insert(metric.name.clone(), json!({"p2_5": interval.low, "p97_5": interval.high}));
        }
    }
    let step = match &opened.origin {
        Origin::Run(run) => Some(run.step),
        Origin::Folder { .. } => None,
    };
    json!({
        "dataset": name,
        "model": opened.model.architecture.name,
        "pretrained": args.model,
        "task": measured.task,
        "metrics": metrics,
        "language": "en",
        "schema": "shoestring.eval", "version": 1,
        "intervals": intervals,
        "samples": measured.samples, "classes": measured.classes, "step": step,
        "image_size_px": opened.model.architecture.vision_cfg.image_size,
        "text_tokens": opened.model.architecture.text_cfg.context_length,
        "cost_usd": cost.map(Usd::dollars), "seconds": seconds,
    })
}

fn text(name: &str, measured: &Measured, cost: Option<Usd>) -> String {
    let of = if measured.task == "zeroshot_retrieval" { "captions" } else { "classes" };
    let mut out = format!(
        "{name}: {}, {} images, {} {of}\n",
        measured.task.replace('_', " "),
        measured.samples,
        measured.classes
    );
    for metric in &measured.metrics {
        let value = metric.value.map_or_else(|| "-".to_owned(), |value| format!("{:.2} %", 100.0 * value));
        let _ = write!(out, "  {:<28} {value:>9}", metric.name);
        if let Some(interval) = metric.interval {
            let _ = write!(out, "  (95 %: {:.2} to {:.2})", 100.0 * interval.low, 100.0 * interval.high);
        }
        out.push('\n');
    }
    if let Some(cost) = cost {
        let _ = writeln!(out, "  charged to the run: {cost} USD");
    }
    out
}
