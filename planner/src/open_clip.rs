//! Architectures from `open_clip`'s model-config files.

use serde_json::{Map, Value, json};

use crate::architecture::Architecture;

/// Why a config was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: {problem}")]
pub struct ConfigError {
    /// Dotted path of the field.
    pub field: String,
    /// Its value.
    pub value: String,
    /// Why it cannot be.
    pub problem: String,
    /// What would do.
    pub hint: String,
}

fn refuse(field: &str, value: &Value, problem: &str, hint: &str) -> ConfigError {
    let mut value = value.to_string();
    if value.chars().count() > 60 {
        value = format!("{}...", value.chars().take(60).collect::<String>());
    }
    ConfigError { field: field.to_owned(), value, problem: problem.to_owned(), hint: hint.to_owned() }
}

/// Towers that are no plain ViT or text transformer, each with what it is and what would do.
const OTHER_TOWERS: [(&str, &str, &str, &str); 5] = [
    (
        "vision_cfg",
        "timm_model_name",
        "an image tower from timm has sizes and pooling of its own, which the config does not say",
        "write its sizes as layers, width, patch_size; SigLIP's `timm_pool` = `map` is near `attentional_pool` with \
         one query, but has an MLP of its own",
    ),
    ("vision_cfg", "hf_model_name", "an image tower from the hub is not a plain ViT", PLAIN),
    ("text_cfg", "hf_model_name", "a text tower from the hub is not a plain transformer", PLAIN),
    (
        "text_cfg",
        "proj_bias",
        "a text projection with a bias is not counted",
        "leave it out: it is embed_dim numbers",
    ),
    (
        "",
        "multimodal_cfg",
        "a captioning decoder makes it a CoCa, not a CLIP",
        "leave it out to plan the two contrastive towers alone; their attention pooling and class token are counted",
    ),
];
const PLAIN: &str = "use a config with plain towers, such as ViT-B-32.json or ViT-H-14-CLIPA.json";

/// Reads a config's text; `name` is what the architecture is called where the file does not say. Fields that change
/// nothing of what is computed or how much it is (other tokenizers, initialisation) are left aside.
pub fn read_config(text: &str, name: &str) -> Result<Architecture, ConfigError> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        refuse(
            "file",
            &Value::from(name),
            &format!("is not JSON: {error}"),
            "an open_clip model config is JSON",
        )
    })?;
    // open_clip_config.json, as models are published with, has the config one level down.
    let value = value.get("model_cfg").cloned().unwrap_or(value);
    let Value::Object(mut config) = value else {
        return Err(refuse("file", &value, "is no object", "it begins with {\"embed_dim\": ..."));
    };
    for tower in ["vision_cfg", "text_cfg"] {
        if !config.get(tower).is_some_and(Value::is_object) {
            let found = config.get(tower).cloned().unwrap_or(Value::Null);
            let hint = "a CLIP has embed_dim, vision_cfg and text_cfg";
            return Err(refuse(tower, &found, "is not there, so this is no CLIP", hint));
        }
    }
    for (tower, field, problem, hint) in OTHER_TOWERS {
        let found = if tower.is_empty() { config.get(field) } else { config[tower].get(field) };
        if let Some(found) = found.filter(|found| !matches!(found, Value::Null | Value::Bool(false))) {
            let path = if tower.is_empty() { field.to_owned() } else { format!("{tower}.{field}") };
            return Err(refuse(&path, found, problem, hint));
        }
    }
    if let Some(Value::Object(vision)) = config.get_mut("vision_cfg") {
        if let Some(size) = vision.get("image_size").and_then(Value::as_array).cloned() {
            let square = size.len() == 2 && size[0] == size[1];
            if !square {
                let value = Value::Array(size);
                return Err(refuse("vision_cfg.image_size", &value, "is not square", "use one number"));
            }
            vision.insert("image_size".to_owned(), size[0].clone());
        }
        if let Some(layers) = vision.get("layers").filter(|layers| layers.is_array()) {
            let hint = "use a config with a ViT, such as ViT-B-32.json";
            return Err(refuse("vision_cfg.layers", layers, "is a ResNet's, not a ViT's", hint));
        }
        vision.entry("patch_size").or_insert(Value::from(16));
        // Positions count the same however they are filled.
        vision.remove("pos_embed_type");
        if let Some(pool) = attention_pool(vision)? {
            vision.insert("pool_type".to_owned(), pool);
        }
        keep(
            vision,
            &[
                "image_size",
                "layers",
                "width",
                "head_width",
                "patch_size",
                "mlp_ratio",
                "pool_type",
                "no_ln_pre",
            ],
        );
    }
    if let Some(Value::Object(text)) = config.get_mut("text_cfg") {
        text.entry("context_length").or_insert(Value::from(77));
        text.entry("vocab_size").or_insert(Value::from(49_408));
        // Other tokenizers change no size; a model with one can be planned, though not trained.
        if text.get("hf_tokenizer_name").is_some_and(|name| name != "bert-base-uncased") {
            text.remove("hf_tokenizer_name");
        }
        if text.get("embed_cls") == Some(&Value::Bool(true)) {
            // It replaces whatever pooling is named.
            text.insert("pool_type".to_owned(), Value::from("class"));
        } else if text.get("pool_type") == Some(&Value::from("eos")) {
            // `CLIPTextCfg.eos_id`, for CLIP's own tokenizer as little use as there.
            text.entry("eos_id").or_insert(Value::from(2));
        }
        keep(
            text,
            &[
                "context_length",
                "vocab_size",
                "hf_tokenizer_name",
                "width",
                "heads",
                "layers",
                "mlp_ratio",
                "pool_type",
                "no_causal_mask",
                "eos_id",
            ],
        );
    }
    config.entry("name").or_insert(Value::from(name));
    keep(&mut config, &["name", "embed_dim", "quick_gelu", "vision_cfg", "text_cfg"]);
    let hint = "the fields are those of open_clip's model configs";
    let architecture: Architecture =
        serde_json::from_value(Value::Object(config.clone())).map_err(|error| {
            let said = error.to_string();
            // The message names the field that is missing, or the value that cannot be.
            let named = said.split(['`', '"']).nth(1).unwrap_or("config");
            let text_of = |value: &Value| value.to_string().trim_matches('"').to_owned();
            let towers = ["vision_cfg", "text_cfg"].map(|tower| (tower, config[tower].as_object()));
            let mut holders = [("", Some(&config))].into_iter().chain(towers).flat_map(|(tower, fields)| {
                let fields = fields.into_iter().flatten().filter(|(_, value)| text_of(value) == named);
                fields.map(move |(field, value)| (format!("{tower}.{field}"), value))
            });
            if let (Some((path, value)), None) = (holders.next(), holders.next()) {
                return refuse(path.trim_start_matches('.'), value, &said, hint);
            }
            let found = ["vision_cfg", "text_cfg"].iter().find_map(|tower| config[*tower].get(named));
            refuse(named, found.or_else(|| config.get(named)).unwrap_or(&Value::Null), &said, hint)
        })?;
    architecture.check().map_err(|error| ConfigError {
        field: error.field,
        value: error.value,
        problem: error.problem,
        hint: error.hint,
    })?;
    Ok(architecture)
}

