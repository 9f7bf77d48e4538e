//! `ModelSpec` from GGUF metadata.
//!
//! A GGUF architecture is not always a family: `llama` holds Llama and Mistral, `olmo2` holds Olmo-2 and, where it
//! states windows, Olmo-3.

use super::rotary_settings::{RotaryTables, yarn_attention_factor};
use super::stated::{StatedFields, layer_count};
use super::{AttentionBias, AttentionSpan, Family, ModelSpec, RotaryScaling, RotarySpec};
use crate::checkpoint::ElementType;
use crate::checkpoint::gguf::Gguf;
use crate::checkpoint::gguf::names::ROTARY_DIVISORS;

/// Keys of the architecture's namespace whose meaning is known; others could change the computation.
const KNOWN_KEYS: [&str; 25] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "leading_dense_block_count",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "tensor_data_layout",
    "vocab_size",
];
/// Keys of Olmo-3, which is stored as `olmo2`.
const WINDOW: &str = "attention.sliding_window";
const WINDOW_PATTERN: &str = "attention.sliding_window_pattern";

/// Reads the shape of the model.
///
/// # Errors
/// What is missing, unknown or out of range.
pub(crate) fn read(bytes: &[u8], gguf: &Gguf) -> Result<ModelSpec, String> {
    let architecture = gguf
        .metadata
        .text(bytes, "general.architecture")?
        .ok_or("the metadata key `general.architecture` is missing: which model this is cannot be known")?;
    Reader { bytes, gguf, architecture }.read()
}

struct Reader<'file> {
    bytes: &'file [u8],
    gguf: &'file Gguf,
    architecture: &'file str,
}

