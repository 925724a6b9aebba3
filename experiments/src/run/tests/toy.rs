//! Something that trains in no time: its weights are a hash of everything that it was trained on, in order.

use std::hash::{DefaultHasher, Hash, Hasher};

use shoestring_planner::recipe::Recipe;

use crate::records::Accuracy;
use crate::run::error::RunError;
use crate::run::executor::{Evaluated, Executor, Proceed, Saved, Stepped};
use crate::run::start::Train;
use crate::run::state::Drawn;

const EVALUATION_BATCHES: u64 = 6;

pub(super) struct Toy {
    seed: u64,
}

impl Toy {
    pub(super) fn new(recipe: &Recipe) -> Self {
        Self { seed: recipe.seed }
    }
}

impl Train for Toy {
    fn open(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    fn build(&mut self) -> Result<Box<dyn Executor>, RunError> {
        Ok(Box::new(ToyExecutor {
            weights: self.seed,
            moments: 0,
            stage: usize::MAX,
            stage_step: 0,
            drawn: 0,
        }))
    }
}

#[derive(Debug)]
struct ToyExecutor {
    weights: u64,
    moments: u64,
    stage: usize,
    stage_step: u64,
    drawn: u64,
}

fn mixed(numbers: &[u64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    numbers.hash(&mut hasher);
    hasher.finish()
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

impl Executor for ToyExecutor {
    fn enter_stage(&mut self, stage: usize) -> Result<(), RunError> {
        assert_eq!(stage, self.stage.wrapping_add(1), "stages in order, each entered once");
        (self.stage, self.stage_step, self.moments) = (stage, 0, 0);
        Ok(())
    }

    fn resume(
        &mut self,
        stage: usize,
        stage_step: u64,
        saved: &Saved,
        drawn: &Drawn,
    ) -> Result<(), RunError> {
        (self.stage, self.stage_step, self.drawn) = (stage, stage_step, drawn.samples);
        (self.weights, self.moments) = (number(&saved.model), number(&saved.optimizer));
        Ok(())
    }

    fn step(&mut self, progress: f64) -> Result<Stepped, RunError> {
        self.moments = mixed(&[self.moments, self.weights]);
        self.weights =
            mixed(&[self.weights, self.moments, self.stage as u64, self.stage_step, progress.to_bits()]);
        self.stage_step += 1;
        self.drawn += 1;
        Ok(Stepped {
            loss: 1.0,
            grad_norm: 1.0,
            logit_scale: 14.0,
            learning_rate: 1.0 - progress,
            skipped: None,
        })
    }

    fn save(&mut self) -> Result<Saved, RunError> {
        let (model, optimizer) = (self.weights.to_le_bytes().to_vec(), self.moments.to_le_bytes().to_vec());
        Ok(Saved { model, optimizer, ema: None })
    }

    fn drawn(&self) -> Drawn {
        Drawn { samples: self.drawn, ..Drawn::default() }
    }

    fn bad_examples(&self) -> Vec<String> {
        Vec::new()
    }

    fn evaluation_samples(&self) -> u64 {
        EVALUATION_BATCHES * 16
    }

    fn evaluate(&mut self, proceed: &mut Proceed<'_>) -> Result<Option<Evaluated>, RunError> {
        for batch in 1..=EVALUATION_BATCHES {
            if !proceed(batch * 16, self.evaluation_samples())? {
                return Ok(None);
            }
        }
        let accuracy =
            Accuracy { acc1: (self.weights % 100) as f64 / 100.0, acc5: None, mean_per_class_recall: 0.0 };
        Ok(Some(Evaluated { classes: 24, samples: self.evaluation_samples(), accuracy }))
    }
}
