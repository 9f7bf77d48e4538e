//! GGUF tensor names and Hugging Face names, and the order of rows that goes with them. Reading and writing share
//! the tables.

use crate::checkpoint::byte_reader::Reason;
use crate::spec::{Family, ModelSpec, NormPlacement, TensorShape};

/// The tensor that holds what rotary frequencies are divided by: no parameter, part of the rotary table.
pub(crate) const ROTARY_DIVISORS: &str = "rope_freqs.weight";

/// How the rows of a stored matrix relate to those of the Hugging Face matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowOrder {
    AsStored,
    /// Within each head, rows `i` and `i + head_dim / 2` (rotated together) are stored next to each other,
    /// as llama.cpp's converter lays out Llama's queries and keys.
    RotatedPairs {
        head_dim: usize,
    },
}

impl RowOrder {
    /// The stored row that holds row `row` of the Hugging Face matrix.
    pub fn source_row(self, row: usize) -> usize {
        match self {
            Self::AsStored => row,
            Self::RotatedPairs { head_dim } => {
                let (head, within) = (row / head_dim, row % head_dim);
                let (part, pair) = (within / (head_dim / 2), within % (head_dim / 2));
                head * head_dim + 2 * pair + part
            }
        }
    }

    /// A tensor in Hugging Face order, its rows put into the stored order.
    pub fn to_stored(self, values: Vec<f32>, shape: &TensorShape) -> Vec<f32> {
        if self == Self::AsStored {
            return values;
        }
        let row_length: usize = shape.shape[1..].iter().product();
        let mut stored = vec![0.0; values.len()];
        for (row, values) in values.chunks_exact(row_length).enumerate() {
            let place = self.source_row(row) * row_length;
            stored[place..place + row_length].copy_from_slice(values);
        }
        stored
    }
}

/// The tensors outside blocks: GGUF name, Hugging Face name.
const TOP: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// The parts of a block that all families have.
const BLOCK_PARTS: [(&str, &str); 9] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The norms of a block that normalises what enters attention and MLP.
const PRE_NORMS: [(&str, &str); 2] = [("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")];

/// The norms of a block that normalises what leaves them.
const POST_NORMS: [(&str, &str); 2] =
    [("post_attention_norm", "post_attention_layernorm"), ("post_ffw_norm", "post_feedforward_layernorm")];

fn block_parts(spec: &ModelSpec) -> impl Iterator<Item = (&'static str, &'static str)> {
    let norms = match spec.norm_placement {
        NormPlacement::Pre => PRE_NORMS,
        NormPlacement::Post => POST_NORMS,
    };
    BLOCK_PARTS.into_iter().chain(norms)
}

/// How a block's part (its Hugging Face name) is stored: Llama's and Mistral's queries and keys as rotated pairs, all
/// else as it is.
fn row_order(spec: &ModelSpec, part: &str) -> RowOrder {
    match (spec.family, part) {
        (Family::Llama | Family::Mistral, "self_attn.q_proj" | "self_attn.k_proj") => {
            RowOrder::RotatedPairs { head_dim: spec.head_dim }
        }
        _ => RowOrder::AsStored,
    }
}

/// The Hugging Face name of a tensor of a GGUF file, and its row order.
///
/// # Errors
/// When the model has no such tensor.
pub(crate) fn hugging_face(name: &str, spec: &ModelSpec) -> Result<(String, RowOrder), Reason> {
    if let Some((_, renamed)) = TOP.into_iter().find(|(stored, _)| *stored == name) {
        return Ok((renamed.into(), RowOrder::AsStored));
    }
    block_name(name, spec).ok_or_else(|| {
        format!("the tensor `{name}` is not part of a `{}` model; leaving it out could change results", spec.family)
    })
}

/// The GGUF name of a tensor by its Hugging Face name, and its row order. `None` where the format has none.
pub(crate) fn stored(name: &str, spec: &ModelSpec) -> Option<(String, RowOrder)> {
    if let Some((top, _)) = TOP.into_iter().find(|(_, renamed)| *renamed == name) {
        return Some((top.into(), RowOrder::AsStored));
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = part.rsplit_once('.')?;
    let (stored, _) = block_parts(spec).find(|(_, renamed)| *renamed == part)?;
    Some((format!("blk.{layer}.{stored}.{kind}"), row_order(spec, part)))
}

fn block_name(name: &str, spec: &ModelSpec) -> Option<(String, RowOrder)> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let number: u32 = layer.parse().ok()?;
    if number.to_string() != layer {
        return None;
    }
    let (part, kind) = part.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    let (_, renamed) = block_parts(spec).find(|(stored, _)| *stored == part)?;
    Some((format!("model.layers.{number}.{renamed}.{kind}"), row_order(spec, renamed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{AttentionBias, QueryKeyNorm};

    fn spec(family: Family, norm_placement: NormPlacement) -> ModelSpec {
        ModelSpec {
            family,
            vocabulary_size: 1,
            hidden_size: 1,
            intermediate_size: 1,
            query_heads: 1,
            key_value_heads: 1,
            head_dim: 64,
            context_length: 1,
            norm_epsilon: 1e-5,
            norm_placement,
            query_key_norm: QueryKeyNorm::None,
            attention_bias: AttentionBias::None,
            mlp_bias: false,
            tied_embeddings: false,
            rotary: Vec::new(),
            layers: Vec::new(),
        }
    }

    #[test]
    fn rotated_pairs_are_put_back() {
        // Stored rows of one head of 6: 0 3 1 4 2 5 (pairs next to each other).
        let order = RowOrder::RotatedPairs { head_dim: 6 };
        let sources: Vec<usize> = (0..12).map(|row| order.source_row(row)).collect();
        assert_eq!(sources, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }

    #[test]
    fn names_are_translated_or_refused() {
        let llama = spec(Family::Llama, NormPlacement::Pre);
        let (name, order) = hugging_face("blk.12.attn_k.weight", &llama).expect("a Llama tensor");
        assert_eq!(name, "model.layers.12.self_attn.k_proj.weight");
        assert_eq!(order, RowOrder::RotatedPairs { head_dim: 64 });
        assert_eq!(hugging_face("token_embd.weight", &llama).expect("a tensor").0, "model.embed_tokens.weight");
        for refused in
            ["blk.0.post_ffw_norm.weight", "blk.01.attn_q.weight", "blk.0.attn_q.scale", "blk.0.other.weight"]
        {
            assert!(hugging_face(refused, &llama).is_err_and(|reason| reason.contains(refused)), "{refused}");
        }
        let olmo = spec(Family::Olmo2, NormPlacement::Post);
        let (name, order) = hugging_face("blk.3.attn_q.weight", &olmo).expect("an Olmo tensor");
        assert_eq!((name.as_str(), order), ("model.layers.3.self_attn.q_proj.weight", RowOrder::AsStored));
        let (name, _) = hugging_face("blk.3.post_attention_norm.weight", &olmo).expect("an Olmo tensor");
        assert_eq!(name, "model.layers.3.post_attention_layernorm.weight");
        assert!(hugging_face("blk.3.attn_norm.weight", &olmo).is_err());
    }
}
