//! Continuous batching: slots are refilled as sequences end; prefill chunks and decode steps share each pass.

use std::sync::Arc;

use rayon::prelude::*;

use super::sampling::{best_and_gap, choose};
use super::{Completion, Limits, Request, Sampling, Sink, StopReason};
use crate::decoder::{CachedAttention, CachedRun, Decoder};
use crate::heads::HeadMask;
use crate::kernels::attention::{KeyValues, Probe};
use crate::spec::LayerSpec;
use crate::{ModelError, ModelResult};

/// Runs all requests with continuous batching.
///
/// # Errors
/// `Input` for an empty prompt, an unknown mask index, a token outside the vocabulary, or a prompt that
/// with its new tokens exceeds the model's context length; whatever the sink returns.
pub fn generate(
    decoder: &Decoder,
    masks: &[HeadMask],
    requests: &[Request],
    limits: &Limits,
    sink: &mut dyn Sink,
) -> ModelResult<()> {
    let spec = decoder.spec();
    let masks = masks.iter().map(|mask| mask.flags(spec)).collect::<ModelResult<Vec<_>>>()?;
    for (index, request) in requests.iter().enumerate() {
        check(decoder, masks.len(), index, request)?;
    }
    let mut waiting = requests.iter().enumerate().peekable();
    let mut slots: Vec<Slot> = Vec::new();
    loop {
        let mut held: usize = slots.iter().map(|slot| slot.bytes).sum();
        while slots.len() < limits.slots.max(1)
            && let Some(&(index, request)) = waiting.peek()
        {
            let tokens = request.prompt.len() + request.max_new_tokens;
            let bytes = spec.key_value_bytes(tokens, limits.rows_per_pass.max(1));
            // One request always runs, however large; more only within the budget.
            if !slots.is_empty() && held + bytes > limits.key_value_bytes {
                break;
            }
            waiting.next();
            held += bytes;
            slots.push(Slot::new(decoder, index, request, bytes, request.mask.map(|mask| masks[mask].clone())));
        }
        if slots.is_empty() {
            return Ok(());
        }
        let tokens = pass(decoder, &mut slots, limits.rows_per_pass.max(1))?;
        sink.processed(tokens)?;
        for slot in &mut slots {
            for &token in &slot.tokens[slot.reported..] {
                sink.generated(slot.index, token)?;
            }
            slot.reported = slot.tokens.len();
        }
        // Completed slots leave in order, so that equal runs report in equal order.
        let (done, running): (Vec<Slot>, Vec<Slot>) = slots.into_iter().partition(|slot| slot.stop.is_some());
        slots = running;
        for slot in done {
            let (request, completion) = slot.finish()?;
            sink.completed(request, completion)?;
        }
    }
}

fn check(decoder: &Decoder, masks: usize, index: usize, request: &Request) -> ModelResult<()> {
    let spec = decoder.spec();
    if request.prompt.is_empty() {
        return Err(ModelError::input(format!("prompt {index} has no tokens")));
    }
    if request.mask.is_some_and(|mask| mask >= masks) {
        return Err(ModelError::internal(format!("prompt {index} names a mask that was not given")));
    }
    if let Some(token) = request.prompt.iter().find(|&&token| token as usize >= spec.vocabulary_size) {
        let size = spec.vocabulary_size;
        return Err(ModelError::input(format!("prompt {index} holds token {token}; the vocabulary has {size}")));
    }
    // The last generated token is never fed back.
    let longest = request.prompt.len() + request.max_new_tokens.saturating_sub(1);
    if longest > spec.context_length {
        return Err(ModelError::input(format!(
            "prompt {index} has {} tokens and may grow by {}, which exceeds the model's context of {} tokens",
            request.prompt.len(),
            request.max_new_tokens,
            spec.context_length
        ))
        .with_hint("shorten the prompts or lower the number of new tokens"));
    }
    Ok(())
}

/// One request in flight.
struct Slot<'a> {
    index: usize,
    request: &'a Request,
    masked: Option<Arc<[bool]>>,
    bytes: usize,
    sampling: Sampling,
    key_values: Vec<KeyValues>,
    tokens: Vec<u32>,
    /// How many of `tokens` the sink has been told of.
    reported: usize,
    probes: Vec<Vec<u32>>,
    probe_gaps: Vec<Vec<f32>>,
    logit_gaps: Vec<f32>,
    stop: Option<StopReason>,
}

impl<'a> Slot<'a> {
    fn new(decoder: &Decoder, index: usize, request: &'a Request, bytes: usize, masked: Option<Arc<[bool]>>) -> Self {
        let spec = decoder.spec();
        let store = |layer: &LayerSpec| KeyValues::new(spec.head_layout(), layer.span);
        Self {
            index,
            request,
            masked,
            bytes,
            sampling: request.sampling.clone(),
            key_values: spec.layers.iter().map(store).collect(),
            tokens: Vec::new(),
            reported: 0,
            probes: Vec::new(),
            probe_gaps: Vec::new(),
            logit_gaps: Vec::new(),
            stop: (request.max_new_tokens == 0).then_some(StopReason::Length),
        }
    }

