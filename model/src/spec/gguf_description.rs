//! GGUF metadata from a `ModelSpec`: the reverse of reading it.

use super::rotary_settings::yarn_attention_factor;
use super::{AttentionSpan, Family, ModelSpec, RotaryScaling, RotarySpec};

/// What a GGUF file says of a model's shape.
pub(crate) struct GgufDescription {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Keys of the architecture's namespace, in the order they are written.
    pub keys: Vec<(String, GgufValue)>,
    /// What rotary frequencies are divided by, one number per pair of a head; stored as a tensor.
    pub rotary_divisors: Option<Vec<f32>>,
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GgufValue {
    Integer(u32),
    Number(f32),
    Text(&'static str),
    Booleans(Vec<bool>),
}

/// Describes a model of this shape.
///
/// # Errors
/// What of the model the format has no words for.
pub(crate) fn describe(spec: &ModelSpec) -> Result<GgufDescription, String> {
    let architecture = match spec.family {
        Family::Llama | Family::Mistral => "llama",
        Family::Qwen2 => "qwen2",
        Family::Qwen3 => "qwen3",
        Family::Olmo2 | Family::Olmo3 => "olmo2",
    };
    let mut description = GgufDescription { architecture, keys: Vec::new(), rotary_divisors: None };
    let integers = [
        ("block_count", spec.layers.len()),
        ("context_length", spec.context_length),
        ("embedding_length", spec.hidden_size),
        ("feed_forward_length", spec.intermediate_size),
        ("attention.head_count", spec.query_heads),
        ("attention.head_count_kv", spec.key_value_heads),
        ("attention.key_length", spec.head_dim),
        ("attention.value_length", spec.head_dim),
        ("rope.dimension_count", spec.head_dim),
        ("vocab_size", spec.vocabulary_size),
    ];
    for (key, value) in integers {
        description.integer(key, value)?;
    }
    // The norms are computed with it in f32, so rounding it here changes nothing.
    description.push("attention.layer_norm_rms_epsilon", GgufValue::Number(spec.norm_epsilon as f32));
    description.windows(spec)?;
    let table = rotary_table(spec)?;
    description.number("rope.freq_base", table.theta)?;
    description.scaling(table, spec.head_dim)?;
    Ok(description)
}

impl GgufDescription {
    fn push(&mut self, key: &str, value: GgufValue) {
        self.keys.push((format!("{}.{key}", self.architecture), value));
    }

    fn integer(&mut self, key: &str, value: usize) -> Result<(), String> {
        let stored = u32::try_from(value).map_err(|_| format!("`{key}` would be {value}, more than 32 bits hold"))?;
        self.push(key, GgufValue::Integer(stored));
        Ok(())
    }

    /// A number that the format keeps in f32, and that must survive it.
    fn number(&mut self, key: &str, value: f64) -> Result<(), String> {
        let stored = value as f32;
        if f64::from(stored) != value {
            return Err(format!("`{key}` would be {value}, which f32 does not hold exactly"));
        }
        self.push(key, GgufValue::Number(stored));
        Ok(())
    }

    fn windows(&mut self, spec: &ModelSpec) -> Result<(), String> {
        let mut windows: Vec<usize> = spec
            .layers
            .iter()
            .filter_map(|layer| match layer.span {
                AttentionSpan::Full => None,
                AttentionSpan::Window(window) => Some(window),
            })
            .collect();
        let sliding = spec.layers.iter().map(|layer| layer.span != AttentionSpan::Full).collect();
        windows.sort_unstable();
        windows.dedup();
        match windows.as_slice() {
            [] => Ok(()),
            [window] if spec.family == Family::Olmo3 => {
                self.integer("attention.sliding_window", *window)?;
                self.push("attention.sliding_window_pattern", GgufValue::Booleans(sliding));
                Ok(())
            }
            [_] => Err(format!("its attention has windows, which the architecture `{}` has not", self.architecture)),
            _ => Err("its layers have windows of different lengths".into()),
        }
    }

    fn scaling(&mut self, table: &RotarySpec, head_dim: usize) -> Result<(), String> {
        match &table.scaling {
            RotaryScaling::None => {}
            RotaryScaling::Linear { factor } => {
                self.push("rope.scaling.type", GgufValue::Text("linear"));
                self.number("rope.scaling.factor", *factor)?;
            }
            RotaryScaling::Llama3 { .. } => self.rotary_divisors = llama3_divisors(table, head_dim),
            RotaryScaling::Divisors(divisors) => self.rotary_divisors = Some(divisors.to_vec()),
            RotaryScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, original_context, truncate } => {
                let recommended = yarn_attention_factor(*factor, 1.0);
                if (attention_factor - recommended).abs() > 1e-9 * recommended || !truncate {
                    return Err(
                        "its YaRN scaling has an attention factor of its own, or borders that are not rounded".into()
                    );
                }
                self.push("rope.scaling.type", GgufValue::Text("yarn"));
                self.number("rope.scaling.factor", *factor)?;
                self.integer("rope.scaling.original_context_length", *original_context)?;
                for (key, value, usual) in
                    [("rope.scaling.yarn_beta_fast", beta_fast, 32.0), ("rope.scaling.yarn_beta_slow", beta_slow, 1.0)]
                {
                    if *value != usual {
                        self.number(key, *value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The one table a file describes: that of layers that see everything. The format scales no windowed layer of Olmo-3.
fn rotary_table(spec: &ModelSpec) -> Result<&RotarySpec, String> {
    let of_span = |full: bool| {
        let layers = spec.layers.iter().filter(move |layer| (layer.span == AttentionSpan::Full) == full);
        layers.map(|layer| &spec.rotary[layer.rotary])
    };
    let table = of_span(true).chain(of_span(false)).next().ok_or("it has no layers")?;
    let windowed = RotarySpec { theta: table.theta, scaling: RotaryScaling::None };
    let as_stored = of_span(true).all(|other| other == table) && of_span(false).all(|other| *other == windowed);
    if as_stored { Ok(table) } else { Err("its rotary tables differ otherwise than Olmo-3's".into()) }
}

/// Llama-3's scaling as the divisors it comes to.
fn llama3_divisors(table: &RotarySpec, head_dim: usize) -> Option<Vec<f32>> {
    let RotaryScaling::Llama3 { factor, low_frequency_factor: low, high_frequency_factor: high, original_context } =
        table.scaling
    else {
        return None;
    };
    let divisors = (0..head_dim / 2).map(|pair| {
        let frequency = libm::pow(table.theta, -2.0 * pair as f64 / head_dim as f64);
        let turns = original_context as f64 * frequency / std::f64::consts::TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 / (kept + (1.0 - kept) / factor)) as f32
    });
    Some(divisors.collect())
}
