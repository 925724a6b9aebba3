//! Hugging Face's `CLIPModel` folders, both ways.

use std::path::Path;

use serde_json::{Value, json};
use shoestring_durable::write_file;
use shoestring_engine::tensor_specs;
use shoestring_planner::architecture::{
    Architecture, ImagePool, ImagePositions, TextConfig, TextPool, TextTokenizer, VisionConfig,
};

use crate::error::{ExchangeError, Result};
use crate::files::{prepare, write_json};
use crate::model::{Interpolation, Model, Preprocess, ResizeMode, fit, of_shape};
use crate::open_clip::{CARD_NAME, POSITIONS, positions, take_positions};
use crate::tokenizer::{TOKENIZER_NAMES, write_tokenizer};
use crate::weights::{Weight, Weights, safetensors_bytes};

pub(crate) const WEIGHTS_NAME: &str = "model.safetensors";
pub(crate) const CONFIG_NAME: &str = "config.json";
const PREPROCESSOR_NAME: &str = "preprocessor_config.json";
const TARGET: &str = "Hugging Face's CLIPModel";
/// CLIP's end marker, which its text tower pools at.
const END: u32 = 49_407;

/// Refuses what `CLIPModel` would silently compute otherwise.
fn check(architecture: &Architecture) -> Result<()> {
    let Architecture { vision_cfg: vision, text_cfg: text, .. } = architecture;
    let refuse = |field, value: &dyn std::fmt::Display, reason| {
        Err(ExchangeError::Inexpressible { target: TARGET, field, value: value.to_string(), reason })
    };
    match vision.pool_type {
        ImagePool::Tok => {}
        ImagePool::Avg => return refuse("vision_cfg.pool_type", &"avg", "it always takes the class token"),
        ImagePool::Attention(_) => {
            return refuse("vision_cfg.pool_type", &"attention", "it always takes the class token");
        }
    }
    if vision.no_ln_pre {
        return refuse("vision_cfg.no_ln_pre", &true, "it always has a norm before the first block");
    }
    if text.no_causal_mask {
        return refuse("text_cfg.no_causal_mask", &true, "its text tower always looks back only");
    }
    let at_end = match text.pool_type {
        TextPool::Argmax => true,
        TextPool::Eos => text.eos_id == Some(END),
        TextPool::Last | TextPool::First | TextPool::Class => false,
    };
    if !at_end || text.hf_tokenizer_name != TextTokenizer::Clip {
        let pool = format!("{:?}", text.pool_type).to_lowercase();
        return refuse("text_cfg.pool_type", &pool, "it always takes the end marker of CLIP's tokenizer");
    }
    if text.vocab_size <= END {
        return refuse("text_cfg.vocab_size", &text.vocab_size, "it looks for CLIP's end marker, 49407");
    }
    Ok(())
}

/// Where a tensor of ours stands in a `CLIPModel`.
enum Place {
    Same(String),
    Transposed(String),
    /// Queries, keys and values, ours one above the other.
    Stacked([String; 3]),
}

