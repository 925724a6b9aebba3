//! What a schedule that follows the money is worth when the machine becomes slower on the way: real training,
//! the clock moved by hand. Prints a table:
//!
//! `cargo test -p shoestring-experiments --lib slow -- --ignored --nocapture`
//!
//! With `SHOESTRING_PACE=TEXT` for the paces with that text in their names alone.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use shoestring_planner::recipe::{Planned, PlannedStage, Recipe, ScheduleProgress, Stage};
use shoestring_planner::units::{Hours, Samples, Usd};

use super::{Watch, recipe_with_cap_seconds};
use crate::records::{MetricsLine, read_lines};
use crate::run::{Compute, Options, Order, Outcome, RunDirectory, Summary, start};

/// Seconds of a step, by its number.
type Pace = fn(u64) -> f64;

const SEEDS: [u64; 3] = [1, 2, 3];
/// Steps of the two stages.
const STEPS: [u64; 2] = [400, 60];
const BATCH: u32 = 64;
/// Seconds, or micro-dollars, that the whole plan takes on a machine that stays as it is: all steps, 19 checkpoints,
/// four evaluations, and what is not used of reserves.
const CAP: i64 = 520;

fn recipe(seed: u64, progress: ScheduleProgress) -> Recipe {
    let mut recipe = recipe_with_cap_seconds(CAP);
    recipe.seed = seed;
    recipe.budget.schedule_progress = progress;
    let (vision, text) = (&mut recipe.architecture.vision_cfg, &mut recipe.architecture.text_cfg);
    (vision.layers, vision.width, text.layers, text.width) = (2, 32, 2, 32);
    recipe.architecture.embed_dim = 32;
    for ((stage, steps), rate) in recipe.stages.iter_mut().zip(STEPS).zip([3e-3, 1e-3]) {
        stage.batch = BATCH;
        stage.samples = Samples(u64::from(BATCH) * steps);
        stage.warmup_samples = Samples(u64::from(BATCH) * steps / 10);
        stage.learning_rate = rate;
    }
    recipe.checkpoint.every_cap_fraction = 0.05;
    // As the plan has it, a step of either stage takes a second.
    let planned = |stage: &Stage| PlannedStage {
        name: stage.name.clone(),
        cost_usd: Usd::from_micros(stage.steps() as i64),
        hours: Hours::from_seconds(stage.steps() as f64),
    };
    recipe.planned = Some(Planned {
        command: String::new(),
        cost_usd: Usd::from_micros(CAP),
        hours: Hours::from_seconds(CAP as f64),
        accuracy_percent: None,
        stages: recipe.stages.iter().map(planned).collect(),
    });
    if let Some(evaluation) = &mut recipe.data.evaluation {
        evaluation.samples = Samples(960);
    }
    recipe
}

/// What a run came to, its steps by stage, and how far the schedule of the last step was.
fn trained(recipe: &Recipe, directory: &Path, step_seconds: Pace) -> (Summary, Vec<u64>, f64) {
    let mut watch = Watch::new();
    watch.step_seconds = step_seconds;
    watch.evaluations_slow_down = true;
    let options = Options { clock: watch.clock.clone(), stop: Arc::clone(&watch.stop), ..Options::default() };
    let order = Order { recipe, text: "", folder: Path::new(""), directory, compute: Compute::Auto };
    let outcome = start(&order, &options, &mut watch).expect("meets no error");
    use shoestring_ledger::Clock;
    let real = Usd::from_micros(watch.clock.elapsed().as_secs_f64().ceil() as i64);
    assert!(real <= recipe.budget.cap_usd, "{real} over {}", recipe.budget.cap_usd);
    let lines: Vec<MetricsLine> = read_lines(&RunDirectory::new(directory).metrics()).expect("reads");
    let last = lines.last().map_or(0.0, |line| line.schedule_progress.expect("is written"));
    for text in watch.messages.iter().filter(|text| text.contains("steps now")) {
        writeln!(std::io::stdout(), "    {text}").expect("stdout");
    }
    let (Outcome::CapReached(summary) | Outcome::Finished(summary) | Outcome::Interrupted(summary)) = outcome;
    let steps_of =
        |name: &str| lines.iter().rev().find(|line| line.stage == name).map_or(0, |line| line.stage_step);
    (summary, recipe.stages.iter().map(|stage| steps_of(&stage.name)).collect(), last)
}

#[test]
#[ignore = "prints a table; the command stands at the top"]
fn the_same_dollars_with_and_without_the_budget_s_index() {
    let mut out = std::io::stdout();
    let paces: [(&str, Pace); 4] = [
        ("as planned", |_| 1.0),
        ("ten times slower from step 200 on", |step| if step > 200 { 10.0 } else { 1.0 }),
        ("ten times slower from step 300 on", |step| if step > 300 { 10.0 } else { 1.0 }),
        ("three times slower from step 200 on", |step| if step > 200 { 3.0 } else { 1.0 }),
    ];
    let only = std::env::var("SHOESTRING_PACE").unwrap_or_default();
    for (name, pace) in paces.into_iter().filter(|(name, _)| name.contains(&only)) {
        writeln!(out, "{name}:").expect("stdout");
        let mut sums = [0.0; 2];
        for seed in SEEDS {
            for (index, progress) in
                [ScheduleProgress::Budget, ScheduleProgress::Samples].into_iter().enumerate()
            {
                let folder = tempfile::tempdir().expect("temporary folder");
                let (summary, steps, last) = trained(&recipe(seed, progress), folder.path(), pace);
                let evaluation = summary.evaluation.expect("an evaluation");
                assert!(evaluation.is_final && evaluation.step == summary.step, "{evaluation:?}");
                let accuracy = 100.0 * evaluation.metrics.acc1;
                sums[index] += accuracy;
                writeln!(
                    out,
                    "  seed {seed}, {progress:?}: {steps:?} steps, the last at {:.1} % of its stage's schedule, spent {} of \
                     {} USD, top-1 {accuracy:.2} % at {} px",
                    100.0 * last,
                    summary.spent,
                    summary.cap,
                    evaluation.image_size_px
                )
                .expect("stdout");
            }
        }
        let means = sums.map(|sum| sum / SEEDS.len() as f64);
        writeln!(out, "  mean: {:.2} % with, {:.2} % without", means[0], means[1]).expect("stdout");
    }
}
