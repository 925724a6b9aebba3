//! Evaluation sets on shards and on the generator.

use std::collections::HashSet;
use std::fs;

use image::{DynamicImage, ImageFormat, RgbImage};
use shoestring_data::picture::{View, decode_view};
use shoestring_data::{BadCause, DataError, EvaluationSet, Tokenizer};
use shoestring_planner::recipe::{
    DataSource, EvaluationData, ImagePreparation, Interpolation, Normalisation,
};
use shoestring_planner::units::{Samples, Tokens};

use crate::common::{architecture, encode, member, picture, shards, write_shard};

fn open(evaluation: &EvaluationData, max: u64) -> Result<EvaluationSet, DataError> {
    EvaluationSet::open(evaluation, &architecture(), 8, Tokens(8), Samples(max))
}

fn drawn(samples: u64) -> EvaluationData {
    EvaluationData {
        source: DataSource::Synthetic { seed: 4, image_size_px: 16 },
        samples: Samples(samples),
        class_names: String::new(),
        templates: String::new(),
    }
}

#[test]
fn the_generator_brings_classes_templates_and_balanced_labels() {
    let set = open(&drawn(96), 0).unwrap();
    assert_eq!((set.len(), set.class_names().len(), set.text_tokens()), (96, 24, 8));
    assert_eq!(set.prompts().len(), 24 * set.templates().len() * 8);
    assert!(set.warnings().is_empty(), "{:?}", set.warnings());
    let tail = set.batch(90, 50).unwrap();
    assert_eq!((tail.size, tail.labels.len(), tail.pixels.len()), (6, 6, 6 * 3 * 64));
    assert_eq!(set.batch(96, 5).unwrap().size, 0);
    let some = open(&drawn(96), 48).unwrap();
    let labels = some.batch(0, 100).unwrap().labels;
    assert!((0..24).all(|class| labels.iter().filter(|&&label| label == class).count() == 2));
}

/// 60 images sorted by class, five classes; one picture is broken.
fn sorted(folder: &std::path::Path) -> EvaluationData {
    let members: Vec<Vec<u8>> = (0..60)
        .map(|n| {
            let png = picture(ImageFormat::Png, 8, 8, [n * 4, 0, 0]);
            let png = if n == 30 { b"broken".to_vec() } else { png };
            let label = format!("{}\n", n / 12);
            [member(&format!("{n:03}.png"), &png), member(&format!("{n:03}.cls"), label.as_bytes())].concat()
        })
        .collect();
    let path = write_shard(folder, "eval.tar", &members);
    fs::write(folder.join("names.txt"), "red fox\nblue fox\ngreen hat\ncat\ndog\n").unwrap();
    EvaluationData {
        source: shards(&path),
        samples: Samples(60),
        class_names: folder.join("names.txt").to_string_lossy().into_owned(),
        templates: String::new(),
    }
}

#[test]
fn labelled_shards_leave_bad_images_out_and_count_them() {
    let folder = tempfile::tempdir().unwrap();
    let set = open(&sorted(folder.path()), 0).unwrap();
    assert_eq!(set.templates(), ["a photo of a {c}."]);
    let batch = set.batch(0, 60).unwrap();
    assert_eq!(batch.size, 59);
    // The red of image n is 4 n: labels belong to their pixels, also after the gap.
    for (pixels, label) in batch.pixels.chunks(3 * 64).zip(&batch.labels) {
        let red = (pixels[0] * 0.229 + 0.485) * 255.0;
        assert_eq!((red / 4.0).round() as u32 / 12, *label);
    }
    assert_eq!(set.counts().bad[&BadCause::BrokenImage], 1);
    assert_eq!(set.counts().good, 59);
}

