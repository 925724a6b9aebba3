//! `AdamW` over all tensors, with its state by name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Var;
use rayon::prelude::*;
use shoestring_planner::recipe::Optimizer;

use crate::error::{EngineError, Result};
use crate::gradients::{Gradient, Rows};
use crate::ops::simd::widest;
use crate::ops::stored::Stored;
use crate::params::{IMAGE_POSITIONS, Parameters, TOKEN_EMBEDDING};
use crate::real::{Real, change_numbers};

/// Numbers that one task of the parallel loop takes.
const TASK: usize = 16 * 1024;

/// Rows of a table that one task takes.
const ROWS_A_TASK: usize = 256;

/// `AdamW` with decoupled weight decay (Loshchilov and Hutter, 2019), as `torch.optim.AdamW` computes it: with
/// g the clipped gradient, t the steps done, this one included, and r the learning rate,
///
/// p ← p (1 - r decay); m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²;
/// p ← p - r / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε).
#[derive(Clone, Debug)]
pub struct AdamW {
    pub(crate) settings: Optimizer,
    pub(crate) steps: u64,
    pub(crate) skipped_in_a_row: u32,
    pub(crate) moments: BTreeMap<String, Moments>,
    /// What the learning rate of each tensor is multiplied with, in order of name.
    pub(crate) rate_factors: Vec<f64>,
}

/// Running means of one tensor's gradient and of its square.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
    /// For a table whose gradients come by row: which rows ever had one. The others' moments are zero, so that
    /// only decay changes them and the moments need not be read.
    pub(crate) live_rows: Vec<bool>,
}

impl Moments {
    pub(crate) fn zeros(elements: usize) -> Self {
        Self { first: vec![0.0; elements], second: vec![0.0; elements], live_rows: Vec::new() }
    }

    /// Marks the rows that have a moment.
    fn find_live_rows(&mut self, width: usize) {
        let rows = self.first.chunks_exact(width).zip(self.second.chunks_exact(width));
        self.live_rows = rows.map(|(m, v)| m.iter().chain(v).any(|&x| x != 0.0)).collect();
    }
}

/// Whether a tensor decays: matrices do; biases, norms, the class token and the temperature (fewer than two
/// dimensions) do not, and neither do positions of either tower.
#[must_use]
pub fn decays(name: &str, shape: &[usize]) -> bool {
    shape.len() >= 2 && name != "positional_embedding" && name != IMAGE_POSITIONS
}

/// What each tensor's learning rate is multiplied with: `decay` to the number of layers above it in its tower.
/// Embeddings and positions are the layer below the first block; norms, pooling and projections after the last
/// block, and the temperature, are the top one.
#[must_use]
pub(crate) fn rate_factors<'a>(decay: f64, names: impl Iterator<Item = &'a str> + Clone) -> Vec<f64> {
    /// The tower's prefix and the number of the block.
    fn block(name: &str) -> Option<(&str, u32)> {
        let (tower, rest) = name.split_once("transformer.resblocks.")?;
        Some((tower, rest.split('.').next()?.parse().ok()?))
    }
    const BELOW: [&str; 7] = [
        "visual.conv1.weight",
        "visual.class_embedding",
        IMAGE_POSITIONS,
        "visual.ln_pre.weight",
        "visual.ln_pre.bias",
        TOKEN_EMBEDDING,
        "positional_embedding",
    ];
    let mut blocks: BTreeMap<&str, u32> = BTreeMap::new();
    for (tower, number) in names.clone().filter_map(block) {
        let count = blocks.entry(tower).or_default();
        *count = (*count).max(number + 1);
    }
    let above = |name: &str| {
        let (tower, layer) = match block(name) {
            Some((tower, number)) => (tower, number + 1),
            None if BELOW.contains(&name) => (if name.starts_with("visual.") { "visual." } else { "" }, 0),
            None => return 0,
        };
        blocks.get(tower).copied().unwrap_or(0) + 1 - layer
    };
    names.map(|name| decay.powi(above(name) as i32)).collect()
}

