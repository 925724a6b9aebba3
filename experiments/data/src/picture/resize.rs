//! From a region of a picture to a normalised square, antialiased, as Pillow does it.

use std::cell::RefCell;

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use shoestring_planner::recipe::{ImagePreparation, Interpolation, Normalisation};

use super::Rgb;
use crate::streams::Stream;

/// Mean and standard deviation of red, green, blue in [0, 1].
#[must_use]
pub fn mean_std(normalisation: Normalisation) -> ([f32; 3], [f32; 3]) {
    match normalisation {
        Normalisation::Imagenet => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        Normalisation::Openai => {
            ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1])
        }
        Normalisation::Inception => ([0.5; 3], [0.5; 3]),
    }
}

/// A rectangle of a picture, in pixels; inside it and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Left edge.
    pub left: u32,
    /// Top edge.
    pub top: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Region {
    /// All of a picture.
    #[must_use]
    pub fn whole(picture: &Rgb) -> Self {
        Self { left: 0, top: 0, width: picture.width, height: picture.height }
    }
}

/// The crop in training: from the fraction `least` (CLIPA: 0.4) to all of the area, width over height 3/4 to 4/3 (log-uniform); after ten
/// tries that do not fit, the largest centred region of an allowed ratio. (Torchvision's algorithm.)
pub fn random_resized_crop(width: u32, height: u32, least: f64, stream: &mut Stream) -> Region {
    let (lowest, highest) = (3.0f64 / 4.0, 4.0f64 / 3.0);
    let area = f64::from(width) * f64::from(height);
    for _ in 0..10 {
        let target = area * (least + (1.0 - least) * stream.unit());
        let ratio = (lowest.ln() + (highest.ln() - lowest.ln()) * stream.unit()).exp();
        let (wide, high) = ((target * ratio).sqrt().round() as u32, (target / ratio).sqrt().round() as u32);
        if (1..=width).contains(&wide) && (1..=height).contains(&high) {
            let (left, top) = (stream.below(width - wide + 1), stream.below(height - high + 1));
            return Region { left, top, width: wide, height: high };
        }
    }
    let ratio = f64::from(width) / f64::from(height);
    let (wide, high) = if ratio < lowest {
        (width, (f64::from(width) / lowest).round() as u32)
    } else if ratio > highest {
        ((f64::from(height) * highest).round() as u32, height)
    } else {
        (width, height)
    };
    let (wide, high) = (wide.clamp(1, width), high.clamp(1, height));
    Region { left: (width - wide) / 2, top: (height - high) / 2, width: wide, height: high }
}

/// What of a picture becomes the square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All of it; the aspect ratio is not kept (CLIPA's "squash").
    Squash,
    /// The shorter side becomes the square's, and the middle of the longer one is kept.
    Centre,
    /// A region; nothing outside it has any part in the square.
    Region(Region),
}

/// Where the square comes from, in pixels of a picture that may be a smaller version of the original.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    /// Whole pixels around it outside of which nothing may be read.
    cut: Option<Region>,
}

impl View {
    /// The window of a picture of this size. Rounds as torchvision's `Resize` and `CenterCrop` do.
    pub(super) fn window(self, width: u32, height: u32, size_px: u32) -> Window {
        let (wide, high) = (f64::from(width), f64::from(height));
        match self {
            Self::Squash => Window { left: 0.0, top: 0.0, width: wide, height: high, cut: None },
            Self::Centre => {
                let size = f64::from(size_px);
                let longer = (size * wide.max(high) / wide.min(high)).floor().max(size);
                let (across, down) = if width <= height { (size, longer) } else { (longer, size) };
                // Python's `round`: halves to even.
                let skipped = |all: f64| ((all - size) / 2.0).round_ties_even();
                Window {
                    left: skipped(across) * wide / across,
                    top: skipped(down) * high / down,
                    width: size * wide / across,
                    height: size * high / down,
                    cut: None,
                }
            }
            Self::Region(region) => Window {
                left: f64::from(region.left),
                top: f64::from(region.top),
                width: f64::from(region.width),
                height: f64::from(region.height),
                cut: Some(region),
            },
        }
    }
}

impl Window {
    /// Pixels of the window for each of the square's, along the side where there are fewer.
    pub(super) fn shrinks_by(&self, size_px: u32) -> f64 {
        self.width.min(self.height) / f64::from(size_px)
    }

