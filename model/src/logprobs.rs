//! Log-probabilities of given tokens.

use std::sync::Arc;

use crate::decoder::{Decoder, PackedAttention, Pass, target_logprobs};
use crate::heads::HeadMask;
use crate::ops::with_values;
use crate::{ModelError, ModelResult};

/// Tokens in one pass over the weights. Does not change any bit.
const PASS_TOKENS: usize = 2_048;

/// For each sequence, the log-probability (natural, f64) of each token but the first, given those before it.
/// Called with the number of tokens of each pass as it is done; an error from there stops the work.
///
/// # Errors
/// `Input` for an empty sequence, one longer than the model's context, a token outside the vocabulary, or a
/// head the model does not have.
pub fn token_logprobs(
    decoder: &Decoder,
    mask: Option<&HeadMask>,
    sequences: &[&[u32]],
    processed: &mut dyn FnMut(usize) -> ModelResult<()>,
) -> ModelResult<Vec<Vec<f64>>> {
    let spec = decoder.spec();
    for (index, ids) in sequences.iter().enumerate() {
        if ids.is_empty() {
            return Err(ModelError::input(format!("sequence {index} has no tokens")));
        }
        if ids.len() > spec.context_length {
            let (length, limit) = (ids.len(), spec.context_length);
            return Err(ModelError::input(format!(
                "sequence {index} has {length} tokens; the model's context is {limit}"
            )));
        }
    }
    let masked = mask.map(|mask| mask.flags(spec)).transpose()?;
    let mut found = Vec::with_capacity(sequences.len());
    let mut rest = sequences;
    while !rest.is_empty() {
        let mut tokens = rest[0].len();
        let fits = rest[1..].iter().take_while(|ids| {
            tokens += ids.len();
            tokens <= PASS_TOKENS
        });
        let (pass, later) = rest.split_at(1 + fits.count());
        found.extend(pass_logprobs(decoder, masked.as_ref(), pass)?);
        processed(pass.iter().map(|ids| ids.len()).sum())?;
        rest = later;
    }
    Ok(found)
}

fn pass_logprobs(decoder: &Decoder, masked: Option<&Arc<[bool]>>, sequences: &[&[u32]]) -> ModelResult<Vec<Vec<f64>>> {
    let tokens = sequences.concat();
    let positions: Vec<u32> = sequences.iter().flat_map(|ids| 0..ids.len() as u32).collect();
    let mut attention = PackedAttention::new(decoder, sequences.iter().map(|ids| (ids.len(), masked.cloned())));
    let hidden = decoder.hidden(&tokens, &positions, &mut attention)?;
    let normed = decoder.norm(&hidden, decoder.final_norm(), Pass::Forward)?;
    let width = decoder.spec().hidden_size;
    let mut first_row = 0;
    sequences
        .iter()
        .map(|ids| {
            let rows = first_row * width..(first_row + ids.len() - 1) * width;
            first_row += ids.len();
            let rows = with_values(&normed, |values| values[rows].to_vec())?;
            let rows = candle_core::Tensor::from_vec(rows, (ids.len() - 1, width), normed.device())?;
            target_logprobs(decoder, &rows, &ids[1..])
        })
        .collect()
}
