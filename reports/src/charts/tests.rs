//! What holds for every chart: nothing overlaps, nothing lies outside, everything can be read.

#![allow(clippy::unwrap_used)]

use super::scene::{Item, Rect};
use super::*;
use crate::fixture::{Sample, planned_inputs, usd};
use crate::read::read_runs;
use crate::{BackTestGroup, BackTestPoint, BackTestQuantity, DropSeries};

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
    all.push(law::chart(&drop_chart()));
    all.push(backtest::chart(&back_test_chart()));
    all.push(backtest::chart(&hours_chart()));
    all
}

fn drop_chart() -> DropChart {
    let series = |(label, size, published): (&str, f64, &[(f64, f64)])| DropSeries {
        label: label.to_owned(),
        curve: (4..=196).map(|n| (f64::from(n), size * ((196.0 / f64::from(n)).powf(0.9) - 1.0))).collect(),
        published: published.to_vec(),
    };
    DropChart {
        id: "law".to_owned(),
        title: "Inverse scaling law: accuracy lost against image tokens, images resized".to_owned(),
        caption: "Lines are the law, marks are published.".to_owned(),
        length: "Image tokens in pretraining (logarithmic scale)".to_owned(),
        published: "marks: published (CLIPA, table 11)".to_owned(),
        series: [
            ("S/16, 22 M", 0.8, &[(100.0, 0.7), (16.0, 6.2)][..]),
            ("B/16, 86 M", 0.6, &[(100.0, -0.3), (16.0, 4.3)]),
            ("H/14, 631 M", 0.3, &[]),
        ]
        .map(series)
        .to_vec(),
    }
}

fn back_test_chart() -> BackTestChart {
    let group = |index: usize| BackTestGroup {
        label: format!("Paper number {index} of several authors (2305.07017)"),
        points: (0..40)
            .map(|x| BackTestPoint {
                reported: 42.0 + f64::from(x),
                predicted: 41.0 + f64::from(x) + index as f64,
                interval: None,
            })
            .collect(),
    };
    BackTestChart {
        quantity: BackTestQuantity::Accuracy,
        title: "Predicted against reported accuracy, each run's paper left out".to_owned(),
        caption: "Points above the line are predicted too high.".to_owned(),
        groups: (0..6).map(group).collect(),
    }
}

fn hours_chart() -> BackTestChart {
    let group = |index: u32| BackTestGroup {
        label: format!("Paper number {index} of several authors (2306.15658)"),
        points: (0..10)
            .map(|x| {
                let reported = f64::from(80 * (index + 1)) * 1.9f64.powi(x);
                let predicted = reported * (0.7 + 0.2 * f64::from(index));
                let interval = Some((predicted / 2.1, predicted * 1.7));
                BackTestPoint { reported, predicted, interval }
            })
            .collect(),
    };
    BackTestChart {
        quantity: BackTestQuantity::DeviceHours,
        title: "Predicted against reported device hours, each run left out".to_owned(),
        caption: "Points above the line are predicted too high.".to_owned(),
        groups: (0..3).map(group).collect(),
    }
}

#[test]
fn a_picture_by_itself_is_svg_and_png_and_the_same_each_time() {
    let first = drop_picture(&drop_chart()).unwrap();
    assert!(first.svg.starts_with("<svg width=\"1200\"") && first.svg.contains("H/14, 631 M"));
    assert!(first.png.starts_with(b"\x89PNG"));
    assert_eq!(first, drop_picture(&drop_chart()).unwrap());
    assert_ne!(first, backtest_picture(&back_test_chart()).unwrap());
    let hours = backtest_picture(&hours_chart()).unwrap().svg;
    assert!(hours.contains("Reported device hours") && hours.contains("80 % interval"));
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
