//! The parsers, and whole files for each to be damaged.

use std::io::{Cursor, Write};

use image::{DynamicImage, ImageFormat};
use shoestring_data::picture::{Region, View, decode, decode_view};
use shoestring_data::text::{Tokenizer, rank};
use shoestring_data::webdataset::{ShardIndex, expand};
use shoestring_data::{InspectRequest, find_source, inspect};
use shoestring_planner::architecture::TextTokenizer;
use shoestring_planner::recipe::{ImagePreparation, read_manifest, read_recipe};
use shoestring_planner::units::Samples;

use crate::models;

pub struct Target {
    pub name: &'static str,
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Whether the bytes were accepted.
    pub parse: fn(&[u8]) -> bool,
}

pub const TARGETS: [Target; 15] = [
    Target { name: "jpeg", seeds: jpegs, parse: picture },
    Target { name: "png", seeds: pngs, parse: picture },
    Target { name: "webp", seeds: webps, parse: picture },
    Target { name: "tar", seeds: tars, parse: tar },
    Target { name: "list", seeds: lists, parse: list },
    Target { name: "parquet", seeds: parquets, parse: parquet },
    Target { name: "caption", seeds: captions, parse: caption },
    Target { name: "braces", seeds: patterns, parse: braces },
    Target { name: "toml", seeds: tomls, parse: toml },
    Target { name: "archive", seeds: models::archives, parse: models::archive },
    Target { name: "pickle", seeds: models::pickles, parse: models::pickle },
    Target { name: "safetensors", seeds: models::tensors, parse: models::tensor },
    Target { name: "config", seeds: models::configs, parse: models::config },
    Target { name: "names", seeds: models::names, parse: models::name },
    Target { name: "retrieval", seeds: models::retrievals, parse: models::retrieval },
];

fn drawn(width: u32, height: u32) -> image::RgbImage {
    image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 9) as u8, (y * 7) as u8, (x * y / 3) as u8])
    })
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).expect("a picture is encoded");
    bytes.into_inner()
}

fn jpegs() -> Vec<Vec<u8>> {
    let grey = DynamicImage::from(drawn(40, 30)).into_luma8();
    vec![
        encoded(drawn(70, 50), ImageFormat::Jpeg),
        encoded(drawn(16, 16), ImageFormat::Jpeg),
        encoded(grey, ImageFormat::Jpeg),
    ]
}

fn pngs() -> Vec<Vec<u8>> {
    let deep = DynamicImage::from(drawn(9, 20)).into_rgb16();
    let clear = DynamicImage::from(drawn(30, 30)).into_rgba8();
    vec![
        encoded(drawn(50, 40), ImageFormat::Png),
        encoded(deep, ImageFormat::Png),
        encoded(clear, ImageFormat::Png),
    ]
}

fn webps() -> Vec<Vec<u8>> {
    vec![encoded(drawn(33, 21), ImageFormat::WebP), encoded(drawn(2, 2), ImageFormat::WebP)]
}

fn picture(bytes: &[u8]) -> bool {
    let mut out = vec![0.0; 3 * 16 * 16];
    let how = ImagePreparation::default();
    let mut fits = |choose: &dyn Fn(u32, u32) -> View| decode_view(bytes, choose, 16, how, &mut out).is_ok();
    let seen = fits(&|_, _| View::Squash);
    fits(&|_, _| View::Centre);
    fits(&|width, height| {
        let (left, top) = (width / 4, height / 4);
        View::Region(Region { left, top, width: width.div_ceil(2), height: height.div_ceil(2) })
    });
    // A smaller version may be had of what is damaged only where it is not looked at.
    decode(bytes).is_ok() || seen
}

fn tars() -> Vec<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let png = encoded(drawn(5, 5), ImageFormat::Png);
    for (name, bytes) in [
        ("a/0001.png", &png[..]),
        ("a/0001.txt", b"a caption"),
        ("a/0002.jpg", b"no picture"),
        ("a/0002.json", b"{\"caption\": \"another\"}"),
        (&"long/".repeat(40), b""),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name.trim_end_matches('/'), bytes).expect("a member is appended");
    }
    vec![builder.into_inner().expect("a tar is ended")]
}

