//! `ModelSpec`: one normalised description of a decoder, read from a Hugging Face `config.json` or GGUF
//! metadata. Everything the decoder loop branches on is here; a new family is a new way to fill it in.

mod config_json;
mod config_writer;
mod family;
mod gguf_description;
mod gguf_metadata;
mod json_object;
mod layer_spans;
#[cfg(test)]
mod released_tests;
mod rotary_settings;
mod stated;
mod stretch;
mod tensors;

use std::sync::Arc;

pub(crate) use config_json::{end_tokens, read as read_config};
pub(crate) use config_writer::write as write_config;
pub use family::Family;
pub(crate) use gguf_description::{GgufDescription, GgufValue, describe as describe_gguf};
pub(crate) use gguf_metadata::read as read_gguf;
use stated::LARGEST_DIMENSION;
pub use stretch::Yarn;
pub use tensors::TensorShape;

use crate::Numerics;
use crate::kernels::attention::{HeadLayout, KeyValues};

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

/// Which linear layers of attention add a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionBias {
    None,
    /// Queries, keys and values, but not the output (Qwen2).
    QueryKeyValue,
    /// All four.
    All,
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
#[derive(Debug, Clone, PartialEq)]
pub enum RotaryScaling {
    None,
    /// Every frequency divided by `factor` (position interpolation, arXiv 2306.15595).
    Linear {
        factor: f64,
    },
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
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
        original_context: usize,
        /// Whether the borders of the interpolated dimensions are rounded outwards to whole ones.
        truncate: bool,
    },
    /// Frequency i divided by the i-th of head_dim / 2 numbers: a GGUF file's `rope_freqs`.
    Divisors(Arc<[f32]>),
}

/// One rotary table; layers name theirs by index.
#[derive(Debug, Clone, PartialEq)]
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
    pub family: Family,
    pub vocabulary_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub query_heads: usize,
    pub key_value_heads: usize,
    pub head_dim: usize,
    /// Longest sequence the positions were made for, YaRN's stretching included.
    pub context_length: usize,
    pub norm_epsilon: f64,
    pub norm_placement: NormPlacement,
    pub query_key_norm: QueryKeyNorm,
    pub attention_bias: AttentionBias,
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

    pub(crate) fn head_layout(&self) -> HeadLayout {
        HeadLayout { query_heads: self.query_heads, key_value_heads: self.key_value_heads, head_dim: self.head_dim }
    }

    /// Most bytes of keys and values that all layers hold while a sequence of `tokens` tokens passes in chunks of at
    /// most `chunk`: layers with a window hold no more than the window, one tile of keys and one chunk.
    pub fn key_value_bytes(&self, numerics: Numerics, tokens: usize, chunk: usize) -> usize {
        let layout = self.head_layout();
        let of_layer = |layer: &LayerSpec| KeyValues::most_bytes(layout, layer.span, numerics, tokens, chunk);
        self.layers.iter().map(of_layer).sum()
    }

    /// Bytes of keys and values one token keeps in all layers, as long as no window drops it.
    pub fn key_value_bytes_per_token(&self, numerics: Numerics) -> usize {
        let element = match numerics {
            Numerics::F32 => size_of::<f32>(),
            Numerics::Bf16 => size_of::<half::bf16>(),
        };
        self.layers.len() * 2 * self.key_value_width() * element
    }
}