impl Reader<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn integer(&self, key: &str) -> Result<Option<usize>, String> {
        self.gguf.metadata.integer(&self.key(key))
    }

    fn required(&self, key: &str) -> Result<usize, String> {
        self.integer(key)?.ok_or_else(|| format!("the metadata key `{}` is missing", self.key(key)))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        self.gguf.metadata.number(&self.key(key))
    }

    fn has_tensor(&self, name: &str) -> bool {
        self.gguf.tensors.iter().any(|tensor| tensor.name == name)
    }

    fn read(&self) -> Result<ModelSpec, String> {
        let family = self.family()?;
        let windows = if family == Family::Olmo3 { &[WINDOW, WINDOW_PATTERN][..] } else { &[] };
        let prefix = self.key("");
        let known = |key: &str| KNOWN_KEYS.contains(&key) || windows.contains(&key);
        if let Some(key) = self.gguf.metadata.keys_under(&prefix).find(|key| !known(&key[prefix.len()..])) {
            return Err(format!("the metadata key `{key}` is not supported; leaving it out could change results"));
        }
        for key in ["expert_count", "expert_used_count", "leading_dense_block_count"] {
            if self.integer(key)?.unwrap_or(0) != 0 {
                return Err(format!("`{}` is not 0: mixtures of experts are not supported", self.key(key)));
            }
        }
        let query_heads = self.required("attention.head_count")?;
        let embedding = self.gguf.tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
        let embedding = embedding.ok_or("the tensor `token_embd.weight` is missing")?;
        let layers = layer_count(self.required("block_count")?, self.gguf.tensors.len())?;
        let context_length = self.required("context_length")?;
        let epsilon = "attention.layer_norm_rms_epsilon";
        let fields = StatedFields {
            family,
            vocabulary_size: self.integer("vocab_size")?.unwrap_or(embedding.shape[0]),
            hidden_size: self.required("embedding_length")?,
            intermediate_size: self.required("feed_forward_length")?,
            query_heads,
            key_value_heads: self.integer("attention.head_count_kv")?.unwrap_or(query_heads),
            head_dim: self.integer("attention.key_length")?,
            context_length,
            norm_epsilon: self
                .number(epsilon)?
                .ok_or_else(|| format!("the metadata key `{}` is missing", self.key(epsilon)))?,
            attention_bias: self.attention_bias(),
            mlp_bias: self.has_tensor("blk.0.ffn_gate.bias"),
            tied_embeddings: !self.has_tensor("output.weight"),
            rotary: self.rotary(family, context_length)?,
            spans: self.spans(family, layers)?,
        };
        let spec = fields.into_spec()?;
        for key in ["attention.value_length", "rope.dimension_count"] {
            if let Some(length) = self.integer(key)?
                && length != spec.head_dim
            {
                return Err(format!(
                    "`{}` is {length}, but heads are {} wide; only equal widths are supported",
                    self.key(key),
                    spec.head_dim
                ));
            }
        }
        Ok(spec)
    }

    fn family(&self) -> Result<Family, String> {
        let windowed = [WINDOW, WINDOW_PATTERN].iter().any(|key| self.gguf.metadata.has(&self.key(key)));
        match self.architecture {
            "llama" => Ok(Family::Llama),
            "qwen2" => Ok(Family::Qwen2),
            "qwen3" => Ok(Family::Qwen3),
            "olmo2" if windowed => Ok(Family::Olmo3),
            "olmo2" => Ok(Family::Olmo2),
            other => {
                Err(format!("the architecture `{other}` is not supported; `llama`, `qwen2`, `qwen3` and `olmo2` are"))
            }
        }
    }

    fn attention_bias(&self) -> AttentionBias {
        match (self.has_tensor("blk.0.attn_q.bias"), self.has_tensor("blk.0.attn_output.bias")) {
            (false, false) => AttentionBias::None,
            (true, false) => AttentionBias::QueryKeyValue,
            // An output bias alone is found missing its fellows when the tensors are checked.
            (_, true) => AttentionBias::All,
        }
    }

    /// What each layer sees: the pattern is a list (true for a window), or every which layer sees everything.
    fn spans(&self, family: Family, layers: usize) -> Result<Vec<AttentionSpan>, String> {
        if family != Family::Olmo3 {
            return Ok(vec![AttentionSpan::Full; layers]);
        }
        let window = self.required(WINDOW)?;
        if window == 0 {
            return Err(format!("`{}` is 0; a token sees at least itself", self.key(WINDOW)));
        }
        let pattern = self.key(WINDOW_PATTERN);
        let span = |sliding: bool| if sliding { AttentionSpan::Window(window) } else { AttentionSpan::Full };
        if self.gguf.metadata.is_array(&pattern) {
            let sliding = self.gguf.metadata.booleans(self.bytes, &pattern)?.unwrap_or_default();
            if sliding.len() != layers {
                return Err(format!("`{pattern}` lists {} layers, but the model has {layers}", sliding.len()));
            }
            return Ok(sliding.into_iter().map(span).collect());
        }
        match self.required(WINDOW_PATTERN)? {
            0 => Err(format!("`{pattern}` is 0; it states every which layer sees everything")),
            every => Ok((0..layers).map(|layer| span((layer + 1) % every != 0)).collect()),
        }
    }

    fn rotary(&self, family: Family, context_length: usize) -> Result<RotaryTables, String> {
        let theta = self.number("rope.freq_base")?.unwrap_or(10_000.0);
        let stated = self.scaling(context_length)?;
        let scaling = match (self.divisors()?, stated) {
            (Some(divisors), RotaryScaling::None) => {
                llama3_rule(theta, &divisors).unwrap_or(RotaryScaling::Divisors(divisors.into()))
            }
            (Some(_), _) => {
                return Err(format!(
                    "`{ROTARY_DIVISORS}` and `{}` both scale the rotary table",
                    self.key("rope.scaling.type")
                ));
            }
            (None, stated) => stated,
        };
        let full = RotarySpec { theta, scaling };
        if family == Family::Olmo3 {
            return Ok(RotaryTables { sliding: RotarySpec { theta, scaling: RotaryScaling::None }, full });
        }
        Ok(RotaryTables::one(full))
    }

    fn scaling(&self, context_length: usize) -> Result<RotaryScaling, String> {
        if let Some(factor) = self.number("rope.scale_linear")?
            && factor != 1.0
        {
            return Err(format!("the old key `{}` is {factor}; only 1 is supported", self.key("rope.scale_linear")));
        }
        let factor_key = "rope.scaling.factor";
        let factor = || {
            self.number(factor_key)?.ok_or_else(|| format!("the metadata key `{}` is missing", self.key(factor_key)))
        };
        match self.gguf.metadata.text(self.bytes, &self.key("rope.scaling.type"))? {
            None | Some("none") => Ok(RotaryScaling::None),
            Some("linear") => Ok(RotaryScaling::Linear { factor: factor()? }),
            Some("yarn") => self.yarn(factor()?, context_length),
            Some(kind) => Err(format!(
                "the rotary scaling `{kind}` is not supported in GGUF files; `none`, `linear` and `yarn` are"
            )),
        }
    }

    /// YaRN. llama.cpp's releases disagree whether `attn_factor` replaces the recommended attention factor or comes
    /// on top of it, so only values that mean the same either way are read: none, 1, and the recommended one.
    fn yarn(&self, factor: f64, context_length: usize) -> Result<RotaryScaling, String> {
        let recommended = yarn_attention_factor(factor, 1.0);
        if let Some(stated) = self.number("rope.scaling.attn_factor")?
            && stated != 1.0
            && (stated - recommended).abs() > 1e-4
        {
            return Err(format!(
                "`{}` is {stated}, which releases of llama.cpp read differently; {recommended} is what YaRN recommends \
                 for a factor of {factor}",
                self.key("rope.scaling.attn_factor")
            ));
        }
        if let Some(share) = self.number("rope.scaling.yarn_ext_factor")?
            && share != 1.0
        {
            return Err(format!("`{}` is {share}; only 1 is supported", self.key("rope.scaling.yarn_ext_factor")));
        }
        Ok(RotaryScaling::Yarn {
            factor,
            beta_fast: self.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            attention_factor: recommended,
            original_context: self.integer("rope.scaling.original_context_length")?.unwrap_or(context_length),
            truncate: true,
        })
    }

    /// What each rotary frequency is divided by, where the file says so.
    fn divisors(&self) -> Result<Option<Vec<f32>>, String> {
        let Some(entry) = self.gguf.tensors.iter().find(|tensor| tensor.name == ROTARY_DIVISORS) else {
            return Ok(None);
        };
        if entry.element_type != ElementType::F32 || entry.shape.len() != 1 {
            return Err(format!("the tensor `{ROTARY_DIVISORS}` is not a list of F32 numbers"));
        }
        let values = self.bytes[entry.bytes.clone()].chunks_exact(4);
        Ok(Some(values.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()))
    }
}

