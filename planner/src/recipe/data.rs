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
    /// How pairs are read.
    #[serde(default, skip_serializing_if = "Reading::is_default")]
    pub reading: Reading,
    /// What zero-shot accuracy is measured on; absent: nothing is evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<EvaluationData>,
}

/// How pairs are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reading {
    /// Mean and standard deviation that colours are normalised by.
    pub normalisation: Normalisation,
    /// Filter of the resizing; both are antialiased.
    pub interpolation: Interpolation,
    /// Least part of a picture's area that a random crop in training shows, in percent. CLIPA: 40.
    pub least_crop_percent: f64,
    /// Samples that cannot be used are skipped and counted by cause, up to this many in a hundred.
    pub tolerated_bad_percent: f64,
    /// Draw each sample anew from all of them, instead of every sample once an epoch.
    pub replacement: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            normalisation: Normalisation::default(),
            interpolation: Interpolation::default(),
            least_crop_percent: 40.0,
            tolerated_bad_percent: 10.0,
            replacement: false,
        }
    }
}

impl Reading {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is done to every picture.
    #[must_use]
    pub fn images(&self) -> ImagePreparation {
        ImagePreparation { normalisation: self.normalisation, interpolation: self.interpolation }
    }
}

/// What is done to every picture on its way to a tower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImagePreparation {
    /// Mean and standard deviation that colours are normalised by.
    pub normalisation: Normalisation,
    /// Filter of the resizing.
    pub interpolation: Interpolation,
}

/// Mean and standard deviation of red, green and blue, by the name of whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalisation {
    /// `ImageNet`'s, as CLIPA.
    #[default]
    Imagenet,
    /// `OpenAI`'s for CLIP.
    Openai,
    /// A half for each, as Inception and `SigLIP`.
    Inception,
}

/// Filter of the resizing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Catmull and Rom's cubic, as `open_clip`.
    #[default]
    Bicubic,
    /// A triangle, as CLIPA.
    Bilinear,
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
    /// Every picture of a folder and of the folders in it, beside its caption (`name.txt`, or `name.json`
    /// with `caption`).
    Folder {
        /// The folder.
        path: String,
    },
    /// A table of pictures and captions: `.csv` or `.tsv`, whose first line names the columns, or `.parquet`.
    List {
        /// The table.
        path: String,
        /// Column with the pictures' paths, relative to the table.
        #[serde(default = "default_image_column")]
        image_column: String,
        /// Column with the captions.
        #[serde(default = "default_caption_column")]
        caption_column: String,
    },
    /// Several sources at once, each drawn as often as its weight says.
    Mixed {
        /// The sources; at least one.
        parts: Vec<WeightedSource>,
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

fn default_image_column() -> String {
    "filepath".to_owned()
}

fn default_caption_column() -> String {
    "title".to_owned()
}

/// One of several sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedSource {
    /// How many samples come from it for each that comes from a source of weight 1; more than 0.
    pub weight: f64,
    /// The source; not mixed again.
    pub source: DataSource,
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

    /// The same data with every path below `folder` written relative to it, as a file in that folder names
    /// it; so that file and data can be moved together.
    #[must_use]
    pub fn relative_to(&self, folder: &Path) -> Self {
        self.with_paths(|path| {
            let below = Path::new(path).strip_prefix(folder).ok();
            below.map_or_else(|| path.to_owned(), |below| below.to_string_lossy().into_owned())
        })
    }

    fn with_paths(&self, change: impl Fn(&str) -> String) -> Self {
        let source = |source: &DataSource| source.with_paths(&change);
        let changed = |path: &String| changed(path, &change);
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

/// A path changed; neither an empty one nor an address is a path.
fn changed(path: &str, change: &impl Fn(&str) -> String) -> String {
    if path.is_empty() || path.contains("://") { path.to_owned() } else { change(path) }
}

impl DataSource {
    fn with_paths(&self, change: &impl Fn(&str) -> String) -> Self {
        let mut source = self.clone();
        match &mut source {
            Self::Webdataset { shards } => {
                shards.iter_mut().for_each(|path| *path = changed(path, change));
            }
            Self::Folder { path } | Self::List { path, .. } => *path = changed(path, change),
            Self::Mixed { parts } => {
                parts.iter_mut().for_each(|part| part.source = part.source.with_paths(change));
            }
            Self::Synthetic { .. } => {}
        }
        source
    }
}
