//! Run directories for tests, written as `run` writes them.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Duration, Utc};
use shoestring_ledger::{Draft, Journal, Kind, Purpose};
use shoestring_planner::recipe::Interval;
use shoestring_planner::units::Usd;

use crate::{FrontierPoint, Inputs, PublishedPoint, SourceNote};

pub(crate) fn usd(dollars: f64) -> Usd {
    Usd::from_dollars(dollars)
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

/// How a sample run goes.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) dataset: String,
    pub(crate) classes: u64,
    /// Steps of 64 samples in each of the two stages.
    pub(crate) steps: [u64; 2],
    /// Price of an hour; a step takes ten seconds.
    pub(crate) usd_per_hour: f64,
    pub(crate) cap: f64,
    pub(crate) planned: bool,
    /// What the last evaluation reaches, as a fraction.
    pub(crate) accuracy: f64,
    /// The last quantum stays open, as after a crash.
    pub(crate) cut_off: bool,
}

impl Sample {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dataset: "synthetic".to_owned(),
            classes: 24,
            steps: [60, 20],
            usd_per_hour: 0.1,
            cap: 0.05,
            planned: true,
            accuracy: 0.31,
            cut_off: false,
        }
    }

    fn recipe(&self) -> String {
        let name = toml_text(&self.name);
        let [first, second] = self.steps.map(|steps| steps * 64);
        let (cap, price) = (self.cap, self.usd_per_hour);
        let mut text = format!(
            r#"version = 1
name = {name}
seed = 7
budget = {{ cap_usd = {cap} }}

[hardware]
offer = "this-machine"
accelerator = "cpu"
count = 1
usd_per_hour = {price}
price_source = "stated"

[data]
name = "synthetic"
unique_samples = 4096
train = {{ kind = "synthetic", seed = 1, image_size_px = 64 }}

[architecture]
name = "fixture-8"
embed_dim = 32
vision_cfg = {{ image_size = 64, layers = 2, width = 32, head_width = 16, patch_size = 8 }}
text_cfg = {{ context_length = 16, vocab_size = 49408, width = 32, heads = 2, layers = 2 }}

[[stage]]
name = "pretrain"
image_size_px = 32
text_tokens = 8
samples = {first}
batch = 64
learning_rate = 0.001

[[stage]]
name = "finetune"
image_size_px = 64
text_tokens = 16
samples = {second}
batch = 32
learning_rate = 0.0001
"#
        );
        if self.planned {
            let hour = |steps: u64| steps as f64 * 10.0 / 3600.0;
            let hours = self.steps.map(hour);
            let costs = hours.map(|hours| usd(1.1 * hours * price).dollars());
            let (total, all) = (costs[0] + costs[1], hours[0] + hours[1]);
            write!(
                text,
                "\n[planned]\ncommand = \"shoestring plan --budget {cap}\"\ncost_usd = {total}\nhours = {all}\n"
            )
            .unwrap();
            for (name, (cost, hours)) in ["pretrain", "finetune"].iter().zip(costs.iter().zip(hours)) {
                write!(text, "\n[[planned.stage]]\nname = \"{name}\"\ncost_usd = {cost}\nhours = {hours}\n")
                    .unwrap();
            }
        }
        text
    }

    /// Writes the run directory below `folder` and returns it.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let directory = folder.join(crate::words::slug(&self.name));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("recipe.toml"), self.recipe()).unwrap();
        let (mut journal, _) = Journal::open(&directory.join("ledger.jsonl")).unwrap();
        let mut clock = 0.0;
        let mut quantum = 0;
        let mut step = 0;
        let mut seen = 0;
        let (mut metrics, mut evaluations) = (String::new(), String::new());
        let mut append = |at: f64, draft: Draft| {
            let time = start() + Duration::milliseconds((at * 1e3) as i64);
            journal.append(Draft { time, ..draft }).unwrap();
            journal.account().spent().dollars()
        };
        append(0.0, Draft { amount: Some(usd(self.cap)), ..self.draft(Kind::Open) });
        let all: u64 = self.steps.iter().sum();
        for (index, stage) in ["pretrain", "finetune"].into_iter().enumerate() {
            let batch = [64, 32][index];
            for stage_step in 1..=self.steps[index] {
                quantum += 1;
                step += 1;
                seen += batch;
                let base = Draft { stage: stage.into(), step, quantum, ..self.draft(Kind::Reserve) };
                let seconds = 10.0 + 2.0 * (step as f64 * 1.7).sin();
                let cost = Usd::from_dollars(self.usd_per_hour * seconds / 3600.0);
                let reserve = Usd::from_micros(cost.micros() * 5 / 4);
                let base = Draft { purpose: Purpose::Train, ..base };
                append(clock, Draft { amount: Some(reserve), ..base.clone() });
                if self.cut_off && step == all {
                    break;
                }
                clock += seconds;
                let spent = append(
                    clock,
                    Draft { kind: Kind::Settle, amount: Some(cost), seconds: Some(seconds), ..base.clone() },
                );
                let time = (start() + Duration::milliseconds((clock * 1e3) as i64)).to_rfc3339();
                let loss = f64::from(batch as u32).ln()
                    * (0.35 + 0.65 * (-(step as f64) / (0.3 * all as f64)).exp())
                    + 0.08 * (step as f64 * 12.9898).sin();
                if step.is_multiple_of((all / 400).max(1)) {
                    writeln!(
                        metrics,
                        "{{\"version\":1,\"time\":\"{time}\",\"stage\":\"{stage}\",\"step\":{step},\
                         \"stage_step\":{stage_step},\"samples_seen\":{seen},\"loss\":{loss},\
                         \"learning_rate\":0.001,\"logit_scale\":14.3,\"grad_norm\":null,\
                         \"samples_per_second\":6.4,\"spend_usd\":{spent}}}"
                    )
                    .unwrap();
                }
                if stage_step.is_multiple_of((self.steps[index] / 3).max(1)) {
                    let share = step as f64 / all as f64;
                    let chance = 1.0 / self.classes as f64;
                    let accuracy = chance + (self.accuracy - chance) * share.powf(0.7);
                    let last = step == all;
                    let (dataset, classes) = (&self.dataset, self.classes);
                    writeln!(
                        evaluations,
                        "{{\"version\":1,\"time\":\"{time}\",\"stage\":\"{stage}\",\"step\":{step},\
                         \"samples_seen\":{seen},\"dataset\":\"{dataset}\",\"task\":\"zeroshot_classification\",\
                         \"classes\":{classes},\"samples\":480,\"image_size_px\":32,\"metrics\":{{\"acc1\":{accuracy},\
                         \"acc5\":{},\"mean_per_class_recall\":{accuracy}}},\"spend_usd\":{spent},\"final\":{last}}}",
                        (2.0 * accuracy).min(1.0)
                    )
                    .unwrap();
                }
            }
        }
        std::fs::write(directory.join("metrics.jsonl"), metrics).unwrap();
        std::fs::write(directory.join("eval.jsonl"), evaluations).unwrap();
        directory
    }

    fn draft(&self, kind: Kind) -> Draft {
        Draft {
            run: self.name.clone(),
            usd_per_hour: Some(usd(self.usd_per_hour)),
            price_source: "stated".to_owned(),
            ..Draft::new(kind, start())
        }
    }
}

