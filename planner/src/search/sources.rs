//! Where each number of a plan is from, and what the reader should know about it.

use super::candidate::Candidate;
use super::choose::law_error_points;
use super::request::DataRequest;
use super::space::{ASSUMED_DEADLINE, Space};
use crate::calibration::Calibration;
use crate::offer::age_days;
use crate::plan::{SourceNote, money};
use crate::published;
use crate::source::Source;
use crate::time::speed_source;

/// Prices older than this are worth a warning.
const STALE_DAYS: i64 = 90;
/// CLIPA's schedules begin at this batch.
const CLIPA_BATCH: u32 = 4_096;

/// `117 days old`; where the catalogue names no day, `up to 327 days old`.
fn age_words(as_of: &str, days: i64) -> String {
    let up_to = if as_of.matches('-').count() < 2 { "up to " } else { "" };
    format!("{up_to}{days} days old")
}

impl Space<'_> {
    /// Where each number is from.
    pub(super) fn sources(&self, chosen: &Candidate) -> Vec<SourceNote> {
        let mut notes = Vec::new();
        let mut add = |what: &str, value: String, source: String| {
            notes.push(SourceNote { what: what.to_owned(), value, source });
        };
        let machine = &chosen.machine;
        let price = match machine.price_source() {
            Source::Catalogue { as_of } => match age_days(&as_of, self.request.today) {
                Some(days) => {
                    format!("catalogue, {as_of} ({}): {}", age_words(&as_of, days), machine.offer.citation)
                }
                None => format!("catalogue, {as_of}: {}", machine.offer.citation),
            },
            source => source.to_string(),
        };
        let note = &machine.offer.note;
        let price = if note.contains(" instead of ") { format!("{price}; {note}") } else { price };
        add("price", format!("{} USD/h", money(machine.usd_per_hour)), price);
        let rate = chosen.stages.first().map_or(0.0, |planned| planned.time.samples_per_second.p50);
        let speed = speed_source(&self.speed_of(machine));
        let shown = format!("{} samples/s", crate::units::grouped(rate.round() as u64));
        match chosen.stages.first().filter(|planned| planned.time.decoding_binds) {
            Some(_) => {
                let vcpus = machine.offer.vcpus.unwrap_or(0).saturating_mul(machine.nodes);
                let why = format!(
                    "{vcpus} vCPUs decode 250 stored images of 256 px a second each (80 %: 150 to 400), slower than the \
                     accelerators train; the vCPUs are the catalogue's"
                );
                add("speed", shown, Source::assumed(why).to_string());
                add("accelerators", "not the limit".to_owned(), speed.to_string());
            }
            None => add("speed", shown, speed.to_string()),
        }
        if let Some(words) = self.reading(chosen) {
            add("reading", words, speed.to_string());
        }
        for line in &chosen.cost.lines {
            if !line.what.ends_with("device time") {
                add(&line.what, format!("{} USD", money(line.usd.p50)), line.source.to_string());
            }
        }
        let from = "FLOPs, memory from the architecture's shape alone, as open_clip counts them";
        add("compute", "3 x forward".to_owned(), Source::computed(from).to_string());
        if self.training.known {
            let law = format!(
                "law fitted on {} published runs; it missed runs it had not seen by {:.2} points on average",
                published::runs().len(),
                law_error_points()
            );
            let accuracy =
                chosen.accuracy().map_or_else(|| "-".to_owned(), |accuracy| format!("{accuracy:.1} %"));
            add("accuracy", accuracy, format!("published: {law}"));
        }
        let tables = "CLIPA, arXiv 2305.07017, tables 11 and 12";
        add("token lengths", "inverse law".to_owned(), Source::published(tables).to_string());
        let unique = self.training.data.unique_samples;
        add("data", format!("{unique} pairs"), self.training.source.to_string());
        let batch = chosen.stages.first().map_or(0, |planned| planned.stage.batch);
        let schedule = if batch >= CLIPA_BATCH {
            Source::published("CLIPA's batches, learning rates and warm-up (clipa_jax/configs)")
        } else {
            Source::assumed(
                "1e-3 x sqrt(batch / 256) between 1e-4 and 1e-3, 5 % warm-up, half of it to fine-tune",
            )
        };
        add("schedule", format!("batch {}", crate::units::grouped(u64::from(batch))), schedule.to_string());
        if self.deadline_assumed {
            let why = "nobody plans for longer unasked; --deadline states it";
            add("deadline", ASSUMED_DEADLINE.to_string(), Source::assumed(why).to_string());
        }
        notes
    }

    /// Where pictures are read by the cores that train: how fast, and what that takes.
    fn reading(&self, chosen: &Candidate) -> Option<String> {
        let first = chosen.stages.first()?;
        let rate = self.speed_of(&chosen.machine).measured_reading(first.stage.image_size_px)?;
        Some(format!("{} pictures/s", crate::units::grouped(rate.p50.round() as u64)))
    }

    /// Warnings and assumptions.
    pub(super) fn remarks(&self, chosen: &Candidate) -> Vec<String> {
        let mut remarks = Vec::new();
        if let DataRequest::Named { .. } = self.request.data
            && !self.request.data_stated
        {
            remarks.push(format!(
                "no data were named: {} is assumed (--data, --unique-samples)",
                self.training.data.name
            ));
        }
        if !self.training.known {
            remarks.push(format!(
                "`{}` is not a data set that the law knows: plans are ranked by the same law, no accuracy is claimed",
                self.training.data.name
            ));
        }
        if let Source::Catalogue { as_of } = chosen.machine.price_source()
            && age_days(&as_of, self.request.today).is_some_and(|days| days > STALE_DAYS)
        {
            let age = age_days(&as_of, self.request.today).unwrap_or(0);
            let age = age_words(&as_of, age);
            remarks.push(format!("the price is {age}: `shoestring prices update` fetches newer ones"));
        }
        if self.training.known && chosen.architecture.vision_cfg.attention_pool().is_some() {
            remarks.push(
                "no published run here pools by attention: the law counts it as a class token".to_owned(),
            );
        }
        if self.request.calibration.is_some() && self.calibration().is_none() {
            let machine = self.request.calibration.as_ref().map_or("", |Calibration { machine, .. }| machine);
            remarks.push(format!("the calibration is of this machine ({machine}): not used for rented ones"));
        }
        if !chosen.machine.offer.accelerator.runtime.is_supported() {
            let name = &chosen.machine.offer.accelerator.name;
            remarks.push(format!("`run` does not train on {name}: the recipe is one to carry out elsewhere"));
        }
        if let Some(fit) = chosen.memory.iter().max_by_key(|fit| fit.chunks).filter(|fit| fit.chunks > 1) {
            remarks.push(format!(
                "a device holds {} samples at a time ({:.0} GB), so a step is computed in {} chunks",
                fit.microbatch,
                fit.bytes.total() / 1e9,
                fit.chunks
            ));
        }
        remarks.extend(self.storage_remark(chosen));
        remarks.extend(chosen.cost.notes.iter().filter(|note| !note.contains("decode about")).cloned());
        remarks
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    #[test]
    fn prices_age_from_the_day_they_name() {
        let today = NaiveDate::from_ymd_opt(2026, 8, 30).expect("a day");
        for (as_of, days) in [
            ("2026-07-30", Some(31)),
            ("2026-08", Some(29)),
            ("2026", Some(241)),
            ("lately", None),
            ("2026-13", None),
        ] {
            assert_eq!(age_days(as_of, today), days, "{as_of}");
        }
    }
}
