//! Every kind of picture file, and broken ones.

use image::{DynamicImage, ImageFormat};
use shoestring_data::picture::{DecodeError, Region, View, decode, decode_view, resize_view};
use shoestring_planner::recipe::{ImagePreparation, Interpolation, Normalisation};

use crate::common::{encode, picture};

fn first_pixel(bytes: &[u8]) -> [u8; 3] {
    let decoded = decode(bytes).unwrap();
    assert_eq!(decoded.pixels.len(), (decoded.width * decoded.height * 3) as usize);
    [decoded.pixels[0], decoded.pixels[1], decoded.pixels[2]]
}

fn near(found: [u8; 3], expected: [u8; 3], tolerance: u8) {
    let off = found.iter().zip(expected).any(|(a, b)| a.abs_diff(b) > tolerance);
    assert!(!off, "{found:?} instead of {expected:?}");
}

#[test]
fn jpeg_png_and_webp() {
    let rgb = [200, 100, 40];
    assert_eq!(first_pixel(&picture(ImageFormat::Png, 5, 4, rgb)), rgb);
    assert_eq!(first_pixel(&picture(ImageFormat::WebP, 5, 4, rgb)), rgb);
    near(first_pixel(&picture(ImageFormat::Jpeg, 16, 16, rgb)), rgb, 4);
    let grey = DynamicImage::ImageLuma8(image::GrayImage::from_pixel(9, 9, image::Luma([77])));
    assert_eq!(first_pixel(&encode(&grey, ImageFormat::Png)), [77; 3]);
    near(first_pixel(&encode(&grey, ImageFormat::Jpeg)), [77; 3], 2);
}

#[test]
fn sixteen_bits_and_alpha_over_white() {
    let deep = image::ImageBuffer::from_pixel(3, 3, image::Rgb([65535u16, 32896, 257]));
    assert_eq!(first_pixel(&encode(&DynamicImage::ImageRgb16(deep), ImageFormat::Png)), [255, 128, 1]);
    let deep_grey = image::ImageBuffer::from_pixel(3, 3, image::Luma([25700u16]));
    assert_eq!(first_pixel(&encode(&DynamicImage::ImageLuma16(deep_grey), ImageFormat::Png)), [100; 3]);
    for (alpha, expected) in [(0, [255, 255, 255]), (128, [227, 177, 127]), (255, [200, 100, 0])] {
        let clear = image::RgbaImage::from_pixel(3, 3, image::Rgba([200, 100, 0, alpha]));
        near(first_pixel(&encode(&DynamicImage::ImageRgba8(clear), ImageFormat::Png)), expected, 1);
    }
    let grey = image::GrayAlphaImage::from_pixel(3, 3, image::LumaA([0, 0]));
    assert_eq!(first_pixel(&encode(&DynamicImage::ImageLumaA8(grey), ImageFormat::Png)), [255; 3]);
}

#[test]
fn palette_with_and_without_transparency() {
    let palette = |transparency: Option<Vec<u8>>| {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 4, 2);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Four);
        encoder.set_palette(vec![10, 20, 30, 200, 150, 100]);
        if let Some(transparency) = transparency {
            encoder.set_trns(transparency);
        }
        encoder.write_header().unwrap().write_image_data(&[0x11, 0x11, 0x00, 0x00]).unwrap();
        bytes
    };
    assert_eq!(first_pixel(&palette(None)), [200, 150, 100]);
    assert_eq!(first_pixel(&palette(Some(vec![255, 0]))), [255, 255, 255]);
}

/// A baseline JPEG of 8 x 8 pixels and four components, all of one value each, with Adobe's marker:
/// components are stored inverted, as every program that writes CMYK does it.
fn cmyk_jpeg(stored: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8];
    let mut segment = |kind: u8, data: &[u8]| {
        bytes.extend([0xff, kind]);
        bytes.extend((data.len() as u16 + 2).to_be_bytes());
        bytes.extend(data);
    };
    segment(0xee, b"Adobe\x00\x64\x00\x00\x00\x00\x00");
    let mut quantisation = vec![0];
    quantisation.extend([1u8; 64]);
    segment(0xdb, &quantisation);
    let mut frame = vec![8, 0, 8, 0, 8, 4];
    let mut scan = vec![4];
    for component in 1..=4 {
        frame.extend([component, 0x11, 0]);
        scan.extend([component, 0]);
    }
    segment(0xc0, &frame);
    // DC: all twelve categories with codes of four bits. AC: end of block is the one-bit code 0.
    let mut dc = vec![0, 0, 0, 0, 12];
    dc.extend([0; 12]);
    dc.extend(0..12u8);
    segment(0xc4, &dc);
    let mut ac = vec![0x10, 1];
    ac.extend([0; 15]);
    ac.push(0);
    segment(0xc4, &ac);
    scan.extend([0, 63, 0]);
    segment(0xda, &scan);
    let mut bits = String::new();
    for value in stored {
        // The DC coefficient of a flat block is eight times its value, centred on 128.
        let coefficient = (i32::from(value) - 128) * 8;
        let category = 32 - coefficient.unsigned_abs().leading_zeros();
        let coded = if coefficient < 0 { coefficient + (1 << category) - 1 } else { coefficient };
        bits += &format!("{category:04b}");
        if category > 0 {
            bits += &format!("{coded:0width$b}", width = category as usize);
        }
        bits += "0";
    }
    while !bits.len().is_multiple_of(8) {
        bits += "1";
    }
    for byte in bits.as_bytes().chunks(8) {
        let value = byte.iter().fold(0u8, |value, bit| value << 1 | (bit - b'0'));
        bytes.push(value);
        if value == 0xff {
            bytes.push(0);
        }
    }
    bytes.extend([0xff, 0xd9]);
    bytes
}

