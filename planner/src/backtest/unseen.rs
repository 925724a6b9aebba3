//! Runs from a file of the user against a law that has not seen them.

use super::Score;
use super::accuracy::Held;
use crate::accelerator::{self, Accelerator};
use crate::architecture::Architecture;
use crate::law::Law;
use crate::law::comparable::{self, Exclusion};
use crate::law::fit::{self, FitError};
use crate::published::PublishedRun;
use crate::spread::Spread;
use crate::time::{Machine, Workload, stage_hours};
use crate::units::{Hours, Usd};
use crate::{architectures, compute};

/// A run of the file with what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct UnseenRow {
    /// The run.
    pub id: String,
    /// Its paper.
    pub paper: String,
    /// The prediction; `None` where a size, a length or the samples are missing.
    pub held: Option<Held>,
    /// Why the law is not meant for the run; it is predicted all the same where that can be done, but not counted.
    pub exclusion: Option<Exclusion>,
    /// What lies outside the runs that the law was fitted on, in words.
    pub extrapolated: Vec<String>,
    /// Device hours as reported, and predicted where hardware and architecture are known by name.
    pub hours: Option<(Hours, Spread<Hours>)>,
    /// Dollars as reported, and the predicted hours at the row's own price.
    pub cost: Option<(Usd, Spread<Usd>)>,
}

/// Every run of a file against a law that has not seen it.
#[derive(Clone, Debug, PartialEq)]
pub struct Unseen {
    /// In the order of the file.
    pub rows: Vec<UnseenRow>,
    /// Runs of the built-in table that are in the file as well: the law used here was fitted without them.
    pub left_out_of_the_fit: Vec<String>,
}

impl Unseen {
    /// Errors in points of the comparable rows.
    #[must_use]
    pub fn score(&self) -> Score {
        let counted = self.rows.iter().filter(|row| row.exclusion.is_none());
        super::accuracy::score(counted.filter_map(|row| row.held))
    }
}

/// Predicts `runs`. Those that are also among `known`, by their name or by everything that was trained, are taken
/// out and the law is fitted again without them.
pub fn unseen(runs: &[PublishedRun], known: &[PublishedRun]) -> Result<Unseen, FitError> {
    let among = |seen: &PublishedRun| runs.iter().any(|run| run.id == seen.id || run.same_training(seen));
    let (hidden, kept): (Vec<PublishedRun>, Vec<PublishedRun>) = known.iter().cloned().partition(among);
    let refitted;
    let law = if hidden.is_empty() {
        Law::built_in()
    } else {
        refitted = fit::fit(&kept)?.law;
        &refitted
    };
    Ok(Unseen {
        rows: runs.iter().map(|run| row(law, run)).collect(),
        left_out_of_the_fit: hidden.into_iter().map(|run| run.id).collect(),
    })
}

fn row(law: &Law, run: &PublishedRun) -> UnseenRow {
    let prediction = law.predict_run(run);
    let held = prediction.map(|prediction| {
        let accuracy = prediction
            .accuracy_percent
            .unwrap_or_else(|| Spread::exact((100.0 - prediction.error_percent).max(0.0)));
        Held {
            reported: run.accuracy_percent,
            predicted: accuracy.p50,
            half_width: (accuracy.p90 - accuracy.p50).max(accuracy.p50 - accuracy.p10),
        }
    });
    let predicted = hours(run);
    UnseenRow {
        id: run.id.clone(),
        paper: run.paper.clone(),
        held,
        exclusion: comparable::exclusion(run),
        extrapolated: law.extrapolation_of(run).into_iter().map(|outside| outside.message).collect(),
        hours: run.device_hours.zip(predicted),
        cost: run
            .cost
            .zip(predicted.zip(run.usd_per_hour))
            .map(|(cost, (hours, price))| (cost, hours.map(|hours| price.per_hour_for(hours)))),
    }
}

/// Device hours, all stages, where the row names hardware and an architecture that are known.
fn hours(run: &PublishedRun) -> Option<Spread<Hours>> {
    let (devices, accelerator) = hardware(run.hardware.as_deref()?)?;
    let architecture = architecture(run)?;
    let machine = Machine::new(accelerator, devices);
    if run.stages.is_empty() {
        return None;
    }
    let wall = run
        .stages
        .iter()
        .map(|stage| {
            let work = Workload {
                image_size_px: stage.image_size_px,
                image_tokens: stage.image_tokens,
                text_tokens: stage.text_tokens,
                samples: stage.samples,
                batch: stage.batch,
            };
            stage_hours(architecture, &work, &machine).hours
        })
        .fold(Spread::exact(Hours(0.0)), Spread::plus);
    Some(wall.map(|hours| Hours(hours.0 * f64::from(devices))))
}

/// `8x A100-80GB GCP (estimated)`: a count and a device by name.
fn hardware(text: &str) -> Option<(u32, &'static Accelerator)> {
    let (count, rest) = text.split_once('x')?;
    let devices: u32 = count.trim().parse().ok().filter(|count| *count > 0)?;
    let words: Vec<&str> = rest.split([' ', ',', '(']).filter(|word| !word.is_empty()).collect();
    let named =
        (1..=words.len().min(3)).rev().find_map(|used| accelerator::find(&words[..used].join(" ")).ok());
    Some((devices, named?))
}

/// The architecture of the run's model name, if its size is the run's.
fn architecture(run: &PublishedRun) -> Option<&'static Architecture> {
    let found = architectures::find(run.model.split_whitespace().next()?).ok()?;
    let size = compute::parameters(found).image as f64;
    ((run.image_parameters? / size - 1.0).abs() < 0.1).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published;

    #[test]
    fn hardware_is_read_as_people_write_it() {
        let named = |text| hardware(text).map(|(count, device)| (count, device.name.as_str()));
        assert_eq!(named("8x A100-80GB GCP (estimated)"), Some((8, "A100-80GB-SXM")));
        assert_eq!(named("824x A100-40GB"), Some((824, "A100-40GB-SXM")));
        assert_eq!(named("4x RTX 4090"), Some((4, "RTX4090")));
        assert_eq!(named("TPU-v3"), None);
        assert_eq!(named("0x A100"), None);
    }

    #[test]
    fn what_the_law_has_seen_is_left_out_of_the_fit() {
        let run = published::find("clipav2-H14-dc-70-224").expect("there");
        let mut renamed = run.clone();
        renamed.id = "somebody-else's-name".to_owned();
        let unseen = unseen(&[renamed], published::runs()).expect("fits");
        assert_eq!(unseen.left_out_of_the_fit, std::slice::from_ref(&run.id));
        let held = unseen.rows[0].held.expect("predicted");
        assert!(held.error().abs() < 1.0, "{held:?}");
        let (reported, predicted) = unseen.rows[0].hours.expect("8x A100");
        assert!((predicted.p50.0 / reported.0 - 1.0).abs() < 0.05, "{predicted:?}");
        let (reported, predicted) = unseen.rows[0].cost.expect("a price");
        assert!((predicted.p50.dollars() / reported.dollars() - 1.0).abs() < 0.05);
    }
}
