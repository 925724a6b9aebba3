//! The inverse law against the tables as printed.

use super::published::{Drop, FIGURE_2, image_drops, text_drops};
use super::*;
use crate::architecture::Architecture;
use crate::architectures;
use crate::law::fit::mean_absolute;
use crate::published;

fn law_error(drops: &[Drop], predicted: impl Fn(&Drop) -> f64) -> f64 {
    mean_absolute(drops.iter().map(|drop| predicted(drop) - drop.points))
}

#[test]
fn the_printed_tables_are_reproduced() {
    // Mean absolute error in points that scaling forms fitted elsewhere reach, with a margin for grid masks.
    for (reduction, rows, limit) in [
        (ImageReduction::Resize, 12, 0.25),
        (ImageReduction::Random, 12, 0.60),
        (ImageReduction::Grid, 6, 0.60),
        (ImageReduction::Block, 12, 0.65),
    ] {
        let drops = image_drops(published::runs(), reduction, Tuning::After);
        assert_eq!(drops.len(), rows, "{reduction:?}");
        let full = 196.0;
        let error = law_error(&drops, |drop| {
            drop_points(
                drop.image_parameters,
                Tokens((drop.part * full).round() as u32),
                Tokens(196),
                reduction,
            )
        });
        assert!(error < limit, "{reduction:?}: {error}");
        let before = image_drops(published::runs(), reduction, Tuning::Before);
        let error = law_error(&before, |drop| {
            let tokens = Tokens((drop.part * full).round() as u32);
            drop_points_when(drop.image_parameters, tokens, Tokens(196), reduction, Tuning::Before)
        });
        assert!(error < 1.6, "{reduction:?} before fine-tuning: {error}");
    }
    for (reduction, limit) in [
        (TextReduction::Syntax, 0.45),
        (TextReduction::Block, 0.35),
        (TextReduction::Truncate, 0.30),
        (TextReduction::Random, 0.30),
    ] {
        let drops = text_drops(published::runs(), reduction);
        assert_eq!(drops.len(), 12, "{reduction:?}");
        let error = law_error(&drops, |drop| {
            let tokens = Tokens((drop.part * 32.0).round() as u32);
            text_drop_points(drop.image_parameters, tokens, Tokens(32), reduction)
        });
        assert!(error < limit, "{reduction:?}: {error}");
    }
    let error =
        mean_absolute(FIGURE_2.map(|(size, kept, points)| tuning_mask_drop_points(size, kept) - points));
    assert!(error < 0.3, "figure 2: {error}");
}

#[test]
fn drops_are_read_from_the_tables_as_printed() {
    let drops = image_drops(published::runs(), ImageReduction::Resize, Tuning::After);
    let small: Vec<f64> = drops
        .iter()
        .filter(|drop| drop.image_parameters < 30e6)
        .map(|drop| (drop.points * 10.0).round())
        .collect();
    assert_eq!(small, [7.0, 20.0, 28.0, 62.0]);
}

#[test]
fn larger_encoders_tolerate_shorter_sequences() {
    let names = ["S/16", "B/16", "L/16"];
    let shortest: Vec<u32> = names
        .iter()
        .map(|name| {
            let architecture = architectures::find(name).expect("known");
            shortest_image_tokens(architecture, 1.5, ImageReduction::Resize).0
        })
        .collect();
    assert!(shortest.is_sorted_by(|a, b| a >= b) && shortest[0] > shortest[2], "{shortest:?}");
    let large = architectures::find("H/14").expect("known");
    let tokens = shortest_image_tokens(large, 2.0, ImageReduction::Resize);
    assert!(tokens.0 <= 36, "{tokens:?}");
    assert_eq!(shortest_image_tokens(large, 0.0, ImageReduction::Resize), Tokens(256));
    assert!(shortest_text_tokens(large, 0.5, TextReduction::Syntax) <= Tokens(8));
}

#[test]
fn a_resized_length_is_a_square_that_the_patch_size_allows() {
    let architecture = architectures::find("B/16").expect("known");
    for drop in [0.1, 0.5, 1.0, 3.0, 100.0] {
        let tokens = shortest_image_tokens(architecture, drop, ImageReduction::Resize).0;
        assert_eq!(tokens, tokens.isqrt().pow(2));
        assert!(tokens >= 196 / 16);
    }
}

#[test]
fn a_table_has_a_row_for_every_architecture_and_gaps_beyond_full_length() {
    let known: Vec<&Architecture> =
        ["B/16", "H/14"].map(|name| architectures::find(name).expect("known")).into();
    let columns = [Tokens(16), Tokens(49), Tokens(196), Tokens(256)];
    let table = image_table(known, &columns, ImageReduction::Resize, Tuning::After);
    assert_eq!(table.len(), 2);
    assert_eq!(table[0].drops[2], Some(0.0));
    assert_eq!(table[0].drops[3], None);
    assert!(table[1].drops[0] < table[0].drops[0]);
    assert!(table[0].drops[0] > table[0].drops[1]);
}
