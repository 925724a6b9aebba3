//! Embeddings on disk: appended batch by batch, so that a stopped evaluation goes on, and whole at the end as
//! safetensors for other programs.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use shoestring_durable::write_file;

use crate::run::RunError;

/// The newest version of the journal, and the one that is written.
const VERSION: u32 = 1;

/// What embeddings are of: with another key they are made anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// Format version.
    pub version: u32,
    /// SHA-256 of the model's weights.
    pub model_sha256: String,
    /// What is embedded: paths, sizes, templates, precision.
    pub of: String,
    /// Numbers in an embedding.
    pub width: usize,
}

impl Key {
    /// A key of this version.
    #[must_use]
    pub fn new(model_sha256: &str, of: String, width: usize) -> Self {
        Self { version: VERSION, model_sha256: model_sha256.to_owned(), of, width }
    }
}

/// Embeddings of several parts (`images`, `texts`, ...), each in order.
#[derive(Debug)]
pub struct Embeddings {
    width: usize,
    parts: HashMap<String, Part>,
    file: Option<(PathBuf, File)>,
}

/// How far a part is, and what there is of it.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Items gone through; more than there are embeddings where some could not be used.
    pub position: u64,
    /// One number for each embedding: its class, or the image that a caption belongs to.
    pub labels: Vec<u32>,
    /// `width` numbers each.
    pub vectors: Vec<f32>,
}

/// A frame's head: name, position after it, labels; then the vectors' bytes.
#[derive(Serialize, Deserialize)]
struct Head {
    part: String,
    position: u64,
    labels: Vec<u32>,
}

fn part_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

impl Embeddings {
    /// Nothing yet, kept in memory alone.
    #[must_use]
    pub fn in_memory(width: usize) -> Self {
        Self { width, parts: HashMap::new(), file: None }
    }

