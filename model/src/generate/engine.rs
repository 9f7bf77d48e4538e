//! Continuous batching: slots are refilled as sequences end; prefill chunks and decode steps share each pass.
//!
//! Requests are served in the order of their prompts, and one that begins like the one before it goes on from that one's
//! keys and values. They have the bits that computing them again would give, so nothing but the work changes.

use std::ops::Range;
use std::sync::Arc;

use super::draft::Drafting;
use super::slot::{Beginning, Checked, Slot};
use super::{Limits, Request, Sink};
use crate::decoder::{CachedAttention, CachedRun, Decoder};
use crate::heads::HeadMask;
use crate::kernels::attention::Probe;
use crate::kernels::team;
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
    let mut waiting = in_order_of_prompts(requests).into_iter().peekable();
    let mut slots: Vec<Slot> = Vec::new();
    let mut place = 0;
    let mut drafting = limits.drafts.then(Drafting::default);
    // Of each mask at most one that has stopped, kept until a request of that mask comes.
    let mut left: Vec<Slot> = Vec::new();
    // Of one pass; the next one writes them in the same place.
    let mut logits = Vec::new();
    loop {
        let mut held: usize = slots.iter().map(|slot| slot.bytes).sum();
        while slots.len() < limits.slots.max(1)
            && let Some(&index) = waiting.peek()
        {
            let request = &requests[index];
            let tokens = request.prompt.len() + request.max_new_tokens;
            let bytes = spec.key_value_bytes(decoder.numerics(), tokens, limits.rows_per_pass.max(1));
            // One request always runs, however large; more only within the budget.
            if !slots.is_empty() && held + bytes > limits.key_value_bytes {
                break;
            }
            let mut alike = left.iter().chain(slots.iter().rev()).filter(|slot| slot.request.mask == request.mask);
            let before = alike.next();
            let beginning = match before.map_or(Beginning::Other, |before| before.shared_beginning(request)) {
                Beginning::NotYet => break,
                Beginning::Other => decoder.empty_stores(),
                Beginning::Shared(key_values) => key_values,
            };
            left.retain(|slot| slot.request.mask != request.mask);
            waiting.next();
            held += bytes;
            let masked = request.mask.map(|mask| masks[mask].clone());
            slots.push(Slot::new(place, index, request, bytes, masked, beginning));
            place += 1;
        }
        if slots.is_empty() {
            return Ok(());
        }
        let rows = limits.rows_per_pass.max(1);
        if let Some(drafting) = &drafting {
            draft(drafting, &mut slots, rows);
        }
        let (tokens, checked) = pass(decoder, &mut slots, rows, &mut logits)?;
        let (mut tried, mut kept) = (0, 0);
        for (slot, checked) in slots.iter_mut().zip(checked) {
            let draft = std::mem::take(&mut slot.draft);
            if let Some(drafting) = &mut drafting {
                drafting.learn(&draft, checked);
            }
            tried += draft.tokens.len();
            kept += checked.kept;
        }
        sink.processed(tokens - (tried - kept))?;
        sink.drafted(tried, kept);
        slots.iter_mut().try_for_each(|slot| slot.report(sink))?;
        // Completed slots leave in order, so that equal runs report in equal order.
        let (done, running): (Vec<Slot>, Vec<Slot>) = slots.into_iter().partition(|slot| slot.stop.is_some());
        slots = running;
        for mut slot in done {
            sink.completed(slot.index, slot.finish()?)?;
            // The next request may begin like the latest of its mask, whose keys and values therefore stay until then.
            let is_later = |other: &Slot| other.request.mask == slot.request.mask && other.place > slot.place;
            if waiting.peek().is_some() && !slots.iter().chain(&left).any(is_later) {
                left.retain(|other| other.request.mask != slot.request.mask);
                left.push(slot);
            }
        }
    }
}

