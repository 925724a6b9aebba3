//! Folders, tables, mixtures, drawing with replacement, and where they go on after a stop.

use std::fs;
use std::path::Path;

use image::ImageFormat;
use shoestring_data::{BadCause, DataError, Loader};
use shoestring_planner::recipe::{DataSource, Reading, WeightedSource};
use shoestring_planner::units::Samples;

use crate::common::{architecture, good_samples, picture, shards, stage, write_shard};

fn open(source: &DataSource) -> Result<Loader, DataError> {
    Loader::open(source, &stage(), &architecture(), 7, Samples(100))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn folders_are_read_with_what_lies_in_them() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    for (name, caption) in [("1.png", Some("1.txt")), ("a/2.jpg", Some("a/2.json")), ("a/b/3.PNG", None)] {
        let format = if name.ends_with("jpg") { ImageFormat::Jpeg } else { ImageFormat::Png };
        fs::write(folder.path().join(name), picture(format, 20, 18, [200, 10, 10])).unwrap();
        if let Some(caption) = caption {
            let words =
                if caption.ends_with("json") { "{\"caption\": \"a red square\"}" } else { "a red square" };
            fs::write(folder.path().join(caption), words).unwrap();
        }
    }
    let source = DataSource::Folder { path: text(folder.path()) };
    let loader = open(&source).unwrap().with_tolerance(0.9);
    assert_eq!(loader.epoch_samples(), Samples(3));
    let batch = loader.batch(0, 3).unwrap();
    assert_eq!(batch.token_ids[..8], batch.token_ids[8..16], "the same caption from .txt and .json");
    assert_eq!(loader.counts().bad[&BadCause::MissingCaption], 1);

    let empty = tempfile::tempdir().unwrap();
    let error = open(&DataSource::Folder { path: text(empty.path()) }).err().unwrap();
    assert!(error.to_string().contains("no picture"), "{error}");
}

#[test]
fn tables_name_pictures_and_captions() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.png"), picture(ImageFormat::Png, 20, 18, [0, 200, 0])).unwrap();
    let list = |name: &str, contents: &str| {
        fs::write(folder.path().join(name), contents).unwrap();
        DataSource::List {
            path: text(&folder.path().join(name)),
            image_column: "filepath".into(),
            caption_column: "title".into(),
        }
    };
    for source in [
        list("a.csv", "id,title,filepath\n1,\"green, quite\",x.png\n2,,x.png\n3,gone,y.png\n"),
        list("a.tsv", "\u{feff}filepath\ttitle\nx.png\tgreen, quite\nx.png\t \ny.png\tgone\n"),
    ] {
        let loader = open(&source).unwrap().with_tolerance(0.9);
        loader.batch(0, 3).unwrap();
        let counts = loader.counts();
        // Each once in its own place, and once more where it is met as a replacement.
        assert!(
            counts.bad[&BadCause::EmptyCaption] >= 1 && counts.bad[&BadCause::MissingImage] >= 1,
            "{counts:?}"
        );
        assert!(counts.examples.iter().any(|example| example.contains("y.png")), "{:?}", counts.examples);
    }
    let error = open(&list("b.csv", "path,title\nx.png,a\n")).err().unwrap();
    assert!(error.to_string().contains("b.csv:1: no column `filepath`"), "{error}");
    assert!(error.hint().unwrap().contains("path, title"));
    let error = open(&list("c.csv", "filepath,title\nx.png,a\nx.png\n")).err().unwrap();
    assert!(error.to_string().contains("c.csv:3"), "{error}");
    assert!(open(&list("d.csv", "filepath,title\n")).err().unwrap().to_string().contains("no rows"));
}

#[test]
fn mixtures_are_drawn_by_weight_and_go_through_every_sample() {
    let folder = tempfile::tempdir().unwrap();
    let small = shards(&write_shard(folder.path(), "small.tar", &good_samples(10)));
    let large = shards(&write_shard(folder.path(), "large.tar", &good_samples(30)));
    let part = |weight, source: &DataSource| WeightedSource { weight, source: source.clone() };
    let mixed = DataSource::Mixed { parts: vec![part(3.0, &small), part(1.0, &large)] };
    let loader = open(&mixed).unwrap();
    // 40 samples an epoch, three of four from the small one, so each of its ten three times.
    assert_eq!(loader.epoch_samples(), Samples(40));
    let mut times = [0u32; 40];
    for index in loader.indices(0, 40) {
        times[index as usize] += 1;
    }
    assert_eq!(times[..10], [3; 10]);
    assert!(
        times[10..].iter().all(|&count| count <= 1) && times[10..].iter().sum::<u32>() == 10,
        "{times:?}"
    );
    // Three epochs later all of the large one were there.
    let of_large: std::collections::HashSet<u64> =
        loader.indices(0, 120).into_iter().filter(|&index| index >= 10).collect();
    assert_eq!(of_large.len(), 30);
    assert_eq!(loader.batch(5, 12).unwrap(), open(&mixed).unwrap().batch(5, 12).unwrap());

    for (parts, problem) in [
        (vec![], "no source"),
        (vec![part(0.0, &small)], "more than 0"),
        (vec![part(f64::NAN, &small)], "more than 0"),
        (vec![part(1.0, &mixed)], "in a mixture"),
    ] {
        let error = open(&DataSource::Mixed { parts }).err().unwrap();
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn with_replacement_every_sample_is_equally_likely() {
    let folder = tempfile::tempdir().unwrap();
    let source = shards(&write_shard(folder.path(), "x.tar", &good_samples(10)));
    let reading = Reading { replacement: true, ..Reading::default() };
    let loader = open(&source).unwrap().reading(&reading);
    let mut counts = [0u32; 10];
    for index in loader.indices(0, 20_000) {
        counts[index as usize] += 1;
    }
    // Expected 2,000, standard deviation 42.
    assert!(counts.iter().all(|count| count.abs_diff(2_000) < 220), "{counts:?}");
    let first: std::collections::HashSet<u64> = loader.indices(0, 10).into_iter().collect();
    assert!(first.len() < 10, "ten draws with replacement hit some sample twice (seed 7)");
}

/// Where a stage goes on at sample ten million: `cargo test --release -p shoestring-data resumes -- --nocapture`
/// prints how long it took.
#[test]
#[allow(clippy::print_stderr)]
fn resumes_at_sample_ten_million_without_replay() {
    let drawn = DataSource::Synthetic { seed: 1, image_size_px: 8 };
    let mixed = |weight| WeightedSource { weight, source: drawn.clone() };
    for source in [drawn.clone(), DataSource::Mixed { parts: vec![mixed(1.0), mixed(2.5)] }] {
        let open = || Loader::open(&source, &stage(), &architecture(), 7, Samples(3_000_000)).unwrap();
        let uninterrupted = open();
        let mut expected = Vec::new();
        for start in (9_990_000..10_001_000).step_by(1000) {
            expected = uninterrupted.indices(start, 1000);
        }
        let start = std::time::Instant::now();
        let resumed = open().indices(10_000_000, 1000);
        eprintln!("opened and at sample 10,000,000 after {:?}", start.elapsed());
        assert_eq!(resumed, expected);
    }
}
