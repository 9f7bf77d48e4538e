//! Activations that the way back reads.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::with_values;
use crate::Numerics;
use crate::kernels::InstructionSet;
use crate::kernels::elementwise::{narrowed, widened};
use crate::kernels::matmul::Operand;

/// An activation: whole in the class `f32`, rounded to bf16 in the class of that name, whose products round it anyway.
#[derive(Clone)]
pub(super) enum Kept {
    Whole(Tensor),
    Rounded(Arc<[u16]>),
}

impl Kept {
    pub fn new(tensor: &Tensor, numerics: Numerics) -> Result<Self> {
        Ok(match numerics {
            Numerics::F32 => Self::Whole(tensor.clone()),
            Numerics::Bf16 => {
                Self::Rounded(with_values(tensor, |values| narrowed(InstructionSet::best(), values))?.into())
            }
        })
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Whole(tensor) => tensor.elem_count() * size_of::<f32>(),
            Self::Rounded(values) => size_of_val::<[u16]>(values),
        }
    }

    /// Calls `use_values` with the values.
    pub fn with<T>(&self, use_values: impl FnOnce(&[f32]) -> T) -> Result<T> {
        match self {
            Self::Whole(tensor) => with_values(tensor, use_values),
            Self::Rounded(values) => Ok(use_values(&widened(InstructionSet::best(), values))),
        }
    }

    /// Calls `use_operand` with the values as a row-major right-hand matrix.
    pub fn with_operand<T>(&self, stride: usize, use_operand: impl FnOnce(Operand) -> T) -> Result<T> {
        match self {
            Self::Whole(tensor) => with_values(tensor, |data| use_operand(Operand::RowMajor { data, stride })),
            Self::Rounded(data) => Ok(use_operand(Operand::RowMajorBf16 { data, stride })),
        }
    }
}
