//! The weights of one block.

use candle_core::Tensor;

use super::weight::one_each;
use super::{Pass, Weight};
use crate::spec::{AttentionBias, ModelSpec, QueryKeyNorm};
use crate::{ModelResult, Numerics, ops};

/// A linear layer, with or without bias.
pub(super) struct Linear {
    weight: Weight,
    bias: Option<Weight>,
}

impl Linear {
    fn take(next: &mut dyn FnMut() -> ModelResult<Weight>, with_bias: bool) -> ModelResult<Self> {
        Ok(Self { weight: next()?, bias: if with_bias { Some(next()?) } else { None } })
    }

    /// x · weightᵀ + bias.
    pub fn apply(&self, x: &Tensor, numerics: Numerics, pass: Pass) -> ModelResult<Tensor> {
        let [y] = Self::apply_all([self], x, numerics, pass)?;
        Ok(y)
    }

    /// x · weightᵀ + bias of layers that take the same input.
    pub fn apply_all<const N: usize>(
        layers: [&Self; N],
        x: &Tensor,
        numerics: Numerics,
        pass: Pass,
    ) -> ModelResult<[Tensor; N]> {
        let products = Weight::apply(layers.map(|layer| &layer.weight), x, numerics, pass)?;
        let with_bias = products.into_iter().zip(layers).map(|(y, layer)| match &layer.bias {
            None => Ok(y),
            Some(bias) => Ok(ops::add_bias(&y, bias.vector()?, pass)?),
        });
        one_each(with_bias.collect::<ModelResult<Vec<_>>>()?)
    }

    fn weights(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.weight).chain(&self.bias)
    }
}

/// Attention and MLP of one layer.
pub(super) struct Block {
    pub attention_norm: Weight,
    pub mlp_norm: Weight,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub output: Linear,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
    /// The norms of queries and keys.
    pub query_key_norm: Option<[Weight; 2]>,
}

impl Block {
    /// Takes the block's weights as they come in the order of [`ModelSpec::tensors`].
    pub fn take(spec: &ModelSpec, next: &mut dyn FnMut() -> ModelResult<Weight>) -> ModelResult<Self> {
        let input_bias = spec.attention_bias != AttentionBias::None;
        let output_bias = spec.attention_bias == AttentionBias::All;
        Ok(Self {
            attention_norm: next()?,
            mlp_norm: next()?,
            query: Linear::take(next, input_bias)?,
            key: Linear::take(next, input_bias)?,
            value: Linear::take(next, input_bias)?,
            output: Linear::take(next, output_bias)?,
            gate: Linear::take(next, spec.mlp_bias)?,
            up: Linear::take(next, spec.mlp_bias)?,
            down: Linear::take(next, spec.mlp_bias)?,
            query_key_norm: match spec.query_key_norm {
                QueryKeyNorm::None => None,
                QueryKeyNorm::PerHead | QueryKeyNorm::FullWidth => Some([next()?, next()?]),
            },
        })
    }

    /// The weights in the order of [`ModelSpec::tensors`].
    pub fn weights(&self) -> Vec<&Weight> {
        let linear = [&self.query, &self.key, &self.value, &self.output, &self.gate, &self.up, &self.down];
        let norms = [&self.attention_norm, &self.mlp_norm].into_iter();
        norms.chain(linear.into_iter().flat_map(Linear::weights)).chain(self.query_key_norm.iter().flatten()).collect()
    }
}
