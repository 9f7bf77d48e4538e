//! GGUF tensor names to Hugging Face names, and the order of rows that goes with them.

use crate::checkpoint::byte_reader::Reason;

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
}

/// The parts of a block: GGUF name, Hugging Face name, and whether rows are stored as rotated pairs.
const BLOCK_PARTS: [(&str, &str, bool); 9] = [
    ("attn_norm", "input_layernorm", false),
    ("attn_q", "self_attn.q_proj", true),
    ("attn_k", "self_attn.k_proj", true),
    ("attn_v", "self_attn.v_proj", false),
    ("attn_output", "self_attn.o_proj", false),
    ("ffn_norm", "post_attention_layernorm", false),
    ("ffn_gate", "mlp.gate_proj", false),
    ("ffn_up", "mlp.up_proj", false),
    ("ffn_down", "mlp.down_proj", false),
];

/// The Hugging Face name of a Llama tensor in a GGUF file, and its row order.
pub(crate) fn llama(name: &str, head_dim: usize) -> Result<(String, RowOrder), Reason> {
    let top = match name {
        "token_embd.weight" => Some("model.embed_tokens.weight"),
        "output_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        "rope_freqs.weight" => {
            return Err("the tensor `rope_freqs.weight` (scaled rotary frequencies) is not supported yet; \
                 use the model's Hugging Face folder, whose config.json states the scaling"
                .into());
        }
        _ => None,
    };
    if let Some(top) = top {
        return Ok((top.into(), RowOrder::AsStored));
    }
    block_name(name, head_dim)
        .ok_or_else(|| format!("the tensor `{name}` is not part of a Llama model; leaving it out could change results"))
}

fn block_name(name: &str, head_dim: usize) -> Option<(String, RowOrder)> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let number: u32 = layer.parse().ok()?;
    if number.to_string() != layer {
        return None;
    }
    let (part, kind) = part.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    let (_, renamed, pairs) = BLOCK_PARTS.into_iter().find(|(stored, ..)| *stored == part)?;
    let order = if pairs { RowOrder::RotatedPairs { head_dim } } else { RowOrder::AsStored };
    Some((format!("model.layers.{number}.{renamed}.{kind}"), order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_pairs_are_put_back() {
        // Stored rows of one head of 6: 0 3 1 4 2 5 (pairs next to each other).
        let order = RowOrder::RotatedPairs { head_dim: 6 };
        let sources: Vec<usize> = (0..12).map(|row| order.source_row(row)).collect();
        assert_eq!(sources, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }

    #[test]
    fn names_are_translated_or_refused() {
        let (name, order) = llama("blk.12.attn_k.weight", 64).expect("a Llama tensor");
        assert_eq!(name, "model.layers.12.self_attn.k_proj.weight");
        assert_eq!(order, RowOrder::RotatedPairs { head_dim: 64 });
        assert_eq!(llama("token_embd.weight", 64).expect("a Llama tensor").0, "model.embed_tokens.weight");
        for refused in ["blk.0.attn_q_norm.weight", "blk.01.attn_q.weight", "blk.0.attn_q.scale", "rope_freqs.weight"] {
            assert!(llama(refused, 64).is_err_and(|reason| reason.contains(refused)), "{refused}");
        }
    }
}
