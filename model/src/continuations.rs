//! How likely each of several endings of a text is.

use candle_core::{Device, Tensor};

use crate::decoder::{CachedAttention, CachedRun, Decoder, Pass, target_logprobs};
use crate::heads::HeadMask;
use crate::kernels::attention::KeyValues;
use crate::ops::with_values;
use crate::{ModelError, ModelResult};

/// Tokens in one pass over the weights. Does not change any bit.
const PASS_TOKENS: usize = 2_048;

/// A text and the endings it may have.
#[derive(Debug, Clone, Copy)]
pub struct Endings<'a> {
    /// The tokens in front; at least one.
    pub beginning: &'a [u32],
    /// The tokens of each ending; at least one each.
    pub endings: &'a [Vec<u32>],
}

/// For each text, the log-probability (natural, f64) of each ending: the sum over its tokens, in their order. The bits
/// are those of [`token_logprobs`](crate::logprobs::token_logprobs) over the beginning with that ending behind it.
///
/// A beginning is computed once for all its endings, and what it has in common with the one before it is not computed
/// again. `processed` is called with the number of tokens of each pass; an error from there stops the work. `found` is
/// given each text's results, by its place, as soon as they are there.
///
/// # Errors
/// `Input` for an empty beginning or ending, a text longer than the model's context, a token outside the vocabulary, or
/// a head the model does not have.
pub fn ending_logprobs(
    decoder: &Decoder,
    mask: Option<&HeadMask>,
    texts: &[Endings<'_>],
    processed: &mut dyn FnMut(usize) -> ModelResult<()>,
    found: &mut dyn FnMut(usize, Vec<f64>) -> ModelResult<()>,
) -> ModelResult<()> {
    let spec = decoder.spec();
    for (index, text) in texts.iter().enumerate() {
        if text.beginning.is_empty() || text.endings.iter().any(Vec::is_empty) {
            return Err(ModelError::input(format!("text {index} has an empty beginning or ending")));
        }
        let longest = text.beginning.len() + text.endings.iter().map(Vec::len).max().unwrap_or(0);
        if longest > spec.context_length {
            let limit = spec.context_length;
            return Err(ModelError::input(format!(
                "text {index} has {longest} tokens; the model's context is {limit}"
            )));
        }
    }
    let masked = mask.map(|mask| mask.flags(spec)).transpose()?;
    let run = Runner { decoder, masked: masked.as_deref() };
    let mut held: Option<(&[u32], Vec<KeyValues>)> = None;
    for (index, text) in texts.iter().enumerate() {
        // The last token of the beginning runs in any case: its row predicts the endings.
        let last = text.beginning.len() - 1;
        let (mut position, mut stores) = (0, decoder.empty_stores());
        if let Some((before, kept)) = held.take() {
            let common = before.iter().zip(&text.beginning[..last]).take_while(|(left, right)| left == right).count();
            let shared: Option<Vec<KeyValues>> = kept.iter().map(|store| store.beginning(common)).collect();
            if let Some(shared) = shared.filter(|_| common > 0) {
                (position, stores) = (common, shared);
            }
        }
        let mut row = Vec::new();
        while position <= last {
            let end = (last + 1).min(position + PASS_TOKENS);
            row = run.pass(&text.beginning[position..end], position, &mut stores)?;
            processed(end - position)?;
            position = end;
        }
        let width = spec.hidden_size;
        row.drain(..row.len() - width);
        let firsts: Vec<u32> = text.endings.iter().map(|ending| ending[0]).collect();
        let rows = Tensor::from_vec(row.repeat(firsts.len()), (firsts.len(), width), &Device::Cpu)?;
        let mut sums = target_logprobs(decoder, &rows, &firsts)?;
        for (ending, sum) in text.endings.iter().zip(&mut sums).filter(|(ending, _)| ending.len() > 1) {
            let mut branch = stores.clone();
            let mut done = 0;
            while done < ending.len() - 1 {
                let end = (ending.len() - 1).min(done + PASS_TOKENS);
                let rows = run.pass(&ending[done..end], text.beginning.len() + done, &mut branch)?;
                let rows = Tensor::from_vec(rows, (end - done, width), &Device::Cpu)?;
                for logprob in target_logprobs(decoder, &rows, &ending[done + 1..=end])? {
                    *sum += logprob;
                }
                processed(end - done)?;
                done = end;
            }
        }
        found(index, sums)?;
        held = Some((text.beginning, stores));
    }
    Ok(())
}

/// A decoder under a mask.
struct Runner<'a> {
    decoder: &'a Decoder,
    masked: Option<&'a [bool]>,
}

impl Runner<'_> {
    /// Runs consecutive tokens of one text; their rows behind the final norm, [tokens, hidden].
    fn pass(&self, tokens: &[u32], position: usize, stores: &mut [KeyValues]) -> ModelResult<Vec<f32>> {
        let positions: Vec<u32> = (position..position + tokens.len()).map(|position| position as u32).collect();
        let layout = self.decoder.spec().head_layout();
        let run = CachedRun {
            tokens: tokens.len(),
            position,
            key_values: stores,
            masked: self.masked,
            kept: tokens.len(),
            probed: 0,
        };
        let mut attention = CachedAttention { layout, runs: vec![run], probes: Vec::new() };
        let hidden = self.decoder.hidden(tokens, &positions, &mut attention)?;
        let normed = self.decoder.norm(&hidden, self.decoder.final_norm(), Pass::Forward)?;
        Ok(with_values(&normed, <[f32]>::to_vec)?)
    }
}
