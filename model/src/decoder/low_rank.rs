//! Low-rank adaptation (LoRA, arXiv 2106.09685): a frozen matrix and a trained product of two thin ones.

use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;

use super::Pass;
use super::weight::one_each;
use crate::random::Stream;
use crate::spec::TensorShape;
use crate::{ModelResult, Numerics, ops};

/// The linear layers that can be adapted, by their Hugging Face names.
const MODULES: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// Which linear layers are adapted: queries, keys, values, attention output, gate, up, down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets(pub [bool; MODULES.len()]);

impl Targets {
    fn hold(self, name: &str) -> bool {
        let targets = MODULES.into_iter().zip(self.0);
        targets.into_iter().any(|(module, held)| held && name.ends_with(&format!(".{module}.weight")))
    }
}

/// How a model is adapted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LowRank {
    pub rank: usize,
    /// The product of the thin matrices is multiplied by alpha / rank.
    pub alpha: f64,
    pub targets: Targets,
    /// Names the random start of the inner matrices.
    pub seed: u64,
}

/// weight + scale · outer · inner, of which outer ([outputs, rank]) and inner ([rank, inputs]) are trained.
pub(crate) struct Adapted {
    base: Tensor,
    pub inner: Var,
    pub outer: Var,
    scale: f64,
}

impl LowRank {
    /// The adapted form of a matrix, if it is a target. The product starts at 0: `outer` is 0, `inner` uniform within
    /// 1 / √inputs.
    pub(super) fn adapt(&self, tensor: &TensorShape, base: &Tensor) -> ModelResult<Option<Adapted>> {
        let &[outputs, inputs] = tensor.shape.as_slice() else { return Ok(None) };
        if !self.targets.hold(&tensor.name) {
            return Ok(None);
        }
        let mut stream = Stream::derive(self.seed, &[b"low-rank adaptation", tensor.name.as_bytes()]);
        let bound = 1.0 / (inputs as f64).sqrt();
        let inner = (0..self.rank * inputs).map(|_| (bound * (2.0 * stream.uniform() - 1.0)) as f32);
        Ok(Some(Adapted {
            base: base.clone(),
            inner: Var::from_vec(inner.collect(), (self.rank, inputs), &Device::Cpu)?,
            outer: Var::from_vec(vec![0.0f32; outputs * self.rank], (outputs, self.rank), &Device::Cpu)?,
            scale: self.alpha / self.rank as f64,
        }))
    }
}

impl Adapted {
    /// x · weightᵀ + scale · (x · innerᵀ) · outerᵀ.
    pub fn apply(&self, x: &Tensor, numerics: Numerics, pass: Pass) -> ModelResult<Tensor> {
        let [base, inner] = one_each(ops::linear(x, &[&self.base, self.inner.as_tensor()], numerics, pass)?)?;
        let [correction] = one_each(ops::linear(&inner, &[self.outer.as_tensor()], numerics, pass)?)?;
        let correction = ops::scale(&correction, self.scale as f32, pass)?;
        Ok(ops::add(&base, &correction, pass)?)
    }

    /// The one matrix that does the same: sums over the rank in f64, each element rounded once.
    pub fn merged(&self) -> ModelResult<Vec<f32>> {
        let (rank, inputs) = self.inner.dims2()?;
        let mut merged = ops::with_values(&self.base, <[f32]>::to_vec)?;
        ops::with_values(self.inner.as_tensor(), |inner| {
            ops::with_values(self.outer.as_tensor(), |outer| {
                merged.par_chunks_exact_mut(inputs).zip(outer.par_chunks_exact(rank)).for_each(|(row, outer)| {
                    for (column, value) in row.iter_mut().enumerate() {
                        let terms = outer.iter().enumerate();
                        let sum: f64 = terms.map(|(r, &o)| f64::from(o) * f64::from(inner[r * inputs + column])).sum();
                        *value = (f64::from(*value) + self.scale * sum) as f32;
                    }
                });
            })
        })??;
        Ok(merged)
    }
}
