//! The bill against the paper's, and what must hold of any bill.

use proptest::prelude::*;

use super::*;
use crate::recipe::{ImageReduction, Schedule, TextReduction};
use crate::units::{Samples, Tokens};
use crate::{accelerator, architectures, offer};

fn stage(name: &str, image_size_px: u32, mask_ratio: f64, text_tokens: u32, samples: u64) -> Stage {
    Stage {
        name: name.to_owned(),
        image_size_px,
        image_reduction: if mask_ratio > 0.0 { ImageReduction::Random } else { ImageReduction::Resize },
        image_mask_ratio: mask_ratio,
        text_tokens: Tokens(text_tokens),
        text_reduction: TextReduction::Syntax,
        samples: Samples(samples),
        batch: 32_768,
        learning_rate: 1e-3,
        warmup_samples: Samples(0),
        schedule: Schedule::Cosine,
        decay_fraction: None,
        carry_optimizer: false,
    }
}

fn papers_machine() -> (&'static Offer, Machine<'static>, Rental) {
    let offer = offer::find("clipa-v2-paper").expect("the paper's offer")[0];
    let machine = Machine::of(offer, 1);
    (offer, machine, Rental::of(offer, 1, false).expect("a price"))
}

fn papers_cost(architecture: &str, stages: &[Stage]) -> Cost {
    let (_, machine, rental) = papers_machine();
    cost(
        architectures::find(architecture).expect("known"),
        stages,
        &machine,
        &rental,
        &CostOptions::default(),
    )
}

#[test]
fn the_papers_two_figures_come_out_within_five_percent() {
    let fine = stage("finetune-224", 224, 0.3, 32, 512_000_000);
    let finer = stage("finetune-336", 336, 0.4, 32, 128_000_000);
    for (px, more, dollars) in [(70, vec![fine.clone()], 9324.0), (84, vec![fine, finer], 13_613.0)] {
        let mut stages = vec![stage("pretrain", px, 0.0, 8, 12_800_000_000)];
        stages.extend(more);
        let bill = papers_cost("H/14", &stages);
        let total = bill.total.p50.dollars();
        assert!((total / dollars - 1.0).abs() < 0.05, "{px} px: {total} for {dollars}");
        // The paper counted device time only: what this bill adds stays below 2 %.
        let device_time: Usd = bill.stages.iter().map(|stage| stage.usd.p50).sum();
        let added = (bill.total.p50 - device_time).dollars() / device_time.dollars();
        assert!((0.0..0.02).contains(&added), "{added}");
        assert!(bill.notes.is_empty(), "{:?}", bill.notes);
        assert!(bill.total.p10 < bill.total.p50 && bill.total.p50 < bill.total.p90);
    }
}

#[test]
fn gpu_hours_are_wall_clock_times_devices() {
    let bill = papers_cost("H/14", &[stage("finetune-336", 336, 0.4, 32, 128_000_000)]);
    let wall = bill.stages[0].time.hours.p50.0;
    assert!((bill.training_device_hours().p50.0 - 8.0 * wall).abs() < 1e-9);
    assert!((bill.training_device_hours().p50.0 / 864.0 - 1.0).abs() < 0.04);
    assert!((bill.stages[0].usd.p50.dollars() - 12.6 * wall).abs() < 1e-5);
}

#[test]
fn the_total_is_the_sum_of_the_lines_to_the_micro_dollar() {
    let bill =
        papers_cost("L/14", &[stage("a", 84, 0.0, 8, 1_000_000_007), stage("b", 224, 0.3, 32, 77_777_777)]);
    let sum: Usd = bill.lines.iter().map(|line| line.usd.p50).sum();
    assert_eq!(sum, bill.total.p50);
    let what: Vec<&str> = bill.lines.iter().map(|line| line.what.as_str()).collect();
    let expected =
        ["a: device time", "b: device time", "set-up", "checkpoints", "evaluation", "interruptions"];
    assert_eq!(what[..6], expected);
    assert!(what.len() == 6 || what[6..] == ["contingency"], "{what:?}");
    let hours: f64 = bill.lines.iter().map(|line| line.hours.p50.0).sum();
    assert!((hours - bill.hours.p50.0).abs() < 1e-9);
}

