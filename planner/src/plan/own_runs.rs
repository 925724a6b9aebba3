//! The user's own runs, in words and as JSON.

use serde_json::{Value, json};

use crate::law::Refined;

/// What the user's own runs did to the law and to a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnRunsEffect {
    /// The law with what moved it.
    pub refined: &'static Refined,
    /// Points of accuracy that the plan gained by it; absent where none is claimed.
    pub moved_points: Option<f64>,
}

impl OwnRunsEffect {
    /// One sentence after the other.
    #[must_use]
    pub fn words(&self) -> String {
        let Refined { offset, spread, counted, passed_over, .. } = self.refined;
        let all = counted.len() + passed_over.len();
        let worth = if (offset.worth - counted.len() as f64).abs() < 0.05 {
            String::new()
        } else {
            format!(" (short ones as a part of one: {:.1} in all)", offset.worth)
        };
        let effect = match self.moved_points {
            Some(points) => format!("{points:+.1} points for this plan"),
            None => "no accuracy is claimed for this plan".to_owned(),
        };
        let mut words = format!(
            "{} of {all} runs count{worth}. Their error is {:.3} times what the law expects; {:.0} % of that is taken \
             over (n / (n + {:.1}): labs differ, and so do the runs of one), so the law's error is multiplied with \
             {:.3}: {effect}. The interval is as wide as before.",
            counted.len(),
            offset.mean.exp(),
            100.0 * offset.weight,
            spread.runs_for_half(),
            offset.error_multiplier(),
        );
        for (id, why) in passed_over.iter().take(MOST_NAMED) {
            words.push_str(&format!(" Passed over: {id} ({why})."));
        }
        if passed_over.len() > MOST_NAMED {
            words.push_str(&format!(" And {} more.", passed_over.len() - MOST_NAMED));
        }
        words
    }

    /// The numbers of the same.
    #[must_use]
    pub fn json(&self) -> Value {
        let Refined { offset, spread, counted, passed_over, .. } = self.refined;
        let counted: Vec<Value> = counted
            .iter()
            .map(|run| {
                json!({
                    "id": run.id, "accuracy_percent": run.observed_percent,
                    "predicted_percent": run.predicted_percent, "worth_runs": run.worth,
                })
            })
            .collect();
        let passed_over: Vec<Value> =
            passed_over.iter().map(|(id, why)| json!({ "id": id, "why": why })).collect();
        json!({
            "runs_counted": offset.runs,
            "worth_runs": offset.worth,
            "mean_error_ratio": offset.mean.exp(),
            "shrinkage_weight": offset.weight,
            "runs_for_half": spread.runs_for_half(),
            "error_multiplier": offset.error_multiplier(),
            "moved_points": self.moved_points,
            "counted": counted,
            "passed_over": passed_over,
        })
    }
}

/// Runs passed over that a sentence names.
const MOST_NAMED: usize = 3;
