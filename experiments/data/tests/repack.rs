//! Inspecting and repacking shards.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use image::ImageFormat;
use shoestring_data::picture::decode;
use shoestring_data::webdataset::ShardIndex;
use shoestring_data::{
    BadCause, DataError, InspectRequest, RepackRequest, Repacked, find_source, inspect, repack,
};
use shoestring_planner::recipe::DataSource;
use shoestring_planner::units::Samples;

use crate::common::{encode, member, write_shard};

fn noisy(width: u32, height: u32) -> Vec<u8> {
    let image = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8])
    });
    encode(&image.into(), ImageFormat::Jpeg)
}

fn write_two(folder: &Path) -> Vec<String> {
    let mut members = vec![
        [member("a/1.jpg", &noisy(120, 90)), member("a/1.txt", b"one"), member("a/1.npy", &[1, 2, 3])]
            .concat(),
        [
            member("/etc/2.png", &encode(&image::RgbImage::new(10, 300).into(), ImageFormat::Png)),
            member("/etc/2.txt", b"two"),
        ]
        .concat(),
        [member("3.jpg", b"broken"), member("3.txt", b"three")].concat(),
        [member("../../4.jpg", &noisy(20, 16)), member("../../4.json", b"{\"caption\": \"four\"}")].concat(),
    ];
    write_shard(folder, "x-00.tar", &members);
    members.truncate(1);
    write_shard(folder, "x-01.tar", &members);
    vec![folder.join("x-{00..01}.tar").to_string_lossy().into_owned()]
}

fn request(shards: &[String], out: &Path) -> RepackRequest {
    RepackRequest {
        shards: shards.to_vec(),
        out: out.to_owned(),
        shorter_side_px: 32,
        quality: 90,
        data: None,
    }
}

fn run(request: &RepackRequest) -> Result<Repacked, DataError> {
    repack(request, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn pictures_get_smaller_and_the_rest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let shards = write_two(folder.path());
    let out = folder.path().join("out");
    let done = run(&request(&shards, &out)).unwrap();
    assert_eq!((done.shards, done.samples), (2, 4));
    assert_eq!(done.counts.bad[&BadCause::BrokenImage], 1);
    assert!(done.bytes_after < done.bytes_before);
    let index = ShardIndex::open_files(&[out.join("shard-00000.tar")]).unwrap();
    let sides: Vec<(u32, u32)> = index
        .samples()
        .iter()
        .map(|sample| {
            let picture = decode(&index.read(sample.shard, sample.image.unwrap()).unwrap()).unwrap();
            (picture.width, picture.height)
        })
        .collect();
    // The narrow one and the small one stay as they are.
    assert_eq!(sides, [(43, 32), (10, 300), (20, 16)]);
    let keys: Vec<&str> = index.samples().iter().map(|sample| &*sample.key).collect();
    assert_eq!(keys, ["a/1", "etc/2", "4"], "nothing leads out of a folder that the shard is unpacked into");
    let mut names = Vec::new();
    let mut archive = tar::Archive::new(fs::File::open(out.join("shard-00000.tar")).unwrap());
    for entry in archive.entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().to_string_lossy().into_owned());
    }
    assert_eq!(names, ["a/1.jpg", "a/1.txt", "a/1.npy", "etc/2.png", "etc/2.txt", "4.jpg", "4.json"]);
    let (source, data) = find_source(&[out.to_string_lossy().into_owned()]).unwrap();
    assert_eq!(data.unwrap().unique_samples, Samples(4));
    assert!(matches!(source, DataSource::Webdataset { .. }));
}

#[test]
fn the_same_bytes_again_also_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let shards = write_two(folder.path());
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    run(&request(&shards, &one)).unwrap();
    let stopped = repack(&request(&shards, &two), &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(DataError::Stopped)));
    assert!(!two.join("dataset.toml").exists());
    run(&request(&shards, &two)).unwrap();
    for name in ["shard-00000.tar", "shard-00001.tar", "dataset.toml", "repack.toml"] {
        assert_eq!(fs::read(one.join(name)).unwrap(), fs::read(two.join(name)).unwrap(), "{name}");
    }
    let other = RepackRequest { shorter_side_px: 16, ..request(&shards, &one) };
    assert!(run(&other).unwrap_err().to_string().contains("holds another data set"));
}

#[test]
fn an_inspection_counts_sizes_lengths_and_what_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let (source, _) = find_source(&write_two(folder.path())).unwrap();
    let request = InspectRequest {
        source,
        drawn: Samples(0),
        samples: 0,
        image_size_px: 16,
        tokenizer: Default::default(),
        text_tokens: vec![2, 3],
    };
    let found = inspect(&request, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((found.samples, found.shards, found.counts.good), (5, 2, 4));
    assert_eq!(found.counts.causes(), "1 broken image");
    assert_eq!((found.shorter_side_px.least, found.longer_side_px.most), (10, 300));
    assert_eq!((found.formats["jpeg"], found.formats["png"]), (3, 1));
    assert_eq!(found.cut, [(2, 1.0), (3, 0.0)]);
    assert!(found.samples_per_second_per_core > 0.0);
    let bytes: u64 = ["x-00.tar", "x-01.tar"]
        .map(|name| fs::metadata(folder.path().join(name)).unwrap().len())
        .iter()
        .sum();
    assert_eq!(found.shard_bytes, bytes);
}

/// All members of a sample are held at once, so that together they are bounded, too.
#[test]
fn a_sample_whose_members_are_too_large_together_is_left_out_and_counted() {
    use std::os::unix::fs::FileExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    let file = fs::File::create(&path).unwrap();
    let mut end = 0;
    let large = 140u64 << 20;
    // The contents of the large ones are holes.
    for name in ["a.1.bin", "a.2.bin"] {
        file.write_all_at(&crate::common::header(name, large as usize, b'0'), end).unwrap();
        end += 512 + large;
    }
    let rest = [
        member("a.jpg", &noisy(40, 30)),
        member("a.txt", b"one"),
        member("b.jpg", &noisy(40, 30)),
        member("b.txt", b"two"),
        vec![0; 1024],
    ];
    file.write_all_at(&rest.concat(), end).unwrap();
    let done = run(&request(&[path.to_string_lossy().into_owned()], &folder.path().join("out"))).unwrap();
    assert_eq!((done.samples, done.counts.bad[&BadCause::ImageTooLarge]), (1, 1));
    assert!(done.counts.examples[0].contains("bytes with all that belongs to it"), "{:?}", done.counts);
}

#[test]
fn two_samples_of_one_key_stay_two() {
    let folder = tempfile::tempdir().unwrap();
    let members = [(40, "one"), (80, "two")]
        .map(|(side, text)| [member("a.jpg", &noisy(side, side)), member("a.txt", text.as_bytes())].concat());
    let shard = write_shard(folder.path(), "x.tar", &members);
    let out = folder.path().join("out");
    let done = run(&request(&[shard.to_string_lossy().into_owned()], &out)).unwrap();
    assert_eq!(done.samples, 2);
    let index = ShardIndex::open_files(&[out.join("shard-00000.tar")]).unwrap();
    for (sample, text) in index.samples().iter().zip(["one", "two"]) {
        assert_eq!(decode(&index.read(0, sample.image.unwrap()).unwrap()).unwrap().width, 32);
        assert_eq!(index.read(0, sample.caption.unwrap().1).unwrap(), text.as_bytes());
    }
}