#[test]
fn spot_is_cheaper_per_hour_and_loses_some_of_it_again() {
    let offer = offer::built_in()
        .iter()
        .find(|offer| offer.on_demand_usd_per_hour.is_some() && offer.spot_usd_per_hour.is_some())
        .expect("some offer has both");
    let machine = Machine::of(offer, 1);
    let architecture = architectures::find("B/16").expect("B/16");
    let stages = [stage("pretrain", 112, 0.0, 16, 400_000_000)];
    let bill = |spot| {
        let rental = Rental::of(offer, 1, spot).expect("sold that way");
        cost(architecture, &stages, &machine, &rental, &CostOptions::default())
    };
    let (demand, spot) = (bill(false), bill(true));
    assert!(spot.checkpoint_interval.0 < demand.checkpoint_interval.0);
    assert!(spot.hours.p50.0 > demand.hours.p50.0);
    let lost = |bill: &Cost| {
        let line = bill.lines.iter().find(|line| line.what == "interruptions").expect("a line");
        assert!(matches!(line.source, Source::Assumed { .. }));
        line.hours.p50.0 / bill.stages[0].time.hours.p50.0
    };
    assert!(lost(&demand) < 0.01 && (0.02..0.2).contains(&lost(&spot)), "{} {}", lost(&demand), lost(&spot));
}

#[test]
fn interruptions_and_checkpoints_follow_the_formulas() {
    // Restart 10 minutes, checkpoint every 15, interrupted every 2 hours: the usual first-order estimate is
    // 1 / (1 - 17.5/120) = 1.171; at random times it is a little less.
    let factor = interruption_factor(Hours(0.25), Hours(0.0), Hours(2.0));
    assert!((factor - 1.171).abs() < 0.02, "{factor}");
    assert!(interruption_factor(Hours(10.0), Hours(0.1), Hours(0.1)).is_finite());
    // The best interval is the best: every other loses more, near Young's and far from it.
    for (write, between) in [(0.004, 4.0), (0.05, 1.0), (0.3, 0.5), (1e-5, 2_000.0)] {
        let (write, between) = (Hours(write), Hours(between));
        let best = best_checkpoint_interval(write, between);
        let loss = |factor: f64| lost_share(Hours(best.0 * factor), write, between);
        for factor in [0.5, 0.9, 0.98, 1.02, 1.1, 2.0] {
            assert!(loss(1.0) <= loss(factor), "{write:?} {between:?} x {factor}");
        }
        let young = (2.0 * write.0 * between.0).sqrt();
        assert!(write.0 / between.0 > 0.01 || (best.0 / young - 1.0).abs() < 0.1, "{best:?} {young}");
    }
    // H/14: 14 GB with moments, as published runs say, within a fifth.
    let bytes = checkpoint_bytes(architectures::find("H/14").expect("H/14"));
    assert!((bytes / 14e9 - 1.0).abs() < 0.2, "{bytes}");
}

#[test]
fn ones_own_machine_has_no_set_up_and_no_interruptions() {
    let offer = Offer::this_machine(Some(Usd::from_micros(50_000))).expect("cpu is known");
    let machine = Machine::of(&offer, 1);
    let rental = Rental::of(&offer, 1, false).expect("a price");
    let tiny = architectures::find("ViT-Nano-8").expect("nano");
    let mut stage = stage("pretrain", 32, 0.0, 8, 20_000);
    stage.batch = 64;
    let options = CostOptions { evaluation: EvaluationLoad::NONE, ..CostOptions::default() };
    let bill = cost(tiny, &[stage], &machine, &rental, &options);
    let what: Vec<&str> = bill.lines.iter().map(|line| line.what.as_str()).collect();
    assert_eq!(what[..2], ["pretrain: device time", "checkpoints"]);
    assert_eq!(bill.price_source, Source::Stated);
    assert!(matches!(bill.lines[0].source, Source::Assumed { .. }));
    assert!(bill.total.p90 > bill.total.p50 && bill.total.p50 > Usd::ZERO);
    assert!(Rental::of(&offer, 1, true).is_none(), "one's own machine is not sold as spot");
    let assumed = Offer::this_machine(None).expect("cpu is known");
    assert!(matches!(assumed.price_source(), Source::Assumed { .. }));
}