#[test]
fn images_are_prepared_as_the_loader_prepares_those_of_training() {
    let folder = tempfile::tempdir().unwrap();
    let drawn =
        RgbImage::from_fn(96, 64, |x, y| image::Rgb([(x * 2) as u8, (y * 3) as u8, (x * y / 24) as u8]));
    let jpeg = encode(&DynamicImage::from(drawn), ImageFormat::Jpeg);
    write_shard(folder.path(), "eval.tar", &[[member("a.jpg", &jpeg), member("a.cls", b"0")].concat()]);
    fs::write(folder.path().join("names.txt"), "fox\n").unwrap();
    let data = EvaluationData {
        source: shards(&folder.path().join("eval.tar")),
        samples: Samples(1),
        class_names: folder.path().join("names.txt").to_string_lossy().into_owned(),
        templates: String::new(),
    };
    let mut seen = Vec::new();
    for normalisation in [Normalisation::Imagenet, Normalisation::Openai, Normalisation::Inception] {
        for interpolation in [Interpolation::Bicubic, Interpolation::Bilinear] {
            for view in [View::Squash, View::Centre] {
                let how = ImagePreparation { normalisation, interpolation };
                let mut expected = vec![0.0; 3 * 8 * 8];
                decode_view(&jpeg, |_, _| view, 8, how, &mut expected).unwrap();
                let batch = open(&data, 0).unwrap().prepared(view, how).batch(0, 1).unwrap();
                assert_eq!(batch.pixels, expected, "{view:?} {how:?}");
                assert!(!seen.contains(&expected), "{view:?} {how:?} makes a difference");
                seen.push(expected);
            }
        }
    }
}

#[test]
fn a_part_of_a_sorted_set_has_every_class_and_is_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let data = sorted(folder.path());
    let first = open(&data, 25).unwrap().batch(0, 100).unwrap();
    assert!(first.size >= 24);
    assert_eq!(first.labels.iter().collect::<HashSet<_>>().len(), 5);
    assert_eq!(open(&data, 25).unwrap().batch(0, 100).unwrap(), first);
}

#[test]
fn the_wrong_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = sorted(folder.path());
    let names = |text: &str| {
        fs::write(folder.path().join("names.txt"), text).unwrap();
        open(&data, 0)
    };
    let error = names("a\nb\nc\nd\n").unwrap().batch(40, 20).unwrap_err();
    assert!(error.to_string().contains("label 4, but there are 4 class names (0 to 3)"), "{error}");
    assert!(error.to_string().contains("eval.tar: 048"), "{error}");
    let error = names("a\n\nc\nd\ne\n").err().unwrap();
    assert!(error.to_string().contains("names.txt:2"), "{error}");
    assert!(names("").is_err());
    let error = open(&EvaluationData { class_names: String::new(), ..data.clone() }, 0).err().unwrap();
    assert!(error.to_string().contains("data.evaluation.class_names"), "{error}");
    let missing = EvaluationData { class_names: "/nowhere/names.txt".into(), ..data.clone() };
    assert!(open(&missing, 0).err().unwrap().to_string().contains("/nowhere/names.txt"));
    let templates = folder.path().join("templates.txt");
    fs::write(&templates, "a {c}\na photo\n").unwrap();
    fs::write(folder.path().join("names.txt"), "a\nb\nc\nd\ne\n").unwrap();
    let data = EvaluationData { templates: templates.to_string_lossy().into_owned(), ..data };
    let error = open(&data, 0).err().unwrap();
    assert!(error.to_string().contains("templates.txt:2: `a photo` has no {c}"), "{error}");
    assert!(error.hint().unwrap().contains("{c}"));
}

#[test]
fn unlabelled_shards_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_shard(folder.path(), "a.tar", &crate::common::good_samples(10));
    let data = EvaluationData { source: shards(&path), ..sorted(folder.path()) };
    let error = open(&data, 0).err().unwrap();
    assert!(error.to_string().contains("10 missing label"), "{error}");
}

#[test]
fn classes_that_a_short_context_cannot_tell_apart_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = sorted(folder.path());
    fs::write(&data.class_names, "red big fox\nred big hat\nred dog\ncat\nfish\n").unwrap();
    data.templates = String::new();
    let short = EvaluationSet::open(&data, &architecture(), 8, Tokens(4), Samples(0)).unwrap();
    assert!(short.warnings().iter().any(|text| text.contains("`red big fox` and `red big hat`")));
    let ids = Tokenizer::shared().encode("red big");
    assert_eq!(short.prompts()[1..3], ids, "the template gives way to the name");
}
