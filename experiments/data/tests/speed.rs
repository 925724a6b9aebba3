//! How fast one core is: `cargo test --release -p shoestring-data -- --ignored --nocapture speed`.
#![allow(clippy::print_stderr)]

use std::time::{Duration, Instant};

use image::ImageFormat;
use shoestring_data::Tokenizer;
use shoestring_data::picture::{View, decode, resize_view};
use shoestring_data::synth::Synth;
use shoestring_planner::recipe::ImagePreparation;

use crate::common::{encode, picture};

fn rate(what: &str, mut work: impl FnMut(u64)) {
    work(0);
    let (start, mut count) = (Instant::now(), 0u64);
    while start.elapsed() < Duration::from_millis(500) {
        work(count);
        count += 1;
    }
    eprintln!("{what}: {:.0} a second", count as f64 / start.elapsed().as_secs_f64());
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let synth = Synth::new(1, 64).unwrap();
    rate("draw 64 px", |index| {
        std::hint::black_box(synth.pair(index));
    });
    let drawn = synth.pair(5).picture;
    let buffer = image::RgbImage::from_raw(64, 64, drawn.pixels).unwrap();
    let photo = picture(ImageFormat::Jpeg, 512, 384, [90, 120, 30]);
    for (what, bytes, size) in [
        ("decode 64 px PNG, resize to 32", encode(&buffer.clone().into(), ImageFormat::Png), 32),
        ("decode 64 px JPEG, resize to 32", encode(&buffer.into(), ImageFormat::Jpeg), 32),
        ("decode 512 x 384 JPEG, resize to 64", photo, 64),
    ] {
        let mut out = vec![0.0; 3 * size * size];
        rate(what, |_| {
            let picture = decode(&bytes).unwrap();
            resize_view(&picture, View::Squash, size as u32, ImagePreparation::default(), &mut out);
        });
    }
    rate("tokenize a caption", |index| {
        std::hint::black_box(Tokenizer::shared().encode(&format!("a drawing of a small red circle {index}")));
    });
}
