//! A linear probe: multinomial logistic regression on frozen embeddings, by L-BFGS.

use std::collections::VecDeque;

use rayon::prelude::*;

/// Rows that one task of a pass over the samples takes. Fixed, so that sums do not depend on the threads.
const ROWS_A_TASK: usize = 256;
/// Pairs of differences that L-BFGS remembers.
const MEMORY: usize = 10;
/// Gradient, largest element over samples, at which the minimum is reached.
const TOLERANCE: f64 = 1e-6;

/// Settings of a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeSettings {
    /// Inverse strength of the penalty, as scikit-learn's `C`: minimised is ½|W|² + C Σ cross-entropy.
    pub c: f64,
    /// Passes over the samples, at most.
    pub most_iterations: usize,
}

impl Default for ProbeSettings {
    /// Those of CLIP's own example: C = 0.316, 1,000 iterations.
    fn default() -> Self {
        Self { c: 0.316, most_iterations: 1_000 }
    }
}

/// A trained probe: classes x (width + 1), the last number of each row its bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    weights: Vec<f64>,
    width: usize,
    /// Passes over the samples.
    pub iterations: usize,
}

impl Probe {
    /// Trains on embeddings of `width` numbers each. Biases are not penalised. The minimum is unique up to a
    /// constant on the biases, so the result does not depend on a seed: there is none.
    ///
    /// # Panics
    /// When the sizes disagree or a label is not below `classes`.
    #[must_use]
    pub fn train(
        features: &[f32],
        labels: &[u32],
        width: usize,
        classes: usize,
        settings: ProbeSettings,
    ) -> Self {
        assert_eq!(features.len(), labels.len() * width, "one embedding for each label");
        assert!(
            labels.iter().all(|&label| (label as usize) < classes),
            "labels are below the number of classes"
        );
        let problem = Problem { features, labels, width, classes, c: settings.c };
        let (weights, iterations) = minimise(&problem, settings.most_iterations);
        Self { weights, width, iterations }
    }

    /// The score of each class, samples x classes.
    #[must_use]
    pub fn scores(&self, features: &[f32]) -> Vec<f32> {
        features
            .par_chunks(self.width)
            .flat_map_iter(|row| {
                self.weights.chunks_exact(self.width + 1).map(|of_class| score(of_class, row) as f32)
            })
            .collect()
    }
}

fn score(of_class: &[f64], row: &[f32]) -> f64 {
    let bias = of_class[row.len()];
    of_class.iter().zip(row).map(|(weight, &x)| weight * f64::from(x)).sum::<f64>() + bias
}

struct Problem<'a> {
    features: &'a [f32],
    labels: &'a [u32],
    width: usize,
    classes: usize,
    c: f64,
}

impl Problem<'_> {
    /// Objective and gradient, both divided by C times the number of samples.
    fn at(&self, weights: &[f64]) -> (f64, Vec<f64>) {
        let row = self.width + 1;
        let parts: Vec<(f64, Vec<f64>)> = self
            .features
            .par_chunks(ROWS_A_TASK * self.width)
            .zip(self.labels.par_chunks(ROWS_A_TASK))
            .map(|(features, labels)| {
                let (mut loss, mut gradient) = (0.0, vec![0.0; weights.len()]);
                let mut scores = vec![0.0; self.classes];
                for (x, &label) in features.chunks_exact(self.width).zip(labels) {
                    for (score_of, of_class) in scores.iter_mut().zip(weights.chunks_exact(row)) {
                        *score_of = score(of_class, x);
                    }
                    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
                    loss += largest + sum.ln() - scores[label as usize];
                    for (class, (score, slope)) in
                        scores.iter().zip(gradient.chunks_exact_mut(row)).enumerate()
                    {
                        let hit = if class == label as usize { 1.0 } else { 0.0 };
                        let factor = (score - largest).exp() / sum - hit;
                        slope.iter_mut().zip(x).for_each(|(slope, &x)| *slope += factor * f64::from(x));
                        slope[self.width] += factor;
                    }
                }
                (loss, gradient)
            })
            .collect();
        let samples = self.labels.len().max(1) as f64;
        let (mut loss, mut gradient) = (0.0, vec![0.0; weights.len()]);
        for (part, slopes) in parts {
            loss += part;
            gradient.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope);
        }
        let penalty = 1.0 / self.c;
        for (slopes, of_class) in gradient.chunks_exact_mut(row).zip(weights.chunks_exact(row)) {
            for (slope, weight) in slopes.iter_mut().zip(&of_class[..self.width]) {
                *slope += penalty * weight;
                loss += 0.5 * penalty * weight * weight;
            }
        }
        gradient.iter_mut().for_each(|slope| *slope /= samples);
        (loss / samples, gradient)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// L-BFGS with backtracking to Armijo's condition (Nocedal and Wright, algorithms 7.4 and 3.1).