pub fn file(bytes: &[u8], ending: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(ending).tempfile().expect("a temporary file");
    file.write_all(bytes).expect("the file is written");
    file
}

/// Everything that an index promises can be read.
fn tar(bytes: &[u8]) -> bool {
    let file = file(bytes, ".tar");
    let Ok(index) = ShardIndex::open_files(&[file.path().to_owned()]) else { return false };
    for sample in index.samples() {
        let caption = sample.caption.map(|(_, member)| member);
        for member in [sample.image, caption, sample.label].into_iter().flatten() {
            index.read(sample.shard, member).expect("what the index names is there");
        }
    }
    looked_at(file.path())
}

fn looked_at(path: &std::path::Path) -> bool {
    let Ok((source, _)) = find_source(&[path.to_string_lossy().into_owned()]) else { return false };
    let request = InspectRequest {
        source,
        drawn: Samples(0),
        samples: 0,
        image_size_px: 8,
        tokenizer: TextTokenizer::Clip,
        text_tokens: vec![4],
    };
    inspect(&request, &mut |_| std::ops::ControlFlow::Continue(())).is_ok()
}

fn lists() -> Vec<Vec<u8>> {
    vec![
        b"filepath,title\n\"x.png\",\"a, caption\"\ny.png,other\n".to_vec(),
        b"\xef\xbb\xbftitle,filepath\n\"a \"\"word\"\"\",z.jpg\r\n".to_vec(),
    ]
}

fn list(bytes: &[u8]) -> bool {
    looked_at(file(bytes, ".csv").path())
}

/// Written by pandas (snappy) and by polars (zstd), with columns of other kinds beside.
fn parquets() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../../experiments/data/tests/files/pandas.parquet").to_vec(),
        include_bytes!("../../experiments/data/tests/files/polars.parquet").to_vec(),
    ]
}

fn parquet(bytes: &[u8]) -> bool {
    looked_at(file(bytes, ".parquet").path())
}

fn captions() -> Vec<Vec<u8>> {
    [
        "a photo of a cat, it's 10 o'clock &amp; the dog&#39;s asleep",
        "Ã§Å“â€œ voilÃ le travail &NTILDE; \u{1b}[1;3mblue",
        "\u{1f468}\u{200d}\u{1f469} 猫 e\u{301}\u{345} ΌΣΟΣ ﬂuﬃ ＷＩＤＥ [MASK] <end_of_text>",
        "&#xffffffff; &#0; &notit; &&;#;",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn caption(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    for name in [TextTokenizer::Clip, TextTokenizer::Bert] {
        let tokenizer = Tokenizer::named(name);
        assert!(
            tokenizer.encode(&text).iter().all(|&id| id < tokenizer.vocabulary()),
            "ids are in the vocabulary"
        );
        let (ids, ranks) = tokenizer.encode_ranked(&text);
        assert_eq!(ids.len(), ranks.len());
    }
    let words: Vec<&str> = text.split(' ').collect();
    rank(&words).len() == words.len()
}

fn patterns() -> Vec<Vec<u8>> {
    ["t-{000..011}.tar", "{a..c}{1,2}", "x{a,b{1..2},}y", "{0..6..3}", "{-1..1}"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

fn braces(bytes: &[u8]) -> bool {
    expand(&String::from_utf8_lossy(bytes)).is_ok()
}

fn tomls() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../../examples/shapes.toml").to_vec(),
        b"version = 1\nname = \"x\"\nunique_samples = 10\n[train]\nkind = \"webdataset\"\nshards = [\"a\"]\n"
            .to_vec(),
    ]
}

fn toml(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let path = std::path::Path::new("x.toml");
    let recipe = read_recipe(&text, path).is_ok_and(|recipe| recipe.check().is_ok());
    read_manifest(&text, path).is_ok() || recipe
}
