//! The search against a slow one that prunes nothing: every shape on every number of every machine, costed exactly,
//! samples by bisection, every batch.

use chrono::NaiveDate;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::grid::Grid;
use super::request::{HardwareRequest, Request};
use super::schedule::{FEWEST_USEFUL_SAMPLES, SMALLEST_SEARCHED_BATCH, pretraining_batch};
use super::shape::Shape;
use super::space::Space;
use crate::architectures;
use crate::law::{Law, StageShape};
use crate::memory::largest_microbatch;
use crate::offer;
use crate::recipe::ImageReduction;
use crate::units::{Hours, Samples, Usd};

/// Every way to shorten an image; masks only where there is something to shorten.
const REDUCTIONS: [ImageReduction; 4] =
    [ImageReduction::Resize, ImageReduction::Random, ImageReduction::Grid, ImageReduction::Block];

/// What the slow search found: the least error, and the least cost of a plan with that error.
struct Best {
    error: f64,
    usd: f64,
    what: String,
}

/// Three digits and an exponent, in order of size.
fn samples_at(step: u64) -> u64 {
    (100 + step % 900) * 10u64.pow(u32::try_from(step / 900).expect("small"))
}

/// The error of a shape at `samples` with the best of all allowed batches that fits.
fn error_at(
    space: &Space<'_>,
    shape: &Shape,
    machine: &super::Machine,
    (samples, reduction): (u64, ImageReduction),
) -> Option<f64> {
    let mut batch = pretraining_batch(Samples(samples));
    let mut least: Option<f64> = None;
    loop {
        let stages = shape.stages_with(samples, batch, reduction)?;
        let fits = stages.iter().all(|stage| {
            let (image, text) = (stage.image_tokens(shape.architecture), stage.text_tokens);
            let (accelerator, devices) = (machine.offer.accelerator, machine.devices());
            largest_microbatch(shape.architecture, image, text, accelerator, devices, stage.batch).is_ok()
        });
        let shapes: Vec<StageShape> =
            stages.iter().map(|stage| StageShape::of(stage, shape.architecture)).collect();
        let error = space.law.error_percent(&space.case(shape.architecture, &shapes));
        if fits && least.is_none_or(|least| error < least) {
            least = Some(error);
        }
        batch /= 2;
        if batch < SMALLEST_SEARCHED_BATCH {
            break;
        }
    }
    least
}

fn slowly(space: &Space<'_>, budget: Usd) -> Option<Best> {
    let available = space.available(budget);
    let confidence = space.request.confidence;
    let mut best: Option<Best> = None;
    for shape in &space.shapes {
        for index in 0..space.machines.list.len() {
            for nodes in space.machines.node_counts(index) {
                let machine = space.machine(index, nodes);
                for reduction in REDUCTIONS {
                    // A pinned size is that of the resized image.
                    let masks = shape.is_shortened() && space.request.fixed.image_size_px.is_none();
                    if reduction != ImageReduction::Resize && !masks {
                        continue;
                    }
                    let cost_of = |samples: u64| {
                        let stages = shape.stages(samples, reduction)?;
                        let (_, cost) = space.bill(shape.architecture, &stages, &machine);
                        let late = space
                            .deadline
                            .is_some_and(|deadline| cost.hours_at_confidence(confidence).0 > deadline.0);
                        let usd = cost.at_confidence(confidence);
                        Some((usd.dollars(), usd <= available && !late))
                    };
                    let samples = match space.request.samples {
                        Some(Samples(pinned)) => pinned,
                        None => {
                            let fits = |step| cost_of(samples_at(step)).is_some_and(|(_, within)| within);
                            // Below the first step that is out of money or time, or off the menu.
                            let (mut low, mut high) = (0, 900 * 13);
                            while low + 1 < high {
                                let middle = (low + high) / 2;
                                // Too few samples for the menu is no reason to look lower.
                                let early = shape.stages(samples_at(middle), reduction).is_none()
                                    && samples_at(middle) < 250_000_000;
                                if fits(middle) || early { low = middle } else { high = middle }
                            }
                            samples_at(low)
                        }
                    };
                    if samples < FEWEST_USEFUL_SAMPLES {
                        continue;
                    }
                    let Some((usd, true)) = cost_of(samples) else { continue };
                    let Some(error) = error_at(space, shape, &machine, (samples, reduction)) else {
                        continue;
                    };
                    let better = best.as_ref().is_none_or(|best| {
                        error < best.error - 1e-9 || (error < best.error + 1e-9 && usd < best.usd)
                    });
                    if better {
                        let what = format!("{shape:?} {reduction:?} x {samples} on {}", machine.label());
                        best = Some(Best { error, usd, what });
                    }
                }
            }
        }
    }
    best
}

