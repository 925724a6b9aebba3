//! Shards as other programs write them, and damaged ones.

use std::fs;

use image::ImageFormat;
use shoestring_data::DataError;
use shoestring_data::webdataset::{CaptionKind, ShardIndex};

use crate::common::{gnu_member, good_samples, header, member, pax_member, picture, write_shard};

fn open(path: &std::path::Path) -> Result<ShardIndex, DataError> {
    ShardIndex::open(&[path.to_string_lossy().into_owned()])
}

#[test]
fn members_are_grouped_by_key_and_read_by_offset() {
    let folder = tempfile::tempdir().unwrap();
    let png = picture(ImageFormat::Png, 3, 3, [1, 2, 3]);
    let path = write_shard(
        folder.path(),
        "a.tar",
        &[
            header("dir/", 0, b'5'),
            member("dir/one.x.jpg", b"other"),
            member("dir/one.PNG", &png),
            member("dir/one.json", b"{}"),
            member("dir/one.txt", b"a caption"),
            member("two.json", br#"{"caption": "two"}"#),
            member("two.cls", b"7"),
            member("README", b"no extension"),
            member("__meta__", b"x"),
        ],
    );
    let index = open(&path).unwrap();
    let [one, two] = index.samples() else { panic!("{:?}", index.samples()) };
    assert_eq!(&*one.key, "dir/one");
    assert_eq!(index.read(one.shard, one.image.unwrap()).unwrap(), png);
    let (kind, caption) = one.caption.unwrap();
    assert_eq!((kind, index.read(0, caption).unwrap()), (CaptionKind::Text, b"a caption".to_vec()));
    assert_eq!((&*two.key, two.image), ("two", None));
    assert_eq!(two.caption.unwrap().0, CaptionKind::Json);
    assert_eq!(index.read(0, two.label.unwrap()).unwrap(), b"7");
    assert_eq!(index.unterminated().count(), 0);
}

#[test]
fn two_samples_of_one_key_keep_their_own_captions() {
    let folder = tempfile::tempdir().unwrap();
    let members =
        [("a.jpg", "p"), ("a.txt", "one"), ("a.jpg", "q"), ("a.txt", "two"), ("a.npy", ""), ("a.npy", "")];
    let members = members.map(|(name, bytes)| member(name, bytes.as_bytes()));
    let index = open(&write_shard(folder.path(), "a.tar", &members)).unwrap();
    let read = |found| String::from_utf8(index.read(0, found).unwrap()).unwrap();
    let pairs: Vec<(String, String)> = index
        .samples()
        .iter()
        .map(|sample| (read(sample.image.unwrap()), read(sample.caption.unwrap().1)))
        .collect();
    assert_eq!(pairs, [("p", "one"), ("q", "two")].map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn long_names_of_both_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let long = |letter: &str| format!("{}/{}", letter.repeat(120), letter.repeat(60));
    let (a, b) = (long("a"), long("b"));
    let path = write_shard(
        folder.path(),
        "long.tar",
        &[
            pax_member(&format!("{a}.txt"), b"pax"),
            pax_member(&format!("{a}.png"), b"picture"),
            gnu_member(&format!("{b}.txt"), b"gnu"),
            gnu_member(&format!("{b}.png"), b"picture"),
        ],
    );
    let index = open(&path).unwrap();
    let keys: Vec<&str> = index.samples().iter().map(|sample| &*sample.key).collect();
    assert_eq!(keys, [a.as_str(), b.as_str()]);
    for (sample, text) in index.samples().iter().zip([&b"pax"[..], b"gnu"]) {
        assert_eq!(index.read(0, sample.caption.unwrap().1).unwrap(), text);
        assert!(sample.image.is_some());
    }
}

#[test]
fn brace_patterns_name_shards_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..3 {
        write_shard(folder.path(), &format!("s-{number:02}.tar"), &good_samples(number + 1));
    }
    let pattern = folder.path().join("s-{00..02}.tar").to_string_lossy().into_owned();
    let index = ShardIndex::open(&[pattern]).unwrap();
    let shards: Vec<u32> = index.samples().iter().map(|sample| sample.shard).collect();
    assert_eq!(shards, [0, 1, 1, 2, 2, 2]);
    let missing = folder.path().join("s-{01..03}.tar").to_string_lossy().into_owned();
    let error = ShardIndex::open(&[missing]).unwrap_err();
    assert!(error.to_string().contains("s-03.tar"), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn every_truncation_is_named_or_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(write_shard(folder.path(), "whole.tar", &good_samples(3))).unwrap();
    let path = folder.path().join("cut.tar");
    for keep in (1..whole.len() - 1024).step_by(61) {
        fs::write(&path, &whole[..keep]).unwrap();
        match open(&path) {
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("cut.tar") && text.contains("byte "), "{keep}: {text}");
                assert!(text.contains("truncated") || keep < 512, "{keep}: {text}");
                assert!(error.hint().unwrap().contains("again"), "{keep}");
            }
            // Cut between two members: nothing but the end marker is missing.
            Ok(index) => assert_eq!(index.unterminated().count(), 1, "{keep}"),
        }
    }
    fs::write(&path, &whole[..512 + 300]).unwrap();
    let Err(DataError::Truncated { offset: 512, file_bytes: 812, .. }) = open(&path) else {
        panic!("a member beyond the end");
    };
}