/// Requests whose prompts begin alike behind each other; those of one prompt with and without a mask share a pass.
fn in_order_of_prompts(requests: &[Request]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&index| (&requests[index].prompt, requests[index].mask));
    order
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

/// Drafts for the slots of a pass that only continues sequences: beside prompts every row costs its time in full.
fn draft(drafting: &Drafting, slots: &mut [Slot], rows: usize) {
    if slots.iter().any(Slot::is_prefilling) {
        return;
    }
    let streams = slots.iter().filter(|slot| slot.is_decoding()).count();
    let mut left = rows.saturating_sub(streams);
    for slot in slots.iter_mut().filter(|slot| slot.is_decoding()) {
        slot.draft(drafting, left, streams);
        left -= slot.draft.tokens.len();
    }
}

/// One pass over the weights: every decoding slot's next token and its draft, and prompt chunks in the rows that are
/// left. `logits` is where they are put. Returns the number of rows, and per slot what became of its draft.
fn pass(
    decoder: &Decoder,
    slots: &mut [Slot],
    rows: usize,
    logits: &mut Vec<f32>,
) -> ModelResult<(usize, Vec<Checked>)> {
    let decoding = slots.iter().filter(|slot| slot.is_decoding()).count();
    let mut left = rows.saturating_sub(decoding).max(1);
    let (mut tokens, mut positions, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    // Per slot: the rows whose logits are wanted, and whether they are probed.
    let mut wanted: Vec<(Range<usize>, bool)> = vec![(0..0, false); slots.len()];
    for (slot, wanted) in slots.iter_mut().zip(&mut wanted) {
        if slot.stop.is_some() {
            continue;
        }
        let prefilling = slot.is_prefilling();
        let next = slot.next_tokens(left);
        if next.is_empty() {
            continue;
        }
        if prefilling {
            left -= next.len();
        }
        let position = slot.position();
        let of_slot = slot.wanted(next.len());
        positions.extend((position..position + next.len()).map(|position| position as u32));
        tokens.extend_from_slice(&next);
        *wanted = (tokens.len() - of_slot..tokens.len(), slot.request.probe);
        runs.push(CachedRun {
            tokens: next.len(),
            position,
            key_values: &mut slot.key_values,
            masked: slot.masked.as_deref(),
            kept: of_slot,
            probed: if slot.request.probe { of_slot } else { 0 },
        });
    }
    let nothing = vec![Checked::default(); wanted.len()];
    if tokens.is_empty() {
        return Ok((0, nothing));
    }
    let mut attention = CachedAttention { layout: decoder.spec().head_layout(), runs, probes: Vec::new() };
    let kept: Arc<[usize]> = wanted.iter().flat_map(|(rows, _)| rows.clone()).collect();
    let hidden = decoder.hidden_rows(&tokens, &positions, Some(&kept), &mut attention)?;
    let mut probes = std::mem::take(&mut attention.probes).into_iter();
    drop(attention);
    if kept.is_empty() {
        return Ok((tokens.len(), nothing));
    }
    decoder.logits(&hidden, logits)?;
    let vocabulary = decoder.spec().vocabulary_size;
    let mut logits = logits.as_slice();
    let mut choosing = Vec::with_capacity(slots.len());
    for (slot, (rows, probed)) in slots.iter_mut().zip(&wanted) {
        let (of_slot, rest) = logits.split_at(rows.len() * vocabulary);
        logits = rest;
        let of_probes: Vec<Vec<Probe>> = probes.by_ref().take(if *probed { rows.len() } else { 0 }).collect();
        if *probed && of_probes.len() < rows.len() {
            return Err(ModelError::internal("a probed row came back without its probe"));
        }
        choosing.push((slot, of_slot, of_probes));
    }
    let checked = team::map(choosing, |(slot, logits, probes): (&mut Slot, &[f32], Vec<Vec<Probe>>)| {
        if logits.is_empty() { Checked::default() } else { slot.accept(logits, vocabulary, probes) }
    });
    Ok((tokens.len(), checked))
}
