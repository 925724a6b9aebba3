//! The lines of `metrics.jsonl` and `eval.jsonl`, and files of JSON lines that survive crashes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

/// The newest `version` of these lines that this program reads and the one it writes.
pub const RECORDS_VERSION: u32 = 1;

/// One line of `metrics.jsonl`: how training stood after a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// Format version, [`RECORDS_VERSION`].
    pub version: u32,
    /// When, UTC.
    #[serde(serialize_with = "to_milliseconds")]
    pub time: DateTime<Utc>,
    /// Name of the stage.
    pub stage: String,
    /// Steps since the run began.
    pub step: u64,
    /// Steps since the stage began.
    pub stage_step: u64,
    /// Samples since the run began.
    pub samples_seen: u64,
    /// Contrastive loss of this step's batch, in nats. `null` if not finite.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Factor on the cosine similarities (exp of the learned parameter).
    #[serde(deserialize_with = "number_or_null")]
    pub logit_scale: f64,
    /// Norm of all gradients together, before clipping.
    #[serde(deserialize_with = "number_or_null")]
    pub grad_norm: f64,
    /// Training speed since the line before (steps only: no evaluation, no checkpoint).
    pub samples_per_second: f64,
    /// Spent so far by the clock.
    pub spend_usd: f64,
    /// Progress of the schedule that this step was trained at, 0 to 1; absent in lines of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_progress: Option<f64>,
}

/// One line of `replans.jsonl`: a stage was given fewer or more steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplanLine {
    /// Format version, [`RECORDS_VERSION`].
    pub version: u32,
    /// When, UTC.
    #[serde(serialize_with = "to_milliseconds")]
    pub time: DateTime<Utc>,
    /// What was changed, and why.
    #[serde(flatten)]
    pub replan: crate::run::Replan,
}

/// One line of `eval.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationLine {
    /// Format version, [`RECORDS_VERSION`].
    pub version: u32,
    /// When, UTC.
    #[serde(serialize_with = "to_milliseconds")]
    pub time: DateTime<Utc>,
    /// Name of the stage.
    pub stage: String,
    /// Steps since the run began.
    pub step: u64,
    /// Samples since the run began.
    pub samples_seen: u64,
    /// Name of the data.
    pub dataset: String,
    /// `zeroshot_classification`.
    pub task: String,
    /// Classes to choose from; chance is 1 / classes.
    pub classes: u64,
    /// Images classified.
    pub samples: u64,
    /// Side of the images in pixels, the stage's.
    pub image_size_px: u32,
    /// The results.
    pub metrics: Accuracy,
    /// Spent so far by the clock.
    pub spend_usd: f64,
    /// No training follows.
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// Zero-shot classification, named as `CLIP_benchmark` names it; fractions of 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The right class has the highest score.
    pub acc1: f64,
    /// The right class is among the five highest scores; `null` below five classes.
    pub acc5: Option<f64>,
    /// Mean over the classes of the fraction of their images that are found.
    pub mean_per_class_recall: f64,
}

fn to_milliseconds<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// JSON has no NaN: it is written as `null`.
fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Option::<f64>::deserialize(deserializer).map(|number| number.unwrap_or(f64::NAN))
}

/// A file of JSON lines that lines are added to. Opening it drops a line that a crash cut off; a line that
/// could not be written whole (full disk) is taken back.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl LineFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let contents = fs::read(path)?;
        let whole = contents.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at as u64 + 1);
        if whole < contents.len() as u64 {
            file.set_len(whole)?;
        }
        Ok(Self { path: path.to_owned(), file, bytes: whole })
    }

    pub(crate) fn append<T: Serialize>(&mut self, line: &T) -> io::Result<()> {
        let mut text = serde_json::to_string(line).map_err(io::Error::other)?;
        text.push('\n');
        self.append_text(&text)
    }

    pub(crate) fn append_text(&mut self, text: &str) -> io::Result<()> {
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            // Best effort: a torn line is dropped when the file is next opened.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += text.len() as u64;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The lines of a file that may still be written to: what is no whole line of this version is left out, a
/// missing file has none.
pub(crate) fn read_lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_the_lines_is_fixed() {
        let time = DateTime::from_timestamp(1_767_225_600, 0).expect("in range");
        let metrics = MetricsLine {
            version: 1,
            time,
            stage: "pretrain".into(),
            step: 10,
            stage_step: 10,
            samples_seen: 1280,
            loss: f64::NAN,
            learning_rate: 0.0005,
            logit_scale: 14.25,
            grad_norm: 1.5,
            samples_per_second: 410.0,
            spend_usd: 0.0004,
            schedule_progress: Some(0.125),
        };
        let text = serde_json::to_string(&metrics).expect("has a JSON form");
        assert_eq!(
            text,
            r#"{"version":1,"time":"2026-01-01T00:00:00.000Z","stage":"pretrain","step":10,"stage_step":10,"samples_seen":1280,"loss":null,"learning_rate":0.0005,"logit_scale":14.25,"grad_norm":1.5,"samples_per_second":410.0,"spend_usd":0.0004,"schedule_progress":0.125}"#
        );
        let read: MetricsLine = serde_json::from_str(&text).expect("is read back");
        assert!(read.loss.is_nan());
        let evaluation = EvaluationLine {
            version: 1,
            time,
            stage: "pretrain".into(),
            step: 120,
            samples_seen: 15360,
            dataset: "synthetic".into(),
            task: "zeroshot_classification".into(),
            classes: 24,
            samples: 480,
            image_size_px: 32,
            metrics: Accuracy { acc1: 0.5, acc5: Some(0.75), mean_per_class_recall: 0.5 },
            spend_usd: 0.004,
            is_final: false,
        };
        assert_eq!(
            serde_json::to_string(&evaluation).expect("has a JSON form"),
            r#"{"version":1,"time":"2026-01-01T00:00:00.000Z","stage":"pretrain","step":120,"samples_seen":15360,"dataset":"synthetic","task":"zeroshot_classification","classes":24,"samples":480,"image_size_px":32,"metrics":{"acc1":0.5,"acc5":0.75,"mean_per_class_recall":0.5},"spend_usd":0.004,"final":false}"#
        );
    }

    #[test]
    fn a_torn_line_is_dropped_before_the_next_is_added() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("lines.jsonl");
        fs::write(&path, "1\n2\n3").expect("writes");
        assert_eq!(read_lines::<u32>(&path).expect("reads"), [1, 2, 3]);
        let mut file = LineFile::open(&path).expect("opens");
        file.append(&4).expect("appends");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "1\n2\n4\n");
    }
}
