//! `ModelSpec` from GGUF metadata.

use super::llama::LlamaFields;
use super::{ModelSpec, RotaryScaling, RotarySpec};
use crate::checkpoint::gguf::Gguf;

/// Keys of the `llama.` namespace whose meaning is known; others could change the computation.
const KNOWN_KEYS: [&str; 18] = [
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.attention.value_length",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.expert_count",
    "llama.expert_used_count",
    "llama.feed_forward_length",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.rope.scale_linear",
    "llama.rope.scaling.type",
    "llama.tensor_data_layout",
    "llama.vocab_size",
    "llama.leading_dense_block_count",
];

/// Reads the shape of the model.
///
/// # Errors
/// What is missing, unknown or out of range.
pub(crate) fn read(bytes: &[u8], gguf: &Gguf) -> Result<ModelSpec, String> {
    let metadata = &gguf.metadata;
    let architecture = metadata
        .text(bytes, "general.architecture")?
        .ok_or("the metadata key `general.architecture` is missing: which model this is cannot be known")?;
    if architecture != "llama" {
        return Err(format!("the architecture `{architecture}` is not supported; `llama` is"));
    }
    if let Some(key) = metadata.keys_under("llama.").find(|key| !KNOWN_KEYS.contains(key)) {
        return Err(format!("the metadata key `{key}` is not supported; leaving it out could change results"));
    }
    refuse_variants(bytes, gguf)?;
    let required = |key: &str| metadata.integer(key)?.ok_or_else(|| format!("the metadata key `{key}` is missing"));
    let query_heads = required("llama.attention.head_count")?;
    let head_dim = metadata.integer("llama.attention.key_length")?;
    let embedding = gguf.tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let embedding = embedding.ok_or("the tensor `token_embd.weight` is missing")?;
    let has = |name: &str| gguf.tensors.iter().any(|tensor| tensor.name == name);
    let fields = LlamaFields {
        vocabulary_size: metadata.integer("llama.vocab_size")?.unwrap_or(embedding.shape[0]),
        hidden_size: required("llama.embedding_length")?,
        intermediate_size: required("llama.feed_forward_length")?,
        layers: required("llama.block_count")?,
        query_heads,
        key_value_heads: metadata.integer("llama.attention.head_count_kv")?.unwrap_or(query_heads),
        head_dim,
        context_length: required("llama.context_length")?,
        norm_epsilon: metadata
            .number("llama.attention.layer_norm_rms_epsilon")?
            .ok_or("the metadata key `llama.attention.layer_norm_rms_epsilon` is missing")?,
        attention_bias: has("blk.0.attn_q.bias"),
        mlp_bias: has("blk.0.ffn_gate.bias"),
        tied_embeddings: !has("output.weight"),
        rotary: RotarySpec {
            theta: metadata.number("llama.rope.freq_base")?.unwrap_or(10_000.0),
            scaling: RotaryScaling::None,
        },
    };
    let spec = fields.into_spec(gguf.tensors.len())?;
    for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
        if let Some(length) = metadata.integer(key)?
            && length != spec.head_dim
        {
            return Err(format!(
                "`{key}` is {length}, but heads are {} wide; only equal widths are supported",
                spec.head_dim
            ));
        }
    }
    Ok(spec)
}

/// Variants of the architecture that compute something else.
fn refuse_variants(bytes: &[u8], gguf: &Gguf) -> Result<(), String> {
    let metadata = &gguf.metadata;
    for key in ["llama.expert_count", "llama.expert_used_count", "llama.leading_dense_block_count"] {
        if metadata.integer(key)?.unwrap_or(0) != 0 {
            return Err(format!("`{key}` is not 0: mixtures of experts are not supported"));
        }
    }
    if let Some(kind) = metadata.text(bytes, "llama.rope.scaling.type")?
        && kind != "none"
    {
        return Err(format!("the rotary scaling `{kind}` is not supported in GGUF files; `none` is"));
    }
    if let Some(factor) = metadata.number("llama.rope.scale_linear")?
        && factor != 1.0
    {
        return Err(format!("the linear rotary scaling by {factor} is not supported"));
    }
    Ok(())
}