#[test]
fn storage_and_traffic_are_counted_when_asked_for() {
    let (_, machine, rental) = papers_machine();
    let architecture = architectures::find("B/16").expect("B/16");
    let stages = [stage("pretrain", 112, 0.0, 16, 2_560_000_000)];
    let extra =
        |what: &str, price| Extra { what: what.to_owned(), gb: 10_000.0, price, source: Source::Stated };
    let options = CostOptions {
        extras: vec![
            extra("egress", ExtraPrice::PerGb(Usd::from_micros(90_000))),
            extra("storage", ExtraPrice::PerGbMonth(Usd::from_micros(23_000))),
        ],
        ..CostOptions::default()
    };
    let bill = cost(architecture, &stages, &machine, &rental, &options);
    let without = cost(architecture, &stages, &machine, &rental, &CostOptions::default());
    let egress = bill.lines.iter().find(|line| line.what == "egress").expect("egress");
    assert_eq!(egress.usd, Spread::exact(Usd::from_micros(900_000_000)));
    let storage = bill.lines.iter().find(|line| line.what == "storage").expect("storage");
    let expected = 230.0 * bill.hours.p50.0 / 730.0;
    assert!((storage.usd.p50.dollars() - expected).abs() < 1e-5);
    assert_eq!(bill.total.p50, without.total.p50 + egress.usd.p50 + storage.usd.p50);
}

#[test]
fn slow_decoding_is_said() {
    let h100 = accelerator::find("H100").expect("H100");
    let machine = Machine { vcpus: Some(16), ..Machine::new(h100, 8) };
    let (_, _, rental) = papers_machine();
    let stages = [stage("pretrain", 112, 0.0, 16, 1_000_000_000)];
    let architecture = architectures::find("B/16").expect("B/16");
    let bill = cost(architecture, &stages, &machine, &rental, &CostOptions::default());
    assert!(
        bill.notes[0].starts_with("pretrain: 16 vCPUs decode about 4000 stored images of 256 px"),
        "{:?}",
        bill.notes
    );
}

/// Draws every part of a bill by itself and compares the probability of staying below `at_confidence` with the stated.
#[test]
fn the_total_is_a_distribution_that_monte_carlo_agrees_with() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let offer = offer::built_in().iter().find(|offer| offer.spot_usd_per_hour.is_some()).expect("spot");
    let machine = Machine::of(offer, 1);
    let architecture = architectures::find("B/16").expect("B/16");
    let stages = [stage("a", 112, 0.0, 16, 400_000_000), stage("b", 224, 0.3, 32, 40_000_000)];
    for (spot, samples) in [(false, 400_000_000), (true, 400_000_000), (true, 2_000_000)] {
        let mut stages = stages.clone();
        stages[0].samples = Samples(samples);
        let rental = Rental { spot, ..Rental::of(offer, 1, true).expect("sold so") };
        let bill = cost(architecture, &stages, &machine, &rental, &CostOptions::default());
        let line = |what: &str| {
            let line = bill.lines.iter().find(|line| line.what == what).expect(what);
            line.usd.map(Usd::dollars)
        };
        let training = [line("a: device time"), line("b: device time"), line("evaluation")];
        let own = [line("set-up"), line("checkpoints"), line("interruptions")];
        let mut uniform = || random.random_range(1e-6..1.0 - 1e-6);
        let draws: Vec<f64> = (0..40_000)
            .map(|_| {
                let together: f64 = uniform();
                let shared: f64 = training.iter().map(|line| line.quantile(together)).sum();
                shared + own.iter().map(|line| line.quantile(uniform())).sum::<f64>()
            })
            .collect();
        for confidence in [0.1, 0.3, 0.5, 0.7, 0.9, 0.95] {
            let limit = bill.at_confidence(confidence).dollars();
            let within = draws.iter().filter(|draw| **draw <= limit).count() as f64 / draws.len() as f64;
            // Noise of 40,000 draws is 0.5 points at most; independent parts are summed by their deviations.
            assert!((within - confidence).abs() < 0.03, "{spot} {samples} {confidence}: {within}");
            assert!(
                confidence < 0.5 || within > confidence - 0.015,
                "{spot} {samples} {confidence}: {within}"
            );
        }
    }
}