fn toml_text(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// A frontier from 100 to 100,000 dollars of the usual shape.
pub(crate) fn frontier() -> Vec<FrontierPoint> {
    (0..40)
        .map(|index| {
            let cost = 100.0 * 10f64.powf(3.0 * f64::from(index) / 39.0);
            let p50 = 85.0 - 60.0 * (cost / 20.0).powf(-0.42);
            let half = 1.2 + 200.0 / cost.powf(0.6) * 0.1;
            FrontierPoint {
                label: format!("ViT-H/14, plan {index}"),
                cost_usd: usd(cost),
                accuracy_percent: Interval { p10: p50 - half, p50, p90: p50 + half },
            }
        })
        .collect()
}

/// Published costs and accuracies, as crowded as they are.
pub(crate) fn published() -> Vec<PublishedPoint> {
    [
        ("CLIPA-v2 H/14 84→224, LAION-2B", 12_247.0, 78.6),
        ("CLIPA-v2 H/14 84→336, LAION-2B", 13_613.0, 79.1),
        ("CLIPA-v2 L/14 84→224", 6_318.0, 79.7),
        ("CLIPA-v2 L/14 84→336", 7_124.0, 80.3),
        ("CLIPA-v2 H/14 70→224", 9_324.0, 81.1),
        ("CLIPA-v2 H/14 84→224", 12_247.0, 81.5),
        ("CLIPA-v2 H/14 84→336", 13_613.0, 81.8),
        ("CLIPA-v2 G/14 84→224", 34_646.0, 82.7),
        ("CLIPA-v2 G/14 84→336", 39_056.0, 83.0),
        ("OpenCLIP H/14, LAION-2B", 247_864.0, 77.97),
        ("OpenCLIP bigG/14, LAION-2B", 366_105.0, 80.1),
        ("DataComp L/14", 47_434.0, 79.21),
    ]
    .into_iter()
    .map(|(label, cost, accuracy_percent)| PublishedPoint {
        label: label.to_owned(),
        paper: "a paper".to_owned(),
        cost_usd: usd(cost),
        accuracy_percent,
    })
    .collect()
}

/// Everything but runs.
pub(crate) fn planned_inputs() -> Inputs {
    Inputs {
        runs: Vec::new(),
        frontier: frontier(),
        frontier_context: "8 x A100-80GB at 12.60 USD an hour, DataComp-1B".to_owned(),
        published: published(),
        budgets: vec![usd(10_000.0), usd(14_000.0)],
        as_of: "Prices as of 1 January 2026".to_owned(),
        sources: vec![SourceNote { what: "Prices".to_owned(), source: "a catalogue".to_owned() }],
    }
}
