//! Batches: exact whatever was drawn before, on any number of threads, around damaged samples.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::ImageFormat;
use shoestring_data::text::{END, START};
use shoestring_data::{BadCause, DataError, Loader, Prefetcher, Tokenizer};
use shoestring_planner::recipe::{DataSource, ImageReduction, Stage, TextReduction};
use shoestring_planner::units::{Samples, Tokens};

use crate::common::{architecture, good_samples, member, picture, shards, stage, write_shard};

const DRAWN: DataSource = DataSource::Synthetic { seed: 3, image_size_px: 16 };

fn open(source: &DataSource, stage: &Stage, seed: u64) -> Loader {
    Loader::open(source, stage, &architecture(), seed, Samples(100)).unwrap()
}

fn masked() -> Stage {
    Stage {
        image_reduction: ImageReduction::Random,
        image_mask_ratio: 0.5,
        text_reduction: TextReduction::Random,
        text_tokens: Tokens(5),
        ..stage()
    }
}

#[test]
fn shapes_are_those_of_the_stage() {
    let batch = open(&DRAWN, &masked(), 1).batch(0, 6).unwrap();
    assert_eq!((batch.size, batch.image_size_px, batch.image_tokens, batch.text_tokens), (6, 16, 8, 5));
    assert_eq!(batch.pixels.len(), 6 * 3 * 16 * 16);
    assert_eq!(batch.kept_patches.as_ref().unwrap().len(), 6 * 8);
    assert!(batch.token_ids.chunks(5).all(|ids| ids[0] == START && ids.contains(&END)));
    let batch = open(&DRAWN, &stage(), 1).batch(0, 6).unwrap();
    assert_eq!((batch.kept_patches, batch.image_tokens), (None, 16));
    assert!(batch.pixels.iter().all(|value| (-2.2..2.7).contains(value)));
}

#[test]
fn a_batch_is_the_same_whatever_was_drawn_before_and_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = good_samples(40);
    members[7] = member("000007.txt", b"no picture");
    let path = write_shard(folder.path(), "a.tar", &members);
    for source in [DRAWN, shards(&path)] {
        let fresh = open(&source, &masked(), 1).batch(137, 16).unwrap();
        let used = open(&source, &masked(), 1);
        for position in [0, 500, 3, 16] {
            used.batch(position, 5).unwrap();
        }
        assert_eq!(used.batch(137, 16).unwrap(), fresh);
        // The same samples in batches of another size.
        let halves = [used.batch(137, 9).unwrap(), used.batch(146, 7).unwrap()];
        assert_eq!([&halves[0].pixels[..], &halves[1].pixels[..]].concat(), fresh.pixels);
        assert_eq!([&halves[0].token_ids[..], &halves[1].token_ids[..]].concat(), fresh.token_ids);
        for threads in [1, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| open(&source, &masked(), 1).batch(137, 16)).unwrap(), fresh);
        }
        let other_stage = Stage { name: "finetune".to_owned(), ..masked() };
        assert_ne!(open(&source, &masked(), 2).batch(137, 16).unwrap(), fresh, "another seed");
        assert_ne!(open(&source, &other_stage, 1).batch(137, 16).unwrap(), fresh, "another stage");
    }
}

/// Captions that a caption number was written into, in the order drawn.
fn numbers(loader: &Loader, position: u64, size: u32) -> Vec<u32> {
    let batch = loader.batch(position, size).unwrap();
    let lookup = |ids: &[u32]| {
        let found = (0..1000).find(|number| {
            let mut expected = vec![START];
            expected.extend(Tokenizer::shared().encode(&format!("caption {number}")));
            expected.push(END);
            expected.resize(ids.len(), 0);
            expected == ids
        });
        found.unwrap()
    };
    batch.token_ids.chunks(batch.text_tokens).map(lookup).collect()
}

#[test]
fn an_epoch_draws_every_sample_once_and_the_next_in_another_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_shard(folder.path(), "a.tar", &good_samples(50));
    let loader = open(&shards(&path), &stage(), 1);
    assert_eq!(loader.epoch_samples(), Samples(50));
    let (first, second) = (numbers(&loader, 0, 50), numbers(&loader, 50, 50));
    for epoch in [&first, &second] {
        assert_eq!(epoch.iter().collect::<HashSet<_>>().len(), 50);
    }
    assert_ne!(first, second);
    assert_eq!(loader.warnings().len(), 1, "100 stated, 50 found: {:?}", loader.warnings());
    assert_eq!(loader.counts().good, 100);
}

