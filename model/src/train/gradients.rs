//! The backward pass: activations are kept at layer borders, and inside layers as far as memory is granted; inside the
//! others they are computed again, to the same bits.

use std::ops::Range;
use std::sync::Arc;

use super::adamw::squared_norm;
use super::packing::{PackedBatch, groups};
use super::{Evaluation, Objective, TrainingSequence};
use crate::decoder::{Decoder, PackedAttention, Part, Pass, head_gradients, places, target_logprobs_with_logits};
use crate::ops::{Accumulators, Tape};
use crate::{ModelError, ModelResult};

/// Bytes of activations inside layers that are kept for the way back. Keeping all of them saves a quarter of the work; on
/// SmolLM2-135M they are 0.7 MB for each token in f32, and 0.4 MB in bf16.
const KEPT_BYTES: usize = 1 << 30;

/// Gradients of every parameter, f32, row-major, in the order of [`Decoder::parameters`]. Micro-batches add up.
pub struct Gradients {
    names: Vec<String>,
    sums: Accumulators,
}

impl Gradients {
    /// Gradients of zero.
    ///
    /// # Errors
    /// `Internal` when the decoder was not loaded for training.
    pub fn new(decoder: &Decoder) -> ModelResult<Self> {
        let parameters = decoder.parameters()?;
        let sums = Accumulators::new(parameters.iter().map(|parameter| parameter.variable.as_tensor()));
        Ok(Self { names: parameters.into_iter().map(|parameter| parameter.name).collect(), sums })
    }

    /// Back to nothing, keeping the memory; there are gradients again after the next micro-batch.
    pub fn clear(&mut self) {
        self.sums.all_mut().iter_mut().for_each(|sum| sum.clear());
    }

    /// The gradients by parameter.
    pub fn values(&self) -> impl Iterator<Item = &[f32]> {
        self.sums.all().iter().map(|sum| sum.values())
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
    /// What neighbouring sequences begin with alike goes through the model once; that changes no log-probability, and its
    /// gradients are the sums of what each sequence hands back, in their order.
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
        let batch = PackedBatch::new(&groups(sequences));
        if batch.targets.is_empty() {
            self.fill_empty();
            return Ok(objective.evaluate(&by_sequence(sequences, &[])));
        }
        let mut attention = PackedAttention::new(decoder, batch.sequences.clone());
        let angles = decoder.angles(&batch.positions);
        let wanted = |layer: usize| (layer + 1 == layers).then_some(&batch.rows);

        // What each layer starts from, and the tape of the first ones.
        let mut borders = vec![decoder.embed(&batch.tokens)?];
        let (mut tapes, mut kept) = (Vec::new(), 0);
        for layer in 0..layers {
            let last_kept = tapes.last().map_or(0, Tape::bytes);
            let tape = (tapes.len() == layer && kept + last_kept <= KEPT_BYTES).then(Tape::default);
            let pass = tape.as_ref().map_or(Pass::Forward, Pass::Tracked);
            let next = decoder.layer(layer, &borders[layer], &angles, &mut attention, wanted(layer), pass)?;
            borders.push(next);
            if let Some(tape) = tape {
                kept += tape.bytes();
                tapes.push(tape);
            }
        }

        // The rows that predict scored tokens.
        let last = borders.pop().ok_or_else(|| ModelError::internal("a model without layers"))?;
        let tape = Tape::default();
        let normed = decoder.norm(&last, decoder.final_norm(), Pass::Tracked(&tape))?;
        let (logprobs, logits) = target_logprobs_with_logits(decoder, &normed, &batch.targets)?;
        let evaluation = objective.evaluate(&by_sequence(sequences, &logprobs));
        if !evaluation.loss.is_finite() {
            self.fill_empty();
            return Ok(evaluation);
        }

        let coefficients: Vec<f64> = evaluation.coefficients.iter().flatten().copied().collect();
        if coefficients.len() != batch.targets.len() {
            return Err(ModelError::internal("the objective returned another number of coefficients than tokens"));
        }
        let parameters = decoder.parameters()?;
        let gradient = head_gradients(decoder, &normed, &batch.targets, &coefficients, logits, &mut self.sums)?;
        let projection = if spec.tied_embeddings { Part::Embedding } else { Part::Output };
        self.check(places(&parameters, projection))?;
        let mut found = tape.backward(&normed, gradient, &mut self.sums)?;
        let mut gradient = gradient_of(found.take(&last), "the last hidden rows")?;
        self.check(places(&parameters, Part::FinalNorm))?;
        drop(normed);

        // The output of the layer in hand.
        let mut output = last;
        for layer in (0..layers).rev() {
            let input = borders.pop().ok_or_else(|| ModelError::internal("a layer border is missing"))?;
            if tapes.len() <= layer {
                let tape = Tape::default();
                let pass = Pass::Tracked(&tape);
                output = decoder.layer(layer, &input, &angles, &mut attention, wanted(layer), pass)?;
                tapes.push(tape);
            }
            let tape = tapes.pop().ok_or_else(|| ModelError::internal("a layer's tape is missing"))?;
            let mut found = tape.backward(&output, gradient, &mut self.sums)?;
            gradient = gradient_of(found.take(&input), "a layer's input")?;
            self.check(places(&parameters, Part::Layer(layer)))?;
            output = input;
        }
        let Some(embedding) = places(&parameters, Part::Embedding).next() else { return Ok(evaluation) };
        self.sums.all_mut()[embedding].add_to_some(|sums| {
            for (&token, gradient) in batch.tokens.iter().zip(gradient.chunks_exact(hidden)) {
                let row = &mut sums[token as usize * hidden..][..hidden];
                row.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
            }
        });
        Ok(evaluation)
    }

    /// That these parameters got gradients.
    fn check(&self, places: Range<usize>) -> ModelResult<()> {
        match places.clone().find(|&place| self.sums.all()[place].is_empty()) {
            Some(place) => Err(ModelError::internal(format!("{} got no gradient", self.names[place]))),
            None => Ok(()),
        }
    }

    /// Where there are no gradients, they are 0.
    fn fill_empty(&mut self) {
        let empty = self.sums.all_mut().iter_mut().filter(|sum| sum.is_empty());
        empty.for_each(|sum| sum.add_to_some(|_| ()));
    }
}

fn gradient_of(found: Option<Vec<f32>>, name: &str) -> ModelResult<Vec<f32>> {
    found.ok_or_else(|| ModelError::internal(format!("{name} got no gradient")))
}

fn by_sequence(sequences: &[TrainingSequence], logprobs: &[f64]) -> Vec<Vec<f64>> {
    let mut rest = logprobs.iter().copied();
    sequences.iter().map(|sequence| rest.by_ref().take(sequence.scored_positions().count()).collect()).collect()
}

/// Per-head flags shared by sequences.
pub type MaskedHeads = Arc<[bool]>;
