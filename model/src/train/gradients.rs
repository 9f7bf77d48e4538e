//! The backward pass: activations are kept at layer borders only; inside a layer they are computed again.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::{Evaluation, Objective, TrainingSequence};
use crate::decoder::{Decoder, PackedAttention, Pass, Weight, head_gradients, target_logprobs};
use crate::ops::{seed_gradient, with_values};
use crate::{ModelError, ModelResult};

/// Gradients of every parameter, f32, row-major, in the decoder's parameter order. Micro-batches add up.
pub struct Gradients {
    names: Vec<String>,
    values: Vec<Vec<f32>>,
}

impl Gradients {
    /// Gradients of zero.
    pub fn new(decoder: &Decoder) -> Self {
        let tensors = decoder.spec().tensors();
        let values = tensors.iter().map(|tensor| vec![0.0; tensor.values()]).collect();
        Self { names: tensors.into_iter().map(|tensor| tensor.name).collect(), values }
    }

    /// Back to zero, keeping the memory.
    pub fn clear(&mut self) {
        self.values.iter_mut().for_each(|values| values.fill(0.0));
    }

    /// The gradients by parameter.
    pub fn values(&self) -> impl Iterator<Item = &[f32]> {
        self.values.iter().map(Vec::as_slice)
    }

    /// Names and gradients by parameter.
    pub fn named(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.names.iter().map(String::as_str).zip(self.values())
    }

    /// Runs one micro-batch forward and backward, and adds its gradients.
    ///
    /// # Errors
    /// `Input` when the loss is not finite or a token is outside the vocabulary; `Internal`, naming the
    /// parameter, when a trainable weight got no gradient.
    pub fn accumulate(
        &mut self,
        decoder: &Decoder,
        sequences: &[TrainingSequence],
        objective: &dyn Objective,
    ) -> ModelResult<Evaluation> {
        let spec = decoder.spec();
        let (hidden, layers) = (spec.hidden_size, spec.layers.len());
        let tokens: Vec<u32> = sequences.iter().flat_map(|sequence| sequence.ids.iter().copied()).collect();
        let positions: Vec<u32> = sequences.iter().flat_map(|sequence| 0..sequence.ids.len() as u32).collect();
        let lengths = || sequences.iter().map(|sequence| (sequence.ids.len(), sequence.masked_heads.clone()));
        let mut attention = PackedAttention::new(decoder, lengths());
        let angles = decoder.angles(&positions);

        // Forward without a tape: what each layer starts from is all that stays.
        let mut borders = vec![decoder.embed(&tokens)?];
        for layer in 0..layers {
            let next = decoder.layer(layer, &borders[layer], &angles, &mut attention, Pass::Forward)?;
            borders.push(next);
        }

        let (rows, targets) = scored_rows(sequences);
        let last = borders.pop().ok_or_else(|| ModelError::internal("a model without layers"))?;
        let picked = with_values(&last, |values| {
            rows.iter().flat_map(|&row| values[row * hidden..(row + 1) * hidden].to_vec()).collect::<Vec<f32>>()
        })?;
        let picked = Var::from_vec(picked, (rows.len(), hidden), &Device::Cpu)?;
        let normed = decoder.norm(picked.as_tensor(), decoder.final_norm(), Pass::Tracked)?;
        let logprobs = target_logprobs(decoder, &normed, &targets)?;
        let evaluation = objective.evaluate(&by_sequence(sequences, &logprobs));
        if !evaluation.loss.is_finite() {
            return Err(ModelError::input(format!("the loss is {}", evaluation.loss)));
        }

        let coefficients: Vec<f64> = evaluation.coefficients.iter().flatten().copied().collect();
        if coefficients.len() != targets.len() {
            return Err(ModelError::internal("the objective returned another number of coefficients than tokens"));
        }
        let projection = if spec.tied_embeddings { 0 } else { self.values.len() - 1 };
        let grad_normed = head_gradients(decoder, &normed, &targets, &coefficients, &mut self.values[projection])?;
        let grad_normed = Tensor::from_vec(grad_normed, (rows.len(), hidden), &Device::Cpu)?;
        let mut store = seed_gradient(&normed, grad_normed)?.backward()?;
        let per_layer = decoder.layer_weights(0).len();
        self.take(&mut store, 1 + per_layer * layers, decoder.final_norm())?;
        let mut grad = vec![0.0f32; tokens.len() * hidden];
        with_values(&gradient_of(&mut store, picked.as_tensor(), "the last hidden rows")?, |values| {
            // A row is scored at most once: it predicts one token.
            for (&row, values) in rows.iter().zip(values.chunks_exact(hidden)) {
                grad[row * hidden..][..hidden].copy_from_slice(values);
            }
        })?;

        let mut grad = Tensor::from_vec(grad, (tokens.len(), hidden), &Device::Cpu)?;
        for layer in (0..layers).rev() {
            let border = borders.pop().ok_or_else(|| ModelError::internal("a layer border is missing"))?;
            let x = Var::from_tensor(&border)?;
            drop(border);
            let y = decoder.layer(layer, x.as_tensor(), &angles, &mut attention, Pass::Tracked)?;
            let mut store = seed_gradient(&y, grad)?.backward()?;
            for (place, weight) in decoder.layer_weights(layer).into_iter().enumerate() {
                self.take(&mut store, 1 + per_layer * layer + place, weight)?;
            }
            grad = gradient_of(&mut store, x.as_tensor(), "a layer's input")?;
        }
        with_values(&grad, |grad| {
            for (&token, grad) in tokens.iter().zip(grad.chunks_exact(hidden)) {
                let row = &mut self.values[0][token as usize * hidden..][..hidden];
                row.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad);
            }
        })?;
        Ok(evaluation)
    }

    /// Adds the gradient of one weight from a layer's store.
    fn take(&mut self, store: &mut candle_core::backprop::GradStore, place: usize, weight: &Weight) -> ModelResult<()> {
        let gradient = gradient_of(store, weight.variable()?.as_tensor(), &self.names[place])?;
        with_values(&gradient, |gradient| {
            use rayon::prelude::*;
            self.values[place].par_iter_mut().zip(gradient).with_min_len(1 << 14).for_each(|(sum, new)| *sum += new);
        })?;
        Ok(())
    }
}

