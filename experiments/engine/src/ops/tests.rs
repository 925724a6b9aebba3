//! Each operation against its formula written out, and its gradient against finite differences.

use candle_core::{DType, Device, Tensor, Var};

use super::*;
use crate::real::change_numbers;

fn wave(count: usize, step: f64) -> Vec<f64> {
    (0..count).map(|index| (index as f64 * step + 0.3).sin()).collect()
}

fn var(shape: &[usize], step: f64) -> Var {
    let numbers = wave(shape.iter().product(), step);
    Var::from_tensor(&Tensor::from_vec(numbers, shape, &Device::Cpu).expect("a tensor")).expect("a variable")
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("numbers")
}

/// A number that depends on every element of the result, and differently on each.
fn mixed(result: &Tensor) -> Tensor {
    let weights = Tensor::from_vec(wave(result.elem_count(), 1.7), result.shape(), &Device::Cpu);
    weights.and_then(|w| (result * w.to_dtype(result.dtype())?)?.sum_all()).expect("a sum")
}

/// The gradient by every element of every input against central differences; then the same operation in
/// single precision against double.
fn check(inputs: &[Var], operation: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let tensors =
        |dtype| inputs.iter().map(|var| var.to_dtype(dtype).expect("converted")).collect::<Vec<_>>();
    let of = |tensors: &[Tensor]| operation(tensors).expect("a result");
    let value = || mixed(&of(&tensors(DType::F64))).to_scalar::<f64>().expect("a number");
    let gradients = mixed(&of(&tensors(DType::F64))).backward().expect("a backward pass");
    for (index, input) in inputs.iter().enumerate() {
        let gradient = numbers(gradients.get(input).expect("a gradient"));
        for (element, found) in gradient.iter().enumerate() {
            let shifted = |by: f64| {
                change_numbers::<f64, _>(input, |numbers| numbers[element] += by).expect("changed");
                value()
            };
            let step = 1e-5;
            let (above, below) = (shifted(step), shifted(-2.0 * step));
            shifted(step);
            let difference = (above - below) / (2.0 * step);
            let error = (found - difference).abs();
            assert!(error < 1e-8, "input {index}, element {element}: {found}, differences {difference}");
        }
    }
    let double = of(&tensors(DType::F64));
    let single = of(&tensors(DType::F32));
    for (a, b) in numbers(&double).iter().zip(numbers(&single)) {
        assert!((a - b).abs() < 2e-5, "{a} in double precision, {b} in single");
    }
    let single = mixed(&single).backward().expect("a backward pass");
    for (index, input) in inputs.iter().enumerate() {
        let a = numbers(gradients.get(input).expect("a gradient"));
        let b = numbers(single.get(input).expect("a gradient"));
        for (a, b) in a.iter().zip(b) {
            assert!(
                (a - b).abs() < 1e-4,
                "gradient of input {index}: {a} in double precision, {b} in single"
            );
        }
    }
}

fn assert_near(found: &Tensor, expected: &[f64]) {
    let found = numbers(found);
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-12, "element {index}: {found} is not {expected}");
    }
}

#[test]
fn linear_is_its_formula() {
    let (rows, columns, out) = (70, 5, 3);
    let (x, w, b) = (var(&[rows, columns], 0.7), var(&[out, columns], 1.1), var(&[out], 0.4));
    let (xs, ws, bs) = (numbers(&x), numbers(&w), numbers(&b));
    let plain =
        |row: usize, o: usize| (0..columns).map(|c| xs[row * columns + c] * ws[o * columns + c]).sum::<f64>();
    let expected: Vec<f64> =
        (0..rows).flat_map(|row| (0..out).map(move |o| (row, o))).map(|(r, o)| plain(r, o)).collect();
    assert_near(&linear(&x, &w, None).expect("a result"), &expected);
    let with_bias: Vec<f64> = expected.iter().enumerate().map(|(index, y)| y + bs[index % out]).collect();
    assert_near(&linear(&x, &w, Some(&b)).expect("a result"), &with_bias);
    check(&[x, w, b], |t| linear(&t[0], &t[1], Some(&t[2])));
    // A weight of more dimensions (a patch embedding), no bias, an input that is not contiguous.
    let (x, w) = (var(&[6, 4], 0.7), var(&[2, 3, 1, 2], 0.3));
    check(&[x, w], |t| linear(&t[0].t()?, &t[1], None));
}

#[test]
fn an_input_outside_the_graph_gets_no_gradient() {
    let (x, w) = (var(&[6, 4], 0.7), var(&[2, 4], 0.3));
    let gradients =
        linear(&x.as_detached_tensor(), &w, None).and_then(|y| mixed(&y).backward()).expect("gradients");
    assert!(gradients.get(&w).is_some() && gradients.get(&x).is_none());
}

#[test]
fn layer_norm_is_its_formula() {
    // More rows than a task takes, and a width that is no multiple of the lanes.
    for (rows, width) in [(67, 5), (2, 35)] {
        let (x, w, b) = (var(&[rows, width], 0.9), var(&[width], 1.3), var(&[width], 0.4));
        let (ws, bs) = (numbers(&w), numbers(&b));
        let mut expected = Vec::new();
        for row in numbers(&x).chunks_exact(width) {
            let mean = row.iter().sum::<f64>() / width as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            expected.extend((0..width).map(|i| (row[i] - mean) / (variance + 1e-5).sqrt() * ws[i] + bs[i]));
        }
        assert_near(&layer_norm(&x, &w, &b).expect("a result"), &expected);
        check(&[x, w, b], |t| layer_norm(&t[0], &t[1], &t[2]));
    }
}

/// Both poolings against their formulas; backward is the transpose of forward, which is linear.
#[test]
fn pooling_is_its_formula_and_backward_its_transpose() {
    let (sequences, width) = (Sequences { samples: 2, tokens: 4 }, 3);
    let x = wave(24, 0.7);
    let mean =
        |sample: usize, c: usize| (1..4).map(|token| x[(sample * 4 + token) * 3 + c]).sum::<f64>() / 3.0;
    let chosen = |sample: usize, c: usize| x[[2, 5][sample] * 3 + c];
    type Formula<'a> = &'a dyn Fn(usize, usize) -> f64;
    let everything = |token: usize, c: usize| x[token * 3 + c];
    let cases: [(Pooling, Formula); 3] = [
        (Pooling::MeanOfPatches, &mean),
        (Pooling::Rows(vec![2, 5]), &chosen),
        (Pooling::Everything, &everything),
    ];
    for (pooling, formula) in cases {
        let pooled = pooling.forward(&x, sequences, width);
        for (index, &found) in pooled.iter().enumerate() {
            assert!((found - formula(index / 3, index % 3)).abs() < 1e-12);
        }
        let dy = wave(pooled.len(), 1.3);
        let mut dx = vec![9.0; 24];
        pooling.backward(&dy, sequences, width, &mut dx);
        for element in 0..24 {
            let mut unit = vec![0.0; 24];
            unit[element] = 1.0;
            let moved = pooling.forward(&unit, sequences, width);
            let expected: f64 = moved.iter().zip(&dy).map(|(a, b)| a * b).sum();
            assert!((dx[element] - expected).abs() < 1e-12, "{pooling:?} {element}");
        }
    }
}
