//! Normalisation, rotation, biases, sums, chosen rows, and the gated activation.

use std::sync::Arc;

use candle_core::{Result, Tensor, TensorId};

use super::kept::{Kept, Source};
use super::tape::{Backward, TapeGradients};
use super::{Pass, with_values};
use crate::Numerics;
use crate::kernels::InstructionSet;
use crate::kernels::rotary::Angles;
use crate::kernels::{elementwise, normalise};

/// RMS normalisation of each `width` values of `x` ([rows, any multiple of width]) with `weight` ([width]): of whole
/// rows, or of each head.
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32, pass: Pass) -> Result<Tensor> {
    let set = InstructionSet::best();
    let out = with_values(x, |x| with_values(weight, |weight| normalise::rms_norm(set, x, weight, epsilon)))??;
    let out = Tensor::from_vec(out, x.shape(), x.device())?;
    pass.offer(&out, || Source::RmsNorm { x: x.clone(), weight: weight.clone(), epsilon });
    pass.record(&out, || RmsNorm { x: x.clone(), weight: weight.clone(), epsilon });
    Ok(out)
}

struct RmsNorm {
    x: Tensor,
    weight: Tensor,
    epsilon: f32,
}

impl Backward for RmsNorm {
    fn kept_bytes(&self) -> usize {
        self.x.elem_count() * size_of::<f32>()
    }

    fn backward(self: Box<Self>, gradient: Vec<f32>, found: &mut TapeGradients) -> Result<()> {
        let Self { x, weight, epsilon } = *self;
        let mut grad_x = vec![0.0; gradient.len()];
        let mut grad_weight = vec![0.0; weight.elem_count()];
        with_values(&x, |x| {
            with_values(&weight, |weight| {
                let set = InstructionSet::best();
                normalise::rms_norm_backward(set, x, weight, epsilon, &gradient, &mut grad_x, &mut grad_weight);
            })
        })??;
        found.add(x.id(), grad_x);
        if let Some(sum) = found.parameter(weight.id()) {
            sum.add_written(|out| out.copy_from_slice(&grad_weight));
        }
        Ok(())
    }
}

/// Rotates the heads of `x` ([rows, heads * head_dim]) by the angles of their positions.
pub fn rotate(x: &Tensor, heads: usize, angles: &Arc<Angles>, pass: Pass) -> Result<Tensor> {
    let out = with_values(x, |x| angles.rotated(InstructionSet::best(), x, heads))?;
    let out = Tensor::from_vec(out, x.shape(), x.device())?;
    pass.record(&out, || Rotate { x: x.id(), heads, angles: angles.clone() });
    Ok(out)
}

struct Rotate {
    x: TensorId,
    heads: usize,
    angles: Arc<Angles>,
}

impl Backward for Rotate {
    fn kept_bytes(&self) -> usize {
        0
    }

    fn backward(self: Box<Self>, mut gradient: Vec<f32>, found: &mut TapeGradients) -> Result<()> {
        self.angles.rotate_back(InstructionSet::best(), &mut gradient, self.heads);
        found.add(self.x, gradient);
        Ok(())
    }
}

/// Adds `bias` ([width]) to each row of `x` ([rows, width]).
pub fn add_bias(x: &Tensor, bias: &Tensor, pass: Pass) -> Result<Tensor> {
    let mut out = with_values(x, <[f32]>::to_vec)?;
    with_values(bias, |bias| elementwise::add_bias(&mut out, bias))?;
    let out = Tensor::from_vec(out, x.shape(), x.device())?;
    pass.record(&out, || AddBias { x: x.id(), bias: bias.id(), width: bias.elem_count() });
    Ok(out)
}

struct AddBias {
    x: TensorId,
    bias: TensorId,
    width: usize,
}

impl Backward for AddBias {
    fn kept_bytes(&self) -> usize {
        0
    }

    fn backward(self: Box<Self>, gradient: Vec<f32>, found: &mut TapeGradients) -> Result<()> {
        if let Some(sum) = found.parameter(self.bias) {
            let of_bias = elementwise::sum_rows(&gradient, self.width);
            sum.add_written(|out| out.copy_from_slice(&of_bias));
        }
        found.add(self.x, gradient);
        Ok(())
    }
}

