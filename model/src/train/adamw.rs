//! AdamW (arXiv 1711.05101) with f32 weights and moments, fused into one pass over memory.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout};
use serde::{Deserialize, Serialize};

use super::Gradients;
use crate::decoder::{Decoder, Parameter, Part};
use crate::kernels::simd::dispatch;
use crate::kernels::team;
use crate::kernels::{InstructionSet, zeros};
use crate::{ModelError, ModelResult};

/// Elements of one task, and of one partial sum of the gradient norm.
const CHUNK: usize = 1 << 14;

/// Which parameters the weight decay pulls towards 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decayed {
    /// Every one.
    #[default]
    All,
    /// Matrices: not the weights of norms, nor biases.
    Matrices,
    /// Matrices of the layers: not the embedding and the output projection either.
    LayerMatrices,
}

/// The constants of the update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    pub decayed: Decayed,
    /// Largest global gradient norm; gradients above it are scaled down to it. Infinity never clips.
    pub clip_norm: f64,
}

/// First and second moments of one parameter.
pub(super) struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    decays: bool,
}

/// The optimiser's state: moments of every parameter, f32, in the order of [`Decoder::parameters`].
pub struct AdamW {
    settings: AdamWSettings,
    pub(super) step: i32,
    pub(super) moments: Vec<Moments>,
}

impl AdamW {
    /// State of zeros.
    ///
    /// # Errors
    /// `Internal` when the decoder was not loaded for training.
    pub fn new(decoder: &Decoder, settings: AdamWSettings) -> ModelResult<Self> {
        let parameters = decoder.parameters()?;
        let sizes = || parameters.iter().map(|parameter| parameter.variable.elem_count());
        let both = zeros(sizes()).into_iter().zip(zeros(sizes()));
        let moments = parameters.iter().zip(both).map(|(parameter, (first, second))| Moments {
            first,
            second,
            decays: settings.decayed.holds(parameter),
        });
        Ok(Self { settings, step: 0, moments: moments.collect() })
    }

    /// Updates every parameter and clears nothing: the caller starts the next step's gradients. Returns the global
    /// gradient norm before clipping (squares added in f64, in chunks of fixed size); when it is not finite, nothing is
    /// updated.
    ///
    /// # Errors
    /// `Internal` when the decoder is another one than that of [`AdamW::new`].
    pub fn update(&mut self, decoder: &Decoder, gradients: &Gradients, learning_rate: f64) -> ModelResult<f64> {
        let norm = gradients.norm();
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.step += 1;
        let AdamWSettings { beta1, beta2, epsilon, weight_decay, clip_norm, .. } = self.settings;
        // As torch.nn.utils.clip_grad_norm_: the divisor carries 1e-6.
        let clip = (clip_norm / (norm + 1e-6)).min(1.0);
        let correction1 = 1.0 - libm::pow(beta1, f64::from(self.step));
        let correction2 = 1.0 - libm::pow(beta2, f64::from(self.step));
        let update = Update {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            clip: clip as f32,
            decay: (1.0 - learning_rate * weight_decay) as f32,
            step_size: (learning_rate / correction1) as f32,
            root_correction: correction2.sqrt() as f32,
            epsilon: epsilon as f32,
        };
        let parameters = decoder.parameters()?;
        if parameters.len() != self.moments.len() {
            return Err(ModelError::internal("the optimiser was made for another decoder"));
        }
        for ((parameter, gradient), moments) in parameters.into_iter().zip(gradients.values()).zip(&mut self.moments) {
            let update = if moments.decays { update } else { Update { decay: 1.0, ..update } };
            let operation = InPlace { update, gradient, moments: RefCell::new(moments) };
            parameter.variable.as_tensor().inplace_op1(&operation)?;
        }
        Ok(norm)
    }
}

impl Decayed {
    fn holds(self, parameter: &Parameter) -> bool {
        match self {
            Self::All => true,
            Self::Matrices => parameter.variable.rank() == 2,
            Self::LayerMatrices => parameter.variable.rank() == 2 && matches!(parameter.part, Part::Layer(_)),
        }
    }
}

