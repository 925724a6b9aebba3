//! `open_clip`'s folders: `open_clip_model.safetensors` beside `open_clip_config.json`, as `local-dir:` reads
//! them.

use std::path::Path;

use serde_json::{Map, Value, json};
use shoestring_durable::write_file;
use shoestring_engine::position_table;
use shoestring_planner::architecture::{
    Architecture, AttentionPoolKind, ImagePool, ImagePositions, TextPool, TextTokenizer,
};
use shoestring_planner::open_clip::read_config;

use crate::error::{ExchangeError, Result};
use crate::files::{prepare, write_json};
use crate::model::{Model, Preprocess, check_sizes, fit};
use crate::tokenizer::{BERT_NAMES, write_bert};
use crate::weights::{Weight, Weights, safetensors_bytes};

/// The weights of an `open_clip` folder.
pub const WEIGHTS_NAME: &str = "open_clip_model.safetensors";
/// Its configuration.
pub const CONFIG_NAME: &str = "open_clip_config.json";
pub(crate) const CARD_NAME: &str = "README.md";

/// The image tower's positions; row 0 is the class token's.
pub(crate) const POSITIONS: &str = "visual.positional_embedding";
const CLASS: &str = "visual.class_embedding";
const BERT: &str = "bert-base-uncased";

/// A fixed table that was written by another program in `f32` differs from ours by rounding alone.
const SAME_TABLE: f32 = 1e-4;

/// Fields of a tower that change what its blocks compute, and those of the text tower alone; null or false, they
/// change nothing.
const BLOCK_FIELDS: [&str; 9] = [
    "ls_init_value",
    "act_kwargs",
    "norm_kwargs",
    "qk_norm",
    "scaled_cosine_attn",
    "scale_heads",
    "scale_attn_inner",
    "scale_attn",
    "scale_fc",
];
const TEXT_FIELDS: [&str; 2] = ["proj_bias", "embed_cls"];

/// Writes a folder that `open_clip.create_model_and_transforms("local-dir:FOLDER")` loads. `card` is the
/// model card.
pub fn write_open_clip(model: &Model, folder: &Path, card: &str) -> Result<()> {
    let mut names = vec![WEIGHTS_NAME, CONFIG_NAME, CARD_NAME];
    names.extend(BERT_NAMES);
    prepare(folder, &names)?;
    let text = &model.architecture.text_cfg;
    if text.hf_tokenizer_name == TextTokenizer::Bert {
        write_bert(folder, text.context_length)?;
    }
    let mut weights = model.weights.clone();
    weights.entry(POSITIONS.to_owned()).or_insert_with(|| positions(&model.architecture));
    let path = folder.join(WEIGHTS_NAME);
    write_file(&path, &safetensors_bytes(&path, &weights)?)?;
    write_file(&folder.join(CARD_NAME), card.as_bytes())?;
    write_json(&folder.join(CONFIG_NAME), &config(model))
}

/// (1 + places, width).
pub(crate) fn positions_shape(architecture: &Architecture) -> Vec<usize> {
    let vision = &architecture.vision_cfg;
    vec![1 + ((vision.image_size / vision.patch_size) as usize).pow(2), vision.width as usize]
}

/// The fixed positions of the grid at the architecture's image size; the class token has none.
pub(crate) fn positions(architecture: &Architecture) -> Weight {
    let vision = &architecture.vision_cfg;
    let (side, width) = ((vision.image_size / vision.patch_size) as usize, vision.width as usize);
    let mut numbers = vec![0f32; width];
    numbers.extend(position_table(side, width).into_iter().map(|number| number as f32));
    Weight { shape: positions_shape(architecture), numbers }
}

