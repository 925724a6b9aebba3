//! `bench`: how fast training steps and their kernels are on this machine.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use shoestring_experiments::bench::{
    KernelRate, Measurement, Shape, StepOptions, kernel_rates, measure_step,
};
use shoestring_planner::recipe::{ImageReduction, read_recipe};

use super::read_text;
use crate::cli::{BenchArgs, Format};
use crate::failure::{Exit, Failure};
use crate::output::Printer;
use crate::progress::bar;

/// Seconds for each kernel.
const KERNEL_SECONDS: f64 = 0.5;

pub(crate) fn bench(args: &BenchArgs, printer: Printer) -> Result<Exit, Failure> {
    let shapes = match &args.like {
        Some(path) => shapes_of(path)?,
        None => named_shapes(args)?,
    };
    let options = StepOptions {
        precision: args.precision.map(Into::into),
        microbatch: args.microbatch.map(|samples| samples as usize),
        recompute: args.recompute,
    };
    let seconds = f64::from(args.seconds);
    let bar = bar(printer, 100 * shapes.len() as u64, "measuring");
    let mut found = Vec::with_capacity(shapes.len());
    for (index, shape) in shapes.iter().enumerate() {
        let measured = measure_step(shape, &options, seconds, &mut |share| {
            bar.set_position(100 * index as u64 + (100.0 * share.min(1.0)) as u64);
        });
        found.push(measured.map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Failure, error).hint(hint)
        })?);
    }
    bar.finish_and_clear();
    let kernels = if args.kernels { kernel_rates(KERNEL_SECONDS) } else { Vec::new() };
    match args.format {
        Format::Text => {
            printer.data(&text(&shapes, &found, &kernels))?;
            if args.image_tokens.len() > 1 {
                printer.data(&savings(&shapes, &found, args.image_tokens.len()))?;
            }
        }
        Format::Json => printer.json(&object(&shapes, &found, &kernels))?,
    }
    Ok(Exit::Success)
}

/// The shapes that were named, with the batch and the numbers of patches that were asked for.
fn named_shapes(args: &BenchArgs) -> Result<Vec<Shape>, Failure> {
    let mut shapes: Vec<Shape> = args.shape.iter().filter_map(|name| Shape::named(name)).collect();
    for shape in &mut shapes {
        shape.batch = args.batch.unwrap_or(shape.batch);
    }
    if args.image_tokens.is_empty() {
        return Ok(shapes);
    }
    let mut of_tokens = Vec::new();
    for shape in &shapes {
        for &tokens in &args.image_tokens {
            let not_square = || {
                Failure::usage(format!("--image-tokens {tokens}: not the square of a whole number"))
                    .hint("take squares, such as 196,100,49,36,16".to_owned())
            };
            of_tokens.push(shape.with_image_tokens(tokens).ok_or_else(not_square)?);
        }
    }
    Ok(of_tokens)
}

/// The stages of a recipe as shapes.
fn shapes_of(path: &Path) -> Result<Vec<Shape>, Failure> {
    let recipe = read_recipe(&read_text(path)?, path).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Usage, error).hint(hint)
    })?;
    let stages = recipe.stages.iter().map(|stage| Shape {
        name: stage.name.clone(),
        architecture: recipe.architecture.clone(),
        image_size_px: stage.image_size_px,
        text_tokens: stage.text_tokens.0,
        batch: stage.batch,
        kept_patches: (stage.image_reduction != ImageReduction::Resize)
            .then(|| stage.image_tokens(&recipe.architecture).0),
    });
    Ok(stages.collect())
}

fn precision(found: &Measurement) -> String {
    format!("{:?}", found.precision).to_lowercase()
}

