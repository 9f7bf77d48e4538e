//! `ModelSpec` from a Hugging Face config.json.

use serde_json::Value;

use super::json_object::JsonObject;
use super::stated::{StatedFields, layer_count};
use super::{AttentionBias, Family, ModelSpec, layer_spans, rotary_settings};

/// Reads the shape of the model; `tensors` is how many tensors the weights hold.
///
/// # Errors
/// Which field is missing, of a wrong type, unknown or out of range.
pub(crate) fn read(text: &str, tensors: usize) -> Result<ModelSpec, String> {
    let config = JsonObject::parse(text)?;
    let name =
        config.text("model_type")?.ok_or("the field `model_type` is missing: which model this is cannot be known")?;
    let family = Family::named(name)
        .ok_or_else(|| format!("`model_type` is `{name}`, which is not supported; {} are", Family::names()))?;
    refuse_variants(&config)?;
    let layers = layer_count(config.required_integer("num_hidden_layers")?, tensors)?;
    let query_heads = config.required_integer("num_attention_heads")?;
    let fields = StatedFields {
        family,
        vocabulary_size: config.required_integer("vocab_size")?,
        hidden_size: config.required_integer("hidden_size")?,
        intermediate_size: config.required_integer("intermediate_size")?,
        query_heads,
        key_value_heads: config.integer("num_key_value_heads")?.unwrap_or(query_heads),
        head_dim: config.integer("head_dim")?.or(family.default_head_dim()),
        context_length: config.required_integer("max_position_embeddings")?,
        norm_epsilon: config.required_number("rms_norm_eps")?,
        attention_bias: attention_bias(&config, family)?,
        mlp_bias: family.can_have_mlp_bias() && config.boolean("mlp_bias")?.unwrap_or(false),
        tied_embeddings: config.boolean("tie_word_embeddings")?.unwrap_or(false),
        rotary: rotary_settings::read(&config, family)?,
        spans: layer_spans::read(&config, family, layers)?,
    };
    fields.into_spec()
}

/// The end-of-sequence ids of a config.json or generation_config.json: a number, a list, or none.
pub(crate) fn end_tokens(text: &str) -> Result<Option<Vec<u32>>, String> {
    let config = JsonObject::parse(text)?;
    let token = |value: &Value| {
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| format!("the field `eos_token_id` holds {value}, which is no token id"))
    };
    match config.get("eos_token_id") {
        None => Ok(None),
        Some(Value::Array(ids)) => ids.iter().map(token).collect::<Result<Vec<_>, _>>().map(Some),
        Some(id) => Ok(Some(vec![token(id)?])),
    }
}

/// Families that fix their biases have no field for them.
fn attention_bias(config: &JsonObject, family: Family) -> Result<AttentionBias, String> {
    match family.attention_biases() {
        [only] => Ok(*only),
        _ if config.boolean("attention_bias")?.unwrap_or(false) => Ok(AttentionBias::All),
        _ => Ok(AttentionBias::None),
    }
}

/// Settings under which the same names compute something else.
fn refuse_variants(config: &JsonObject) -> Result<(), String> {
    if let Some(activation) = config.text("hidden_act")?
        && !matches!(activation, "silu" | "swish")
    {
        return Err(format!("`hidden_act` is `{activation}`, which is not supported; `silu` is"));
    }
    if let Some(factor) = config.number("partial_rotary_factor")?
        && factor != 1.0
    {
        return Err(format!("`partial_rotary_factor` is {factor}; only 1 is supported"));
    }
    if config.get("quantization_config").is_some() {
        return Err("`quantization_config` is set: packed weights are not supported in a Hugging Face folder; \
                    use bf16, f16 or f32 weights, or a GGUF file"
            .into());
    }
    Ok(())
}
