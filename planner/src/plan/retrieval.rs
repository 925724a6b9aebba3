//! What a plan brings in retrieval, beside the accuracy that it is chosen by.

use serde_json::{Map, Value, json};

use super::Plan;
use crate::law::{Case, DataShape, RetrievalTarget};
use crate::search::Candidate;
use crate::spread::Spread;

impl Plan {
    /// Recall at rank 1 in percent with its 80 % interval, by target; empty where no accuracy is claimed.
    #[must_use]
    pub fn retrieval_percent(&self, candidate: &Candidate) -> Vec<(RetrievalTarget, Spread)> {
        if candidate.accuracy().is_none() {
            return Vec::new();
        }
        let data = &self.recipe.recipe.data;
        let data = DataShape { name: &data.name, unique_samples: data.unique_samples };
        let stages = candidate.shapes();
        self.request.law().retrieval_percent(&Case {
            architecture: candidate.architecture,
            stages: &stages,
            data,
        })
    }

    /// `COCO image R@1 48.9 % (46.8 to 51.0), ...`; `None` where nothing is claimed.
    pub(super) fn retrieval_words(&self) -> Option<String> {
        let words: Vec<String> = self
            .retrieval_percent(&self.chosen)
            .iter()
            .map(|(target, recall)| {
                format!("{} {:.1} % ({:.1} to {:.1})", target.words(), recall.p50, recall.p10, recall.p90)
            })
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// `{"coco_image_r1": {"p10": .., "p50": .., "p90": ..}, ..}`.
    pub(super) fn retrieval_json(&self) -> Value {
        let all: Map<String, Value> = self
            .retrieval_percent(&self.chosen)
            .into_iter()
            .map(|(target, recall)| {
                let spread = json!({"p10": recall.p10, "p50": recall.p50, "p90": recall.p90});
                (target.name().to_owned(), spread)
            })
            .collect();
        Value::Object(all)
    }
}
