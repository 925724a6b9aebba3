//! Shards and pictures for the tests, written without the code under test.

use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat};
use shoestring_planner::architecture::Architecture;
use shoestring_planner::recipe::{DataSource, Stage};
use shoestring_planner::units::{Samples, Tokens};

/// A tar header block.
pub(crate) fn header(name: &str, size: usize, kind: u8) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    let short = &name.as_bytes()[..name.len().min(100)];
    block[..short.len()].copy_from_slice(short);
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"00000000000");
    block[148..156].copy_from_slice(b"        ");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Header and padded data of a member.
pub(crate) fn member(name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, data.len(), b'0');
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A member whose name stands in a PAX header before it, as Python's `tarfile` writes long names.
pub(crate) fn pax_member(name: &str, data: &[u8]) -> Vec<u8> {
    // The length of a record counts its own digits.
    let rest = format!(" path={name}\n");
    let mut length = rest.len() + 1;
    while format!("{length}{rest}").len() != length {
        length += 1;
    }
    let record = format!("{length}{rest}");
    let mut bytes = header("././@PaxHeader", record.len(), b'x');
    bytes.extend(record.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(member(&name[..90], data));
    bytes
}

/// A member whose name stands in a GNU long-name entry before it.
pub(crate) fn gnu_member(name: &str, data: &[u8]) -> Vec<u8> {
    let mut block = header("././@LongLink", name.len() + 1, b'L');
    block[257..265].copy_from_slice(b"ustar  \0");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.extend(name.as_bytes());
    block.push(0);
    block.resize(block.len().next_multiple_of(512), 0);
    block.extend(member(&name[..100], data));
    block
}

/// Writes a shard with its end marker.
pub(crate) fn write_shard(folder: &Path, name: &str, members: &[Vec<u8>]) -> PathBuf {
    let path = folder.join(name);
    let mut bytes = members.concat();
    bytes.extend([0; 1024]);
    fs::write(&path, bytes).expect("shard is written");
    path
}

/// A picture of one colour, as a file of this format.
pub(crate) fn picture(format: ImageFormat, width: u32, height: u32, rgb: [u8; 3]) -> Vec<u8> {
    encode(&image::RgbImage::from_pixel(width, height, image::Rgb(rgb)).into(), format)
}

pub(crate) fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).expect("picture is encoded");
    bytes.into_inner()
}

/// `count` good samples `000000`.. with pictures and captions of their own.
pub(crate) fn good_samples(count: u32) -> Vec<Vec<u8>> {
    let samples = (0..count).map(|number| {
        let rgb = [(number * 7 % 256) as u8, (number * 31 % 256) as u8, (number * 101 % 256) as u8];
        let mut bytes = member(&format!("{number:06}.png"), &picture(ImageFormat::Png, 12, 10, rgb));
        bytes.extend(member(&format!("{number:06}.txt"), format!("caption {number}").as_bytes()));
        bytes
    });
    samples.collect()
}

pub(crate) fn shards(path: &Path) -> DataSource {
    DataSource::Webdataset { shards: vec![path.to_string_lossy().into_owned()] }
}

pub(crate) fn architecture() -> Architecture {
    serde_json::from_value(serde_json::json!({
        "name": "test", "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 4},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }))
    .expect("an architecture")
}

pub(crate) fn stage() -> Stage {
    Stage {
        name: "pretrain".to_owned(),
        image_size_px: 16,
        image_reduction: Default::default(),
        image_mask_ratio: 0.0,
        text_tokens: Tokens(8),
        text_reduction: Default::default(),
        samples: Samples(1000),
        batch: 16,
        learning_rate: 1e-3,
        warmup_samples: Samples(0),
        schedule: Default::default(),
        decay_fraction: None,
        carry_optimizer: false,
    }
}
