//! Predicted microbatches against those that published runs used (LAION-AI/scaling-laws-openclip,
//! `trained_models_info.csv`, and the bigG run of open_clip's PRETRAINED.md): what ran must fit.

#![allow(clippy::expect_used, clippy::print_stdout)]

use shoestring_planner::accelerator;
use shoestring_planner::architectures;
use shoestring_planner::memory::{Activations, State, largest_microbatch, microbatch_capacity};
use shoestring_planner::recipe::{ImageReduction, kept_image_tokens};
use shoestring_planner::units::Tokens;

/// Model, accelerator, devices, samples a device, part of the patches dropped.
const PUBLISHED: [(&str, &str, u32, u32, f64); 18] = [
    ("ViT-B-32", "A100-40GB", 128, 256, 0.0),
    ("ViT-B-32", "A100-40GB", 128, 672, 0.0),
    ("ViT-B-32", "A100-40GB", 344, 256, 0.0),
    ("ViT-B-32", "A100-40GB", 824, 96, 0.0),
    ("ViT-B-16", "A100-40GB", 176, 192, 0.0),
    ("ViT-B-16", "A100-40GB", 176, 512, 0.0),
    ("ViT-B-16", "A100-40GB", 344, 256, 0.0),
    ("ViT-L-14", "A100-40GB", 200, 448, 0.0),
    ("ViT-L-14", "A100-40GB", 396, 224, 0.0),
    ("ViT-L-14", "A100-40GB", 400, 224, 0.0),
    ("ViT-L-14", "A100-40GB", 384, 224, 0.0),
    ("ViT-L-14", "A100-40GB", 768, 112, 0.0),
    ("ViT-L-14", "A100-40GB", 1024, 84, 0.0),
    ("ViT-H-14", "A100-40GB", 824, 96, 0.0),
    ("ViT-g-14", "A100-40GB", 800, 80, 0.0),
    ("ViT-g-14", "A100-40GB", 800, 40, 0.0),
    ("ViT-bigG-14", "A100-80GB", 512, 313, 0.5),
    ("ViT-bigG-14", "A100-80GB", 760, 211, 0.5),
];

#[test]
fn every_published_local_batch_fits_and_larger_models_hold_fewer() {
    let mut by_model: Vec<(&str, u32)> = Vec::new();
    let (mut fit, mut rows) = (0, 0);
    println!("model        accelerator      devices  published  chosen    kept  recomputed  of 32,768");
    for (model, device, devices, local, dropped) in &PUBLISHED {
        rows += 1;
        let architecture = architectures::find(model).expect(model);
        let device = accelerator::find(device).expect(device);
        let vision = &architecture.vision_cfg;
        let side = vision.image_size / vision.patch_size;
        let tokens = kept_image_tokens(ImageReduction::Random, *dropped, side);
        let text = Tokens(architecture.text_cfg.context_length);
        let batch = local * devices;
        // Of a batch that does not end it first: everything kept, or blocks recomputed where that is not enough.
        let most = |way| {
            microbatch_capacity(architecture, tokens, text, device, *devices, 4 * batch, way).unwrap_or(0)
        };
        let kept = most((Activations::Kept, State::Replicated));
        let recomputed = most((Activations::Recomputed, State::Replicated));
        let chosen = largest_microbatch(architecture, tokens, text, device, *devices, batch).expect(model);
        // How many one device would hold of a batch of 32,768 if nothing else ended it, blocks recomputed as in most
        // of the runs.
        let way = (Activations::Recomputed, State::Replicated);
        let room = microbatch_capacity(architecture, tokens, text, device, 1, 32_768, way);
        let room = room.expect(model);
        println!(
            "{model:12} {:16} {devices:7}  {local:9}  {:6}  {kept:6}  {recomputed:10}  {room:9}",
            device.name, chosen.microbatch
        );
        assert!(kept.max(recomputed) >= *local, "{model}: {kept} kept, {recomputed} recomputed for {local}");
        fit += 1;
        if *dropped == 0.0 && by_model.last().is_none_or(|(last, _)| last != model) {
            by_model.push((model, room));
        }
    }
    println!("{fit} of {rows} published local batches fit");
    assert_eq!((fit, rows), (18, 18));
    assert_eq!(by_model.len(), 5);
    assert!(by_model.windows(2).all(|pair| pair[0].1 > pair[1].1), "{by_model:?}");
}