fn minimise(problem: &Problem<'_>, most: usize) -> (Vec<f64>, usize) {
    let mut x = vec![0.0; problem.classes * (problem.width + 1)];
    let (mut value, mut gradient) = problem.at(&x);
    let mut pairs: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    for iteration in 0..most {
        if gradient.iter().all(|slope| slope.abs() <= TOLERANCE) {
            return (x, iteration);
        }
        let mut direction: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
        let mut factors = Vec::with_capacity(pairs.len());
        for (step, change) in pairs.iter().rev() {
            let factor = dot(step, &direction) / dot(step, change);
            direction.iter_mut().zip(change).for_each(|(d, change)| *d -= factor * change);
            factors.push(factor);
        }
        if let Some((step, change)) = pairs.back() {
            let scale = dot(step, change) / dot(change, change);
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for ((step, change), factor) in pairs.iter().zip(factors.into_iter().rev()) {
            let back = dot(change, &direction) / dot(step, change);
            direction.iter_mut().zip(step).for_each(|(d, step)| *d += (factor - back) * step);
        }
        let slope = dot(&gradient, &direction);
        // Without curvature information the first step is one of length one.
        let mut length =
            if pairs.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt().max(1e-300) } else { 1.0 };
        let moved = loop {
            let candidate: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + length * d).collect();
            let (new_value, new_gradient) = problem.at(&candidate);
            if new_value <= value + 1e-4 * length * slope {
                break Some((candidate, new_value, new_gradient));
            }
            length *= 0.5;
            if length < 1e-12 {
                break None;
            }
        };
        let Some((next, next_value, next_gradient)) = moved else { return (x, iteration) };
        let step: Vec<f64> = next.iter().zip(&x).map(|(a, b)| a - b).collect();
        let change: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        if dot(&step, &change) > 1e-300 {
            pairs.push_back((step, change));
            if pairs.len() > MEMORY {
                pairs.pop_front();
            }
        }
        (x, value, gradient) = (next, next_value, next_gradient);
    }
    (x, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Stream;

    fn blobs(samples: usize) -> (Vec<f32>, Vec<u32>) {
        let mut stream = Stream::new(5, "blobs", 0);
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        for sample in 0..samples {
            let class = sample % 3;
            for dimension in 0..4 {
                let centre = if dimension == class { 1.0 } else { 0.0 };
                features.push((centre + 0.8 * (stream.unit() - 0.5)) as f32);
            }
            labels.push(class as u32);
        }
        (features, labels)
    }

    #[test]
    fn the_gradient_is_the_difference_of_the_objective() {
        let (features, labels) = blobs(30);
        let problem = Problem { features: &features, labels: &labels, width: 4, classes: 3, c: 0.5 };
        let mut stream = Stream::new(1, "weights", 0);
        let weights: Vec<f64> = (0..15).map(|_| stream.unit() - 0.5).collect();
        let (_, gradient) = problem.at(&weights);
        for place in 0..weights.len() {
            let shifted = |by: f64| {
                let mut weights = weights.clone();
                weights[place] += by;
                problem.at(&weights).0
            };
            let difference = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!((gradient[place] - difference).abs() < 1e-8, "{place}: {} {difference}", gradient[place]);
        }
    }

    #[test]
    fn the_minimum_is_reached_and_classes_are_told_apart() {
        let (features, labels) = blobs(300);
        let settings = ProbeSettings { c: 10.0, most_iterations: 500 };
        let probe = Probe::train(&features, &labels, 4, 3, settings);
        assert!(probe.iterations < 500, "{}", probe.iterations);
        let problem = Problem { features: &features, labels: &labels, width: 4, classes: 3, c: 10.0 };
        assert!(problem.at(&probe.weights).1.iter().all(|slope| slope.abs() < 1e-5));
        let (features, labels) = blobs(600);
        let scores = probe.scores(&features[300 * 4..]);
        let hits = scores.chunks_exact(3).zip(&labels[300..]).filter(|(scores, label)| {
            let best = (0..3).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            best == Some(**label as usize)
        });
        assert!(hits.count() > 295);
    }
}
