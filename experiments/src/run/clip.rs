//! Training for real: data from `shoestring-data`, model from `shoestring-engine`.

use std::sync::Arc;

use shoestring_data::evaluation::{Tally, class_embeddings};
use shoestring_data::picture::View;
use shoestring_data::{Batch, DataError, EvaluationSet, Loader, Prefetcher};
use shoestring_engine::{
    DeviceTrainer, Images, StepInput, Texts, Trainer, Training, learning_rate_at, multiplies_bf16,
    resolved_precision,
};
use shoestring_planner::architecture::Architecture;
use shoestring_planner::recipe::{EvaluatedWeights, Precision, Recipe, Stage};
use shoestring_planner::units::Samples;

use super::device::Place;
use super::error::RunError;
use super::executor::{Evaluated, Executor, Proceed, Saved, Stepped};
use super::start::Train;
use super::state::Drawn;
use crate::models::Starting;
use crate::records::Accuracy;

/// Images, or prompts, encoded at a time in an evaluation.
const EVALUATION_BATCH: u32 = 64;

/// What decides how many samples' activations are held at a time. Constants and not this machine's memory: the
/// last bits of the gradient depend on how the batch is cut, and the same recipe shall give the same bits
/// everywhere.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    /// Activations that a device holds at a time.
    bytes: u64,
    /// Numbers kept for the backward pass, in widths per token and block.
    widths_per_token: u64,
    /// And of each number of tokens squared, in each head.
    scores_per_pair: u64,
}

/// Norms, queries, keys, values, attention output, residuals, and the MLP's at four widths before and after its
/// GELU.
const HOST: Footprint = Footprint { bytes: 2 << 30, widths_per_token: 20, scores_per_pair: 2 };
/// Every result of candle's operations and the bf16 copies of products' operands, on a card of 24 GB and more.
const GPU: Footprint = Footprint { bytes: 12 << 30, widths_per_token: 70, scores_per_pair: 8 };

/// Opens what a recipe trains with.
pub(crate) struct Workshop<'a> {
    recipe: &'a Recipe,
    place: Place,
    stages: Vec<StageData>,
    /// What training starts from, where that is not the seed.
    start: Option<Starting>,
}

/// The data of one stage.
#[derive(Clone)]
struct StageData {
    loader: Arc<Loader>,
    evaluation: Option<Arc<EvaluationSet>>,
}

impl<'a> Workshop<'a> {
    pub(crate) fn new(recipe: &'a Recipe, place: Place) -> Self {
        Self { recipe, place, stages: Vec::new(), start: None }
    }

    pub(crate) fn training_samples(&self) -> Samples {
        self.stages.first().map_or(Samples(0), |stage| stage.loader.epoch_samples())
    }

    pub(crate) fn evaluation_samples(&self) -> Samples {
        Samples(evaluation_samples(&self.stages))
    }
}

/// What is worth knowing where the recipe's precision is not what this machine would choose.
fn precision_warning(recipe: &Recipe) -> Option<String> {
    match recipe.optimizer.precision {
        Some(Precision::Bf16)
            if resolved_precision(&recipe.architecture, Some(Precision::Bf16)) == Precision::F32 =>
        {
            Some(
                "optimizer.precision = \"bf16\": the architecture has an odd width, which bf16 cannot multiply, so \
                 that everything is computed in f32"
                    .to_owned(),
            )
        }
        Some(Precision::Bf16) if !multiplies_bf16() => Some(
            "optimizer.precision = \"bf16\": this processor has no products of bf16 numbers (AVX512-BF16 or ARM's \
             BF16), so that operands are rounded to bf16 and multiplied in f32: the same precision, slower; \"f32\" is \
             as fast"
                .to_owned(),
        ),
        _ => None,
    }
}

fn evaluation_samples(stages: &[StageData]) -> u64 {
    stages.iter().filter_map(|stage| stage.evaluation.as_ref()).map(|set| set.len()).max().unwrap_or(0)
}

