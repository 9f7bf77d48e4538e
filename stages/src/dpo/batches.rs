//! The order of pairs, cut into steps and micro-batches.

use retmask_model::ModelResult;
use retmask_model::random::Stream;
use retmask_model::train::{BatchSource, MicroBatch, TrainingSequence};

use super::Parameters;
use super::loss::DpoLoss;
use crate::preference::{PairTokens, Side};

/// The training pairs with their reference sums.
pub struct Batches<'a> {
    parameters: &'a Parameters,
    pairs: &'a [PairTokens],
    reference: &'a [[f64; 2]],
    /// Indices of the pairs of each step.
    steps: Vec<Vec<usize>>,
}

impl<'a> Batches<'a> {
    /// Every epoch goes through all pairs once; its last step may hold fewer than `batch-pairs`.
    pub fn new(parameters: &'a Parameters, pairs: &'a [PairTokens], reference: &'a [[f64; 2]]) -> Self {
        let mut steps = Vec::new();
        for epoch in 0..parameters.epochs {
            let mut order: Vec<usize> = (0..pairs.len()).collect();
            if parameters.shuffle {
                Stream::derive(parameters.seed, &[b"order of pairs", &(epoch as u64).to_le_bytes()])
                    .shuffle(&mut order);
            }
            steps.extend(order.chunks(parameters.batch_pairs).map(<[usize]>::to_vec));
        }
        Self { parameters, pairs, reference, steps }
    }

    /// Epochs done after `step` (counted from 1).
    pub fn epoch_after(&self, step: usize) -> f64 {
        let seen: usize = self.steps[..step].iter().map(Vec::len).sum();
        seen as f64 / self.pairs.len() as f64
    }
}

fn sequence(side: &Side) -> TrainingSequence {
    let scored = (0..side.ids.len()).map(|position| position >= side.response_start).collect();
    TrainingSequence { ids: side.ids.clone(), scored, masked_heads: None }
}

impl BatchSource for Batches<'_> {
    fn steps(&self) -> usize {
        self.steps.len()
    }

    fn micro_batches(&mut self, step: usize) -> ModelResult<Vec<MicroBatch>> {
        let step = &self.steps[step];
        let micro_batches = step.chunks(self.parameters.micro_batch_pairs).map(|pairs| MicroBatch {
            sequences: pairs
                .iter()
                .flat_map(|&pair| [sequence(&self.pairs[pair].chosen), sequence(&self.pairs[pair].rejected)])
                .collect(),
            objective: Box::new(DpoLoss {
                beta: self.parameters.beta,
                reference: pairs.iter().map(|&pair| self.reference[pair]).collect(),
                step_pairs: step.len(),
            }),
        });
        Ok(micro_batches.collect())
    }
}
