//! Attention over whole sequences packed one after another, with gradients.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{Pass, output, values, with_values};
use crate::Numerics;
use crate::kernels::InstructionSet;
use crate::kernels::attention::{HeadLayout, KeyValues, Run, Sequence, backward, forward};
use crate::spec::AttentionSpan;

/// One sequence of a packed batch, from its first token on.
#[derive(Debug, Clone, Default)]
pub struct PackedSequence {
    /// Index of its first token among the rows.
    pub first_row: usize,
    pub tokens: usize,
    /// Per layer and query head (layer * query_heads + head): whether its output is multiplied by 0.
    pub masked_heads: Option<Arc<[bool]>>,
}

impl PackedSequence {
    /// This layer's masked heads.
    pub(crate) fn masked(&self, layer: usize, query_heads: usize) -> Option<&[bool]> {
        self.masked_heads.as_ref().map(|masked| &masked[layer * query_heads..(layer + 1) * query_heads])
    }
}

/// Causal attention within each sequence. `queries` is [rows, query_heads * head_dim], `keys` and `new_values`
/// [rows, key_value_heads * head_dim], already rotated; the sequences cover the rows in order.
#[expect(clippy::too_many_arguments, reason = "three tensors, and what is known of them")]
pub fn attention(
    layout: HeadLayout,
    span: AttentionSpan,
    layer: usize,
    sequences: &Arc<[PackedSequence]>,
    queries: &Tensor,
    keys: &Tensor,
    new_values: &Tensor,
    pass: Pass,
) -> Result<Tensor> {
    let operation = Attention { layout, span, layer, sequences: sequences.clone(), log_sums: Mutex::new(Vec::new()) };
    pass.three(queries, keys, new_values, operation)
}

struct Attention {
    layout: HeadLayout,
    span: AttentionSpan,
    layer: usize,
    sequences: Arc<[PackedSequence]>,
    /// Logarithms of the softmax denominators, kept from the forward pass.
    log_sums: Mutex<Vec<f32>>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (values(q, q_layout)?, values(k, k_layout)?, values(v, v_layout)?);
        let width = self.layout.key_value_heads * self.layout.head_dim;
        let stores: Vec<KeyValues> = self
            .sequences
            .iter()
            .map(|sequence| {
                let rows = sequence.first_row * width..(sequence.first_row + sequence.tokens) * width;
                let mut store = KeyValues::new(self.layout, self.span, Numerics::F32);
                store.append(&k[rows.clone()], &v[rows]);
                store
            })
            .collect();
        let runs: Vec<Run> = self
            .sequences
            .iter()
            .zip(&stores)
            .map(|(sequence, key_values)| Run {
                first_row: sequence.first_row,
                tokens: sequence.tokens,
                position: 0,
                key_values,
                masked_heads: sequence.masked(self.layer, self.layout.query_heads),
                probed: 0,
            })
            .collect();
        let mut out = vec![0.0; q.len()];
        let mut log_sums = vec![0.0; q.len() / self.layout.head_dim];
        forward(InstructionSet::best(), self.layout, self.span, &runs, q, &mut out, Some(&mut log_sums));
        *self.log_sums.lock().map_err(|_| candle_core::Error::Msg("attention state is poisoned".into()))? = log_sums;
        output(out, q_layout.shape().clone())
    }

    fn bwd(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        new_values: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let log_sums =
            self.log_sums.lock().map_err(|_| candle_core::Error::Msg("attention state is poisoned".into()))?;
        let HeadLayout { query_heads, key_value_heads, head_dim } = self.layout;
        let (q_width, kv_width) = (query_heads * head_dim, key_value_heads * head_dim);
        let gradients = with_values(queries, |q| {
            with_values(keys, |k| {
                with_values(new_values, |v| {
                    with_values(out, |out| {
                        with_values(grad, |grad_out| {
                            let sequences: Vec<Sequence> = self
                                .sequences
                                .iter()
                                .map(|sequence| {
                                    let rows = sequence.first_row..sequence.first_row + sequence.tokens;
                                    let part = |width: usize| rows.start * width..rows.end * width;
                                    Sequence {
                                        tokens: sequence.tokens,
                                        queries: &q[part(q_width)],
                                        keys: &k[part(kv_width)],
                                        values: &v[part(kv_width)],
                                        out: &out[part(q_width)],
                                        log_sums: &log_sums[part(query_heads)],
                                        grad_out: &grad_out[part(q_width)],
                                        masked_heads: sequence.masked(self.layer, query_heads),
                                    }
                                })
                                .collect();
                            backward(InstructionSet::best(), self.layout, self.span, &sequences)
                        })
                    })
                })
            })
        })?????;
        let (mut grad_q, mut grad_k, mut grad_v) = (Vec::new(), Vec::new(), Vec::new());
        for part in gradients {
            grad_q.extend(part.queries);
            grad_k.extend(part.keys);
            grad_v.extend(part.values);
        }
        let device = queries.device();
        Ok((
            Some(Tensor::from_vec(grad_q, queries.shape(), device)?),
            Some(Tensor::from_vec(grad_k, keys.shape(), device)?),
            Some(Tensor::from_vec(grad_v, new_values.shape(), device)?),
        ))
    }
}
