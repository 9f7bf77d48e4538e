//! y = x · weightᵀ with [rows, inputs] x and [outputs, inputs] weight.

use candle_core::{Result, Tensor, TensorId};

use super::kept::Kept;
use super::tape::{Backward, TapeGradients};
use super::{Pass, with_values};
use crate::Numerics;
use crate::kernels::InstructionSet;
use crate::kernels::bf16::narrowed_rows;
use crate::kernels::matmul::{
    Left, LeftMatrix, Operand, PackedMatrix, PairedRows, Product as PackedProduct, matmul_packed, multiply, product,
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
    let mut outs: Vec<Vec<f32>> = weights.iter().map(|weight| Vec::with_capacity(rows * weight.columns())).collect();
    let products = outs.iter_mut().zip(weights).map(|(out, b)| {
        let out = &mut out.spare_capacity_mut()[..rows * b.columns()];
        PackedProduct { b, out }
    });
    let mut products: Vec<PackedProduct> = products.collect();
    with_values(x, |x| matmul_packed(InstructionSet::best(), rows, Left::row_major(x, depth), &mut products))?;
    drop(products);
    // SAFETY: the products have written all of it.
    outs.iter_mut().zip(weights).for_each(|(out, weight)| unsafe { out.set_len(rows * weight.columns()) });
    let tensor =
        |(weight, out): (&&PackedMatrix, Vec<f32>)| Tensor::from_vec(out, (rows, weight.columns()), x.device());
    weights.iter().zip(outs).map(tensor).collect()
}

/// With row-major weights, packed as they are read, in a class of arithmetic: all products of one x. Gradients flow to x,
/// and to those weights that are trained; in the class `bf16` what they are multiplied from is rounded as in the forward
/// products.
///
/// # Errors
/// When an operand is not contiguous f32 or the widths differ.
pub fn linear(x: &Tensor, weights: &[&Tensor], numerics: Numerics, pass: Pass) -> Result<Vec<Tensor>> {
    let (rows, inputs) = x.dims2()?;
    let set = InstructionSet::best();
    let mut outputs = Vec::with_capacity(weights.len());
    with_values(x, |values| -> Result<()> {
        let left = LeftMatrix::new(set, numerics, Left::row_major(values, inputs), rows, inputs);
        for weight in weights {
            let (columns, depth) = weight.dims2()?;
            if depth != inputs {
                candle_core::bail!("a weight of [{columns}, {depth}] cannot take rows of {inputs}");
            }
            let out =
                with_values(weight, |data| product(set, &left, Operand::Transposed { data, stride: inputs }, columns))?;
            outputs.push(Tensor::from_vec(out, (rows, columns), x.device())?);
        }
        Ok(())
    })??;
    if matches!(pass, Pass::Tracked(_)) {
        let kept = pass.keep(x, numerics)?;
        for (place, (&weight, output)) in weights.iter().zip(&outputs).enumerate() {
            let (weight, kept, kept_here) = (weight.clone(), kept.clone(), place == 0);
            pass.record(output, || Linear { x: x.id(), kept, kept_here, rows, weight, numerics });
        }
    }
    Ok(outputs)
}

struct Linear {
    x: TensorId,
    /// What x held; other products of the same x share it, and the first of them counts it.
    kept: Kept,
    kept_here: bool,
    rows: usize,
    weight: Tensor,
    numerics: Numerics,
}

impl Backward for Linear {
    fn kept_bytes(&self) -> usize {
        if self.kept_here { self.kept.bytes() } else { 0 }
    }

    /// Of x: gradient · weight. Of the weight: gradientᵀ · x.
    fn backward(self: Box<Self>, gradient: Vec<f32>, found: &mut TapeGradients) -> Result<()> {
        let Self { x, kept, rows, weight, numerics, .. } = *self;
        let (outputs, inputs) = weight.dims2()?;
        let set = InstructionSet::best();
        let gradient = Gradient::new(set, numerics, gradient, [rows, outputs]);
        let of_x = with_values(&weight, |data| {
            product(set, &gradient.rows(set), Operand::RowMajor { data, stride: inputs }, inputs)
        })?;
        found.add(x, of_x);
        let Some(sum) = found.parameter(weight.id()) else { return Ok(()) };
        let left = gradient.columns(set);
        kept.with_operand(inputs, |x| {
            sum.add_written(|out| multiply(set, &left, x, inputs, out, false));
        })
    }
}

/// The gradient of an output, [rows, columns], rounded once for both of its products in the class `bf16`.
struct Gradient {
    shape: [usize; 2],
    values: GradientValues,
}

enum GradientValues {
    Whole(Vec<f32>),
    /// Pairs along the rows.
    Rounded(Vec<u32>),
}

impl Gradient {
    fn new(set: InstructionSet, numerics: Numerics, values: Vec<f32>, shape: [usize; 2]) -> Self {
        let values = match numerics {
            Numerics::F32 => GradientValues::Whole(values),
            Numerics::Bf16 => GradientValues::Rounded(narrowed_rows(set, &values, shape[1])),
        };
        Self { shape, values }
    }

    fn rows(&self, set: InstructionSet) -> LeftMatrix<'_> {
        let [rows, columns] = self.shape;
        match &self.values {
            GradientValues::Whole(values) => {
                LeftMatrix::new(set, Numerics::F32, Left::row_major(values, columns), rows, columns)
            }
            GradientValues::Rounded(pairs) => LeftMatrix::paired(paired(pairs, columns), rows, columns),
        }
    }

    /// The transpose.
    fn columns(&self, set: InstructionSet) -> LeftMatrix<'_> {
        let [rows, columns] = self.shape;
        match &self.values {
            GradientValues::Whole(values) => {
                LeftMatrix::new(set, Numerics::F32, Left::transposed(values, columns), columns, rows)
            }
            GradientValues::Rounded(pairs) => LeftMatrix::paired_transposed(set, paired(pairs, columns), columns, rows),
        }
    }
}

fn paired(pairs: &[u32], columns: usize) -> PairedRows<'_> {
    PairedRows { pairs, stride: columns.div_ceil(2) }
}
