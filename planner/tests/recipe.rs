//! `recipe.toml` as a user meets it: what is read, what is refused, and with which words.

use std::path::Path;

use shoestring_planner::recipe::{
    EvaluatedWeights, ImageReduction, Recipe, RecipeError, Schedule, kept_image_tokens, read_manifest,
    read_recipe, write_recipe,
};
use shoestring_planner::units::{Tokens, Usd};

const FIXTURE: &str = include_str!("fixtures/recipe-v1.toml");

fn read(text: &str) -> Result<Recipe, RecipeError> {
    read_recipe(text, Path::new("recipe.toml"))
}

fn refusal(from: &str, to: &str) -> (String, String) {
    assert!(FIXTURE.contains(from), "the fixture has no `{from}`");
    let error = read(&FIXTURE.replacen(from, to, 1)).expect_err("must be refused");
    (error.to_string(), error.hint().unwrap_or_default())
}

#[test]
fn version_1_stays_readable_and_survives_a_round_trip() {
    let recipe = read(FIXTURE).expect("fixture");
    assert_eq!(recipe.budget.cap_usd, Usd::from_micros(50_000));
    assert_eq!(recipe.stages.len(), 2);
    let written = write_recipe(&recipe, &["what it costs".to_owned(), String::new()]);
    assert!(written.starts_with("# what it costs\n#\n"));
    assert_eq!(read(&written).expect("own writing"), recipe);
}

#[test]
fn unknown_field_names_line_and_nearest_field() {
    let (message, hint) = refusal("text_tokens = 8", "text_token = 8");
    assert!(message.starts_with("recipe.toml:"), "{message}");
    let line = FIXTURE.lines().position(|line| line == "text_tokens = 8").expect("line") + 1;
    assert!(message.starts_with(&format!("recipe.toml:{line}: unknown field `text_token`")), "{message}");
    assert_eq!(hint, "did you mean `text_tokens`?");
}

#[test]
fn newer_version_is_refused_before_its_fields_are_judged() {
    let (message, hint) = refusal("version = 1", "version = 2\nfrom_the_future = true");
    assert_eq!(message, "recipe.toml: version = 2, but this program reads recipes up to version 1");
    assert!(hint.contains("update shoestring"), "{hint}");
}

#[test]
fn a_choice_that_is_not_there_is_named_with_its_field_and_those_that_are() {
    for (from, to, field, choice) in [
        ("pool_type = \"avg\"", "pool_type = \"max\"", "pool_type = \"max\"", "`tok`, `avg`"),
        ("pool_type = \"last\"", "pool_type = \"mean\"", "pool_type = \"mean\"", "`argmax`"),
        ("\"sin_cos2d\"", "\"rope\"", "pos_embed_type = \"rope\"", "`learnable`"),
        ("text_tokens = 8", "text_tokens = 8\nschedule = \"step\"", "schedule = \"step\"", "`wsd`"),
        (
            "image_reduction = \"resize\"",
            "image_reduction = \"crop\"",
            "image_reduction = \"crop\"",
            "`grid`",
        ),
    ] {
        let (message, _) = refusal(from, to);
        assert!(message.contains(field) && message.contains(choice), "{message}");
    }
}

#[test]
fn how_a_recipe_trains_survives_a_round_trip() {
    let text = FIXTURE
        .replacen("beta2 = 0.95", "beta2 = 0.95\nlayer_decay = 0.75\nema_decay = 0.999", 1)
        .replacen("text_tokens = 8", "text_tokens = 8\nschedule = \"wsd\"\ndecay_fraction = 0.1", 1)
        .replacen(
            "name = \"finetune\"",
            "name = \"finetune\"\ncarry_optimizer = true\nschedule = \"constant\"",
            1,
        )
        .replacen("\"sin_cos2d\"", "\"learnable\"", 1)
        .replacen(
            "pool_type = \"avg\"",
            "pool_type = { attention = { kind = \"single\", queries = 1, heads = 4 } }",
            1,
        )
        .replacen("pool_type = \"last\"", "pool_type = \"eos\"\neos_id = 49407", 1);
    let recipe = read(&text).expect("reads");
    assert_eq!((recipe.optimizer.layer_decay, recipe.optimizer.ema_decay), (Some(0.75), Some(0.999)));
    assert_eq!((recipe.stages[0].schedule, recipe.stages[0].decay_fraction), (Schedule::Wsd, Some(0.1)));
    assert!(recipe.stages[1].carry_optimizer && recipe.stages[1].schedule == Schedule::Constant);
    assert_eq!(read(&write_recipe(&recipe, &[])).expect("own writing"), recipe);
    let mut mean = recipe.clone();
    mean.evaluation.weights = EvaluatedWeights::Ema;
    assert_eq!(read(&write_recipe(&mean, &[])).expect("own writing"), mean);
    mean.optimizer.ema_decay = None;
    let error = mean.check().expect_err("nothing to measure");
    assert_eq!(error.to_string(), "evaluation.weights = ema: needs optimizer.ema_decay");
}

