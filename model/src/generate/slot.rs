//! One request in flight.

use std::sync::Arc;

use super::draft::{Draft, Drafting};
use super::sampling::{best_and_gap, choose};
use super::{Completion, Next, Request, Sampling, Sink, StopReason};
use crate::kernels::attention::{KeyValues, Probe};
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
    /// Prompt and response.
    text: Vec<u32>,
    /// How many tokens of the response the sink has been told of.
    reported: usize,
    /// What this pass checks behind the last token.
    pub draft: Draft,
    probes: Vec<Vec<u32>>,
    probe_gaps: Vec<Vec<f32>>,
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
            text: request.prompt.clone(),
            reported: 0,
            draft: Draft::default(),
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

    /// Whether its prompt has been passed and it goes on.
    pub fn is_decoding(&self) -> bool {
        self.stop.is_none() && self.position() >= self.request.prompt.len()
    }

    /// Whether some of its prompt is yet to be passed.
    pub fn is_prefilling(&self) -> bool {
        self.stop.is_none() && self.position() < self.request.prompt.len()
    }

    /// Drafts what the text may go on with, in at most `rows` rows of a pass that continues `streams` sequences.
    pub fn draft(&mut self, drafting: &Drafting, rows: usize, streams: usize) {
        // Of the tokens that are still to come, the last is never fed back.
        let room = (self.request.max_new_tokens - self.response().len()).saturating_sub(1);
        self.draft = drafting.draft(&self.text, room.min(rows), streams);
    }

    /// The tokens that come next, at most `limit` of the prompt; behind it, the last token and the draft.
    pub fn next_tokens(&self, limit: usize) -> Vec<u32> {
        let (position, prompt) = (self.position(), self.request.prompt.len());
        if position < prompt {
            self.text[position..prompt.min(position + limit)].to_vec()
        } else {
            self.text.last().copied().into_iter().chain(self.draft.tokens.iter().copied()).collect()
        }
    }

    /// Of `count` tokens that come next, how many are followed by one that is to be chosen.
    pub fn wanted(&self, count: usize) -> usize {
        (self.position() + count + 1).saturating_sub(self.request.prompt.len()).min(count)
    }

    /// The tokens generated so far.
    fn response(&self) -> &[u32] {
        &self.text[self.request.prompt.len()..]
    }

    /// Takes tokens from `logits`, a row for the last token and for each drafted one: one token, and one more for each
    /// drafted token that was chosen. `probes` has those of each row where they are wanted.
    pub fn accept(&mut self, logits: &[f32], vocabulary: usize, probes: Vec<Vec<Probe>>) -> Checked {
        let mut probes = probes.into_iter();
        let mut checked = Checked::default();
        for (row, logits) in logits.chunks_exact(vocabulary).enumerate() {
            let (prompt, response) = self.text.split_at(self.request.prompt.len());
            let token = choose(&mut self.sampling, logits, prompt, response) as u32;
            if self.request.logit_gaps {
                self.logit_gaps.push(best_and_gap(logits).1);
            }
            if let Some(found) = probes.next() {
                self.probes.push(found.iter().map(|probe| probe.key).collect());
                self.probe_gaps.push(found.iter().map(|probe| probe.gap).collect());
            }
            self.text.push(token);
            if self.request.stop_tokens.contains(&token) {
                self.stop = Some(StopReason::StopToken);
            } else if self.response().len() == self.request.max_new_tokens {
                self.stop = Some(StopReason::Length);
            }
            match self.draft.tokens.get(row) {
                Some(&drafted) if drafted == token => checked.kept += 1,
                Some(_) => checked.rejected = true,
                None => {}
            }
            if checked.rejected || self.stop.is_some() {
                break;
            }
        }
        // What was computed for drafted tokens that were not chosen is dropped. The last token has not been fed.
        let fed = self.text.len() - 1;
        self.key_values.iter_mut().for_each(|store| store.truncate(fed));
        checked
    }

    /// Tells the sink of the tokens it does not know of, and ends the response where it wants no more.
    ///
    /// # Errors
    /// Whatever the sink returns.
    pub fn report(&mut self, sink: &mut dyn Sink) -> ModelResult<()> {
        while let Some(&token) = self.response().get(self.reported) {
            self.reported += 1;
            if sink.generated(self.index, token)? == Next::GoOn {
                continue;
            }
            let is_last = self.reported == self.response().len();
            if !(is_last && self.stop == Some(StopReason::StopToken)) {
                self.stop = Some(StopReason::Sink);
            }
            // Those behind it were checked in the same pass.
            self.text.truncate(self.request.prompt.len() + self.reported);
            self.probes.truncate(self.reported);
            self.probe_gaps.truncate(self.reported);
            self.logit_gaps.truncate(self.reported);
        }
        Ok(())
    }

    /// What a slot that has stopped gives.
    ///
    /// # Errors
    /// `Internal` while it is running.
    pub fn finish(&mut self) -> ModelResult<Completion> {
        let stop = self.stop.ok_or_else(|| ModelError::internal("a running slot was finished"))?;
        Ok(Completion {
            tokens: self.text.split_off(self.request.prompt.len()),
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

/// What became of a draft.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checked {
    /// Drafted tokens that were chosen.
    pub kept: usize,
    /// Whether another one was chosen than the one behind those.
    pub rejected: bool,
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
