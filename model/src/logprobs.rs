//! Log-probabilities of given tokens.

use std::ops::Range;

use candle_core::Tensor;

use crate::decoder::{CachedAttention, CachedRun, Decoder, Pass, target_logprobs};
use crate::heads::HeadMask;
use crate::kernels::attention::KeyValues;
use crate::ops::with_values;
use crate::{ModelError, ModelResult};

/// Tokens in one pass over the weights. Does not change any bit.
const PASS_TOKENS: usize = 2_048;

/// For each sequence, the log-probability (natural, f64) of each token but the first, given those before it.
/// Called with the number of tokens of each pass as it is done; an error from there stops the work.
///
/// Memory is bounded by the keys and values of the sequences in one pass and by the rows of that pass, however long a
/// sequence is.
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
    token_logprobs_in_passes(decoder, mask, sequences, PASS_TOKENS, processed)
}

/// As [`token_logprobs`], with `pass_tokens` tokens in each pass over the weights: 1 gives token by token. The bits
/// are the same for any number.
///
/// # Errors
/// As [`token_logprobs`].
pub fn token_logprobs_in_passes(
    decoder: &Decoder,
    mask: Option<&HeadMask>,
    sequences: &[&[u32]],
    pass_tokens: usize,
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
    let mut found: Vec<Vec<f64>> = sequences.iter().map(|ids| Vec::with_capacity(ids.len() - 1)).collect();
    let mut rest = sequences.iter().enumerate().map(|(index, ids)| (index, 0..ids.len())).collect::<Vec<_>>();
    rest.reverse();
    // Keys and values of the one sequence that the pass before left unfinished.
    let mut carried: Option<Vec<KeyValues>> = None;
    while !rest.is_empty() {
        let mut pieces = Vec::new();
        let mut left = pass_tokens.max(1);
        while left > 0
            && let Some((sequence, tokens)) = rest.last_mut()
        {
            let taken = tokens.start..tokens.end.min(tokens.start + left);
            left -= taken.len();
            pieces.push(Piece {
                sequence: *sequence,
                ids: sequences[*sequence],
                key_values: carried.take().unwrap_or_else(|| decoder.empty_stores()),
                tokens: taken.clone(),
            });
            tokens.start = taken.end;
            if taken.end == tokens.end {
                rest.pop();
            }
        }
        pass(decoder, masked.as_deref(), &mut pieces, &mut found)?;
        processed(pieces.iter().map(|piece| piece.tokens.len()).sum())?;
        carried = pieces.pop().filter(|last| last.tokens.end < last.ids.len()).map(|last| last.key_values);
    }
    Ok(found)
}

/// Some consecutive tokens of one sequence.
struct Piece<'a> {
    sequence: usize,
    ids: &'a [u32],
    tokens: Range<usize>,
    key_values: Vec<KeyValues>,
}

impl Piece<'_> {
    /// The tokens that its rows predict; the last token of a sequence predicts none.
    fn targets(&self) -> &[u32] {
        &self.ids[self.tokens.start + 1..(self.tokens.end + 1).min(self.ids.len())]
    }
}

fn pass(decoder: &Decoder, masked: Option<&[bool]>, pieces: &mut [Piece], found: &mut [Vec<f64>]) -> ModelResult<()> {
    let tokens: Vec<u32> = pieces.iter().flat_map(|piece| &piece.ids[piece.tokens.clone()]).copied().collect();
    let positions: Vec<u32> =
        pieces.iter().flat_map(|piece| piece.tokens.clone()).map(|position| position as u32).collect();
    let runs = pieces.iter_mut().map(|piece| CachedRun {
        tokens: piece.tokens.len(),
        position: piece.tokens.start,
        key_values: &mut piece.key_values,
        masked,
        kept: piece.tokens.len(),
        probed: 0,
    });
    let mut attention =
        CachedAttention { layout: decoder.spec().head_layout(), runs: runs.collect(), probes: Vec::new() };
    let hidden = decoder.hidden(&tokens, &positions, &mut attention)?;
    drop(attention);
    let normed = decoder.norm(&hidden, decoder.final_norm(), Pass::Forward)?;
    let width = decoder.spec().hidden_size;
    let mut first_row = 0;
    for piece in pieces {
        let targets = piece.targets();
        let rows = first_row * width..(first_row + targets.len()) * width;
        first_row += piece.tokens.len();
        if targets.is_empty() {
            continue;
        }
        let rows = with_values(&normed, |values| values[rows].to_vec())?;
        let rows = Tensor::from_vec(rows, (targets.len(), width), normed.device())?;
        found[piece.sequence].extend(target_logprobs(decoder, &rows, targets)?);
    }
    Ok(())
}
