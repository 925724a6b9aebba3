//! Image-text retrieval from embeddings, and Karpathy's JSON that says which captions belong to which image.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;

use super::intervals::{Interval, wilson};
use crate::bounded::read_text_bounded;
use crate::error::DataError;

/// Ranks at which recall is given.
pub const RECALL_AT: [usize; 3] = [1, 5, 10];

/// Recall at one rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recall {
    /// The rank, k.
    pub k: usize,
    /// Fraction of captions whose image is among the k that score highest, as `image_retrieval_recall@k`.
    pub image: f64,
    /// Its 95 % interval.
    pub image_interval: Interval,
    /// Fraction of images of whose captions one is among the k that score highest.
    pub text: f64,
    /// Its 95 % interval.
    pub text_interval: Interval,
}

/// Recall at [`RECALL_AT`], as far as there are that many to choose from. `images` and `texts` are embeddings
/// of length 1, `width` numbers each; `image_of[t]` is the image of caption t. Of equal scores the lower
/// number wins.
///
/// # Panics
/// When the sizes disagree.
#[must_use]
pub fn recalls(images: &[f32], texts: &[f32], image_of: &[u32], width: usize) -> Vec<Recall> {
    let (image_count, text_count) = (images.len() / width, texts.len() / width);
    assert_eq!(image_of.len(), text_count, "one image for each caption");
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    // How many images score higher than a caption's own.
    let image_ranks: Vec<usize> = (0..text_count)
        .into_par_iter()
        .map(|text| {
            let own = image_of[text] as usize;
            let text = &texts[text * width..][..width];
            let score = dot(&images[own * width..][..width], text);
            let better = |image: usize| {
                let other = dot(&images[image * width..][..width], text);
                other > score || (other == score && image < own)
            };
            (0..image_count).filter(|&image| better(image)).count()
        })
        .collect();
    // How many captions score higher than the best of an image's own.
    let text_ranks: Vec<usize> = (0..image_count)
        .into_par_iter()
        .filter_map(|image| {
            let embedding = &images[image * width..][..width];
            let scores: Vec<f32> = texts.chunks_exact(width).map(|text| dot(embedding, text)).collect();
            let own = (0..text_count).filter(|&text| image_of[text] as usize == image);
            let best = own.reduce(|best, text| if scores[text] > scores[best] { text } else { best })?;
            let better =
                |text: usize| scores[text] > scores[best] || (scores[text] == scores[best] && text < best);
            Some((0..text_count).filter(|&text| better(text)).count())
        })
        .collect();
    let at = |ranks: &[usize], k: usize| ranks.iter().filter(|&&rank| rank < k).count() as u64;
    let fraction = |hits: u64, of: usize| if of == 0 { 0.0 } else { hits as f64 / of as f64 };
    RECALL_AT
        .into_iter()
        .filter(|&k| k <= image_count && k <= text_count)
        .map(|k| {
            let (image, text) = (at(&image_ranks, k), at(&text_ranks, k));
            Recall {
                k,
                image: fraction(image, image_ranks.len()),
                image_interval: wilson(image, image_ranks.len() as u64),
                text: fraction(text, text_ranks.len()),
                text_interval: wilson(text, text_ranks.len() as u64),
            }
        })
        .collect()
}

/// An image with its captions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captioned {
    /// Its file.
    pub path: PathBuf,
    /// At least one.
    pub captions: Vec<String>,
}

/// COCO's file has 144 MB.
const MAX_ANNOTATION_BYTES: u64 = 2 << 30;

#[derive(Deserialize)]
struct Annotations {
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    filename: String,
    #[serde(default)]
    filepath: String,
    #[serde(default)]
    split: String,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: String,
}

/// Reads Karpathy's JSON (`dataset_coco.json`, `dataset_flickr30k.json`): the images of a split, in its
/// order. Names are relative to `folder`, within `filepath` where the file says so.
pub fn read_karpathy(path: &Path, folder: &Path, split: &str) -> Result<Vec<Captioned>, DataError> {
    let text = read_text_bounded(path, MAX_ANNOTATION_BYTES)
        .map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let line = |line: usize, problem: String, hint: &str| DataError::Line {
        path: path.to_owned(),
        line,
        problem,
        hint: hint.to_owned(),
    };
    let annotations: Annotations = serde_json::from_str(&text).map_err(|error| {
        let hint = "the file has `images`, each with `filename`, `split` and `sentences` with `raw`";
        line(error.line(), error.to_string(), hint)
    })?;
    let mut out = Vec::new();
    for image in annotations.images.iter().filter(|image| image.split == split) {
        let relative = Path::new(&image.filepath).join(&image.filename);
        let inside = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside || image.sentences.is_empty() {
            let problem = if inside { "has no captions" } else { "is outside of the folder of images" };
            return Err(line(
                1,
                format!("image {}: {problem}", relative.display()),
                "mend or remove the entry",
            ));
        }
        let captions = image.sentences.iter().map(|sentence| sentence.raw.clone()).collect();
        out.push(Captioned { path: folder.join(relative), captions });
    }
    if out.is_empty() {
        let mut splits: Vec<&str> = annotations.images.iter().map(|image| image.split.as_str()).collect();
        splits.sort_unstable();
        splits.dedup();
        let problem = format!("no image of split `{split}`; there are: {}", splits.join(", "));
        return Err(line(1, problem, "name one of them with --split"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_counts_the_captions_of_an_image_as_one() {
        // Three images along the axes; captions 0 and 1 belong to image 0, 2 to image 1, 3 to image 2.
        let images = [1., 0., 0., 0., 1., 0., 0., 0., 1.];
        let texts = [0.9, 0.1, 0., 0.1, 0.9, 0., 0., 1., 0., 0.6, 0.7, 0.1];
        let recalls = recalls(&images, &texts, &[0, 0, 1, 2], 3);
        assert_eq!(recalls.len(), 1, "there are no five images to choose from");
        // Captions 0 and 2 find their image first.
        assert!((recalls[0].image - 0.5).abs() < 1e-12);
        // Images 0, 1 and 2 have one of their captions first; image 2's only caption scores 0.1 there, the
        // best.
        assert!((recalls[0].text - 1.0).abs() < 1e-12, "{recalls:?}");
    }

    #[test]
    fn a_split_is_read_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("dataset.json");
        let write = |text: &str| std::fs::write(&path, text).expect("writes");
        write(
            r#"{"images":[{"filename":"a.jpg","filepath":"val","split":"test","sentences":[{"raw":"x"},{"raw":"y"}]},
               {"filename":"b.jpg","split":"train","sentences":[{"raw":"z"}]}],"dataset":"coco"}"#,
        );
        let read = read_karpathy(&path, Path::new("pictures"), "test").expect("is read");
        let captions = vec!["x".to_owned(), "y".to_owned()];
        assert_eq!(read, [Captioned { path: PathBuf::from("pictures/val/a.jpg"), captions }]);
        let error = read_karpathy(&path, Path::new("."), "val").expect_err("no such split").to_string();
        assert!(error.contains("`val`") && error.contains("test, train"), "{error}");
        write(r#"{"images":[{"filename":"../a.jpg","split":"test","sentences":[{"raw":"x"}]}]}"#);
        assert!(
            read_karpathy(&path, Path::new("."), "test")
                .expect_err("outside")
                .to_string()
                .contains("outside")
        );
        write("{\"images\":\n[{}]}");
        assert!(
            read_karpathy(&path, Path::new("."), "test").expect_err("no name").to_string().contains(":2:")
        );
    }
}
