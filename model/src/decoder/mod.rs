//! The decoder: one loop over layers that scores, generates, trains and evaluates.

mod block;
mod cached;
mod head;
mod low_rank;
mod packed;
mod parameter;
mod weight;

use std::sync::Arc;

use candle_core::{Device, Tensor};

use block::{Block, Linear};
pub(crate) use cached::{CachedAttention, CachedRun};
pub(crate) use head::{head_gradients, target_logprobs_with_logits};
pub use head::{row_logprob, target_logprobs};
pub use low_rank::{LowRank, Targets};
pub use packed::PackedAttention;
pub(crate) use parameter::places;
pub use parameter::{Parameter, Part};
pub(crate) use weight::Weight;

use crate::checkpoint::Checkpoint;
use crate::kernels::InstructionSet;
use crate::kernels::attention::KeyValues;
use crate::kernels::bf16::{narrowed, widened};
use crate::kernels::rotary::{Angles, RotaryTable};
use crate::ops;
pub use crate::ops::Pass;
use crate::spec::{AttentionSpan, ModelSpec, NormPlacement};
use crate::{ModelError, ModelResult, Numerics};

/// What the weights are loaded for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Purpose {
    /// Packed once for the forward pass in this class of arithmetic; no gradients.
    Inference(Numerics),
    /// Kept row-major in f32 as variables that gradients reach; products in this class of arithmetic.
    Training(Numerics),
    /// Kept row-major and frozen, with trained corrections of low rank; products in this class.
    Adapting(LowRank, Numerics),
}

/// How queries meet keys and values: cached across calls, or within packed sequences.
pub trait Attend {
    /// Attention outputs ([rows, query_heads * head_dim]) of one layer, from rotated queries and keys, and values.
    ///
    /// # Errors
    /// `Internal` when shapes do not fit: they are this crate's own.
    fn attend(&mut self, layer: usize, span: AttentionSpan, qkv: [&Tensor; 3], pass: Pass) -> ModelResult<Tensor>;
}

/// A loaded model, ready to run.
pub struct Decoder {
    spec: ModelSpec,
    numerics: Numerics,
    rotary: Vec<RotaryTable>,
    embedding: Weight,
    blocks: Vec<Block>,
    final_norm: Weight,
    /// `None` when the output projection is the embedding.
    output: Option<Weight>,
}

impl Decoder {
    /// Loads all weights of a checkpoint, packed for the forward pass.
    ///
    /// # Errors
    /// `Input` when a tensor is missing, misshapen or not finite.
    pub fn load(checkpoint: &Checkpoint, numerics: Numerics) -> ModelResult<Self> {
        let purpose = Purpose::Inference(numerics);
        Self::build(checkpoint.spec().clone(), purpose, &mut |name, shape| checkpoint.tensor(name, shape))
    }