fn text(shapes: &[Shape], found: &[Measurement], kernels: &[KernelRate]) -> String {
    let mut out = String::new();
    if let Some(first) = found.first() {
        let (precision, threads) = (precision(first), first.threads);
        let _ = writeln!(out, "{precision}, {} kernels, {threads} threads\n", first.kernels);
    }
    let _ = writeln!(
        out,
        "{:<12} {:>6} {:>6} {:>6} {:>10} {:>9} {:>9} {:>7} {:>8}",
        "shape", "pixels", "words", "batch", "samples/s", "GFLOP/s", "peak", "share", "memory"
    );
    for (shape, found) in shapes.iter().zip(found) {
        let memory =
            found.peak_memory_bytes.map_or("-".to_owned(), |bytes| format!("{:.0} MB", bytes as f64 / 1e6));
        let _ = writeln!(
            out,
            "{:<12} {:>6} {:>6} {:>6} {:>10.1} {:>9.1} {:>9.1} {:>6.0}% {:>8}",
            shape.name,
            shape.image_size_px,
            shape.text_tokens,
            shape.batch,
            found.samples_per_second,
            found.flops_per_second / 1e9,
            found.peak_flops_per_second / 1e9,
            100.0 * found.share_of_peak(),
            memory
        );
    }
    let _ = writeln!(
        out,
        "\nA step is both towers forward and backward, loss and optimiser. Peak: products alone, from the caches, \
         measured between the steps. Memory: the most that the process has had so far."
    );
    if !kernels.is_empty() {
        let _ = writeln!(
            out,
            "\n{:<44} {:>8} {:>7}  {:<17} {:>5}",
            "kernel, one thread", "GFLOP/s", "GB/s", "bound", "share"
        );
        for kernel in kernels {
            let _ = writeln!(
                out,
                "{:<44} {:>8.1} {:>7.1}  {:<17} {:>4.0}%",
                kernel.name,
                kernel.flops_per_second / 1e9,
                kernel.bytes_per_second / 1e9,
                kernel.bound,
                100.0 * kernel.share_of_bound
            );
        }
        let _ = writeln!(
            out,
            "\nBound: of a kernel's arithmetic and its traffic, what comes nearer to this machine's own rate, measured \
             before the kernels; share: how near."
        );
    }
    out
}

/// What fewer tokens save: of each shape, in arithmetic and in time, against its first number of tokens.
fn savings(shapes: &[Shape], found: &[Measurement], numbers: usize) -> String {
    let mut out = format!(
        "\n{:<12} {:>14} {:>12} {:>12} {:>11} {:>9}\n",
        "shape", "GFLOP/sample", "ms/sample", "fewer FLOPs", "less time", "arrives"
    );
    for (shapes, found) in shapes.chunks(numbers).zip(found.chunks(numbers)) {
        let of_sample = |shape: &Shape| shape.step_flops() / f64::from(shape.batch);
        let (first_flops, first_rate) = (of_sample(&shapes[0]), found[0].samples_per_second);
        for (shape, found) in shapes.iter().zip(found) {
            let fewer = first_flops / of_sample(shape);
            let faster = found.samples_per_second / first_rate;
            let _ = writeln!(
                out,
                "{:<12} {:>14.2} {:>12.1} {:>11.2}x {:>10.2}x {:>8.0}%",
                shape.name,
                of_sample(shape) / 1e9,
                1e3 / found.samples_per_second,
                fewer,
                faster,
                100.0 * faster / fewer
            );
        }
    }
    out
}

fn object(shapes: &[Shape], found: &[Measurement], kernels: &[KernelRate]) -> Value {
    let rows: Vec<Value> = shapes
        .iter()
        .zip(found)
        .map(|(shape, found)| {
            json!({
                "shape": shape.name,
                "architecture": shape.architecture,
                "image_size_px": shape.image_size_px,
                "kept_patches": shape.kept_patches,
                "text_tokens": shape.text_tokens,
                "batch_samples": shape.batch,
                "precision": precision(found),
                "kernels": found.kernels,
                "threads": found.threads,
                "steps": found.steps,
                "samples_per_second": found.samples_per_second,
                "samples_per_cpu_second": found.samples_per_cpu_second,
                "step_flops": shape.step_flops(),
                "sample_flops": shape.step_flops() / f64::from(shape.batch),
                "sample_seconds": 1.0 / found.samples_per_second,
                "flops_per_second": found.flops_per_second,
                "peak_flops_per_second": found.peak_flops_per_second,
                "share_of_peak_ratio": found.share_of_peak(),
                "peak_memory_bytes": found.peak_memory_bytes,
            })
        })
        .collect();
    let kernels: Vec<Value> = kernels
        .iter()
        .map(|kernel| {
            json!({
                "name": kernel.name,
                "flops_per_second": kernel.flops_per_second,
                "bytes_per_second": kernel.bytes_per_second,
                "bound": kernel.bound.to_string(),
                "share_of_bound_ratio": kernel.share_of_bound,
            })
        })
        .collect();
    json!({ "schema": "shoestring.bench", "version": 1, "shapes": rows, "kernels": kernels })
}
