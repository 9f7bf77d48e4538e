//! A config.json from a [`ModelSpec`], which transformers and [`super::read_config`] read back as the same model.

use serde_json::{Map, Value, json};

use super::{AttentionBias, AttentionSpan, Family, ModelSpec, RotaryScaling, RotarySpec};

/// The text of a config.json. `dtype` is the stored type's name. Rotary settings are written in the older spelling,
/// which every release of transformers reads, and for Olmo-3 per layer type besides.
///
/// # Errors
/// When the model's rules cannot be written down in a configuration of its family.
pub(crate) fn write(
    spec: &ModelSpec,
    dtype: &str,
    begin_token: Option<u32>,
    end_tokens: &[u32],
    padding_token: Option<u32>,
) -> Result<String, String> {
    let family = spec.family;
    let end_tokens = match end_tokens {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    };
    let window = window(spec)?;
    let mut config = Map::new();
    let mut put = |field: &str, value: Value| drop(config.insert(field.into(), value));
    put("architectures", json!([family.architecture()]));
    if family.attention_biases().len() > 1 {
        put("attention_bias", json!(spec.attention_bias == AttentionBias::All));
    }
    put("attention_dropout", json!(0.0));
    put("bos_token_id", json!(begin_token));
    put("dtype", json!(dtype));
    put("eos_token_id", end_tokens);
    put("head_dim", json!(spec.head_dim));
    put("hidden_act", json!("silu"));
    put("hidden_size", json!(spec.hidden_size));
    put("intermediate_size", json!(spec.intermediate_size));
    let is_qwen = matches!(family, Family::Qwen2 | Family::Qwen3);
    if is_qwen || family == Family::Olmo3 {
        put("layer_types", layer_types(spec));
    }
    put("max_position_embeddings", json!(spec.context_length));
    if is_qwen {
        let first_window = spec.layers.iter().position(|layer| layer.span != AttentionSpan::Full);
        put("max_window_layers", json!(first_window.unwrap_or(spec.layers.len())));
    }
    if family.can_have_mlp_bias() {
        put("mlp_bias", json!(spec.mlp_bias));
    }
    put("model_type", json!(family.name()));
    put("num_attention_heads", json!(spec.query_heads));
    put("num_hidden_layers", json!(spec.layers.len()));
    put("num_key_value_heads", json!(spec.key_value_heads));
    put("pad_token_id", json!(padding_token));
    put("rms_norm_eps", json!(spec.norm_epsilon));
    if family == Family::Olmo3 {
        put_tables_by_layer_type(spec, &mut put)?;
    } else {
        let [table] = spec.rotary.as_slice() else {
            return Err(format!("a `{family}` configuration has one rotary table, not {}", spec.rotary.len()));
        };
        put("rope_scaling", scaling(&table.scaling)?.map_or(Value::Null, Value::Object));
        put("rope_theta", json!(table.theta));
    }
    match (family, window) {
        (Family::Llama | Family::Olmo2, Some(_)) => {
            return Err(format!("a `{family}` configuration has no windows"));
        }
        (Family::Llama | Family::Olmo2 | Family::Olmo3, None) => {}
        _ => put("sliding_window", json!(window)),
    }
    put("tie_word_embeddings", json!(spec.tied_embeddings));
    put("use_cache", json!(true));
    if is_qwen {
        put("use_sliding_window", json!(window.is_some()));
    }
    put("vocab_size", json!(spec.vocabulary_size));
    serde_json::to_string_pretty(&config).map_err(|error| format!("config.json cannot be written: {error}"))
}

/// The one window of all layers that have one.
fn window(spec: &ModelSpec) -> Result<Option<usize>, String> {
    let mut windows = spec.layers.iter().filter_map(|layer| match layer.span {
        AttentionSpan::Full => None,
        AttentionSpan::Window(window) => Some(window),
    });
    let first = windows.next();
    if windows.any(|window| Some(window) != first) {
        return Err("a configuration has one window size for all layers".into());
    }
    if spec.family == Family::Mistral && spec.layers.iter().any(|layer| layer.span != spec.layers[0].span) {
        return Err("a `mistral` configuration has one window for all layers or none".into());
    }
    Ok(first)
}

fn layer_types(spec: &ModelSpec) -> Value {
    let name = |span| if span == AttentionSpan::Full { "full_attention" } else { "sliding_attention" };
    spec.layers.iter().map(|layer| name(layer.span)).collect()
}

/// `rope_parameters` per layer type, and the older spelling where it says the same.
fn put_tables_by_layer_type(spec: &ModelSpec, put: &mut impl FnMut(&str, Value)) -> Result<(), String> {
    let table_of = |full: bool| -> Result<Option<&RotarySpec>, String> {
        let mut tables = spec
            .layers
            .iter()
            .filter(|layer| (layer.span == AttentionSpan::Full) == full)
            .map(|layer| &spec.rotary[layer.rotary]);
        let first = tables.next();
        if tables.any(|table| Some(table) != first) {
            return Err("an `olmo3` configuration has one rotary table per layer type".into());
        }
        Ok(first)
    };
    let (full, sliding) = (table_of(true)?, table_of(false)?);
    let plain = |table: &RotarySpec| RotarySpec { theta: table.theta, scaling: RotaryScaling::None };
    let (full, sliding) = match (full, sliding) {
        (Some(full), Some(sliding)) => (full.clone(), sliding.clone()),
        (Some(full), None) => (full.clone(), plain(full)),
        (None, Some(sliding)) => (plain(sliding), sliding.clone()),
        (None, None) => return Err("a model without layers".into()),
    };
    let parameters = |table: &RotarySpec| -> Result<Value, String> {
        let mut settings =
            scaling(&table.scaling)?.unwrap_or_else(|| Map::from_iter([("rope_type".into(), json!("default"))]));
        settings.insert("rope_theta".into(), json!(table.theta));
        Ok(Value::Object(settings))
    };
    let scaled_alike = sliding == full && full.scaling != RotaryScaling::None;
    if scaled_alike {
        put("rope_by_layer_type", json!(false));
    }
    put("rope_parameters", json!({ "full_attention": parameters(&full)?, "sliding_attention": parameters(&sliding)? }));
    if scaled_alike || sliding == plain(&full) {
        put("rope_scaling", scaling(&full.scaling)?.map_or(Value::Null, Value::Object));
        put("rope_theta", json!(full.theta));
    }
    Ok(())
}

fn scaling(scaling: &RotaryScaling) -> Result<Option<Map<String, Value>>, String> {
    let settings = match scaling {
        RotaryScaling::None => return Ok(None),
        RotaryScaling::Linear { factor } => json!({ "factor": factor, "rope_type": "linear" }),
        RotaryScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => json!({
            "factor": factor,
            "high_freq_factor": high_frequency_factor,
            "low_freq_factor": low_frequency_factor,
            "original_max_position_embeddings": original_context,
            "rope_type": "llama3",
        }),
        RotaryScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, original_context, truncate } => {
            let mut settings = json!({
                "attention_factor": attention_factor,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "factor": factor,
                "original_max_position_embeddings": original_context,
                "rope_type": "yarn",
            });
            // Releases of transformers before the setting refuse it or warn.
            if !truncate {
                settings["truncate"] = json!(false);
            }
            settings
        }
        RotaryScaling::Divisors(_) => {
            return Err("rotary frequencies that come as a table (`rope_freqs`) and follow no known rule cannot be \
                        written down in a config.json"
                .into());
        }
    };
    match settings {
        Value::Object(settings) => Ok(Some(settings)),
        _ => Ok(None),
    }
}