/// The numbers of one step that all elements of a tensor share.
#[derive(Clone, Copy)]
pub(crate) struct Factors<T> {
    /// What the gradient is multiplied with: below 1 where it is clipped.
    pub(crate) gradient: T,
    pub(crate) beta1: T,
    pub(crate) beta2: T,
    pub(crate) epsilon: T,
    /// 1 - r decay, or 1.
    pub(crate) keep: T,
    /// r / (1 - β₁ᵗ).
    pub(crate) rate: T,
    /// 1 / √(1 - β₂ᵗ).
    pub(crate) second: T,
}

widest! {
    /// [`AdamW`]'s formula, number by number. Bound by bytes of main memory: 26 a number with a gradient in bf16 (28 in
    /// `f32`) at 16 vector operations, a root and a division among them.
    pub(crate) fn update<S: Stored>(
        p: &mut [S::Real],
        m: &mut [S::Real],
        v: &mut [S::Real],
        g: &[S],
        by: Factors<S::Real>,
    ) {
        let one = S::Real::ONE;
        for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g.widen() * by.gradient;
            *m = by.beta1 * *m + (one - by.beta1) * g;
            *v = by.beta2 * *v + (one - by.beta2) * g * g;
            *p = *p * by.keep - by.rate * *m / (v.square_root() * by.second + by.epsilon);
        }
    }
}

widest! {
    /// [`update`] where the gradient and both moments are zero: p ← keep p. Bound by bytes: 8 a number at one product.
    pub(crate) fn decay<T: Real>(p: &mut [T], keep: T) {
        for p in p {
            *p *= keep;
        }
    }
}

impl AdamW {
    /// No steps done.
    #[must_use]
    pub fn new(settings: &Optimizer, parameters: &Parameters) -> Self {
        let moments = parameters
            .iter()
            .map(|(name, var)| (name.to_owned(), Moments::zeros(var.elem_count())))
            .collect();
        let names = parameters.iter().map(|(name, _)| name).collect::<Vec<_>>();
        let rate_factors = rate_factors(settings.layer_decay.unwrap_or(1.0), names.iter().copied());
        Self { settings: settings.clone(), steps: 0, skipped_in_a_row: 0, moments, rate_factors }
    }

    /// The smallest part of the learning rate that a tensor learns at.
    pub(crate) fn smallest_rate_factor(&self) -> f64 {
        self.rate_factors.iter().copied().fold(1.0, f64::min)
    }

    /// Takes the moments of a tensor to another shape of it.
    pub(crate) fn reshape_moments(&mut self, name: &str, change: impl Fn(&[f32]) -> Vec<f32>) {
        if let Some(moments) = self.moments.get_mut(name) {
            moments.first = change(&moments.first);
            // A mean of squares stays one.
            moments.second = change(&moments.second).into_iter().map(|x| x.max(0.0)).collect();
        }
    }

    /// Steps done; skipped ones do not count.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Changes every tensor by its gradient, multiplied with `gradient_factor` (below 1 where it is clipped).
    /// Elementwise, so the result does not depend on the number of threads. Returns the first tensor of which
    /// no number changed, where `check_movement` asks for it.
    ///
    /// One pass: a number's p, m and v are read and written (24 bytes) and its gradient is read (2 to 4).
    pub(crate) fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &BTreeMap<String, Gradient<f32>>,
        learning_rate: f64,
        gradient_factor: f64,
        check_movement: bool,
    ) -> Result<Option<String>> {
        self.steps += 1;
        let Optimizer { beta1, beta2, epsilon, weight_decay, .. } = self.settings;
        // Beyond this both corrections are 1 to the last bit.
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let corrected = 1.0 - beta1.powi(steps);
        let factors = Factors {
            gradient: gradient_factor as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            epsilon: epsilon as f32,
            keep: 1.0,
            rate: 0.0,
            second: (1.0 / (1.0 - beta2.powi(steps)).sqrt()) as f32,
        };
        let mut work = Vec::with_capacity(parameters.len());
        for (name, var) in parameters.iter() {
            let missing = || EngineError::NoGradient { tensor: name.to_owned() };
            work.push((name, var, gradients.get(name).ok_or_else(missing)?));
        }
        // Both are in order of name and of the same names.
        let moments: Vec<&mut Moments> = self.moments.values_mut().collect();
        let moved: Vec<(&str, bool)> = work
            .into_par_iter()
            .zip(moments)
            .zip(&self.rate_factors)
            .map(|(((name, var, gradient), moments), rate_factor)| {
                let own_rate = learning_rate * rate_factor;
                let weight_decay = if decays(name, var.dims()) { weight_decay } else { 0.0 };
                let keep = (1.0 - own_rate * weight_decay) as f32;
                let by = Factors { keep, rate: (own_rate / corrected) as f32, ..factors };
                let moved = AtomicBool::new(!check_movement);
                one_tensor(var, moments, gradient, by, &moved)?;
                Ok((name, moved.into_inner()))
            })
            .collect::<Result<_>>()?;
        Ok(moved.into_iter().find(|&(_, moved)| !moved).map(|(name, _)| name.to_owned()))
    }
}

