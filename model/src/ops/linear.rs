//! y = x · weightᵀ with [rows, inputs] x and [outputs, inputs] weight.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{output, values, with_values};
use crate::kernels::InstructionSet;
use crate::kernels::matmul::{Left, Operand, PackedMatrix, Shape as Product, matmul};

/// With a weight packed once, whose gradient nobody wants.
///
/// # Errors
/// When x is not contiguous f32 [rows, inputs].
pub fn linear_frozen(x: &Tensor, weight: &Arc<PackedMatrix>) -> Result<Tensor> {
    x.apply_op1_arc(Arc::new(Box::new(Frozen(weight.clone()))))
}

/// With a trainable weight, packed as it is read; gradients flow to both.
///
/// # Errors
/// When an operand is not contiguous f32 or the widths differ.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.apply_op2(weight, Trainable)
}

struct Frozen(Arc<PackedMatrix>);

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "linear-frozen"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, depth) = layout.shape().dims2()?;
        let columns = self.0.columns();
        let x = values(storage, layout)?;
        let mut out = vec![0.0; rows * columns];
        let product = Product { rows, columns, depth };
        matmul(InstructionSet::best(), product, Left::row_major(x, depth), Operand::Packed(&self.0), &mut out, false);
        output(out, (rows, columns))
    }
}

struct Trainable;

impl CustomOp2 for Trainable {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, depth) = x_layout.shape().dims2()?;
        let (columns, inputs) = w_layout.shape().dims2()?;
        if inputs != depth {
            candle_core::bail!("a weight of [{columns}, {inputs}] cannot take rows of {depth}");
        }
        let mut out = vec![0.0; rows * columns];
        let operand = Operand::Transposed { data: values(w, w_layout)?, stride: depth };
        let left = Left::row_major(values(x, x_layout)?, depth);
        matmul(InstructionSet::best(), Product { rows, columns, depth }, left, operand, &mut out, false);
        output(out, (rows, columns))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (rows, inputs) = x.dims2()?;
        let outputs = weight.dim(0)?;
        let grad = grad.contiguous()?;
        let set = InstructionSet::best();
        let mut grad_x = vec![0.0; rows * inputs];
        let mut grad_weight = vec![0.0; outputs * inputs];
        with_values(&grad, |grad| -> Result<()> {
            with_values(weight, |weight| {
                let product = Product { rows, columns: inputs, depth: outputs };
                let operand = Operand::RowMajor { data: weight, stride: inputs };
                matmul(set, product, Left::row_major(grad, outputs), operand, &mut grad_x, false);
            })?;
            with_values(x, |x| {
                let product = Product { rows: outputs, columns: inputs, depth: rows };
                let operand = Operand::RowMajor { data: x, stride: inputs };
                matmul(set, product, Left::transposed(grad, outputs), operand, &mut grad_weight, false);
            })
        })??;
        Ok((
            Some(Tensor::from_vec(grad_x, (rows, inputs), x.device())?),
            Some(Tensor::from_vec(grad_weight, (outputs, inputs), x.device())?),
        ))
    }
}
