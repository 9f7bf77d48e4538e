//! One parameter, in the form its purpose needs.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::{Pass, Purpose};
use crate::kernels::matmul::{Operand, PackedMatrix};
use crate::ops;
use crate::spec::TensorShape;
use crate::{ModelError, ModelResult};

/// A parameter of the decoder.
pub(crate) enum Weight {
    /// A matrix packed for the forward pass.
    Packed(Arc<PackedMatrix>),
    /// A vector without gradient.
    Vector(Tensor),
    /// A matrix [outputs, inputs] or a vector that gradients reach.
    Trainable(Var),
}

impl Weight {
    pub fn new(tensor: &TensorShape, values: Vec<f32>, purpose: Purpose) -> ModelResult<Self> {
        if values.len() != tensor.shape.iter().product::<usize>() {
            return Err(ModelError::internal(format!("{} came with {} values", tensor.name, values.len())));
        }
        Ok(match (purpose, tensor.shape.as_slice()) {
            (Purpose::Inference(numerics), &[outputs, inputs]) => {
                Self::Packed(Arc::new(PackedMatrix::from_weight(&values, outputs, inputs, numerics)))
            }
            (Purpose::Inference(_), shape) => Self::Vector(Tensor::from_vec(values, shape, &Device::Cpu)?),
            (Purpose::Training, shape) => Self::Trainable(Var::from_vec(values, shape, &Device::Cpu)?),
        })
    }

    /// x · weightᵀ.
    pub fn apply(&self, x: &Tensor, pass: Pass) -> ModelResult<Tensor> {
        match (self, pass) {
            (Self::Packed(matrix), _) => Ok(ops::linear_frozen(x, matrix)?),
            (Self::Trainable(variable), Pass::Tracked) => Ok(ops::linear(x, variable.as_tensor())?),
            (Self::Trainable(variable), Pass::Forward) => Ok(ops::linear(x, &variable.as_detached_tensor())?),
            (Self::Vector(_), _) => Err(ModelError::internal("a vector was used as a matrix")),
        }
    }

    /// The vector, as the pass needs it.
    pub fn vector(&self, pass: Pass) -> ModelResult<Tensor> {
        match (self, pass) {
            (Self::Vector(tensor), _) => Ok(tensor.clone()),
            (Self::Trainable(variable), Pass::Tracked) => Ok(variable.as_tensor().clone()),
            (Self::Trainable(variable), Pass::Forward) => Ok(variable.as_detached_tensor()),
            (Self::Packed(_), _) => Err(ModelError::internal("a matrix was used as a vector")),
        }
    }

    /// The variable behind a trainable weight.
    pub fn variable(&self) -> ModelResult<&Var> {
        match self {
            Self::Trainable(variable) => Ok(variable),
            _ => Err(ModelError::internal("the decoder was not loaded for training")),
        }
    }

    /// Copies rows of a matrix.
    pub fn copy_rows(&self, rows: &[u32], out: &mut [f32]) -> ModelResult<()> {
        match self {
            Self::Packed(matrix) => {
                for (&row, out) in rows.iter().zip(out.chunks_exact_mut(matrix.depth())) {
                    matrix.copy_column(row as usize, out);
                }
                Ok(())
            }
            Self::Trainable(variable) => {
                let width = variable.dim(1)?;
                ops::with_values(variable.as_tensor(), |values| {
                    for (&row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
                        out.copy_from_slice(&values[row as usize * width..][..width]);
                    }
                })?;
                Ok(())
            }
            Self::Vector(_) => Err(ModelError::internal("a vector was used as a matrix")),
        }
    }

    /// Calls `use_operand` with the transpose of a matrix as the right-hand side of a product.
    pub fn with_transposed<T>(&self, use_operand: impl FnOnce(Operand) -> T) -> ModelResult<T> {
        match self {
            Self::Packed(matrix) => Ok(use_operand(Operand::Packed(matrix))),
            Self::Trainable(variable) => {
                let stride = variable.dim(1)?;
                Ok(ops::with_values(variable.as_tensor(), |data| use_operand(Operand::Transposed { data, stride }))?)
            }
            Self::Vector(_) => Err(ModelError::internal("a vector was used as a matrix")),
        }
    }
}