impl Train for Workshop<'_> {
    fn open(&mut self) -> Result<(), RunError> {
        let Recipe { data, architecture, stages, seed, evaluation, .. } = self.recipe;
        self.start = Starting::of(self.recipe)?;
        self.stages.clear();
        for stage in stages {
            let loader = Loader::open(&data.train, stage, architecture, *seed, data.unique_samples)?
                .reading(&data.reading);
            let set = data.evaluation.as_ref().map(|source| {
                let max_samples = evaluation.max_samples;
                EvaluationSet::open(source, architecture, stage.image_size_px, stage.text_tokens, max_samples)
                    .map(|set| set.prepared(View::Squash, data.reading.images()))
            });
            let evaluation = set.transpose()?.map(Arc::new);
            self.stages.push(StageData { loader: Arc::new(loader), evaluation });
        }
        Ok(())
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.place.note.iter().cloned().collect();
        if self.place.gpus.is_empty() {
            warnings.extend(precision_warning(self.recipe));
        }
        warnings.extend(self.start.iter().map(|start| start.note.clone()));
        for stage in &self.stages {
            let of_set = stage.evaluation.iter().flat_map(|set| set.warnings());
            for warning in stage.loader.warnings().iter().chain(of_set) {
                if !warnings.contains(warning) {
                    warnings.push(warning.clone());
                }
            }
        }
        warnings
    }

    fn build(&mut self) -> Result<Box<dyn Executor>, RunError> {
        let recipe = self.recipe;
        // Learned positions start on the first stage's grid, or on that of the model to start from.
        let mut first = recipe.architecture.clone();
        if let Some(stage) = recipe.stages.first() {
            first.vision_cfg.image_size = stage.image_size_px;
        }
        let mut trainer = Trainer::new(&first, &recipe.optimizer, recipe.seed)?;
        if let Some(start) = &self.start {
            trainer.set_image_size(start.image_size_px())?;
            trainer.load_model(&start.model_bytes(&trainer.model_bytes()?)?)?;
            trainer.set_image_size(first.vision_cfg.image_size)?;
        }
        let (trainer, footprint): (Box<dyn Training>, _) = match &self.place.gpus[..] {
            [] => (Box::new(trainer), HOST),
            gpus => (Box::new(DeviceTrainer::new(trainer, gpus)?), GPU),
        };
        Ok(Box::new(ClipExecutor {
            measured: recipe.evaluation.weights,
            architecture: recipe.architecture.clone(),
            stages: recipe.stages.clone(),
            data: self.stages.clone(),
            footprint,
            trainer,
            stage: 0,
            stage_step: 0,
            batches: None,
            drawn_before: Drawn::default(),
        }))
    }
}

/// Trains a CLIP.
struct ClipExecutor {
    /// Which weights are evaluated.
    measured: EvaluatedWeights,
    architecture: Architecture,
    stages: Vec<Stage>,
    data: Vec<StageData>,
    footprint: Footprint,
    trainer: Box<dyn Training>,
    stage: usize,
    stage_step: u64,
    batches: Option<Prefetcher>,
    /// By the processes before.
    drawn_before: Drawn,
}

impl ClipExecutor {
    /// Draws the batches of a stage from a step on.
    fn draw_from(&mut self, stage: usize, stage_step: u64) -> Result<(), RunError> {
        let of_stage = &self.stages[stage];
        let batch = u64::from(of_stage.batch);
        self.stage = stage;
        self.stage_step = stage_step;
        self.trainer.set_microbatch(microbatch(&self.architecture, of_stage, self.footprint));
        // The batches of the stage before stop being drawn before the next ones start.
        self.batches = None;
        let loader = Arc::clone(&self.data[stage].loader);
        let end = of_stage.steps() * batch;
        self.batches = Some(Prefetcher::start(loader, stage_step * batch, of_stage.batch, end)?);
        Ok(())
    }
}

