//! How fast a core turns stored pictures into what a training step reads.

use serde::{Deserialize, Serialize};

use super::measured_rate;
use crate::spread::Spread;

/// How a picture is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureFormat {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// Not stored: drawn by the generator whenever it is read.
    Drawn,
}

impl PictureFormat {
    /// `JPEG`, `PNG`, `drawn`: for a sentence.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Drawn => "drawn",
        }
    }
}

/// Pictures as they lie on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredPictures {
    /// Their format.
    pub format: PictureFormat,
    /// Side of a square with as many pixels as they have.
    pub side_px: u32,
}

/// Measured reading of one kind of picture: from its bytes to cropped, resized, normalised pixels and token ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureRow {
    /// How they were stored.
    pub format: PictureFormat,
    /// Side of the stored pictures in pixels.
    pub stored_px: u32,
    /// Side that they were resized to, in pixels.
    pub image_size_px: u32,
    /// Pictures a second of one core.
    pub per_second_per_core: f64,
}

/// Pictures a second that one core reads, from those measured near it in stored side and side, of the same format
/// ([`measured_rate`]). `None` without a row of this format.
pub(super) fn per_second_per_core(
    rows: &[PictureRow],
    stored: StoredPictures,
    image_size_px: u32,
) -> Option<Spread> {
    let at = |stored: u32, image: u32| [f64::from(stored), f64::from(image)];
    let rows = rows
        .iter()
        .filter(|row| row.format == stored.format)
        .map(|row| (at(row.stored_px, row.image_size_px), row.per_second_per_core));
    measured_rate(rows, at(stored.side_px, image_size_px))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(format: PictureFormat, stored_px: u32, image_size_px: u32, rate: f64) -> PictureRow {
        PictureRow { format, stored_px, image_size_px, per_second_per_core: rate }
    }

    #[test]
    fn measured_kinds_come_back_and_others_lie_between() {
        let rows = [
            row(PictureFormat::Png, 64, 32, 9_000.0),
            row(PictureFormat::Png, 256, 32, 800.0),
            row(PictureFormat::Jpeg, 256, 224, 300.0),
        ];
        let at =
            |format, side_px, image| per_second_per_core(&rows, StoredPictures { format, side_px }, image);
        let exact = at(PictureFormat::Png, 64, 32).expect("measured");
        assert!((exact.p50 / 9_000.0 - 1.0).abs() < 1e-6 && exact.p10 < exact.p50);
        let between = at(PictureFormat::Png, 128, 32).expect("near");
        assert!(between.p50 > 800.0 && between.p50 < 9_000.0, "{between:?}");
        assert!(between.p90 / between.p10 > exact.p90 / exact.p10, "farther is less certain");
        assert!((at(PictureFormat::Jpeg, 64, 64).expect("one row").p50 / 300.0 - 1.0).abs() < 1e-9);
        assert_eq!(at(PictureFormat::Drawn, 64, 32), None);
    }
}