/// Llama-3's rule with its published constants, where it gives these divisors: then the model can be written with a
/// config.json again. The factor is the divisor of the longest wave.
fn llama3_rule(theta: f64, divisors: &[f32]) -> Option<RotaryScaling> {
    let factor = f64::from(*divisors.last()?);
    let (low, high, original_context) = (1.0, 4.0, 8_192);
    let follows = divisors.iter().enumerate().all(|(i, &divisor)| {
        let frequency = 1.0 / libm::pow(theta, i as f64 / divisors.len() as f64);
        let turns = original_context as f64 * frequency / std::f64::consts::TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        let expected = 1.0 / (kept + (1.0 - kept) / factor);
        // Converters compute the divisors in f32 from f32 frequencies.
        (f64::from(divisor) / expected - 1.0).abs() < 1e-5
    });
    follows.then_some(RotaryScaling::Llama3 {
        factor,
        low_frequency_factor: low,
        high_frequency_factor: high,
        original_context,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divisors_of_llama_3_are_known_again() {
        let divisors = |factor: f64, original: f64| -> Vec<f32> {
            (0..64)
                .map(|i| {
                    let wavelength = std::f64::consts::TAU * 500_000f64.powf(f64::from(i) / 64.0);
                    if wavelength < original / 4.0 {
                        return 1.0;
                    }
                    if wavelength > original {
                        return factor as f32;
                    }
                    let smooth = (original / wavelength - 1.0) / 3.0;
                    (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
                })
                .collect()
        };
        for factor in [8.0, 32.0] {
            let expected = RotaryScaling::Llama3 {
                factor,
                low_frequency_factor: 1.0,
                high_frequency_factor: 4.0,
                original_context: 8_192,
            };
            assert_eq!(llama3_rule(500_000.0, &divisors(factor, 8_192.0)), Some(expected));
        }
        assert_eq!(llama3_rule(500_000.0, &divisors(8.0, 4_096.0)), None);
        assert_eq!(llama3_rule(10_000.0, &divisors(8.0, 8_192.0)), None);
    }
}
