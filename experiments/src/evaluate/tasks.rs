//! The tasks: what is embedded, and what is reckoned from it.

use rayon::prelude::*;
use shoestring_data::evaluation::{
    Captioned, Interval, Probe, ProbeSettings, Tally, bootstrap_mean_recall, class_embeddings, recalls,
    wilson,
};
use shoestring_data::picture::{MAX_BYTES, decode_view};
use shoestring_data::{DataError, EvaluationSet, read_bounded};

use super::encoder::Encoder;
use super::journal::Embeddings;
use crate::run::RunError;

/// A number of an evaluation, named as `CLIP_benchmark` names it; a fraction of 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// `None` where it is not defined (top-5 of four classes).
    pub value: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<Interval>,
}

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// `zeroshot_classification`, `linear_probe` or `zeroshot_retrieval`.
    pub task: &'static str,
    /// Images measured.
    pub samples: u64,
    /// Classes, or captions of a retrieval.
    pub classes: u64,
    /// The numbers.
    pub metrics: Vec<Metric>,
    /// Embeddings of the classes, (classes, width); empty but in zero-shot classification.
    pub class_embeddings: Vec<f32>,
}

/// How far an evaluation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Texts and images embedded.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// Why an evaluation did not come to its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Stopped {
    /// Asked to.
    Asked,
    /// The next batch does not fit under the cap.
    Refused(shoestring_ledger::Refused),
    /// The price has risen above the highest that the recipe reckons with.
    TooDear,
}

/// Asked after each batch whether to go on; what it says otherwise is handed back.
pub type Proceed<'a> = dyn FnMut(Progress) -> Result<Option<Stopped>, RunError> + 'a;

#[expect(clippy::too_many_arguments, reason = "what is embedded, by what, to where, and who is asked")]
fn embed_ids(
    encoder: &Encoder,
    embeddings: &mut Embeddings,
    part: &str,
    ids: &[u32],
    length: usize,
    batch: usize,
    labels: &dyn Fn(u64) -> u32,
    proceed: &mut dyn FnMut(u64) -> Result<Option<Stopped>, RunError>,
) -> Result<Option<Stopped>, RunError> {
    let count = (ids.len() / length) as u64;
    while embeddings.position(part) < count {
        let start = embeddings.position(part);
        let end = count.min(start + batch as u64);
        let vectors = encoder.ids(&ids[start as usize * length..end as usize * length], length)?;
        let labels: Vec<u32> = (start..end).map(labels).collect();
        embeddings.append(part, end, &labels, &vectors)?;
        if let Some(stopped) = proceed(end)? {
            return Ok(Some(stopped));
        }
    }
    Ok(None)
}

fn embed_set(
    encoder: &Encoder,
    embeddings: &mut Embeddings,
    part: &str,
    set: &EvaluationSet,
    batch: usize,
    proceed: &mut dyn FnMut(u64) -> Result<Option<Stopped>, RunError>,
) -> Result<Option<Stopped>, RunError> {
    while embeddings.position(part) < set.len() {
        let start = embeddings.position(part);
        let found = set.batch(start, batch as u32)?;
        let vectors = encoder.images(&found.pixels, found.image_size_px)?;
        let end = set.len().min(start + batch as u64);
        embeddings.append(part, end, &found.labels, &vectors)?;
        if let Some(stopped) = proceed(end)? {
            return Ok(Some(stopped));
        }
    }
    Ok(None)
}

/// Zero-shot classification.
pub fn zero_shot(
    encoder: &Encoder,
    set: &EvaluationSet,
    embeddings: &mut Embeddings,
    batch: usize,
    proceed: &mut Proceed<'_>,
) -> Result<Result<Measured, Stopped>, RunError> {
    let (classes, templates, width) = (set.class_names().len(), set.templates().len(), encoder.width());
    let prompts = (classes * templates) as u64;
    let total = prompts + set.len();
    let class_of = |prompt: u64| (prompt / templates as u64) as u32;
    let mut step = |done| proceed(Progress { done, total });
    let stopped = embed_ids(
        encoder,
        embeddings,
        "prompts",
        set.prompts(),
        set.text_tokens(),
        batch,
        &class_of,
        &mut step,
    )?;
    if let Some(stopped) = stopped {
        return Ok(Err(stopped));
    }
    if let Some(stopped) =
        embed_set(encoder, embeddings, "images", set, batch, &mut |done| step(prompts + done))?
    {
        return Ok(Err(stopped));
    }
    let class_embeddings = class_embeddings(&embeddings.part("prompts").vectors, templates, width);
    let images = embeddings.part("images");
    let scores = |rows: &[f32]| -> Vec<f32> {
        let products = rows.par_chunks(width).flat_map_iter(|image| {
            class_embeddings
                .chunks_exact(width)
                .map(|class| image.iter().zip(class).map(|(a, b)| a * b).sum::<f32>())
        });
        products.collect()
    };
    let mut tally = Tally::new(classes);
    for (rows, labels) in images.vectors.chunks(batch * width).zip(images.labels.chunks(batch)) {
        tally.add(&scores(rows), labels);
    }
    let metrics = classification(&tally, "");
    let (samples, classes) = (images.labels.len() as u64, classes as u64);
    Ok(Ok(Measured { task: "zeroshot_classification", samples, classes, metrics, class_embeddings }))
}