#[test]
fn wrong_type_names_the_line() {
    let (message, _) = refusal("batch = 64", "batch = \"many\"");
    assert!(message.contains("invalid type") && message.starts_with("recipe.toml:"), "{message}");
}

#[test]
fn values_that_cannot_be_carried_out_are_named_with_a_hint() {
    for (from, to, field) in [
        ("cap_usd = 0.05", "cap_usd = 0.0", "budget.cap_usd = 0.00"),
        ("cap_usd = 0.05", "cap_usd = -1.0", "budget.cap_usd = -1.00"),
        ("usd_per_hour = 0.1", "usd_per_hour = -0.1", "hardware.usd_per_hour = -0.10"),
        ("image_size_px = 32", "image_size_px = 33", "stage[0].image_size_px = 33"),
        ("image_mask_ratio = 0.0", "image_mask_ratio = 0.5", "stage[0].image_mask_ratio = 0.5"),
        ("image_mask_ratio = 0.3", "image_mask_ratio = 1.0", "stage[1].image_mask_ratio = 1"),
        ("text_tokens = 8", "text_tokens = 17", "stage[0].text_tokens = 17"),
        ("batch = 64", "batch = 1", "stage[0].batch = 1"),
        ("samples = 2048", "samples = 63", "stage[0].samples = 63"),
        ("learning_rate = 0.001", "learning_rate = nan", "stage[0].learning_rate = NaN"),
        ("name = \"finetune\"", "name = \"pretrain\"", "stage[1].name = pretrain"),
        ("head_width = 16", "head_width = 12", "architecture.vision_cfg.head_width = 12"),
        ("heads = 2", "heads = 3", "architecture.text_cfg.heads = 3"),
        ("unique_samples = 4096", "unique_samples = 0", "data.unique_samples = 0"),
        ("beta2 = 0.95", "beta2 = 1.5", "optimizer.beta2 = 1.5"),
        ("keep = 2", "keep = 0", "checkpoint.keep = 0"),
        ("beta2 = 0.95", "layer_decay = 1.5", "optimizer.layer_decay = 1.5"),
        ("beta2 = 0.95", "ema_decay = 1.0", "optimizer.ema_decay = 1"),
        ("clip_norm = 1.0", "clip_norm = 0.0", "optimizer.clip_norm = 0"),
        ("text_tokens = 8", "text_tokens = 8\ndecay_fraction = 0.5", "stage[0].decay_fraction = 0.5"),
        ("text_tokens = 8", "text_tokens = 8\ncarry_optimizer = true", "stage[0].carry_optimizer = true"),
        (
            "text_tokens = 8",
            "text_tokens = 8\nschedule = \"wsd\"\ndecay_fraction = 1.5",
            "stage[0].decay_fraction = 1.5",
        ),
        (
            "pool_type = \"avg\"",
            "pool_type = { attention = { kind = \"single\", queries = 0, heads = 4 } }",
            "architecture.vision_cfg.pool_type.attention.queries = 0",
        ),
        (
            "pool_type = \"avg\"",
            "pool_type = { attention = { kind = \"single\", queries = 1, heads = 5 } }",
            "architecture.vision_cfg.pool_type.attention.heads = 5",
        ),
        (
            "context_length = 16",
            "context_length = 16\neos_id = 49408",
            "architecture.text_cfg.eos_id = 49408",
        ),
    ] {
        let (message, hint) = refusal(from, to);
        assert!(message.contains(field), "{to}: {message}");
        assert!(!hint.is_empty(), "{to}: no hint");
    }
    let (message, _) = refusal("cap_usd = 0.05", "cap_usd = nan");
    assert!(message.contains("finite"), "{message}");
}

#[test]
fn manifest_refuses_unknown_fields_too() {
    let text = "version = 1\nname = \"x\"\nunique_sample = 3\n[train]\nkind = \"webdataset\"\nshards = []\n";
    let error = read_manifest(text, Path::new("dataset.toml")).expect_err("misspelt");
    assert!(error.to_string().contains("unique_sample"), "{error}");
    let good = text.replace("unique_sample =", "unique_samples =");
    let data = read_manifest(&good, Path::new("dataset.toml")).expect("manifest");
    let resolved = data.resolved(Path::new("/sets/x"));
    assert_eq!(resolved.unique_samples.0, 3);
}

#[test]
fn kept_tokens_follow_the_geometry_of_each_mask() {
    assert_eq!(kept_image_tokens(ImageReduction::Resize, 0.0, 5), Tokens(25));
    assert_eq!(kept_image_tokens(ImageReduction::Random, 0.3, 16), Tokens(179));
    assert_eq!(kept_image_tokens(ImageReduction::Grid, 0.75, 14), Tokens(49));
    assert_eq!(kept_image_tokens(ImageReduction::Block, 0.5, 14), Tokens(100));
    assert_eq!(kept_image_tokens(ImageReduction::Random, 0.999, 2), Tokens(1));
}
