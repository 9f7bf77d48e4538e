//! Normalisation, rotation, biases, sums, and the gated activation.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{Pass, output, values, with_values};
use crate::kernels::InstructionSet;
use crate::kernels::rotary::Angles;
use crate::kernels::{elementwise, normalise};

/// RMS normalisation of each `width` values of `x` ([rows, any multiple of width]) with `weight` ([width]): of whole
/// rows, or of each head.
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32, pass: Pass) -> Result<Tensor> {
    pass.two(x, weight, RmsNorm { epsilon })
}

struct RmsNorm {
    epsilon: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = values(x, x_layout)?;
        let mut out = vec![0.0; x.len()];
        normalise::rms_norm(InstructionSet::best(), x, values(w, w_layout)?, self.epsilon, &mut out);
        output(out, x_layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut grad_x = vec![0.0; x.elem_count()];
        let mut grad_weight = vec![0.0; weight.elem_count()];
        with_values(x, |x| {
            with_values(weight, |weight| {
                with_values(grad, |grad| {
                    let set = InstructionSet::best();
                    normalise::rms_norm_backward(set, x, weight, self.epsilon, grad, &mut grad_x, &mut grad_weight);
                })
            })
        })???;
        Ok((
            Some(Tensor::from_vec(grad_x, x.shape(), x.device())?),
            Some(Tensor::from_vec(grad_weight, weight.shape(), x.device())?),
        ))
    }
}

/// Rotates the heads of `x` ([rows, heads * head_dim]) by the angles of their positions.
pub fn rotate(x: &Tensor, heads: usize, angles: &Arc<Angles>, pass: Pass) -> Result<Tensor> {
    pass.one(x, Rotate { heads, angles: angles.clone() })
}

struct Rotate {
    heads: usize,
    angles: Arc<Angles>,
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = values(x, layout)?.to_vec();
        self.angles.rotate(&mut out, self.heads, false);
        output(out, layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut back = with_values(grad, <[f32]>::to_vec)?;
        self.angles.rotate(&mut back, self.heads, true);
        Ok(Some(Tensor::from_vec(back, x.shape(), x.device())?))
    }
}

/// Adds `bias` ([width]) to each row of `x` ([rows, width]).
pub fn add_bias(x: &Tensor, bias: &Tensor, pass: Pass) -> Result<Tensor> {
    pass.two(x, bias, AddBias)
}

struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut out = values(x, x_layout)?.to_vec();
        elementwise::add_bias(&mut out, values(bias, bias_layout)?);
        output(out, x_layout.shape().clone())
    }

    fn bwd(&self, _x: &Tensor, bias: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad_bias = with_values(grad, |grad| elementwise::sum_rows(grad, bias.elem_count()))?;
        let grad_bias = Tensor::from_vec(grad_bias, bias.shape(), bias.device())?;
        Ok((Some(grad.clone()), Some(grad_bias)))
    }
}

/// `x + y` of one shape: a block's part added to the residual stream.
pub fn add(x: &Tensor, y: &Tensor, pass: Pass) -> Result<Tensor> {
    pass.two(x, y, Add)
}

/// As [`add`], for gradients.
pub(super) fn sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    add(x, y, Pass::Forward)
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if x_layout.shape() != y_layout.shape() {
            candle_core::bail!("{:?} and {:?} cannot be added", x_layout.shape(), y_layout.shape());
        }
        let x = values(x, x_layout)?;
        let mut out = vec![0.0; x.len()];
        elementwise::add(x, values(y, y_layout)?, &mut out);
        output(out, x_layout.shape().clone())
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, _z: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
    }
}

/// `silu(gate) * up`.
pub fn swiglu(gate: &Tensor, up: &Tensor, pass: Pass) -> Result<Tensor> {
    pass.two(gate, up, Swiglu)
}

struct Swiglu;

impl CustomOp2 for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gate = values(gate, gate_layout)?;
        let mut out = vec![0.0; gate.len()];
        elementwise::swiglu(InstructionSet::best(), gate, values(up, up_layout)?, &mut out);
        output(out, gate_layout.shape().clone())
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut grad_gate = vec![0.0; gate.elem_count()];
        let mut grad_up = vec![0.0; up.elem_count()];
        with_values(gate, |gate| {
            with_values(up, |up| {
                with_values(grad, |grad| {
                    let set = InstructionSet::best();
                    elementwise::swiglu_backward(set, gate, up, grad, &mut grad_gate, &mut grad_up);
                })
            })
        })???;
        Ok((
            Some(Tensor::from_vec(grad_gate, gate.shape(), gate.device())?),
            Some(Tensor::from_vec(grad_up, up.shape(), up.device())?),
        ))
    }
}

/// `x` times a number.
pub fn scale(x: &Tensor, factor: f32, pass: Pass) -> Result<Tensor> {
    pass.one(x, Scale(factor))
}

struct Scale(f32);

impl Scale {
    fn times(&self, values: &[f32]) -> Vec<f32> {
        values.iter().map(|value| value * self.0).collect()
    }
}

impl CustomOp1 for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        output(self.times(values(x, layout)?), layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let scaled = with_values(grad, |grad| self.times(grad))?;
        Ok(Some(Tensor::from_vec(scaled, x.shape(), x.device())?))
    }
}
