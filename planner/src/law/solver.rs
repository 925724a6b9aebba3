//! Weighted least squares with priors: a small Levenberg-Marquardt, deterministic, in plain `f64`.

/// Symmetric positive definite matrix, row by row.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    size: usize,
    cells: Vec<f64>,
}

impl Matrix {
    pub(super) fn zero(size: usize) -> Self {
        Self { size, cells: vec![0.0; size * size] }
    }

    pub(super) fn add(&mut self, row: usize, column: usize, value: f64) {
        self.cells[row * self.size + column] += value;
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.cells[row * self.size + column]
    }

    /// Lower Cholesky factor of the matrix with its diagonal multiplied by `1 + damping`; `None` where it is
    /// not positive definite.
    pub(super) fn cholesky(&self, damping: f64) -> Option<Cholesky> {
        let n = self.size;
        let mut factor = self.cells.clone();
        for row in 0..n {
            factor[row * n + row] *= 1.0 + damping;
            for column in 0..=row {
                let (above, below) = factor.split_at(row * n);
                let (left, right) = if column < row {
                    (&below[..column], &above[column * n..column * n + column])
                } else {
                    (&below[..column], &below[..column])
                };
                let sum: f64 = left.iter().zip(right).map(|(a, b)| a * b).sum();
                let rest = factor[row * n + column] - sum;
                if column == row {
                    if !(rest > 0.0 && rest.is_finite()) {
                        return None;
                    }
                    factor[row * n + row] = rest.sqrt();
                } else {
                    factor[row * n + column] = rest / factor[column * n + column];
                }
            }
        }
        Some(Cholesky(Self { size: n, cells: factor }))
    }
}

/// A factorised matrix.
#[derive(Clone, Debug)]
pub(super) struct Cholesky(Matrix);

impl Cholesky {
    /// x with L x = `right`.
    pub(super) fn forward(&self, right: &[f64]) -> Vec<f64> {
        let mut out = right.to_vec();
        for row in 0..out.len() {
            let sum: f64 = (0..row).map(|column| self.0.at(row, column) * out[column]).sum();
            out[row] = (out[row] - sum) / self.0.at(row, row);
        }
        out
    }

    /// x with A x = `right`.
    pub(super) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut out = self.forward(right);
        for row in (0..out.len()).rev() {
            let sum: f64 = (row + 1..out.len()).map(|below| self.0.at(below, row) * out[below]).sum();
            out[row] = (out[row] - sum) / self.0.at(row, row);
        }
        out
    }

    /// The quadratic form of the inverse: vᵀ A⁻¹ v.
    pub(super) fn inverse_form(&self, vector: &[f64]) -> f64 {
        self.forward(vector).iter().map(|value| value * value).sum()
    }
}

/// One observation's derivative, only the entries that are not zero.
pub(super) type Gradient = Vec<(usize, f64)>;

/// A problem that the solver can take: residuals in units of their own standard deviation.
pub(super) trait Problem {
    /// Number of parameters.
    fn parameters(&self) -> usize;
    /// Prior mean and standard deviation of a parameter.
    fn prior(&self, index: usize) -> (f64, f64);
    /// Every residual at `theta`.
    fn residuals(&self, theta: &[f64]) -> Vec<f64>;
    /// Every residual with its gradient.
    fn linearise(&self, theta: &[f64]) -> Vec<(f64, Gradient)>;
}

/// Where the solver ended.
pub(super) struct Solution {
    pub(super) theta: Vec<f64>,
    /// Factor of the curvature (inverse posterior covariance) at the end.
    pub(super) curvature: Cholesky,
    /// Weight that the robust loss gave each residual.
    pub(super) weights: Vec<f64>,
    pub(super) steps: usize,
}

/// Residual (in standard deviations) from which on the loss grows linearly.
const ROBUST_FROM: f64 = 2.5;

/// Pseudo-Huber: quadratic near zero, linear far away.
fn loss(residual: f64) -> f64 {
    let scaled = residual / ROBUST_FROM;
    2.0 * ROBUST_FROM * ROBUST_FROM * ((1.0 + scaled * scaled).sqrt() - 1.0)
}

fn weight(residual: f64) -> f64 {
    let scaled = residual / ROBUST_FROM;
    1.0 / (1.0 + scaled * scaled).sqrt()
}

/// A step that improves the objective by a smaller part than this is the last.
const ENOUGH: f64 = 1e-8;

fn objective(problem: &impl Problem, theta: &[f64]) -> f64 {
    let data: f64 = problem.residuals(theta).into_iter().map(loss).sum();
    let prior: f64 = theta
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let (mean, sd) = problem.prior(index);
            ((value - mean) / sd).powi(2)
        })
        .sum();
    data + prior
}

/// Finds the most probable parameters, from `start`, in at most `most_steps` steps.
pub(super) fn solve(problem: &impl Problem, start: Vec<f64>, most_steps: usize) -> Option<Solution> {
    let mut theta = start;
    let mut best = objective(problem, &theta);
    let mut damping = 1e-3;
    for step in 0.. {
        let size = problem.parameters();
        let mut curvature = Matrix::zero(size);
        let mut slope = vec![0.0; size];
        let mut weights = Vec::new();
        for (residual, gradient) in problem.linearise(&theta) {
            let weight = weight(residual);
            weights.push(weight);
            for &(row, a) in &gradient {
                slope[row] -= weight * a * residual;
                for &(column, b) in &gradient {
                    curvature.add(row, column, weight * a * b);
                }
            }
        }
        for (index, value) in theta.iter().enumerate() {
            let (mean, sd) = problem.prior(index);
            curvature.add(index, index, 1.0 / (sd * sd));
            slope[index] -= (value - mean) / (sd * sd);
        }
        let mut moved = false;
        if step < most_steps {
            for _ in 0..30 {
                let change = curvature.cholesky(damping)?.solve(&slope);
                let candidate: Vec<f64> =
                    theta.iter().zip(&change).map(|(value, change)| value + change).collect();
                let value = objective(problem, &candidate);
                if value.is_finite() && value < best {
                    moved = best - value > ENOUGH * best;
                    best = value;
                    theta = candidate;
                    damping = (damping * 0.2).max(1e-12);
                    break;
                }
                damping *= 5.0;
            }
        }
        if !moved {
            return Some(Solution { theta, curvature: curvature.cholesky(0.0)?, weights, steps: step });
        }
    }
    None
}