#[test]
fn captions_of_every_kind_are_read_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let png = picture(ImageFormat::Png, 8, 8, [9, 9, 9]);
    let utf16: Vec<u8> = "caf\u{e9}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (caption, cause) in [
        (&b"caf\xe9"[..], Some(BadCause::UnreadableCaption)),
        (&[&[0xff, 0xfe], &utf16[..]].concat(), Some(BadCause::UnreadableCaption)),
        (b"", Some(BadCause::EmptyCaption)),
        ("\u{3000}\u{a0}".as_bytes(), Some(BadCause::EmptyCaption)),
        (&b"word ".repeat(209_000), None),
        (&b"word ".repeat(210_000), Some(BadCause::UnreadableCaption)),
        (b"\xef\xbb\xbfwith a mark", None),
    ] {
        let members = [member("1.png", &png), member("1.txt", caption)];
        let source = shards(&write_shard(folder.path(), "x.tar", &members));
        let found = open(&source, &stage(), 1).batch(0, 1);
        match cause {
            None => assert_eq!(found.unwrap().token_ids[0], START),
            Some(cause) => {
                let Err(DataError::TooManyBad { counts, .. }) = found else { panic!("{cause}") };
                assert_eq!(counts.bad[&cause], 1, "{counts:?}");
            }
        }
    }
}

#[test]
fn of_two_pictures_under_one_key_the_first_is_taken_and_keys_apart_are_two_samples() {
    let folder = tempfile::tempdir().unwrap();
    let of = |rgb| picture(ImageFormat::Png, 8, 8, rgb);
    let members = [
        member("1.png", &of([250, 0, 0])),
        member("1.jpg", b"broken"),
        member("1.txt", b"one"),
        member("2.png", &of([0, 0, 0])),
        member("2.txt", b"two"),
        member("1.png", &of([0, 0, 250])),
        member("1.txt", b"again"),
    ];
    let loader = open(&shards(&write_shard(folder.path(), "x.tar", &members)), &stage(), 1);
    assert_eq!(loader.epoch_samples(), Samples(3));
    loader.batch(0, 3).unwrap();
    assert_eq!(loader.counts().bad_total(), 0);
}

/// 60 samples of which one of each kind is bad.
fn damaged(folder: &Path) -> DataSource {
    let mut members = good_samples(60);
    let png = picture(ImageFormat::Png, 8, 8, [9, 9, 9]);
    let jpeg = picture(ImageFormat::Jpeg, 64, 64, [9, 200, 9]);
    members[3] = [member("000003.jpg", &jpeg[..jpeg.len() / 2]), member("000003.txt", b"cut off")].concat();
    members[11] = [member("000011.png", &png), member("000011.txt", b" \n\t ")].concat();
    members[20] = member("000020.png", &png);
    members[31] = [member("000031.png", &png), member("000031.txt", b"\xff\xfe")].concat();
    members[40] = [member("000040.png", &png), member("000040.json", b"{\"caption\": 5}")].concat();
    shards(&write_shard(folder, "damaged.tar", &members))
}

#[test]
fn bad_samples_are_counted_by_cause_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let loader = open(&damaged(folder.path()), &stage(), 1);
    let drawn = numbers(&loader, 0, 60);
    assert_eq!(drawn.len(), 60, "batches stay full");
    let seen: HashSet<u32> = drawn.iter().copied().collect();
    assert_eq!(seen.len(), 55, "every good sample, some twice");
    assert!([3, 11, 20, 31, 40].iter().all(|bad| !seen.contains(bad)));
    let counts = loader.counts();
    assert_eq!(counts.good, 60);
    // A bad sample counts each time it is met: once in its own place, and again as a bad replacement.
    use BadCause::{BrokenImage, EmptyCaption, MissingCaption, UnreadableCaption};
    for (cause, least) in [(BrokenImage, 1), (EmptyCaption, 1), (MissingCaption, 1), (UnreadableCaption, 2)] {
        assert!(counts.bad[&cause] >= least, "{counts:?}");
    }
    assert!((5..=15).contains(&counts.bad_total()), "{counts:?}");
    assert!(counts.examples.iter().any(|example| example.contains("damaged.tar: 000003: broken image")));
    // The replacement is the next in the order: it appears twice in a row.
    let doubled = drawn.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!(doubled >= 4, "{drawn:?}");
}

#[test]
fn more_bad_samples_than_tolerated_are_an_error_that_tells() {
    let folder = tempfile::tempdir().unwrap();
    let strict = open(&damaged(folder.path()), &stage(), 1).with_tolerance(0.05);
    strict.batch(0, 16).unwrap();
    let error = strict.batch(16, 60).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("more than the 5 % tolerated") && text.contains(" unreadable caption"), "{text}");
    assert!(text.contains("damaged.tar: 0000"), "{text}");

    let mut members = good_samples(30);
    for (number, sample) in members.iter_mut().enumerate().skip(2) {
        *sample = [
            member(&format!("{number:06}.png"), b"no picture"),
            member(&format!("{number:06}.txt"), b"text"),
        ]
        .concat();
    }
    let loader = open(&shards(&write_shard(folder.path(), "bad.tar", &members)), &stage(), 1);
    let error = loader.batch(0, 30).unwrap_err();
    assert!(error.to_string().contains("broken image"), "{error}");
    assert!(error.hint().is_some());

    // Nothing but pictures without captions: told at once.
    let png = picture(ImageFormat::Png, 8, 8, [9, 9, 9]);
    let members: Vec<Vec<u8>> = (0..5).map(|n| member(&format!("{n}.png"), &png)).collect();
    let source = shards(&write_shard(folder.path(), "bare.tar", &members));
    let error = Loader::open(&source, &stage(), &architecture(), 1, Samples(5)).err().unwrap();
    assert!(error.to_string().contains("5 missing caption"), "{error}");
}