/// The place of one of the engine's tensors.
fn place(name: &str) -> Place {
    let fixed = match name {
        "visual.conv1.weight" => "vision_model.embeddings.patch_embedding.weight",
        "visual.class_embedding" => "vision_model.embeddings.class_embedding",
        POSITIONS => "vision_model.embeddings.position_embedding.weight",
        "visual.ln_pre.weight" => "vision_model.pre_layrnorm.weight",
        "visual.ln_pre.bias" => "vision_model.pre_layrnorm.bias",
        "visual.ln_post.weight" => "vision_model.post_layernorm.weight",
        "visual.ln_post.bias" => "vision_model.post_layernorm.bias",
        "visual.proj" => return Place::Transposed("visual_projection.weight".to_owned()),
        "token_embedding.weight" => "text_model.embeddings.token_embedding.weight",
        "positional_embedding" => "text_model.embeddings.position_embedding.weight",
        "ln_final.weight" => "text_model.final_layer_norm.weight",
        "ln_final.bias" => "text_model.final_layer_norm.bias",
        "text_projection" => return Place::Transposed("text_projection.weight".to_owned()),
        _ => "",
    };
    if !fixed.is_empty() {
        return Place::Same(fixed.to_owned());
    }
    let (tower, rest) = match name.strip_prefix("visual.transformer.resblocks.") {
        Some(rest) => ("vision_model", rest),
        None => ("text_model", name.strip_prefix("transformer.resblocks.").unwrap_or(name)),
    };
    let Some((layer, part)) = rest.split_once('.') else { return Place::Same(name.to_owned()) };
    let block = format!("{tower}.encoder.layers.{layer}");
    if let Some(kind) = part.strip_prefix("attn.in_proj_") {
        return Place::Stacked(["q", "k", "v"].map(|which| format!("{block}.self_attn.{which}_proj.{kind}")));
    }
    let part = part
        .replace("ln_1.", "layer_norm1.")
        .replace("ln_2.", "layer_norm2.")
        .replace("attn.out_proj.", "self_attn.out_proj.")
        .replace("mlp.c_fc.", "mlp.fc1.")
        .replace("mlp.c_proj.", "mlp.fc2.");
    Place::Same(format!("{block}.{part}"))
}

/// Writes a folder that `transformers.CLIPModel`, `CLIPProcessor` and `CLIPTokenizer` load with
/// `from_pretrained`. Refuses architectures that `CLIPModel` cannot express.
pub fn write_hugging_face(model: &Model, folder: &Path, card: &str) -> Result<()> {
    check(&model.architecture)?;
    let mut names = vec![WEIGHTS_NAME, CONFIG_NAME, PREPROCESSOR_NAME, CARD_NAME];
    names.extend(TOKENIZER_NAMES);
    prepare(folder, &names)?;
    let mut ours = model.weights.clone();
    ours.entry(POSITIONS.to_owned()).or_insert_with(|| positions(&model.architecture));
    let mut theirs = Weights::new();
    for (name, weight) in ours {
        match place(&name) {
            Place::Same(name) => {
                theirs.insert(name, weight);
            }
            Place::Transposed(name) => {
                theirs.insert(name, weight.transposed());
            }
            Place::Stacked(names) => {
                let mut shape = weight.shape.clone();
                shape[0] /= 3;
                let each = weight.numbers.len() / 3;
                for (name, numbers) in names.into_iter().zip(weight.numbers.chunks_exact(each.max(1))) {
                    theirs.insert(name, Weight { shape: shape.clone(), numbers: numbers.to_vec() });
                }
            }
        }
    }
    let path = folder.join(WEIGHTS_NAME);
    write_file(&path, &safetensors_bytes(&path, &theirs)?)?;
    write_json(&folder.join(PREPROCESSOR_NAME), &preprocessor(model))?;
    write_tokenizer(folder, model.architecture.text_cfg.context_length)?;
    write_file(&folder.join(CARD_NAME), card.as_bytes())?;
    write_json(&folder.join(CONFIG_NAME), &config(&model.architecture))
}

fn config(architecture: &Architecture) -> Value {
    let Architecture { embed_dim, vision_cfg: vision, text_cfg: text, .. } = architecture;
    let activation = if architecture.quick_gelu { "quick_gelu" } else { "gelu" };
    json!({
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": embed_dim,
        "logit_scale_init_value": (1.0f64 / 0.07).ln(),
        "torch_dtype": "float32",
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp_width(),
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads(),
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "projection_dim": embed_dim,
            "hidden_act": activation,
            "layer_norm_eps": 1e-5,
        },
        "text_config": {
            "model_type": "clip_text_model",
            "hidden_size": text.width,
            "intermediate_size": text.mlp_width(),
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.context_length,
            "vocab_size": text.vocab_size,
            "projection_dim": embed_dim,
            "hidden_act": activation,
            "layer_norm_eps": 1e-5,
            "bos_token_id": END - 1,
            "eos_token_id": END,
            "pad_token_id": END,
        },
    })
}