/// Runs `change` and, as long as nothing is known to have moved, sees whether it changed a number.
fn watched(p: &mut [f32], moved: &AtomicBool, change: impl FnOnce(&mut [f32])) {
    if moved.load(Ordering::Relaxed) {
        return change(p);
    }
    let before = p.to_vec();
    change(p);
    if before != p {
        moved.store(true, Ordering::Relaxed);
    }
}

fn one_tensor(
    var: &Var,
    moments: &mut Moments,
    gradient: &Gradient<f32>,
    by: Factors<f32>,
    moved: &AtomicBool,
) -> Result<()> {
    match gradient {
        Gradient::Dense(gradient) => dense(var, moments, gradient, by, moved),
        Gradient::Half(gradient) => dense(var, moments, gradient, by, moved),
        Gradient::Rows(rows) => table(var, moments, rows, by, moved),
    }
}

fn dense<S: Stored<Real = f32>>(
    var: &Var,
    Moments { first, second, .. }: &mut Moments,
    gradient: &[S],
    by: Factors<f32>,
    moved: &AtomicBool,
) -> Result<()> {
    Ok(change_numbers::<f32, _>(var, |p| {
        let tasks = p
            .par_chunks_mut(TASK)
            .zip(first.par_chunks_mut(TASK))
            .zip(second.par_chunks_mut(TASK))
            .zip(gradient.par_chunks(TASK));
        tasks.for_each(|(((p, m), v), g)| watched(p, moved, |p| update::<S>(p, m, v, g, by)));
    })?)
}