    /// Loads all weights of a checkpoint as variables that gradients reach, or frozen with corrections that they reach;
    /// products are computed in a class of arithmetic, from weights in f32.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub fn load_for_training(
        checkpoint: &Checkpoint,
        low_rank: Option<LowRank>,
        numerics: Numerics,
    ) -> ModelResult<Self> {
        let purpose = match low_rank {
            None => Purpose::Training(numerics),
            Some(low_rank) => Purpose::Adapting(low_rank, numerics),
        };
        Self::build(checkpoint.spec().clone(), purpose, &mut |name, shape| checkpoint.tensor(name, shape))
    }

    /// Builds a decoder from tensors given by name and shape, row-major f32, in the order of [`ModelSpec::tensors`].
    ///
    /// # Errors
    /// Whatever `tensor` returns.
    pub fn build(
        spec: ModelSpec,
        purpose: Purpose,
        tensor: &mut dyn FnMut(&str, &[usize]) -> ModelResult<Vec<f32>>,
    ) -> ModelResult<Self> {
        let rotary = spec.rotary.iter().map(|rotary| RotaryTable::new(rotary, spec.head_dim)).collect();
        let numerics = match purpose {
            Purpose::Inference(numerics) | Purpose::Training(numerics) | Purpose::Adapting(_, numerics) => numerics,
        };
        let mut weights = Vec::new();
        for shape in spec.tensors() {
            let values = tensor(&shape.name, &shape.shape)?;
            weights.push(Weight::new(&shape, values, purpose)?);
        }
        let mut weights = weights.into_iter();
        let mut next = || weights.next().ok_or_else(|| ModelError::internal("the parameter list is too short"));
        let embedding = next()?;
        let blocks = spec.layers.iter().map(|_| Block::take(&spec, &mut next)).collect::<ModelResult<Vec<_>>>()?;
        let final_norm = next()?;
        let output = if spec.tied_embeddings { None } else { Some(next()?) };
        Ok(Self { spec, numerics, rotary, embedding, blocks, final_norm, output })
    }

    /// The model's shape and rules.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The class its products are computed in.
    pub fn numerics(&self) -> Numerics {
        self.numerics
    }

    /// Keys and values of no token, a store per layer.
    pub(crate) fn empty_stores(&self) -> Vec<KeyValues> {
        let (layout, numerics) = (self.spec.head_layout(), self.numerics());
        self.spec.layers.iter().map(|layer| KeyValues::new(layout, layer.span, numerics)).collect()
    }

    /// Whether its weights are frozen and only corrections of low rank are trained.
    pub fn is_adapted(&self) -> bool {
        matches!(self.embedding, Weight::Fixed(_))
    }

    /// The weights in the order of [`ModelSpec::tensors`].
    pub(crate) fn weights(&self) -> Vec<&Weight> {
        let mut weights = vec![&self.embedding];
        for block in &self.blocks {
            weights.extend(block.weights());
        }
        weights.push(&self.final_norm);
        weights.extend(&self.output);
        weights
    }

    /// The weights of one block, in the order of [`ModelSpec::tensors`].
    pub(crate) fn layer_weights(&self, layer: usize) -> Vec<&Weight> {
        self.blocks[layer].weights()
    }

    pub(crate) fn final_norm(&self) -> &Weight {
        &self.final_norm
    }

    /// The output projection, [vocabulary, hidden].
    pub(crate) fn output_projection(&self) -> &Weight {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Embedding rows of `tokens`, [tokens, hidden].
    ///
    /// # Errors
    /// `Input` for a token outside the vocabulary.
    pub fn embed(&self, tokens: &[u32]) -> ModelResult<Tensor> {
        let hidden = self.spec.hidden_size;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= self.spec.vocabulary_size) {
            let last = self.spec.vocabulary_size - 1;
            return Err(ModelError::input(format!("token {token} is outside the model's vocabulary (0 to {last})")));
        }
        let mut rows = vec![0.0; tokens.len() * hidden];
        self.embedding.copy_rows(tokens, &mut rows)?;
        if self.numerics == Numerics::Bf16 {
            // As packed weights hold them.
            rows = widened(InstructionSet::best(), &narrowed(InstructionSet::best(), &rows));
        }
        Ok(Tensor::from_vec(rows, (tokens.len(), hidden), &Device::Cpu)?)
    }

    /// Rotation angles of `positions` for every rotary table.
    pub(crate) fn angles(&self, positions: &[u32]) -> Vec<Arc<Angles>> {
        self.rotary.iter().map(|table| Arc::new(table.angles(positions))).collect()
    }

    /// One block: attention and MLP, each added to the residual stream `x` ([rows, hidden]). Where only some rows are
    /// wanted, as those that the head reads behind the last layer, the others end with their keys and values.
    pub(crate) fn layer(
        &self,
        index: usize,
        x: &Tensor,
        angles: &[Arc<Angles>],
        attend: &mut dyn Attend,
        wanted: Option<&Arc<[usize]>>,
        pass: Pass,
    ) -> ModelResult<Tensor> {
        let (block, rules, spec, numerics) = (&self.blocks[index], self.spec.layers[index], &self.spec, self.numerics);
        let placed = |x: &Tensor, weight: &Weight, placement| {
            if spec.norm_placement == placement { self.norm(x, weight, pass) } else { Ok(x.clone()) }
        };
        let input = placed(x, &block.attention_norm, NormPlacement::Pre)?;
        let [mut q, mut k, v] = Linear::apply_all([&block.query, &block.key, &block.value], &input, numerics, pass)?;
        if let Some([query_norm, key_norm]) = &block.query_key_norm {
            // As wide as a head or as all of them: the norm takes its width from the weight.
            (q, k) = (self.norm(&q, query_norm, pass)?, self.norm(&k, key_norm, pass)?);
        }
        let q = ops::rotate(&q, spec.query_heads, &angles[rules.rotary], pass)?;
        let k = ops::rotate(&k, spec.key_value_heads, &angles[rules.rotary], pass)?;
        let mut attended = attend.attend(index, rules.span, [&q, &k, &v], pass)?;
        let mut x = x.clone();
        if let Some(rows) = wanted {
            (attended, x) = (ops::select_rows(&attended, rows, pass)?, ops::select_rows(&x, rows, pass)?);
        }
        let attended = block.output.apply(&attended, numerics, pass)?;
        let x = ops::add(&x, &placed(&attended, &block.attention_norm, NormPlacement::Post)?, pass)?;
        let input = placed(&x, &block.mlp_norm, NormPlacement::Pre)?;
        let [gate, up] = Linear::apply_all([&block.gate, &block.up], &input, numerics, pass)?;
        let activated = ops::swiglu(&gate, &up, numerics, pass)?;
        let transformed = block.down.apply(&activated, numerics, pass)?;
        Ok(ops::add(&x, &placed(&transformed, &block.mlp_norm, NormPlacement::Post)?, pass)?)
    }

    /// RMS norm with one of the norm weights.
    pub(crate) fn norm(&self, x: &Tensor, weight: &Weight, pass: Pass) -> ModelResult<Tensor> {
        Ok(ops::rms_norm(x, weight.vector()?, self.spec.norm_epsilon as f32, pass)?)
    }

    /// All layers: the residual stream after the last one, before the final norm ([rows, hidden]).
    ///
    /// # Errors
    /// `Input` for a token outside the vocabulary.
    pub fn hidden(&self, tokens: &[u32], positions: &[u32], attend: &mut dyn Attend) -> ModelResult<Tensor> {
        self.hidden_rows(tokens, positions, None, attend)
    }

    /// As [`Decoder::hidden`], of some rows: the last layer computes no others.
    ///
    /// # Errors
    /// As [`Decoder::hidden`].
    pub(crate) fn hidden_rows(
        &self,
        tokens: &[u32],
        positions: &[u32],
        wanted: Option<&Arc<[usize]>>,
        attend: &mut dyn Attend,
    ) -> ModelResult<Tensor> {
        let angles = self.angles(positions);
        let mut x = self.embed(tokens)?;
        for layer in 0..self.blocks.len() {
            let wanted = wanted.filter(|_| layer + 1 == self.blocks.len());
            x = self.layer(layer, &x, &angles, attend, wanted, Pass::Forward)?;
        }
        Ok(x)
    }
}

impl Decoder {
    /// The current values of one weight, row-major, corrections merged; for writing a trained model.
    ///
    /// # Errors
    /// `Internal` when the decoder was not loaded for training or has no such parameter.
    pub fn values(&self, name: &str) -> ModelResult<Vec<f32>> {
        let tensors = self.spec.tensors();
        let place = tensors.iter().position(|tensor| tensor.name == name);
        let place = place.ok_or_else(|| ModelError::internal(format!("the decoder has no parameter `{name}`")))?;
        self.weights()[place].values()
    }
}
