//! Attention over sequences packed one after another, with gradients.

use std::sync::Arc;

use candle_core::{Result, Tensor, TensorId};

use super::kept::{Kept, Source};
use super::tape::{Backward, TapeGradients};
use super::{Pass, with_values};
use crate::Numerics;
use crate::kernels::InstructionSet;
use crate::kernels::attention::{HeadLayout, KeyValues, Run, Sequence, backward, forward};
use crate::spec::AttentionSpan;

/// Consecutive tokens of a packed batch: a sequence from its first token on, or how one goes on.
#[derive(Debug, Clone, Default)]
pub struct PackedSequence {
    /// Index of its first token among the rows.
    pub first_row: usize,
    pub tokens: usize,
    /// The place, among the packed ones, of the one that it goes on from; that one stands before it and starts a sequence.
    pub beginning: Option<usize>,
    /// Per layer and query head (layer * query_heads + head): whether its output is multiplied by 0.
    pub masked_heads: Option<Arc<[bool]>>,
}

impl PackedSequence {
    /// This layer's masked heads.
    pub(crate) fn masked(&self, layer: usize, query_heads: usize) -> Option<&[bool]> {
        self.masked_heads.as_ref().map(|masked| &masked[layer * query_heads..(layer + 1) * query_heads])
    }

    /// Its part of [rows, width] values.
    fn part<'a>(&self, values: &'a [f32], width: usize) -> &'a [f32] {
        &values[self.first_row * width..(self.first_row + self.tokens) * width]
    }
}

/// Causal attention within each sequence. `queries` is [rows, query_heads * head_dim], `keys` and `new_values`
/// [rows, key_value_heads * head_dim], already rotated; the sequences cover the rows in order.
///
/// Gradients are computed in f32 in every class, in `bf16` from queries, keys, values and outputs rounded to it.
#[expect(clippy::too_many_arguments, reason = "three operands, and what says how they meet")]
pub fn attention(
    layout: HeadLayout,
    span: AttentionSpan,
    layer: usize,
    sequences: &Arc<[PackedSequence]>,
    queries: &Tensor,
    keys: &Tensor,
    new_values: &Tensor,
    numerics: Numerics,
    pass: Pass,
) -> Result<Tensor> {
    let width = layout.key_value_heads * layout.head_dim;
    let mut stores: Vec<KeyValues> = Vec::with_capacity(sequences.len());
    with_values(keys, |keys| {
        with_values(new_values, |values| {
            for sequence in sequences.iter() {
                let beginning = sequence.beginning.map(|place| stores[place].clone());
                let mut store = beginning.unwrap_or_else(|| KeyValues::new(layout, span, numerics));
                store.append(sequence.part(keys, width), sequence.part(values, width));
                stores.push(store);
            }
        })
    })??;
    let runs: Vec<Run> = sequences
        .iter()
        .zip(&stores)
        .map(|(sequence, key_values)| Run {
            first_row: sequence.first_row,
            tokens: sequence.tokens,
            position: sequence.beginning.map_or(0, |place| sequences[place].tokens),
            key_values,
            masked_heads: sequence.masked(layer, layout.query_heads),
            probed: 0,
        })
        .collect();
    let mut log_sums = vec![0.0; queries.elem_count() / layout.head_dim];
    let (out, _) = with_values(queries, |queries| {
        forward(InstructionSet::best(), layout, span, &runs, queries, Some(&mut log_sums))
    })?;
    let out = Tensor::from_vec(out, queries.shape(), queries.device())?;
    if matches!(pass, Pass::Tracked(_)) {
        let tensors = [queries, keys, new_values];
        let keep = |tensor: &Tensor| Kept::new(tensor, numerics);
        let kept = [keep(queries)?, keep(keys)?, keep(new_values)?, keep(&out)?];
        pass.offer(&out, || Source::Kept(kept[3].clone()));
        let (inputs, sequences) = (tensors.map(Tensor::id), sequences.clone());
        pass.record(&out, || Attention { layout, span, layer, sequences, inputs, kept, log_sums });
    }
    Ok(out)
}

struct Attention {
    layout: HeadLayout,
    span: AttentionSpan,
    layer: usize,
    sequences: Arc<[PackedSequence]>,
    /// Queries, keys, values.
    inputs: [TensorId; 3],
    /// The same, and the output.
    kept: [Kept; 4],
    /// Logarithms of the softmax denominators.
    log_sums: Vec<f32>,
}

impl Backward for Attention {
    fn kept_bytes(&self) -> usize {
        self.kept.iter().map(Kept::bytes).sum::<usize>() + size_of_val(self.log_sums.as_slice())
    }

    fn backward(self: Box<Self>, gradient: Vec<f32>, found: &mut TapeGradients) -> Result<()> {
        let [queries, keys, values, out] = &self.kept;
        let [of_queries, of_keys, of_values] = queries.with(|queries| {
            keys.with(|keys| {
                values.with(|values| out.with(|out| self.gradients(queries, keys, values, out, &gradient)))
            })
        })????;
        let [queries, keys, values] = self.inputs;
        found.add(queries, of_queries);
        found.add(keys, of_keys);
        found.add(values, of_values);
        Ok(())
    }
}

impl Attention {
    /// Gradients of queries, keys and values. Those of a beginning's keys and values are added up in the order of the
    /// sequences: its own, then those of each that goes on from it.
    fn gradients(&self, queries: &[f32], keys: &[f32], values: &[f32], out: &[f32], gradient: &[f32]) -> [Vec<f32>; 3] {
        let HeadLayout { query_heads, key_value_heads, head_dim } = self.layout;
        let (q_width, kv_width) = (query_heads * head_dim, key_value_heads * head_dim);
        let sequences: Vec<Sequence> = self
            .sequences
            .iter()
            .map(|sequence| Sequence {
                tokens: sequence.tokens,
                before: sequence.beginning.map(|place| {
                    let beginning = &self.sequences[place];
                    [beginning.part(keys, kv_width), beginning.part(values, kv_width)]
                }),
                queries: sequence.part(queries, q_width),
                keys: sequence.part(keys, kv_width),
                values: sequence.part(values, kv_width),
                out: sequence.part(out, q_width),
                log_sums: sequence.part(&self.log_sums, query_heads),
                grad_out: sequence.part(gradient, q_width),
                masked_heads: sequence.masked(self.layer, query_heads),
            })
            .collect();
        let parts = backward(InstructionSet::best(), self.layout, self.span, &sequences);
        let mut of_queries = Vec::with_capacity(queries.len());
        let (mut of_keys, mut of_values) = (vec![0.0f32; keys.len()], vec![0.0f32; values.len()]);
        for (sequence, part) in self.sequences.iter().zip(parts) {
            of_queries.extend_from_slice(&part.queries);
            for (sums, found) in [(&mut of_keys, &part.keys), (&mut of_values, &part.values)] {
                let beginning = sequence.beginning.map(|place| &self.sequences[place]);
                let (before, own) = found.split_at(beginning.map_or(0, |beginning| beginning.tokens) * kv_width);
                let mut add = |first_row: usize, values: &[f32]| {
                    let sums = &mut sums[first_row * kv_width..][..values.len()];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                };
                if let Some(beginning) = beginning {
                    add(beginning.first_row, before);
                }
                add(sequence.first_row, own);
            }
        }
        [of_queries, of_keys, of_values]
    }
}
