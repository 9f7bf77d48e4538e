//! `ModelSpec` from a Hugging Face config.json, and back.

use serde::Serialize;
use serde_json::{Map, Value};

use super::llama::LlamaFields;
use super::{ModelSpec, RotaryScaling, RotarySpec};

/// Reads the shape of the model; `tensors` is how many tensors the weights hold.
///
/// # Errors
/// Which field is missing, of a wrong type, unknown or out of range.
pub(crate) fn read(text: &str, tensors: usize) -> Result<ModelSpec, String> {
    let config = Fields::parse(text)?;
    let family =
        config.text("model_type")?.ok_or("the field `model_type` is missing: which model this is cannot be known")?;
    if family != "llama" {
        return Err(format!("`model_type` is `{family}`, which is not supported; `llama` is"));
    }
    refuse_variants(&config)?;
    let query_heads = config.required_integer("num_attention_heads")?;
    let fields = LlamaFields {
        vocabulary_size: config.required_integer("vocab_size")?,
        hidden_size: config.required_integer("hidden_size")?,
        intermediate_size: config.required_integer("intermediate_size")?,
        layers: config.required_integer("num_hidden_layers")?,
        query_heads,
        key_value_heads: config.integer("num_key_value_heads")?.unwrap_or(query_heads),
        head_dim: config.integer("head_dim")?,
        context_length: config.required_integer("max_position_embeddings")?,
        norm_epsilon: config.number("rms_norm_eps")?.ok_or_else(|| missing("rms_norm_eps"))?,
        attention_bias: config.boolean("attention_bias")?.unwrap_or(false),
        mlp_bias: config.boolean("mlp_bias")?.unwrap_or(false),
        tied_embeddings: config.boolean("tie_word_embeddings")?.unwrap_or(false),
        rotary: rotary(&config)?,
    };
    fields.into_spec(tensors)
}

