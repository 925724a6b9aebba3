//! `data inspect`, `data repack` and `data tokenize` from outside.

use crate::harness::Sandbox;

fn drawn() -> Sandbox {
    let sandbox = Sandbox::new();
    let size = ["--samples", "60", "--eval-samples", "24", "--image-size", "48", "--shards", "2"];
    sandbox.ok(&[&["data", "synth", "--out", "set"][..], &size[..]].concat());
    sandbox
}

#[test]
fn an_inspection_tells_sizes_lengths_and_the_bound() {
    let sandbox = drawn();
    let found = sandbox
        .ok(&[
            "data",
            "inspect",
            "set",
            "--text-tokens",
            "2,77",
            "--compute-rate",
            "1e12",
            "--format",
            "json",
        ])
        .json();
    assert_eq!((&found["schema"], &found["version"]), (&"shoestring.data_inspect".into(), &1.into()));
    assert_eq!((found["samples"].as_u64(), found["shards"].as_u64()), (Some(60), Some(2)));
    assert_eq!(
        (found["bad_samples"].as_u64(), found["shorter_side_px"]["p50"].as_u64()),
        (Some(0), Some(48))
    );
    assert_eq!(found["cut"][0]["cut_percent"].as_f64(), Some(100.0));
    assert_eq!(found["cut"][1]["cut_percent"].as_f64(), Some(0.0));
    assert_eq!(found["bound"], "loader");
    let text = sandbox.ok(&["data", "inspect", "set/train-{000..001}.tar", "--compute-rate", "1e-6"]).stdout;
    assert!(text.contains("60 png") && text.contains("the model, at"), "{text}");
    let wrong = sandbox.run(&["data", "inspect", "nowhere.tar"]);
    assert_eq!(wrong.code, 1, "{}", wrong.snapshot());
    assert_eq!(sandbox.run(&["data", "inspect", "set", "--compute-rate", "-1"]).code, 2);
}

#[test]
fn repacked_shards_are_a_data_set_of_their_own() {
    let sandbox = drawn();
    let command = [
        "data",
        "repack",
        "set",
        "--out",
        "small",
        "--size",
        "16",
        "--format",
        "json",
        "--egress-price",
        "0.09",
    ];
    let done = sandbox.ok(&command).json();
    assert_eq!((done["samples"].as_u64(), done["shards"].as_u64()), (Some(60), Some(2)));
    assert!(done["bytes_after"].as_u64() < done["bytes_before"].as_u64(), "{done}");
    assert!(done["egress_saved_usd"].as_f64().is_some());
    assert_eq!(sandbox.ok(&command).json()["bytes_after"], done["bytes_after"], "nothing is left to do");
    let found = sandbox.ok(&["data", "inspect", "small", "--format", "json"]).json();
    assert_eq!((found["samples"].as_u64(), found["longer_side_px"]["most"].as_u64()), (Some(60), Some(16)));
    let occupied = sandbox.run(&["data", "repack", "set", "--out", "small", "--size", "8"]);
    assert_eq!(occupied.code, 1);
    assert!(occupied.stderr.contains("holds another data set"), "{}", occupied.stderr);
}

#[test]
fn captions_are_tokenized_by_either_tokenizer_and_shortened() {
    let sandbox = Sandbox::new();
    let ids = |arguments: &[&str]| {
        sandbox.ok(&[&["data", "tokenize"][..], arguments].concat()).stdout.trim_end().to_owned()
    };
    assert_eq!(ids(&["a photo of a cat"]), "320 1125 539 320 2368");
    assert_eq!(ids(&["a photo of a cat", "--tokenizer", "bert"]), "1037 6302 1997 1037 4937");
    let cut = ["a photo of a cat", "--text-tokens", "4", "--text-reduction", "syntax"];
    assert_eq!(ids(&cut), "49406 1125 2368 49407");
    let object = sandbox.ok(&["data", "tokenize", "a cat", "--format", "json"]).json();
    assert_eq!(object["captions"][0]["token_ids"], serde_json::json!([320, 2368]));
    assert_eq!(
        (object["start_token_id"].as_u64(), object["end_token_id"].as_u64()),
        (Some(49406), Some(49407))
    );
}
