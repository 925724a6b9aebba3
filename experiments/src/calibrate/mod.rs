//! Measures this machine, for plans that run on it: training steps, reading pictures, writing checkpoints.

mod disk;
mod pictures;
mod training;

use std::path::Path;
use std::thread::available_parallelism;

use shoestring_data::DataError;
use shoestring_durable::WriteError;
use shoestring_engine::EngineError;
use shoestring_planner::calibration::{CALIBRATION_VERSION, Calibration};

/// Part of the time that training steps get; pictures get the rest.
const TRAINING_SHARE: f64 = 0.8;

/// What is being measured, for whoever shows progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measuring {
    /// Measurements that are done.
    pub done: usize,
    /// Measurements in all.
    pub total: usize,
    /// What is measured next.
    pub what: String,
}

/// Why a machine could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// A step failed.
    #[error(transparent)]
    Training(#[from] EngineError),
    /// A picture could not be read.
    #[error(transparent)]
    Pictures(#[from] DataError),
    /// Nothing can be written where the result is to go.
    #[error(transparent)]
    Disk(#[from] WriteError),
}

impl CalibrateError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Training(error) => error.hint(),
            Self::Pictures(error) => error.hint(),
            Self::Disk(error) => error.hint(),
        }
    }
}

/// Trains small models on random data and reads pictures for about `seconds` in all (at least a few steps and pictures
/// each), and writes a file to `folder` as checkpoints are. `today` is the day, `2026-11-25`.
pub fn measure(
    seconds: f64,
    folder: &Path,
    today: &str,
    progress: &mut dyn FnMut(Measuring),
) -> Result<Calibration, CalibrateError> {
    measure_these(&training::SHAPES, &pictures::KINDS, seconds, (folder, today), progress)
}

fn measure_these(
    shapes: &[training::Shape],
    kinds: &[pictures::Kind],
    seconds: f64,
    (folder, today): (&Path, &str),
    progress: &mut dyn FnMut(Measuring),
) -> Result<Calibration, CalibrateError> {
    let total = shapes.len() + kinds.len() + 1;
    let mut done = 0;
    let mut next = |what: String| {
        progress(Measuring { done, total, what });
        done += 1;
    };
    let each = TRAINING_SHARE * seconds.max(0.0) / shapes.len().max(1) as f64;
    let mut rows = Vec::with_capacity(shapes.len());
    for shape in shapes {
        next(format!("training, width {} at {} px", shape.width, shape.image_size_px));
        rows.push(training::measured(shape, each)?);
    }
    let each = (1.0 - TRAINING_SHARE) * seconds.max(0.0) / kinds.len().max(1) as f64;
    let mut pictures = Vec::with_capacity(kinds.len());
    for kind in kinds {
        next(format!("reading, {} of {} px", kind.format.word(), kind.stored_px));
        pictures.push(pictures::measured(kind, each)?);
    }
    next("writing a checkpoint".to_owned());
    let checkpoint_bytes_per_second = Some(disk::bytes_per_second(folder)?);
    let cores = available_parallelism().map_or(1, usize::from);
    Ok(Calibration {
        version: CALIBRATION_VERSION,
        machine: machine(cores),
        measured_on: Some(today.to_owned()),
        cores: u32::try_from(cores).ok(),
        checkpoint_bytes_per_second,
        rows,
        pictures,
    })
}

/// Processor and threads, in words.
fn machine(cores: usize) -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    format!("{}, {cores} threads", model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_measured_and_can_be_written_and_read() {
        let shape = training::Shape { width: 32, image_size_px: 16, text_tokens: 4, batch: 8 };
        let folder = tempfile::tempdir().expect("a folder");
        let mut seen = Vec::new();
        let place = (folder.path(), "2026-11-25");
        let measured = measure_these(&[shape], &pictures::KINDS[..2], 0.0, place, &mut |measuring| {
            seen.push(measuring.done)
        })
        .expect("measures");
        assert_eq!(seen, [0, 1, 2, 3]);
        measured.check().expect("every figure is possible");
        assert_eq!((measured.rows.len(), measured.pictures.len()), (1, 2));
        assert!(measured.cores.is_some() && measured.checkpoint_bytes_per_second.is_some());
        let text = measured.write().expect("text");
        assert_eq!(Calibration::read(&text), Ok(measured));
    }
}
