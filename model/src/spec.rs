//! `ModelSpec`: one normalised description of a decoder, read from a Hugging Face `config.json` or GGUF
//! metadata. Everything the decoder loop branches on is here; a new family is a new way to fill it in.

mod config_json;
mod gguf_metadata;
mod llama;
mod tensors;

pub(crate) use config_json::{end_tokens, read as read_config, write as write_config};
pub(crate) use gguf_metadata::read as read_gguf;
pub use tensors::TensorShape;

/// Which normalisation the queries and keys get before the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKeyNorm {
    None,
    /// One weight of length `head_dim`, applied per head (Qwen3).
    PerHead,
    /// One weight over all heads' width (Olmo-2, Olmo-3).
    FullWidth,
}

/// Where a block's RMS norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlacement {
    /// Before attention and before the MLP (Llama, Qwen).
    Pre,
    /// After attention and after the MLP, before the residual sum (Olmo-2, Olmo-3).
    Post,
}

/// What one layer's attention sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionSpan {
    /// All earlier positions.
    Full,
    /// The last `window` positions, the current one included.
    Window(usize),
}

/// How rotary frequencies are scaled for long contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RotaryScaling {
    None,
    /// The frequency-dependent interpolation of Llama-3.1.
    Llama3 {
        factor: f64,
        low_frequency_factor: f64,
        high_frequency_factor: f64,
        original_context: usize,
    },
    /// YaRN (arXiv 2309.00071).
    Yarn {
        factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        attention_factor: Option<f64>,
        original_context: usize,
    },
}

/// One rotary table; layers name theirs by index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RotarySpec {
    /// The base of the geometric series of wavelengths.
    pub theta: f64,
    pub scaling: RotaryScaling,
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSpec {
    pub span: AttentionSpan,
    /// Index into [`ModelSpec::rotary`].
    pub rotary: usize,
}

/// A decoder's shape and rules.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// `model_type` of the configuration (`llama`, …).
    pub family: String,
    pub vocabulary_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub query_heads: usize,
    pub key_value_heads: usize,
    pub head_dim: usize,
    /// Longest sequence the positions were made for.
    pub context_length: usize,
    pub norm_epsilon: f64,
    pub norm_placement: NormPlacement,
    pub query_key_norm: QueryKeyNorm,
    pub attention_bias: bool,
    pub mlp_bias: bool,
    /// Whether the output projection is the embedding matrix.
    pub tied_embeddings: bool,
    pub rotary: Vec<RotarySpec>,
    pub layers: Vec<LayerSpec>,
}

impl ModelSpec {
    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.query_heads * self.head_dim
    }

    /// Width of all key heads (or value heads) together.
    pub fn key_value_width(&self) -> usize {
        self.key_value_heads * self.head_dim
    }

    /// Bytes of keys and values one token keeps in all layers, in f32.
    pub fn key_value_bytes_per_token(&self) -> usize {
        self.layers.len() * 2 * self.key_value_width() * size_of::<f32>()
    }
}
