//! The training loop.

use super::gradients::MaskedHeads;
use super::{AdamW, AdamWSettings, Gradients, LearningRate, Objective};
use crate::decoder::Decoder;
use crate::{ModelError, ModelResult};

/// One sequence to learn from.
#[derive(Debug, Clone, Default)]
pub struct TrainingSequence {
    pub ids: Vec<u32>,
    /// Per token: whether its log-probability enters the objective (never for the first token).
    pub scored: Vec<bool>,
    /// Per head (layer * query_heads + head): whether its output is multiplied by 0 for this sequence.
    pub masked_heads: Option<MaskedHeads>,
}

/// Sequences that go through the model together, with the objective that judges them.
pub struct MicroBatch {
    pub sequences: Vec<TrainingSequence>,
    pub objective: Box<dyn Objective>,
}

/// Where the data of each step comes from.
pub trait BatchSource {
    /// The number of optimiser steps.
    fn steps(&self) -> usize;
    /// The micro-batches of a step (from 0), in order; at least one scored token in all.
    ///
    /// # Errors
    /// Whatever making them can meet.
    fn micro_batches(&mut self, step: usize) -> ModelResult<Vec<MicroBatch>>;
}

/// What happened in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Counted from 1.
    pub step: usize,
    pub loss: f64,
    /// Before clipping.
    pub grad_norm: f64,
    pub learning_rate: f64,
    /// Tokens that went through the model, scored or not.
    pub tokens: u64,
    /// The objective's statistics, added over micro-batches.
    pub statistics: Vec<f64>,
}

/// Trains `decoder` in place. `observe` sees every step after its update; an error from there stops the run.
///
/// The result's bits depend on the data, the micro-batches and the settings; not on the number of threads.
///
/// # Errors
/// `Input` when loss or gradients are not finite; whatever `source` and `observe` return.
pub fn train(
    decoder: &Decoder,
    source: &mut dyn BatchSource,
    schedule: LearningRate,
    settings: AdamWSettings,
    observe: &mut dyn FnMut(&StepReport) -> ModelResult<()>,
) -> ModelResult<()> {
    let steps = source.steps();
    let mut optimiser = AdamW::new(decoder, settings)?;
    let mut gradients = Gradients::new(decoder);
    for step in 0..steps {
        gradients.clear();
        let (mut loss, mut tokens, mut statistics) = (0.0, 0, Vec::new());
        for batch in source.micro_batches(step)? {
            let evaluation = gradients
                .accumulate(decoder, &batch.sequences, &*batch.objective)
                .map_err(|error| ModelError { message: format!("step {}: {}", step + 1, error.message), ..error })?;
            loss += evaluation.loss;
            tokens += batch.sequences.iter().map(|sequence| sequence.ids.len() as u64).sum::<u64>();
            statistics.resize(evaluation.statistics.len().max(statistics.len()), 0.0);
            statistics.iter_mut().zip(&evaluation.statistics).for_each(|(sum, value)| *sum += value);
        }
        let learning_rate = schedule.at(step, steps);
        let grad_norm = optimiser.update(decoder, &gradients, learning_rate)?;
        observe(&StepReport { step: step + 1, loss, grad_norm, learning_rate, tokens, statistics })?;
    }
    Ok(())
}