/// The sum of squares in f64, in chunks of fixed size, each in 16 interleaved lanes.
pub(super) fn squared_norm(values: &[f32]) -> f64 {
    let set = InstructionSet::best();
    let of_chunk = |values: &[f32]| {
        dispatch!(set, body(values: &[f32]) -> f64 {
            let mut lanes = [0.0f64; 16];
            let (chunks, rest) = values.as_chunks::<16>();
            for chunk in chunks {
                for (lane, &value) in lanes.iter_mut().zip(chunk) {
                    *lane += f64::from(value) * f64::from(value);
                }
            }
            for (lane, &value) in lanes.iter_mut().zip(rest) {
                *lane += f64::from(value) * f64::from(value);
            }
            lanes.iter().sum()
        })
    };
    team::map(values.chunks(CHUNK).collect(), of_chunk).into_iter().sum()
}

#[derive(Clone, Copy)]
struct Update {
    beta1: f32,
    beta2: f32,
    clip: f32,
    decay: f32,
    step_size: f32,
    root_correction: f32,
    epsilon: f32,
}

impl Update {
    fn apply(self, set: InstructionSet, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let update = self;
        dispatch!(
            set,
            body(update: Update, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
                for (((weight, &gradient), first), second) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
                    let gradient = gradient * update.clip;
                    *first = update.beta1 * *first + (1.0 - update.beta1) * gradient;
                    *second = update.beta2 * *second + (1.0 - update.beta2) * gradient * gradient;
                    let denominator = second.sqrt() / update.root_correction + update.epsilon;
                    *weight = *weight * update.decay - update.step_size * *first / denominator;
                }
            }
        );
    }
}

struct InPlace<'a> {
    update: Update,
    gradient: &'a [f32],
    moments: RefCell<&'a mut Moments>,
}

impl InplaceOp1 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(weights) = storage else { candle_core::bail!("weights are not f32") };
        if layout.contiguous_offsets() != Some((0, weights.len())) || weights.len() != self.gradient.len() {
            candle_core::bail!("weights and gradients differ in layout");
        }
        let (update, set) = (self.update, InstructionSet::best());
        let mut moments = self.moments.borrow_mut();
        let Moments { first, second, .. } = &mut **moments;
        let moments = first.chunks_mut(CHUNK).zip(second.chunks_mut(CHUNK));
        let all = weights.chunks_mut(CHUNK).zip(self.gradient.chunks(CHUNK)).zip(moments);
        team::each(all.collect(), |_, ((weights, gradient), (first, second))| {
            update.apply(set, weights, gradient, first, second);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_follows_the_paper_in_f64() {
        let (rate, decay, beta1, beta2, epsilon) = (1e-2, 0.1, 0.9, 0.95, 1e-8);
        let (mut weight, mut first, mut second) = ([0.5f32], [0.0f32], [0.0f32]);
        let (mut exact, mut m, mut v) = (0.5f64, 0.0f64, 0.0f64);
        for step in 1..=20 {
            let gradient = (f64::from(step) * 0.7).sin();
            m = beta1 * m + (1.0 - beta1) * gradient;
            v = beta2 * v + (1.0 - beta2) * gradient * gradient;
            let (c1, c2) = (1.0 - f64::powi(beta1, step), 1.0 - f64::powi(beta2, step));
            exact = exact * (1.0 - rate * decay) - rate * (m / c1) / ((v / c2).sqrt() + epsilon);
            let update = Update {
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                clip: 1.0,
                decay: (1.0 - rate * decay) as f32,
                step_size: (rate / c1) as f32,
                root_correction: c2.sqrt() as f32,
                epsilon: epsilon as f32,
            };
            update.apply(InstructionSet::best(), &mut weight, &[gradient as f32], &mut first, &mut second);
        }
        // Twenty f32 updates of a number of size 0.5, each rounded a few times.
        assert!((f64::from(weight[0]) - exact).abs() < 1e-6, "{} {exact}", weight[0]);
    }
}
