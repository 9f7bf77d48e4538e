//! The backward pass: activations are kept at layer borders, and inside layers as far as memory is granted; inside the
//! others they are computed again, to the same bits.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::adamw::squared_norm;
use super::{Evaluation, Objective, TrainingSequence};
use crate::decoder::{Decoder, PackedAttention, Parameter, Part, Pass, head_gradients, places, target_logprobs};
use crate::ops::{Tape, TapeGradients, with_values};
use crate::{ModelError, ModelResult};

/// Bytes of activations inside layers that are kept for the way back. Keeping all of them saves a quarter of the work; on
/// SmolLM2-135M they are about 1 MB for each token.
const KEPT_BYTES: usize = 1 << 30;

/// Gradients of every parameter, f32, row-major, in the order of [`Decoder::parameters`]. Micro-batches add up.
pub struct Gradients {
    names: Vec<String>,
    values: Vec<Vec<f32>>,
}

impl Gradients {
    /// Gradients of zero.
    ///
    /// # Errors
    /// `Internal` when the decoder was not loaded for training.
    pub fn new(decoder: &Decoder) -> ModelResult<Self> {
        let parameters = decoder.parameters()?;
        let values = parameters.iter().map(|parameter| vec![0.0; parameter.variable.elem_count()]).collect();
        Ok(Self { names: parameters.into_iter().map(|parameter| parameter.name).collect(), values })
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

    /// The norm over all parameters: squares added in f64, in chunks of fixed size.
    pub fn norm(&self) -> f64 {
        self.values().map(squared_norm).sum::<f64>().sqrt()
    }

    /// Runs one micro-batch forward and backward, and adds its gradients; when the loss is not finite, forward only.
    ///
    /// # Errors
    /// `Input` when a token is outside the vocabulary; `Internal`, naming the parameter, when one that is trained got
    /// no gradient.
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

        // What each layer starts from, and the tape of the first ones.
        let mut borders = vec![decoder.embed(&tokens)?];
        let (mut tapes, mut kept) = (Vec::new(), 0);
        for layer in 0..layers {
            let last_kept = tapes.last().map_or(0, Tape::bytes);
            let tape = (tapes.len() == layer && kept + last_kept <= KEPT_BYTES).then(Tape::default);
            let pass = tape.as_ref().map_or(Pass::Forward, Pass::Tracked);
            let next = decoder.layer(layer, &borders[layer], &angles, &mut attention, pass)?;
            borders.push(next);
            if let Some(tape) = tape {
                kept += tape.bytes();
                tapes.push(tape);
            }
        }

        let (rows, targets) = scored_rows(sequences);
        let last = borders.pop().ok_or_else(|| ModelError::internal("a model without layers"))?;
        let picked = with_values(&last, |values| {
            rows.iter().flat_map(|&row| values[row * hidden..(row + 1) * hidden].to_vec()).collect::<Vec<f32>>()
        })?;
        let picked = Tensor::from_vec(picked, (rows.len(), hidden), &Device::Cpu)?;
        let tape = Tape::default();
        let normed = decoder.norm(&picked, decoder.final_norm(), Pass::Tracked(&tape))?;
        let logprobs = target_logprobs(decoder, &normed, &targets)?;
        let evaluation = objective.evaluate(&by_sequence(sequences, &logprobs));
        if !evaluation.loss.is_finite() {
            return Ok(evaluation);
        }

        let coefficients: Vec<f64> = evaluation.coefficients.iter().flatten().copied().collect();
        if coefficients.len() != targets.len() {
            return Err(ModelError::internal("the objective returned another number of coefficients than tokens"));
        }
        let parameters = decoder.parameters()?;
        let projection = if spec.tied_embeddings { Part::Embedding } else { Part::Output };
        let projection = places(&parameters, projection).next().map(|place| self.values[place].as_mut_slice());
        let grad_normed = head_gradients(decoder, &normed, &targets, &coefficients, projection)?;
        let grad_normed = Tensor::from_vec(grad_normed, (rows.len(), hidden), &Device::Cpu)?;
        let mut found = tape.backward(&normed, grad_normed)?;
        self.take(&mut found, &parameters, places(&parameters, Part::FinalNorm))?;
        let mut grad = vec![0.0f32; tokens.len() * hidden];
        with_values(&gradient_of(&mut found, &picked, "the last hidden rows")?, |values| {
            // A row is scored at most once: it predicts one token.
            for (&row, values) in rows.iter().zip(values.chunks_exact(hidden)) {
                grad[row * hidden..][..hidden].copy_from_slice(values);
            }
        })?;

        let mut grad = Tensor::from_vec(grad, (tokens.len(), hidden), &Device::Cpu)?;
        // The output of the layer in hand.
        let mut output = last;
        for layer in (0..layers).rev() {
            let input = borders.pop().ok_or_else(|| ModelError::internal("a layer border is missing"))?;
            if tapes.len() <= layer {
                let tape = Tape::default();
                output = decoder.layer(layer, &input, &angles, &mut attention, Pass::Tracked(&tape))?;
                tapes.push(tape);
            }
            let tape = tapes.pop().ok_or_else(|| ModelError::internal("a layer's tape is missing"))?;
            let mut found = tape.backward(&output, grad)?;
            self.take(&mut found, &parameters, places(&parameters, Part::Layer(layer)))?;
            grad = gradient_of(&mut found, &input, "a layer's input")?;
            output = input;
        }
        let Some(embedding) = places(&parameters, Part::Embedding).next() else { return Ok(evaluation) };
        with_values(&grad, |grad| {
            for (&token, grad) in tokens.iter().zip(grad.chunks_exact(hidden)) {
                let row = &mut self.values[embedding][token as usize * hidden..][..hidden];
                row.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad);
            }
        })?;
        Ok(evaluation)
    }

    /// Adds the gradients of these parameters from a store.
    fn take(&mut self, found: &mut TapeGradients, parameters: &[Parameter], places: Range<usize>) -> ModelResult<()> {
        for place in places {
            let gradient = gradient_of(found, parameters[place].variable.as_tensor(), &self.names[place])?;
            with_values(&gradient, |gradient| {
                use rayon::prelude::*;
                let sums = self.values[place].par_iter_mut();
                sums.zip(gradient).with_min_len(1 << 14).for_each(|(sum, new)| *sum += new);
            })?;
        }
        Ok(())
    }
}

fn gradient_of(found: &mut TapeGradients, of: &Tensor, name: &str) -> ModelResult<Tensor> {
    found.take(of).ok_or_else(|| ModelError::internal(format!("{name} got no gradient")))
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
