//! What a machine was measured to do; replaces the prior on its speed.

mod pictures;

use serde::{Deserialize, Serialize};

pub use self::pictures::{PictureFormat, PictureRow, StoredPictures};
use crate::source::Source;
use crate::spread::Spread;
use crate::units::Tokens;

/// The newest `version` of a calibration file that this program reads and the one it writes. Version 1 had neither
/// pictures nor checkpoints nor a day.
pub const CALIBRATION_VERSION: u32 = 2;

/// Measured speed of one machine (`calibration.toml`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Format version, [`CALIBRATION_VERSION`].
    pub version: u32,
    /// What was measured: processor or accelerator, number of cores.
    pub machine: String,
    /// Day of the measurement, `2026-11-25`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_on: Option<String>,
    /// Cores that train and read pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Bytes a second that a checkpoint is written at, until it is safe on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_bytes_per_second: Option<f64>,
    /// One row a measured shape; at least one.
    #[serde(rename = "row")]
    pub rows: Vec<CalibrationRow>,
    /// One row a measured kind of picture.
    #[serde(rename = "picture", default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<PictureRow>,
}

/// One measured shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationRow {
    /// Width of the image tower.
    pub width: u32,
    /// Patches per image that reach the transformer.
    pub image_tokens: Tokens,
    /// Text tokens.
    pub text_tokens: Tokens,
    /// Samples per step.
    pub batch: u32,
    /// Training samples a second, whole machine.
    pub samples_per_second: f64,
    /// Model FLOP/s of training, [`crate::compute::training_flops`] x `samples_per_second`, whole machine.
    pub flops_per_second: f64,
}

/// Why a calibration was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// Not TOML, an unknown field, a field of the wrong type.
    #[error("calibration, line {line}: {message}")]
    Syntax {
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// Written by a newer version of the program.
    #[error("calibration: version = {found}, but this program reads up to version {CALIBRATION_VERSION}")]
    Newer {
        /// The version found.
        found: u32,
    },
    /// Nothing measured.
    #[error("calibration: row = []: nothing was measured")]
    Empty,
    /// A figure that cannot have been measured.
    #[error("calibration: {field} = {value}: must be above zero and finite")]
    Value {
        /// Field, with the number of its row from 0: `row[0].batch`.
        field: String,
        /// Its value.
        value: f64,
    },
}

impl CalibrationError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Newer { .. } => "update shoestring, or measure again with this version".to_owned(),
            _ => "measure again: `shoestring calibrate`".to_owned(),
        })
    }
}

/// Spread of a speed that was measured at just this shape: other runs on the same machine come out within this
/// factor either way (other processes, other batch, longer steps).
const MEASURED_FACTOR: f64 = 1.15;
/// Each factor e in width or tokens between a shape and the nearest measured one widens the spread by this
/// factor: published speeds move about so much from one width to the next.
const FACTOR_PER_E: f64 = 1.25;

/// A rate at a place from those measured at others: their logarithms, weighted by the inverse square of the distance of
/// the places' logarithms (of numbers below 1: as 1); exact where it was measured, never outside what was. `None` without
/// any.
fn measured_rate(rows: impl Iterator<Item = ([f64; 2], f64)>, wanted: [f64; 2]) -> Option<Spread> {
    let logarithms = |place: [f64; 2]| place.map(|number| number.max(1.0).ln());
    let wanted = logarithms(wanted);
    let (mut weights, mut sum, mut nearest) = (0.0, 0.0, f64::INFINITY);
    for (place, rate) in rows {
        let here = logarithms(place);
        let distance = (here[0] - wanted[0]).hypot(here[1] - wanted[1]);
        // The offset keeps a measured place's weight finite; its neighbours' share there is below 1e-9.
        let weight = 1.0 / (distance * distance + 1e-10);
        weights += weight;
        sum += weight * rate.ln();
        nearest = nearest.min(distance);
    }
    if weights == 0.0 {
        return None;
    }
    let factor = MEASURED_FACTOR * FACTOR_PER_E.powf(nearest);
    Some(Spread::around((sum / weights).exp(), 1.0 / factor, factor))
}

fn possible(field: &str, value: f64) -> Result<(), CalibrationError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(CalibrationError::Value { field: field.to_owned(), value })
}

