//! Causal softmax attention over tiles of keys fixed by absolute position.
//!
//! A query at position p walks the keys 0..=p (or its window) in tiles of 128 that start at multiples of 128,
//! with the running maximum and sum of online softmax (arXiv 1805.02867). The tile borders depend on nothing
//! but the key's position, so prefill in any chunks and decode token by token give equal bits.

mod backward;
mod forward;
mod key_values;
mod softmax;

pub use backward::{Gradients, Sequence, backward};
pub use forward::{Probe, Run, forward};
pub use key_values::KeyValues;

use crate::spec::AttentionSpan;

/// Keys of one online-softmax step.
const KEY_TILE: usize = 128;

/// The head layout of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLayout {
    pub query_heads: usize,
    pub key_value_heads: usize,
    pub head_dim: usize,
}

impl HeadLayout {
    /// Query heads that share one key-value head.
    fn group(&self) -> usize {
        self.query_heads / self.key_value_heads
    }

    /// The factor on query-key products.
    fn scale(&self) -> f32 {
        (1.0 / (self.head_dim as f64).sqrt()) as f32
    }

    /// Value rows are padded to whole panels.
    fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(super::matmul::PANEL)
    }
}

/// The first key position a query at `position` sees.
fn first_key(span: AttentionSpan, position: usize) -> usize {
    match span {
        AttentionSpan::Full => 0,
        AttentionSpan::Window(window) => (position + 1).saturating_sub(window),
    }
}

#[cfg(test)]
mod tests;
