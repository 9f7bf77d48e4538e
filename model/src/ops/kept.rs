//! Activations that the way back reads.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::with_values;
use crate::Numerics;
use crate::kernels::InstructionSet;
use crate::kernels::bf16::{narrowed, widened};
use crate::kernels::elementwise::swiglu;
use crate::kernels::matmul::Operand;
use crate::kernels::normalise::rms_norm;

/// An activation that is there, or computed again from what is kept in any case.
#[derive(Clone)]
pub(super) enum Kept {
    There(Resolved),
    Again(Rc<Again>),
}

/// An activation: whole in the class `f32`, rounded to bf16 in the class of that name, whose products round it anyway.
#[derive(Clone)]
pub(super) enum Resolved {
    Whole(Tensor),
    Rounded(Arc<[u16]>),
}

/// Where an activation comes from, if it need not be kept for itself.
#[derive(Clone)]
pub(super) enum Source {
    /// It is kept already.
    Kept(Kept),
    RmsNorm {
        x: Tensor,
        weight: Tensor,
        epsilon: f32,
    },
    Swiglu {
        gate: Kept,
        up: Kept,
    },
}

/// An activation that is computed when it is first read, and there until the last of its readers is done.
pub(super) struct Again {
    source: Source,
    numerics: Numerics,
    made: OnceCell<Resolved>,
}

impl Again {
    fn get(&self) -> Result<&Resolved> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let set = InstructionSet::best();
        let values = match &self.source {
            Source::Kept(kept) => kept.with(<[f32]>::to_vec)?,
            Source::RmsNorm { x, weight, epsilon } => {
                with_values(x, |x| with_values(weight, |weight| rms_norm(set, x, weight, *epsilon)))??
            }
            Source::Swiglu { gate, up } => gate.with(|gate| up.with(|up| swiglu(set, gate, up)))??,
        };
        let made = match self.numerics {
            Numerics::F32 => {
                let length = values.len();
                Resolved::Whole(Tensor::from_vec(values, length, &Device::Cpu)?)
            }
            Numerics::Bf16 => Resolved::Rounded(narrowed(set, &values).into()),
        };
        Ok(self.made.get_or_init(|| made))
    }
}

impl Kept {
    pub fn new(tensor: &Tensor, numerics: Numerics) -> Result<Self> {
        Ok(Self::There(match numerics {
            Numerics::F32 => Resolved::Whole(tensor.clone()),
            Numerics::Bf16 => {
                Resolved::Rounded(with_values(tensor, |values| narrowed(InstructionSet::best(), values))?.into())
            }
        }))
    }

    pub fn from_source(source: Source, numerics: Numerics) -> Self {
        match source {
            Source::Kept(kept) => kept,
            source => Self::Again(Rc::new(Again { source, numerics, made: OnceCell::new() })),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::There(Resolved::Whole(tensor)) => tensor.elem_count() * size_of::<f32>(),
            Self::There(Resolved::Rounded(values)) => size_of_val::<[u16]>(values),
            Self::Again(_) => 0,
        }
    }

    /// Calls `use_values` with the values.
    pub fn with<T>(&self, use_values: impl FnOnce(&[f32]) -> T) -> Result<T> {
        match self.resolved()? {
            Resolved::Whole(tensor) => with_values(tensor, use_values),
            Resolved::Rounded(values) => Ok(use_values(&widened(InstructionSet::best(), values))),
        }
    }

    /// Calls `use_operand` with the values as a row-major right-hand matrix.
    pub fn with_operand<T>(&self, stride: usize, use_operand: impl FnOnce(Operand) -> T) -> Result<T> {
        match self.resolved()? {
            Resolved::Whole(tensor) => with_values(tensor, |data| use_operand(Operand::RowMajor { data, stride })),
            Resolved::Rounded(data) => Ok(use_operand(Operand::RowMajorBf16 { data, stride })),
        }
    }

    fn resolved(&self) -> Result<&Resolved> {
        match self {
            Self::There(there) => Ok(there),
            Self::Again(again) => again.get(),
        }
    }
}