    /// Goes on with the journal beside `path` (`path` with `.part`) where that is of the same key; begins it
    /// anew where not.
    pub fn open(path: &Path, key: &Key) -> Result<Self, RunError> {
        let journal = part_path(path);
        let failed = |action| {
            let journal = journal.clone();
            move |source| RunError::file(&journal, action, source)
        };
        let bytes = match fs::read(&journal) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(failed("read")(source)),
        };
        let mut line = serde_json::to_vec(key).map_err(|error| failed("write")(io::Error::other(error)))?;
        line.push(b'\n');
        let mut embeddings = Self::in_memory(key.width);
        let whole = if bytes.starts_with(&line) { embeddings.read(&bytes, line.len()) } else { 0 };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&journal)
            .map_err(failed("open"))?;
        file.set_len(whole as u64).map_err(failed("write"))?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(failed("write"))?;
        if whole == 0 {
            file.write_all(&line).map_err(failed("write"))?;
        }
        embeddings.file = Some((journal, file));
        Ok(embeddings)
    }

    /// Takes in every whole frame; returns where the last one ends.
    fn read(&mut self, bytes: &[u8], start: usize) -> usize {
        let mut at = start;
        while let Some(end) = bytes[at..].iter().position(|&byte| byte == b'\n') {
            let Ok(head) = serde_json::from_slice::<Head>(&bytes[at..at + end]) else { break };
            let body = at + end + 1;
            let Some(vectors) = bytes.get(body..body + head.labels.len() * self.width * 4) else { break };
            let part = self.parts.entry(head.part).or_default();
            part.position = head.position;
            part.labels.extend(head.labels);
            part.vectors.extend(
                vectors.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])),
            );
            at = body + vectors.len();
        }
        at
    }

    /// What there is of a part.
    #[must_use]
    pub fn part(&self, name: &str) -> Part {
        self.parts.get(name).cloned().unwrap_or_default()
    }

    /// Items of a part gone through.
    #[must_use]
    pub fn position(&self, name: &str) -> u64 {
        self.parts.get(name).map_or(0, |part| part.position)
    }

    /// Adds a batch, after which `position` items of the part are gone through.
    pub fn append(
        &mut self,
        name: &str,
        position: u64,
        labels: &[u32],
        vectors: &[f32],
    ) -> Result<(), RunError> {
        if let Some((path, file)) = &mut self.file {
            let failed = |source| RunError::file(path, "write", source);
            let head = Head { part: name.to_owned(), position, labels: labels.to_vec() };
            let mut frame = serde_json::to_vec(&head).map_err(|error| failed(io::Error::other(error)))?;
            frame.push(b'\n');
            frame.extend(vectors.iter().flat_map(|number| number.to_le_bytes()));
            file.write_all(&frame).map_err(failed)?;
        }
        let part = self.parts.entry(name.to_owned()).or_default();
        part.position = position;
        part.labels.extend(labels);
        part.vectors.extend(vectors);
        Ok(())
    }

    /// Writes everything as safetensors to `path`: `NAME` (count, width) and `NAME_labels` (count) of each
    /// part and of `more`; then the journal goes.
    pub fn finish(self, path: &Path, more: &[(&str, Vec<f32>)]) -> Result<(), RunError> {
        let failed = |text: String| RunError::file(path, "write", io::Error::other(text));
        let mut blocks: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let bytes = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        for (name, part) in &self.parts {
            blocks.push((
                name.clone(),
                Dtype::F32,
                vec![part.labels.len(), self.width],
                bytes(&part.vectors),
            ));
            let labels = part.labels.iter().flat_map(|&label| i64::from(label).to_le_bytes()).collect();
            blocks.push((format!("{name}_labels"), Dtype::I64, vec![part.labels.len()], labels));
        }
        for (name, vectors) in more {
            let shape = vec![vectors.len() / self.width.max(1), self.width];
            blocks.push(((*name).to_owned(), Dtype::F32, shape, bytes(vectors)));
        }
        blocks.sort_by(|a, b| a.0.cmp(&b.0));
        let views = blocks.iter().map(|(name, dtype, shape, bytes)| {
            TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.to_string()))?;
        let file = safetensors::serialize(views, None).map_err(|error| failed(error.to_string()))?;
        write_file(path, &file)?;
        if let Some((journal, _)) = self.file {
            fs::remove_file(&journal).map_err(|source| RunError::file(&journal, "remove", source))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_off_journal_goes_on_and_another_key_begins_anew() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("features.safetensors");
        let key = Key::new("abc", "emoji".to_owned(), 2);
        let mut embeddings = Embeddings::open(&path, &key).expect("opens");
        embeddings.append("images", 2, &[4, 5], &[1.0, 2.0, 3.0, 4.0]).expect("appends");
        embeddings.append("images", 5, &[6], &[5.0, 6.0]).expect("appends");
        drop(embeddings);
        let journal = part_path(&path);
        let bytes = fs::read(&journal).expect("reads");
        fs::write(&journal, &bytes[..bytes.len() - 3]).expect("is cut off");
        let mut embeddings = Embeddings::open(&path, &key).expect("opens");
        assert_eq!((embeddings.position("images"), embeddings.part("images").labels), (2, vec![4, 5]));
        embeddings.append("images", 5, &[6], &[5.0, 6.0]).expect("appends");
        assert_eq!(fs::read(&journal).expect("reads"), bytes);
        drop(embeddings);
        let other = Embeddings::open(&path, &Key::new("abd", "emoji".to_owned(), 2)).expect("opens");
        assert_eq!(other.position("images"), 0);
        drop(other);
        let mut embeddings = Embeddings::open(&path, &key).expect("opens");
        assert_eq!(embeddings.position("images"), 0);
        embeddings.append("images", 1, &[7], &[1.0, 0.0]).expect("appends");
        embeddings.finish(&path, &[("class_embeddings", vec![0.5, 0.5])]).expect("finishes");
        assert!(!journal.exists());
        let bytes = fs::read(&path).expect("reads");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("is read");
        assert_eq!(tensors.tensor("images").expect("is there").shape(), [1, 2]);
        assert_eq!(tensors.tensor("images_labels").expect("is there").data(), 7i64.to_le_bytes());
        assert_eq!(tensors.tensor("class_embeddings").expect("is there").shape(), [1, 2]);
    }
}