#[test]
fn cmyk_jpeg_becomes_rgb() {
    // Stored inverted: 255 is no ink. Red: no cyan, full magenta and yellow, no black.
    near(first_pixel(&cmyk_jpeg([255, 0, 0, 255])), [255, 0, 0], 3);
    near(first_pixel(&cmyk_jpeg([255, 255, 255, 255])), [255, 255, 255], 3);
    near(first_pixel(&cmyk_jpeg([255, 255, 255, 0])), [0, 0, 0], 3);
    near(first_pixel(&cmyk_jpeg([128, 128, 255, 255])), [128, 128, 255], 4);
}

#[test]
fn one_pixel_and_one_row() {
    for (width, height) in [(1, 1), (1, 300), (300, 1)] {
        let decoded = decode(&picture(ImageFormat::Png, width, height, [255, 255, 255])).unwrap();
        let mut out = vec![f32::NAN; 3 * 16 * 16];
        resize_view(
            &decoded,
            View::Region(Region::whole(&decoded)),
            16,
            ImagePreparation::default(),
            &mut out,
        );
        let white = (1.0 - 0.485) / 0.229;
        assert!(out[..256].iter().all(|value| (value - white).abs() < 1e-4), "{width} x {height}");
    }
}

#[test]
fn what_is_no_picture_is_refused() {
    let jpeg = picture(ImageFormat::Jpeg, 64, 64, [200, 10, 60]);
    let noise: Vec<u8> = (0..4000u32).map(|n| (n * n % 251) as u8).collect();
    for bytes in [&b""[..], b"hello", b"GIF89a\x01\x00\x01\x00", &noise, &jpeg[..2], &jpeg[..3]] {
        assert!(matches!(decode(bytes), Err(DecodeError::Broken(_))), "{:?}", &bytes[..bytes.len().min(8)]);
    }
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let mut noisy = image::RgbImage::new(64, 64);
        noisy.pixels_mut().zip(noise.iter().cycle()).for_each(|(pixel, &value)| {
            *pixel = image::Rgb([value, value.wrapping_mul(7), value.wrapping_add(90)]);
        });
        let bytes = encode(&noisy.into(), format);
        decode(&bytes).unwrap();
        for keep in [bytes.len() / 4, bytes.len() / 2, bytes.len() - bytes.len() / 8] {
            assert!(decode(&bytes[..keep]).is_err(), "{format:?} cut to {keep} of {}", bytes.len());
        }
        // Any single byte changed: refused or decoded, never a panic that gets out.
        for at in (0..bytes.len()).step_by(bytes.len() / 150) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = decode(&damaged);
        }
    }
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    // A PNG that says it has 60,000 x 60,000 pixels.
    let mut bytes = Vec::new();
    let encoder = png::Encoder::new(&mut bytes, 60_000, 60_000);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]).unwrap();
    drop(writer);
    assert_eq!(decode(&bytes), Err(DecodeError::TooLarge { width: 60_000, height: 60_000 }));
}

#[test]
fn of_an_animation_the_first_frame_is_taken() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 4, 4);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[200, 100, 40].repeat(16)).unwrap();
    writer.write_image_data(&[0; 48]).unwrap();
    drop(writer);
    assert_eq!(first_pixel(&bytes), [200, 100, 40]);
}