fn config(model: &Model) -> Value {
    let Architecture { embed_dim, vision_cfg: vision, text_cfg: text, .. } = &model.architecture;
    let average = vision.pool_type == ImagePool::Avg;
    let fixed = vision.pos_embed_type == ImagePositions::SinCos2d;
    let mut config = json!({
        "model_cfg": {
            "embed_dim": embed_dim,
            "vision_cfg": {
                "image_size": vision.image_size,
                "layers": vision.layers,
                "width": vision.width,
                "head_width": vision.head_width,
                "patch_size": vision.patch_size,
                "mlp_ratio": vision.mlp_ratio,
                "no_ln_pre": vision.no_ln_pre,
                "pos_embed_type": if fixed { "sin_cos_2d" } else { "learnable" },
                // A pooler of queries is named beside it and replaces it.
                "pool_type": if average { "avg" } else { "tok" },
                // With the class token, a norm before or after the choice of it is the same.
                "final_ln_after_pool": average,
            },
            "text_cfg": {
                "context_length": text.context_length,
                "vocab_size": text.vocab_size,
                "width": text.width,
                "heads": text.heads,
                "layers": text.layers,
                "mlp_ratio": text.mlp_ratio,
                "pool_type": text.pool_type,
                "no_causal_mask": text.no_causal_mask,
            },
        },
        "preprocess_cfg": model.preprocess,
    });
    if let Some(pool) = vision.attention_pool() {
        let vision_cfg = &mut config["model_cfg"]["vision_cfg"];
        vision_cfg["attentional_pool"] = match pool.kind {
            AttentionPoolKind::Single => json!(true),
            AttentionPoolKind::Parallel | AttentionPoolKind::Cascade => json!(pool.kind),
        };
        vision_cfg["attn_pooler_queries"] = json!(pool.queries);
        vision_cfg["attn_pooler_heads"] = json!(pool.heads);
    }
    if model.architecture.quick_gelu {
        config["model_cfg"]["quick_gelu"] = json!(true);
    }
    let text_cfg = &mut config["model_cfg"]["text_cfg"];
    if text.pool_type == TextPool::Class {
        text_cfg["embed_cls"] = json!(true);
        text_cfg["pool_type"] = json!("argmax");
    }
    if let Some(id) = text.eos_id {
        text_cfg["eos_id"] = json!(id);
    }
    if text.hf_tokenizer_name == TextTokenizer::Bert {
        text_cfg["hf_tokenizer_name"] = json!(BERT);
        text_cfg["tokenizer_kwargs"] = json!({"strip_sep_token": true});
    }
    config
}

/// A model of a configuration's JSON (with or without `model_cfg` around it) and tensors by `open_clip`'s or
/// `OpenAI`'s names.
pub(crate) fn model_of(
    config_path: &Path,
    config: &Value,
    weights_path: &Path,
    weights: Weights,
) -> Result<Model> {
    let mut architecture = architecture(config_path, config)?;
    check_sizes(config_path, &architecture)?;
    let preprocess = preprocess(config_path, config.get("preprocess_cfg"))?;
    let mut weights = our_names(weights);
    take_positions(weights_path, &mut architecture, &mut weights)?;
    let weights = fit(weights_path, &architecture, weights)?;
    Ok(Model { architecture, preprocess, weights })
}

fn refuse(path: &Path, field: &str, value: &Value, problem: &str, hint: &str) -> ExchangeError {
    ExchangeError::Config {
        path: path.to_owned(),
        field: field.to_owned(),
        value: value.to_string(),
        problem: problem.to_owned(),
        hint: hint.to_owned(),
    }
}

fn architecture(path: &Path, config: &Value) -> Result<Architecture> {
    let inner = config.get("model_cfg").unwrap_or(config);
    for (tower, fields) in [("vision_cfg", [].as_slice()), ("text_cfg", &TEXT_FIELDS)] {
        let Some(tower_config) = inner.get(tower) else { continue };
        for field in BLOCK_FIELDS.iter().chain(fields) {
            let set =
                tower_config.get(field).filter(|value| !matches!(value, Value::Null | Value::Bool(false)));
            if let Some(value) = set {
                let hint = "models with plain blocks can be imported: ViT-B-32, ViT-B-16, ViT-H-14-CLIPA and \
                    the like";
                return Err(refuse(path, &format!("{tower}.{field}"), value, "is not computed here", hint));
            }
        }
    }
    let tokenizer = inner.pointer("/text_cfg/hf_tokenizer_name").and_then(Value::as_str).unwrap_or_default();
    if !["", BERT].contains(&tokenizer) {
        let hint = format!("CLIP's own tokenizer (no name) and {BERT} are built in");
        let problem = "texts cannot be read like this here";
        return Err(refuse(path, "text_cfg.hf_tokenizer_name", &json!(tokenizer), problem, &hint));
    }
    let average = inner.pointer("/vision_cfg/pool_type").is_some_and(|pool| pool == "avg");
    let after =
        inner.pointer("/vision_cfg/final_ln_after_pool").is_some_and(|after| *after == Value::Bool(true));
    if average && !after {
        let hint = "averages are taken before the norm here: final_ln_after_pool = true";
        return Err(refuse(
            path,
            "vision_cfg.final_ln_after_pool",
            &json!(false),
            "is not computed here",
            hint,
        ));
    }
    let name = path
        .parent()
        .and_then(Path::file_name)
        .map_or_else(|| "imported".to_owned(), |name| name.to_string_lossy().into_owned());
    read_config(&config.to_string(), &name).map_err(|error| ExchangeError::Config {
        path: path.to_owned(),
        field: error.field,
        value: error.value,
        problem: error.problem,
        hint: error.hint,
    })
}