    /// The same window in a version of the picture that is 1/`scale` of its size, rounded up.
    pub(super) fn scaled(&self, scale: u32, smaller: &Rgb) -> Self {
        let factor = 1.0 / f64::from(scale);
        // Pixels on the edge belong to the region in part; beyond them nothing is read.
        let pixels = |start: u32, length: u32, all: u32| {
            let first = start / scale;
            (first, (start + length).div_ceil(scale).min(all) - first)
        };
        Self {
            left: self.left * factor,
            top: self.top * factor,
            width: self.width * factor,
            height: self.height * factor,
            cut: self.cut.map(|cut| {
                let (left, width) = pixels(cut.left, cut.width, smaller.width);
                let (top, height) = pixels(cut.top, cut.height, smaller.height);
                Region { left, top, width, height }
            }),
        }
    }
}

thread_local! {
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// Resizes what a view shows to a square of `size_px` and normalises:
/// `out[c][y][x] = (value / 255 - mean[c]) / std[c]`, `3 * size_px * size_px` numbers.
///
/// # Panics
/// When `out` is not `3 * size_px * size_px` long or a region is not inside the picture.
pub fn resize_view(picture: &Rgb, view: View, size_px: u32, how: ImagePreparation, out: &mut [f32]) {
    resize_window(picture, view.window(picture.width, picture.height, size_px), size_px, how, out);
}

pub(super) fn resize_window(
    picture: &Rgb,
    window: Window,
    size_px: u32,
    how: ImagePreparation,
    out: &mut [f32],
) {
    let size = size_px as usize;
    assert_eq!(out.len(), 3 * size * size, "three planes of size_px x size_px");
    let small = resized(picture, window, size_px, size_px, how.interpolation);
    let (mean, std) = mean_std(how.normalisation);
    for (channel, plane) in out.chunks_exact_mut(size * size).enumerate() {
        let (factor, offset) = (1.0 / (255.0 * std[channel]), mean[channel] / std[channel]);
        for (value, pixel) in plane.iter_mut().zip(small.as_chunks::<3>().0) {
            *value = f32::from(pixel[channel]) * factor - offset;
        }
    }
}

/// Red, green, blue of a window at this size.
fn resized(picture: &Rgb, window: Window, width: u32, height: u32, how: Interpolation) -> Vec<u8> {
    // Pillow's bicubic is Catmull and Rom's (a = -0.5).
    let filter = match how {
        Interpolation::Bicubic => FilterType::CatmullRom,
        Interpolation::Bilinear => FilterType::Bilinear,
    };
    let wrong = |error: &dyn std::fmt::Display| -> ! { panic!("a window inside its picture: {error}") };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    // Typed, so that the kernels are compiled for this kind of pixel alone.
    let source = TypedImageRef::<U8x3>::from_buffer(picture.width, picture.height, &picture.pixels)
        .unwrap_or_else(|error| wrong(&error));
    let mut small = TypedImage::<U8x3>::new(width, height);
    let part = window.cut.unwrap_or(Region::whole(picture));
    let (left, top) = (window.left - f64::from(part.left), window.top - f64::from(part.top));
    let (left, top) = (left.max(0.0), top.max(0.0));
    let options = options.crop(
        left,
        top,
        window.width.min(f64::from(part.width) - left),
        window.height.min(f64::from(part.height) - top),
    );
    let part = TypedCroppedImage::from_ref(&source, part.left, part.top, part.width, part.height)
        .unwrap_or_else(|error| wrong(&error));
    RESIZER.with_borrow_mut(|resizer| {
        resizer.resize_typed(&part, &mut small, &options).unwrap_or_else(|error| wrong(&error));
    });
    small.pixels().iter().flat_map(|pixel| pixel.0).collect()
}

/// A picture at another size, the whole of it.
///
/// # Panics
/// When a side is 0.
#[must_use]
pub fn resize_whole(picture: &Rgb, width: u32, height: u32, how: Interpolation) -> Rgb {
    let window = View::Squash.window(picture.width, picture.height, width);
    Rgb { width, height, pixels: resized(picture, window, width, height, how) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: u32, height: u32) -> Rgb {
        let mut stream = Stream::new(1, "test", u64::from(width * 10_000 + height));
        let pixels = (0..width * height * 3).map(|_| stream.below(256) as u8).collect();
        Rgb { width, height, pixels }
    }

    fn squared(picture: &Rgb, region: Region, size: u32) -> Vec<f32> {
        let mut out = vec![f32::NAN; (3 * size * size) as usize];
        resize_view(picture, View::Region(region), size, ImagePreparation::default(), &mut out);
        out
    }

    fn byte(value: f32, channel: usize) -> f32 {
        let (mean, std) = mean_std(Normalisation::Imagenet);
        (value * std[channel] + mean[channel]) * 255.0
    }

    #[test]
    fn agrees_with_the_bicubic_filter_of_the_image_crate() {
        for (width, height, size) in
            [(64, 64, 64), (64, 48, 32), (37, 91, 16), (5, 3, 20), (1, 1, 7), (200, 2, 8)]
        {
            let mut picture = noise(width, height);
            // Between its two passes ours cuts off at black and white, as Pillow does; theirs does not. So both
            // are kept away from there.
            picture.pixels.iter_mut().for_each(|value| *value = *value / 2 + 64);
            let ours = squared(&picture, Region::whole(&picture), size);
            let buffer =
                image::RgbImage::from_raw(width, height, picture.pixels.clone()).expect("sizes agree");
            let theirs =
                image::imageops::resize(&buffer, size, size, image::imageops::FilterType::CatmullRom);
            for (x, y, pixel) in theirs.enumerate_pixels() {
                for channel in 0..3 {
                    let value = byte(ours[(channel as u32 * size * size + y * size + x) as usize], channel);
                    let other = f32::from(pixel.0[channel]);
                    // Both round to whole levels between their two passes.
                    assert!(
                        (value - other).abs() <= 2.01,
                        "{width}x{height}->{size} at {x},{y}: {value} {other}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_middle_is_kept_of_the_longer_side() {
        let picture = noise(90, 40);
        let mut centre = vec![f32::NAN; 3 * 20 * 20];
        resize_view(&picture, View::Centre, 20, ImagePreparation::default(), &mut centre);
        // torchvision: 45 x 20, of which columns 12 to 32 are kept.
        let whole = resize_whole(&picture, 45, 20, Interpolation::Bicubic);
        for (index, &value) in centre.iter().enumerate() {
            let (channel, y, x) = (index / 400, index % 400 / 20, index % 20);
            let expected = f32::from(whole.pixels[(y * 45 + x + 12) * 3 + channel]);
            assert!((byte(value, channel) - expected).abs() < 1.01, "{x},{y}: {value} {expected}");
        }
    }

    #[test]
    fn a_region_is_what_a_cut_out_picture_would_give() {
        let picture = noise(40, 30);
        let region = Region { left: 7, top: 4, width: 21, height: 13 };
        let rows = (4..17).flat_map(|y| picture.pixels[(y * 40 + 7) * 3..(y * 40 + 28) * 3].to_vec());
        let cut = Rgb { width: 21, height: 13, pixels: rows.collect() };
        assert_eq!(squared(&picture, region, 9), squared(&cut, Region::whole(&cut), 9));
    }

    #[test]
    fn the_same_size_only_normalises() {
        let picture = noise(8, 8);
        let out = squared(&picture, Region::whole(&picture), 8);
        for (index, &value) in picture.pixels.iter().enumerate() {
            let (place, channel) = (index / 3, index % 3);
            assert!((byte(out[channel * 64 + place], channel) - f32::from(value)).abs() < 1e-3);
        }
    }

    #[test]
    fn crops_stay_inside_and_keep_area_and_ratio() {
        let mut areas = Vec::new();
        for index in 0..2_000 {
            let region = random_resized_crop(400, 300, 0.4, &mut Stream::new(5, "crop", index));
            assert!(region.left + region.width <= 400 && region.top + region.height <= 300);
            let ratio = f64::from(region.width) / f64::from(region.height);
            assert!((0.74..1.35).contains(&ratio), "{region:?}");
            areas.push(f64::from(region.width) * f64::from(region.height) / 120_000.0);
        }
        assert!(areas.iter().all(|area| (0.395..=1.0).contains(area)));
        let mean = areas.iter().sum::<f64>() / 2_000.0;
        // Large crops often do not fit, so the mean is below 70 %: 0.604 by simulation.
        assert!((0.59..0.62).contains(&mean), "{mean}");
        for (width, height) in [(1, 1), (1, 1000), (1000, 1), (2, 3), (u32::MAX / 70, 70)] {
            for index in 0..50 {
                let region = random_resized_crop(width, height, 0.4, &mut Stream::new(5, "crop", index));
                assert!(region.width >= 1 && region.left + region.width <= width, "{region:?}");
                assert!(region.height >= 1 && region.top + region.height <= height, "{region:?}");
            }
        }
    }
}
