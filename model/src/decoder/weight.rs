//! One parameter, in the form its purpose needs.

use candle_core::{Device, Tensor, Var};

use super::low_rank::Adapted;
use super::{Pass, Purpose};
use crate::kernels::matmul::{Operand, PackedMatrix};
use crate::kernels::team;
use crate::ops;
use crate::spec::TensorShape;
use crate::{ModelError, ModelResult, Numerics};

/// As many tensors as were asked for.
pub(super) fn one_each<const N: usize>(tensors: Vec<Tensor>) -> ModelResult<[Tensor; N]> {
    tensors.try_into().map_err(|_| ModelError::internal("a product is missing"))
}

/// A parameter of the decoder.
pub(crate) enum Weight {
    /// A matrix packed for the forward pass.
    Packed(PackedMatrix),
    /// A vector without gradient.
    Vector(Tensor),
    /// A matrix [outputs, inputs] or a vector that gradients reach.
    Trainable(Var),
    /// A matrix [outputs, inputs] that gradients pass through.
    Fixed(Tensor),
    /// A fixed matrix with a trained correction of low rank.
    Adapted(Adapted),
}

impl Weight {
    pub fn new(tensor: &TensorShape, values: Vec<f32>, purpose: Purpose) -> ModelResult<Self> {
        if values.len() != tensor.shape.iter().product::<usize>() {
            return Err(ModelError::internal(format!("{} came with {} values", tensor.name, values.len())));
        }
        Ok(match (purpose, tensor.shape.as_slice()) {
            (Purpose::Inference(numerics), &[outputs, inputs]) => {
                Self::Packed(PackedMatrix::from_weight(&values, outputs, inputs, numerics))
            }
            (Purpose::Inference(_), shape) => Self::Vector(Tensor::from_vec(values, shape, &Device::Cpu)?),
            (Purpose::Training(_), shape) => Self::Trainable(Var::from_vec(values, shape, &Device::Cpu)?),
            (Purpose::Adapting(low_rank, _), shape) => {
                let values = Tensor::from_vec(values, shape, &Device::Cpu)?;
                match low_rank.adapt(tensor, &values)? {
                    Some(adapted) => Self::Adapted(adapted),
                    None if shape.len() == 2 => Self::Fixed(values),
                    None => Self::Vector(values),
                }
            }
        })
    }

    /// x · weightᵀ for each of the weights, those of one kind together; packed ones in their own class.
    pub fn apply<const N: usize>(
        weights: [&Self; N],
        x: &Tensor,
        numerics: Numerics,
        pass: Pass,
    ) -> ModelResult<Vec<Tensor>> {
        let packed = weights.iter().map_while(|weight| match weight {
            Self::Packed(matrix) => Some(matrix),
            _ => None,
        });
        let packed: Vec<&PackedMatrix> = packed.collect();
        if packed.len() == N {
            return Ok(ops::linear_frozen(x, &packed)?);
        }
        let row_major: Vec<&Tensor> = weights.iter().map_while(|weight| weight.row_major().ok()).collect();
        if row_major.len() == N {
            return Ok(ops::linear(x, &row_major, numerics, pass)?);
        }
        weights.into_iter().map(|weight| weight.apply_alone(x, numerics, pass)).collect()
    }

    fn apply_alone(&self, x: &Tensor, numerics: Numerics, pass: Pass) -> ModelResult<Tensor> {
        match self {
            Self::Packed(_) => Err(ModelError::internal("a packed matrix stands beside one that is trained")),
            Self::Adapted(adapted) => adapted.apply(x, numerics, pass),
            _ => {
                let [y] = one_each(ops::linear(x, &[self.row_major()?], numerics, pass)?)?;
                Ok(y)
            }
        }
    }

    /// The vector.
    pub fn vector(&self) -> ModelResult<&Tensor> {
        match self {
            Self::Vector(tensor) => Ok(tensor),
            Self::Trainable(variable) => Ok(variable.as_tensor()),
            _ => Err(ModelError::internal("a matrix was used as a vector")),
        }
    }

    /// What training changes of the weight of this name, by name: those of adapted ones are PEFT's.
    pub fn variables(&self, name: String) -> ModelResult<Vec<(String, &Var)>> {
        match self {
            Self::Trainable(variable) => Ok(vec![(name, variable)]),
            Self::Adapted(adapted) => {
                let module = name.trim_end_matches(".weight");
                let of = |matrix: &str| format!("{module}.{matrix}.weight");
                Ok(vec![(of("lora_A"), &adapted.inner), (of("lora_B"), &adapted.outer)])
            }
            Self::Fixed(_) | Self::Vector(_) => Ok(Vec::new()),
            Self::Packed(_) => Err(ModelError::internal("the decoder was not loaded for training")),
        }
    }

    /// The row-major values of a weight that is not packed, as one matrix or vector.
    pub fn values(&self) -> ModelResult<Vec<f32>> {
        match self {
            Self::Trainable(variable) => Ok(ops::with_values(variable.as_tensor(), <[f32]>::to_vec)?),
            Self::Fixed(tensor) | Self::Vector(tensor) => Ok(ops::with_values(tensor, <[f32]>::to_vec)?),
            Self::Adapted(adapted) => adapted.merged(),
            Self::Packed(_) => Err(ModelError::internal("the decoder was not loaded for training")),
        }
    }

    /// A row-major matrix that is not packed.
    pub fn row_major(&self) -> ModelResult<&Tensor> {
        match self {
            Self::Trainable(variable) => Ok(variable.as_tensor()),
            Self::Fixed(tensor) => Ok(tensor),
            _ => Err(ModelError::internal("the decoder was not loaded for training")),
        }
    }

    /// Copies rows of a matrix.
    pub fn copy_rows(&self, rows: &[u32], out: &mut [f32]) -> ModelResult<()> {
        match self {
            Self::Packed(matrix) => {
                let of_rows = rows.iter().zip(out.chunks_exact_mut(matrix.depth()));
                team::each(of_rows.collect(), |_, (&row, out)| matrix.copy_column(row as usize, out));
                Ok(())
            }
            _ => {
                let matrix = self.row_major()?;
                let width = matrix.dim(1)?;
                ops::with_values(matrix, |values| {
                    for (&row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
                        out.copy_from_slice(&values[row as usize * width..][..width]);
                    }
                })?;
                Ok(())
            }
        }
    }

    /// Calls `use_operand` with the transpose of a matrix as the right-hand side of a product.
    pub fn with_transposed<T>(&self, use_operand: impl FnOnce(Operand) -> T) -> ModelResult<T> {
        match self {
            Self::Packed(matrix) => Ok(use_operand(Operand::Packed(matrix))),
            _ => {
                let matrix = self.row_major()?;
                let stride = matrix.dim(1)?;
                Ok(ops::with_values(matrix, |data| use_operand(Operand::Transposed { data, stride }))?)
            }
        }
    }
}
