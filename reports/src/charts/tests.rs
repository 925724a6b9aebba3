//! What holds for every chart: nothing overlaps, nothing lies outside, everything can be read.

#![allow(clippy::unwrap_used)]

use super::scene::{Item, Rect};
use super::*;
use crate::fixture::{Sample, planned_inputs, usd};
use crate::read::read_runs;

fn samples() -> Vec<Sample> {
    let mut samples = vec![
        Sample::new("demo"),
        Sample { planned: false, cut_off: true, accuracy: 0.2, ..Sample::new(&"long name ".repeat(12)) },
        Sample {
            dataset: "imagenet1k".to_owned(),
            classes: 1000,
            usd_per_hour: 25_000.0,
            cap: 9_000.0,
            accuracy: 0.62,
            ..Sample::new("grant")
        },
        Sample { steps: [1, 1], ..Sample::new("tiny") },
    ];
    // Many that end at nearly the same place.
    samples.extend((0..9).map(|index| Sample {
        steps: [20 + index, 10],
        accuracy: 0.3 + 0.002 * index as f64,
        ..Sample::new(&format!("sweep-{index}"))
    }));
    samples
}

fn all_drafts() -> Vec<Draft> {
    let folder = tempfile::tempdir().unwrap();
    let mut inputs = planned_inputs();
    inputs.budgets.push(usd(8_500.0));
    let mut directories: Vec<_> = samples().iter().map(|sample| sample.write(folder.path())).collect();
    let (runs, _) = read_runs(&directories).unwrap();
    let mut all = drafts(&inputs, &runs).unwrap();
    directories.clear();
    all.extend(drafts(&inputs, &[]).unwrap());
    all
}

#[test]
fn no_text_overlaps_another_or_leaves_the_picture() {
    let drafts = all_drafts();
    assert!(drafts.len() > 30);
    for draft in &drafts {
        for scene in [&draft.wide, &draft.narrow] {
            let (width, height) = (f64::from(scene.width), f64::from(scene.height));
            let page = Rect { left: 0.0, top: 0.0, right: width, bottom: height };
            let boxes = scene.text_boxes();
            for (index, (one, text)) in boxes.iter().enumerate() {
                assert!(page.contains(one), "{}: `{text}` is cut off: {one:?}", draft.id);
                for (other, other_text) in &boxes[index + 1..] {
                    assert!(!one.overlaps(other), "{} ({width}): `{text}` over `{other_text}`", draft.id);
                }
            }
        }
    }
}

#[test]
fn no_text_is_too_small_and_every_chart_is_named() {
    for draft in &all_drafts() {
        for (scene, least) in [(&draft.wide, 14.0), (&draft.narrow, 12.0)] {
            let sizes: Vec<f64> = scene
                .items
                .iter()
                .filter_map(|item| match item {
                    Item::Text { em, .. } => Some(*em),
                    _ => None,
                })
                .collect();
            assert!(sizes.len() > 5 && sizes.iter().all(|&em| em >= least), "{}: {sizes:?}", draft.id);
        }
        assert_eq!((draft.wide.width, draft.narrow.width), (1200, 380), "{}", draft.id);
        assert!(draft.alt.len() > draft.caption.len() && draft.caption.ends_with('.'), "{}", draft.alt);
    }
}

#[test]
fn lines_stay_within_the_picture() {
    for draft in &all_drafts() {
        for scene in [&draft.wide, &draft.narrow] {
            let inside = |&(x, y): &(f64, f64)| {
                x >= -1.0
                    && y >= -1.0
                    && x <= f64::from(scene.width) + 1.0
                    && y <= f64::from(scene.height) + 1.0
            };
            for item in &scene.items {
                if let Item::Line { points, .. } | Item::Area { points, .. } = item {
                    assert!(points.iter().all(inside), "{}: {points:?}", draft.id);
                }
            }
        }
    }
}

#[test]
fn names_of_charts_are_unique() {
    let folder = tempfile::tempdir().unwrap();
    let directories: Vec<_> = samples().iter().map(|sample| sample.write(folder.path())).collect();
    let (runs, _) = read_runs(&directories).unwrap();
    let drafts = drafts(&planned_inputs(), &runs).unwrap();
    let names: std::collections::HashSet<&str> = drafts.iter().map(|draft| draft.id.as_str()).collect();
    assert_eq!(names.len(), drafts.len());
}
