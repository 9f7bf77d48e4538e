//! Attention within whole sequences packed into one batch: log-probabilities and training.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Attend, Decoder, Pass};
use crate::ModelResult;
use crate::kernels::attention::HeadLayout;
use crate::ops::{self, PackedSequence};
use crate::spec::AttentionSpan;

/// Sequences one after another, each from its first token on.
pub struct PackedAttention {
    layout: HeadLayout,
    sequences: Arc<[PackedSequence]>,
}

impl PackedAttention {
    /// `lengths` and, per sequence, its masked heads (layer * query_heads + head).
    pub fn new(decoder: &Decoder, sequences: impl IntoIterator<Item = (usize, Option<Arc<[bool]>>)>) -> Self {
        let mut first_row = 0;
        let sequences = sequences
            .into_iter()
            .map(|(tokens, masked_heads)| {
                let sequence = PackedSequence { first_row, tokens, masked_heads };
                first_row += tokens;
                sequence
            })
            .collect();
        Self { layout: decoder.spec().head_layout(), sequences }
    }
}

impl Attend for PackedAttention {
    fn attend(
        &mut self,
        layer: usize,
        span: AttentionSpan,
        [q, k, v]: [&Tensor; 3],
        pass: Pass,
    ) -> ModelResult<Tensor> {
        Ok(ops::attention(self.layout, span, layer, &self.sequences, q, k, v, pass)?)
    }
}
