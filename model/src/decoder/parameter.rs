//! What training changes.

use std::ops::Range;

use candle_core::Var;

use super::Decoder;
use crate::ModelResult;

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
    /// Its Hugging Face name.
    pub name: String,
    pub part: Part,
    pub(crate) variable: &'a Var,
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
        tensors
            .into_iter()
            .zip(self.weights())
            .zip(parts)
            .map(|((tensor, weight), part)| Ok(Parameter { name: tensor.name, part, variable: weight.variable()? }))
            .collect()
    }
}

/// The places of a part's parameters; none where nothing of it is trained.
pub(crate) fn places(parameters: &[Parameter], part: Part) -> Range<usize> {
    let start = parameters.iter().position(|parameter| parameter.part == part).unwrap_or(parameters.len());
    start..start + parameters[start..].iter().take_while(|parameter| parameter.part == part).count()
}
