//! The model families, and what each fixes about its models.

use std::fmt;

use super::{AttentionBias, NormPlacement, QueryKeyNorm};

/// A family of decoders, named as the `model_type` of its Hugging Face configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 3, 3.1, 3.2, SmolLM2 and everything else of their shape.
    Llama,
    Mistral,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3, dense.
    Qwen3,
    Olmo2,
    Olmo3,
}

impl Family {
    /// All families, in the order messages list them.
    pub const ALL: [Self; 6] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Olmo2, Self::Olmo3];

    /// The `model_type` of its configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Olmo2 => "olmo2",
            Self::Olmo3 => "olmo3",
        }
    }

    /// The family of this `model_type`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// The names of all families, for messages.
    pub(crate) fn names() -> String {
        Self::ALL.map(|family| format!("`{}`", family.name())).join(", ")
    }

    /// The class that transformers loads such a model with.
    pub(super) const fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Olmo2 => "Olmo2ForCausalLM",
            Self::Olmo3 => "Olmo3ForCausalLM",
        }
    }

    pub(super) const fn norm_placement(self) -> NormPlacement {
        match self {
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3 => NormPlacement::Pre,
            Self::Olmo2 | Self::Olmo3 => NormPlacement::Post,
        }
    }

    pub(super) const fn query_key_norm(self) -> QueryKeyNorm {
        match self {
            Self::Llama | Self::Mistral | Self::Qwen2 => QueryKeyNorm::None,
            Self::Qwen3 => QueryKeyNorm::PerHead,
            Self::Olmo2 | Self::Olmo3 => QueryKeyNorm::FullWidth,
        }
    }

    /// The attention biases its models can have.
    pub(super) const fn attention_biases(self) -> &'static [AttentionBias] {
        match self {
            Self::Mistral => &[AttentionBias::None],
            Self::Qwen2 => &[AttentionBias::QueryKeyValue],
            Self::Llama | Self::Qwen3 | Self::Olmo2 | Self::Olmo3 => &[AttentionBias::None, AttentionBias::All],
        }
    }

    /// Whether the linear layers of the MLP can have biases.
    pub(super) const fn can_have_mlp_bias(self) -> bool {
        matches!(self, Self::Llama)
    }

    /// The head dimension where a configuration states none and it is not hidden size by heads.
    pub(super) const fn default_head_dim(self) -> Option<usize> {
        match self {
            Self::Qwen3 => Some(128),
            _ => None,
        }
    }

    /// The rotary base where a configuration states none.
    pub(super) const fn default_theta(self) -> f64 {
        match self {
            Self::Olmo3 => 500_000.0,
            _ => 10_000.0,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
