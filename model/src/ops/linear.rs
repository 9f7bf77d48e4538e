//! y = x · weightᵀ with [rows, inputs] x and [outputs, inputs] weight.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{Pass, output, values, with_values};
use crate::kernels::InstructionSet;
use crate::kernels::matmul::{
    Left, Operand, PackedMatrix, Product as PackedProduct, Shape as Product, matmul, matmul_packed,
};

/// With weights packed once, whose gradients nobody wants: all products of one x, as one piece of work.
///
/// # Errors
/// When x is not contiguous f32 [rows, inputs].
pub fn linear_frozen(x: &Tensor, weights: &[&PackedMatrix]) -> Result<Vec<Tensor>> {
    let (rows, depth) = x.dims2()?;
    if let Some(weight) = weights.iter().find(|weight| weight.depth() != depth) {
        candle_core::bail!("a weight of [{}, {}] cannot take rows of {depth}", weight.columns(), weight.depth());
    }
    let mut outs: Vec<Vec<f32>> = weights.iter().map(|weight| vec![0.0; rows * weight.columns()]).collect();
    let products = outs.iter_mut().zip(weights).map(|(out, b)| PackedProduct { b, out });
    let mut products: Vec<PackedProduct> = products.collect();
    with_values(x, |x| {
        matmul_packed(InstructionSet::best(), rows, Left::row_major(x, depth), &mut products, false);
    })?;
    drop(products);
    let tensor =
        |(weight, out): (&&PackedMatrix, Vec<f32>)| Tensor::from_vec(out, (rows, weight.columns()), x.device());
    weights.iter().zip(outs).map(tensor).collect()
}

/// With a trainable weight, packed as it is read; gradients flow to both.
///
/// # Errors
/// When an operand is not contiguous f32 or the widths differ.
pub fn linear(x: &Tensor, weight: &Tensor, pass: Pass) -> Result<Tensor> {
    pass.two(x, weight, Trainable)
}

/// With a weight that no gradient is wanted of; gradients flow to x.
///
/// # Errors
/// When an operand is not contiguous f32 or the widths differ.
pub fn linear_fixed(x: &Tensor, weight: &Tensor, pass: Pass) -> Result<Tensor> {
    pass.one(x, Fixed(weight.clone()))
}

struct Fixed(Tensor);

impl CustomOp1 for Fixed {
    fn name(&self) -> &'static str {
        "linear-fixed"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_values(&self.0, |weight| forward(values(x, layout)?, layout.shape().dims2()?, weight, self.0.dims2()?))?
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let rows = grad.dim(0)?;
        let grad_x = gradient_of_x(grad, &self.0)?;
        Ok(Some(Tensor::from_vec(grad_x, (rows, self.0.dim(1)?), grad.device())?))
    }
}

/// x [rows, depth] · weight [columns, inputs]ᵀ.
fn forward(
    x: &[f32],
    (rows, depth): (usize, usize),
    weight: &[f32],
    (columns, inputs): (usize, usize),
) -> Result<(CpuStorage, Shape)> {
    if inputs != depth {
        candle_core::bail!("a weight of [{columns}, {inputs}] cannot take rows of {depth}");
    }
    let mut out = vec![0.0; rows * columns];
    let operand = Operand::Transposed { data: weight, stride: depth };
    let left = Left::row_major(x, depth);
    matmul(InstructionSet::best(), Product { rows, columns, depth }, left, operand, &mut out, false);
    output(out, (rows, columns))
}

/// grad [rows, outputs] · weight [outputs, inputs].
fn gradient_of_x(grad: &Tensor, weight: &Tensor) -> Result<Vec<f32>> {
    let ((rows, outputs), inputs) = (grad.dims2()?, weight.dim(1)?);
    let mut grad_x = vec![0.0; rows * inputs];
    with_values(grad, |grad| {
        with_values(weight, |weight| {
            let product = Product { rows, columns: inputs, depth: outputs };
            let operand = Operand::RowMajor { data: weight, stride: inputs };
            matmul(InstructionSet::best(), product, Left::row_major(grad, outputs), operand, &mut grad_x, false);
        })
    })??;
    Ok(grad_x)
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
        let (x_shape, w_shape) = (x_layout.shape().dims2()?, w_layout.shape().dims2()?);
        forward(values(x, x_layout)?, x_shape, values(w, w_layout)?, w_shape)
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (rows, inputs) = x.dims2()?;
        let outputs = weight.dim(0)?;
        let grad_x = gradient_of_x(grad, weight)?;
        let mut grad_weight = vec![0.0; outputs * inputs];
        with_values(grad, |grad| {
            with_values(x, |x| {
                let product = Product { rows: outputs, columns: inputs, depth: rows };
                let operand = Operand::RowMajor { data: x, stride: inputs };
                let left = Left::transposed(grad, outputs);
                matmul(InstructionSet::best(), product, left, operand, &mut grad_weight, false);
            })
        })??;
        Ok((
            Some(Tensor::from_vec(grad_x, (rows, inputs), x.device())?),
            Some(Tensor::from_vec(grad_weight, (outputs, inputs), x.device())?),
        ))
    }
}