/// Samples whose activations are held at a time.
fn microbatch(architecture: &Architecture, stage: &Stage, footprint: Footprint) -> usize {
    let Footprint { bytes, widths_per_token, scores_per_pair } = footprint;
    let tower = |layers: u32, width: u32, heads: u32, tokens: u32| {
        let (layers, width, heads, tokens) =
            (u64::from(layers), u64::from(width), u64::from(heads), u64::from(tokens));
        layers * (widths_per_token * tokens * width + scores_per_pair * heads * tokens * tokens)
    };
    let (vision, text) = (&architecture.vision_cfg, &architecture.text_cfg);
    let image_tokens = stage.image_tokens(architecture).0 + 1;
    let numbers = tower(vision.layers, vision.width, vision.heads(), image_tokens)
        + tower(text.layers, text.width, text.heads, stage.text_tokens.0);
    usize::try_from((bytes / (4 * numbers).max(1)).max(1)).unwrap_or(usize::MAX)
}

impl Executor for ClipExecutor {
    fn enter_stage(&mut self, stage: usize) -> Result<(), RunError> {
        let of_stage = &self.stages[stage];
        self.trainer.enter_stage(of_stage.image_size_px, of_stage.carry_optimizer)?;
        self.draw_from(stage, 0)
    }

    fn resume(
        &mut self,
        stage: usize,
        stage_step: u64,
        saved: &Saved,
        drawn: &Drawn,
    ) -> Result<(), RunError> {
        self.trainer.set_image_size(self.stages[stage].image_size_px)?;
        self.trainer.load(saved)?;
        self.drawn_before = drawn.clone();
        self.draw_from(stage, stage_step)
    }

    fn step(&mut self, progress: f64) -> Result<Stepped, RunError> {
        let next = self.batches.as_mut().and_then(Iterator::next);
        let missing = || DataError::Thread("ended before the stage did".to_owned());
        let batch: Batch = next.ok_or_else(missing)??;
        let stage = &self.stages[self.stage];
        let rate = learning_rate_at(stage, progress);
        let input = StepInput {
            batch: batch.size,
            image_size_px: batch.image_size_px,
            pixels: &batch.pixels,
            kept_patches: batch.kept_patches.as_deref(),
            text_tokens: batch.text_tokens,
            token_ids: &batch.token_ids,
        };
        let report = self.trainer.step(&input, rate)?;
        self.stage_step += 1;
        Ok(Stepped {
            loss: report.loss,
            grad_norm: report.grad_norm,
            logit_scale: report.logit_scale,
            learning_rate: rate,
            skipped: report.non_finite,
        })
    }

    fn save(&mut self) -> Result<Saved, RunError> {
        self.trainer.check_finite()?;
        Ok(self.trainer.save()?)
    }

    fn drawn(&self) -> Drawn {
        let mut drawn = self.drawn_before.clone();
        for stage in &self.data {
            let counts = stage.loader.counts();
            drawn.samples += counts.drawn();
            for (cause, count) in counts.bad {
                *drawn.bad.entry(cause.to_string()).or_default() += count;
            }
        }
        drawn
    }

    fn bad_examples(&self) -> Vec<String> {
        self.data[self.stage].loader.counts().examples
    }

    fn evaluation_samples(&self) -> u64 {
        evaluation_samples(&self.data)
    }

    fn evaluate(&mut self, proceed: &mut Proceed<'_>) -> Result<Option<Evaluated>, RunError> {
        if self.measured == EvaluatedWeights::Trained {
            return self.measure(proceed);
        }
        self.trainer.exchange_ema();
        let evaluated = self.measure(proceed);
        self.trainer.exchange_ema();
        evaluated
    }
}