#[test]
fn what_is_no_tar_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    for (bytes, problem, advice) in [
        (vec![], "empty", "again"),
        (b"not a tar".repeat(200), "not a tar file", "again"),
        ([&[0x1f, 0x8b, 8, 0][..], &[7; 2000]].concat(), "gzip", "gunzip"),
        (member("readme.md", b"text").into_iter().chain([0; 1024]).collect(), "no samples", "caption"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
        assert!(error.hint().unwrap().contains(advice), "{:?}", error.hint());
    }
    let mut damaged = good_samples(2).concat();
    let second = damaged.len() / 2;
    damaged[second + 5] ^= 0xff;
    damaged.extend([0; 1024]);
    fs::write(&path, damaged).unwrap();
    let error = open(&path).unwrap_err();
    assert!(error.to_string().contains(&format!("byte {second}: damaged header")), "{error}");

    assert!(open(folder.path()).unwrap_err().to_string().contains("not a file"));
    let error = ShardIndex::open(&["s3://bucket/a.tar".to_owned()]).unwrap_err();
    assert!(error.hint().unwrap().contains("https://"), "{error}");
    let error = ShardIndex::open(&[]).unwrap_err();
    assert!(error.to_string().contains("shards = []"), "{error}");
}

#[test]
fn more_shards_than_files_may_stay_open() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..300 {
        write_shard(
            folder.path(),
            &format!("{number:03}.tar"),
            &[member("k.txt", number.to_string().as_bytes())],
        );
    }
    let pattern = folder.path().join("{000..299}.tar").to_string_lossy().into_owned();
    let index = ShardIndex::open(&[pattern]).unwrap();
    for number in [0, 255, 256, 299] {
        let sample = &index.samples()[number];
        assert_eq!(
            index.read(sample.shard, sample.caption.unwrap().1).unwrap(),
            number.to_string().as_bytes()
        );
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

    /// Whatever is wrong with a shard: refused, or every member that the index names can be read.
    #[test]
    fn damage_never_panics_and_never_promises_what_is_not_there(
        damage in proptest::collection::vec((0usize..6000, proptest::num::u8::ANY), 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{}.txt", "n".repeat(150));
        let mut bytes = [pax_member(&name, b"caption"), gnu_member(&name, b"caption")].concat();
        bytes.extend(good_samples(1).concat());
        for (at, value) in damage {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let path = folder.path().join("x.tar");
        fs::write(&path, bytes).unwrap();
        if let Ok(index) = open(&path) {
            for sample in index.samples() {
                let caption = sample.caption.map(|(_, member)| member);
                for member in [sample.image, caption, sample.label].into_iter().flatten() {
                    index.read(sample.shard, member).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_name_of_many_megabytes_is_not_read_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [b'x', b'L'] {
        let size = 40 << 20;
        let mut bytes = header("././@LongLink", size, kind);
        bytes.resize(512 + size, b'a');
        bytes.extend(member("1.txt", b"one"));
        let path = write_shard(folder.path(), "long.tar", &[bytes]);
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("a header of more than 16 MiB"), "{error}");
    }
}
