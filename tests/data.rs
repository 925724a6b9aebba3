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

/// The list is one that pandas wrote; its pictures are not there.
#[test]
fn a_parquet_list_is_inspected_by_the_names_of_its_columns() {
    let sandbox = Sandbox::new();
    sandbox.write("list.parquet", include_bytes!("../experiments/data/tests/files/pandas.parquet"));
    let found = sandbox.ok(&["data", "inspect", "list.parquet", "--format", "json"]).json();
    assert_eq!((found["samples"].as_u64(), found["bad_samples"].as_u64()), (Some(4), Some(4)));
    assert_eq!(found["bad_samples_by_cause"]["missing_image"].as_u64(), Some(2));
    assert_eq!(found["bad_samples_by_cause"]["empty_caption"].as_u64(), Some(2));
    let swapped = ["data", "inspect", "list.parquet", "--image-column", "title", "--caption-column", "kind"];
    assert!(sandbox.ok(&swapped).stdout.contains("missing image"));
    let wrong = sandbox.run(&["data", "inspect", "list.parquet", "--caption-column", "TEXT"]);
    assert_eq!(wrong.code, 1, "{}", wrong.snapshot());
    assert!(wrong.stderr.contains("list.parquet: no column `TEXT`"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("hint: the columns are id, title, filepath"), "{}", wrong.stderr);
    let wrong = sandbox.run(&["data", "inspect", "x.tar", "--caption-column", "TEXT"]);
    assert_eq!(wrong.code, 2, "{}", wrong.snapshot());
}

#[test]
fn an_endless_caption_on_stdin_is_refused() {
    use std::io::Write;
    use std::process::Stdio;

    let sandbox = Sandbox::new();
    let mut tokenize = sandbox.command(&["data", "tokenize"]);
    tokenize.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tokenize.spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("is piped");
    stdin.write_all(b"a cat\n").expect("writes");
    // The program ends while more comes.
    let _ = stdin.write_all(&vec![b'a'; 4 << 20]);
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "320 2368\n");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("stdin:2: a line of more than 1048576 bytes"), "{stderr}");
}
