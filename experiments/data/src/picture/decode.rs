//! From the bytes of a JPEG, PNG or WebP file to red, green, blue.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use shoestring_planner::recipe::ImagePreparation;

use super::Rgb;
use super::jpeg::decode_smaller;
use super::resize::{View, resize_window};
use crate::guard::guarded;

/// Pictures of more pixels are refused before anything is allocated for them: 64 megapixels.
pub const MAX_PIXELS: u64 = 64_000_000;
/// Files of more bytes are refused before they are read: 256 MiB.
pub const MAX_BYTES: u64 = 256 << 20;

/// Why a picture was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More pixels than [`MAX_PIXELS`].
    #[error("{width} x {height} pixels, more than {} megapixels", MAX_PIXELS / 1_000_000)]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Not a picture that can be decoded.
    #[error("{0}")]
    Broken(String),
}

/// Decodes JPEG (grey, colour, CMYK), PNG (any depth, palette, alpha) or WebP, whatever the file was called.
/// Transparent parts show white.
pub fn decode(bytes: &[u8]) -> Result<Rgb, DecodeError> {
    // Decoders of damaged files have panicked before; one picture must not end a run.
    guarded(|| decode_unguarded(bytes))
        .unwrap_or_else(|| Err(DecodeError::Broken("the decoder failed".to_owned())))
}

/// Decodes a picture and resizes what `choose` wants of it (told width and height) to a normalised square of
/// `size_px`, as [`super::resize_view`]. A JPEG of which much more is there than is needed is decoded at a half,
/// a quarter or an eighth of its size, by leaving out the high frequencies.
pub fn decode_view(
    bytes: &[u8],
    choose: impl FnOnce(u32, u32) -> View,
    size_px: u32,
    how: ImagePreparation,
    out: &mut [f32],
) -> Result<(), DecodeError> {
    let shape = jpeg_shape(bytes);
    if let Some((width, height)) = shape.filter(|&(width, height)| allowed(width, height).is_ok()) {
        let view = choose(width, height);
        let window = view.window(width, height, size_px);
        let scale = SCALES.into_iter().find(|&scale| window.shrinks_by(size_px) >= SPARE * f64::from(scale));
        if scale.is_some() {
            refuse_cut_off_jpeg(bytes)?;
        }
        let smaller = scale.and_then(|scale| Some((scale, decode_smaller(bytes, scale)?)));
        if let Some((scale, picture)) = smaller {
            resize_window(&picture, window.scaled(scale, &picture), size_px, how, out);
            return Ok(());
        }
        let picture = decode(bytes)?;
        // A window that was chosen by the first of two headers need not lie in the picture of the other.
        if (picture.width, picture.height) != (width, height) {
            return Err(DecodeError::Broken("the JPEG file has two sizes".to_owned()));
        }
        resize_window(&picture, window, size_px, how, out);
        return Ok(());
    }
    let picture = decode(bytes)?;
    let window = choose(picture.width, picture.height).window(picture.width, picture.height, size_px);
    resize_window(&picture, window, size_px, how, out);
    Ok(())
}

/// What the sides of a JPEG can be divided by while it is decoded.
const SCALES: [u32; 3] = [8, 4, 2];
/// Pixels that must be left for each of the square's. Fewer would show: the filter of the resizing is wider.
const SPARE: f64 = 1.5;

/// Width and height of a JPEG, from its frame header; `None`: not a JPEG, or damaged.
#[must_use]
pub fn jpeg_shape(bytes: &[u8]) -> Option<(u32, u32)> {
    if bytes.get(..2)? != [0xff, 0xd8] {
        return None;
    }
    let mut at = 2;
    loop {
        let (&mark, &kind) = (bytes.get(at)?, bytes.get(at + 1)?);
        match (mark, kind) {
            (0xff, 0xff) => at += 1,
            (0xff, 0x01 | 0xd0..=0xd8) => at += 2,
            // All frame headers; c4, c8 and cc are tables.
            (0xff, 0xc0..=0xcf) if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => {
                let side = |offset: usize| {
                    let pair = bytes.get(at + offset..at + offset + 2)?;
                    Some(u32::from(u16::from_be_bytes([pair[0], pair[1]])))
                };
                let (height, width) = (side(5)?, side(7)?);
                return (width > 0 && height > 0).then_some((width, height));
            }
            (0xff, 0xd9 | 0xda) => return None,
            (0xff, _) => {
                let length = bytes.get(at + 2..at + 4)?;
                at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            }
            _ => return None,
        }
    }
}

