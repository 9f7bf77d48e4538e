//! What training changes.

use std::ops::Range;

use candle_core::Var;

use super::Decoder;
use crate::{ModelResult, ops};

/// The part of the decoder that a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Embedding,
    Layer(usize),
    FinalNorm,
    Output,
}

/// A variable that gradients reach.
pub struct Parameter<'a> {
    /// Its Hugging Face name; of a low-rank correction, its name in PEFT.
    pub name: String,
    pub part: Part,
    pub(crate) variable: &'a Var,
}

impl Parameter<'_> {
    /// Its current values, row-major.
    ///
    /// # Errors
    /// `Internal` when it is not where the decoder put it.
    pub fn values(&self) -> ModelResult<Vec<f32>> {
        Ok(ops::with_values(self.variable.as_tensor(), <[f32]>::to_vec)?)
    }
}

impl Decoder {
    /// Everything that training changes, in the order of [`crate::spec::ModelSpec::tensors`].
    ///
    /// # Errors
    /// `Internal` when the decoder was not loaded for training.
    pub fn parameters(&self) -> ModelResult<Vec<Parameter<'_>>> {
        let layers = (0..self.spec.layers.len()).flat_map(|layer| {
            let count = self.layer_weights(layer).len();
            std::iter::repeat_n(Part::Layer(layer), count)
        });
        let parts = std::iter::once(Part::Embedding).chain(layers).chain([Part::FinalNorm, Part::Output]);
        let tensors = self.spec.tensors();
        let mut parameters = Vec::new();
        for ((tensor, weight), part) in tensors.into_iter().zip(self.weights()).zip(parts) {
            let variables = weight.variables(tensor.name)?.into_iter();
            parameters.extend(variables.map(|(name, variable)| Parameter { name, part, variable }));
        }
        Ok(parameters)
    }
}

/// The places of a part's parameters; none where nothing of it is trained.
pub(crate) fn places(parameters: &[Parameter], part: Part) -> Range<usize> {
    let start = parameters.iter().position(|parameter| parameter.part == part).unwrap_or(parameters.len());
    start..start + parameters[start..].iter().take_while(|parameter| parameter.part == part).count()
}
