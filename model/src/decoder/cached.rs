//! Attention against keys and values kept from earlier passes: generation, and log-probabilities of long texts.

use candle_core::Tensor;

use super::{Attend, Pass};
use crate::kernels::InstructionSet;
use crate::kernels::attention::{HeadLayout, KeyValues, Probe, Run, forward};
use crate::kernels::team;
use crate::ops::with_values;
use crate::spec::AttentionSpan;
use crate::{ModelError, ModelResult};

/// Consecutive tokens of one sequence within a pass.
pub struct CachedRun<'a> {
    pub tokens: usize,
    /// Position of the first of them.
    pub position: usize,
    /// The sequence's keys and values, a store per layer; this pass appends to them.
    pub key_values: &'a mut [KeyValues],
    /// Per head of the model: whether it is masked.
    pub masked: Option<&'a [bool]>,
    /// How many of the last of them the last layer computes attention for; zeros are left for the others.
    pub kept: usize,
    /// Of how many of the last of them the arg-max keys are wanted; at most as many as are kept.
    pub probed: usize,
}

/// The runs of one pass, rows in order.
pub struct CachedAttention<'a> {
    pub layout: HeadLayout,
    pub runs: Vec<CachedRun<'a>>,
    /// Per probed token, in the order of rows: probes of all layers, filled as the layers are passed.
    pub probes: Vec<Vec<Probe>>,
}

impl Attend for CachedAttention<'_> {
    fn attend(
        &mut self,
        layer: usize,
        span: AttentionSpan,
        [q, k, v]: [&Tensor; 3],
        pass: Pass,
    ) -> ModelResult<Tensor> {
        if matches!(pass, Pass::Tracked(_)) {
            return Err(ModelError::internal("no gradient goes through keys and values of earlier passes"));
        }
        let layout = self.layout;
        let width = layout.key_value_heads * layout.head_dim;
        with_values(k, |keys| {
            with_values(v, |values| {
                let mut row = 0;
                let parts = self.runs.iter_mut().map(|run| {
                    let part = row * width..(row + run.tokens) * width;
                    row += run.tokens;
                    (&mut run.key_values[layer], part)
                });
                team::each(parts.collect(), |_, (store, part)| store.append(&keys[part.clone()], &values[part]));
            })
        })??;
        let mut first_row = 0;
        let runs: Vec<Run> = self
            .runs
            .iter()
            .map(|run| {
                let heads = layer * layout.query_heads..(layer + 1) * layout.query_heads;
                let tokens = if layer + 1 == run.key_values.len() { run.kept } else { run.tokens };
                let placed = Run {
                    first_row: first_row + run.tokens - tokens,
                    tokens,
                    position: run.position + run.tokens - tokens,
                    key_values: &run.key_values[layer],
                    masked_heads: run.masked.map(|masked| &masked[heads]),
                    probed: run.probed,
                };
                first_row += run.tokens;
                placed
            })
            .collect();
        let (out, found) = with_values(q, |q| forward(InstructionSet::best(), layout, span, &runs, q, None))?;
        self.probes.resize_with(found.len(), Vec::new);
        self.probes.iter_mut().zip(found).for_each(|(of_token, of_layer)| of_token.extend(of_layer));
        Ok(Tensor::from_vec(out, q.shape(), q.device())?)
    }
}
