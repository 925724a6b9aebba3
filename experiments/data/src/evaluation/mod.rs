//! Evaluations: zero-shot classification, linear probes and retrieval; class names, prompts, labelled images,
//! and what the scores say.

mod intervals;
mod metrics;
mod probe;
mod prompts;
mod retrieval;
mod set;

pub use self::intervals::{Interval, bootstrap_mean_recall, wilson};
pub use self::metrics::{ClassificationMetrics, Tally, class_embeddings};
pub use self::probe::{Probe, ProbeSettings};
pub use self::prompts::{DEFAULT_TEMPLATE, PromptCut};
pub use self::retrieval::{Captioned, RECALL_AT, Recall, read_karpathy, recalls};
pub use self::set::{EvaluationSet, LabelledBatch};