#[test]
fn on_demand_after_some_interruptions_is_a_line() {
    // Two interruptions are expected; beyond none of them: all two; beyond many: nothing.
    let beyond = |after| interruptions_beyond(Hours(8.0), Hours(4.0), after);
    assert!((beyond(0) - 2.0).abs() < 1e-12 && beyond(50) < 1e-9);
    // E[(N - 1)+] = mean - 1 + P(N = 0).
    assert!((beyond(1) - (1.0 + (-2.0f64).exp())).abs() < 1e-12);
    let offer = offer::built_in()
        .iter()
        .find(|offer| offer.on_demand_usd_per_hour.is_some() && offer.spot_usd_per_hour.is_some())
        .expect("some offer has both");
    let rental = Rental::of(offer, 1, true).expect("spot");
    let demand = offer.price(false).expect("on demand");
    let architecture = architectures::find("B/16").expect("B/16");
    let stages = [stage("pretrain", 112, 0.0, 16, 400_000_000)];
    let bill = |after| {
        let fallback = Some(Fallback { after, usd_per_hour: demand });
        let options = CostOptions { fallback, idle: Some(Hours(2.0)), ..CostOptions::default() };
        cost(architecture, &stages, &Machine::of(offer, 1), &rental, &options)
    };
    let line = |bill: &Cost, what: &str| {
        bill.lines.iter().find(|line| line.what == what).map(|line| line.usd.p50).expect("a line")
    };
    let at_once = line(&bill(0), "on-demand fallback");
    let dearer = (demand - rental.usd_per_hour).dollars();
    let training = bill(0).stages[0].time.hours.p50.0;
    assert!((at_once.dollars() / (dearer * training) - 1.0).abs() < 1e-3);
    assert!(line(&bill(3), "on-demand fallback") < at_once);
    assert_eq!(line(&bill(3), "idle"), rental.usd_per_hour.per_hour_for(Hours(2.0)));
}

/// Any architecture, a stage of it, and an accelerator.
fn any_case() -> impl Strategy<Value = (&'static Architecture, Stage, &'static accelerator::Accelerator, u32)>
{
    let shapes = (0..architectures::built_in().len(), 1u32..17, 2u32..16, 1_000u64..20_000_000_000);
    let hardware = (0..accelerator::built_in().len(), 1u32..65);
    (shapes, hardware).prop_map(|((which, side, text_tokens, samples), (device, devices))| {
        let architecture = &architectures::built_in()[which];
        let size = side * architecture.vision_cfg.patch_size;
        (
            architecture,
            stage("any", size, 0.0, text_tokens, samples),
            &accelerator::built_in()[device],
            devices,
        )
    })
}

fn total(
    architecture: &Architecture,
    stage: &Stage,
    accelerator: &accelerator::Accelerator,
    devices: u32,
    usd_per_hour: Usd,
    vcpus: Option<u32>,
) -> Spread<Usd> {
    let machine = Machine { vcpus, ..Machine::new(accelerator, devices) };
    let rental = Rental {
        usd_per_hour,
        machines: 1,
        spot: false,
        interrupted_percent_per_month: None,
        own: false,
        source: Source::Stated,
    };
    cost(architecture, std::slice::from_ref(stage), &machine, &rental, &CostOptions::default()).total
}