    /// Tokens already in the cache.
    fn position(&self) -> usize {
        self.key_values.first().map_or(0, KeyValues::len)
    }

    /// The tokens that come next, at most `limit`: prompt not yet passed, or the last generated token.
    fn next_tokens(&self, limit: usize) -> Vec<u32> {
        let (position, prompt) = (self.position(), &self.request.prompt);
        if position < prompt.len() {
            prompt[position..prompt.len().min(position + limit)].to_vec()
        } else {
            self.tokens.last().copied().into_iter().collect()
        }
    }

    /// Whether logits are wanted after `count` more tokens.
    fn completes_prompt(&self, count: usize) -> bool {
        self.position() + count >= self.request.prompt.len()
    }

    fn accept(&mut self, logits: &[f32]) {
        let token = choose(&mut self.sampling, logits) as u32;
        if self.request.logit_gaps {
            self.logit_gaps.push(best_and_gap(logits).1);
        }
        self.tokens.push(token);
        if self.request.stop_tokens.contains(&token) {
            self.stop = Some(StopReason::StopToken);
        } else if self.tokens.len() == self.request.max_new_tokens {
            self.stop = Some(StopReason::Length);
        }
    }

    fn finish(self) -> ModelResult<(usize, Completion)> {
        let stop = self.stop.ok_or_else(|| ModelError::internal("a running slot was finished"))?;
        let Self { index, tokens, probes, probe_gaps, logit_gaps, .. } = self;
        Ok((index, Completion { tokens, stop, probes, probe_gaps, logit_gaps }))
    }
}

/// One pass over the weights: every decoding slot's next token, and prompt chunks in the rows that are left.
fn pass(decoder: &Decoder, slots: &mut [Slot], rows: usize) -> ModelResult<usize> {
    let decoding =
        slots.iter().filter(|slot| slot.stop.is_none() && slot.position() >= slot.request.prompt.len()).count();
    let mut left = rows.saturating_sub(decoding).max(1);
    let (mut tokens, mut positions, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    // Per slot that wants logits: its index, the row that gives them, and whether it is probed.
    let mut wanted: Vec<(usize, usize, bool)> = Vec::new();
    for (index, slot) in slots.iter_mut().enumerate() {
        if slot.stop.is_some() {
            continue;
        }
        let prefilling = slot.position() < slot.request.prompt.len();
        let next = slot.next_tokens(if prefilling { left } else { 1 });
        if next.is_empty() {
            continue;
        }
        if prefilling {
            left -= next.len();
        }
        let (position, completes) = (slot.position(), slot.completes_prompt(next.len()));
        let probe = completes && slot.request.probe;
        positions.extend((position..position + next.len()).map(|position| position as u32));
        tokens.extend_from_slice(&next);
        if completes {
            wanted.push((index, tokens.len() - 1, probe));
        }
        runs.push(CachedRun {
            tokens: next.len(),
            position,
            key_values: &mut slot.key_values,
            masked: slot.masked.as_deref(),
            probe,
        });
    }
    if tokens.is_empty() {
        return Ok(0);
    }
    let mut attention = CachedAttention { layout: decoder.spec().head_layout(), runs, probes: Vec::new() };
    let hidden = decoder.hidden(&tokens, &positions, &mut attention)?;
    let mut probes = std::mem::take(&mut attention.probes).into_iter();
    drop(attention);
    if wanted.is_empty() {
        return Ok(tokens.len());
    }
    let width = decoder.spec().hidden_size;
    let rows: Vec<f32> = crate::ops::with_values(&hidden, |values| {
        wanted.iter().flat_map(|&(_, row, _)| values[row * width..(row + 1) * width].to_vec()).collect()
    })?;
    let rows = candle_core::Tensor::from_vec(rows, (wanted.len(), width), hidden.device())?;
    let logits = decoder.logits(&rows)?;
    for &(index, _, probed) in &wanted {
        if probed {
            let found: Vec<Probe> =
                probes.next().ok_or_else(|| ModelError::internal("a probed row came back without its probe"))?;
            slots[index].probes.push(found.iter().map(|probe| probe.key).collect());
            slots[index].probe_gaps.push(found.iter().map(|probe| probe.gap).collect());
        }
    }
    let mut choosing: Vec<&mut Slot> = Vec::with_capacity(wanted.len());
    let mut wanted = wanted.iter().peekable();
    for (index, slot) in slots.iter_mut().enumerate() {
        if wanted.next_if(|&&(wanting, _, _)| wanting == index).is_some() {
            choosing.push(slot);
        }
    }
    choosing
        .into_par_iter()
        .zip(logits.par_chunks_exact(decoder.spec().vocabulary_size))
        .for_each(|(slot, logits)| slot.accept(logits));
    Ok(tokens.len())
}