impl ClipExecutor {
    /// Zero-shot accuracy of the weights at hand.
    fn measure(&self, proceed: &mut Proceed<'_>) -> Result<Option<Evaluated>, RunError> {
        let Some(set) = self.data[self.stage].evaluation.clone() else { return Ok(None) };
        let (width, length) = (self.trainer.embedding_width(), set.text_tokens());
        let (classes, templates) = (set.class_names().len(), set.templates().len());
        let prompts = (classes * templates) as u64;
        let total = prompts + set.len();
        let mut embeddings = Vec::with_capacity(classes * templates * width);
        for ids in set.prompts().chunks(EVALUATION_BATCH as usize * length) {
            let texts = Texts { batch: ids.len() / length, text_tokens: length, token_ids: ids };
            embeddings.extend(self.trainer.encode_texts(&texts)?);
            if !proceed((embeddings.len() / width) as u64, total)? {
                return Ok(None);
            }
        }
        let class_embeddings = class_embeddings(&embeddings, templates, width);
        let mut tally = Tally::new(classes);
        let mut start = 0;
        while start < set.len() {
            let batch = set.batch(start, EVALUATION_BATCH)?;
            if batch.size > 0 {
                let images = Images {
                    batch: batch.size,
                    image_size_px: batch.image_size_px,
                    pixels: &batch.pixels,
                    kept_patches: None,
                };
                let features = self.trainer.encode_images(&images)?;
                tally.add(&scores(&features, &class_embeddings, width), &batch.labels);
            }
            start = (start + u64::from(EVALUATION_BATCH)).min(set.len());
            if !proceed(prompts + start, total)? {
                return Ok(None);
            }
        }
        let metrics = tally.metrics();
        Ok(Some(Evaluated {
            classes: u64::from(metrics.classes),
            samples: metrics.samples,
            accuracy: Accuracy {
                acc1: metrics.acc1,
                acc5: metrics.acc5,
                mean_per_class_recall: metrics.mean_per_class_recall,
            },
        }))
    }
}

/// Cosine of each image with each class, images x classes.
fn scores(images: &[f32], classes: &[f32], width: usize) -> Vec<f32> {
    images
        .chunks_exact(width)
        .flat_map(|image| {
            classes.chunks_exact(width).map(|class| image.iter().zip(class).map(|(a, b)| a * b).sum::<f32>())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use shoestring_planner::units::Tokens;

    use super::*;
    use crate::run::tests::small_recipe;

    #[test]
    fn small_models_take_the_whole_batch_at_once_and_large_ones_do_not() {
        let recipe = small_recipe();
        let stage = &recipe.stages[0];
        assert!(microbatch(&recipe.architecture, stage, HOST) > 4096);
        let mut large = recipe.architecture.clone();
        (large.vision_cfg.layers, large.vision_cfg.width, large.vision_cfg.head_width) = (32, 1280, 80);
        large.vision_cfg.patch_size = 14;
        let stage = Stage { image_size_px: 224, text_tokens: Tokens(8), ..stage.clone() };
        assert_eq!(microbatch(&large, &stage, HOST), 1);
        let stage = Stage { image_size_px: 70, ..stage };
        assert_eq!(microbatch(&large, &stage, HOST), 24);
    }

    #[test]
    fn bf16_is_spoken_of_where_it_is_not_to_be_had() {
        let mut recipe = small_recipe();
        assert_eq!(precision_warning(&recipe), None);
        recipe.optimizer.precision = Some(Precision::Bf16);
        let warning = precision_warning(&recipe);
        assert_eq!(warning.is_none(), multiplies_bf16(), "{warning:?}");
        recipe.architecture.text_cfg.width = 15;
        recipe.architecture.text_cfg.heads = 3;
        let warning = precision_warning(&recipe).expect("a warning");
        assert!(warning.contains("odd width"), "{warning}");
    }

    #[test]
    fn an_image_scores_highest_with_its_own_direction() {
        let scores = scores(&[1.0, 0.0, 0.6, 0.8], &[0.0, 1.0, 1.0, 0.0], 2);
        assert_eq!(scores, [0.0, 1.0, 0.8, 0.6]);
    }
}
