//! Zero-shot evaluation: class names, prompts, labelled images, and what the scores say.

mod metrics;
mod prompts;
mod set;

pub use self::metrics::{ClassificationMetrics, Tally, class_embeddings};
pub use self::prompts::DEFAULT_TEMPLATE;
pub use self::set::{EvaluationSet, LabelledBatch};
