//! The record of operations that a backward pass retraces.
//!
//! candle's own backward pass starts every gradient as a tensor of zeros and adds to it in a thread pool of its own. Here
//! the first gradient of a tensor is taken as it is, further ones are added in the order of the way back, and what a
//! step needed is dropped as soon as it has been passed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::{CustomOp1, CustomOp2, CustomOp3, Result, Tensor, TensorId};

use super::pointwise::sum;

/// Whether a pass records what gradients need.
#[derive(Clone, Copy)]
pub enum Pass<'tape> {
    Forward,
    Tracked(&'tape Tape),
}

/// The operations of a tracked pass, in their order.
#[derive(Default)]
pub struct Tape(RefCell<Vec<Step>>);

struct Step {
    operation: Operation,
    output: Tensor,
}

/// An operation and what it read.
enum Operation {
    One(Box<dyn CustomOp1>, Tensor),
    Two(Box<dyn CustomOp2>, [Tensor; 2]),
    Three(Box<dyn CustomOp3>, [Tensor; 3]),
}

impl Pass<'_> {
    pub(super) fn one(self, x: &Tensor, operation: impl CustomOp1 + 'static) -> Result<Tensor> {
        let output = x.apply_op1_no_bwd(&operation)?;
        self.record(&output, || Operation::One(Box::new(operation), x.clone()));
        Ok(output)
    }

    pub(super) fn two(self, x: &Tensor, y: &Tensor, operation: impl CustomOp2 + 'static) -> Result<Tensor> {
        let output = x.apply_op2_no_bwd(y, &operation)?;
        self.record(&output, || Operation::Two(Box::new(operation), [x, y].map(Tensor::clone)));
        Ok(output)
    }

    pub(super) fn three(
        self,
        x: &Tensor,
        y: &Tensor,
        z: &Tensor,
        operation: impl CustomOp3 + 'static,
    ) -> Result<Tensor> {
        let output = x.apply_op3_no_bwd(y, z, &operation)?;
        self.record(&output, || Operation::Three(Box::new(operation), [x, y, z].map(Tensor::clone)));
        Ok(output)
    }

    fn record(self, output: &Tensor, operation: impl FnOnce() -> Operation) {
        if let Self::Tracked(tape) = self {
            tape.0.borrow_mut().push(Step { operation: operation(), output: output.clone() });
        }
    }
}

impl Tape {
    /// Bytes of the results that are kept.
    pub fn bytes(&self) -> usize {
        self.0.borrow().iter().map(|step| step.output.elem_count() * size_of::<f32>()).sum()
    }

    /// The gradients of what went in, when that of `output` is `gradient`.
    ///
    /// # Errors
    /// When an operation has no backward pass, or its shapes do not fit.
    pub fn backward(self, output: &Tensor, gradient: Tensor) -> Result<TapeGradients> {
        if output.shape() != gradient.shape() {
            candle_core::bail!("a gradient of {:?} cannot seed {:?}", gradient.shape(), output.shape());
        }
        let mut found = TapeGradients(HashMap::from([(output.id(), gradient)]));
        let mut steps = self.0.into_inner();
        while let Some(Step { operation, output }) = steps.pop() {
            let Some(gradient) = found.take(&output) else { continue };
            match operation {
                Operation::One(operation, x) => {
                    let of_x = operation.bwd(&x, &output, &gradient)?;
                    found.add([(&x, of_x)])?;
                }
                Operation::Two(operation, [x, y]) => {
                    let (of_x, of_y) = operation.bwd(&x, &y, &output, &gradient)?;
                    found.add([(&x, of_x), (&y, of_y)])?;
                }
                Operation::Three(operation, [x, y, z]) => {
                    let (of_x, of_y, of_z) = operation.bwd(&x, &y, &z, &output, &gradient)?;
                    found.add([(&x, of_x), (&y, of_y), (&z, of_z)])?;
                }
            }
        }
        Ok(found)
    }
}

/// Gradients of a tape's inputs, weights among them.
pub struct TapeGradients(HashMap<TensorId, Tensor>);

impl TapeGradients {
    /// The gradient of a tensor, if the way back reached it.
    pub fn take(&mut self, of: &Tensor) -> Option<Tensor> {
        self.0.remove(&of.id())
    }

    fn add<const COUNT: usize>(&mut self, gradients: [(&Tensor, Option<Tensor>); COUNT]) -> Result<()> {
        for (of, gradient) in gradients {
            let Some(gradient) = gradient else { continue };
            match self.0.entry(of.id()) {
                Entry::Vacant(entry) => {
                    entry.insert(gradient);
                }
                Entry::Occupied(mut entry) => {
                    let both = sum(entry.get(), &gradient)?;
                    entry.insert(both);
                }
            }
        }
        Ok(())
    }
}