fn gradient_of(store: &mut candle_core::backprop::GradStore, of: &Tensor, name: &str) -> ModelResult<Tensor> {
    let gradient = store.remove(of).ok_or_else(|| ModelError::internal(format!("{name} got no gradient")))?;
    Ok(gradient.contiguous()?)
}

/// The rows whose next token is scored, and those tokens.
fn scored_rows(sequences: &[TrainingSequence]) -> (Vec<usize>, Vec<u32>) {
    let (mut rows, mut targets, mut first_row) = (Vec::new(), Vec::new(), 0);
    for sequence in sequences {
        for position in sequence.scored_positions() {
            rows.push(first_row + position - 1);
            targets.push(sequence.ids[position]);
        }
        first_row += sequence.ids.len();
    }
    (rows, targets)
}

fn by_sequence(sequences: &[TrainingSequence], logprobs: &[f64]) -> Vec<Vec<f64>> {
    let mut rest = logprobs.iter().copied();
    sequences.iter().map(|sequence| rest.by_ref().take(sequence.scored_positions().count()).collect()).collect()
}

impl TrainingSequence {
    /// Positions of the scored tokens; the first token has nothing before it and is never scored.
    pub(super) fn scored_positions(&self) -> impl Iterator<Item = usize> + '_ {
        (1..self.ids.len()).filter(|&position| self.scored[position])
    }

    /// How many tokens are scored.
    pub fn scored_tokens(&self) -> usize {
        self.scored_positions().count()
    }
}

/// Per-head flags shared by sequences.
pub type MaskedHeads = Arc<[bool]>;
