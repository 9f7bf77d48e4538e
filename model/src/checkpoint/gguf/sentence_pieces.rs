//! SentencePiece's byte-pair vocabularies (`tokenizer.ggml.model` of `llama`: Llama-2, Mistral), as a tokenizer.json.
//!
//! SentencePiece has no list of merges: of all neighbours that together are a piece, it joins those whose piece has the
//! highest score, the leftmost first. The same comes of a list of all ways to put a piece together from two, best first.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::metadata::Metadata;
use super::text_assets::{NORMAL, TOKENS};
use crate::checkpoint::byte_reader::Reason;

pub(super) const SCORES: &str = "tokenizer.ggml.scores";
/// Released vocabularies have none above 48 bytes; the ways to split one grow with its length.
const LONGEST_PIECE: usize = 256;
/// What stands for a space in pieces.
const SPACE: &str = "\u{2581}";

/// The pairs that make a piece, in order of priority.
///
/// # Errors
/// When there is not one score per token, or a piece is too long.
pub(super) fn merges<'file>(
    tokens: &[&'file str],
    types: &[i32],
    scores: Option<Vec<f32>>,
) -> Result<Vec<(&'file str, &'file str)>, Reason> {
    let scores = scores.ok_or_else(|| format!("the metadata key `{SCORES}` is missing"))?;
    if scores.len() != tokens.len() {
        return Err(format!("`{TOKENS}` has {} entries, `{SCORES}` has {}", tokens.len(), scores.len()));
    }
    let normal = || tokens.iter().zip(types).zip(&scores).filter(|((_, kind), _)| **kind == NORMAL);
    let pieces: HashSet<&str> = normal().map(|((token, _), _)| *token).collect();
    let mut merges: Vec<(f32, &str, &str)> = Vec::new();
    for ((piece, _), score) in normal() {
        if piece.len() > LONGEST_PIECE {
            return Err(format!("`{TOKENS}` holds a piece of {} bytes; at most {LONGEST_PIECE} are read", piece.len()));
        }
        for (place, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(place);
            if pieces.contains(left) && pieces.contains(right) {
                merges.push((*score, left, right));
            }
        }
    }
    // Pieces of one score do not occur in trained vocabularies; their order is made definite all the same.
    merges.sort_by(|(one_score, one, other_right), (other_score, other, right)| {
        let length = |left: &str| std::cmp::Reverse(left.len());
        other_score
            .total_cmp(one_score)
            .then_with(|| length(one).cmp(&length(other)))
            .then_with(|| (*one, *other_right).cmp(&(*other, *right)))
    });
    Ok(merges.into_iter().map(|(_, left, right)| (left, right)).collect())
}

/// What happens to text before and after: spaces become `▁`, one more is put in front of every stretch between special
/// tokens (as llama.cpp does) and taken away again at the front of what is decoded.
pub(super) struct Rules {
    pub normalizer: Value,
    pub decoder: Value,
}

/// The rules of this file.
///
/// # Errors
/// When it normalises text in a way of its own.
pub(super) fn rules(metadata: &Metadata) -> Result<Rules, Reason> {
    for key in ["tokenizer.ggml.precompiled_charsmap", "tokenizer.ggml.remove_extra_whitespaces"] {
        if metadata.has(key) && metadata.boolean(key).ok().flatten() != Some(false) {
            return Err(format!("the metadata key `{key}` asks for a normalisation that is not supported"));
        }
    }
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut normalizers = vec![replace(" ", SPACE)];
    let mut decoders = vec![replace(SPACE, " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    if metadata.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true) {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(Rules {
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        decoder: json!({"type": "Sequence", "decoders": decoders}),
    })
}
