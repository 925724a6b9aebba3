//! Points lost by architecture and length, as tables.

use super::lengths::{full_image_tokens, full_text_tokens};
use super::{Tuning, drop_points_when, text_drop_points};
use crate::architecture::Architecture;
use crate::recipe::{ImageReduction, TextReduction};
use crate::units::Tokens;

/// One architecture's line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow<'a> {
    /// The architecture.
    pub architecture: &'a Architecture,
    /// Points lost for each column; `None` where the length is longer than the architecture's own.
    pub drops: Vec<Option<f64>>,
}

/// Points lost by image length: a row for every architecture, a column for every number of tokens.
#[must_use]
pub fn image_table<'a>(
    architectures: impl IntoIterator<Item = &'a Architecture>,
    columns: &[Tokens],
    reduction: ImageReduction,
    tuning: Tuning,
) -> Vec<TableRow<'a>> {
    table(architectures, columns, full_image_tokens, |size, tokens, full| {
        drop_points_when(size, tokens, full, reduction, tuning)
    })
}

/// Points lost by caption length, after fine-tuning: a row for every architecture, a column for every number of
/// tokens.
#[must_use]
pub fn text_table<'a>(
    architectures: impl IntoIterator<Item = &'a Architecture>,
    columns: &[Tokens],
    reduction: TextReduction,
) -> Vec<TableRow<'a>> {
    table(architectures, columns, full_text_tokens, |size, tokens, full| {
        text_drop_points(size, tokens, full, reduction)
    })
}

fn table<'a>(
    architectures: impl IntoIterator<Item = &'a Architecture>,
    columns: &[Tokens],
    full: impl Fn(&Architecture) -> Tokens,
    drop: impl Fn(f64, Tokens, Tokens) -> f64,
) -> Vec<TableRow<'a>> {
    architectures
        .into_iter()
        .map(|architecture| {
            let full = full(architecture);
            let size = crate::compute::parameters(architecture).image as f64;
            let drops =
                columns.iter().map(|tokens| (*tokens <= full).then(|| drop(size, *tokens, full))).collect();
            TableRow { architecture, drops }
        })
        .collect()
}