/// A table of which only some rows have a gradient.
fn table(
    var: &Var,
    moments: &mut Moments,
    rows: &Rows<f32>,
    by: Factors<f32>,
    moved: &AtomicBool,
) -> Result<()> {
    let width = var.dims()[1];
    if moments.live_rows.is_empty() {
        moments.find_live_rows(width);
    }
    let Moments { first, second, live_rows } = moments;
    let zeros = vec![0f32; width];
    let one_task = |start: usize, p: &mut [f32], m: &mut [f32], v: &mut [f32], live: &mut [bool]| {
        let mut with_gradient = rows.within(start, start + live.len()).peekable();
        let table = p.chunks_exact_mut(width).zip(m.chunks_exact_mut(width)).zip(v.chunks_exact_mut(width));
        for (row, ((p, m), v)) in table.enumerate() {
            let gradient = with_gradient.next_if(|&(id, _)| id == start + row);
            live[row] |= gradient.is_some();
            if live[row] {
                update::<f32>(p, m, v, gradient.map_or(&zeros, |(_, gradient)| gradient), by);
            } else {
                decay(p, by.keep);
            }
        }
    };
    Ok(change_numbers::<f32, _>(var, |p| {
        let size = ROWS_A_TASK * width;
        let tasks = p
            .par_chunks_mut(size)
            .zip(first.par_chunks_mut(size))
            .zip(second.par_chunks_mut(size))
            .zip(live_rows.par_chunks_mut(ROWS_A_TASK));
        tasks.enumerate().for_each(|(task, (((p, m), v), live))| {
            watched(p, moved, |p| one_task(task * ROWS_A_TASK, p, m, v, live));
        });
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::Gradients;
    use crate::params::{Initial, TensorSpec, tensor_specs};
    use crate::test_models::tiny;
    use candle_core::DType;

    fn settings() -> Optimizer {
        Optimizer { epsilon: 1e-6, weight_decay: 0.3, ..Optimizer::default() }
    }

    fn values(parameters: &Parameters, name: &str) -> Vec<f32> {
        parameters.get(name).and_then(|var| Ok(var.flatten_all()?.to_vec1()?)).expect("values")
    }

    /// The formula, one number at a time, in double precision.
    struct Reference {
        m: f64,
        v: f64,
        p: f64,
    }

    impl Reference {
        fn step(&mut self, t: i32, g: f64, rate: f64, decays: bool) {
            let s = settings();
            if decays {
                self.p -= rate * s.weight_decay * self.p;
            }
            self.m = s.beta1 * self.m + (1.0 - s.beta1) * g;
            self.v = s.beta2 * self.v + (1.0 - s.beta2) * g * g;
            let m_hat = self.m / (1.0 - s.beta1.powi(t));
            let v_hat = self.v / (1.0 - s.beta2.powi(t));
            self.p -= rate * m_hat / (v_hat.sqrt() + s.epsilon);
        }
    }

    /// A matrix, a bias, the positions and a table of which different rows are used in different steps.
    #[test]
    fn every_element_follows_the_formula() {
        let (rows, width) = (600, 3);
        let spec = |shape: &[usize]| TensorSpec { shape: shape.to_vec(), initial: Initial::Normal(1.0) };
        let specs = BTreeMap::from([
            ("a.weight".to_owned(), spec(&[4, 5])),
            ("a.bias".to_owned(), spec(&[5])),
            ("positional_embedding".to_owned(), spec(&[2, 3])),
            (TOKEN_EMBEDDING.to_owned(), spec(&[rows, width])),
        ]);
        let parameters = Parameters::initial(&specs, 3, DType::F32).expect("parameters");
        let mut reference: BTreeMap<&str, Vec<Reference>> = specs
            .keys()
            .map(|name| {
                let start = values(&parameters, name);
                (
                    name.as_str(),
                    start.iter().map(|&p| Reference { m: 0.0, v: 0.0, p: f64::from(p) }).collect(),
                )
            })
            .collect();
        let mut optimizer = AdamW::new(&settings(), &parameters);
        for step in 1..=12i32 {
            let rate = 0.01 * f64::from(step);
            let clip = if step % 3 == 0 { 0.25 } else { 1.0 };
            let used: Vec<u32> = match step {
                1 => vec![5, 599, 5],
                4 => vec![],
                _ => vec![step as u32, 300 + 7 * step as u32],
            };
            let mut gradients = Gradients::<f32>::new(&used, width);
            for name in ["a.weight", "a.bias", "positional_embedding"] {
                let g: Vec<f32> =
                    (0..specs[name].elements()).map(|i| ((i as f32 + 1.3) * step as f32).sin()).collect();
                gradients.add(name, g.clone());
                for (element, g) in reference.get_mut(name).expect("known").iter_mut().zip(g) {
                    element.step(step, clip * f64::from(g), rate, name == "a.weight");
                }
            }
            let mut table = vec![0f32; rows * width];
            for &id in &used {
                for column in 0..width {
                    let g = ((id as f32 + 2.0) * (column as f32 + 1.0) * step as f32).cos();
                    table[id as usize * width + column] += g;
                }
                let g: Vec<f32> =
                    (0..width).map(|c| ((id as f32 + 2.0) * (c as f32 + 1.0) * step as f32).cos()).collect();
                gradients.token_rows().add(id, &g);
            }
            for (element, g) in reference.get_mut(TOKEN_EMBEDDING).expect("known").iter_mut().zip(table) {
                element.step(step, clip * f64::from(g), rate, true);
            }
            optimizer.step(&parameters, &gradients.into_named(), rate, clip, false).expect("a step");
            if step == 6 {
                // What loading a checkpoint does: the rows that have moments are found again.
                for moments in optimizer.moments.values_mut() {
                    moments.live_rows.clear();
                }
            }
        }
        for (name, elements) in &reference {
            for (found, expected) in values(&parameters, name).iter().zip(elements) {
                assert!(
                    (f64::from(*found) - expected.p).abs() < 3e-6,
                    "{name}: {found} is not {}",
                    expected.p
                );
            }
        }
        let live = &optimizer.moments[TOKEN_EMBEDDING].live_rows;
        assert!(live.iter().filter(|&&live| live).count() < 30, "few rows were ever used");
    }

    #[test]
    fn a_tensor_without_gradient_is_an_error() {
        let spec = TensorSpec { shape: vec![2, 2], initial: Initial::Constant(1.0) };
        let specs = BTreeMap::from([("a".to_owned(), spec.clone()), (TOKEN_EMBEDDING.to_owned(), spec)]);
        let parameters = Parameters::initial(&specs, 0, DType::F32).expect("parameters");
        let mut optimizer = AdamW::new(&settings(), &parameters);
        let error = optimizer.step(&parameters, &Gradients::new(&[0], 2).into_named(), 0.1, 1.0, false);
        assert!(matches!(error, Err(EngineError::NoGradient { tensor }) if tensor == "a"));
    }

    #[test]
    fn the_rate_falls_layer_by_layer_from_the_head_of_each_tower() {
        let mut architecture = tiny();
        (architecture.vision_cfg.layers, architecture.text_cfg.layers) = (3, 12);
        let specs = tensor_specs(&architecture, 2.5);
        let names: Vec<&str> = specs.keys().map(String::as_str).collect();
        let factors = rate_factors(0.5, names.iter().copied());
        let of = |name: &str| factors[names.iter().position(|&known| known == name).expect(name)];
        for (name, above) in [
            ("visual.conv1.weight", 4),
            ("visual.class_embedding", 4),
            ("visual.transformer.resblocks.0.mlp.c_fc.bias", 3),
            ("visual.transformer.resblocks.2.ln_1.weight", 1),
            ("visual.ln_post.weight", 0),
            ("visual.proj", 0),
            (TOKEN_EMBEDDING, 13),
            ("positional_embedding", 13),
            ("transformer.resblocks.0.attn.in_proj_weight", 12),
            ("transformer.resblocks.11.attn.in_proj_weight", 1),
            ("ln_final.bias", 0),
            ("text_projection", 0),
            ("logit_scale", 0),
        ] {
            assert_eq!(of(name), 0.5f64.powi(above), "{name}");
        }
        assert!(rate_factors(1.0, names.iter().copied()).iter().all(|&factor| factor == 1.0));
    }

    /// A step at decay d is for each tensor the step at its own rate.
    #[test]
    fn layer_decay_is_each_tensors_own_rate() {
        let names = ["visual.conv1.weight", "visual.transformer.resblocks.0.mlp.c_fc.weight", "visual.proj"];
        let spec = TensorSpec { shape: vec![3, 2], initial: Initial::Normal(1.0) };
        let mut specs: BTreeMap<_, _> = names.iter().map(|&name| (name.to_owned(), spec.clone())).collect();
        specs.insert(TOKEN_EMBEDDING.to_owned(), spec);
        let after = |decay: Option<f64>, rate: f64| {
            let parameters = Parameters::initial(&specs, 3, DType::F32).expect("parameters");
            let mut optimizer = AdamW::new(&Optimizer { layer_decay: decay, ..settings() }, &parameters);
            let mut gradients = Gradients::<f32>::new(&[0], 2);
            for name in names {
                gradients.add(name, vec![0.1, -0.2, 0.3, 0.4, 0.5, -0.6]);
            }
            optimizer.step(&parameters, &gradients.into_named(), rate, 1.0, false).expect("a step");
            names.map(|name| values(&parameters, name))
        };
        let decayed = after(Some(0.5), 0.08);
        for (index, rate) in [0.02, 0.04, 0.08].into_iter().enumerate() {
            assert_eq!(decayed[index], after(None, rate)[index], "{}", names[index]);
        }
    }

    #[test]
    fn only_matrices_decay_and_positions_do_not() {
        assert!(decays("visual.proj", &[4, 4]) && decays(TOKEN_EMBEDDING, &[9, 4]));
        assert!(!decays("positional_embedding", &[9, 4]) && !decays("logit_scale", &[]));
        assert!(!decays(IMAGE_POSITIONS, &[9, 4]) && decays("visual.attn_pool.query", &[1, 4]));
        assert!(!decays("visual.class_embedding", &[4]) && !decays("ln_final.weight", &[4]));
    }
}
