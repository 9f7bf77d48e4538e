//! Log-probabilities of scored tokens, without gradients.

use super::TrainingSequence;
use super::packing::{Group, PackedBatch, groups};
use crate::decoder::{Decoder, PackedAttention, Pass, target_logprobs};
use crate::logprobs::token_logprobs;
use crate::{ModelError, ModelResult};

/// Rows of one pass over the weights. Does not change any bit.
const PASS_ROWS: usize = 2_048;

/// For each sequence, the log-probability of each of its scored tokens, from the same arithmetic as training's: beginnings
/// that neighbours share are computed once, and logits of scored tokens alone. `processed` is called with the number of
/// tokens of each pass; an error from there stops the work.
///
/// # Errors
/// `Input` for a sequence longer than the model's context or a token outside the vocabulary; whatever `processed` returns.
pub fn scored_logprobs(
    decoder: &Decoder,
    sequences: &[TrainingSequence],
    processed: &mut dyn FnMut(usize) -> ModelResult<()>,
) -> ModelResult<Vec<Vec<f64>>> {
    let limit = decoder.spec().context_length;
    if let Some(index) = sequences.iter().position(|sequence| sequence.ids.len() > limit) {
        let length = sequences[index].ids.len();
        return Err(ModelError::input(format!("sequence {index} has {length} tokens; the model's context is {limit}")));
    }
    let groups = groups(sequences);
    let mut rest = groups.as_slice();
    let mut found = Vec::with_capacity(sequences.len());
    while let Some(first) = rest.first() {
        if first.rows() > PASS_ROWS && first.sequences.iter().all(|sequence| sequence.masked_heads.is_none()) {
            // In pieces, so that memory does not grow with its length.
            for sequence in first.sequences {
                let all = token_logprobs(decoder, None, &[&sequence.ids], processed)?;
                // The log-probability of token i stands at place i - 1.
                found.extend(
                    all.iter().map(|all| sequence.scored_positions().map(|at| all[at - 1]).collect::<Vec<f64>>()),
                );
            }
            rest = &rest[1..];
            continue;
        }
        let mut rows = 0;
        let fits = |group: &&Group<'_>| {
            rows += group.rows();
            rows <= PASS_ROWS
        };
        let (pass, behind) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        rest = behind;
        let logprobs = pass_logprobs(decoder, &PackedBatch::new(pass))?;
        let mut logprobs = logprobs.into_iter();
        let sequences = || pass.iter().flat_map(|group| group.sequences);
        found.extend(sequences().map(|sequence| logprobs.by_ref().take(sequence.scored_tokens()).collect()));
        processed(sequences().map(|sequence| sequence.ids.len()).sum())?;
    }
    Ok(found)
}

fn pass_logprobs(decoder: &Decoder, batch: &PackedBatch) -> ModelResult<Vec<f64>> {
    if batch.targets.is_empty() {
        return Ok(Vec::new());
    }
    let layers = decoder.spec().layers.len();
    let mut attention = PackedAttention::new(decoder, batch.sequences.clone());
    let angles = decoder.angles(&batch.positions);
    let mut x = decoder.embed(&batch.tokens)?;
    for layer in 0..layers {
        let wanted = (layer + 1 == layers).then_some(&batch.rows);
        x = decoder.layer(layer, &x, &angles, &mut attention, wanted, Pass::Forward)?;
    }
    let normed = decoder.norm(&x, decoder.final_norm(), Pass::Forward)?;
    target_logprobs(decoder, &normed, &batch.targets)
}