impl Calibration {
    /// Reads and checks a calibration file's text.
    pub fn read(text: &str) -> Result<Self, CalibrationError> {
        let syntax = |error: &toml::de::Error| CalibrationError::Syntax {
            line: error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1),
            message: error.message().replace('\n', ", "),
        };
        let table: toml::Table = toml::from_str(text).map_err(|error| syntax(&error))?;
        if let Some(found) = table.get("version").and_then(toml::Value::as_integer)
            && found > i64::from(CALIBRATION_VERSION)
        {
            return Err(CalibrationError::Newer { found: u32::try_from(found).unwrap_or(u32::MAX) });
        }
        let calibration: Self = toml::from_str(text).map_err(|error| syntax(&error))?;
        calibration.check()?;
        Ok(calibration)
    }

    /// Checks that something was measured and every figure is possible.
    pub fn check(&self) -> Result<(), CalibrationError> {
        if self.rows.is_empty() {
            return Err(CalibrationError::Empty);
        }
        for (index, row) in self.rows.iter().enumerate() {
            for (field, value) in [
                ("width", f64::from(row.width)),
                ("image_tokens", f64::from(row.image_tokens.0)),
                ("text_tokens", f64::from(row.text_tokens.0)),
                ("batch", f64::from(row.batch)),
                ("samples_per_second", row.samples_per_second),
                ("flops_per_second", row.flops_per_second),
            ] {
                possible(&format!("row[{index}].{field}"), value)?;
            }
        }
        for (index, row) in self.pictures.iter().enumerate() {
            for (field, value) in [
                ("stored_px", f64::from(row.stored_px)),
                ("image_size_px", f64::from(row.image_size_px)),
                ("per_second_per_core", row.per_second_per_core),
            ] {
                possible(&format!("picture[{index}].{field}"), value)?;
            }
        }
        for (field, value) in [
            ("cores", self.cores.map(f64::from)),
            ("checkpoint_bytes_per_second", self.checkpoint_bytes_per_second),
        ] {
            value.map_or(Ok(()), |value| possible(field, value))?;
        }
        Ok(())
    }

    /// What was measured and when, for a sentence.
    #[must_use]
    pub fn source(&self) -> Source {
        let day = self.measured_on.as_ref().map_or_else(String::new, |day| format!(", {day}"));
        Source::Measured { machine: format!("{}{day}", self.machine) }
    }

    /// Pictures a second that all cores together read, where that was measured.
    #[must_use]
    pub fn pictures_per_second(&self, stored: StoredPictures, image_size_px: u32) -> Option<Spread> {
        let cores = f64::from(self.cores?);
        let each = pictures::per_second_per_core(&self.pictures, stored, image_size_px)?;
        Some(each.map(|rate| rate * cores))
    }

    /// The file's text.
    pub fn write(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Model FLOP/s of the whole machine at a shape, from those measured near it in width and all tokens
    /// ([`measured_rate`]). `None` without rows.
    #[must_use]
    pub fn flops_per_second(&self, width: u32, image_tokens: Tokens, text_tokens: Tokens) -> Option<Spread> {
        let at = |width: u32, image: Tokens, text: Tokens| [f64::from(width), f64::from(image.0 + text.0)];
        let rows = self
            .rows
            .iter()
            .map(|row| (at(row.width, row.image_tokens, row.text_tokens), row.flops_per_second));
        measured_rate(rows, at(width, image_tokens, text_tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(width: u32, image_tokens: u32, flops_per_second: f64) -> CalibrationRow {
        CalibrationRow {
            width,
            image_tokens: Tokens(image_tokens),
            text_tokens: Tokens(8),
            batch: 64,
            samples_per_second: 100.0,
            flops_per_second,
        }
    }

    fn calibration(rows: Vec<CalibrationRow>) -> Calibration {
        Calibration {
            version: CALIBRATION_VERSION,
            machine: "two cores".to_owned(),
            measured_on: Some("2026-11-25".to_owned()),
            cores: Some(2),
            checkpoint_bytes_per_second: Some(4e8),
            rows,
            pictures: vec![PictureRow {
                format: PictureFormat::Png,
                stored_px: 64,
                image_size_px: 32,
                per_second_per_core: 5_000.0,
            }],
        }
    }

    #[test]
    fn measured_shapes_come_back_and_others_lie_between() {
        let measured = calibration(vec![row(64, 16, 2e10), row(256, 64, 8e10)]);
        let at = |width, tokens| measured.flops_per_second(width, Tokens(tokens), Tokens(8)).expect("rows");
        assert!((at(64, 16).p50 / 2e10 - 1.0).abs() < 1e-6);
        assert!((at(256, 64).p50 / 8e10 - 1.0).abs() < 1e-6);
        let between = at(128, 32);
        assert!(between.p50 > 2e10 && between.p50 < 8e10, "{between:?}");
        assert!(between.p90 / between.p10 > at(64, 16).p90 / at(64, 16).p10, "farther is less certain");
        assert!(calibration(vec![]).flops_per_second(64, Tokens(16), Tokens(8)).is_none());
    }

    #[test]
    fn files_survive_a_round_trip_and_bad_ones_are_named() {
        let measured = calibration(vec![row(64, 16, 2e10)]);
        let text = measured.write().expect("text");
        assert_eq!(Calibration::read(&text), Ok(measured));
        assert_eq!(
            Calibration::read(&text.replace("version = 2", "version = 9")),
            Err(CalibrationError::Newer { found: 9 })
        );
        let error = Calibration::read(&text.replace("batch = 64", "batch = 0")).expect_err("no batch");
        assert_eq!(error.to_string(), "calibration: row[0].batch = 0: must be above zero and finite");
        let error = Calibration::read(&text.replace("batch", "bach")).expect_err("no such field");
        assert!(matches!(error, CalibrationError::Syntax { line, .. } if line > 5), "{error}");
        let error = Calibration::read(&text.replace("= 5000.0", "= -1.0")).expect_err("a negative rate");
        assert_eq!(
            error.to_string(),
            "calibration: picture[0].per_second_per_core = -1: must be above zero and finite"
        );
        assert_eq!(
            Calibration::read("version = 1\nmachine = \"x\"\nrow = []\n"),
            Err(CalibrationError::Empty)
        );
    }

    #[test]
    fn files_of_the_first_version_stay_readable() {
        let text = "version = 1\nmachine = \"two cores\"\n\n[[row]]\nwidth = 64\nimage_tokens = 16\ntext_tokens = 8\n\
                    batch = 128\nsamples_per_second = 4743.0\nflops_per_second = 2e10\n";
        let read = Calibration::read(text).expect("reads");
        assert_eq!((read.rows.len(), read.cores, read.pictures.len()), (1, None, 0));
        let stored = StoredPictures { format: PictureFormat::Png, side_px: 64 };
        assert_eq!(read.pictures_per_second(stored, 32), None);
    }
}