/// `x + y` of one shape: a block's part added to the residual stream.
pub fn add(x: &Tensor, y: &Tensor, pass: Pass) -> Result<Tensor> {
    if x.shape() != y.shape() {
        candle_core::bail!("{:?} and {:?} cannot be added", x.shape(), y.shape());
    }
    let out = with_values(x, |x| with_values(y, |y| elementwise::add(x, y)))??;
    let out = Tensor::from_vec(out, x.shape(), x.device())?;
    pass.record(&out, || Add([x.id(), y.id()]));
    Ok(out)
}

struct Add([TensorId; 2]);

impl Backward for Add {
    fn kept_bytes(&self) -> usize {
        0
    }

    fn backward(self: Box<Self>, gradient: Vec<f32>, found: &mut TapeGradients) -> Result<()> {
        let [x, y] = self.0;
        found.add(x, gradient.clone());
        found.add(y, gradient);
        Ok(())
    }
}

/// Rows of `x` ([any, width]), in this order; one may come several times.
pub fn select_rows(x: &Tensor, rows: &Arc<[usize]>, pass: Pass) -> Result<Tensor> {
    let (count, width) = x.dims2()?;
    let mut out = Vec::with_capacity(rows.len() * width);
    with_values(x, |x| rows.iter().for_each(|&row| out.extend_from_slice(&x[row * width..][..width])))?;
    let out = Tensor::from_vec(out, (rows.len(), width), x.device())?;
    pass.record(&out, || SelectRows { x: x.id(), count, width, rows: rows.clone() });
    Ok(out)
}

struct SelectRows {
    x: TensorId,
    count: usize,
    width: usize,
    rows: Arc<[usize]>,
}

impl Backward for SelectRows {
    fn kept_bytes(&self) -> usize {
        0
    }

    fn backward(self: Box<Self>, gradient: Vec<f32>, found: &mut TapeGradients) -> Result<()> {
        let width = self.width;
        let mut grad_x = vec![0.0f32; self.count * width];
        for (&row, gradient) in self.rows.iter().zip(gradient.chunks_exact(width)) {
            let sums = &mut grad_x[row * width..][..width];
            sums.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
        }
        found.add(self.x, grad_x);
        Ok(())
    }
}

/// `silu(gate) * up`. In the class `bf16` the way back reads `gate` and `up` rounded to it.
pub fn swiglu(gate: &Tensor, up: &Tensor, numerics: Numerics, pass: Pass) -> Result<Tensor> {
    let out = with_values(gate, |gate| with_values(up, |up| elementwise::swiglu(InstructionSet::best(), gate, up)))??;
    let out = Tensor::from_vec(out, gate.shape(), gate.device())?;
    if matches!(pass, Pass::Tracked(_)) {
        let kept = [Kept::new(gate, numerics)?, Kept::new(up, numerics)?];
        pass.offer(&out, || Source::Swiglu { gate: kept[0].clone(), up: kept[1].clone() });
        pass.record(&out, || Swiglu { inputs: [gate.id(), up.id()], kept });
    }
    Ok(out)
}

struct Swiglu {
    inputs: [TensorId; 2],
    kept: [Kept; 2],
}

impl Backward for Swiglu {
    fn kept_bytes(&self) -> usize {
        self.kept.iter().map(Kept::bytes).sum()
    }

    fn backward(self: Box<Self>, mut gradient: Vec<f32>, found: &mut TapeGradients) -> Result<()> {
        let [gate, up] = &self.kept;
        let of_gate = gate.with(|gate| {
            up.with(|up| elementwise::swiglu_backward(InstructionSet::best(), gate, up, &mut gradient))
        })??;
        let [gate, up] = self.inputs;
        found.add(gate, of_gate);
        found.add(up, gradient);
        Ok(())
    }
}

/// `x` times a number.
pub fn scale(x: &Tensor, factor: f32, pass: Pass) -> Result<Tensor> {
    let scaled = with_values(x, |x| x.iter().map(|value| value * factor).collect::<Vec<f32>>())?;
    let out = Tensor::from_vec(scaled, x.shape(), x.device())?;
    pass.record(&out, || Scale { x: x.id(), factor });
    Ok(out)
}

struct Scale {
    x: TensorId,
    factor: f32,
}

impl Backward for Scale {
    fn kept_bytes(&self) -> usize {
        0
    }

    fn backward(self: Box<Self>, mut gradient: Vec<f32>, found: &mut TapeGradients) -> Result<()> {
        gradient.iter_mut().for_each(|value| *value *= self.factor);
        found.add(self.x, gradient);
        Ok(())
    }
}