#[test]
fn thirty_thousand_pixels_a_side_are_refused_and_a_long_strip_is_not() {
    // A small JPEG whose frame header is made to say 30,000 x 30,000.
    let mut jpeg = picture(ImageFormat::Jpeg, 16, 16, [9, 9, 9]);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let side = 30_000u16.to_be_bytes();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[side, side].concat());
    let mut out = vec![0.0; 3 * 16 * 16];
    let how = ImagePreparation::default();
    let large = DecodeError::TooLarge { width: 30_000, height: 30_000 };
    assert_eq!(decode(&jpeg), Err(large.clone()));
    assert_eq!(decode_view(&jpeg, |_, _| View::Squash, 16, how, &mut out), Err(large));

    let strip = picture(ImageFormat::Jpeg, 30_000, 8, [200, 10, 60]);
    for view in [View::Squash, View::Centre] {
        decode_view(&strip, |_, _| view, 16, how, &mut out).unwrap();
        assert!((out[0] - (200.0 / 255.0 - 0.485) / 0.229).abs() < 0.1, "{}", out[0]);
    }
}

#[test]
fn a_bomb_in_a_text_chunk_is_not_unpacked() {
    // 64 MiB of zeros in a compressed text chunk of a whole picture of 2 x 2 pixels.
    let packed = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; 64 << 20], 6);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(png::chunk::zTXt, &[&b"Comment\0\0"[..], &packed].concat()).unwrap();
    writer.write_image_data(&[7; 12]).unwrap();
    drop(writer);
    assert_eq!(first_pixel(&bytes), [7, 7, 7]);
}

#[test]
fn a_smaller_version_shows_what_the_whole_one_does() {
    let photo = image::RgbImage::from_fn(300, 200, |x, y| {
        image::Rgb([(x * 255 / 300) as u8, (y * 255 / 200) as u8, ((x / 20 + y / 20) % 2 * 90) as u8])
    });
    let bytes = encode(&photo.into(), ImageFormat::Jpeg);
    let (mut small, mut whole) = (vec![0.0; 3 * 32 * 32], vec![0.0; 3 * 32 * 32]);
    let decoded = decode(&bytes).unwrap();
    let how = ImagePreparation::default();
    for view in
        [View::Squash, View::Centre, View::Region(Region { left: 33, top: 10, width: 210, height: 150 })]
    {
        decode_view(&bytes, |_, _| view, 32, how, &mut small).unwrap();
        resize_view(&decoded, view, 32, how, &mut whole);
        let off: f32 = small.iter().zip(&whole).map(|(a, b)| (a - b).abs()).sum::<f32>() / small.len() as f32;
        // In grey levels; the checks of colour have edges at which the filters differ.
        assert!(off * 255.0 * 0.226 < 1.0, "{view:?}: {}", off * 255.0 * 0.226);
    }
}

/// Mean difference between the smaller version of a JPEG and the whole of it, resized, in grey levels.
fn off_by(bytes: &[u8], view: View, size: u32) -> f32 {
    let how =
        ImagePreparation { normalisation: Normalisation::Inception, interpolation: Interpolation::Bicubic };
    let mut squares = [(); 2].map(|()| vec![0.0; 3 * (size * size) as usize]);
    let [small, whole] = &mut squares;
    decode_view(bytes, |_, _| view, size, how, small).unwrap();
    resize_view(&decode(bytes).unwrap(), view, size, how, whole);
    let sum: f32 = small.iter().zip(&*whole).map(|(a, b)| (a - b).abs()).sum();
    127.5 * sum / small.len() as f32
}

/// Waves of every length down to two pixels, in slanted directions.
fn textured(width: u32, height: u32) -> Vec<u8> {
    let photo = image::RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32, y as f32);
        let value = |shift: f32| {
            let waves = (1..=7).map(|octave| {
                let (step, turn) = (2f32.powi(octave), octave as f32 + shift);
                step.sqrt()
                    * (((x * turn.cos() + y * turn.sin()) * std::f32::consts::TAU / step) + turn).sin()
            });
            (128.0 + 4.0 * waves.sum::<f32>()) as u8
        };
        image::Rgb([value(0.0), value(0.4), value(1.1)])
    });
    encode(&photo.into(), ImageFormat::Jpeg)
}

#[test]
fn sides_that_the_scale_does_not_divide_shift_nothing() {
    // 113.125 by 97.125 pixels are left of this, and whole ones are decoded.
    let bytes = textured(905, 777);
    for view in [View::Squash, View::Centre] {
        let off = off_by(&bytes, view, 32);
        assert!(off < 1.0, "{view:?}: {off}");
    }
}

#[test]
fn nothing_outside_a_region_shows_in_a_smaller_version() {
    let (left, top, side) = (64, 32, 160);
    let inside = |x: u32, y: u32| (left..left + side).contains(&x) && (top..top + side).contains(&y);
    let photo =
        image::RgbImage::from_fn(320, 240, |x, y| image::Rgb(if inside(x, y) { [250; 3] } else { [5; 3] }));
    let bytes = encode(&photo.into(), ImageFormat::Jpeg);
    let off = off_by(&bytes, View::Region(Region { left, top, width: side, height: side }), 32);
    assert!(off < 0.1, "{off}");
}
