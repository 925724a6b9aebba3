//! TensorBoard's event files, written beside the metrics: scalars under `open_clip`'s names, over steps.
//!
//! A file is a sequence of records: length (8 bytes, little-endian), its masked CRC-32C, that many bytes, and
//! their masked CRC-32C. The bytes are an `Event` in protocol buffers, of which four fields are needed here
//! (tensorflow's
//! `event.proto` and `summary.proto`; `record_writer.cc`).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::records::{EvaluationLine, MetricsLine};

/// What the first record of a file says.
const FILE_VERSION: &str = "brain.Event:2";

/// Event files of one process. Writing them is a service: when it fails it ends, and says so once.
#[derive(Debug, Default)]
pub(crate) struct Events {
    file: Option<(PathBuf, File)>,
}

impl Events {
    /// A new file in `folder`, named so that it sorts after those of the processes before. Returns also what
    /// went wrong, if something did.
    pub(crate) fn open(folder: &Path, now: DateTime<Utc>) -> (Self, Option<String>) {
        let name = format!("events.out.tfevents.{}.{}", now.timestamp_millis(), std::process::id());
        let path = folder.join(name);
        let begin = || -> io::Result<File> {
            fs::create_dir_all(folder)?;
            let mut file = File::create(&path)?;
            let mut event = Message::default();
            event.double(1, seconds(now));
            event.bytes(3, FILE_VERSION.as_bytes());
            file.write_all(&record(&event.0))?;
            Ok(file)
        };
        match begin() {
            Ok(file) => (Self { file: Some((path, file)) }, None),
            Err(error) => {
                (Self::default(), Some(format!("no TensorBoard events: {}: {error}", path.display())))
            }
        }
    }

    /// A line of `metrics.jsonl`.
    pub(crate) fn metrics(&mut self, line: &MetricsLine) -> Option<String> {
        let scalars = [
            ("train/loss", line.loss),
            ("train/lr", line.learning_rate),
            ("train/scale", line.logit_scale),
            ("train/grad_norm", line.grad_norm),
            ("train/samples_per_second", line.samples_per_second),
            ("train/samples_seen", line.samples_seen as f64),
            ("spend/usd", line.spend_usd),
        ];
        self.scalars(line.time, line.step, &scalars)
    }

    /// A line of `eval.jsonl`.
    pub(crate) fn evaluation(&mut self, line: &EvaluationLine) -> Option<String> {
        let scalars = [
            ("val/zeroshot-top1", line.metrics.acc1),
            ("val/zeroshot-top5", line.metrics.acc5.unwrap_or(f64::NAN)),
            ("val/mean-per-class-recall", line.metrics.mean_per_class_recall),
        ];
        self.scalars(line.time, line.step, &scalars)
    }

    /// Scalars that are not finite are left out: TensorBoard would draw nothing for them, and warn.
    fn scalars(&mut self, time: DateTime<Utc>, step: u64, scalars: &[(&str, f64)]) -> Option<String> {
        let (path, file) = self.file.as_mut()?;
        let mut summary = Message::default();
        for (tag, value) in scalars.iter().filter(|(_, value)| value.is_finite()) {
            let mut one = Message::default();
            one.bytes(1, tag.as_bytes());
            one.float(2, *value as f32);
            summary.bytes(1, &one.0);
        }
        let mut event = Message::default();
        event.double(1, seconds(time));
        event.varint(2, step);
        event.bytes(5, &summary.0);
        let error = file.write_all(&record(&event.0)).err()?;
        let told = format!("no more TensorBoard events: {}: {error}", path.display());
        self.file = None;
        Some(told)
    }
}

fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_micros() as f64 / 1e6
}

/// A protocol-buffer message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.number(field << 3 | kind);
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.number(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.number(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked(data).to_le_bytes());
    out
}

/// A checksum of data that contain checksums is no good one, so it is turned and shifted.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: records are short.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            let feedback = if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
            sum >> 1 ^ feedback
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4, and the check value of the polynomial.
    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_record_is_length_sums_and_bytes() {
        let mut event = Message::default();
        event.double(1, 1.5);
        event.varint(2, 300);
        event.bytes(5, b"ab");
        let expected = [0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10, 0xac, 0x02, 0x2a, 0x02, b'a', b'b'];
        assert_eq!(event.0, expected);
        let record = record(&event.0);
        assert_eq!(record.len(), 16 + expected.len());
        assert_eq!(record[..8], 16u64.to_le_bytes());
        assert_eq!(record[12..28], expected);
        assert_eq!(record[8..12], masked(&16u64.to_le_bytes()).to_le_bytes());
    }

    #[test]
    fn a_full_disk_ends_the_events_and_not_the_run() {
        let (mut events, told) = Events::open(Path::new("/dev/null/nowhere"), Utc::now());
        assert!(told.expect("says so").contains("no TensorBoard events"));
        assert_eq!(events.scalars(Utc::now(), 1, &[("a", 1.0)]), None);
    }
}
