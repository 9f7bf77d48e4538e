//! One request in flight.

use std::sync::Arc;

use super::sampling::{best_and_gap, choose};
use super::{Completion, Request, Sampling, StopReason};
use crate::kernels::attention::KeyValues;
use crate::{ModelError, ModelResult};

/// One request in flight.
pub struct Slot<'a> {
    /// How many requests were begun before this one.
    pub place: usize,
    pub index: usize,
    pub request: &'a Request,
    pub masked: Option<Arc<[bool]>>,
    pub bytes: usize,
    sampling: Sampling,
    pub key_values: Vec<KeyValues>,
    pub tokens: Vec<u32>,
    /// How many of `tokens` the sink has been told of.
    pub reported: usize,
    pub probes: Vec<Vec<u32>>,
    pub probe_gaps: Vec<Vec<f32>>,
    logit_gaps: Vec<f32>,
    pub stop: Option<StopReason>,
}

impl<'a> Slot<'a> {
    /// A slot that goes on from `key_values`, the beginning of its prompt.
    pub fn new(
        place: usize,
        index: usize,
        request: &'a Request,
        bytes: usize,
        masked: Option<Arc<[bool]>>,
        key_values: Vec<KeyValues>,
    ) -> Self {
        Self {
            place,
            index,
            request,
            masked,
            bytes,
            sampling: request.sampling.clone(),
            key_values,
            tokens: Vec::new(),
            reported: 0,
            probes: Vec::new(),
            probe_gaps: Vec::new(),
            logit_gaps: Vec::new(),
            stop: (request.max_new_tokens == 0).then_some(StopReason::Length),
        }
    }

    /// Tokens already in the cache.
    pub fn position(&self) -> usize {
        self.key_values.first().map_or(0, KeyValues::len)
    }

    /// The tokens that come next, at most `limit`: prompt not yet passed, or the last generated token.
    pub fn next_tokens(&self, limit: usize) -> Vec<u32> {
        let (position, prompt) = (self.position(), &self.request.prompt);
        if position < prompt.len() {
            prompt[position..prompt.len().min(position + limit)].to_vec()
        } else {
            self.tokens.last().copied().into_iter().collect()
        }
    }

    /// Whether logits are wanted after `count` more tokens.
    pub fn completes_prompt(&self, count: usize) -> bool {
        self.position() + count >= self.request.prompt.len()
    }

    /// Takes the next token from its logits.
    pub fn accept(&mut self, logits: &[f32]) {
        let token = choose(&mut self.sampling, logits, &self.request.prompt, &self.tokens) as u32;
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

    /// What a slot that has stopped gives.
    ///
    /// # Errors
    /// `Internal` while it is running.
    pub fn finish(&mut self) -> ModelResult<Completion> {
        let stop = self.stop.ok_or_else(|| ModelError::internal("a running slot was finished"))?;
        Ok(Completion {
            tokens: std::mem::take(&mut self.tokens),
            stop,
            probes: std::mem::take(&mut self.probes),
            probe_gaps: std::mem::take(&mut self.probe_gaps),
            logit_gaps: std::mem::take(&mut self.logit_gaps),
        })
    }

    /// What this slot's prompt has in common with that of a request, but for the request's last token, whose logits
    /// are wanted.
    pub fn shared_beginning(&self, request: &Request) -> Beginning {
        let common = self.request.prompt.iter().zip(&request.prompt).take_while(|(left, right)| left == right).count();
        let common = common.min(request.prompt.len() - 1);
        if self.request.mask != request.mask || common == 0 {
            return Beginning::Other;
        }
        if self.position() < common {
            // One that has stopped, since nothing was to be generated, comes no further.
            return if self.stop.is_some() { Beginning::Other } else { Beginning::NotYet };
        }
        let stores: Option<Vec<KeyValues>> = self.key_values.iter().map(|store| store.beginning(common)).collect();
        stores.map_or(Beginning::Other, Beginning::Shared)
    }
}

/// What a slot can give a request that comes after it.
pub enum Beginning {
    /// Nothing: they begin differently, or a window has passed over what would be needed.
    Other,
    /// It will, but has not come that far.
    NotYet,
    /// Keys and values of all layers.
    Shared(Vec<KeyValues>),
}
