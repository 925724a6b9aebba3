//! From a region of a picture to a normalised square, with an antialiased triangle filter.

use super::Rgb;
use crate::streams::Stream;

/// Mean of red, green, blue in [0, 1], of `ImageNet`, as CLIPA normalises.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of red, green, blue in [0, 1], of `ImageNet`, as CLIPA normalises.
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

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

/// CLIPA's crop in training: 40 to 100 % of the area, width over height 3/4 to 4/3 (log-uniform); after ten
/// tries that do not fit, the largest centred region of an allowed ratio. (Torchvision's algorithm.)
pub fn random_resized_crop(width: u32, height: u32, stream: &mut Stream) -> Region {
    let (lowest, highest) = (3.0f64 / 4.0, 4.0f64 / 3.0);
    let area = f64::from(width) * f64::from(height);
    for _ in 0..10 {
        let target = area * (0.4 + 0.6 * stream.unit());
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

/// Weights of one axis: output `i` is the weighted mean of inputs from `starts[i]` on.
struct Axis {
    starts: Vec<u32>,
    /// `taps` weights for each output, zero-padded.
    weights: Vec<f32>,
    taps: usize,
}

impl Axis {
    /// Triangle filter from `length` inputs to `size` outputs; widened by the scale when shrinking, which
    /// is what antialiases.
    fn new(length: u32, size: u32) -> Self {
        let scale = f64::from(length) / f64::from(size);
        let support = scale.max(1.0);
        let taps = ((2.0 * support).ceil() as usize + 1).min(length as usize);
        let mut axis = Self { starts: Vec::new(), weights: Vec::new(), taps };
        for output in 0..size {
            let centre = (f64::from(output) + 0.5) * scale;
            let first = (centre - support).floor().max(0.0) as u32;
            let first = first.min(length - taps as u32);
            let weight = |input: u32| {
                let distance = ((f64::from(input) + 0.5 - centre) / support).abs();
                (1.0 - distance).max(0.0)
            };
            let raw = (first..first + taps as u32).map(weight);
            let sum: f64 = raw.clone().sum();
            axis.starts.push(first);
            axis.weights.extend(raw.map(|value| (value / sum) as f32));
        }
        axis
    }

    fn of(&self, output: usize) -> &[f32] {
        &self.weights[output * self.taps..(output + 1) * self.taps]
    }
}

/// Resizes a region to a square of `size_px` (the aspect ratio is not kept: CLIPA's "squash") and
/// normalises: `out[c][y][x] = (value / 255 - MEAN[c]) / STD[c]`, `3 * size_px * size_px` numbers.
///
/// Works through the region one row at a time, so it needs a row of memory whatever the picture's size.
///
/// # Panics
/// When `out` is not `3 * size_px * size_px` long or the region is not inside the picture.
pub fn resize_normalised(picture: &Rgb, region: Region, size_px: u32, out: &mut [f32]) {
    let size = size_px as usize;
    assert_eq!(out.len(), 3 * size * size, "three planes of size_px x size_px");
    out.fill(0.0);
    let (across, down) = (Axis::new(region.width, size_px), Axis::new(region.height, size_px));
    let mut row = vec![0f32; 3 * size];
    let (mut first_open, stride) = (0, picture.width as usize * 3);
    for y in 0..region.height {
        // Outputs that this row belongs to: starts ascend, so they are a window that only moves down.
        while first_open < size && down.starts[first_open] as usize + down.taps <= y as usize {
            first_open += 1;
        }
        let start = (region.top + y) as usize * stride + region.left as usize * 3;
        let source = &picture.pixels[start..start + region.width as usize * 3];
        shrink_row(source, &across, &mut row);
        for output in first_open..size {
            let Some(tap) = y.checked_sub(down.starts[output]) else { break };
            let weight = down.of(output).get(tap as usize).copied().unwrap_or(0.0);
            if weight == 0.0 {
                continue;
            }
            for channel in 0..3 {
                let target = &mut out[(channel * size + output) * size..][..size];
                let values = &row[channel * size..][..size];
                target.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }
    for (plane, (mean, std)) in out.chunks_exact_mut(size * size).zip(MEAN.into_iter().zip(STD)) {
        let (factor, offset) = (1.0 / (255.0 * std), mean / std);
        plane.iter_mut().for_each(|value| *value = *value * factor - offset);
    }
}

/// One row, interleaved, to `row`: three planes of `size` values.
fn shrink_row(source: &[u8], axis: &Axis, row: &mut [f32]) {
    let size = axis.starts.len();
    let (red, rest) = row.split_at_mut(size);
    let (green, blue) = rest.split_at_mut(size);
    for output in 0..size {
        let pixels = source[axis.starts[output] as usize * 3..].chunks_exact(3);
        let mut sums = [0f32; 3];
        for (weight, pixel) in axis.of(output).iter().zip(pixels) {
            sums[0] += weight * f32::from(pixel[0]);
            sums[1] += weight * f32::from(pixel[1]);
            sums[2] += weight * f32::from(pixel[2]);
        }
        (red[output], green[output], blue[output]) = (sums[0], sums[1], sums[2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: u32, height: u32) -> Rgb {
        let mut stream = Stream::new(1, "test", u64::from(width * 10_000 + height));
        let pixels = (0..width * height * 3).map(|_| stream.below(256) as u8).collect();
        Rgb { width, height, pixels }
    }

    fn resized(picture: &Rgb, region: Region, size: u32) -> Vec<f32> {
        let mut out = vec![f32::NAN; (3 * size * size) as usize];
        resize_normalised(picture, region, size, &mut out);
        out
    }

    fn byte(value: f32, channel: usize) -> f32 {
        (value * STD[channel] + MEAN[channel]) * 255.0
    }

    #[test]
    fn agrees_with_the_triangle_filter_of_the_image_crate() {
        for (width, height, size) in
            [(64, 64, 64), (64, 48, 32), (37, 91, 16), (5, 3, 20), (1, 1, 7), (200, 2, 8)]
        {
            let picture = noise(width, height);
            let ours = resized(&picture, Region::whole(&picture), size);
            let buffer =
                image::RgbImage::from_raw(width, height, picture.pixels.clone()).expect("sizes agree");
            let theirs = image::imageops::resize(&buffer, size, size, image::imageops::FilterType::Triangle);
            for (x, y, pixel) in theirs.enumerate_pixels() {
                for channel in 0..3 {
                    let value = byte(ours[(channel as u32 * size * size + y * size + x) as usize], channel);
                    let other = f32::from(pixel.0[channel]);
                    assert!(
                        (value - other).abs() <= 1.01,
                        "{width}x{height}->{size} at {x},{y}: {value} {other}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_region_is_what_a_cut_out_picture_would_give() {
        let picture = noise(40, 30);
        let region = Region { left: 7, top: 4, width: 21, height: 13 };
        let rows = (4..17).flat_map(|y| picture.pixels[(y * 40 + 7) * 3..(y * 40 + 28) * 3].to_vec());
        let cut = Rgb { width: 21, height: 13, pixels: rows.collect() };
        assert_eq!(resized(&picture, region, 9), resized(&cut, Region::whole(&cut), 9));
    }

    #[test]
    fn the_same_size_only_normalises() {
        let picture = noise(8, 8);
        let out = resized(&picture, Region::whole(&picture), 8);
        for (index, &value) in picture.pixels.iter().enumerate() {
            let (place, channel) = (index / 3, index % 3);
            assert!((byte(out[channel * 64 + place], channel) - f32::from(value)).abs() < 1e-3);
        }
    }

    #[test]
    fn crops_stay_inside_and_keep_area_and_ratio() {
        let mut areas = Vec::new();
        for index in 0..2_000 {
            let region = random_resized_crop(400, 300, &mut Stream::new(5, "crop", index));
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
                let region = random_resized_crop(width, height, &mut Stream::new(5, "crop", index));
                assert!(region.width >= 1 && region.left + region.width <= width, "{region:?}");
                assert!(region.height >= 1 && region.top + region.height <= height, "{region:?}");
            }
        }
    }
}