/// A problem small enough for the slow search: one architecture, one length of the image sequence, resized to it where
/// the request pins the size, shortened by any means where only the shapes are thinned out to it.
fn problem(random: &mut ChaCha8Rng) -> (Request, u32) {
    let today = NaiveDate::from_ymd_opt(2026, 11, 24).expect("a day");
    let mut request = Request::new(Usd::from_dollars(10f64.powf(random.random_range(1.3..5.3))), today);
    let rented: Vec<&str> = offer::built_in()
        .iter()
        .filter(|offer| offer.on_demand_usd_per_hour.is_some())
        .map(|offer| offer.accelerator.name.as_str())
        .collect();
    let known = architectures::built_in();
    let architecture = &known[random.random_range(0..known.len())];
    let side =
        random.random_range(4..=architecture.vision_cfg.image_size / architecture.vision_cfg.patch_size);
    let gpu = rented[random.random_range(0..rented.len())];
    request.hardware = HardwareRequest { gpu: Some(gpu.to_owned()), ..HardwareRequest::default() };
    request.architecture = Some(architecture.name.clone());
    let size = side * architecture.vision_cfg.patch_size;
    match random.random_range(0..4) {
        0 | 1 => request.fixed.image_size_px = Some(size),
        // Without fine-tuning masks can be the better way.
        2 => request.finetune_sizes_px = Some(Vec::new()),
        _ => {}
    }
    request.confidence = random.random_range(0.3..0.95);
    if random.random_bool(0.4) {
        request.deadline = Some(Hours(10f64.powf(random.random_range(0.5..3.2))));
    }
    if random.random_bool(0.3) {
        request.samples = Some(Samples(10f64.powf(random.random_range(6.0..10.5)) as u64));
    }
    if random.random_bool(0.2) {
        request.fixed.text_tokens = Some(crate::units::Tokens(8));
    }
    (request, size)
}

#[test]
fn the_search_equals_brute_force_on_two_hundred_small_problems() {
    let mut random = ChaCha8Rng::seed_from_u64(20_261_124);
    let (mut compared, mut infeasible, mut masked) = (0, 0, 0);
    let mut number = 0;
    while compared + infeasible < 200 {
        number += 1;
        let (request, size) = problem(&mut random);
        let Ok(mut space) = Space::new(&request, Law::built_in()) else {
            // Not sold on demand, or not trainable: nothing to compare.
            continue;
        };
        space.shapes.retain(|shape| shape.pretraining.image_size_px == size);
        if space.shapes.is_empty() {
            // Longer sequences are searched by every second size.
            continue;
        }
        space.grid = Grid::new(&space.shapes, &space.machines, space.architectures.len());
        let budget = request.budgets[0];
        let context = format!("problem {number}: {:?} {:?}", request.architecture, request.hardware.gpu);
        match (slowly(&space, budget), space.decide(budget)) {
            (None, Err(_)) => infeasible += 1,
            (Some(slow), Ok(found)) => {
                let error = found.best.prediction.error_percent;
                // The law's error moves by less than this over the third digit of the samples.
                let rounding = 2e-3 * slow.error.max(1.0);
                assert!(
                    (error - slow.error).abs() <= rounding,
                    "{context}: {error} by {}, slowly {} by {}",
                    found.best.label(),
                    slow.error,
                    slow.what
                );
                if request.samples.is_some() && (error - slow.error).abs() < 1e-9 {
                    let usd = found.best.cost_at(request.confidence).dollars();
                    assert!(
                        usd <= slow.usd * 1.001,
                        "{context}: {usd} USD, slowly {} by {}",
                        slow.usd,
                        slow.what
                    );
                }
                compared += 1;
                masked += u32::from(found.best.stages[0].stage.image_mask_ratio > 0.0);
            }
            (slow, found) => panic!(
                "{context}: slowly {:?}, found {:?}",
                slow.map(|best| best.what),
                found.map(|outcome| outcome.best.label())
            ),
        }
    }
    let counts = format!("{compared} compared, {infeasible} infeasible, {masked} masked");
    assert!(compared + infeasible == 200 && compared > 130, "{counts}");
    assert!(masked > 0, "{counts}: masks win somewhere");
}
