//! The record of operations that a backward pass retraces.
//!
//! An operation keeps what its own way back reads and nothing else. The first gradient of a tensor is taken as it is,
//! further ones are added in the order of the way back; those of parameters go straight where they are summed up.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::{Result, Tensor, TensorId};

use super::kept::{Kept, Source};
use crate::Numerics;
use crate::kernels::{team, zeros};

/// Whether a pass records what gradients need.
#[derive(Clone, Copy)]
pub enum Pass<'tape> {
    Forward,
    Tracked(&'tape Tape),
}

/// One operation's way back.
pub(super) trait Backward {
    /// Bytes that it keeps.
    fn kept_bytes(&self) -> usize;

    /// Hands on the gradient of its output to what it read.
    fn backward(self: Box<Self>, gradient: Vec<f32>, found: &mut TapeGradients) -> Result<()>;
}

/// The operations of a tracked pass, in their order.
#[derive(Default)]
pub struct Tape {
    steps: RefCell<Vec<Step>>,
    /// Results that need not be kept by those who read them.
    sources: RefCell<HashMap<TensorId, Source>>,
}

struct Step {
    output: TensorId,
    operation: Box<dyn Backward>,
}

impl Pass<'_> {
    pub(super) fn record<B: Backward + 'static>(self, output: &Tensor, operation: impl FnOnce() -> B) {
        if let Self::Tracked(tape) = self {
            tape.steps.borrow_mut().push(Step { output: output.id(), operation: Box::new(operation()) });
        }
    }

    /// Says where a result can be had from.
    pub(super) fn offer(self, output: &Tensor, source: impl FnOnce() -> Source) {
        if let Self::Tracked(tape) = self {
            tape.sources.borrow_mut().insert(output.id(), source());
        }
    }

    /// What an operation keeps of a tensor that it read.
    pub(super) fn keep(self, tensor: &Tensor, numerics: Numerics) -> Result<Kept> {
        let source = match self {
            Self::Tracked(tape) => tape.sources.borrow().get(&tensor.id()).cloned(),
            Self::Forward => None,
        };
        match source {
            Some(source) => Ok(Kept::from_source(source, numerics)),
            None => Kept::new(tensor, numerics),
        }
    }
}

impl Tape {
    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.steps.borrow().iter().map(|step| step.operation.kept_bytes()).sum()
    }

    /// Walks back from `output`, whose gradient is given. Gradients of parameters are added to `parameters`; those of
    /// other tensors that went in are returned.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn backward<'a>(
        self,
        output: &Tensor,
        gradient: Vec<f32>,
        parameters: &'a mut Accumulators,
    ) -> Result<TapeGradients<'a>> {
        if output.elem_count() != gradient.len() {
            candle_core::bail!("{} gradients cannot seed {:?}", gradient.len(), output.shape());
        }
        let mut found = TapeGradients { of: HashMap::from([(output.id(), gradient)]), parameters };
        drop(self.sources);
        let mut steps = self.steps.into_inner();
        while let Some(Step { output, operation }) = steps.pop() {
            if let Some(gradient) = found.of.remove(&output) {
                operation.backward(gradient, &mut found)?;
            }
        }
        Ok(found)
    }
}

/// Gradients on the way back.
pub struct TapeGradients<'a> {
    of: HashMap<TensorId, Vec<f32>>,
    parameters: &'a mut Accumulators,
}

impl TapeGradients<'_> {
    /// The gradient of a tensor, if the way back reached it.
    pub fn take(&mut self, of: &Tensor) -> Option<Vec<f32>> {
        self.of.remove(&of.id())
    }

    /// Adds to the gradient of a tensor that is no parameter.
    pub(super) fn add(&mut self, of: TensorId, gradient: Vec<f32>) {
        match self.of.entry(of) {
            Entry::Vacant(entry) => {
                entry.insert(gradient);
            }
            Entry::Occupied(mut entry) => add_to(entry.get_mut(), &gradient),
        }
    }

    /// Where the gradient of a parameter is summed up; `None` for what is not trained.
    pub(super) fn parameter(&mut self, of: TensorId) -> Option<&mut Accumulator> {
        self.parameters.of(of)
    }
}

/// Elements that one task adds.
const CHUNK: usize = 1 << 14;

fn add_to(sums: &mut [f32], values: &[f32]) {
    team::each(sums.chunks_mut(CHUNK).zip(values.chunks(CHUNK)).collect(), |_, (sums, values)| {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    });
}

/// The sums of gradients of all parameters.
#[derive(Default)]
pub struct Accumulators {
    all: Vec<Accumulator>,
    places: HashMap<TensorId, usize>,
}

/// The sum of one parameter's gradients, f32, row-major.
pub struct Accumulator {
    values: Vec<f32>,
    /// Whether nothing was added yet; what `values` hold is of no meaning then.
    empty: bool,
}

impl Accumulators {
    /// Sums of nothing for these parameters.
    pub fn new<'a>(parameters: impl Iterator<Item = &'a Tensor>) -> Self {
        let parameters: Vec<&Tensor> = parameters.collect();
        let places = parameters.iter().enumerate().map(|(place, parameter)| (parameter.id(), place)).collect();
        let all = zeros(parameters.iter().map(|parameter| parameter.elem_count()));
        Self { all: all.into_iter().map(|values| Accumulator { values, empty: true }).collect(), places }
    }

    /// Of all parameters, in their order.
    pub fn all(&self) -> &[Accumulator] {
        &self.all
    }

    /// Of all parameters, in their order.
    pub fn all_mut(&mut self) -> &mut [Accumulator] {
        &mut self.all
    }

    /// That of one parameter, if it is one.
    pub fn of(&mut self, parameter: TensorId) -> Option<&mut Accumulator> {
        self.places.get(&parameter).map(|&place| &mut self.all[place])
    }
}

impl Accumulator {
    /// Back to nothing, without touching the memory.
    pub fn clear(&mut self) {
        self.empty = true;
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// The sum; meaningless while it is empty.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Adds what `write` writes whole: straight to its place when that is empty.
    pub fn add_written(&mut self, write: impl FnOnce(&mut [f32])) {
        if self.empty {
            write(&mut self.values);
        } else {
            let mut values = vec![0.0; self.values.len()];
            write(&mut values);
            add_to(&mut self.values, &values);
        }
        self.empty = false;
    }

    /// Lets `add` add to the sum, which is told whether there is one; otherwise it writes all of it.
    pub fn accumulate(&mut self, add: impl FnOnce(&mut [f32], bool)) {
        add(&mut self.values, !self.empty);
        self.empty = false;
    }

    /// Lets `add` add to single values.
    pub fn add_to_some(&mut self, add: impl FnOnce(&mut [f32])) {
        self.accumulate(|sums, there| {
            if !there {
                sums.fill(0.0);
            }
            add(sums);
        });
    }
}
