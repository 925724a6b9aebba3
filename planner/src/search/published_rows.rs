//! Published recipes at a plan's hardware and price.

use super::candidate::{Bound, Candidate};
use super::space::Space;
use crate::compute;
use crate::plan::PublishedRow;
use crate::published::{self, PublishedRun};
use crate::units::{Samples, Usd};

/// Runs shown at this hardware's price.
const PUBLISHED_ROWS: usize = 3;

impl Space<'_> {
    /// Published recipes that can be costed here: on these data, with an architecture known here.
    pub(super) fn published_rows(&self, budget: Usd, chosen: &Candidate) -> Vec<PublishedRow> {
        if !self.training.known {
            return Vec::new();
        }
        let most = 1.5 * budget.dollars();
        let mut rows: Vec<PublishedRow> = published::runs()
            .iter()
            .filter(|run| run.same_as.is_none() && run.initialised_from.is_none())
            .filter(|run| {
                crate::dataset::lookup(&run.dataset).map(|set| set.name) == Some(&self.training.data.name)
            })
            .filter_map(|run| self.published_row(run, chosen))
            .filter(|row| row.candidate.cost.total.p50.dollars() <= most)
            .collect();
        // Only those that no cheaper one beats; the last may lie above the budget.
        rows.sort_by_key(|row| row.candidate.cost.total.p50);
        let mut best = f64::NEG_INFINITY;
        rows.retain(|row| {
            let better = row.reported_accuracy_percent > best;
            best = best.max(row.reported_accuracy_percent);
            better
        });
        let within = rows.iter().take_while(|row| row.candidate.cost.total.p50 <= budget).count();
        rows.truncate(within + 1);
        rows.split_off(rows.len().saturating_sub(PUBLISHED_ROWS))
    }

    fn published_row(&self, run: &'static PublishedRun, chosen: &Candidate) -> Option<PublishedRow> {
        let size = run.image_parameters?;
        let first = run.stages.first()?;
        let architecture = *self.architectures.iter().find(|architecture| {
            let ours = compute::parameters(architecture).image as f64;
            (ours / size - 1.0).abs() < 0.03
                && Some(architecture.vision_cfg.patch_size) == run.patch_size
                && crate::law::Family::of(architecture) == run.family
        })?;
        let stages = run
            .stages
            .iter()
            .enumerate()
            .map(|(index, shape)| crate::recipe::Stage {
                name: if index == 0 {
                    "pretrain".to_owned()
                } else {
                    format!("finetune-{}", shape.image_size_px)
                },
                image_size_px: shape.image_size_px,
                image_reduction: shape.image_reduction,
                image_mask_ratio: shape.mask_ratio,
                text_tokens: shape.text_tokens,
                text_reduction: shape.text_reduction,
                samples: shape.samples,
                batch: if shape.batch > 0 { shape.batch } else { first.batch.max(1_024) },
                learning_rate: 1e-3,
                warmup_samples: Samples(0),
                schedule: crate::recipe::Schedule::Cosine,
                decay_fraction: None,
                carry_optimizer: false,
            })
            .collect::<Vec<_>>();
        let bill = self.bill(architecture, &stages, &chosen.machine);
        let candidate = self.candidate(architecture, stages, chosen.machine.clone(), bill, Bound::Samples)?;
        Some(PublishedRow {
            id: run.id.clone(),
            reported_accuracy_percent: run.accuracy_percent,
            reported_cost: run.cost,
            candidate,
        })
    }
}
