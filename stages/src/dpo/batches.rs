//! The order of pairs, cut into steps and micro-batches.

use retmask_model::ModelResult;
use retmask_model::random::Stream;
use retmask_model::train::{BatchSource, MicroBatch};

use super::Parameters;
use crate::preference::{PairTokens, PreferencePair, Side};

/// Pairs that an error names before it only counts the rest.
const MOST_NAMED: usize = 8;

/// Consecutive pairs of the input, with what training needs of them.
#[derive(Debug, Clone, Copy)]
pub struct PairSet<'a> {
    /// Row of the first one in the input.
    pub first_row: usize,
    pub pairs: &'a [PreferencePair],
    pub tokens: &'a [PairTokens],
    /// Log-probability sums of [chosen, rejected] under the reference.
    pub reference: &'a [[f64; 2]],
}

/// The training pairs in their order, and the held-out ones.
pub struct Batches<'a> {
    parameters: &'a Parameters,
    trained: PairSet<'a>,
    held_out: PairSet<'a>,
    /// Indices of the pairs of each step.
    steps: Vec<Vec<usize>>,
}

impl<'a> Batches<'a> {
    /// Every epoch goes through all pairs once; its last step may hold fewer than `batch-pairs`.
    pub fn new(parameters: &'a Parameters, trained: PairSet<'a>, held_out: PairSet<'a>) -> Self {
        let mut steps = Vec::new();
        for epoch in 0..parameters.epochs {
            let mut order: Vec<usize> = (0..trained.tokens.len()).collect();
            if parameters.shuffle {
                Stream::derive(parameters.seed, &[b"order of pairs", &(epoch as u64).to_le_bytes()])
                    .shuffle(&mut order);
            }
            steps.extend(order.chunks(parameters.batch_pairs).map(<[usize]>::to_vec));
        }
        Self { parameters, trained, held_out, steps }
    }

    /// Epochs done after `step` (counted from 1).
    pub fn epoch_after(&self, step: usize) -> f64 {
        let seen: usize = self.steps[..step].iter().map(Vec::len).sum();
        seen as f64 / self.trained.tokens.len() as f64
    }

    /// Tokens of each step.
    pub fn tokens(&self) -> Vec<f64> {
        let pair = |&pair: &usize| {
            let PairTokens { chosen, rejected } = &self.trained.tokens[pair];
            (chosen.ids.len() + rejected.ids.len()) as f64
        };
        self.steps.iter().map(|step| step.iter().map(pair).sum()).collect()
    }

    fn micro_batch(&self, set: &PairSet, pairs: &[usize], step_pairs: usize) -> MicroBatch {
        let sides = pairs.iter().flat_map(|&pair| [&set.tokens[pair].chosen, &set.tokens[pair].rejected]);
        MicroBatch {
            sequences: sides.map(Side::training_sequence).collect(),
            objective: Box::new(
                self.parameters.objective(pairs.iter().map(|&pair| set.reference[pair]).collect(), step_pairs),
            ),
            name: set.name(pairs),
        }
    }
}

impl PairSet<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// What errors call some of them.
    fn name(&self, pairs: &[usize]) -> String {
        let named = pairs.iter().take(MOST_NAMED);
        let named = named.map(|&pair| format!("{} ({})", self.first_row + pair, self.pairs[pair].row_id));
        let rest = match pairs.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            rest => format!(" and {rest} more"),
        };
        let noun = if pairs.len() == 1 { "pair" } else { "pairs" };
        format!("{noun} {}{rest}", named.collect::<Vec<_>>().join(", "))
    }
}

impl BatchSource for Batches<'_> {
    fn steps(&self) -> usize {
        self.steps.len()
    }

    fn micro_batches(&mut self, step: usize) -> ModelResult<Vec<MicroBatch>> {
        let step = &self.steps[step];
        let micro_batches = step.chunks(self.parameters.micro_batch_pairs);
        Ok(micro_batches.map(|pairs| self.micro_batch(&self.trained, pairs, step.len())).collect())
    }

    /// The held-out pairs, every `evaluate-every` steps and after the last.
    fn evaluation(&mut self, steps_done: usize) -> ModelResult<Option<MicroBatch>> {
        let asked = self.parameters.evaluate_every.is_some_and(|every| steps_done.is_multiple_of(every));
        if self.held_out.is_empty() || !(asked || steps_done == self.steps.len()) {
            return Ok(None);
        }
        let pairs: Vec<usize> = (0..self.held_out.len()).collect();
        Ok(Some(self.micro_batch(&self.held_out, &pairs, pairs.len())))
    }
}