fn allowed(width: u32, height: u32) -> Result<(), DecodeError> {
    match u64::from(width) * u64::from(height) {
        0 => Err(DecodeError::Broken(format!("{width} x {height} pixels"))),
        pixels if pixels > MAX_PIXELS => Err(DecodeError::TooLarge { width, height }),
        _ => Ok(()),
    }
}

fn decode_unguarded(bytes: &[u8]) -> Result<Rgb, DecodeError> {
    let broken = |error: image::ImageError| DecodeError::Broken(error.to_string());
    let format = image::guess_format(bytes).ok();
    match format {
        Some(ImageFormat::Jpeg) => refuse_cut_off_jpeg(bytes)?,
        Some(ImageFormat::Png | ImageFormat::WebP) => {}
        _ => return Err(DecodeError::Broken("not a JPEG, PNG or WebP file".to_owned())),
    }
    let mut reader = ImageReader::new(Cursor::new(bytes));
    if let Some(format) = format {
        reader.set_format(format);
    }
    reader.no_limits();
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    allowed(width, height)?;
    let mut limits = Limits::no_limits();
    // 16-bit colour with alpha takes 8 bytes a pixel; as much again for the decoder's own buffers.
    limits.max_alloc = Some(16 * MAX_PIXELS);
    decoder.set_limits(limits).map_err(broken)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let pixels = match picture {
        DynamicImage::ImageRgb8(buffer) => buffer.into_raw(),
        DynamicImage::ImageLuma8(buffer) => {
            buffer.into_raw().into_iter().flat_map(|grey| [grey; 3]).collect()
        }
        other if other.color().has_alpha() => over_white(&other.into_rgba8().into_raw()),
        other => other.into_rgb8().into_raw(),
    };
    Ok(Rgb { width, height, pixels })
}

fn over_white(rgba: &[u8]) -> Vec<u8> {
    let blended = rgba.chunks_exact(4).flat_map(|pixel| {
        let alpha = u32::from(pixel[3]);
        let blend = |colour: u8| ((u32::from(colour) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        [blend(pixel[0]), blend(pixel[1]), blend(pixel[2])]
    });
    blended.collect()
}

/// The decoder fills what is missing of a cut-off JPEG with grey. Half a picture with the whole caption is
/// noise, so the end marker must be there.
fn refuse_cut_off_jpeg(bytes: &[u8]) -> Result<(), DecodeError> {
    let cut_off = || DecodeError::Broken("the JPEG file is cut off".to_owned());
    // Segments before the scan are skipped by their length: a preview in one has an end marker of its own.
    let mut at = 2;
    loop {
        let (Some(&mark), Some(&kind)) = (bytes.get(at), bytes.get(at + 1)) else { return Err(cut_off()) };
        if mark != 0xff {
            return Err(DecodeError::Broken("no JPEG marker where one must be".to_owned()));
        }
        match kind {
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            0xd9 => return Err(DecodeError::Broken("the JPEG file holds no picture".to_owned())),
            0xda => break,
            _ => {
                let (Some(&high), Some(&low)) = (bytes.get(at + 2), bytes.get(at + 3)) else {
                    return Err(cut_off());
                };
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
    // Inside a scan 0xff is always followed by 0 or a restart marker, so this is the end marker.
    let ends = bytes[at..].windows(2).rev().any(|pair| pair == [0xff, 0xd9]);
    if ends { Ok(()) } else { Err(cut_off()) }
}