/// Every quantile of `less` is at most that of `more`.
fn ordered(less: Spread<Usd>, more: Spread<Usd>) -> bool {
    less.p10 <= more.p10 && less.p50 <= more.p50 && less.p90 <= more.p90
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn costs_grow_with_samples_tokens_and_price(
        (architecture, stage, device, devices) in any_case(),
        price in 0i64..200_000_000,
        more_price in 0i64..200_000_000,
        vcpus in proptest::option::of(1u32..300),
        more_samples in 0u64..1_000_000_000,
        more_side in 0u32..4,
        more_text in 0u32..16,
    ) {
        let price = Usd::from_micros(price);
        let base = total(architecture, &stage, device, devices, price, vcpus);
        prop_assert!(Usd::ZERO <= base.p10 && base.p10 <= base.p50 && base.p50 <= base.p90, "{:?}", base);

        let mut longer = stage.clone();
        longer.samples.0 += more_samples;
        prop_assert!(ordered(base, total(architecture, &longer, device, devices, price, vcpus)));

        let mut finer = stage.clone();
        finer.image_size_px += more_side * architecture.vision_cfg.patch_size;
        prop_assert!(ordered(base, total(architecture, &finer, device, devices, price, vcpus)));

        let mut wordier = stage.clone();
        wordier.text_tokens.0 += more_text;
        prop_assert!(ordered(base, total(architecture, &wordier, device, devices, price, vcpus)));

        let dearer = Usd::from_micros(price.micros() + more_price);
        prop_assert!(ordered(base, total(architecture, &stage, device, devices, dearer, vcpus)));
    }

    #[test]
    fn any_mistyped_name_gets_an_answer(name in "\\PC{0,24}") {
        let errors = [accelerator::find(&name).err(), architectures::find(&name).err(), offer::find(&name).err()];
        for error in errors.into_iter().flatten() {
            prop_assert!(error.nearest.len() <= 3);
            prop_assert_eq!(error.name.as_str(), name.as_str());
        }
    }
}

#[test]
fn a_published_share_of_interrupted_machines_replaces_the_assumption() {
    // 16 % in 730 hours, at random: one in 4,187 hours for each machine, against 17,000 device-hours of hardware.
    let hours = |spot| mean_time_to_interruption(8, 1, spot).p50.0;
    let taken = -730.0 / 0.84f64.ln();
    let expected = 1.0 / (1.0 / taken + 8.0 / 17_000.0);
    assert!((hours(Some(Some(16))) - expected).abs() < 1e-6, "{}", hours(Some(Some(16))));
    assert!(hours(Some(Some(16))) > hours(Some(None)) && hours(None) > hours(Some(Some(16))));
    // The highest class, more than a fifth, has no upper end.
    assert_eq!(hours(Some(Some(100))), hours(Some(None)));

    let offer = offer::built_in().iter().find(|offer| offer.spot_usd_per_hour.is_some()).expect("spot");
    let machine = Machine::of(offer, 1);
    let architecture = architectures::find("B/16").expect("B/16");
    let stages = [stage("a", 112, 0.0, 16, 400_000_000)];
    let interruptions = |percent| {
        let rental =
            Rental { interrupted_percent_per_month: percent, ..Rental::of(offer, 1, true).expect("sold so") };
        let bill = cost(architecture, &stages, &machine, &rental, &CostOptions::default());
        bill.lines.iter().find(|line| line.what == "interruptions").expect("a line").clone()
    };
    let (assumed, published) = (interruptions(None), interruptions(Some(5)));
    assert!(matches!(assumed.source, Source::Assumed { .. }) && published.usd.p50 < assumed.usd.p50);
    assert!(published.source.to_string().contains("at most 5 %"), "{}", published.source);
}
