//! Parsers of models from elsewhere: weights, configurations, and what evaluations read.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use serde_json::{Value, json};
use shoestring_data::EvaluationSet;
use shoestring_data::evaluation::read_karpathy;
use shoestring_exchange::{
    Weight, Weights, read_safetensors, read_tensors, read_weights_with_config, safetensors_bytes,
};
use shoestring_planner::architecture::Architecture;
use shoestring_planner::open_clip::read_config;
use shoestring_planner::recipe::{DataSource, EvaluationData};
use shoestring_planner::units::{Samples, Tokens};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::targets::file;

/// What `torch.save` writes: a state dict, a training checkpoint, half precision with a view, a TorchScript module.
const PICKLES: [&[u8]; 4] = [
    include_bytes!("../seeds/state_dict.pkl"),
    include_bytes!("../seeds/checkpoint.pkl"),
    include_bytes!("../seeds/half.pkl"),
    include_bytes!("../seeds/module.pkl"),
];
/// Storages in an archive, and the bytes of each.
const STORAGES: usize = 16;
const STORAGE_BYTES: usize = 24;

fn archive_of(pickle: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(name, stored).expect("a member is begun");
        zip.write_all(bytes).expect("a member is written");
    };
    add("x/data.pkl", pickle);
    for number in 0..STORAGES {
        add(&format!("x/data/{number}"), &[0x3c; STORAGE_BYTES]);
    }
    zip.finish().expect("an archive is ended").into_inner()
}

/// No tensor has more numbers than its file could hold.
fn bounded(weights: &Weights, bytes: usize) {
    let numbers: usize = weights.values().map(|weight| weight.numbers.len()).sum();
    assert!(numbers <= 4 * bytes, "{numbers} numbers out of {bytes} bytes");
    for weight in weights.values() {
        assert_eq!(weight.shape.iter().product::<usize>(), weight.numbers.len());
    }
}

pub fn archives() -> Vec<Vec<u8>> {
    PICKLES.map(archive_of).to_vec()
}

pub fn archive(bytes: &[u8]) -> bool {
    let file = file(bytes, ".pt");
    read_tensors(file.path()).inspect(|weights| bounded(weights, bytes.len())).is_ok()
}

pub fn pickles() -> Vec<Vec<u8>> {
    PICKLES.map(<[u8]>::to_vec).to_vec()
}

/// In a whole archive around it, whose checksums would catch all damage.
pub fn pickle(bytes: &[u8]) -> bool {
    archive(&archive_of(bytes))
}

fn tiny() -> Architecture {
    read_config(CONFIG, "tiny").expect("a configuration")
}

const CONFIG: &str = r#"{"embed_dim": 4,
    "vision_cfg": {"image_size": 4, "layers": 1, "width": 4, "head_width": 4, "patch_size": 2},
    "text_cfg": {"context_length": 4, "vocab_size": 49408, "width": 1, "heads": 1, "layers": 1}}"#;

/// Weights of a few numbers, which fit no configuration but are whole.
fn few_weights() -> Vec<u8> {
    let weight =
        |shape: &[usize]| Weight { shape: shape.to_vec(), numbers: vec![0.5; shape.iter().product()] };
    let weights = [("logit_scale", weight(&[])), ("visual.proj", weight(&[4, 4])), ("a", weight(&[2, 0, 3]))];
    let weights: Weights = weights.into_iter().map(|(name, weight)| (name.to_owned(), weight)).collect();
    safetensors_bytes(Path::new("seed"), &weights).expect("weights")
}

pub fn tensors() -> Vec<Vec<u8>> {
    vec![few_weights()]
}

pub fn tensor(bytes: &[u8]) -> bool {
    read_safetensors(Path::new("fuzz"), bytes).inspect(|weights| bounded(weights, bytes.len())).is_ok()
}

pub fn configs() -> Vec<Vec<u8>> {
    let published = json!({
        "model_cfg": serde_json::from_str::<Value>(CONFIG).expect("is JSON"),
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic",
            "resize_mode": "squash"},
    });
    let hugging_face = json!({
        "model_type": "clip", "projection_dim": 4,
        "vision_config": {"hidden_size": 4, "intermediate_size": 16, "num_hidden_layers": 1, "patch_size": 2,
            "num_attention_heads": 1, "image_size": 4, "hidden_act": "gelu"},
        "text_config": {"hidden_size": 4, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 49408,
            "num_attention_heads": 1, "max_position_embeddings": 4, "hidden_act": "gelu"},
    });
    vec![CONFIG.into(), published.to_string().into(), hugging_face.to_string().into()]
}

/// Accepted: read far enough that the weights are found not to fit.
pub fn config(bytes: &[u8]) -> bool {
    let (config, weights) = (file(bytes, ".json"), file(&few_weights(), ".safetensors"));
    match read_weights_with_config(weights.path(), config.path()) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.to_string().len() < 2000, "a message of {} bytes", error.to_string().len());
            error.to_string().contains("tensor `")
        }
    }
}

pub fn names() -> Vec<Vec<u8>> {
    vec![
        b"red fox\nblue fox\nan old house\n".to_vec(),
        "\u{feff}\u{732b}\r\nna\u{ef}ve caf\u{e9}\r\n".into(),
        b"a photo of a {c}.\n{c}\na {c} beside a {c}\n".to_vec(),
    ]
}

/// As class names and as templates.
pub fn name(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [("1.png", b"no picture".as_slice()), ("1.cls", b"0")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).expect("a member is appended");
    }
    fs::write(path("e.tar"), tar.into_inner().expect("a tar is ended")).expect("the tar is written");
    fs::write(path("fuzz.txt"), bytes).expect("the file is written");
    fs::write(path("c.txt"), "fox\nhat\n").expect("the file is written");
    let mut set = EvaluationData {
        source: DataSource::Webdataset { shards: vec![path("e.tar")] },
        samples: Samples(1),
        class_names: path("fuzz.txt"),
        templates: String::new(),
    };
    let open = |set: &EvaluationData| EvaluationSet::open(set, &tiny(), 4, Tokens(6), Samples(0)).is_ok();
    let as_names = open(&set);
    (set.class_names, set.templates) = (path("c.txt"), path("fuzz.txt"));
    open(&set) || as_names
}

pub fn retrievals() -> Vec<Vec<u8>> {
    vec![
        br#"{"images":[{"filename":"a.jpg","filepath":"val","split":"test","sentences":[{"raw":"x"},{"raw":"y"}]},
            {"filename":"b.jpg","split":"train","sentences":[{"raw":"z"}]}],"dataset":"coco"}"#
            .to_vec(),
    ]
}

pub fn retrieval(bytes: &[u8]) -> bool {
    let file = file(bytes, ".json");
    let Ok(found) = read_karpathy(file.path(), Path::new("/pictures"), "test") else { return false };
    for image in found {
        assert!(image.path.starts_with("/pictures") && !image.captions.is_empty());
        assert!(!image.path.components().any(|part| part.as_os_str() == ".."));
    }
    true
}