/// The end-of-sequence ids of a config.json or generation_config.json: a number, a list, or none.
pub(crate) fn end_tokens(text: &str) -> Result<Option<Vec<u32>>, String> {
    let config = Fields::parse(text)?;
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

/// Settings under which the same names compute something else.
fn refuse_variants(config: &Fields) -> Result<(), String> {
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

/// Both spellings: `rope_theta` with `rope_scaling`, and `rope_parameters`. Where both stand, they must agree.
fn rotary(config: &Fields) -> Result<RotarySpec, String> {
    let older = match (config.number("rope_theta")?, config.object("rope_scaling")?) {
        (None, None) => None,
        (theta, scaling) => Some((theta, scaling)),
    };
    let newer = config.object("rope_parameters")?;
    let of_older = older
        .as_ref()
        .map(|(theta, scaling)| {
            let stated = scaling.as_ref().map(|scaling| scaling.number("rope_theta")).transpose()?.flatten();
            Ok::<_, String>((theta.or(stated), scaling.as_ref().map_or(Ok(RotaryScaling::None), scaling_rule)?))
        })
        .transpose()?;
    let of_newer =
        newer.as_ref().map(|newer| Ok::<_, String>((newer.number("rope_theta")?, scaling_rule(newer)?))).transpose()?;
    let (theta, scaling) = match (of_older, of_newer) {
        (None, None) => (None, RotaryScaling::None),
        (Some(stated), None) | (None, Some(stated)) => stated,
        (Some((older_theta, older_scaling)), Some((newer_theta, newer_scaling))) => {
            let scaling_stated = older.as_ref().is_some_and(|(_, scaling)| scaling.is_some());
            let thetas_differ = older_theta.zip(newer_theta).is_some_and(|(older, newer)| older != newer);
            if thetas_differ || (scaling_stated && older_scaling != newer_scaling) {
                return Err("`rope_parameters` contradicts `rope_theta` and `rope_scaling`".into());
            }
            (newer_theta.or(older_theta), newer_scaling)
        }
    };
    Ok(RotarySpec { theta: theta.unwrap_or(10_000.0), scaling })
}

/// The scaling named by `rope_type` (formerly `type`).
fn scaling_rule(settings: &Fields) -> Result<RotaryScaling, String> {
    let name = match settings.text("rope_type")? {
        Some(name) => Some(name),
        None => settings.text("type")?,
    };
    match name {
        Some("default") => Ok(RotaryScaling::None),
        Some("llama3") => Ok(RotaryScaling::Llama3 {
            factor: settings.required_number("factor")?,
            low_frequency_factor: settings.required_number("low_freq_factor")?,
            high_frequency_factor: settings.required_number("high_freq_factor")?,
            original_context: settings.required_integer("original_max_position_embeddings")?,
        }),
        Some(other) => Err(format!(
            "the rotary scaling `{other}` ({}) is not supported; `default` and `llama3` are",
            settings.place
        )),
        None if settings.fields.values().any(Value::is_object) => {
            Err(format!("`{}` differs by layer type, which is not supported for this family", settings.place))
        }
        None if settings.fields.keys().all(|key| key == "rope_theta") => Ok(RotaryScaling::None),
        None => Err(format!("`{}` has no `rope_type`: how positions are scaled cannot be known", settings.place)),
    }
}

fn missing(field: &str) -> String {
    format!("the field `{field}` is missing")
}

/// An object of a JSON file; a field set to null counts as absent.
struct Fields {
    fields: Map<String, Value>,
    place: String,
}

impl Fields {
    fn parse(text: &str) -> Result<Self, String> {
        let fields = serde_json::from_str(text).map_err(|error| format!("this is no JSON object: {error}"))?;
        Ok(Self { fields, place: String::new() })
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    fn typed<'this, T>(
        &'this self,
        field: &str,
        expected: &str,
        read: impl Fn(&'this Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        self.get(field)
            .map(|value| {
                read(value).ok_or_else(|| {
                    let dot = if self.place.is_empty() { "" } else { "." };
                    let kind = match value {
                        Value::Object(_) => "an object".into(),
                        Value::Array(_) => "a list".into(),
                        other => other.to_string(),
                    };
                    format!("the field `{}{dot}{field}` should be {expected}, not {kind}", self.place)
                })
            })
            .transpose()
    }

    fn integer(&self, field: &str) -> Result<Option<usize>, String> {
        self.typed(field, "an integer that is not negative", |value| {
            value.as_u64().and_then(|number| usize::try_from(number).ok())
        })
    }

    fn required_integer(&self, field: &str) -> Result<usize, String> {
        self.integer(field)?.ok_or_else(|| self.missing(field))
    }

    fn number(&self, field: &str) -> Result<Option<f64>, String> {
        self.typed(field, "a number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    fn required_number(&self, field: &str) -> Result<f64, String> {
        self.number(field)?.ok_or_else(|| self.missing(field))
    }

    fn boolean(&self, field: &str) -> Result<Option<bool>, String> {
        self.typed(field, "true or false", Value::as_bool)
    }

    fn text(&self, field: &str) -> Result<Option<&str>, String> {
        self.typed(field, "a string", Value::as_str)
    }

    fn object(&self, field: &str) -> Result<Option<Self>, String> {
        let fields = self.typed(field, "an object", Value::as_object)?;
        Ok(fields.map(|fields| Self { fields: fields.clone(), place: field.into() }))
    }

    fn missing(&self, field: &str) -> String {
        if self.place.is_empty() { missing(field) } else { missing(&format!("{}.{field}", self.place)) }
    }
}

/// A config.json that transformers and [`read`] read back as this model. `dtype` is the stored type's name.
///
/// # Errors
/// When the family has no configuration of its own here, or its rules cannot be written down in it.
pub(crate) fn write(
    spec: &ModelSpec,
    dtype: &str,
    begin_token: Option<u32>,
    end_tokens: &[u32],
    padding_token: Option<u32>,
) -> Result<String, String> {
    let [rotary] = spec.rotary.as_slice() else {
        return Err("a Llama configuration has one rotary table".into());
    };
    if spec.family != "llama" {
        return Err(format!("a config.json for the family `{}` cannot be written", spec.family));
    }
    let rope_scaling = match rotary.scaling {
        RotaryScaling::None => None,
        RotaryScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => {
            Some(Llama3Scaling {
                factor,
                low_freq_factor: low_frequency_factor,
                high_freq_factor: high_frequency_factor,
                original_max_position_embeddings: original_context,
                rope_type: "llama3",
            })
        }
        RotaryScaling::Yarn { .. } => return Err("a Llama configuration has no YaRN scaling here".into()),
    };
    let config = LlamaConfig {
        architectures: ["LlamaForCausalLM"],
        attention_bias: spec.attention_bias,
        attention_dropout: 0.0,
        bos_token_id: begin_token,
        dtype,
        eos_token_id: TokenIds::of(end_tokens),
        head_dim: spec.head_dim,
        hidden_act: "silu",
        hidden_size: spec.hidden_size,
        intermediate_size: spec.intermediate_size,
        max_position_embeddings: spec.context_length,
        mlp_bias: spec.mlp_bias,
        model_type: "llama",
        num_attention_heads: spec.query_heads,
        num_hidden_layers: spec.layers.len(),
        num_key_value_heads: spec.key_value_heads,
        pad_token_id: padding_token,
        rms_norm_eps: spec.norm_epsilon,
        rope_scaling,
        rope_theta: rotary.theta,
        tie_word_embeddings: spec.tied_embeddings,
        use_cache: true,
        vocab_size: spec.vocabulary_size,
    };
    serde_json::to_string_pretty(&config).map_err(|error| format!("config.json cannot be written: {error}"))
}

/// The older spelling of the rotary settings, which every release of transformers reads.
#[derive(Serialize)]
struct LlamaConfig<'spec> {
    architectures: [&'static str; 1],
    attention_bias: bool,
    attention_dropout: f64,
    bos_token_id: Option<u32>,
    dtype: &'spec str,
    eos_token_id: Option<TokenIds<'spec>>,
    head_dim: usize,
    hidden_act: &'static str,
    hidden_size: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    mlp_bias: bool,
    model_type: &'static str,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    num_key_value_heads: usize,
    pad_token_id: Option<u32>,
    rms_norm_eps: f64,
    rope_scaling: Option<Llama3Scaling>,
    rope_theta: f64,
    tie_word_embeddings: bool,
    use_cache: bool,
    vocab_size: usize,
}

#[derive(Serialize)]
struct Llama3Scaling {
    factor: f64,
    high_freq_factor: f64,
    low_freq_factor: f64,
    original_max_position_embeddings: usize,
    rope_type: &'static str,
}

/// One id as a number, several as a list: the two forms of `eos_token_id`.
#[derive(Serialize)]
#[serde(untagged)]
enum TokenIds<'ids> {
    One(u32),
    Many(&'ids [u32]),
}

impl<'ids> TokenIds<'ids> {
    fn of(ids: &'ids [u32]) -> Option<Self> {
        match ids {
            [] => None,
            [id] => Some(Self::One(*id)),
            ids => Some(Self::Many(ids)),
        }
    }
}