fn preprocessor(model: &Model) -> Value {
    let (size, preprocess) = (model.architecture.vision_cfg.image_size, &model.preprocess);
    let square = json!({"height": size, "width": size});
    let squash = preprocess.resize_mode == ResizeMode::Squash;
    json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "size": if squash { square.clone() } else { json!({"shortest_edge": size}) },
        // PIL's numbers.
        "resample": if preprocess.interpolation == Interpolation::Bicubic { 3 } else { 2 },
        "do_center_crop": !squash,
        "crop_size": square,
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": preprocess.mean,
        "image_std": preprocess.std,
    })
}

/// Whether a configuration is a `CLIPModel`'s.
pub(crate) fn is_config(config: &Value) -> bool {
    config.get("model_type").is_some_and(|kind| kind == "clip")
        || (config.get("vision_config").is_some() && config.get("text_config").is_some())
}

/// A model of a `CLIPModel`'s configuration and tensors; `preprocessor` is the content of its
/// `preprocessor_config.json`, if it has one.
pub(crate) fn model_of(
    config_path: &Path,
    config: &Value,
    preprocessor: Option<&Value>,
    weights_path: &Path,
    mut theirs: Weights,
) -> Result<Model> {
    let mut architecture = architecture(config_path, config)?;
    theirs.retain(|name, _| !name.ends_with("position_ids"));
    let mut ours = Weights::new();
    let mut shapes: Vec<(String, Vec<usize>)> =
        tensor_specs(&architecture, 0.0).into_iter().map(|(name, spec)| (name, spec.shape)).collect();
    if !shapes.iter().any(|(name, _)| name == POSITIONS) {
        shapes.push((POSITIONS.to_owned(), positions(&architecture).shape));
    }
    for (name, shape) in shapes {
        let mut take = |theirs_name: &str, expected: &[usize]| {
            let weight = theirs.remove(theirs_name).ok_or_else(|| ExchangeError::Missing {
                path: weights_path.to_owned(),
                tensor: theirs_name.to_owned(),
                expected: expected.to_vec(),
            })?;
            of_shape(weights_path, theirs_name, weight, expected)
        };
        let weight = match place(&name) {
            Place::Same(other) => take(&other, &shape)?,
            Place::Transposed(other) => {
                let turned: Vec<usize> = shape.iter().rev().copied().collect();
                take(&other, &turned)?.transposed()
            }
            Place::Stacked(others) => {
                let mut each = shape.clone();
                each[0] /= 3;
                let mut numbers = Vec::with_capacity(shape.iter().product());
                for other in &others {
                    numbers.extend(take(other, &each)?.numbers);
                }
                Weight { shape, numbers }
            }
        };
        ours.insert(name, weight);
    }
    if let Some((tensor, weight)) = theirs.into_iter().next() {
        return Err(ExchangeError::Surplus { path: weights_path.to_owned(), tensor, found: weight.shape });
    }
    take_positions(weights_path, &mut architecture, &mut ours)?;
    let weights = fit(weights_path, &architecture, ours)?;
    Ok(Model { architecture, preprocess: preprocess(preprocessor), weights })
}

fn preprocess(config: Option<&Value>) -> Preprocess {
    let mut preprocess = Preprocess::openai();
    let three = |field: &str| -> Option<[f64; 3]> {
        let numbers: Vec<f64> = config?.get(field)?.as_array()?.iter().filter_map(Value::as_f64).collect();
        numbers.try_into().ok()
    };
    preprocess.mean = three("image_mean").unwrap_or(preprocess.mean);
    preprocess.std = three("image_std").unwrap_or(preprocess.std);
    if let Some(config) = config {
        if config.get("resample").and_then(Value::as_u64) == Some(2) {
            preprocess.interpolation = Interpolation::Bilinear;
        }
        if config.pointer("/size/height").is_some() {
            preprocess.resize_mode = ResizeMode::Squash;
        }
    }
    preprocess
}

