//! Zero-shot classification from embeddings: plain slices, no framework.

/// The metrics of CLIP_benchmark's `zeroshot_classification`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassificationMetrics {
    /// Images.
    pub samples: u64,
    /// Classes to choose from.
    pub classes: u32,
    /// Fraction of images whose class scores highest.
    pub acc1: f64,
    /// Fraction of images whose class is among the five that score highest; `None` below five classes.
    pub acc5: Option<f64>,
    /// Mean over the classes that occur of the fraction of their images recognised.
    pub mean_per_class_recall: f64,
}

/// Hits so far.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Images, hits at 1, hits at 5, of each class.
    classes: Vec<[u64; 3]>,
}

impl Tally {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { classes: vec![[0; 3]; classes] }
    }

    /// Counts a batch: `logits` is `labels.len() x classes`, the score of each class. Of equal scores the
    /// lower class number wins; a score that is no number loses against every other.
    ///
    /// # Panics
    /// When the sizes disagree or a label is not below the number of classes.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) {
        let classes = self.classes.len();
        assert_eq!(logits.len(), labels.len() * classes, "one score for each image and class");
        for (scores, &label) in logits.chunks_exact(classes.max(1)).zip(labels) {
            let label = label as usize;
            let score = |class: usize| if scores[class].is_nan() { f32::NEG_INFINITY } else { scores[class] };
            let own = score(label);
            // A label whose own score is no number is never a hit.
            let before = if scores[label].is_nan() {
                classes
            } else {
                (0..classes)
                    .filter(|&class| score(class) > own || (score(class) == own && class < label))
                    .count()
            };
            let tally = &mut self.classes[label];
            tally[0] += 1;
            tally[1] += u64::from(before < 1);
            tally[2] += u64::from(before < 5);
        }
    }

    /// Of each class: images whose class scored highest, and images.
    #[must_use]
    pub fn classes(&self) -> Vec<(u64, u64)> {
        self.classes.iter().map(|tally| (tally[1], tally[0])).collect()
    }

    /// Images of which the class was among the `k` that score highest, `k` being 1 or 5.
    #[must_use]
    pub fn hits(&self, k: usize) -> u64 {
        self.classes.iter().map(|tally| tally[if k == 1 { 1 } else { 2 }]).sum()
    }

    /// What was counted; zeros where nothing was.
    #[must_use]
    pub fn metrics(&self) -> ClassificationMetrics {
        let total = |which: usize| self.classes.iter().map(|tally| tally[which]).sum::<u64>();
        let samples = total(0);
        let fraction = |hits: u64| if samples == 0 { 0.0 } else { hits as f64 / samples as f64 };
        let seen: Vec<f64> = self
            .classes
            .iter()
            .filter(|tally| tally[0] > 0)
            .map(|tally| tally[1] as f64 / tally[0] as f64)
            .collect();
        ClassificationMetrics {
            samples,
            classes: self.classes.len() as u32,
            acc1: fraction(total(1)),
            acc5: (self.classes.len() >= 5).then(|| fraction(total(2))),
            mean_per_class_recall: if seen.is_empty() {
                0.0
            } else {
                seen.iter().sum::<f64>() / seen.len() as f64
            },
        }
    }
}

/// Class embeddings from the prompts' (`classes x templates x width`): each normalised, averaged over the
/// templates, normalised again; `classes x width`.
///
/// # Panics
/// When the sizes disagree.
#[must_use]
pub fn class_embeddings(prompts: &[f32], templates: usize, width: usize) -> Vec<f32> {
    assert!(templates > 0 && width > 0, "at least one template and one dimension");
    assert_eq!(prompts.len() % (templates * width), 0, "whole classes");
    let mut out = Vec::with_capacity(prompts.len() / templates);
    for of_class in prompts.chunks_exact(templates * width) {
        let mut mean = vec![0f64; width];
        for embedding in of_class.chunks_exact(width) {
            let norm = norm(embedding.iter().map(|&value| f64::from(value)));
            mean.iter_mut().zip(embedding).for_each(|(sum, &value)| *sum += f64::from(value) / norm);
        }
        let norm = norm(mean.iter().copied());
        out.extend(mean.into_iter().map(|value| (value / norm) as f32));
    }
    out
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    // A zero vector stays zero instead of becoming NaN.
    values.map(|value| value * value).sum::<f64>().sqrt().max(1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_counted_by_rank() {
        let mut tally = Tally::new(6);
        // Label 0 first; label 1 second; label 5 last.
        tally.add(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[0]);
        tally.add(&[9.0, 8.0, 2.0, 3.0, 4.0, 5.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], &[1, 5]);
        tally.add(&[9.0, 8.0, 2.0, 3.0, 4.0, 5.0], &[0]);
        let metrics = tally.metrics();
        assert_eq!((metrics.samples, metrics.classes), (4, 6));
        assert!((metrics.acc1 - 0.5).abs() < 1e-12);
        assert_eq!(metrics.acc5, Some(0.75));
        assert!((metrics.mean_per_class_recall - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_model_that_says_nothing_is_no_better_than_chance() {
        let mut tally = Tally::new(4);
        tally.add(&[0.5; 16], &[0, 1, 2, 3]);
        assert!((tally.metrics().acc1 - 0.25).abs() < 1e-12, "constant scores");
        let mut tally = Tally::new(4);
        tally.add(&[f32::NAN; 16], &[0, 1, 2, 3]);
        assert!(tally.metrics().acc1 == 0.0, "no numbers");
        assert_eq!(tally.metrics().acc5, None);
        assert_eq!(Tally::new(4).metrics().samples, 0);
    }

    #[test]
    fn class_embeddings_are_normalised_means_of_normalised_prompts() {
        let out = class_embeddings(&[3.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 2.0], 2, 2);
        let half = std::f32::consts::FRAC_1_SQRT_2;
        assert!((out[0] - half).abs() < 1e-6 && (out[1] - half).abs() < 1e-6, "{out:?}");
        assert!(out[2].abs() < 1e-6 && (out[3] - 1.0).abs() < 1e-6, "{out:?}");
    }
}