/// `attentional_pool` with its queries and heads, which replaces the pooling named beside it.
fn attention_pool(vision: &Map<String, Value>) -> Result<Option<Value>, ConfigError> {
    let kind = match vision.get("attentional_pool") {
        None | Some(Value::Null | Value::Bool(false)) => return Ok(None),
        Some(Value::Bool(true)) => "single",
        Some(Value::String(kind)) if kind == "parallel" || kind == "cascade" => kind.as_str(),
        Some(other) => {
            let hint = "use true, \"parallel\" or \"cascade\"";
            return Err(refuse("vision_cfg.attentional_pool", other, "is no kind of it", hint));
        }
    };
    let number = |field: &str, usual: u32| vision.get(field).cloned().unwrap_or(Value::from(usual));
    let pool = json!({
        "kind": kind,
        "queries": number("attn_pooler_queries", 256),
        "heads": number("attn_pooler_heads", 8),
    });
    Ok(Some(json!({ "attention": pool })))
}

fn keep(map: &mut Map<String, Value>, fields: &[&str]) {
    map.retain(|field, _| fields.contains(&field.as_str()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architectures;

    const B32: &str = r#"{"embed_dim": 512,
        "vision_cfg": {"image_size": [224, 224], "layers": 12, "width": 768, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}}"#;

    #[test]
    fn an_open_clip_file_is_the_built_in_architecture() {
        let read = read_config(B32, "ViT-B-32").expect("reads");
        assert_eq!(&read, architectures::find("ViT-B-32").expect("known"));
        let published = format!(r#"{{"model_cfg": {B32}, "preprocess_cfg": {{}}}}"#);
        assert_eq!(read_config(&published, "ViT-B-32"), Ok(read));
        let quick = B32.replace("512,\n", "512, \"quick_gelu\": true,\n");
        assert!(read_config(&quick, "ViT-B-32-quickgelu").expect("reads").quick_gelu);
    }

    #[test]
    fn what_is_no_clip_is_refused_with_field_and_value() {
        for (from, to, field) in [
            (
                "\"layers\": 12, \"width\": 768",
                "\"layers\": [3, 4, 6, 3], \"width\": 64",
                "vision_cfg.layers",
            ),
            ("\"patch_size\": 32", "\"timm_model_name\": \"convnext_base\"", "vision_cfg.timm_model_name"),
            ("\"patch_size\": 32", "\"attentional_pool\": \"both\"", "vision_cfg.attentional_pool"),
            (
                "\"patch_size\": 32",
                "\"attentional_pool\": true, \"attn_pooler_heads\": 7",
                "architecture.vision_cfg.pool_type.attention.heads",
            ),
            ("\"patch_size\": 32", "\"attentional_pool\": \"cascade\"", "architecture.embed_dim"),
            ("\"heads\": 8", "\"heads\": 8, \"proj_bias\": true", "text_cfg.proj_bias"),
            ("\"embed_dim\": 512", "\"embed_dim\": 512, \"multimodal_cfg\": {}", "multimodal_cfg"),
            ("\"text_cfg\"", "\"other_cfg\"", "text_cfg"),
            ("\"embed_dim\": 512,", "", "embed_dim"),
            ("\"heads\": 8", "\"heads\": 7", "architecture.text_cfg.heads"),
            ("\"heads\": 8", "\"heads\": \"many\"", "text_cfg.heads"),
            ("\"heads\": 8", "\"heads\": -8", "text_cfg.heads"),
            ("\"embed_dim\": 512", "\"embed_dim\": 0.5", "embed_dim"),
            ("224, 224", "224, 112", "vision_cfg.image_size"),
        ] {
            assert_ne!(B32.replace(from, to), B32, "{from}");
            let error = read_config(&B32.replace(from, to), "x").expect_err(to);
            assert_eq!(error.field, field, "{error}");
            assert!(!error.hint.is_empty());
        }
        assert_eq!(read_config("[1]", "x").expect_err("a list").field, "file");
        assert_eq!(read_config("{", "x").expect_err("broken").field, "file");
    }
}