#[test]
fn pictures_from_outside_are_cropped_and_drawn_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    // No two places of it look alike, so no two crops do.
    let slope = image::RgbImage::from_fn(40, 40, |x, y| {
        image::Rgb([(x * 6) as u8, (y * 6) as u8, (x * y / 7) as u8])
    });
    let bytes = crate::common::encode(&slope.into(), ImageFormat::Png);
    let members = [member("a.png", &bytes), member("a.txt", b"a slope")];
    let source = shards(&write_shard(folder.path(), "a.tar", &members));
    let batch = open(&source, &stage(), 1).batch(0, 40).unwrap();
    let images: HashSet<Vec<u32>> = batch
        .pixels
        .chunks(3 * 256)
        .map(|image| image.iter().map(|value| value.to_bits()).collect())
        .collect();
    assert!(images.len() > 30, "{} different crops of one picture", images.len());

    let twice = |source: &DataSource| {
        let loader = Loader::open(source, &stage(), &architecture(), 1, Samples(1)).unwrap();
        let batch = loader.batch(0, 2).unwrap();
        batch.pixels[..768] == batch.pixels[768..]
    };
    assert!(twice(&DRAWN), "the generator's only pair is the same in every epoch");
}

#[test]
fn what_cannot_be_loaded_is_refused_at_once() {
    let refused = |stage: &Stage, source: &DataSource| {
        let error = Loader::open(source, stage, &architecture(), 1, Samples(10)).err().unwrap();
        (error.to_string(), error.hint().unwrap())
    };
    let (text, hint) = refused(&Stage { image_size_px: 18, ..stage() }, &DRAWN);
    assert!(text.contains("18") && hint.contains("16"), "{text} {hint}");
    let (text, _) = refused(&stage(), &DataSource::Synthetic { seed: 0, image_size_px: 2 });
    assert!(text.contains("image_size_px = 2"), "{text}");
    let mut small = architecture();
    small.text_cfg.vocab_size = 32_000;
    let error = Loader::open(&DRAWN, &stage(), &small, 1, Samples(10)).err().unwrap();
    assert!(error.hint().unwrap().contains("49408"), "{error}");
    assert!(Loader::open(&DRAWN, &stage(), &architecture(), 1, Samples(0)).is_err());
}

#[test]
fn loading_ahead_gives_the_same_batches_in_order_and_stops_where_told() {
    let loader = Arc::new(open(&DRAWN, &masked(), 1));
    let ahead: Vec<_> =
        Prefetcher::start(Arc::clone(&loader), 24, 8, 70).unwrap().map(Result::unwrap).collect();
    assert_eq!(ahead.len(), 5, "24, 32, 40, 48, 56; the rest is no whole batch");
    for (number, batch) in ahead.iter().enumerate() {
        assert_eq!(*batch, loader.batch(24 + 8 * number as u64, 8).unwrap());
    }
    assert_eq!(Prefetcher::start(loader, 5, 8, 5).unwrap().count(), 0);
}

#[test]
fn dropping_a_prefetcher_does_not_wait_for_the_batch() {
    let large = DataSource::Synthetic { seed: 3, image_size_px: 256 };
    let loader = Arc::new(open(&large, &stage(), 1));
    let start = Instant::now();
    loader.batch(0, 20).unwrap();
    let twenty = start.elapsed();
    let start = Instant::now();
    let prefetcher = Prefetcher::start(loader, 0, 20_000, u64::MAX).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    drop(prefetcher);
    assert!(start.elapsed() < twenty * 200, "a batch would take 1000 times {twenty:?}");
}

#[test]
fn a_failing_source_ends_loading_ahead_with_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_shard(folder.path(), "a.tar", &good_samples(30));
    let loader = Arc::new(open(&shards(&path), &stage(), 1));
    // The shard shrinks under the reader's hands.
    std::fs::File::options().write(true).open(&path).unwrap().set_len(600).unwrap();
    let mut ahead = Prefetcher::start(loader, 0, 8, 64).unwrap();
    let error = ahead.next().unwrap().unwrap_err();
    assert!(matches!(error, DataError::Member { .. }), "{error}");
    assert!(error.to_string().contains("a.tar"), "{error}");
    assert!(ahead.next().is_none());
}
