//! The data of a request: how many different pairs, and whether the law knows their quality.

use super::error::RequestError;
use super::request::{DataRequest, Request};
use crate::dataset;
use crate::recipe::{Data, DataSource, Reading};
use crate::source::Source;

/// Data, resolved.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Training {
    /// As the recipe names it.
    pub(super) data: Data,
    /// The law knows how good these data are; otherwise plans are ranked and no accuracy is claimed.
    pub(super) known: bool,
    /// Where the number of different pairs is from.
    pub(super) source: Source,
    /// Images are no larger than this; training at a larger size would look at enlarged pictures.
    pub(super) largest_image_px: Option<u32>,
}

impl Training {
    pub(super) fn resolve(request: &Request) -> Result<Self, RequestError> {
        match &request.data {
            DataRequest::Own(data) => Ok(Self {
                known: dataset::lookup(&data.name).is_some(),
                source: Source::Stated,
                largest_image_px: match data.train {
                    DataSource::Synthetic { image_size_px, .. } => Some(image_size_px),
                    _ => None,
                },
                data: Data::clone(data),
            }),
            DataRequest::Named { name, unique_samples } => {
                let set = match (dataset::find(name), unique_samples) {
                    (Ok(set), _) => Some(set),
                    (Err(_), Some(_)) => None,
                    (Err(error), None) => {
                        let near = error.hint().map(|hint| format!("{hint} ")).unwrap_or_default();
                        let hint = format!(
                            "{near}(for your own data: a folder with dataset.toml, or --unique-samples)"
                        );
                        return Err(RequestError::new("--data", name, "no data set is called so", hint));
                    }
                };
                let published = set.and_then(|set| set.unique_samples);
                let Some(unique) = unique_samples.or(published) else {
                    let hint = "state how many different pairs you have: --unique-samples";
                    return Err(RequestError::new("--data", name, "its size is not published", hint));
                };
                let source = match (unique_samples, set) {
                    (None, Some(set)) if request.data_stated => {
                        Source::published(format!("size of {}", set.name))
                    }
                    (None, Some(set)) => Source::assumed(format!("no data named: {}", set.name)),
                    _ => Source::Stated,
                };
                Ok(Self {
                    data: Data {
                        name: set.map_or_else(|| name.clone(), |set| set.name.to_owned()),
                        unique_samples: unique,
                        train: DataSource::Webdataset { shards: Vec::new() },
                        reading: Reading::default(),
                        evaluation: None,
                    },
                    known: set.is_some(),
                    source,
                    largest_image_px: None,
                })
            }
        }
    }
}
