//! How fast one core turns stored pictures into what a training step reads.

use std::io::{self, Cursor};
use std::time::{Duration, Instant};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use shoestring_data::DataError;
use shoestring_data::picture::{Rgb, View, decode_view, random_resized_crop, resize_view};
use shoestring_data::streams::{CROP, Stream, TEXT};
use shoestring_data::synth::{Pair, Synth};
use shoestring_data::text::{Tokenizer, reduce};
use shoestring_planner::calibration::{PictureFormat, PictureRow};
use shoestring_planner::recipe::{ImagePreparation, TextReduction};

/// A kind of stored picture and the side that it is read at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) format: PictureFormat,
    pub(super) stored_px: u32,
    pub(super) image_size_px: u32,
}

const fn kind(format: PictureFormat, stored_px: u32, image_size_px: u32) -> Kind {
    Kind { format, stored_px, image_size_px }
}

/// What is measured: pictures as `data synth` and as `img2dataset` store them, at short and at full lengths.
pub(super) const KINDS: [Kind; 8] = [
    kind(PictureFormat::Png, 64, 32),
    kind(PictureFormat::Png, 64, 64),
    kind(PictureFormat::Png, 256, 112),
    kind(PictureFormat::Jpeg, 128, 64),
    kind(PictureFormat::Jpeg, 256, 112),
    kind(PictureFormat::Jpeg, 256, 224),
    kind(PictureFormat::Drawn, 64, 32),
    kind(PictureFormat::Drawn, 64, 64),
];

/// The smallest crop, as CLIPA takes it.
const LEAST_CROP: f64 = 0.4;
/// Different pictures of a kind.
const PICTURES: u64 = 32;
/// Tokens that captions are cut to.
const TEXT_TOKENS: usize = 16;
/// What JPEG loses is invisible at this quality, which `img2dataset` writes by default.
const JPEG_QUALITY: u8 = 95;
/// Grain of the pictures that become JPEGs, in steps of 255 either way: drawings are flat, and flat pictures decode
/// faster than photographs.
const GRAIN: i16 = 12;

/// A stored picture with its caption.
struct Stored {
    bytes: Vec<u8>,
    caption: String,
}

/// Reads pictures of a kind for about `seconds` (each at least once): decoding, crop, resizing, normalising, and the
/// caption's tokens, as the loader does.
pub(super) fn measured(kind: &Kind, seconds: f64) -> Result<PictureRow, DataError> {
    let synth = Synth::new(0, kind.stored_px)?;
    let stored = match kind.format {
        PictureFormat::Drawn => Vec::new(),
        format => (0..PICTURES).map(|index| store(synth.pair(index), format)).collect::<Result<_, _>>()?,
    };
    let side = kind.image_size_px as usize;
    let (mut pixels, mut ids) = (vec![0f32; 3 * side * side], vec![0u32; TEXT_TOKENS]);
    let mut read = |number: u64| -> Result<(), DataError> {
        let index = number % PICTURES;
        let how = ImagePreparation::default();
        let drawn;
        let caption = match stored.get(index as usize) {
            None => {
                drawn = synth.pair(number);
                resize_view(&drawn.picture, View::Squash, kind.image_size_px, how, &mut pixels);
                &drawn.caption
            }
            Some(stored) => {
                let choose = |width, height| {
                    let mut stream = Stream::new(0, CROP, number);
                    View::Region(random_resized_crop(width, height, LEAST_CROP, &mut stream))
                };
                decode_view(&stored.bytes, choose, kind.image_size_px, how, &mut pixels)
                    .map_err(|error| unusable(&error.to_string()))?;
                &stored.caption
            }
        };
        let mut stream = Stream::new(0, TEXT, number);
        reduce(Tokenizer::shared(), caption, TextReduction::Truncate, &mut stream, &mut ids)
    };
    // The tokenizer's table and the caches.
    (0..PICTURES).try_for_each(&mut read)?;
    let (start, wanted) = (Instant::now(), Duration::from_secs_f64(seconds.max(0.0)));
    let mut count = 0u64;
    while count < PICTURES || start.elapsed() < wanted {
        read(count)?;
        count += 1;
    }
    let per_second_per_core = count as f64 / start.elapsed().as_secs_f64().max(1e-9);
    let &Kind { format, stored_px, image_size_px } = kind;
    Ok(PictureRow { format, stored_px, image_size_px, per_second_per_core })
}

fn unusable(problem: &str) -> DataError {
    DataError::Value {
        field: "picture",
        value: "drawn for the measurement".to_owned(),
        problem: problem.to_owned(),
        hint: "this is a fault of the program".to_owned(),
    }
}

fn store(pair: Pair, format: PictureFormat) -> Result<Stored, DataError> {
    let mut picture = pair.picture;
    if format == PictureFormat::Jpeg {
        grain(&mut picture);
    }
    let bytes = encoded(&picture, format).map_err(|error| unusable(&error.to_string()))?;
    Ok(Stored { bytes, caption: pair.caption })
}

/// A fixed pattern of bright and dark over neighbouring pixels.
fn grain(picture: &mut Rgb) {
    let mut state = 0x9e37_79b9_u32;
    for pixel in picture.pixels.chunks_exact_mut(3) {
        // xorshift32: only to be rough.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let change = (state % (2 * GRAIN as u32 + 1)) as i16 - GRAIN;
        for value in pixel {
            *value = (i16::from(*value) + change).clamp(0, 255) as u8;
        }
    }
}

fn encoded(picture: &Rgb, format: PictureFormat) -> io::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let (pixels, kind) = (&picture.pixels, ExtendedColorType::Rgb8);
    match format {
        PictureFormat::Jpeg => JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).write_image(
            pixels,
            picture.width,
            picture.height,
            kind,
        ),
        PictureFormat::Png | PictureFormat::Drawn => PngEncoder::new_with_quality(
            &mut bytes,
            CompressionType::Fast,
            FilterType::Adaptive,
        )
        .write_image(pixels, picture.width, picture.height, kind),
    }
    .map_err(io::Error::other)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_stored_and_read_back() {
        for kind in &KINDS {
            let row = measured(kind, 0.0).expect("reads");
            assert!(row.per_second_per_core > 0.0, "{row:?}");
            assert_eq!((row.stored_px, row.image_size_px), (kind.stored_px, kind.image_size_px));
        }
    }

    #[test]
    fn grain_makes_a_jpeg_as_large_as_a_photograph() {
        let synth = Synth::new(0, 256).expect("a generator");
        let flat = encoded(&synth.pair(0).picture, PictureFormat::Jpeg).expect("bytes");
        let rough = store(synth.pair(0), PictureFormat::Jpeg).expect("stored").bytes;
        let bits = 8.0 * rough.len() as f64 / (256.0 * 256.0);
        assert!(rough.len() > flat.len() && (1.0..8.0).contains(&bits), "{bits} bits a pixel");
    }
}