fn preprocess(path: &Path, config: Option<&Value>) -> Result<Preprocess> {
    let mut merged = serde_json::to_value(Preprocess::openai()).unwrap_or_default();
    if let (Some(Value::Object(config)), Value::Object(merged)) = (config, &mut merged) {
        let known: Map<String, Value> = config
            .iter()
            .filter(|(key, value)| merged.contains_key(*key) && !value.is_null())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        merged.extend(known);
    }
    serde_json::from_value(merged.clone()).map_err(|error| {
        let hint = "mean and std are three numbers; interpolation is bicubic or bilinear; \
                    resize_mode is shortest, squash or longest";
        refuse(path, "preprocess_cfg", &merged, &error.to_string(), hint)
    })
}

/// `open_clip`'s current names for a plain CLIP: without what wrappers put before them, without buffers.
fn our_names(weights: Weights) -> Weights {
    const BUFFERS: [&str; 5] =
        ["attn_mask", "input_resolution", "context_length", "vocab_size", "position_ids"];
    weights
        .into_iter()
        .map(|(name, weight)| {
            let name = name.trim_start_matches("module.").trim_start_matches("_orig_mod.");
            // CustomTextCLIP keeps the text tower apart.
            (name.strip_prefix("text.").unwrap_or(name).to_owned(), weight)
        })
        .filter(|(name, _)| !BUFFERS.contains(&name.rsplit('.').next().unwrap_or(name)))
        .collect()
}

/// Takes the table of positions out of the tensors where it is the one that the engine computes; the class
/// token's row is a constant beside the class token and is added to it. Any other table stays, as learned
/// positions.
pub(crate) fn take_positions(
    path: &Path,
    architecture: &mut Architecture,
    weights: &mut Weights,
) -> Result<()> {
    let expected = positions_shape(architecture);
    let Some(table) = weights.remove(POSITIONS) else {
        return Err(ExchangeError::Missing { path: path.to_owned(), tensor: POSITIONS.to_owned(), expected });
    };
    if table.shape != expected {
        let (path, tensor) = (path.to_owned(), POSITIONS.to_owned());
        return Err(ExchangeError::Shape { path, tensor, found: table.shape, expected });
    }
    let width = architecture.vision_cfg.width as usize;
    if !width.is_multiple_of(4) {
        // There are no computed ones of such a width.
        architecture.vision_cfg.pos_embed_type = ImagePositions::Learnable;
        weights.insert(POSITIONS.to_owned(), table);
        return Ok(());
    }
    let computed = positions(architecture);
    let pairs = table.numbers[width..].iter().zip(&computed.numbers[width..]);
    let same =
        pairs.fold(0f32, |most, (a, b)| if (a - b).is_nan() { f32::NAN } else { most.max((a - b).abs()) });
    if same <= SAME_TABLE {
        architecture.vision_cfg.pos_embed_type = ImagePositions::SinCos2d;
        if let Some(class) = weights.get_mut(CLASS) {
            class
                .numbers
                .iter_mut()
                .zip(&table.numbers[..width])
                .for_each(|(class, position)| *class += position);
        }
    } else {
        architecture.vision_cfg.pos_embed_type = ImagePositions::Learnable;
        weights.insert(POSITIONS.to_owned(), table);
    }
    Ok(())
}