/// `CLIPConfig` leaves out what is its default (`CLIPTextConfig`, `CLIPVisionConfig`).
fn architecture(path: &Path, config: &Value) -> Result<Architecture> {
    let refuse = |field: String, value: &Value, problem: &str, hint: &str| ExchangeError::Config {
        path: path.to_owned(),
        field,
        value: value.to_string(),
        problem: problem.to_owned(),
        hint: hint.to_owned(),
    };
    let number = |tower: &str, field: &str, default: u32| -> Result<u32> {
        match config.get(tower).and_then(|tower| tower.get(field)) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .filter(|&number| number > 0)
                .ok_or_else(|| {
                    refuse(format!("{tower}.{field}"), value, "is no size", "use a whole number above 0")
                }),
        }
    };
    let mut kinds = Vec::new();
    for tower in ["vision_config", "text_config"] {
        let get = |field| config.get(tower).and_then(|tower| tower.get(field));
        let kind = get("hidden_act").and_then(Value::as_str).unwrap_or("quick_gelu");
        if !["gelu", "quick_gelu"].contains(&kind) {
            let hint = "gelu and quick_gelu are known";
            return Err(refuse(format!("{tower}.hidden_act"), &json!(kind), "is not computed here", hint));
        }
        kinds.push(kind);
        if let Some(epsilon) = get("layer_norm_eps").and_then(Value::as_f64)
            && (epsilon - 1e-5).abs() > 1e-9
        {
            let hint = "norms here have 1e-5, as CLIP's";
            return Err(refuse(
                format!("{tower}.layer_norm_eps"),
                &json!(epsilon),
                "is not computed here",
                hint,
            ));
        }
    }
    if kinds[0] != kinds[1] {
        let hint = "both towers have the same activation here";
        return Err(refuse(
            "text_config.hidden_act".to_owned(),
            &json!(kinds[1]),
            "is not the image tower's",
            hint,
        ));
    }
    let (vision, text) = ("vision_config", "text_config");
    let embed_dim = config.get("projection_dim").and_then(Value::as_u64).unwrap_or(512);
    let (width, heads) = (number(vision, "hidden_size", 768)?, number(vision, "num_attention_heads", 12)?);
    let text_width = number(text, "hidden_size", 512)?;
    let ratio = |mlp: u32, width: u32| f64::from(mlp) / f64::from(width);
    let name = path
        .parent()
        .and_then(Path::file_name)
        .map_or_else(|| "imported".to_owned(), |name| name.to_string_lossy().into_owned());
    let architecture = Architecture {
        name,
        embed_dim: u32::try_from(embed_dim).unwrap_or(u32::MAX),
        quick_gelu: kinds[0] == "quick_gelu",
        vision_cfg: VisionConfig {
            image_size: number(vision, "image_size", 224)?,
            layers: number(vision, "num_hidden_layers", 12)?,
            width,
            head_width: width / heads,
            patch_size: number(vision, "patch_size", 32)?,
            mlp_ratio: ratio(number(vision, "intermediate_size", 3072)?, width),
            pool_type: ImagePool::Tok,
            no_ln_pre: false,
            pos_embed_type: ImagePositions::SinCos2d,
        },
        text_cfg: TextConfig {
            context_length: number(text, "max_position_embeddings", 77)?,
            vocab_size: number(text, "vocab_size", 49_408)?,
            width: text_width,
            heads: number(text, "num_attention_heads", 8)?,
            layers: number(text, "num_hidden_layers", 12)?,
            mlp_ratio: ratio(number(text, "intermediate_size", 2048)?, text_width),
            pool_type: TextPool::Argmax,
            no_causal_mask: false,
            hf_tokenizer_name: TextTokenizer::Clip,
            eos_id: None,
        },
    };
    architecture.check().map_err(|error| ExchangeError::Config {
        path: path.to_owned(),
        field: error.field,
        value: error.value,
        problem: error.problem,
        hint: error.hint,
    })?;
    Ok(architecture)
}
