//! The `[data]` table of a recipe, which is also a data set's manifest (`dataset.toml`).

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::units::Samples;

/// What is trained and evaluated on. Paths are relative to the file they stand in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Name: one that the law knows (`DataComp-1B`), or one's own.
    pub name: String,
    /// Different image-caption pairs.
    pub unique_samples: Samples,
    /// Where training pairs come from.
    pub train: DataSource,
    /// What zero-shot accuracy is measured on; absent: nothing is evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<EvaluationData>,
}

/// Where pairs come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DataSource {
    /// Tar shards as `img2dataset` writes them: `key.{jpg,png,webp}` beside `key.txt`, and for evaluation
    /// `key.cls` with the class index. Brace ranges (`train-{000..007}.tar`) are expanded.
    Webdataset {
        /// Shards, in order.
        shards: Vec<String>,
    },
    /// The procedural generator, drawn on the fly: nothing on disk.
    Synthetic {
        /// Seed of the data, apart from the run's own.
        #[serde(default)]
        seed: u64,
        /// Side of the drawn image in pixels.
        image_size_px: u32,
    },
}

/// What zero-shot accuracy is measured on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationData {
    /// Labelled images (webdataset: `key.cls`; synthetic: the held-out classes).
    pub source: DataSource,
    /// Labelled images in it.
    pub samples: Samples,
    /// File with one class name a line; line k names class k. Empty for `synthetic`.
    #[serde(default)]
    pub class_names: String,
    /// File with one prompt a line, `{c}` standing for the class name. Empty: `a photo of a {c}.`
    #[serde(default)]
    pub templates: String,
}

impl Data {
    /// The same data with every relative path resolved against `folder`, the folder of the file they were
    /// read from.
    #[must_use]
    pub fn resolved(&self, folder: &Path) -> Self {
        self.with_paths(|path| folder.join(path).to_string_lossy().into_owned())
    }

    /// The same data with every path below `folder` written relative to it, as a file in that folder names it;
    /// so that file and data can be moved together.
    #[must_use]
    pub fn relative_to(&self, folder: &Path) -> Self {
        self.with_paths(|path| {
            let below = Path::new(path).strip_prefix(folder).ok();
            below.map_or_else(|| path.to_owned(), |below| below.to_string_lossy().into_owned())
        })
    }

    fn with_paths(&self, change: impl Fn(&str) -> String) -> Self {
        let changed = |path: &String| if path.is_empty() { String::new() } else { change(path) };
        let source = |source: &DataSource| match source {
            DataSource::Webdataset { shards } => {
                DataSource::Webdataset { shards: shards.iter().map(changed).collect() }
            }
            synthetic @ DataSource::Synthetic { .. } => synthetic.clone(),
        };
        Self {
            train: source(&self.train),
            evaluation: self.evaluation.as_ref().map(|evaluation| EvaluationData {
                source: source(&evaluation.source),
                class_names: changed(&evaluation.class_names),
                templates: changed(&evaluation.templates),
                ..evaluation.clone()
            }),
            ..self.clone()
        }
    }
}