/// Top-1, top-5 and mean per-class recall, each with its interval.
fn classification(tally: &Tally, prefix: &str) -> Vec<Metric> {
    let found = tally.metrics();
    let metric = |name: &str, value: Option<f64>, interval: Interval| Metric {
        name: format!("{prefix}{name}"),
        value,
        interval: value.map(|_| interval),
    };
    vec![
        metric("acc1", Some(found.acc1), wilson(tally.hits(1), found.samples)),
        metric("acc5", found.acc5, wilson(tally.hits(5), found.samples)),
        metric(
            "mean_per_class_recall",
            Some(found.mean_per_class_recall),
            bootstrap_mean_recall(&tally.classes()),
        ),
    ]
}

/// A linear probe trained on the embeddings of one set and measured on another.
pub fn linear_probe(
    encoder: &Encoder,
    train: &EvaluationSet,
    test: &EvaluationSet,
    settings: ProbeSettings,
    embeddings: &mut Embeddings,
    batch: usize,
    proceed: &mut Proceed<'_>,
) -> Result<Result<Measured, Stopped>, RunError> {
    let total = train.len() + test.len();
    let mut step = |done| proceed(Progress { done, total });
    if let Some(stopped) = embed_set(encoder, embeddings, "train_images", train, batch, &mut step)? {
        return Ok(Err(stopped));
    }
    let train_len = train.len();
    let stopped = embed_set(encoder, embeddings, "images", test, batch, &mut |done| step(train_len + done))?;
    if let Some(stopped) = stopped {
        return Ok(Err(stopped));
    }
    let (width, classes) = (encoder.width(), train.class_names().len().max(test.class_names().len()));
    let (trained_on, measured_on) = (embeddings.part("train_images"), embeddings.part("images"));
    let probe = Probe::train(&trained_on.vectors, &trained_on.labels, width, classes, settings);
    let mut tally = Tally::new(classes);
    tally.add(&probe.scores(&measured_on.vectors), &measured_on.labels);
    Ok(Ok(Measured {
        task: "linear_probe",
        samples: measured_on.labels.len() as u64,
        classes: classes as u64,
        metrics: classification(&tally, "lp_"),
        class_embeddings: Vec::new(),
    }))
}

/// Image-text retrieval.
pub fn retrieval(
    encoder: &Encoder,
    pairs: &[Captioned],
    embeddings: &mut Embeddings,
    batch: usize,
    proceed: &mut Proceed<'_>,
) -> Result<Result<Measured, Stopped>, RunError> {
    let captions: Vec<(u32, &str)> = pairs
        .iter()
        .enumerate()
        .flat_map(|(image, pair)| pair.captions.iter().map(move |caption| (image as u32, caption.as_str())))
        .collect();
    let total = (captions.len() + pairs.len()) as u64;
    let mut step = |done| proceed(Progress { done, total });
    let image_of = |caption: u64| captions[caption as usize].0;
    let length = encoder.text_tokens();
    let mut ids = vec![0; captions.len() * length];
    ids.par_chunks_mut(length)
        .zip(&captions)
        .try_for_each(|(ids, (_, caption))| encoder.tokenize(caption, ids))?;
    let stopped = embed_ids(encoder, embeddings, "texts", &ids, length, batch, &image_of, &mut step)?;
    if let Some(stopped) = stopped {
        return Ok(Err(stopped));
    }
    let side = encoder.image_size_px() as usize;
    while (embeddings.position("images") as usize) < pairs.len() {
        let start = embeddings.position("images") as usize;
        let end = pairs.len().min(start + batch);
        let mut pixels = vec![0f32; (end - start) * 3 * side * side];
        let drawn: Result<(), DataError> =
            pixels.par_chunks_mut(3 * side * side).zip(&pairs[start..end]).try_for_each(|(out, pair)| {
                let read = |source| DataError::Read { path: pair.path.clone(), source };
                let bytes = read_bounded(&pair.path, MAX_BYTES).map_err(read)?;
                decode_view(&bytes, |_, _| encoder.view, side as u32, encoder.preparation, out)
                    .map_err(|error| read(std::io::Error::other(error.to_string())))
            });
        drawn?;
        let labels: Vec<u32> = (start as u32..end as u32).collect();
        embeddings.append("images", end as u64, &labels, &encoder.images(&pixels, side)?)?;
        if let Some(stopped) = step((captions.len() + end) as u64)? {
            return Ok(Err(stopped));
        }
    }
    let (images, texts) = (embeddings.part("images"), embeddings.part("texts"));
    let metrics = recalls(&images.vectors, &texts.vectors, &texts.labels, encoder.width())
        .into_iter()
        .flat_map(|recall| {
            let metric = |what: &str, value, interval| Metric {
                name: format!("{what}_retrieval_recall@{}", recall.k),
                value: Some(value),
                interval: Some(interval),
            };
            [
                metric("image", recall.image, recall.image_interval),
                metric("text", recall.text, recall.text_interval),
            ]
        })
        .collect();
    Ok(Ok(Measured {
        task: "zeroshot_retrieval",
        samples: pairs.len() as u64,
        classes: captions.len() as u64,
        metrics,
        class_embeddings: Vec::new(),
    }))
}
