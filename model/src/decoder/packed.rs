//! Attention within sequences packed into one batch: log-probabilities and training.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Attend, Decoder, Pass};
use crate::kernels::attention::HeadLayout;
use crate::ops::{self, PackedSequence};
use crate::spec::AttentionSpan;
use crate::{ModelResult, Numerics};

/// Sequences one after another, each from its first token on or behind a beginning that it shares.
pub struct PackedAttention {
    layout: HeadLayout,
    numerics: Numerics,
    sequences: Arc<[PackedSequence]>,
}

impl PackedAttention {
    /// Of sequences that cover the rows of a batch in order.
    pub fn new(decoder: &Decoder, sequences: Arc<[PackedSequence]>) -> Self {
        Self { layout: decoder.spec().head_layout(), numerics: decoder.numerics(), sequences }
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
        Ok(ops::attention(self.layout, span, layer, &self.sequences, q, k, v, self.numerics, pass)?)
    }
}
