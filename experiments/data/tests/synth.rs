//! Writing the generator's data set, and reading it back.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use shoestring_data::synth::Synth;
use shoestring_data::write::{Progress, SynthRequest, write_synth};
use shoestring_data::{DataError, EvaluationSet, Loader, read_dataset_folder};
use shoestring_planner::recipe::{Data, DataSource};
use shoestring_planner::units::{Samples, Tokens};

use crate::common::{architecture, stage};

fn request(out: &Path) -> SynthRequest {
    SynthRequest {
        out: out.to_owned(),
        samples: Samples(50),
        eval_samples: Samples(24),
        image_size_px: 16,
        shards: 3,
        seed: 9,
    }
}

fn write(request: &SynthRequest) -> Result<Data, DataError> {
    write_synth(request, &mut |_| ControlFlow::Continue(()))
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_written_set_reads_back_as_what_was_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a/set");
    let mut heard = Vec::new();
    let written = write_synth(&request(&out), &mut |progress| {
        heard.push(progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(heard.last(), Some(&Progress { done: 74, total: 74 }));
    let names: Vec<String> = contents(&out).into_iter().map(|file| file.0).collect();
    let expected = "classnames.txt dataset.toml eval-000.tar synth.toml templates.txt train-000.tar train-001.tar \
                    train-002.tar";
    assert_eq!(names.join(" "), expected);

    let data = read_dataset_folder(&out).unwrap();
    assert_eq!(data, written.resolved(&out));
    assert_eq!(data, read_dataset_folder(&out.join("dataset.toml")).unwrap());
    let DataSource::Webdataset { shards } = &data.train else { panic!("{data:?}") };
    assert_eq!(shards, &[out.join("train-{000..002}.tar").to_string_lossy().into_owned()]);

    let loader = Loader::open(&data.train, &stage(), &architecture(), 1, data.unique_samples).unwrap();
    assert_eq!(loader.epoch_samples(), Samples(50));
    assert!(loader.warnings().is_empty(), "{:?}", loader.warnings());
    loader.batch(0, 50).unwrap();
    assert_eq!((loader.counts().good, loader.counts().bad_total()), (50, 0));

    // Evaluation pictures are the generator's, bit for bit: PNG loses nothing and nothing is cropped.
    let (size, tokens, all) = (16, Tokens(8), Samples(0));
    let evaluation = data.evaluation.unwrap();
    let set = EvaluationSet::open(&evaluation, &architecture(), size, tokens, all).unwrap();
    let mut drawn = evaluation.clone();
    drawn.source = DataSource::Synthetic { seed: 9, image_size_px: 16 };
    (drawn.class_names, drawn.templates) = (String::new(), String::new());
    let drawn = EvaluationSet::open(&drawn, &architecture(), size, tokens, all).unwrap();
    assert_eq!(set.batch(0, 24).unwrap(), drawn.batch(0, 24).unwrap());
    assert_eq!((set.prompts(), set.class_names()), (drawn.prompts(), drawn.class_names()));
}

#[test]
fn the_same_request_gives_the_same_bytes_and_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    write(&request(&one)).unwrap();
    let whole = contents(&one);

    let mut calls = 0;
    let stopped = write_synth(&request(&other), &mut |_| {
        calls += 1;
        if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(DataError::Stopped)));
    let partial = contents(&other);
    assert!(partial.len() < whole.len() && partial.iter().all(|file| whole.contains(file)), "no half files");
    // What kill -9 would leave behind, and a shard that lost its end.
    fs::write(other.join(".train-001.tar.4711.tmp"), "half").unwrap();
    let shard = fs::read(other.join("train-000.tar")).unwrap();
    fs::write(other.join("train-000.tar"), &shard[..shard.len() - 2000]).unwrap();
    write(&request(&other)).unwrap();
    assert_eq!(contents(&other), whole);
    write(&request(&other)).unwrap();
    assert_eq!(contents(&other), whole);
}

#[test]
fn folders_with_other_content_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    write(&request(&set)).unwrap();
    let before = contents(&set);
    let error = write(&SynthRequest { samples: Samples(60), ..request(&set) }).unwrap_err();
    assert!(error.to_string().contains("`samples = 50` there, `samples = 60` asked for"), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(contents(&set), before);

    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis.tex"), "years of work").unwrap();
    let error = write(&request(&other)).unwrap_err();
    assert!(error.to_string().contains("not empty (`thesis.tex`)"), "{error}");
    assert_eq!(contents(&other).len(), 1);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(write(&request(&file)).unwrap_err().to_string().contains("is a file"));
}

#[test]
fn requests_that_make_no_data_set_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    for (request, problem) in [
        (SynthRequest { samples: Samples(0), ..request(&out) }, "samples = 0"),
        (SynthRequest { shards: 0, ..request(&out) }, "shards = 0"),
        (SynthRequest { shards: 51, ..request(&out) }, "shards = 51"),
        (SynthRequest { image_size_px: 4, ..request(&out) }, "image_size_px = 4"),
    ] {
        let error = write(&request).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
        assert!(error.hint().is_some());
        assert!(!out.exists());
    }
    let bare = write(&SynthRequest { eval_samples: Samples(0), shards: 1, ..request(&out) }).unwrap();
    assert_eq!(bare.evaluation, None);
    let data = read_dataset_folder(&out).unwrap();
    assert!(matches!(data.train, DataSource::Webdataset { shards } if shards[0].ends_with("/train-000.tar")));
}

#[test]
fn folders_without_a_readable_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let error = read_dataset_folder(folder.path()).unwrap_err();
    assert!(error.to_string().contains("no dataset.toml"), "{error}");
    assert!(error.hint().unwrap().contains("data synth"));
    assert!(read_dataset_folder(&folder.path().join("nowhere")).is_err());
    fs::write(folder.path().join("dataset.toml"), "version = 9\nname = \"x\"\n").unwrap();
    assert!(read_dataset_folder(folder.path()).unwrap_err().to_string().contains("version = 9"));
}

#[test]
fn the_first_pairs_are_pinned() {
    // Data sets are named by (seed, index): what they draw never changes.
    let captions: Vec<String> = (0..4).map(|index| Synth::new(0, 16).unwrap().pair(index).caption).collect();
    assert_eq!(captions, PINNED);
}
const PINNED: [&str; 4] = [
    "one green moon",
    "a drawing of a brown moon",
    "a striped black circle to the right of a yellow triangle",
    "this is a blue diamond in the upper left on a white background",
];
